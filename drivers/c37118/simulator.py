"""A PMU on a real socket: `Simulator` in a program, `python -m drivers.c37118.simulator` as a process of its own.

The first line on stdout is `listening on tcp://HOST:PORT ...` (with `--port 0` the real port), or, with
`--by-itself`, `sending to udp://HOST:PORT ...`. Each line on stdin is a
JSON object of faults, e.g. `{"bad_crc": 3}`: see `Simulator.set`. The end of stdin changes nothing. SIGINT and SIGTERM
end the process with exit code 0.
"""

import argparse
import asyncio
import logging
import sys

from drivers.c37118.faults import Faults
from drivers.c37118.replay import Replay
from drivers.c37118.simulated_pmu import Grid, SimulatedPmu
from drivers.c37118.simulated_stream import SimulatedStream
from drivers.c37118.simulated_wire import Simulator, Source
from drivers.errors import DriverError
from drivers.knobs import until_stopped
from drivers.link import Address

__all__ = ["Faults", "Grid", "Replay", "SimulatedPmu", "SimulatedStream", "Simulator", "Source", "main"]


def arguments() -> argparse.ArgumentParser:
    """Give the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m drivers.c37118.simulator",
        description="A simulated C37.118 PMU on TCP or UDP, or a recorded stream replayed byte for byte.",
        epilog='Lines of JSON on stdin set faults: {"bad_crc": 3}, {"reconfigure": {"phasors": ["VA"]}}.',
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=4712, help="TCP port, 0 = any free one (default %(default)s)")
    parser.add_argument("--idcode", type=int, default=1, help="IDCODE of the stream (default %(default)s)")
    parser.add_argument(
        "--rate", type=int, default=50, help="1 to 240 frames a second; below 0 seconds a frame (default %(default)s)"
    )
    parser.add_argument(
        "--format", type=int, default=15, help="FORMAT bits: 1 polar, 2 float phasors, 4 float analogs, 8 float FREQ"
    )
    parser.add_argument("--phasors", type=int, default=8, help="number of phasors (default %(default)s)")
    parser.add_argument("--analogs", type=int, default=3, help="number of analogs (default %(default)s)")
    parser.add_argument("--digitals", type=int, default=1, help="number of digital words (default %(default)s)")
    parser.add_argument(
        "--nominal", type=int, choices=(50, 60), default=50, help="nominal frequency in Hz (default %(default)s)"
    )
    parser.add_argument("--station", default="SIM PMU", help="station name (default %(default)s)")
    parser.add_argument("--pmus", type=int, default=1, help="number of PMUs in the stream (default %(default)s)")
    parser.add_argument("--mixed", action="store_true", help="PMUs of a concentrator in formats of their own")
    parser.add_argument("--cfg3", action="store_true", help="answer requests for a CFG-3 (a PMU of 2011)")
    parser.add_argument("--fragment", type=int, metavar="BYTES", help="of a CFG-3 in one frame (default: all)")
    parser.add_argument("--udp", action="store_true", help="take commands and send data by UDP instead of TCP")
    parser.add_argument("--data-to", metavar="HOST:PORT", help="send data there by UDP (a multicast group, too)")
    parser.add_argument("--by-itself", action="store_true", help="take no commands; needs --data-to")
    parser.add_argument("--repeat", type=float, metavar="SECONDS", help="from one unasked configuration to the next")
    parser.add_argument(
        "--speed", type=float, default=1.0, help="so many times faster; with --replay 0 = as fast as it is read"
    )
    parser.add_argument(
        "--replay", metavar="FILE", help="send this recording (raw, pcap, pcapng) instead of a simulated PMU"
    )
    parser.add_argument("--loop", action="store_true", help="begin the recording again when it is through")
    return parser


FORMATS = (15, 14, 0, 1, 6, 9)  # of --mixed: floats and integers, polar and rectangular, of both in one PMU


def source_of(options: argparse.Namespace) -> Source:
    """Make the source that the command line asks for.

    Raises:
        DriverError: the recording holds no stream. OSError: it cannot be read. ValueError: an option makes no sense.
    """
    if options.replay:
        return Replay.of_file(options.replay, speed=options.speed, loop=options.loop)
    template = SimulatedPmu()
    pmus = [
        SimulatedPmu(
            station=options.station if options.pmus == 1 else f"{options.station} {number + 1}",
            idcode=None if options.pmus == 1 else options.idcode + number + 1,
            format=FORMATS[number % len(FORMATS)] if options.mixed else options.format,
            phasors=_names(template.phasors, options.phasors, "V"),
            analogs=_names(template.analogs, options.analogs, "ANALOG"),
            digitals=(template.digitals * options.digitals)[: options.digitals],
            nominal=options.nominal,
        )
        for number in range(options.pmus)
    ]
    if options.rate > 240:
        raise ValueError(f"--rate {options.rate}: at most 240 frames a second")
    return SimulatedStream(
        pmus,
        idcode=options.idcode,
        rate=options.rate,
        speed=options.speed,
        cfg3=options.cfg3,
        fragment=options.fragment,
        repeat=options.repeat,
    )


def _names(known: tuple[str, ...], count: int, prefix: str) -> tuple[str, ...]:
    return (known + tuple(f"{prefix}{number}" for number in range(len(known) + 1, count + 1)))[:count]


async def serve(options: argparse.Namespace) -> None:
    """Run until SIGINT or SIGTERM."""
    source = source_of(options)
    data_to = None
    if options.data_to:
        host, _, port = options.data_to.rpartition(":")
        data_to = host, int(port)
    if options.by_itself and data_to is None:
        raise ValueError("--by-itself needs --data-to HOST:PORT")
    ways = {"udp": options.udp, "data_to": data_to, "listens": not options.by_itself}
    async with Simulator(source, host=options.host, port=options.port, **ways) as simulator:
        what = f"replaying {options.replay}" if options.replay else f"{options.station}, {options.rate} frames/s"
        address = f"listening on {Address('udp' if options.udp else 'tcp', simulator.host, simulator.port)}"
        if options.by_itself:
            address = f"sending to udp://{options.data_to}"
        print(f"{address} idcode {source.idcode}: {what}", flush=True)
        async with until_stopped(simulator.set) as stop:
            await stop.wait()


def main(argv: list[str] | None = None) -> int:
    """Run the simulator as a command; give the exit code."""
    logging.basicConfig(format="%(asctime)s %(levelname)s simulator: %(message)s", stream=sys.stderr)
    options = arguments().parse_args(argv)
    try:
        asyncio.run(serve(options))
    except (DriverError, OSError, ValueError) as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
