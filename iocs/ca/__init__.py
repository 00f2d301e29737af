"""Channel Access: the only place that knows caproto."""

EPICS_EPOCH = 631152000  # s: 1990-01-01 in Unix time, from which Channel Access counts
NS = 1_000_000_000
