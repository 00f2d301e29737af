"""When a channel has tripped (pure): by the unit's flag, or by the collapse that some firmware does not flag.

Firmware 1.04 has been seen to leave STAT at ON + UNV after a real breakdown, with VMON gone and TRIP never set. So a
channel that is on, does not ramp, and has lost half of its voltage in three readings is taken for tripped as well. A
STAT word is what two reads have agreed on (drivers.caen_hv.client), so the flag counts at once. A trip is latched until
a person clears it, over restarts too.
"""

import bisect
import math
from collections import deque
from dataclasses import dataclass
from typing import Any

from drivers.caen_hv import parameters

_BIT = {bit.name: 1 << bit.number for bit in parameters.STAT}

READS_OF_COLLAPSE = 3
LEAST_VSET = 20.0  # V; below it VMON's own offset may be half of VSET
HISTORY = 60.0  # s
STEP = 0.2  # s between the values of a history
VALUES = round(HISTORY / STEP)
STALE = 3.0  # s; a reading of IMON is not held longer than this


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read of a channel: when (s, any clock that only goes on), STAT, VMON and VSET in V, IMON in uA.

    NaN is what could not be read.
    """

    time: float
    stat: int
    vmon: float
    imon: float
    vset: float


@dataclass(frozen=True, slots=True)
class Trip:
    """A trip: why, when (ns since 1970), and IMON in uA each 0.2 s of the minute before, the last one at it."""

    cause: str
    time_ns: int
    history: tuple[float, ...]


class TripLatch:
    """The trip of one channel.

    Attributes:
        trip: what is latched, None for nothing.
        last: the last trip, latched or cleared.
        count: trips so far, over restarts too.
        stale_flag: the unit still shows the flag of a trip that has been cleared.
    """

    def __init__(self, saved: dict[str, Any] | None = None) -> None:
        """`saved`: as `plain` gave it before a restart."""
        saved = saved or {}
        last = saved.get("last")
        self.last = None if last is None else Trip(last["cause"], last["time_ns"], _numbers(last["history"]))
        self.trip = self.last if saved.get("latched") else None
        self.count: int = saved.get("count", 0)
        self.stale_flag: bool = saved.get("stale_flag", False)
        self._on_again = False
        self._collapses = 0
        self._history: deque[tuple[float, float]] = deque()

    def plain(self) -> dict[str, Any]:
        """Give what must outlast a restart, as JSON can hold it."""
        last = None
        if self.last is not None:
            history = [None if math.isnan(value) else value for value in self.last.history]
            last = {"cause": self.last.cause, "time_ns": self.last.time_ns, "history": history}
        latched = self.trip is not None
        return {"latched": latched, "last": last, "count": self.count, "stale_flag": self.stale_flag}

    def take(self, reading: Reading, time_ns: int) -> bool:
        """Take a reading; say whether the channel has just tripped.

        Args:
            reading: the channel, read at once.
            time_ns: when, ns since 1970.
        """
        self._remember(reading)
        cause = self._judge(reading)
        if not cause or self.trip is not None:
            return False
        self.trip = self.last = Trip(cause, time_ns, self._minute(reading.time))
        self.count += 1
        return True

    def clear(self, stat: int) -> None:
        """Let go of the trip. `stat` is the STAT word now: a flag that still stands is not a new trip."""
        self.trip = None
        self.stale_flag = bool(stat & _BIT["TRIP"])
        self._on_again = False
        self._collapses = 0

    def told_on(self) -> None:
        """The unit was told to switch on: a flag that stands while the channel is off is a new trip from now on."""
        self._on_again = True

    def interrupted(self) -> None:
        """The unit was away: readings before and after are not in a row."""
        self._collapses = 0

    def _judge(self, reading: Reading) -> str:
        """Give the cause of a trip, empty for none."""
        flag, on = reading.stat & _BIT["TRIP"], reading.stat & _BIT["ON"]
        if not flag:
            self.stale_flag = False
        elif self.stale_flag and on:
            self._on_again = True
        elif self.stale_flag and self._on_again:
            self.stale_flag = False  # it was on again, and is off again with the flag: a new trip
        self._collapses = self._collapses + 1 if collapsed(reading) else 0
        if flag and not self.stale_flag:
            return f"TRIP flag, IMON {reading.imon:g} uA, VMON {reading.vmon:g} V"
        if self._collapses >= READS_OF_COLLAPSE:
            return f"collapse without a flag: VMON {reading.vmon:g} V of {reading.vset:g} V, IMON {reading.imon:g} uA"
        return ""

    def _remember(self, reading: Reading) -> None:
        if self._history and reading.time <= self._history[-1][0]:
            return
        self._history.append((reading.time, reading.imon))
        while self._history[0][0] < reading.time - HISTORY - STALE:
            self._history.popleft()

    def _minute(self, now: float) -> tuple[float, ...]:
        """Give IMON on an even grid: each value the newest reading before its time, NaN where there was none."""
        times = [time for time, _ in self._history]
        values = []
        for number in range(VALUES):
            time = now - (VALUES - 1 - number) * STEP
            index = bisect.bisect_right(times, time + STEP * 1e-6) - 1
            held = index >= 0 and time - times[index] <= STALE
            values.append(self._history[index][1] if held else math.nan)
        return tuple(values)


def collapsed(reading: Reading) -> bool:
    """Whether the channel has lost its voltage: it is on, does not ramp, UNV, and VMON is below half of VSET."""
    bits = reading.stat & (_BIT["ON"] | _BIT["UNV"] | _BIT["RUP"] | _BIT["RDW"])
    return (
        bits == _BIT["ON"] | _BIT["UNV"] and reading.vset >= LEAST_VSET and reading.vmon < reading.vset / 2
    )  # NaN is less than nothing


def _numbers(values: list[float | None]) -> tuple[float, ...]:
    return tuple(math.nan if value is None else float(value) for value in values)
