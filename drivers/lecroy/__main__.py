"""Command line of the LeCroy driver: look at waveform files."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from drivers.errors import DriverError
from drivers.lecroy.show import clean, load, plot, report, write_csv

SHOW = """\
examples:
  python -m drivers.lecroy show C2-run7-00001.trc
  python -m drivers.lecroy show C2-run7-00001.trc --csv > pulse.csv
  python -m drivers.lecroy show C1-run7-00001.trc C2-run7-00001.trc --plot pulse.png

--csv writes a header, then a line for each valid point, segments in order: (segment,) time after its trigger, value.

exit status: 0 done, 1 a file could not be read, 2 bad usage
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


def _said(path: Path, error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or path}: {error.strerror or error}"
    return str(error) if str(path) in str(error) else f"{path}: {error}"


if __name__ == "__main__":
    sys.exit(main())
