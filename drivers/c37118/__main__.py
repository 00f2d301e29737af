"""Command line of the C37.118 driver: what is in a recording."""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from drivers.c37118.arrays import NpzFile
from drivers.c37118.capture import Captured, Recording
from drivers.c37118.decoding import Sink, pour
from drivers.c37118.frames import FrameType
from drivers.c37118.table import Table
from drivers.digits import ValueDigits
from drivers.errors import DriverError

EXAMPLES = """\
FILE is a pcap or pcapng capture (TCP is put in order, UDP; any port) or the raw bytes of a link.

examples:
  python -m drivers.c37118 decode morning.pcapng
  python -m drivers.c37118 decode --json *.pcap
  python -m drivers.c37118 decode stream.raw --csv out.csv
  python -m drivers.c37118 decode stream.raw --csv out.csv --digits repr --time ns
  python -m drivers.c37118 decode stream.raw --npz out.npz

--csv writes a row a data frame, a file for each PMU and each of its layouts (channels changed in mid-stream): out.csv,
out-2.csv ... Columns: time, stream, pmu, station, stat, tq, freq (Hz), rocof (Hz/s), NAME:MAG (V or A) and NAME:ANG
(deg) of each phasor, analogs, digital words. Times and values are written as the archive writes them. --npz writes an
array for each PMU and layout, for numpy.load. Existing files are replaced.

exit status: 0 done, 1 a file could not be read or holds no frame, 2 bad usage
"""


FIRST_BAR = 0.5  # s; what takes less needs no bar


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; give the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m drivers.c37118", description="IEEE C37.118 (2005, 2011) synchrophasor frames."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    decode = commands.add_parser(
        "decode",
        help="say what is in recordings, and write their data as CSV",
        description="Find the C37.118 frames in recordings and count them by stream and type.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    decode.add_argument("files", nargs="+", type=Path, metavar="FILE", help="pcap, pcapng or raw recording")
    decode.add_argument("--csv", type=Path, metavar="OUT", help="write the data frames to OUT, OUT-2 ...")
    decode.add_argument("--npz", type=Path, metavar="OUT", help="write the data frames to OUT as numpy arrays")
    decode.add_argument(
        "--digits", type=_digits, default=7, help='significant digits of values, or "repr" (default %(default)s)'
    )
    decode.add_argument(
        "--time", choices=("seconds", "iso", "ns"), default="seconds", help="form of times (default %(default)s)"
    )
    decode.add_argument(
        "--time-digits", type=int, choices=range(10, 20), default=13, metavar="N", help="of seconds; 13 is ms (default)"
    )
    decode.add_argument("--json", action="store_true", help="print one JSON object a file, one line each")
    options = parser.parse_args(argv)
    taken = {path.resolve(): "the recording" for path in options.files}
    for name in ("csv", "npz"):
        if path := getattr(options, name):
            if what := taken.get(path.resolve()):
                parser.error(f"--{name} {path} would overwrite {what}")
            taken[path.resolve()] = f"the file of --{name}"
    table = Table(options.csv, options.time, options.time_digits, options.digits) if options.csv else None
    npz = NpzFile(options.npz) if options.npz else None
    try:
        return _decode(options.files, table, npz, options.json)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has had enough; Python would complain at exit
        return 1


def _digits(text: str) -> ValueDigits:
    if text == "repr":
        return "repr"
    if text.isdecimal() and 1 <= int(text) <= 17:
        return int(text)
    raise argparse.ArgumentTypeError(f'{text!r} is neither a number from 1 to 17 nor "repr"')


