"""One PV recorded as single samples: which events are kept, and what is marked."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from zlib import crc32

import numpy as np

from archiver.batch import Event, Mark, Source
from iocs.archive_tables import Mode, ModeTable
from iocs.signals import Reading

log = logging.getLogger(__name__)

Put = Callable[[tuple[Source, Reading | Mark]], None]
Fingerprint = tuple[int, str, int, int]


def fingerprint(reading: Reading) -> Fingerprint:
    """Give what tells an event from its repetition: time, value, severity, status."""
    value = reading.value
    text = f"crc {crc32(value.tobytes())}" if isinstance(value, np.ndarray) else repr(value)
    return reading.time_ns, text, int(reading.severity), int(reading.status)


class PvRecorder:
    """One PV: takes its readings, keeps what its mode says, marks when it comes and goes.

    Args:
        source: the PV.
        mode: "monitor", or a table with a deadband or a period.
        put: takes a sample or a mark.
        last: of the run before: the last event that was recorded.
        clock: ns since 1970.

    Attributes:
        connected: whether its server is there.
        repeats: events after a connect that told the last recorded one again.
        unprocessed: events with the time 0: a record that was never processed has no value yet.
        thinned: events that the mode leaves out.
    """

    def __init__(
        self,
        source: Source,
        mode: Mode,
        put: Put,
        last: Fingerprint | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.source = source
        self.repeats = self.unprocessed = self.thinned = 0
        self.connected = False
        self._recorded = 0
        self._plain = mode == "monitor"
        self._steady = False  # whether nothing is to be looked at but the event itself
        self._put = put
        self._clock = clock
        self._deadband = mode.deadband if isinstance(mode, ModeTable) else None
        self.every = mode.every if isinstance(mode, ModeTable) else None
        self._last: Reading | None = None
        self._last_of_run_before = last
        self._check_repeat = True
        self._newest: Reading | None = None  # of a period that is not over

    @property
    def recorded(self) -> int:
        """Of the events seen, those that were put."""
        return self._recorded

    @property
    def seen(self) -> int:
        """Events with a value."""
        return self._recorded + self.repeats + self.unprocessed + self.thinned + self.waiting

    def on_reading(self, reading: Reading) -> None:
        """Take an event of the PV."""
        if self._steady and reading.connected and reading.time_ns:  # a hundred thousand a second come this way
            self._last = reading
            self._recorded += 1
            self._put((self.source, reading))
            return
        if not reading.connected:
            self.lose()
            return
        if not self.connected:
            self.connected = self._check_repeat = True
            self._put((self.source, Mark(Event.CONNECTED, self._clock())))
            log.debug("%s: connected", self.source.pv)
        if not reading.time_ns or reading.value is None:
            self.unprocessed += 1
            return
        if self._check_repeat:
            self._check_repeat = False
            self._steady = self._plain
            if self._is_repeat(reading):
                self.repeats += 1
                return
        if self.every is not None:
            self.thinned += self._newest is not None
            self._newest = reading
            return
        if self._deadband is not None and self._within_deadband(reading):
            self.thinned += 1
            return
        self._last = reading
        self._recorded += 1
        self._put((self.source, reading))

    def relabel(self, states: tuple[str, ...]) -> None:
        """Take other labels for the states of an enum."""
        self.source = replace(self.source, states=states)

    def tick(self) -> None:
        """Record the newest value of a period that is over; call it at each multiple of `every`."""
        if self._newest is not None:
            self._last, self._newest = self._newest, None
            self._recorded += 1
            self._put((self.source, self._last))

    def stop(self) -> None:
        """Record what waits, and mark that nothing is recorded from now on."""
        self.tick()
        if self.connected:
            self.connected = self._steady = False
            self._put((self.source, Mark(Event.STOPPED, self._clock())))

    @property
    def waiting(self) -> int:
        """Events that wait for the end of their period."""
        return int(self._newest is not None)

    def last(self) -> Fingerprint | None:
        """Give the last recorded event, for the next run."""
        return self._last_of_run_before if self._last is None else fingerprint(self._last)

    def forget(self, event: Fingerprint) -> None:
        """Do not take an event for recorded: there was no room for it."""
        if self.last() == event:
            self._last = self._last_of_run_before = None

    def lose(self) -> None:
        """Mark that nothing is known from now on."""
        if self.connected:
            self.tick()
            self.connected = self._steady = False
            self._put((self.source, Mark(Event.DISCONNECTED, self._clock())))
            log.warning("%s: the link is lost", self.source.pv)

    def _is_repeat(self, reading: Reading) -> bool:
        return self.last() == fingerprint(reading)

    def _within_deadband(self, reading: Reading) -> bool:
        last = self._last
        if last is None or (reading.severity, reading.status) != (last.severity, last.status):
            return False
        new: Any = reading.value
        old: Any = last.value
        if not isinstance(new, int | float) or not isinstance(old, int | float):
            return False
        return new == old or abs(new - old) <= (self._deadband or 0.0) or (new != new and old != old)
