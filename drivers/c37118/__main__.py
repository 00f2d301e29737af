"""Command line of the C37.118 driver: what is in a recording."""

import argparse
import contextlib
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from drivers.c37118.capture import Recording
from drivers.c37118.frames import DataFrame, FrameType
from drivers.c37118.table import Table
from drivers.errors import DriverError

EXAMPLES = """\
FILE is a pcap or pcapng capture (TCP is put in order, UDP; any port) or the raw bytes of a link.

examples:
  python -m drivers.c37118 decode morning.pcapng
  python -m drivers.c37118 decode --json *.pcap
  python -m drivers.c37118 decode stream.raw --csv out.csv

--csv writes one row per data frame and PMU, a file per layout: rows with other columns (another PMU, or channels
changed in mid-stream) go to a file of their own: out.csv, out-2.csv ... Columns: time (s since 1970), stream, pmu,
station, stat, tq, freq (Hz), rocof (Hz/s), NAME:MAG (V or A) and NAME:ANG (deg) of each phasor, analogs, digital
words. Existing files are replaced.

exit status: 0 done, 1 a file could not be read or holds no frame, 2 bad usage
"""


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
    decode.add_argument("--json", action="store_true", help="print one JSON object a file, one line each")
    options = parser.parse_args(argv)
    if options.csv and options.csv in options.files:
        parser.error(f"--csv {options.csv} would overwrite the recording")
    try:
        return _decode(options.files, options.csv, options.json)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has had enough; Python would complain at exit
        return 1


def _decode(files: Sequence[Path], out: Path | None, as_json: bool) -> int:
    status = 0
    with contextlib.ExitStack() as stack:
        table = stack.enter_context(Table(out)) if out else None
        for path in files:
            recording = Recording(path)
            try:
                _read(recording, table)
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
        if table:
            for path, rows in table.rows.items():
                print(f"{path}: {rows} rows", file=sys.stderr)
            if not table.rows:
                print(f"{out}: not written, no data frame could be decoded", file=sys.stderr)
    return status


def _read(recording: Recording, table: Table | None) -> None:
    """Run through a recording; a reason why frames are not decoded is told once a stream, type and kind of error."""
    told: Counter[tuple[str, int, FrameType, type[Exception]]] = Counter()
    for captured in recording:
        if captured.error:
            kind = captured.sender, captured.idcode, captured.type, type(captured.error)
            told[kind] += 1
            if told[kind] == 1:
                print(f"{recording.path}: {captured.sender}: {captured.error}", file=sys.stderr)
        elif table and isinstance(captured.message, DataFrame) and captured.configuration:
            table.write(captured.message, captured.configuration)


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
