"""Read PVs with libca (pyepics) and print what it sees, a JSON object a line: an independent witness of the server."""

import json
import sys

import epics

for name in sys.argv[1:]:
    pv = epics.PV(name, form="ctrl", auto_monitor=False)
    connected = pv.wait_for_connection(timeout=10)
    control = pv.get_ctrlvars(timeout=10) or {}
    stamped = epics.PV(name, form="time", auto_monitor=False)
    stamped.wait_for_connection(timeout=10)
    whole = stamped.get_with_metadata(timeout=10, as_string=False) or {}
    value = whole.get("value")
    print(
        json.dumps(
            {
                "name": name,
                "connected": connected,
                "type": pv.type,
                "value": value.tolist() if hasattr(value, "tolist") else value,
                "units": control.get("units"),
                "precision": control.get("precision"),
                "states": control.get("enum_strs"),
                "limits": [control.get(f"{side}_ctrl_limit") for side in ("lower", "upper")],
                "display": [control.get(f"{side}_disp_limit") for side in ("lower", "upper")],
                "alarm": [
                    control.get(f"{name}_limit")
                    for name in ("lower_alarm", "lower_warning", "upper_warning", "upper_alarm")
                ],
                "severity": whole.get("severity"),
                "status": whole.get("status"),
                "seconds": whole.get("posixseconds"),
                "nanoseconds": whole.get("nanoseconds"),
            }
        ),
        flush=True,
    )
