"""What a run has to do: nothing, what is new, or all."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingest.cr1000 import csv_text, influx_text
from ingest.cr1000.columns import NO_TEXTS, Chunk, Texts
from ingest.cr1000.layers import EVER
from ingest.cr1000.resume import resume
from ingest.cr1000.tables import Reader
from iocs.archive_tables import InfluxTable

_ROLLED = r"\.(?:backup|bak)\d*"
"""What LoggerNet and its Data Filer put behind the name of a file whose header has changed."""


@dataclass(frozen=True)
class Wanted:
    """What is asked for.

    Attributes:
        station: its name.
        digest: of its configuration: another one is another result.
        csv: the file; None = none.
        stdout: CSV to stdout.
        long: CSV has a line a value.
        influx: the server; None = none. Its name is that of `[archive.influx]`.
        average_ns: length of the spans of means; 0 = rows as they are.
        interval_ns: time between rows; 0 = as the data tell.
        from_ns: the first stamp that is wanted; None = all.
        to_ns: the first stamp that is not wanted any more; None = all.
        settings: what else makes another result, as text.
    """

    station: str
    digest: str
    csv: Path | None = None
    stdout: bool = False
    long: bool = False
    influx: InfluxTable | None = None
    average_ns: int = 0
    interval_ns: int = 0
    from_ns: int | None = None
    to_ns: int | None = None
    settings: str = ""

    def texts(self, chunk: Chunk) -> Texts:
        """Format rows for the outputs that take them as they are."""
        if self.average_ns:
            return NO_TEXTS
        csv = csv_text.lines(chunk, self.long) if self.csv or self.stdout else None
        influx = influx_text.lines(chunk, influx_text.start_of(self.station)) if self.influx else None
        return Texts(csv, influx)

    @property
    def key(self) -> dict[str, Any]:
        """What a result depends on, but for the files."""
        influx = None if self.influx is None else [self.influx.url, self.influx.bucket]
        return {
            "station": self.station,
            "digest": self.digest,
            "csv": str(self.csv),
            "long": self.long,
            "influx": influx,
            "span": [self.average_ns, self.interval_ns, self.from_ns, self.to_ns],
            "settings": self.settings,
        }


@dataclass
class Start:
    """Where to begin with a file.

    Attributes:
        offset: byte, for `tables.read`.
        saved: for `resume`, which prepares the reader; None = a new reader.
        unchanged: there is nothing to read.
    """

    offset: int = 0
    saved: dict[str, Any] | None = None
    unchanged: bool = False


def starts(saved: Mapping[str, Any], wanted: Wanted, paths: Sequence[Path]) -> dict[Path, Start] | str:
    """Find out where to go on with each file, or why all must be done anew.

    Args:
        saved: what the run before has left.
        wanted: what is asked for.
        paths: the files.

    Raises:
        OSError: a file cannot be read.
    """
    if not saved.get("complete") or wanted.stdout:
        return ""
    if saved["key"] != wanted.key:
        return "the configuration means something else, or something else is wanted"
    files, names = saved["files"], dict.fromkeys(map(name_of, paths))
    if gone := [name for name in files if name not in names]:
        return f"{', '.join(gone)}: not among the files any more"
    if [name for name in names if name in files] != saved.get("order"):
        return "the files come in another order"
    if wanted.csv and look_if_there(wanted.csv) != saved["csv"]:
        return f"{wanted.csv}: not as it was left"
    found: dict[Path, Start] = {}
    behind = EVER  # the newest stamp of the files that count more
    for path in reversed(paths):
        known = files.get(name_of(path))
        if known is None:
            found[path] = Start()
        elif not known["look"]:
            return f"{path}: could not be read to its end"
        elif look(path) == known["look"]:
            found[path] = Start(unchanged=True)
        elif known["mark"] is None or (offset := resume(Reader(""), path, known["mark"])) is None:
            return f"{path}: more than rows were added{_rolled(path)}"
        else:
            found[path] = Start(offset, known["mark"])
        last = EVER if known is None or known["last_ns"] is None else known["last_ns"]
        if not found[path].unchanged and behind != EVER and last <= behind:
            return f"{path}: may have rows of times that a later file has too, which count"
        behind = max(behind, last)
    if wanted.average_ns and not all(start.unchanged for start in found.values()):
        return "a mean needs all rows of its span"
    return found


def _rolled(path: Path) -> str:
    """Tell of files that may be what a path was before another one got its name."""
    rolled = re.compile(re.escape(path.name) + _ROLLED, re.IGNORECASE)
    names = [each.name for each in sorted(path.parent.iterdir()) if rolled.fullmatch(each.name)]
    return f"; what it was is lost to the outputs unless {', '.join(names)} is named before it" if names else ""


def look(path: Path) -> list[int]:
    """Say what tells that a file is as it was: size, ns of its last change, and its number.

    Raises:
        OSError: it cannot be looked at.
    """
    told = path.stat()
    return [told.st_size, told.st_mtime_ns, told.st_ino]


def look_if_there(path: Path) -> list[int] | None:
    """The same, None where it cannot be looked at."""
    try:
        return look(path)
    except OSError:
        return None


def name_of(path: Path) -> str:
    """Give the name by which a file is known."""
    return str(path.resolve())
