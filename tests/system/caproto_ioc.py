"""A plain caproto IOC with one PV of each type.

python caproto_ioc.py PREFIX [--only NAME] [--level TYPE]
"""

import argparse
import asyncio

import caproto as ca
import numpy as np
from caproto.asyncio.server import start_server

PVS = {
    "STRING": lambda: ca.ChannelString(value="text", string_encoding="utf-8"),
    "SHORT": lambda: ca.ChannelShort(value=-5),
    "FLOAT": lambda: ca.ChannelFloat(value=1.5, units="V", precision=2, lower_ctrl_limit=-3, upper_ctrl_limit=3),
    "ENUM": lambda: ca.ChannelEnum(value="on", enum_strings=["off", "on"]),
    "BYTE": lambda: ca.ChannelByte(value=65),
    "CHAR": lambda: ca.ChannelChar(value="a long text", max_length=100),
    "LONG": lambda: ca.ChannelInteger(value=-100000),
    "DOUBLE": lambda: ca.ChannelDouble(value=0.1, timestamp=1_700_000_000.25),
    "DOUBLES": lambda: ca.ChannelDouble(value=np.arange(5.0), max_length=10),
    "EMPTY": lambda: ca.ChannelDouble(value=[], max_length=10),
    "SHORTS": lambda: ca.ChannelShort(value=[1, 2, 3], max_length=10),
}


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("prefix")
    parser.add_argument("--only")
    parser.add_argument("--level", default="DOUBLE")
    options = parser.parse_args()
    pvs = {options.prefix + name: make() for name, make in PVS.items() if options.only in (None, name)}
    pvs[options.prefix + "LEVEL"] = PVS[options.level]()

    async def ready(library: object) -> None:
        print("ready", flush=True)

    await start_server(pvs, interfaces=["127.0.0.1"], startup_hook=ready)


asyncio.run(main())
