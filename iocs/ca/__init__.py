"""Channel Access: the only room that imports caproto. `server`: signals as PVs.  `client`: watching and reading anybody's PVs."""
