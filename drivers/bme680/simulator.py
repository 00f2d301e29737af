"""A simulated gas board on a real endpoint: TCP or a pty; `python -m drivers.bme680.simulator` as a process of its own.

The first line on stdout is `listening on ADDRESS ...`. Each line on stdin is a JSON object of what is to change, e.g.
`{"mute": true}`, `{"humidity": 40}`, `{"unplug": 0.5}` (the cable is out for so many seconds; true = until
`{"replug": true}`): see `SimulatedBoard.set`. The end of stdin changes nothing. SIGINT and SIGTERM end it with code 0.
"""

import argparse
import asyncio
import contextlib
import inspect
import json
import logging
import os
import signal
import sys
import threading

from drivers.bme680.simulated_board import Faults, SimulatedBoard
from drivers.bme680.simulated_sensor import SimulatedSensor
from drivers.bme680.simulated_sketches import SKETCHES
from drivers.bme680.tcp_port import TcpPort
from drivers.pty_port import PtyPort

__all__ = ["Faults", "PtyPort", "SimulatedBoard", "SimulatedSensor", "TcpPort", "main"]

log = logging.getLogger(__name__)


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
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
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
        lines: asyncio.Queue[bytes] = asyncio.Queue()
        threading.Thread(target=_read_stdin, args=(loop, lines), daemon=True).start()
        tasks = [asyncio.create_task(each) for each in (board.run(), _follow(board, port, lines), _until(stop))]
        done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        for task in done:
            task.result()


async def _until(stop: asyncio.Event) -> None:
    await stop.wait()


async def _follow(board: SimulatedBoard, port: PtyPort | TcpPort, lines: "asyncio.Queue[bytes]") -> None:
    """Change what the lines of JSON ask for and say `set` when it holds; what makes no sense is told on stderr."""
    while True:
        line = await lines.get()
        try:
            changes = json.loads(line)
            unplug, replug = changes.pop("unplug", False), changes.pop("replug", False)
            board.set(**changes)
            if unplug is not False:
                port.unplug()
            if unplug not in (False, True):
                await asyncio.sleep(float(unplug))
                replug = True
            if replug:
                await plug_in(port)
            print("set", line.decode(), flush=True)
        except (ValueError, TypeError, AttributeError, OSError) as error:
            log.error("not understood: %s: %s", line.decode(errors="replace"), error)


async def plug_in(port: PtyPort | TcpPort) -> None:
    """Put the cable in again."""
    waiting = port.replug()
    if inspect.isawaitable(waiting):
        await waiting


def _read_stdin(loop: asyncio.AbstractEventLoop, lines: "asyncio.Queue[bytes]") -> None:
    """Hand on the lines of stdin, in a thread: a file, a pipe and a terminal cannot all be waited for in the loop."""
    rest = b""
    with contextlib.suppress(OSError, RuntimeError):  # no stdin; the loop is closed: nobody listens any more
        while data := os.read(0, 4096):
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                if line.strip():
                    loop.call_soon_threadsafe(lines.put_nowait, line)


def main(argv: list[str] | None = None) -> int:
    """Run the simulator as a command; give the exit code."""
    logging.basicConfig(format="%(asctime)s %(levelname)s simulator: %(message)s", stream=sys.stderr)
    signal.signal(signal.SIGTTIN, signal.SIG_IGN)  # in the background of a terminal: go on without stdin
    options = arguments().parse_args(argv)
    try:
        asyncio.run(serve(options))
    except (OSError, ValueError) as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
