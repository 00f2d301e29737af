"""Watch PVs with libca (pyepics) and print each change of rights, and values, a JSON object a line."""

import json
import sys
import time

import epics


def told(read, write, pv):
    print(json.dumps({"name": pv.pvname, "read": read, "write": write}), flush=True)


def seen(pvname, value, **rest):
    print(json.dumps({"name": pvname, "value": value}), flush=True)


pvs = [epics.PV(name, access_callback=told, callback=seen, auto_monitor=True) for name in sys.argv[1:]]
while True:
    time.sleep(1)
