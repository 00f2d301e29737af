"""What a PV was over a time (pure): arrays, their mean, bins. Times in text as people write them."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from archiver.batch import Event
from iocs.signals import Severity, Status

SECOND = 1_000_000_000
MARKS = frozenset(Event)
_SPANS = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


@dataclass(frozen=True, slots=True)
class Point:
    """One record of a PV: a value, or a mark (value None, status DISCONNECTED, GAP 7 ...)."""

    time_ns: int
    value: float | str | None
    severity: Severity
    status: str

    @property
    def is_mark(self) -> bool:
        """Whether it is no value."""
        return self.status.split(" ", 1)[0] in MARKS


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """What a PV was, in the order of time.

    Attributes:
        pv: its name.
        time_ns: int64, ns since 1970, UTC.
        value: float64, NaN for marks and for what is not known; object where there is text.
        severity: uint8, 0 to 3.
        status: status of EPICS, or the mark.
    """

    pv: str
    time_ns: np.ndarray
    value: np.ndarray
    severity: np.ndarray
    status: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.time_ns)

    @property
    def good(self) -> np.ndarray:
        """Which of them are numbers that are not INVALID."""
        if self.value.dtype == object:
            numbers = np.array([isinstance(value, float) and value == value for value in self.value], bool)
        else:
            numbers = ~np.isnan(self.value)
        return numbers & (self.severity < Severity.INVALID)

    def mean(self) -> float:
        """Give the mean of the good values, NaN if there is none."""
        values = self.value[self.good].astype(float)
        return float(values.mean()) if len(values) else float("nan")

    def part(self, which: slice) -> "Series":
        """Give some of the records."""
        return Series(self.pv, self.time_ns[which], self.value[which], self.severity[which], self.status[which])

    def every(self, seconds: float, start_ns: int | None = None) -> "Bins":
        """Give mean, least, greatest and number of the good values of each bin that has any.

        Args:
            seconds: width of a bin.
            start_ns: begin of the first one; default: bins are aligned to UTC.
        """
        width = max(round(seconds * SECOND), 1)
        times, values = self.time_ns[self.good], self.value[self.good].astype(float)
        numbers = (times - (start_ns or 0)) // width
        order = np.argsort(numbers, kind="stable")
        numbers, values = numbers[order], values[order]
        found, first, counts = np.unique(numbers, return_index=True, return_counts=True)
        if not len(found):
            empty = np.array([], float)
            return Bins(self.pv, np.array([], np.int64), empty, empty, empty, np.array([], np.int64))
        return Bins(
            self.pv,
            (found * width + (start_ns or 0)).astype(np.int64),
            np.add.reduceat(values, first) / counts,
            np.minimum.reduceat(values, first),
            np.maximum.reduceat(values, first),
            counts.astype(np.int64),
        )

    def frame(self) -> Any:
        """Give a pandas DataFrame, by UTC time; pandas must be installed."""
        import pandas as pd  # type: ignore[import-not-found]  # not a dependency: whoever asks for a frame has it

        data = {"value": self.value, "severity": self.severity, "status": list(self.status)}
        return pd.DataFrame(data, index=pd.to_datetime(self.time_ns, utc=True, unit="ns"))


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """Reduced values: arrays of equal length, one element a bin; `time_ns` is the bin's begin."""

    pv: str
    time_ns: np.ndarray
    mean: np.ndarray
    least: np.ndarray
    greatest: np.ndarray
    count: np.ndarray


def series_of(pv: str, points: Sequence[Point], start_ns: int, end_ns: int, last_before: bool = True) -> Series:
    """Give the records within a time, and before them the last one that lies before it: what held at its begin."""
    ordered = sorted(points, key=lambda point: point.time_ns)
    chosen = [point for point in ordered if start_ns <= point.time_ns <= end_ns]
    earlier = [point for point in ordered if point.time_ns < start_ns]
    if last_before and earlier:
        chosen.insert(0, earlier[-1])
    values = [float("nan") if point.value is None else point.value for point in chosen]
    text = any(isinstance(value, str) for value in values)
    return Series(
        pv,
        np.array([point.time_ns for point in chosen], np.int64),
        np.array(values, object if text else float),
        np.array([point.severity for point in chosen], np.uint8),
        tuple(point.status for point in chosen),
    )


def time_of(text: str, now_ns: int | None = None) -> int:
    """Read a time as people write it: `2026-01-31 12:00`, ISO 8601 (UTC unless it says otherwise), seconds since 1970,
    `now`, or so long ago: `10min`, `1.5h`, `7d` (also `-7d`).

    Raises:
        ValueError: it is none of these.
    """
    now_ns = time.time_ns() if now_ns is None else now_ns
    text = text.strip()
    if text == "now":
        return now_ns
    if re.fullmatch(r"\d+(\.\d*)?", text):
        return stamp(text)
    if re.fullmatch(r"-?\d+(\.\d*)?\s*[a-z]+", text):
        return now_ns - round(span_of(text.removeprefix("-")) * SECOND)
    try:
        return _iso(text)
    except ValueError:
        cure = "write 2026-01-31T12:00:00, seconds since 1970, now, or 1h for an hour ago (ms s min h d w)"
        raise ValueError(f"{text!r} is not a time: {cure}") from None


def span_of(text: str) -> float:
    """Read a span such as `10s`, `5min`, `1.5h`, `7d`; gives seconds.

    Raises:
        ValueError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([a-z]*)", text.strip())
    if not found or found[2] not in _SPANS or not float(found[1]):
        raise ValueError(f"{text!r} is not a span of time: write 10s, 5min, 1.5h or 7d")
    return float(found[1]) * _SPANS[found[2]]


def stamp(text: str) -> int:
    """Read the time of a CSV line, in any of its forms; exact, through no float.

    Raises:
        ValueError: it is none.
    """
    if "T" in text:
        return _iso(text)
    second, _, fraction = text.partition(".")
    if not fraction and len(second) >= 15:
        return int(second)
    return int(second) * SECOND + int(fraction[:9].ljust(9, "0") or 0)


def _iso(text: str) -> int:
    head, _, tail = text.replace(" ", "T").partition(".")
    digits = re.match(r"\d*", tail)
    fraction = digits[0] if digits else ""
    zone = tail[len(fraction) :] if tail else ""
    moment = datetime.fromisoformat(head + zone)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp()) * SECOND + int(fraction[:9].ljust(9, "0") or 0)


def status_of(number: float) -> str:
    """Give the word for a status's number."""
    return Status(int(number)).name
