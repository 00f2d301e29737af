"""Channel Access, the only room that imports caproto. `server`: signals as PVs.  `client`: watching anybody's PVs."""
