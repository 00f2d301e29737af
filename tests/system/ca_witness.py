"""A client of the field that behaves: `python -m tests.system.ca_witness libca|caproto PREFIX`.

It watches the counters `PREFIX`PV0 .. PV9, says "watching" when all have come, and reads PV0 again and again until a
line comes on stdin; then it prints `updates=N lost=N slowest_get=SECONDS`.
"""

import sys
import threading
import time

COUNTERS = 10


class Tally:
    """Updates counted, jumps found."""

    def __init__(self) -> None:
        self.updates = self.lost = 0
        self.last: dict[str, float] = {}

    def take(self, name: str, value: float) -> None:
        step = value - self.last.get(name, value - 1)
        self.lost += abs(round(step) - 1) if step else 0  # a subscription's first event may come twice
        self.last[name] = value
        self.updates += 1


def libca(names: list[str], tally: Tally):
    import epics

    def on_update(pvname: str, value: float, **_: object) -> None:
        tally.take(pvname, value)

    pvs = [epics.PV(name, form="time", auto_monitor=True, callback=on_update) for name in names]
    reader = epics.PV(names[0], auto_monitor=False)
    return lambda: reader.get(timeout=10, use_monitor=False), pvs


def caproto(names: list[str], tally: Tally):
    from caproto.threading.client import Context

    context = Context()
    pvs = context.get_pvs(*names, timeout=10)

    def on_update(subscription, response) -> None:
        tally.take(subscription.pv.name, response.data[0])

    subscriptions = [pv.subscribe(data_type="time") for pv in pvs]
    for subscription in subscriptions:
        subscription.add_callback(on_update)
    return lambda: pvs[0].read(timeout=10), (context, subscriptions, on_update)


def main() -> None:
    library, prefix = sys.argv[1:]
    names = [f"{prefix}PV{number}" for number in range(COUNTERS)]
    tally = Tally()
    get, _kept = {"libca": libca, "caproto": caproto}[library](names, tally)
    while len(tally.last) < COUNTERS:
        time.sleep(0.01)
    told = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), told.set()), daemon=True).start()
    print("watching", flush=True)
    slowest = 0.0
    while not told.wait(0.05):
        began = time.monotonic()
        get()
        slowest = max(slowest, time.monotonic() - began)
    print(f"updates={tally.updates} lost={tally.lost} slowest_get={slowest:.3f}", flush=True)


main()
