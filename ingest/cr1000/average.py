"""Means over equal spans of time (pure): scalar ones, vector winds, the greatest gust; count, coverage, deviation.

A logger stamps the end of what it has measured, so a span of an hour holds the rows behind the full hour up to and
including the next one, and is stamped with its end: the row of 00:00 belongs to the day before.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from ingest.cr1000.columns import Chunk, Column, joined
from ingest.cr1000.times import SECOND

_WIND = re.compile(r"(WS|WD)(\d*)")
_NEAR_NORTH = 360 - 1e-10
_STEP = SECOND // 2  # to which the interval of rows is rounded
_CALM = 1e-9  # m/s, or the length of a mean unit vector: below it there is no direction


class Average:
    """Averages rows that come in order of time.

    Each numeric parameter gives four columns: the mean, its count of rows, their coverage (count over the rows that the
    span should have), and the standard deviation (of the sample: over count - 1). Where a station has both WS and WD of
    a number, rows with both are averaged as vectors: the mean speed is the length of the mean vector, its deviation
    that of the speeds, the deviation of the direction Yamartino's (J. Climate Appl. Meteor. 23, 1984,
    1362). WSx gives the greatest. A text parameter is that of the newest row.

    Args:
        span_ns: length of a span.
        interval_ns: time between rows; 0 = the most common step so far, rounded to 0.5 s.
    """

    def __init__(self, span_ns: int, interval_ns: int = 0) -> None:
        self._span, self._interval = span_ns, interval_ns
        self._steps: Counter[int] = Counter()
        self._held: Chunk | None = None

    def feed(self, chunk: Chunk) -> Iterator[Chunk]:
        """Give the spans that are whole."""
        if not len(chunk):
            return
        before = chunk.time_ns[0] if self._held is None else self._held.time_ns[-1]
        steps = (np.diff(chunk.time_ns, prepend=before) + _STEP // 2) // _STEP * _STEP
        for step, count in zip(*np.unique(steps[steps > 0], return_counts=True), strict=True):
            self._steps[int(step)] += int(count)
        rows = chunk if self._held is None else joined([self._held, chunk])
        spans = _spans(rows.time_ns, self._span)
        whole = int(np.searchsorted(spans, spans[-1]))
        self._held = rows.take(slice(whole, None))
        if whole:
            yield self._means(rows.take(slice(0, whole)))

    def end(self) -> Iterator[Chunk]:
        """Give the last span, as far as it is there."""
        held, self._held = self._held, None
        if held is not None:
            yield self._means(held)

    def _means(self, rows: Chunk) -> Chunk:
        spans = _spans(rows.time_ns, self._span)
        ends, begins = np.unique(spans, return_index=True)
        interval = self._interval or (max(self._steps, key=lambda step: (self._steps[step], -step), default=0))
        expected = self._span / interval if interval else math.nan
        by_name = {column.name: column for column in rows.columns}
        columns: list[Column] = []
        for column in rows.columns:
            columns += _Spans(column, begins, expected).columns(_partner(column, by_name))
        return Chunk(ends * self._span, columns)


def _spans(time_ns: np.ndarray, span_ns: int) -> np.ndarray:
    return -(-time_ns // span_ns)


def _partner(column: Column, by_name: dict[str, Column]) -> Column | None:
    """Give the direction of a speed, the speed of a direction."""
    found = _WIND.fullmatch(column.name)
    return by_name.get(("WD" if found[1] == "WS" else "WS") + found[2]) if found else None


class _Spans:
    """The spans of one column; `begins` are the first rows of each."""

    def __init__(self, column: Column, begins: np.ndarray, expected: float) -> None:
        self._column, self._begins, self._expected = column, begins, expected
        self._lengths = np.diff(begins, append=len(column.covered))
        self._last = begins + self._lengths - 1

    def columns(self, partner: Column | None) -> Sequence[Column]:
        """Give the columns of its means."""
        column = self._column
        covered = np.logical_or.reduceat(column.covered, self._begins)
        serial = column.serial[self._last]
        if isinstance(column.values, list):
            newest = [column.values[row] for row in self._last.tolist()]
            return [Column(column.name, column.unit, newest, covered, column.serials, serial)]
        values = column.values
        good = ~np.isnan(values)
        if partner is not None:
            good &= ~np.isnan(partner.values)
        count = self._sum(good)
        if column.name.startswith("WD"):
            mean, deviation = self._direction(values, good, count, partner)
        elif column.name.startswith("WSx"):
            mean, deviation = self._greatest(values), self._deviation(values, good, count)
        elif partner is not None:
            east, north = self._vector(partner.values, values, good, count)
            mean, deviation = np.hypot(east, north), self._deviation(values, good, count)
        else:
            mean, deviation = self._mean(values, good, count), self._deviation(values, good, count)
        none, silent = [], np.full(len(count), -1, np.int32)
        return [
            Column(column.name, column.unit, mean, covered, column.serials, serial),
            Column(f"{column.name}_count", "", count.astype(float), covered, none, silent),
            Column(f"{column.name}_coverage", "", count / self._expected, covered, none, silent),
            Column(f"{column.name}_sd", column.unit, deviation, covered, none, silent),
        ]

    def _sum(self, values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values.astype(float), self._begins)

    def _mean(self, values: np.ndarray, good: np.ndarray, count: np.ndarray) -> np.ndarray:
        total = self._sum(np.where(good, values, 0.0))
        return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)

    def _deviation(self, values: np.ndarray, good: np.ndarray, count: np.ndarray) -> np.ndarray:
        away = np.where(good, values - np.repeat(self._mean(values, good, count), self._lengths), 0.0)
        square = np.divide(self._sum(away**2), count - 1, out=np.full(len(count), np.nan), where=count > 1)
        return np.sqrt(square)

    def _greatest(self, values: np.ndarray) -> np.ndarray:
        return np.fmax.reduceat(values, self._begins)

    def _vector(
        self, direction: np.ndarray, speed: np.ndarray, good: np.ndarray, count: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Give the mean vector, towards where the direction points."""
        angle = np.radians(direction)
        return self._mean(speed * np.sin(angle), good, count), self._mean(speed * np.cos(angle), good, count)

    def _direction(
        self, values: np.ndarray, good: np.ndarray, count: np.ndarray, speed: Column | None
    ) -> tuple[np.ndarray, np.ndarray]:
        ones = np.ones(len(values))
        east, north = self._vector(values, ones if speed is None else speed.values, good, count)
        mean = np.degrees(np.arctan2(east, north)) % 360
        mean[mean >= _NEAR_NORTH] = 0.0
        mean[~(np.hypot(east, north) > _CALM)] = np.nan
        east, north = self._vector(values, ones, good, count)
        spread = np.sqrt(np.clip(1 - (east**2 + north**2), 0, 1))
        deviation = np.degrees(np.arcsin(spread) * (1 + (2 / math.sqrt(3) - 1) * spread**3))
        return mean, np.where(count > 1, deviation, np.nan)
