"""Command line of the CAEN driver: what a supply says of itself."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence

from drivers.caen_hv.client import PORT, Client
from drivers.caen_hv.probe import probe
from drivers.errors import DriverError
from drivers.link import make_link, parse_address

EXAMPLES = """\
Only questions are sent (CMD:MON): nothing in the supply is changed. The supply takes one connection, so stop the IOC
or set its ENABLE to 0 first.

examples:
  python -m drivers.caen_hv probe tcp://10.0.0.5:1470
  python -m drivers.caen_hv probe 'serial:///dev/serial/by-id/usb-CAEN?baud=9600&xonxoff=on' --boards 0-3

exit status: 0 done, 1 no connection or no answer, 2 bad usage
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; give the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m drivers.caen_hv", description="CAEN high-voltage supplies of the N1470 family."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser(
        "probe",
        help="report all that a supply says, changing nothing",
        description="Report all that a supply says of itself, changing nothing.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("link", metavar="LINK", help="address of the supply, e.g. tcp://10.0.0.5:1470")
    command.add_argument(
        "--boards", type=_boards, default=(0,), help="numbers of the boards on the line, e.g. 0,2 or 0-3 (default 0)"
    )
    command.add_argument("--timeout", type=float, default=1.0, help="s for one exchange (default %(default)g)")
    options = parser.parse_args(argv)
    try:
        link = make_link(parse_address(options.link, PORT))
    except ValueError as error:
        parser.error(str(error))
    if not 0 < options.timeout <= 60:
        parser.error(f"--timeout {options.timeout:g}: above 0 and up to 60 s, please")
    try:
        return asyncio.run(_probe(Client(link, options.boards, options.timeout)))
    except DriverError as error:
        print(error, file=sys.stderr)
        return 1


def _boards(text: str) -> tuple[int, ...]:
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise argparse.ArgumentTypeError(f"{text!r} is no list of board numbers: write 0, 0,2 or 0-3")
        numbers += range(int(first), int(last or first) + 1)
    if not numbers or not all(0 <= number <= 31 for number in numbers):
        raise argparse.ArgumentTypeError(f"{text!r}: boards are numbered 0 to 31")
    return tuple(dict.fromkeys(numbers))


async def _probe(client: Client) -> int:
    """Report; a signal ends the session in order all the same."""
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, lambda: task and task.cancel())
    try:
        await client.open()
        report = await probe(client, _progress)
    except asyncio.CancelledError:
        print("stopped", file=sys.stderr)
        return 0
    finally:
        await client.close()
        _progress(0, 0)
    print("\n".join(report))
    return 0


def _progress(done: int, total: int) -> None:
    """Show how far we are, when stderr is a terminal; total 0 takes it away again."""
    if sys.stderr.isatty():
        print(f"\r{done}/{total} questions" if total else "\r\x1b[K", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
