"""Channel Access, the only room that imports caproto. `server`: signals as PVs.  `client`, `watch`: anybody's PVs."""

EPICS_EPOCH = 631152000  # s: 1990-01-01 in Unix time, from which Channel Access counts
NS = 1_000_000_000
