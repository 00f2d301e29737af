"""The times that the points of a series have (pure): no point takes the place of another."""

from collections import deque

REMEMBERED = 512  # times of a series: 10 s told twice at 50 Hz


class Stamps:
    """The times of one series. Where a clock stands still or goes back, an event gets the next time that is free.

    The newest times are remembered, `REMEMBERED` of them; a clock may stand still for as long as it likes.

    Args:
        taken: the last time of the run before, if there is one.
    """

    __slots__ = ("_asked", "_given", "_newest", "_order", "_taken")

    def __init__(self, taken: int | None = None) -> None:
        self._newest = self._asked = self._given = -(1 << 63)
        self._order: deque[int] = deque(maxlen=REMEMBERED)
        self._taken: set[int] | None = None  # the same, once it is needed
        if taken is not None:
            self.free(taken)

    def free(self, time_ns: int) -> int:
        """Give the next free time from `time_ns` on, and take it."""
        if time_ns > self._newest and self._taken is None:  # a hundred thousand a second come this way
            self._order.append(time_ns)
            self._newest = self._asked = self._given = time_ns
            return time_ns
        if self._taken is None:
            self._taken = set(self._order)
        given = time_ns if not self._asked <= time_ns <= self._given else self._given + 1
        while given in self._taken:
            given += 1
        if len(self._order) == REMEMBERED:
            self._taken.discard(self._order[0])
        self._order.append(given)
        self._taken.add(given)
        self._newest, self._asked, self._given = max(self._newest, given), time_ns, given
        return given
