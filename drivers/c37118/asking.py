"""Asking a PMU for its configuration: a CFG-3, or else a CFG-2, again and again (pure).

There is no error reply to a command, so every question has a deadline (C37.118.2-2011, clause 6.6).
"""

from drivers.c37118.frames import Command

CFG3_TIMEOUT = 1.0  # seconds that a PMU has for a CFG-3, before it is asked for a CFG-2


class Asking:
    """When to ask for what.

    Args:
        timeout: seconds for an answer.
        tries: requests for a CFG-2 before it is given up; and for a CFG-3, of a PMU that has sent one before: that one
            answer is lost must not change its names and scales.
        cfg3: whether to ask for a CFG-3 first.
        has_cfg3: whether the PMU has sent one before.

    Attributes:
        cfg3: as given; turns False when the PMU has answered with a CFG-2 instead.
        asked: requests for a CFG-2 since the last answer.
        at: when to ask (again); None = nothing is asked.
    """

    def __init__(self, timeout: float, tries: int, cfg3: bool, has_cfg3: bool = False) -> None:
        self.cfg3 = cfg3
        self.asked = 0
        self.at: float | None = None
        self._timeout = timeout
        self._tries = tries
        self._has_cfg3 = has_cfg3
        self._asked3 = 0  # requests for a CFG-3 since the last answer

    def begin(self, at: float) -> None:
        """Ask from `at` on, unless that is under way."""
        if self.at is None:
            self.at = at
            self.asked, self._asked3 = 0, 0

    @property
    def used_up(self) -> bool:
        """All tries are made."""
        return self.asked >= self._tries

    @property
    def again(self) -> bool:
        """The next request is not the first one."""
        return bool(self.asked or self._asked3)

    def command(self, now: float) -> Command:
        """Give the request that is due, and set the deadline of its answer."""
        if self.cfg3 and self._asked3 < (self._tries if self._has_cfg3 else 1):
            self._asked3 += 1
            self.at = now + min(CFG3_TIMEOUT, self._timeout)
            return Command.SEND_CFG3
        self.asked += 1
        self.at = now + self._timeout
        return Command.SEND_CFG2

    def fragment(self, now: float) -> None:
        """Wait for the rest of a CFG-3 of which a fragment has come."""
        if self.at is not None and not self.asked:
            self.at = now + self._timeout

    def answered(self, cfg2: bool) -> None:
        """Stop asking. `cfg2`: the answer is a CFG-2."""
        if cfg2 and self.asked:
            self.cfg3 = False
        self._has_cfg3 = not cfg2
        self.stop()

    def stop(self) -> None:
        """Stop asking."""
        self.asked, self._asked3, self.at = 0, 0, None
