"""Rows of a table put in order: what came twice, late, or after a reset is counted and shown (pure)."""

from collections import Counter
from collections.abc import Callable

import numpy as np

_WRAP = 2**32 - 1  # a record number counts to 2^32


class Order:
    """What was seen of a table so far.

    One stamp is one row: the same line again is dropped, another line with the same stamp takes the place of the
    earlier one. Within a block rows are put in order of time; a block that begins before the end of the one before is
    told by `late`.

    Attributes:
        last_ns: the newest stamp, None before the first row.
        last_record: the newest record number; -1 before the first.
        last_line: the bytes of the newest row.
        late: whether rows came after others with a later stamp, so that who writes in order must sort.
    """

    def __init__(self, counts: Counter[str]) -> None:
        self.last_ns: int | None = None
        self.late = False
        self.last_record = -1.0
        self.last_line = b""
        self._counts = counts

    def sort(
        self, time_ns: np.ndarray, record: np.ndarray | None, line: Callable[[int], bytes]
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Take note of a block's rows.

        Args:
            time_ns: int64[n], n > 0, as they lie in the file.
            record: float64[n], NaN where it is none; None where the table has no such column.
            line: gives the bytes of a row.

        Returns:
            Which rows to take in which order, int[k]; None = all as they are.
            Which rows have the clock behind them put back while records went on, bool[n]; None = none.
        """
        clock = self._records(time_ns, record) if record is not None else None
        newest, steps = self.last_ns, np.diff(time_ns)
        repeat = newest is not None and time_ns[0] == newest and _same(line(0), self.last_line)
        if newest is not None and time_ns[0] <= newest and not repeat:
            self.late = True
            self._note("out of order", int(time_ns[0] < newest))
        chosen = None
        if not (steps > 0).all() or repeat:
            self._note("out of order", int((steps < 0).sum()))
            chosen = self._chosen(time_ns, line, repeat)
        last = int(np.argmax(time_ns))
        if newest is None or time_ns[last] > newest:
            self.last_ns = int(time_ns[last])
        self.last_line = line(len(time_ns) - 1)
        return chosen, clock

    def _note(self, reason: str, number: int) -> None:
        if number:
            self._counts[reason] += number

    def _chosen(self, time_ns: np.ndarray, line: Callable[[int], bytes], repeat: bool) -> np.ndarray:
        order = np.argsort(time_ns, kind="stable")
        if repeat:
            self._counts["duplicate"] += 1
            order = order[order != 0]
        if not len(order):
            return order
        times = time_ns[order]
        again = np.append(times[1:] == times[:-1], False)
        for place in np.flatnonzero(again).tolist():
            same = _same(line(int(order[place])), line(int(order[place + 1])))
            self._counts["duplicate" if same else "same time, other values"] += 1
        return order[~again]

    def _records(self, time_ns: np.ndarray, record: np.ndarray) -> np.ndarray | None:
        good = np.flatnonzero(~np.isnan(record))
        if not len(good):
            return None
        numbers = record[good]
        before = self.last_record
        self.last_record = float(numbers[-1])
        steps = np.diff(numbers, prepend=before if before >= 0 else numbers[0] - 1)
        if (steps == 1).all() and len(good) == len(record):
            times = np.diff(time_ns, prepend=time_ns[0] if self.last_ns is None else self.last_ns)
            behind = times < 0
        else:
            times = np.diff(time_ns[good], prepend=time_ns[good[0]] if self.last_ns is None else self.last_ns)
            self._note("RECORD starts again", int(((steps < 0) & (steps != -_WRAP)).sum()))
            self._note("records lost", int((steps[steps > 1] - 1).sum()))
            behind = (times < 0) & (steps > 0)
        if not behind.any():
            return None
        self._note("clock put back", int(behind.sum()))
        flags = np.zeros(len(record), bool)
        flags[good[behind]] = True
        return flags


def _same(one: bytes, other: bytes) -> bool:
    return one.rstrip(b"\r\n, ") == other.rstrip(b"\r\n, ")
