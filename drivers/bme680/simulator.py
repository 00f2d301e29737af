"""A simulated gas board on a real endpoint: TCP or a pty; `python -m drivers.bme680.simulator` as a process of its own.

The first line on stdout is `listening on ADDRESS ...`. Each line on stdin is a JSON object of what is to change, e.g.
`{"mute": true}`, `{"humidity": 40}`, `{"unplug": 0.5}` (the cable is out for so many seconds; true = until
`{"replug": true}`): see `SimulatedBoard.set`; `set` on stdout says that it is so. The end of stdin changes nothing.
SIGINT and SIGTERM end it with code 0.
"""

import argparse
import asyncio
import contextlib
import inspect
import logging
import sys

from drivers.bme680.simulated_board import Faults, SimulatedBoard
from drivers.bme680.simulated_sensor import SimulatedSensor
from drivers.bme680.simulated_sketches import SKETCHES
from drivers.bme680.tcp_port import TcpPort
from drivers.knobs import until_stopped
from drivers.pty_port import PtyPort

__all__ = ["Faults", "PtyPort", "SimulatedBoard", "SimulatedSensor", "TcpPort", "main"]


def arguments() -> argparse.ArgumentParser:
    """Give the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m drivers.bme680.simulator",
        description="A simulated Arduino with a gas sensor BME680, on TCP or on a pty.",
        epilog='Lines of JSON on stdin change it: {"mute": true}, {"humidity": 40}, {"say": {"gas": "nan"}}.',
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--port", type=int, default=0, help="TCP port, 0 = any free one (default)")
    where.add_argument("--pty", metavar="PATH", help="a serial port of this name instead (a symlink to a pty)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--sketch", choices=SKETCHES, default=SKETCHES[0], help="what runs on it (default %(default)s)")
    parser.add_argument("--boot", type=float, default=1.5, help="seconds until it hears after a reset")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between lines of a sketch that streams")
    parser.add_argument("--age", type=float, default=0.0, help="seconds that it has been running")
    parser.add_argument("--speed", type=float, default=1.0, help="so many times faster")
    parser.add_argument("--no-reset", action="store_true", help="it is not reset when the line is opened")
    return parser


async def serve(options: argparse.Namespace) -> None:
    """Run until SIGINT or SIGTERM."""
    async with contextlib.AsyncExitStack() as stack:
        port: PtyPort | TcpPort
        if options.pty:
            port = stack.enter_context(PtyPort(options.pty))
        else:
            port = await stack.enter_async_context(TcpPort(options.host, options.port))
        times = {name: getattr(options, name) for name in ("boot", "interval", "age", "speed")}
        board = SimulatedBoard(port, options.sketch, **times)
        if not options.no_reset:
            port.on_open = board.reset
        print(f"listening on {port.address} with the sketch {options.sketch}", flush=True)

        async def change(unplug: bool | float = False, replug: bool = False, **changes: object) -> None:
            board.set(**changes)
            if unplug:
                port.unplug()
            if unplug and unplug is not True:
                await asyncio.sleep(unplug)
                replug = True
            if replug:
                await plug_in(port)
            print("set", flush=True)

        async with until_stopped(change) as stop:
            living, stopping = asyncio.create_task(board.run()), asyncio.create_task(stop.wait())
            await asyncio.wait({living, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if living.done():
                living.result()
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)


async def plug_in(port: PtyPort | TcpPort) -> None:
    """Put the cable in again."""
    waiting = port.replug()
    if inspect.isawaitable(waiting):
        await waiting


def main(argv: list[str] | None = None) -> int:
    """Run the simulator as a command; give the exit code."""
    logging.basicConfig(format="%(asctime)s %(levelname)s simulator: %(message)s", stream=sys.stderr)
    parser = arguments()
    options = parser.parse_args(argv)
    if not (options.speed > 0 and options.interval > 0 and options.boot >= 0 and options.age >= 0):
        parser.error("--speed and --interval must be above 0, --boot and --age not below")
    if not 0 <= options.port < 65536:
        parser.error(f"--port {options.port} is not within 0..65535")
    try:
        asyncio.run(serve(options))
    except (OSError, ValueError) as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
