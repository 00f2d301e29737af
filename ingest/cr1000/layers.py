"""The stack of transparencies: lines with bounds, of which the topmost that covers an instant holds (pure)."""

import heapq
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

EVER = -(2**63)  # ns; before every time that an int64 can hold
ALL = slice(None)

Rows = slice | NDArray[np.intp]
"""Some rows of a block: all of them, or their places."""


@dataclass(frozen=True, slots=True)
class Layer(Generic[T]):
    """What holds from start to before end, ns since 1970; None is an open bound."""

    start: int | None
    end: int | None
    value: T


class Pieces(Generic[T]):
    """What holds when: the result of looking down through a stack.

    Attributes:
        starts: when each piece begins, ns, ascending; the first is EVER. A piece lasts until the next begins.
        values: what holds in each; None where no layer covers it.
    """

    __slots__ = ("starts", "values")

    def __init__(self, layers: Sequence[Layer[T]]) -> None:
        """Look down through layers, the lowest first."""
        starts: list[int] = []
        values: list[T | None] = []
        waiting = sorted(range(len(layers)), key=lambda at: _start(layers[at]), reverse=True)
        bounds = {EVER} | {_start(layer) for layer in layers} | {layer.end for layer in layers if layer.end is not None}
        open_layers: list[int] = []  # a heap, the topmost first
        top: int | None = None
        for bound in sorted(bounds):
            while waiting and _start(layers[waiting[-1]]) <= bound:
                heapq.heappush(open_layers, -waiting.pop())
            while open_layers and _ended(layers[-open_layers[0]], bound):
                heapq.heappop(open_layers)
            now = -open_layers[0] if open_layers else None
            if now != top or not starts:
                starts.append(bound)
                values.append(None if now is None else layers[now].value)
            top = now
        self.starts, self.values = tuple(starts), tuple(values)

    def at(self, time_ns: int) -> T | None:
        """Give what holds at an instant."""
        return self.values[bisect_right(self.starts, time_ns) - 1]

    def split(self, times_ns: NDArray[np.int64], rows: Rows = ALL) -> Iterator[tuple[T | None, Rows]]:
        """Give what holds for some rows of a block, and the rows for which it does.

        Args:
            times_ns: int64[n], of the whole block, in any order.
            rows: those wanted.
        """
        if len(self.starts) == 1:
            yield self.values[0], rows
            return
        times = times_ns[rows]
        if not len(times):
            return
        first, last = (bisect_right(self.starts, int(time)) - 1 for time in (times.min(), times.max()))
        if first == last:
            yield self.values[first], rows
            return
        which = np.searchsorted(np.array(self.starts), times, side="right") - 1
        places = np.arange(len(times_ns))[rows]
        for piece in np.unique(which).tolist():
            yield self.values[piece], places[which == piece]


def _start(layer: Layer[T]) -> int:
    return EVER if layer.start is None else layer.start


def _ended(layer: Layer[T], now: int) -> bool:
    return layer.end is not None and layer.end <= now
