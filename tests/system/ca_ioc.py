"""A process that serves a few PVs until it is killed: python ca_ioc.py PREFIX [NAME ...]; says `ready PORT`."""

import asyncio
import sys
import time

from iocs.ca.server import Server
from iocs.signals import readback


async def main(prefix: str, *names: str) -> None:
    server = Server()
    server.serve(prefix, [readback(name) for name in names])
    server.post(prefix, time.time_ns(), {name: float(number) for number, name in enumerate(names)})
    await server.start()
    print("ready", server.port, flush=True)
    await server.wait()


asyncio.run(main(*sys.argv[1:]))
