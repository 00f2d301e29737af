"""What happened to the values of a run, counted (pure)."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SERIAL = "serial "
"""How the reasons begin that tell a serial number."""
MOST = 10  # of them that are told for a parameter; a column of rubbish in place of serial numbers fills no screen
OTHERS = "further serial numbers that have no file"


class Count(NamedTuple):
    """Rows, and the first and last of their times, ns since 1970."""

    rows: int
    first_ns: int
    last_ns: int

    def with_(self, other: "Count") -> "Count":
        """Give the count of both."""
        return Count(self.rows + other.rows, min(self.first_ns, other.first_ns), max(self.last_ns, other.last_ns))


@dataclass
class Tally:
    """Rows per parameter and reason; those of several processes add up.

    Attributes:
        first_ns, end_ns: rows from the first to before the other time count, ns since 1970; None is an open bound.
    """

    first_ns: int | None = None
    end_ns: int | None = None
    counts: dict[tuple[str, str], Count] = field(default_factory=dict)

    def count(self, parameter: str, reason: str, times_ns: NDArray[np.int64]) -> None:
        """Add rows, told by their times; none is nothing."""
        if self.first_ns is not None:
            times_ns = times_ns[times_ns >= self.first_ns]
        if self.end_ns is not None:
            times_ns = times_ns[times_ns < self.end_ns]
        if len(times_ns):
            self._add((parameter, reason), Count(len(times_ns), int(times_ns.min()), int(times_ns.max())))

    def add(self, other: "Tally") -> None:
        """Add what another has counted."""
        for key, count in other.counts.items():
            self._add(key, count)

    def _add(self, key: tuple[str, str], count: Count) -> None:
        if key not in self.counts and key[1].startswith(SERIAL):
            told = sum(name == key[0] and reason.startswith(SERIAL) for name, reason in self.counts)
            key = key if told < MOST else (key[0], OTHERS)
        before = self.counts.get(key)
        self.counts[key] = before.with_(count) if before else count
