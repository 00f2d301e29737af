"""A process whose PVs count, for clients that misbehave: `python -m tests.system.counting_ioc T: [--rate 100]`.

`PV0` .. `PV99` count up by 1 at each post; `ARRAY` (100,000 float64) begins with its own count, 10 times a second;
`SET` takes 0 .. 100, `SLOW` and `FLOODED` the same after half a second, `LATE` after ten; `TEXT` is long text.
"""

import argparse
import asyncio
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from iocs.ca.server import Server
from iocs.signals import Kind, Signal, acceptable, readback, setpoint

COUNTERS = [f"PV{number}" for number in range(100)]
ARRAY = 100_000
SIGNALS = [
    *(readback(name, "mm", doc="counts up by 1 at each post") for name in COUNTERS),
    Signal("ARRAY", unit="V", count=ARRAY),
    setpoint("SET", "V", limits=(0, 100)),
    setpoint("SLOW", "V", limits=(0, 100)),
    setpoint("FLOODED", "V", limits=(0, 100)),
    setpoint("LATE", "V", limits=(0, 100)),
    readback("TEXT", type=Kind.TEXT),
]
SECONDS = {"SLOW": 0.5, "FLOODED": 0.5, "LATE": 10.0}  # that a put takes
LIMITED = {signal.name: signal for signal in SIGNALS if signal.writable}


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("prefix")
    parser.add_argument("--rate", type=float, default=100.0, help="posts/s of each counter")
    parser.add_argument("--descriptors", type=int, help="limit of open files")
    options = parser.parse_args()
    if options.descriptors:
        resource.setrlimit(resource.RLIMIT_NOFILE, (options.descriptors, options.descriptors))
    server, prefix = Server(), options.prefix

    def post(values: dict[str, Any]) -> None:
        server.post(prefix, time.time_ns(), values)

    async def put(name: str, value: Any, by: str) -> None:
        signal = LIMITED[name.removeprefix(prefix)]
        value = acceptable(signal, value)
        await asyncio.sleep(SECONDS.get(signal.name, 0))
        post({signal.name: value})

    server.serve(prefix, SIGNALS, put)
    post({"SET": 0.0, "SLOW": 0.0, "FLOODED": 0.0, "LATE": 0.0, "TEXT": "a" * 1000})
    await server.start()
    print(f"counting on port {server.port}", flush=True)
    await asyncio.gather(server.wait(), count(post, options.rate))


async def count(post: Callable[[dict[str, Any]], None], rate: float) -> None:
    array, number = np.zeros(ARRAY), 0
    period, due = 1 / rate, time.monotonic()
    while True:
        number += 1
        post(dict.fromkeys(COUNTERS, float(number)))
        if number % max(round(rate / 10), 1) == 0:
            array = array.copy()
            array[0] += 1
            post({"ARRAY": array})
        due = max(due + period, time.monotonic())
        await asyncio.sleep(due - time.monotonic())


asyncio.run(main())
