"""Counting PVs for measurements, through our server: `python -m tests.benchmarks.ca_server --npv 100 --rate 50`.

`{prefix}PV0` .. count up by 1 at each post and are stamped then; `{prefix}SET` can be put; `{prefix}STR` is a text;
`{prefix}WAVE` is an array whose first element counts. READY on stderr when all is served.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator
from typing import Any


def options() -> argparse.ArgumentParser:
    """Give the options that this server and its peers understand."""
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--prefix", default="BENCH:")
    parser.add_argument("--npv", type=int, default=100, help="how many PVs")
    parser.add_argument("--rate", type=float, default=0, help="posts/s of each; below 0: as many as go")
    parser.add_argument("--active", type=int, help="how many are posted (all)")
    parser.add_argument("--wave", type=int, default=0, help="elements of the array; 0: there is none")
    parser.add_argument("--wave-type", choices=("f8", "i2"), default="f8")
    parser.add_argument("--wave-rate", type=float, default=0, help="posts/s of the array; below 0: as many as go")
    return parser


async def paced(rate: float) -> AsyncIterator[int]:
    """Count from 1 at a rate, catching up 50 ms at most; below 0 as quickly as goes, 0 never."""
    if not rate:
        await asyncio.Event().wait()
    period = 1 / rate if rate > 0 else 0.0
    count, due = 0, time.monotonic()
    while True:
        count += 1
        yield count
        now = time.monotonic()
        due = max(due + period, now - 0.05)  # a loop's timers are coarser than the shortest periods
        await asyncio.sleep(max(due - now, 0))


def ready() -> None:
    """Say that all is served."""
    print("READY", file=sys.stderr, flush=True)


async def main() -> None:
    import numpy as np

    from iocs.ca.server import Server
    from iocs.signals import Kind, Signal, readback, setpoint

    asked = options().parse_args()
    names = [f"PV{number}" for number in range(asked.npv)]
    active = names if asked.active is None or asked.active < 0 else names[: asked.active]
    signals: list[Signal] = [
        *(readback(name, "mm", precision=3, limits=(0, 1e9), doc="Counts up by 1 at each post") for name in names),
        setpoint("SET", "V", limits=(-1e9, 1e9)),
        readback("STR", type=Kind.STR),
    ]
    if asked.wave:
        signals.append(Signal("WAVE", unit="V", count=asked.wave))
    server, prefix = Server(), asked.prefix

    async def put(name: str, value: Any, by: str) -> None:
        server.post(prefix, time.time_ns(), {name.removeprefix(prefix): value})

    async def count_scalars() -> None:
        async for count in paced(asked.rate):
            server.post(prefix, time.time_ns(), dict.fromkeys(active, float(count)))

    async def count_arrays() -> None:
        wave = np.arange(asked.wave, dtype=">f8" if asked.wave_type == "f8" else ">i2")
        async for count in paced(asked.wave_rate):
            wave = wave.copy()
            wave[0] = count % 30000
            server.post(prefix, time.time_ns(), {"WAVE": wave})

    server.serve(prefix, signals, put)
    start = dict.fromkeys(names, 0.0) | {"SET": 0.0, "STR": "hello"}
    server.post(prefix, time.time_ns(), start)
    await server.start()
    ready()
    await asyncio.gather(server.wait(), count_scalars(), count_arrays())


if __name__ == "__main__":
    asyncio.run(main())
