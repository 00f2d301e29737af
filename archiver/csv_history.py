"""Reading the archiver's CSV files, compressed ones too."""

import csv
import gzip
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from archiver.batch import Event
from archiver.series import SECOND, Point, stamp
from archiver.sinks.csv_batch import SAMPLES_HEADER, quoted
from iocs.signals import Severity

_NAME = re.compile(r"(.*?)(\d{9,})(?:-(\d+))?\.csv(?:\.gz)?")


def files_of(folder: Path, prefix: str) -> list[tuple[int, Path]]:
    """Give the files that begin with a prefix and UTC seconds, with these seconds, in order."""
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        name = _NAME.fullmatch(path.name)
        if name and name[1] == prefix:
            found.append((int(name[2]), int(name[3] or 0), path))
    return [(second, path) for second, _, path in sorted(found)]


def samples(folder: Path, pv: str, start_ns: int) -> list[Point]:
    """Give what the files of single samples say of a PV from a time on, and the last record before it.

    Files are by arrival: what lies in a file may be older than it, never younger than its end.
    """
    files = files_of(folder, "samples_")
    points: list[Point] = []
    for number in range(len(files) - 1, -1, -1):
        points += _samples_in(files[number][1], pv)
        if files[number][0] * SECOND <= start_ns and any(point.time_ns < start_ns for point in points):
            break
    return points


def sample_names(folder: Path) -> set[str]:
    """Give the PVs that the files of single samples speak of."""
    names: set[str] = set()
    for _, path in files_of(folder, "samples_"):
        names |= {line[1] for line in csv.reader(_lines(path, b","))}
    return names - {"pv"}


def _samples_in(path: Path, pv: str) -> Iterator[Point]:
    needle = f",{quoted(pv)},".encode()
    for line in csv.reader(_lines(path, needle)):
        if len(line) == 5 and line[1] == pv:
            severity = Severity[line[3]]
            mark = line[4].split(" ", 1)[0] in set(Event)
            yield Point(stamp(line[0]), None if mark else _value(line[2]), severity, line[4])


def _lines(path: Path, needle: bytes) -> Iterator[str]:
    """Give the whole lines of a file that hold some bytes; without the header of single samples."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    data = data[: data.rfind(b"\n") + 1].removeprefix(SAMPLES_HEADER)
    if needle in data:
        for line in data.split(b"\n"):
            if needle in line:
                yield line.decode()


def _value(cell: str) -> float | str:
    """Read a cell: a number, nothing (NaN), or text."""
    if not cell:
        return float("nan")
    try:
        return float(cell)
    except ValueError:
        return unescaped(cell)


def unescaped(text: str) -> str:
    """Give a text as it was before `escaped`."""
    words = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}
    return re.sub(r"\\[\\nr]", lambda found: words[found[0]], text)


def column(folder: Path, prefixes: Iterable[str], name: str, start_ns: int, end_ns: int) -> list[Point]:
    """Give what the files of a row say of one column from a time to another, and the last record before it."""
    points: list[Point] = []
    for prefix in prefixes:
        files = files_of(folder, prefix)
        for number in range(len(files) - 1, -1, -1):
            if files[number][0] * SECOND > end_ns:
                continue
            points += _column_in(files[number][1], name)
            if files[number][0] * SECOND <= start_ns and any(point.time_ns < start_ns for point in points):
                break
    return points


def _column_in(path: Path, name: str) -> Iterator[Point]:
    lines = csv.reader(_lines(path, b","))
    header = next(lines, [])
    places = [place for place, title in enumerate(header) if title == name or title.startswith(f"{name} (")]
    if places and header[0] == "time":
        for line in lines:
            value = _value(line[places[0]])
            known = value == value
            severity = Severity.NO_ALARM if known else Severity.INVALID
            yield Point(stamp(line[0]), value, severity, "NO_ALARM" if known else "UDF")
