"""Frames that came as datagrams, put into the order of their stamps again (pure).

UDP loses, doubles and reorders. A frame that another has overtaken is waited for, but not for long: `Timeline` counts
what is missing then.
"""

from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush

from drivers.c37118.frames import DataFrame
from drivers.c37118.timeline import SECOND, Counts

REMEMBERED = 1024  # frames of which a double is known
MOST_HELD = 4096


@dataclass(order=True)
class _Held:
    time_ns: int
    number: int  # of arrival: equal times keep their order
    until: float = field(compare=False)
    frame: DataFrame = field(compare=False)
    arrival_ns: int = field(compare=False)


class Order:
    """Hands frames out in order of their stamps.

    Args:
        counts: where `duplicates`, `reordered` and `too_late` are counted.
        wait: seconds that a frame is waited for when a later one has come.
    """

    def __init__(self, counts: Counts, wait: float) -> None:
        self._counts = counts
        self._wait = wait
        self._held: list[_Held] = []
        self._number = 0
        self._last: DataFrame | None = None
        self._known: set[tuple[int, int]] = set()
        self._recent: deque[tuple[int, int]] = deque()

    @property
    def deadline(self) -> float:
        """When `due` must be called at the latest."""
        return min((held.until for held in self._held), default=float("inf"))

    def add(self, frame: DataFrame, arrival_ns: int, period: float, now: float) -> list[tuple[DataFrame, int]]:
        """Take the next frame as it came; give those, with their arrival, that are in order now.

        Args:
            frame: the frame.
            arrival_ns: when it came, host clock, ns since 1970.
            period: seconds from frame to frame by the configuration.
            now: seconds of any steady clock.
        """
        key = frame.time_ns, frame.tq.raw & 0x70
        if key in self._known:
            self._counts.duplicates += 1
            return []
        self._remember(key)
        out: list[tuple[DataFrame, int]] = []
        last = self._last
        step = frame.time_ns - last.time_ns if last else 0
        if (last and (frame.tq.raw ^ last.tq.raw) & 0x70) or abs(step) > max(4 * self._wait, 1.0, 8 * period) * SECOND:
            out = self._release(float("inf"), period)  # a leap second, or the clock was set: a new beginning
            self._last = None
        elif step < 0:
            self._counts.too_late += 1
            return []
        self._number += 1
        if self._held and frame.time_ns < max(held.time_ns for held in self._held):
            self._counts.reordered += 1
        heappush(self._held, _Held(frame.time_ns, self._number, now + self._wait, frame, arrival_ns))
        return out + self.due(now, period)

    def due(self, now: float, period: float) -> list[tuple[DataFrame, int]]:
        """Give the frames that need wait no longer."""
        return self._release(now, period)

    def _release(self, now: float, period: float) -> list[tuple[DataFrame, int]]:
        out = []
        while self._held:
            first = self._held[0]
            follows = self._last is None or first.time_ns - self._last.time_ns <= 1.5 * period * SECOND
            if not follows and self.deadline > now and len(self._held) < MOST_HELD:
                break
            heappop(self._held)
            self._last = first.frame
            out.append((first.frame, first.arrival_ns))
        return out

    def _remember(self, key: tuple[int, int]) -> None:
        self._known.add(key)
        self._recent.append(key)
        if len(self._recent) > REMEMBERED:
            self._known.discard(self._recent.popleft())