def _decode(files: Sequence[Path], table: Table | None, npz: NpzFile | None, as_json: bool) -> int:
    status = 0
    sinks = [sink for sink in (table, npz) if sink]
    for path in files:
        recording = Recording(path)
        try:
            _read(recording, sinks)
        except (OSError, DriverError) as error:
            print(_said(path, error), file=sys.stderr)
            status = 1
            continue
        for note in recording.notes:
            print(f"{path}: {note}", file=sys.stderr)
        if not any(sender.frames for sender in recording.senders.values()):
            newer = sum(sender.unsupported for sender in recording.senders.values())
            more = f" ({newer} of the 2024 edition, unsupported)" if newer else ""
            print(f"{path}: no C37.118 frame of 2005 or 2011 with a good CRC in it{more}", file=sys.stderr)
            status = 1
        if as_json:
            print(json.dumps(_totals(recording)))
        elif recording.senders:
            print(_report(recording))
    for sink in sinks:
        try:
            sink.close()
        except OSError as error:
            print(_said(sink.path, error), file=sys.stderr)
            return 1
        for name, rows in sink.rows.items():
            print(f"{name if sink is table else f'{sink.path}: {name}'}: {rows} rows", file=sys.stderr)
        if not sink.rows:
            print(f"{sink.path}: not written{'' if status else ', no data frame could be decoded'}", file=sys.stderr)
    return status


def _read(recording: Recording, sinks: Sequence[Sink]) -> None:
    """Run through a recording; a reason why frames are not decoded is told once a stream, type and kind of error."""
    told: Counter[tuple[str, int, FrameType, type[Exception]]] = Counter()
    bar = Progress(recording) if sys.stderr.isatty() else None

    def tell(captured: Captured) -> None:
        if captured.error:
            kind = captured.sender, captured.idcode, captured.type, type(captured.error)
            told[kind] += 1
            if told[kind] == 1:
                print(f"{recording.path}: {captured.sender}: {captured.error}", file=sys.stderr)

    try:
        if bar:
            pour(recording, sinks, tell, bar.show)
        else:
            pour(recording, sinks, tell)
    finally:
        if bar:
            bar.end()


class Progress:
    """How far a recording has been read, as a bar on a terminal's stderr."""

    width = 40

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._size = recording.path.stat().st_size if recording.path.is_file() else 0
        self._begun = time.monotonic()
        self._next = self._begun + FIRST_BAR

    def show(self) -> None:
        """Draw the bar anew, five times a second at most."""
        now = time.monotonic()
        if now < self._next or not self._size:
            return
        self._next = now + 0.2
        done = min(self._recording.position / self._size, 1.0)
        bar = "#" * round(done * self.width)
        left = (now - self._begun) * (1 - done) / done if done else 0.0
        text = f"\r{self._recording.path.name} [{bar:<{self.width}}] {done:4.0%}, {left:.0f} s left "
        print(text, end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Take the bar away."""
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def _said(path: Path, error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or path}: {error.strerror or error}"
    return str(error)


def _totals(recording: Recording) -> dict[str, str | int]:
    senders = recording.senders.values()
    totals: dict[str, str | int] = {"file": str(recording.path)}
    for kind in ("data", "header", "cfg1", "cfg2", "cfg3", "command"):
        totals[kind] = sum(sender.total(FrameType[kind.upper()]) for sender in senders)
    totals["bad_crc"] = sum(sender.bad_crc for sender in senders)
    totals["skipped_bytes"] = sum(sender.skipped_bytes for sender in senders)
    totals["undecoded"] = sum(sender.undecoded.total() for sender in senders)
    return totals


def _report(recording: Recording) -> str:
    lines = [f"{recording.path}:"]
    for sender in sorted(recording.senders.values(), key=lambda sender: sender.name):
        lines.append(f"  {sender.name}")
        for idcode in sorted({idcode for idcode, _ in sender.frames}):
            counts = [
                f"{sender.frames[idcode, kind]} {kind.name.lower()}"
                for kind in FrameType
                if sender.frames[idcode, kind]
            ]
            if sender.undecoded[idcode]:
                counts.append(f"{sender.undecoded[idcode]} data undecoded")
            lines.append(f"    stream {idcode}: {', '.join(counts)}")
        lines.append(f"    {sender.bad_crc} bad CRC, {sender.skipped_bytes} bytes skipped")
        if sender.holes:
            lines.append(f"    {sender.holes} holes: bytes that the recording misses")
        if sender.connections > 1:
            lines.append(f"    {sender.connections} connections")
        if sender.unsupported:
            lines.append(f"    {sender.unsupported} frames of the 2024 edition, unsupported")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
