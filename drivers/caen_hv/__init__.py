"""CAEN high-voltage supplies of the N1470 family (x1470, x1471, x1419, N1570; NIM, desktop and rack).

* `parameters`: what can be asked and told, and the status bits. `protocol`: requests and replies as bytes. Both pure.
* `exchange`: one request, one reply. `line`: the one owner of the wire, whose turn it is, and how it comes in step
  again. `unit`: who answers and what it takes. `readings`: when a value is believed. `client`: the verbs.
* `wrapper`: a link through CAEN's own library instead of a socket (optional); `library`: its calls.
* `probe`: all that a supply says, `python -m drivers.caen_hv probe LINK`.
* `simulator`: a supply on a real socket, `python -m drivers.caen_hv.simulator --port 1470` (`simulated_unit`: what it
  does, `simulated_wire`: its connections, `faults`).
"""
