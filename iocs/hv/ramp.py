"""Ramping neighbours together (pure): which VSETs to send next, so that they stay together and arrive at once.

A unit goes from VMON to VSET by itself, at rates of its own. So an output may be anywhere between the two from now on,
and it will be if nothing more is sent: after an abort, a cut link, a kill. A step is chosen so that neighbours stay
within their bound for all of that, and for every part of the step that may get lost. Stopping is safe because nothing
has to be done for it. Rates of the unit are not touched: they would stay as they are when we are gone.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

SLACK = 1e-6  # of a last decimal


@dataclass(frozen=True, slots=True)
class Output:
    """Where a channel is (`vmon`, V) and where it is going (`vset`, V; 0 of one that is off)."""

    vmon: float
    vset: float


@dataclass(frozen=True, slots=True)
class Course:
    """The way of a group.

    Attributes:
        start, goal: V of each channel, in the order in which they are neighbours.
        apart: V; how far neighbours may be apart. Where they are farther at the start, it does not become more.
        rate: V/s of the channel that has the longest way.
        lead: V by which the VSET of that channel may be ahead of the slowest VMON.
        decimals: what VSET of each channel is rounded to.
    """

    start: tuple[float, ...]
    goal: tuple[float, ...]
    apart: float
    rate: float
    lead: float
    decimals: tuple[int, ...]

    @property
    def longest(self) -> float:
        """Longest way, V."""
        return max((abs(b - a) for a, b in zip(self.start, self.goal, strict=True)), default=0.0)

    @property
    def seconds(self) -> float:
        """How long it takes if the unit follows."""
        return self.longest / self.rate

    def at(self, part: float, number: int) -> float:
        """Give where a channel should be when so much of the way is done (0 to 1)."""
        if part >= 1.0:
            return self.goal[number]
        way = self.goal[number] - self.start[number]
        return round(self.start[number] + part * way, self.decimals[number])

    def done(self, outputs: tuple[Output, ...]) -> float:
        """Give how much of the way the slowest channel has done, 0 to 1; 1.5 of a last decimal do not count."""
        parts = [1.0]
        for number, output in enumerate(outputs):
            way = self.goal[number] - self.start[number]
            slack = 1.5 * 10.0 ** -self.decimals[number]
            if abs(way) > slack:
                gone = (output.vmon - self.start[number]) * math.copysign(1.0, way) + slack
                parts.append(min(max(gone / abs(way), 0.0), 1.0))
        return min(parts)

    def steps(self, outputs: tuple[Output, ...], elapsed: float) -> dict[int, float]:
        """Give the VSETs to send now, in this order; none = wait.

        Args:
            outputs: where each channel is.
            elapsed: s since the start.
        """
        part = 1.0
        if self.longest > 0:
            part = min(self.rate * elapsed / self.longest, self.done(outputs) + self.lead / self.longest, 1.0)
        low = [min(output.vmon, output.vset) for output in outputs]
        high = [max(output.vmon, output.vset) for output in outputs]
        bounds = [
            max(self.apart, abs(self.start[a] - self.start[b]), high[a] - low[b], high[b] - low[a])
            for a, b in pairwise(range(len(outputs)))
        ]
        found: dict[int, float] = {}
        for number, output in sorted(enumerate(outputs), key=lambda each: self._behind(each[0], each[1])):
            wanted = self.at(part, number)
            if wanted == output.vset or (part < 1.0 and not self._is_ahead(number, output.vset, wanted)):
                continue
            for neighbour, bound in self._neighbours(number, bounds):
                wanted = min(max(wanted, high[neighbour] - bound), low[neighbour] + bound)
            wanted = self._rounded(wanted, output.vset, self.decimals[number])
            if wanted != output.vset:
                found[number] = wanted
                low[number], high[number] = min(low[number], wanted), max(high[number], wanted)
        return found

    def _behind(self, number: int, output: Output) -> float:
        way = self.goal[number] - self.start[number]
        return (output.vset - self.start[number]) / way if way else 1.0

    def _is_ahead(self, number: int, vset: float, wanted: float) -> bool:
        """Whether a voltage is farther on the way than VSET is."""
        return (wanted - vset) * (self.goal[number] - self.start[number]) > 0

    @staticmethod
    def _neighbours(number: int, bounds: list[float]) -> list[tuple[int, float]]:
        below = [(number - 1, bounds[number - 1])] if number else []
        return below + ([(number + 1, bounds[number])] if number < len(bounds) else [])

    @staticmethod
    def _rounded(wanted: float, vset: float, decimals: int) -> float:
        """Round to what the unit can be told, towards the VSET that is."""
        steps = wanted * 10**decimals
        whole = round(steps)
        if abs(steps - whole) > SLACK:
            whole = math.floor(steps) if wanted > vset else math.ceil(steps)
        rounded = round(whole / 10**decimals, decimals)
        return vset if (rounded - vset) * (wanted - vset) <= 0 else rounded


def farthest(volts: tuple[float, ...]) -> float:
    """Give the largest difference between neighbours, V."""
    return max((abs(a - b) for a, b in pairwise(volts)), default=0.0)
