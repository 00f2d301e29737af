"""Command line of the LeCroy driver: look at waveform files, take events from a scope."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from drivers.errors import DeviceError, DriverError
from drivers.lecroy.acquire import acquire
from drivers.lecroy.run import FORMATS, Run
from drivers.lecroy.scope import Scope
from drivers.lecroy.show import clean, load, plot, report, write_csv

SHOW = """\
examples:
  python -m drivers.lecroy show C2-run7-00001.trc
  python -m drivers.lecroy show C2-run7-00001.trc --csv > pulse.csv
  python -m drivers.lecroy show C1-run7-00001.trc C2-run7-00001.trc --plot pulse.png

--csv writes a header, then a line for each valid point, segments in order: (segment,) time after its trigger, value.

exit status: 0 done, 1 a file could not be read, 2 bad usage
"""

ACQUIRE = """\
examples:
  python -m drivers.lecroy acquire vxi11://192.168.0.30/inst0 -n 100 -c C2 -o data --name pico
  python -m drivers.lecroy acquire vxi11://192.168.0.30/inst0 -t 600 -c C1 -c C2 --format npz

Files are C2-NAME-0001-00001.trc ... (run 1, event 1), or NAME-0001.npz, and NAME-0001.json with the settings. Nothing
is ever written over. Ctrl-C ends the run in order.

exit status: 0 done or stopped, 1 it could not be carried out, 2 bad usage
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; give the exit status."""
    parser = argparse.ArgumentParser(prog="python -m drivers.lecroy", description="Teledyne LeCroy oscilloscopes.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser(
        "show",
        help="say what is in .trc files",
        description="Say what is in .trc files, as the scope saves them or as it answered WF?.",
        epilog=SHOW,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("files", nargs="+", type=Path, metavar="FILE.trc")
    command.add_argument("--csv", action="store_true", help="write the values of one file to stdout instead")
    command.add_argument("--plot", type=Path, metavar="OUT.png", help="draw them into an image (needs matplotlib)")
    command.set_defaults(run=_show, parser=command)
    command = commands.add_parser(
        "clean",
        help="copy files without the reply around the block",
        description="Copy .trc files without the reply ('C1:WF ALL,' and a line end) that older programs left around "
        "the block. Existing files are never replaced.",
    )
    command.add_argument("files", nargs="+", type=Path, metavar="FILE.trc")
    command.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder of the copies")
    command.set_defaults(run=_clean, parser=command)
    command = commands.add_parser(
        "acquire",
        help="take events from a scope into files",
        description="Take events from a scope into files. Its settings stay as they are; only the trigger mode becomes "
        "SINGLE for each event.",
        epilog=ACQUIRE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("link", metavar="LINK", help="address of the scope, e.g. vxi11://192.168.0.30/inst0")
    command.add_argument("-n", "--events", type=int, default=0, help="how many (a sequence is one); 0 = no limit")
    command.add_argument("-t", "--seconds", type=float, default=0.0, help="for how long; 0 = no limit")
    command.add_argument(
        "-c",
        "--channel",
        action="append",
        metavar="C2",
        help="channel to keep, may be repeated (default: all that the scope shows)",
    )
    command.add_argument("-o", "--output", type=Path, default=Path(), metavar="DIR", help="folder (default: here)")
    command.add_argument("--name", default="run", help="of the run, in the names of its files (default %(default)s)")
    command.add_argument("--format", choices=FORMATS, default="trc", help="a file an event and channel, or one .npz")
    command.set_defaults(run=_acquire, parser=command)
    options = parser.parse_args(argv)
    try:
        return options.run(options)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has had enough; Python would complain at exit
        return 1


def _show(options: argparse.Namespace) -> int:
    if options.csv and (len(options.files) > 1 or options.plot):
        options.parser.error("--csv is for one file, and not together with --plot")
    status, shown = 0, []
    for path in options.files:
        try:
            waveform = load(path)
        except (OSError, DriverError) as error:
            print(_said(path, error), file=sys.stderr)
            status = 1
            continue
        shown.append((path.name, waveform))
        if options.csv:
            write_csv(waveform, sys.stdout)
            sys.stdout.flush()
        elif not options.plot:
            print((f"{path}\n" if len(options.files) > 1 else "") + report(waveform))
    if options.plot and shown:
        try:
            plot(shown, options.plot)
        except ImportError as error:
            print(f"--plot needs matplotlib: pip install 'countinghouse[plot]' ({error})", file=sys.stderr)
            return 1
        except (OSError, ValueError) as error:
            print(_said(options.plot, error), file=sys.stderr)
            return 1
    return status


def _clean(options: argparse.Namespace) -> int:
    status = 0
    for path in options.files:
        try:
            options.output.mkdir(parents=True, exist_ok=True)
            clean(path, options.output / path.name)
        except (OSError, DriverError) as error:
            print(_said(path, error), file=sys.stderr)
            status = 1
    return status


def _acquire(options: argparse.Namespace) -> int:
    try:
        channels = [channel.upper() for channel in options.channel or ["C1"]]
        run = Run(options.output, options.name, channels, options.events, options.seconds, options.format)
        scope = Scope(options.link)
        if strangers := [channel for channel in channels if channel not in scope.channels]:
            raise ValueError(f"{', '.join(strangers)}: channels are {', '.join(scope.channels)}")
    except ValueError as error:
        options.parser.error(str(error))
        raise  # which it never comes to: error() has left
    try:
        asyncio.run(_take(scope, run, bool(options.channel)))
    except (DriverError, OSError) as error:
        print(_said(run.directory, error), file=sys.stderr)
        return 1
    if run.number:
        left_out = f", {run.left_out} left out" if run.left_out else ""
        print(f"{run.title}: {run.done} events in {run.elapsed:.1f} s{left_out}")
    return 0


async def _take(scope: Scope, run: Run, chosen: bool) -> None:
    """Take the run, of the channels that are shown where none were chosen; a signal ends it in order."""
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, lambda: task and task.cancel())
    try:
        await scope.open()
        settings = await scope.settings()
        shown = [each for each in scope.channels if settings.get(f"{each}:TRA") == "ON"]
        hidden = [each for each in run.channels if each not in shown]
        if chosen and hidden:
            raise DeviceError(f"{', '.join(hidden)}: not shown by the scope; switch it on there")
        if not chosen and not shown:
            raise DeviceError("the scope shows no channel, so there is nothing to keep")
        run.channels = run.channels if chosen else shown
        await acquire(scope, run, tell=_progress)
    except asyncio.CancelledError:
        print(f"{_line_end()}stopped", file=sys.stderr)
    else:
        print(_line_end(), end="", file=sys.stderr)
    finally:
        await scope.close()


def _line_end() -> str:
    return "\n" if sys.stderr.isatty() else ""


def _progress(run: Run, text: str) -> None:
    """Show how far we are, when stderr is a terminal; what holds the run up is said in any case."""
    bar = sys.stderr.isatty()
    if text:
        print(("\r\x1b[K" if bar else "") + text, file=sys.stderr)
    if bar:
        filled = round(30 * run.progress)
        left = "" if run.remaining is None else f", {run.remaining:.0f} s left"
        print(f"\r[{'#' * filled}{' ' * (30 - filled)}] {run.done} events{left}\x1b[K", end="", file=sys.stderr)
        sys.stderr.flush()


def _said(path: Path, error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or path}: {error.strerror or error}"
    return str(error) if str(path) in str(error) else f"{path}: {error}"


if __name__ == "__main__":
    sys.exit(main())
