"""Channel Access, the only room that imports caproto. `server`: signals as PVs.  `client`, `watch`: anybody's PVs."""
