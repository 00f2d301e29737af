"""What STAT and time quality say about a frame's values: INVALID, in doubt, or good (pure).

Source: C37.118.2-2011, tables 3 (MSG_TQ) and 7 (STAT).
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal

from drivers.c37118.frames import Stat, TimeQuality
from iocs.signals import Bad, Severity, Status

Condition = Literal[
    "no_data", "test", "error", "unsynced", "by_arrival", "trigger", "modified", "time_unknown", "clock_failure"
]

_CONDITIONS: dict[Condition, tuple[str, Callable[[Stat, TimeQuality], bool]]] = {
    "no_data": ("STAT says: PMU error, no data", lambda stat, tq: stat.error == 1),
    "test": ("STAT says: test mode, or absent data filled in", lambda stat, tq: stat.error == 2),
    "error": ("STAT says: PMU error", lambda stat, tq: stat.error == 3),
    "unsynced": ("the PMU's clock is not in step with UTC", lambda stat, tq: stat.unsynced),
    "by_arrival": ("the concentrator sorted by arrival, not by time", lambda stat, tq: stat.sorted_by_arrival),
    "trigger": ("a trigger is set", lambda stat, tq: stat.trigger),
    "modified": ("the data were modified by post-processing", lambda stat, tq: stat.modified),
    "time_unknown": ("the PMU's time error is above 10 ms or unknown", lambda stat, tq: stat.time_quality == 7),
    "clock_failure": ("the PMU's clock has failed or was never set", lambda stat, tq: tq.code == 15),
}
INVALID_WHEN: tuple[Condition, ...] = ("no_data", "test", "error")
MINOR_WHEN: tuple[Condition, ...] = ("unsynced", "time_unknown", "clock_failure")


def time_error(stat: Stat, tq: TimeQuality) -> float:
    """Give the largest time error, s, that MSG_TQ and PMU_TQ admit; infinite where they do not know."""
    message = 0.0 if tq.code == 0 else 10.0 ** (tq.code - 10) if tq.code <= 11 else math.inf
    pmu = 0.0 if stat.time_quality == 0 else 10.0 ** (stat.time_quality - 8) if stat.time_quality < 7 else math.inf
    return max(message, pmu)


class Policy:
    """Which conditions make a frame's values INVALID, and which MINOR.

    Args:
        invalid, minor: the conditions; who is in both is INVALID.
        max_time_error: s; where a frame admits a larger error, its values are MINOR. None = not looked at.
    """

    def __init__(
        self,
        invalid: Sequence[Condition] = INVALID_WHEN,
        minor: Sequence[Condition] = MINOR_WHEN,
        max_time_error: float | None = None,
    ) -> None:
        self._invalid = [_CONDITIONS[name] for name in invalid]
        self._minor = [_CONDITIONS[name] for name in minor]
        self._most = max_time_error
        self.judge = lru_cache(maxsize=256)(self._judge)

    def _judge(self, stat: int, tq: int) -> Bad | None:
        """Give the doubt that the values of a STAT word and time quality byte are under; None = none."""
        word, quality = Stat(stat), TimeQuality(tq)
        for reason, holds in self._invalid:
            if holds(word, quality):
                return Bad(reason)
        for reason, holds in self._minor:
            if holds(word, quality):
                return Bad(reason, severity=Severity.MINOR, status=Status.SOFT)
        if self._most is not None and (error := time_error(word, quality)) > self._most:
            reason = f"the time may be wrong by {error:g} s" if math.isfinite(error) else "the time error is unknown"
            return Bad(reason, severity=Severity.MINOR, status=Status.SOFT)
        return None
