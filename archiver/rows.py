"""Following one row PV (pure): which events are rows, what is missing between them, and which columns they have."""

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from archiver.sinks.csv_text import SECOND, time_text
from iocs.signals import ROW_HEAD, Row, Signal

log = logging.getLogger(__name__)

WAIT_ROWS = 20_000  # rows that may wait for their catalogue
WAIT_SECONDS = 10.0
SAY_EVERY = 60.0  # s between two lines about missing rows
_LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z


@dataclass(frozen=True, slots=True)
class RowEvent:
    """One event of a row PV.

    Attributes:
        sequence: 1 for the first row of the serving process.
        version: of the catalogue that names the values.
        time_ns: when the values were taken, ns since 1970, UTC.
        values: in the order of the row's signals; NaN for what is absent or INVALID.
    """

    sequence: int
    version: int
    time_ns: int
    values: list[float]


def read_row(value: Any) -> RowEvent | None:
    """Read the value of a row PV; None where it has had no row yet.

    Raises:
        ValueError: it is not a row.
    """
    if value is None or not hasattr(value, "tolist"):
        return None
    elements = value.tolist()
    if not isinstance(elements, list) or len(elements) < ROW_HEAD or not elements[0]:
        return None
    head, values = elements[:ROW_HEAD], [float(element) for element in elements[ROW_HEAD:]]
    if any(number != number or number < 0 or number % 1 for number in head):
        raise ValueError(f"not a row: it begins with {head}")
    sequence, version, seconds, nanoseconds = (int(number) for number in head)
    if seconds > _LAST_SECOND or nanoseconds >= SECOND:
        raise ValueError(f"not a row: it begins with {head}")
    return RowEvent(sequence, version, seconds * SECOND + nanoseconds, values)


