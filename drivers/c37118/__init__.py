"""IEEE C37.118 synchrophasors (editions 2005 and 2011): a PMU's or concentrator's stream of phasor data.

* `frames`: bytes <-> typed messages, no wire (`envelope`, `channels`, `configuration`, `configuration3` and `data` are
  its parts).
* `stream`: a byte stream in any chunking -> whole frames.
* `client`: one live PMU as a stream of events (`events`). `session` is what is said, `asking` for the configuration;
  `order` and `timeline` put in order and count what is missing, `recording` keeps the raw bytes; `transport` and
  `listening` are the ways by which a stream comes.
* `simulator`: a PMU on a real socket, `python -m drivers.c37118.simulator --port 4712` (`simulated_pmu`: what it
  measures, `simulated_stream`: its frames, `simulated_wire` and `simulated_datagrams`: its connections, `faults`,
  `replay`: a recording in its place).
* `capture`: recordings (raw, pcap, pcapng) -> the same frames. `python -m drivers.c37118 decode FILE`.
* `batch`: many data frames at once as numpy arrays (`crc`: their check sums). `decoding`: recordings -> CSV (`table`)
  and numpy arrays (`arrays`), as calls.
"""
