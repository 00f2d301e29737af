"""Puts to PVs through libca as fast as they go: `python -m tests.system.put_flood PV...`; says when it has begun."""

import itertools
import sys
import time

import epics


def main() -> None:
    pvs = [epics.PV(name, auto_monitor=False) for name in sys.argv[1:]]
    for pv in pvs:
        if not pv.wait_for_connection(10):
            sys.exit(f"{pv.pvname} is not found")
    print("flooding", flush=True)
    for number in itertools.count():
        for pv in pvs:
            pv.put(1 + number % 50)
        time.sleep(0.005)


if __name__ == "__main__":
    main()