class RowFollower:
    """One row PV: tells rows from repeats, counts what is missing, and hands each row on with its columns.

    A row waits (with all that come after it) until its catalogue is known. One whose catalogue never comes, or whose
    values do not fit it, keeps its values under numbered columns: none is lost and none is given a wrong name.

    Args:
        pv: the PV, for the log.
        take: gets the columns and the row.
        on_gap: gets the number of missing rows, and the times (ns) of the rows before and behind them.
        last: sequence number, catalogue version and time (ns) of the last row of the run before.
        clock: s, steady.

    Attributes:
        rows: taken.
        repeats: events that told a known row again, not stored.
        gaps, missed: holes in the sequence, and the rows in them.
        restarts: of the serving process.
        refused: rows of a simulator, where those are not wanted.
        malformed: events that are no rows.
    """

    def __init__(
        self,
        pv: str,
        take: Callable[[Row, RowEvent], None],
        on_gap: Callable[[int, int, int], None] = lambda missed, since, until: None,
        last: tuple[int, int, int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pv = pv
        self.rows = self.repeats = self.gaps = self.missed = self.restarts = self.refused = self.malformed = 0
        self._take = take
        self._clock = clock
        self._on_gap = on_gap
        self._last = RowEvent(*last, []) if last else None
        self._layouts: dict[int, Row | None] = {}
        self._numbered: dict[int, Row] = {}
        self._waiting: deque[RowEvent] = deque()
        self._waiting_since = 0.0
        self._unsaid: tuple[int, int, int, int] | None = None  # gaps, missed, from and to (ns)
        self._say_at = 0.0

    # -- columns

    def learn(self, version: int, row: Row | None) -> None:
        """Take the columns of a catalogue version; None = its rows come from a simulator and are not wanted."""
        self._layouts[version] = row
        while len(self._layouts) > 16:
            del self._layouts[min(self._layouts)]
        self._hand_on()

    def forget(self) -> None:
        """Do not trust known versions any more: the serving process may be another one."""
        self._layouts.clear()

    def last(self) -> tuple[int, int, int] | None:
        """Give sequence number, catalogue version and time (ns) of the last row, for the next run."""
        return (self._last.sequence, self._last.version, self._last.time_ns) if self._last else None

    @property
    def waiting(self) -> int:
        """Rows that wait for their catalogue: read it again."""
        return len(self._waiting)

    # -- events

    def receive(self, value: Any) -> bool:
        """Take the value of an event.

        Returns:
            Whether it was a new row.
        """
        try:
            event = read_row(value)
        except ValueError as error:
            self.malformed += 1
            if self.malformed == 1:
                log.error("%s: %s; such events are counted", self.pv, error)
            return False
        if event is None or not self._new(event):
            return False
        self._last = event
        if not self._waiting:
            self._waiting_since = self._clock()
        self._waiting.append(event)
        self._hand_on()
        if len(self._waiting) > WAIT_ROWS:
            self.settle()
        return True

    def _new(self, event: RowEvent) -> bool:
        last = self._last
        if last is None:
            log.info("%s: the first row is number %d, of %s", self.pv, event.sequence, time_text(event.time_ns, "iso"))
            return True
        if event.sequence == last.sequence + 1:
            return True
        if event.sequence == last.sequence and event.time_ns == last.time_ns:
            self.repeats += 1
            return False
        if event.sequence <= last.sequence:
            self.restarts += 1
            earlier = f"; its first {event.sequence - 1} rows came before we found it" if event.sequence > 1 else ""
            log.warning("%s: the serving process is a new one%s", self.pv, earlier)
            return True
        self._gap(event.sequence - last.sequence - 1, last.time_ns, event.time_ns)
        return True

    def _gap(self, missed: int, since: int, until: int) -> None:
        self.gaps += 1
        self.missed += missed
        self._on_gap(missed, since, until)
        gaps, before, first, _ = self._unsaid or (0, 0, since, until)
        self._unsaid = (gaps + 1, before + missed, first, until)
        if self._clock() >= self._say_at:
            self.say_gaps()

    def say_gaps(self) -> None:
        """Log the missing rows that were not logged yet."""
        if self._unsaid:
            gaps, missed, since, until = self._unsaid
            self._unsaid = None
            self._say_at = self._clock() + SAY_EVERY
            where = "" if gaps == 1 else f" in {gaps} gaps"
            span = f"{time_text(since, 'iso')} and {time_text(until, 'iso')}"
            log.warning("%s: %d rows are missing%s between %s", self.pv, missed, where, span)

    def tick(self) -> None:
        """Do what is due by time; call it about once a second."""
        if self._unsaid and self._clock() >= self._say_at:
            self.say_gaps()
        if self._waiting and self._clock() >= self._waiting_since + WAIT_SECONDS:
            self.settle()

    # -- rows out

    def _hand_on(self) -> None:
        while self._waiting:
            event = self._waiting[0]
            if event.version in self._layouts:
                layout = self._layouts[event.version]
            elif any(version > event.version for version in self._layouts):
                layout = self._number(event, "its catalogue was replaced before it could be read")
            else:
                return
            self._waiting.popleft()
            self._store(event, layout)

    def settle(self) -> None:
        """Hand on the rows that still wait, without their catalogue."""
        while self._waiting:
            event = self._waiting.popleft()
            if event.version in self._layouts:
                self._store(event, self._layouts[event.version])
            else:
                self._store(event, self._number(event, "its catalogue did not come"))

    def _store(self, event: RowEvent, layout: Row | None) -> None:
        if layout is None:
            self.refused += 1
            return
        if len(layout.signals) != len(event.values):
            layout = self._number(event, f"its catalogue names {len(layout.signals)} columns")
        self.rows += 1
        self._take(layout, event)

    def _number(self, event: RowEvent, why: str) -> Row:
        count = len(event.values)
        if count not in self._numbered:
            text = "%s: a row of catalogue version %d with %d values: %s; such rows are kept under numbered columns"
            log.error(text, self.pv, event.version, count, why)
            self._numbered[count] = Row("ROW", tuple(Signal(f"COLUMN{number}") for number in range(1, count + 1)))
        return self._numbered[count]
