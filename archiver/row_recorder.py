"""One row PV: its rows, and marks of what is missing between them."""

import logging
import time
from collections.abc import Callable

from archiver.batch import Event, Mark, RowRecord, Source
from archiver.rows import RowEvent, RowFollower
from iocs.signals import Reading, Row, Severity

log = logging.getLogger(__name__)


class RowRecorder:
    """One row PV.

    Args:
        source: the PV.
        put: takes a row.
        put_mark: takes a mark.
        wake: called when the link or the device is lost, to have what is held written at once.
        every: s; one row each so many seconds instead of all.
        last: of the run before (see RowFollower).
        clock: ns since 1970.

    Attributes:
        thinned: rows that `every` leaves out.
    """

    def __init__(
        self,
        source: Source,
        put: Callable[[RowRecord], None],
        put_mark: Callable[[tuple[Source, Mark]], None],
        wake: Callable[[], None],
        every: float | None = None,
        last: tuple[int, int, int] | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.source = source
        self.thinned = 0
        self.connected = False
        self.follower = RowFollower(source.pv, self._take, self._on_gap, last)
        self._put, self._put_mark, self._wake, self._clock = put, put_mark, wake, clock
        self._every_ns = None if every is None else round(every * 1e9)
        self._period: int | None = None

    def on_reading(self, reading: Reading) -> None:
        """Take an event of the row PV. Loss of the link or of the device writes what is held at once."""
        if reading.connected is not self.connected:
            self.connected = reading.connected
            event = Event.CONNECTED if reading.connected else Event.DISCONNECTED
            self._put_mark((self.source, Mark(event, self._clock())))
            if reading.connected:
                log.info("%s: connected", self.source.pv)
            else:
                log.warning("%s: the link is lost; what is held is written now", self.source.pv)
        if not reading.connected:
            self.follower.forget()
            self._wake()
        elif not self.follower.receive(reading.value) and reading.severity is Severity.INVALID:
            self._wake()

    def _take(self, layout: Row, event: RowEvent) -> None:
        if self._every_ns is not None:
            period = event.time_ns // self._every_ns
            if period == self._period:
                self.thinned += 1
                return
            self._period = period
        self._put(RowRecord(self.source, layout, event.time_ns, event.values, event.sequence, event.version))

    def _on_gap(self, missed: int, since: int, until: int) -> None:
        self._put_mark((self.source, Mark(Event.GAP, since + 1, missed)))

    def counts(self) -> str:
        """Say what became of the rows."""
        row = self.follower
        text = f"{row.rows} rows, {row.missed} missing in {row.gaps} gaps"
        rest = {
            "waiting for their catalogue": row.waiting,
            "repeats": row.repeats,
            "left out by their mode": self.thinned,
            "refused": row.refused,
            "malformed": row.malformed,
        }
        return ", ".join([text, *(f"{count} {word}" for word, count in rest.items() if count)])
