"""The tolerant way: lines of a block one by one, each row taken or dropped for a reason that is counted (pure)."""

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from ingest.cr1000 import missing
from ingest.cr1000.numpy_cells import decoded
from ingest.cr1000.quoting import Rule, split
from ingest.cr1000.stamps import array_stamp, stamp

_LINE_END = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a table's rows have their time, counted from 0.

    Attributes:
        time: columns of the stamp: one, or year, day and hhmm of an array.
        record: column of the record number; -1 where there is none.
        width: fields of a row; 0 where no header tells.
    """

    time: tuple[int, ...] = (0,)
    record: int = -1
    width: int = 0

    def stamp(self, cells: list[str]) -> tuple[int, bool] | None:
        """Read a row's stamp: ns since 1970, and whether it says 24:00; None if it has none."""
        if max(self.time) >= len(cells):
            return None
        if len(self.time) == 1:
            return stamp(cells[self.time[0]])
        read = [missing.number(cells[column])[0] for column in self.time]
        return array_stamp(*read)


class RowCells:
    """Rows that were kept.

    Attributes:
        count: rows.
        width: fields of the longest.
        lines: int64[n], the number of each one's line.
        time_ns: int64[n].
    """

    def __init__(self, block: bytes, first_line: int, layout: Layout, counts: Counter[str]) -> None:
        self._rows: list[list[str]] = []
        self._raw: list[bytes] = []
        lines: list[int] = []
        times: list[int] = []
        for number, line in enumerate(_LINE_END.split(block), first_line):
            if not line.strip(b" \t,"):
                continue
            row, time_ns = _row(line, layout, counts)
            if row is not None:
                self._rows.append(row)
                self._raw.append(line)
                lines.append(number)
                times.append(time_ns)
        self.count = len(times)
        self.width = max(map(len, self._rows), default=0)
        self.lines = np.array(lines, np.int64)
        self.time_ns = np.array(times, np.int64)

    def line(self, row: int) -> bytes:
        """Give the bytes of a row."""
        return self._raw[row]

    def number(self, column: int) -> tuple[np.ndarray, int]:
        """Read a column of numbers: float64[n], NaN for what is none; and how many cells are neither."""
        read = [missing.number(row[column]) if column < len(row) else (np.nan, True) for row in self._rows]
        return np.array([value for value, _ in read], float), sum(not good for _, good in read)

    def coded(self, column: int) -> tuple[np.ndarray, list[str]]:
        """Read a column of texts: int[n], numbers of the texts; the different texts."""
        known: dict[str, int] = {}
        codes = [known.setdefault(row[column] if column < len(row) else "", len(known)) for row in self._rows]
        return np.array(codes, np.intp), list(known)


def _row(line: bytes, layout: Layout, counts: Counter[str]) -> tuple[list[str] | None, int]:
    if b"\0" in line:
        counts["NUL bytes in a row"] += 1
        return None, 0
    cells, rule = split(decoded(line))
    if layout.width and len(cells) == layout.width + 1 and not cells[-1].strip():
        cells.pop()  # a comma behind the last value, as some loggers write it
    if layout.width and len(cells) != layout.width:
        counts["wrong number of fields"] += 1
        return None, 0
    found = layout.stamp(cells)
    if found is None:
        counts["no time stamp"] += 1
        return None, 0
    if found[1]:
        counts["24:00"] += 1
    if rule is Rule.LENIENT:
        counts["quotes read leniently"] += 1
    return cells, found[0]
