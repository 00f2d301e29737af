"""A LeCroy scope over VXI-11, simulated: `Simulator` in a program, `python -m drivers.lecroy.simulator` alone.

The first line on stdout is `listening on ADDRESS ...` (with `--port 0` the real port). Each line on stdin is a JSON
object of faults and states, e.g. `{"rate": 0}`: see `set_`. The end of stdin changes nothing. SIGINT and SIGTERM end
the process with exit code 0.
"""

import argparse
import asyncio
import logging
import sys
from dataclasses import fields
from typing import Any

from drivers.knobs import fits, until_stopped
from drivers.lecroy.faults import Faults
from drivers.lecroy.simulated_scope import CHANNELS, SimulatedScope
from drivers.lecroy.simulated_signal import Pulse
from drivers.lecroy.simulated_wire import Simulator

__all__ = ["Faults", "Simulator", "main", "set_"]


async def set_(simulator: Simulator, **changes: Any) -> None:
    """Set faults and states by name: what one line on stdin does.

    The attributes of `Faults` (`cut=1`, `mute=True` ...); `rate`, `vicp`, `disk_full` of `SimulatedScope`; the deeds
    `drop=True` (cut the connections), `power=False` or `True`, `panel="C1:VDIV 0.2"` (what somebody sets at the front
    panel); and `channel={"name": "C1", "overload": True, "noise": 0.01}` with `overload` and the attributes of `Pulse`.

    Raises:
        ValueError: there is no such name; the message says which there are.
    """
    names = [each.name for each in fields(Faults)]
    for key, value in changes.items():
        match key, value:
            case "drop", True:
                await asyncio.to_thread(simulator.drop)
            case "power", bool():
                await asyncio.to_thread(simulator.power_on if value else simulator.power_off)
            case "panel", str():
                with simulator.changed:
                    simulator.commands.execute(value.encode())
            case "rate", int() | float() if value >= 0:
                with simulator.changed:
                    simulator.scope.rate = value
                    simulator.changed.notify_all()
            case (("vicp" | "disk_full"), bool()):
                with simulator.changed:
                    setattr(simulator.scope, key, value)
            case "channel", dict() if value.get("name") in CHANNELS:
                with simulator.changed:
                    _change(simulator.scope, **value)
            case _ if key in names and fits(getattr(Faults(), key), value):
                with simulator.changed:
                    setattr(simulator.faults, key, value)
            case _:
                known = ", ".join(("drop", "power", "panel", "rate", "vicp", "disk_full", "channel", *names))
                raise ValueError(f"{key}={value!r} is not known here, or not with that value; known: {known}")


def _change(scope: SimulatedScope, name: str, **changes: Any) -> None:
    channel = scope.channels[name]
    known = [each.name for each in fields(Pulse)]
    for key, value in changes.items():
        if key == "overload" and isinstance(value, bool):
            channel.overload = value
        elif key in known and fits(getattr(Pulse(), key), value):
            setattr(channel.pulse, key, value)
        else:
            raise ValueError(f"{key}={value!r} is not known of a channel; known: overload, {', '.join(known)}")


def arguments() -> argparse.ArgumentParser:
    """Give the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m drivers.lecroy.simulator",
        description="A simulated LeCroy WaveRunner 610Zi over VXI-11.",
        epilog='Lines of JSON on stdin set faults and states: {"rate": 0}, {"cut": 1}, {"panel": "TDIV 1E-6"}.',
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=1861, help="TCP port, 0 = any free one (default %(default)s)")
    parser.add_argument("--mapper-port", type=int, help="have a port mapper there, e.g. 111 (default: none)")
    parser.add_argument("--rate", type=float, default=20.0, help="triggers a second, 0 = none (default %(default)g)")
    return parser


async def serve(options: argparse.Namespace) -> None:
    """Run until SIGINT or SIGTERM."""
    scope = SimulatedScope(rate=options.rate)
    simulator = Simulator(scope, host=options.host, port=options.port, mapper_port=options.mapper_port)
    with simulator:
        print(f"listening on {simulator.address} {scope.model}", flush=True)

        async def change(**changes: Any) -> None:
            await set_(simulator, **changes)

        async with until_stopped(change) as stop:
            await stop.wait()


def main(argv: list[str] | None = None) -> int:
    """Run the simulator as a command; give the exit code."""
    logging.basicConfig(format="%(asctime)s %(levelname)s simulator: %(message)s", stream=sys.stderr)
    parser = arguments()
    options = parser.parse_args(argv)
    if options.rate < 0:
        parser.error("--rate: 0 or above, please")
    try:
        asyncio.run(serve(options))
    except OSError as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
