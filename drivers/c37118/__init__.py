"""IEEE C37.118 synchrophasors (editions 2005 and 2011): a PMU's or concentrator's stream of phasor data.

* `frames`: bytes <-> typed messages, no wire.   `stream`: a byte stream in any chunking -> whole frames.
* `client`: one live PMU as a stream of events.   `simulator`: a PMU on a real socket, with faults.
* `capture`: recordings (raw, pcap, pcapng) -> the same frames.   `python -m drivers.c37118 decode FILE`.
"""
