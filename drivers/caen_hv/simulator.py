"""A supply on a real socket or serial port: `Simulator` in a program, `python -m drivers.caen_hv.simulator` alone.

The first line on stdout is `listening on ADDRESS ...` (with `--port 0` the real port). Each line on stdin is a JSON
object of faults and states, e.g. `{"lost": 1}`: see `Simulator.set`. The end of stdin changes nothing. SIGINT and
SIGTERM end the process with exit code 0.
"""

import argparse
import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable

from drivers.caen_hv.faults import Faults
from drivers.caen_hv.simulated_unit import SimulatedBoard, SimulatedChannel
from drivers.caen_hv.simulated_wire import Said, Simulator, write_log
from drivers.knobs import until_stopped

__all__ = ["Faults", "Said", "SimulatedBoard", "SimulatedChannel", "Simulator", "boards", "main"]


def arguments() -> argparse.ArgumentParser:
    """Give the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m drivers.caen_hv.simulator",
        description="A simulated CAEN N1470 family supply on TCP or on a pseudo-terminal.",
        epilog='Lines of JSON on stdin set faults and states: {"lost": 1}, {"channel": {"number": 3, "load": 1e6}}.',
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=1470, help="TCP port, 0 = any free one (default %(default)s)")
    parser.add_argument("--pty", metavar="PATH", help="make a serial port of this name instead of listening on TCP")
    parser.add_argument(
        "--boards", type=int, default=1, help="boards on the line, numbered from 0 (default %(default)s)"
    )
    parser.add_argument("--channels", type=int, default=4, help="channels of a board (default %(default)s)")
    parser.add_argument("--model", default="R1470ET", help="what BDNAME says (default %(default)s)")
    parser.add_argument("--serial", type=int, default=174, help="BDSNUM of the first board (default %(default)s)")
    parser.add_argument("--speed", type=float, default=1.0, help="so many times faster than real time")
    parser.add_argument("--load", type=float, default=1e9, help="ohm on each output (default %(default)g)")
    parser.add_argument("--log", metavar="FILE", help="write every request and reply there, a JSON object a line")
    return parser


def boards(options: argparse.Namespace) -> dict[int, SimulatedBoard]:
    """Make the boards that the command line asks for.

    Raises:
        ValueError: an option makes no sense.
    """
    if not 1 <= options.boards <= 32 or not 1 <= options.channels <= 32 or options.speed <= 0 or options.load <= 0:
        raise ValueError("1 to 32 boards, 1 to 32 channels, a speed and a load above 0, please")
    return {
        number: SimulatedBoard(
            name=options.model,
            serial=str(options.serial + number),
            channels=[SimulatedChannel(load=options.load) for _ in range(options.channels)],
        )
        for number in range(options.boards)
    }


async def serve(options: argparse.Namespace, out: Callable[[Said], None] | None) -> None:
    """Run until SIGINT or SIGTERM."""
    simulator = Simulator(
        boards(options), host=options.host, port=options.port, pty=options.pty, speed=options.speed, out=out
    )
    async with simulator:
        what = f"{options.model}, {options.boards} x {options.channels} channels"
        print(f"listening on {simulator.address} {what}", flush=True)
        async with until_stopped(simulator.set) as stop:
            await stop.wait()


def main(argv: list[str] | None = None) -> int:
    """Run the simulator as a command; give the exit code."""
    logging.basicConfig(format="%(asctime)s %(levelname)s simulator: %(message)s", stream=sys.stderr)
    options = arguments().parse_args(argv)
    try:
        with contextlib.ExitStack() as files:
            out = write_log(files.enter_context(open(options.log, "a", encoding="utf-8"))) if options.log else None
            asyncio.run(serve(options, out))
    except (OSError, ValueError) as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
