"""Teledyne LeCroy oscilloscopes over VXI-11, and their waveform files.

`wavedesc` (with `descriptor`) reads and writes waveform blocks (pure); `vxi11` is the link, on python-vxi11 with `rpc`
at its seams; `scope` has the scope's verbs; `run` and `acquire` bring events into files; `simulator` is a scope on real
TCP.
"""
