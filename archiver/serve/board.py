"""What the page shows (pure): each device's signals under numbers, their newest readings, and the last hour in short.

Numbers stand for PVs in what is sent to viewers, a few times a second; a number is one PV's as long as this runs.
"""

import math
from collections import deque
from typing import Any

import numpy as np

from iocs.signals import Catalogue, Kind, Reading, Severity, Signal, Status, signal_to_dict

BIN = 30  # s of a sparkline's step
BINS = 120  # of them are kept: an hour
MOST_TEXT = 2000  # characters shown of a text
DISCONNECTED = 4  # told as a severity: nobody serves the PV

Point = list[float | None]  # second, least, greatest; or second, None: nothing is known from then on


class Spark:
    """The last hour of one number. A value holds until the next one: servers tell changes."""

    def __init__(self) -> None:
        self._points: deque[Point] = deque(maxlen=2 * BINS)

    def add(self, second: float, value: float | None) -> None:
        """Take a value, or None when it is not known any more."""
        begin = second // BIN * BIN
        last = self._points[-1] if self._points else None
        if last is not None and last[0] is not None:
            begin = max(begin, last[0])  # a clock that went back
        if value is None:
            if last is not None and last[1] is not None:
                self._points.append([begin, None])
        elif last is not None and last[0] == begin and last[1] is not None and last[2] is not None:
            last[1], last[2] = min(last[1], value), max(last[2], value)
        else:
            self._points.append([begin, value, value])

    def begin_with(self, earlier: "Spark") -> None:
        """Put before all the points of another that are older."""
        begin = self._points[0][0] if self._points else math.inf
        old = [point for point in earlier._points if (point[0] or 0) < (begin or 0)]
        self._points = deque([*old, *self._points], maxlen=2 * BINS)

    def since(self, second: float) -> list[Point]:
        """Give the points from a time on, before them the one that held then."""
        points = list(self._points)
        first = next((place for place, point in enumerate(points) if (point[0] or 0) >= second), len(points))
        return points[max(first - 1, 0) :]


class Board:
    """All devices of a site as viewers are told of them.

    Attributes:
        devices: the catalogues, by name.
        connected: names of those that are being served.
    """

    def __init__(self) -> None:
        self.devices: dict[str, Catalogue] = {}
        self.connected: set[str] = set()
        self._numbers: dict[str, int] = {}
        self._newest: dict[int, list[Any]] = {}
        self._sparks: dict[int, Spark] = {}
        self._changed: set[int] = set()

    def learn(self, name: str, catalogue: Catalogue) -> None:
        """Take the catalogue of a device."""
        old = self.devices.get(name)
        self.devices[name] = catalogue
        for pv in shown(catalogue):
            self._numbers.setdefault(pv, len(self._numbers))
        gone = set(shown(old)) - set(shown(catalogue)) if old is not None else set()
        for pv in gone:
            for table in (self._newest, self._sparks):
                table.pop(self._numbers[pv], None)

    def take(self, pv: str, signal: Signal, reading: Reading) -> None:
        """Take a PV's event."""
        number = self._numbers[pv]
        severity = int(reading.severity) if reading.connected else DISCONNECTED
        status = "" if reading.status is Status.NO_ALARM else reading.status.name
        self._newest[number] = [number, _plain(reading.value), severity, status, reading.time_ns // 10**6]
        self._changed.add(number)
        if signal.kind in (Kind.FLOAT, Kind.INT):
            value = _plain(float(reading.value)) if isinstance(reading.value, float | int) else None
            known = severity < Severity.INVALID and reading.time_ns
            self._sparks.setdefault(number, Spark()).add(reading.time_ns / 1e9, value if known else None)

    def seed(self, pv: str, earlier: Spark) -> None:
        """Take what a number was before it was watched here."""
        if pv in self._numbers:
            self._sparks.setdefault(self._numbers[pv], Spark()).begin_with(earlier)

    def changes(self) -> list[list[Any]]:
        """Give what has changed since the last time: number, value, severity, status, ms since 1970."""
        changed, self._changed = self._changed, set()
        return [self._newest[number] for number in changed if number in self._newest]

    def everything(self) -> list[list[Any]]:
        """Give the newest of all."""
        return list(self._newest.values())

    def device(self, name: str) -> dict[str, Any]:
        """Describe a device: what its catalogue says, each signal with its number."""
        catalogue = self.devices[name]
        return {
            "name": name,
            "kind": catalogue.kind,
            "prefix": catalogue.prefix,
            "simulated": catalogue.simulated,
            "connected": name in self.connected,
            "signals": [{"id": self._numbers[pv], **signal_to_dict(signal)} for pv, signal in shown(catalogue).items()],
        }

    def sparks(self, name: str, since: float) -> dict[int, list[Point]]:
        """Give the sparklines of a device by number, from a second since 1970 on.

        Raises:
            LookupError: there is no such device.
        """
        if name not in self.devices:
            raise LookupError(f"there is no device {name!r}; there are {', '.join(self.devices) or 'none yet'}")
        numbers = (self._numbers[pv] for pv in shown(self.devices[name]))
        return {number: self._sparks[number].since(since) for number in numbers if number in self._sparks}


def shown(catalogue: Catalogue) -> dict[str, Signal]:
    """Give the signals of a device that are shown, by PV."""
    return {catalogue.prefix + signal.name: signal for signal in catalogue.signals if signal.name != "PVS"}


def watched(catalogue: Catalogue) -> dict[str, str]:
    """Give what is watched for the shown scalars: the PV that is asked for, by PV; of a text all of it."""
    return {
        pv: f"{pv}.VAL$" if signal.kind is Kind.STR else pv
        for pv, signal in shown(catalogue).items()
        if signal.count == 1
    }


def thinned(x: np.ndarray, y: np.ndarray, most: int) -> tuple[list[float], list[float]]:
    """Give the lowest and highest point of each stretch of a curve, in their order, and at most so many points."""
    length = min(len(x), len(y))
    finite = np.isfinite(x[:length]) & np.isfinite(y[:length])
    x, y = x[:length][finite], y[:length][finite]
    if len(y) > most:
        width = -(-len(y) // (most // 2))
        starts = np.arange(0, len(y), width)
        padded = np.pad(y, (0, len(starts) * width - len(y)), mode="edge").reshape(len(starts), width)
        places = np.sort(np.column_stack((starts + padded.argmin(1), starts + padded.argmax(1))), axis=1).ravel()
        places = np.minimum(places, len(y) - 1)
        x, y = x[places], y[places]
    return [_short(value) for value in x.tolist()], [_short(value) for value in y.tolist()]


def _short(value: float) -> float:
    """Nine digits: more than a page shows, and half the bytes."""
    return float(f"{value:.9g}")


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return _short(value) if math.isfinite(value) else None
    if isinstance(value, str):
        return value[:MOST_TEXT]
    return value if isinstance(value, int) else None
