"""Two plain archivers, as one writes them in an afternoon, for `archiver_bench`: what ours is measured against.

`python -m tests.benchmarks.archiver_peers caproto|pyepics URL DATABASE CSV PREFIX PVS`: one csv.writer row and one
influxdb_client Point an event, the libraries' defaults. Ends on SIGTERM, having written what it holds.
"""

import csv
import signal
import sys
import threading
from pathlib import Path


def main() -> None:
    client, url, database, path, prefix, number = sys.argv[1:]
    from influxdb_client import InfluxDBClient, Point, WritePrecision

    names = [f"{prefix}{n}" for n in range(int(number))]
    influx = InfluxDBClient(url=url, token="t", org="o")
    points = influx.write_api()
    stop = threading.Event()
    for ends in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ends, lambda *_: stop.set())
    with Path(path).open("w", newline="") as file:
        row, lock = csv.writer(file).writerow, threading.Lock()

        def event(name: str, seconds: float, value: float) -> None:
            with lock:
                row((name, repr(seconds), value))
                point = Point("e").tag("pv", name).field("value", float(value))
                points.write(database, record=point.time(int(seconds * 1e9), WritePrecision.NS))

        watched = watch_caproto(names, event) if client == "caproto" else watch_pyepics(names, event)
        print("connected", flush=True)
        stop.wait()
        with lock:
            file.flush()
    del watched
    influx.close()


def watch_caproto(names, event):
    from caproto.threading.client import Context

    kept = []
    for pv, name in zip(Context().get_pvs(*names), names, strict=True):
        pv.wait_for_connection(timeout=30)
        subscription = pv.subscribe(data_type="time")

        def callback(_, response, name=name):
            event(name, response.metadata.timestamp, response.data[0])

        subscription.add_callback(callback)
        kept += [subscription, callback]
    return kept


def watch_pyepics(names, event):
    import epics

    def callback(pvname=None, value=None, timestamp=None, **_):
        event(pvname, timestamp, value)

    pvs = [epics.PV(name, callback=callback, auto_monitor=True, form="time") for name in names]
    for pv in pvs:
        pv.wait_for_connection(timeout=30)
    return pvs


if __name__ == "__main__":
    main()
