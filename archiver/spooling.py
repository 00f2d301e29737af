"""The way to the spools: what comes is held for a moment, then encoded for each store and spooled, in a thread."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from archiver.batch import Batch, Event, Mark, Source
from archiver.last_events import LastEvents
from archiver.outlet import Outlet
from archiver.pv_recorder import Fingerprint, fingerprint
from iocs.archive_tables import ArchiveTable
from iocs.signals import Reading

log = logging.getLogger(__name__)

NO_VALUE = ""  # as no event has it, what is told again is recorded; the time says which ones InfluxDB has taken
MOST_HELD = 2_000_000  # events that may wait to be spooled


class Spooling:
    """The way of all events to all stores.

    Args:
        archive: how often.
        outlets: the stores.
        last: what the next run must know.
        forget: called with a PV and an event that not every store has: it is to be recorded when it is told again.

    Attributes:
        put_sample, put_row, put_label: take what came; call them in the loop.
        received: events that came.
        slowest: s that the newest event of a PV was old when it came, and the PV.
    """

    def __init__(
        self,
        archive: ArchiveTable,
        outlets: Sequence[Outlet],
        last: LastEvents,
        forget: Callable[[str, Fingerprint], None],
    ) -> None:
        self.received = 0
        self.slowest = 0.0, ""
        self._held = Batch()
        self.put_sample = self._held.samples.append
        self.put_row = self._held.rows.append
        self.put_label = self._held.labels.append
        self._archive, self._outlets, self._last, self._forget = archive, outlets, last, forget
        self._hurry = False
        self._running: asyncio.Task[None] | None = None
        self._overrun = 0  # events dropped before they could be spooled
        self._overrun_gaps: dict[Source, Mark] = {}
        self._sync_at = 0.0
        self._sync_said = ""

    @property
    def held(self) -> int:
        """Events in memory on their way to the spools."""
        return len(self._held)

    def hurry(self) -> None:
        """Have what is held written at once."""
        self._hurry = True

    async def run(self) -> None:
        """Spool what came, every `spool_every`, for ever."""
        every = self._archive.spool_every
        while True:
            await asyncio.sleep(every)
            hurry, self._hurry = self._hurry, False
            self._running = asyncio.create_task(asyncio.to_thread(self._spool, self._collect(), hurry))
            while not self._running.done():
                await asyncio.wait([self._running], timeout=every)
                self._bound()
            self._running.result()

    async def finish(self) -> None:
        """Spool what is left; `run` has been cancelled."""
        if self._running is not None:
            await asyncio.gather(self._running, return_exceptions=True)
        await asyncio.to_thread(self._spool, self._collect(), True)

    def _collect(self) -> Batch:
        held = self._held
        batch = Batch(time.time_ns(), list(held.samples), list(held.rows), list(held.labels))
        for kind in (held.samples, held.rows, held.labels):
            kind.clear()
        self.received += len(batch)
        return batch

    def _bound(self) -> None:
        """Drop what is held when the spools are so slow that it grows without end."""
        if len(self._held) > MOST_HELD:
            batch = self._collect()
            self._overrun += len(batch)
            self._overrun_gaps = batch.as_gaps(self._overrun_gaps)

    # -- in a thread

    def _spool(self, batch: Batch, hurry: bool) -> None:
        """Put a batch into all spools."""
        if self._overrun:
            count, self._overrun = self._overrun, 0
            gaps, self._overrun_gaps = self._overrun_gaps, {}
            log.error("%d events were dropped: the spools take them too slowly", count)
            for outlet in self._outlets:
                outlet.overrun(count, gaps)
        taken = [outlet.record(batch) for outlet in self._outlets]
        now = time.monotonic()
        due = now >= self._sync_at or hurry
        if len(batch) or due:
            self._keep(batch, all(taken))
        if due:
            self._sync_at = now + self._archive.sync_every
            self._sync()
        if hurry:
            for outlet in self._outlets:
                outlet.wake()

    def _keep(self, batch: Batch, taken: bool) -> None:
        """Note for the next run what a batch has changed."""
        readings = {source.pv: what for source, what in batch.samples if not isinstance(what, Mark)}
        newest: dict[str, Any] = {pv: fingerprint(reading) for pv, reading in readings.items()}
        if not taken:
            for pv, event in newest.items():
                self._forget(pv, event)
            newest = {pv: (event[0], NO_VALUE, 0, 0) for pv, event in newest.items()}
        newest |= {row.source.pv: (row.sequence, row.version, row.time_ns) for row in batch.rows}
        heard = {
            source.pv: what.event is Event.CONNECTED
            for source, what in batch.samples
            if isinstance(what, Mark) and what.event is not Event.GAP
        }
        safe = {outlet.sink.name: batch.arrived_ns for outlet in self._outlets if not outlet.behind}
        self._last.put(newest, heard, safe)
        self._measure_lag(batch, readings)

    def _sync(self) -> None:
        for outlet in self._outlets:
            try:
                outlet.spool.sync()
            except OSError as error:
                if str(error) != self._sync_said:
                    self._sync_said = str(error)
                    log.error("%s: the spool cannot be synced: %s", outlet.sink.name, error)

    def _measure_lag(self, batch: Batch, readings: dict[str, Reading]) -> None:
        lags = [(batch.arrived_ns - reading.time_ns, pv) for pv, reading in readings.items()]
        lags += [(batch.arrived_ns - row.time_ns, row.source.pv) for row in batch.rows[-1:]]
        if lags:
            lag, pv = max(lags)
            self.slowest = lag / 1e9, pv
