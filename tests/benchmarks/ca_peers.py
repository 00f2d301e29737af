"""The PVs of `ca_server` through other people's servers: `python -m tests.benchmarks.ca_peers caproto|softioc ...`."""

import argparse
import asyncio
import time

import numpy as np

from tests.benchmarks.ca_server import options, paced, ready


def plain_caproto(asked: argparse.Namespace) -> None:
    """caproto as it is installed, its asyncio server and bare data classes."""
    import caproto
    from caproto.asyncio.server import start_server

    scalars = [caproto.ChannelDouble(value=0.0, units="mm", precision=3) for _ in range(asked.npv)]
    database = {f"{asked.prefix}PV{number}": scalar for number, scalar in enumerate(scalars)}
    database[asked.prefix + "SET"] = caproto.ChannelDouble(value=0.0)
    database[asked.prefix + "STR"] = caproto.ChannelString(value="hello")
    values = np.arange(max(asked.wave, 1), dtype=asked.wave_type)
    array_type = caproto.ChannelDouble if asked.wave_type == "f8" else caproto.ChannelShort
    array = array_type(value=values, max_length=len(values))
    if asked.wave:
        database[asked.prefix + "WAVE"] = array

    async def count_scalars() -> None:
        async for count in paced(asked.rate):
            for scalar in scalars[: asked.active]:
                await scalar.write(float(count))

    async def count_arrays() -> None:
        async for count in paced(asked.wave_rate):
            new = values.copy()
            new[0] = count % 30000
            await array.write(new)

    async def started(_async_library: object) -> None:
        ready()
        await asyncio.gather(count_scalars(), count_arrays())

    asyncio.run(start_server(database, interfaces=["127.0.0.1"], startup_hook=started))


def python_softioc(asked: argparse.Namespace) -> None:
    """pythonSoftIOC: EPICS' own C server, records set from Python."""
    from softioc import asyncio_dispatcher, builder, softioc

    builder.SetDeviceName(asked.prefix.rstrip(":"))
    scalars = [builder.aIn(f"PV{number}", initial_value=0.0, PREC=3, EGU="mm") for number in range(asked.npv)]
    builder.aOut("SET", initial_value=0.0)
    builder.stringIn("STR", initial_value="hello")
    values = np.arange(asked.wave, dtype=asked.wave_type)
    array = builder.WaveformIn("WAVE", initial_value=values) if asked.wave else None
    builder.LoadDatabase()
    dispatcher = asyncio_dispatcher.AsyncioDispatcher()
    softioc.iocInit(dispatcher)
    ready()

    async def count_scalars() -> None:
        async for count in paced(asked.rate):
            for scalar in scalars[: asked.active]:
                scalar.set(float(count))

    async def count_arrays() -> None:
        async for count in paced(asked.wave_rate):
            new = values.copy()
            new[0] = count % 30000
            array.set(new)

    for task in (count_scalars(), count_arrays()):
        asyncio.run_coroutine_threadsafe(task, dispatcher.loop)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    parser = options()
    parser.add_argument("server", choices=("caproto", "softioc"))
    asked = parser.parse_args()
    if asked.active is not None and asked.active < 0:
        asked.active = None
    {"caproto": plain_caproto, "softioc": python_softioc}[asked.server](asked)
