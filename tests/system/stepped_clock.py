"""Run a program of ours under a wall clock that steps: `python -m tests.system.stepped_clock MODULE [ARGUMENT ...]`.

A number on stdin shifts the clock by so many seconds from then on, and is answered. All Python code of the process
sees the shifted clock; the steady clock, by which all that waits has to go, is left alone, as it is when an operator or
NTP sets the clock of a machine.
"""

import runpy
import sys
import threading
import time

REAL = time.time_ns
shift_ns = 0


def listen() -> None:
    global shift_ns
    for line in sys.stdin:
        shift_ns = round(float(line) * 1e9)
        print(f"the clock is shifted by {float(line):g} s", flush=True)


time.time_ns = lambda: REAL() + shift_ns
time.time = lambda: time.time_ns() / 1e9
threading.Thread(target=listen, daemon=True).start()
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
