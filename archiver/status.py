"""What the archiver tells about itself, as PVs under `ARC:`, once a second, and all of it as JSON in one of them."""

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from archiver.outlet import Outlet
from archiver.record import Recorder
from iocs.ca.access import Access
from iocs.ca.hosts import Unusable, is_own, rules
from iocs.ca.server import Server
from iocs.config import ARCHIVER, Site
from iocs.host import room
from iocs.signals import Alarms, Bad, Catalogue, Kind, Severity, Signal, Status, readback

log = logging.getLogger(__name__)

PERIOD = 1.0  # s
STATUS_EVERY = 5  # periods: it grows with the PVs
MEGABYTE = 1e6
CATALOGUE_VERSION = 2  # to grow with every change of the signals

OWN = (
    readback("HEARTBEAT", type=int, group="Archiver", doc="Counts seconds while the archiver lives"),
    readback("RATE", "1/s", precision=1, group="Archiver", doc="Events that come, values and marks"),
    readback("RECEIVED", precision=0, group="Archiver", doc="Events since the start"),
    readback("HELD", precision=0, group="Archiver", doc="Events in memory on their way to the spools"),
    readback("TOTAL", precision=0, group="Archiver", doc="PVs and rows that are to be recorded"),
    readback("CONNECTED", precision=0, group="Archiver", doc="PVs and rows whose server is there"),
    readback("MISSED", precision=0, group="Archiver", doc="Rows that are missing by their numbers, since the start"),
    readback("REFUSED", precision=0, group="Archiver", doc="Events of simulators, which are not recorded"),
    readback("LAG", "s", group="Archiver", doc="Age of the newest event of the slowest PV when it came"),
    readback("SLOWEST", type=str, group="Archiver", doc="PV with that lag"),
    readback("STATUS", type=Kind.TEXT, group="Archiver", doc="All counts, by store and by PV (JSON)"),
    readback("PVS", type=Kind.TEXT, group="Archiver", doc="Catalogue of these signals (JSON)"),
)


def signals_of(store: str) -> tuple[Signal, ...]:
    """Give the signals of one store, `csv` or `influx`."""
    head, group = f"{store.upper()}:", f"Store {store}"
    online = (Severity.MAJOR, Severity.NO_ALARM)
    return (
        readback(f"{head}ONLINE", type=("Down", "Up"), state_severities=online, group=group, doc="Whether it takes"),
        readback(f"{head}ERROR", type=str, group=group, doc="Why it takes nothing, empty when well"),
        readback(f"{head}SPOOL_ERROR", type=str, group=group, doc="Why the spool cannot be written, empty when well"),
        readback(f"{head}SEEN", precision=0, group=group, doc="Events for it, with those that waited at the start"),
        readback(f"{head}WRITTEN", precision=0, group=group, doc="Events that it has"),
        readback(f"{head}WAITING", precision=0, group=group, doc="Events in its spool"),
        readback(f"{head}DROPPED", precision=0, alarms=Alarms(high=1), group=group, doc="Events that it will not have"),
        readback(f"{head}REASONS", type=str, group=group, doc="Dropped events by reason (JSON)"),
        readback(f"{head}RATE", "1/s", precision=1, group=group, doc="Events written"),
        readback(f"{head}SPOOL", "MB", precision=3, group=group, doc="Size of what waits"),
        readback(f"{head}FREE", "MB", precision=0, group=group, doc="Room on the disk that it needs"),
    )


class ArchiverStatus:
    """The PVs of one archiver.

    Args:
        site: of the archiver.
        recorder: what it does.
    """

    def __init__(self, site: Site, recorder: Recorder) -> None:
        self._site, self._recorder = site, recorder
        self._prefix = f"{site.prefix}{ARCHIVER}:"
        self._server: Server | None = None
        self._heartbeat = 0
        self._last: dict[str, float] = {}
        self._last_at = time.monotonic()

    async def serve(self) -> None:
        """Serve the PVs until cancelled. An archiver that cannot be seen archives nevertheless."""
        access = Access(is_own)
        try:
            access.replace(*await asyncio.to_thread(rules, self._site.access))
            server = Server(self._site.access.interfaces, access=access)
            signals = (*OWN, *(signal for outlet in self._recorder.outlets for signal in signals_of(outlet.sink.name)))
            server.serve(self._prefix, signals)
            catalogue = Catalogue(ARCHIVER, "archiver", self._prefix, CATALOGUE_VERSION, False, signals)
            server.post(self._prefix, time.time_ns(), {"PVS": catalogue.to_json()})
            await server.start()
        except (OSError, Unusable) as error:
            log.error("the PVs %s* cannot be served: %s; the archiver goes on without them", self._prefix, error)
            return
        try:
            while True:
                server.post(self._prefix, time.time_ns(), self._values())
                self._heartbeat = (self._heartbeat + 1) % (1 << 31)
                await asyncio.sleep(PERIOD)
        finally:
            await server.stop()

    def _values(self) -> dict[str, Any]:
        recorder = self._recorder
        now = time.monotonic()
        seconds, self._last_at = max(now - self._last_at, 1e-3), now
        rows = [row for device in recorder.devices for row in device.rows.values()]
        single = list(recorder.pvs.values())
        lag, slowest = recorder.spooling.slowest
        values: dict[str, Any] = {
            "HEARTBEAT": self._heartbeat,
            "RATE": self._rate("received", recorder.spooling.received, seconds),
            "RECEIVED": recorder.spooling.received,
            "HELD": recorder.spooling.held,
            "TOTAL": len(rows) + len(single),
            "CONNECTED": sum(each.connected for each in (*rows, *single)),
            "MISSED": sum(row.follower.missed for row in rows),
            "REFUSED": sum(row.follower.refused for row in rows) + sum(pv.refused for pv in recorder.foreign),
            "LAG": lag,
            "SLOWEST": slowest,
        }
        if self._heartbeat % STATUS_EVERY == 0:
            values["STATUS"] = json.dumps(self.told(), separators=(",", ":"))
        for outlet in recorder.outlets:
            values |= self._of_store(outlet, seconds)
        return values

    def _of_store(self, outlet: Outlet, seconds: float) -> dict[str, Any]:
        name, counts = outlet.sink.name, outlet.counts()
        told = {
            "ONLINE": int(not outlet.error),
            "ERROR": _alarmed(outlet.error),
            "SPOOL_ERROR": _alarmed(outlet.spool.fault),
            "SEEN": counts.seen,
            "WRITTEN": counts.written,
            "WAITING": counts.waiting,
            "DROPPED": sum(counts.dropped.values()),
            "REASONS": json.dumps(counts.dropped),
            "RATE": self._rate(name, counts.written, seconds),
            "SPOOL": outlet.spool.waiting_bytes / MEGABYTE,
            "FREE": _free(self._site.archive.csv.directory if name == "csv" else outlet.spool.folder),
        }
        return {f"{name.upper()}:{key}": value for key, value in told.items()}

    def _rate(self, name: str, count: float, seconds: float) -> float:
        before, self._last[name] = self._last.get(name, 0.0), count
        return (count - before) / seconds

    def told(self) -> dict[str, Any]:
        """Give all counts, as plain data for JSON."""
        return {
            "stores": {
                outlet.sink.name: {
                    **asdict(outlet.counts()),
                    "error": outlet.error,
                    "spool_error": outlet.spool.fault,
                    "spool_bytes": outlet.spool.waiting_bytes,
                }
                for outlet in self._recorder.outlets
            },
            "pvs": dict(self._pvs()),
        }

    def _pvs(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for device in self._recorder.devices:
            for row in device.rows.values():
                follower = row.follower
                yield (
                    row.source.pv,
                    {
                        "connected": row.connected,
                        "recorded": follower.rows - row.thinned,
                        "thinned": row.thinned,
                        "repeats": follower.repeats,
                        "refused": follower.refused,
                        "missed": follower.missed,
                        "gaps": follower.gaps,
                    },
                )
        refused = {pv.recorder.source.pv: pv.refused for pv in self._recorder.foreign}
        for pv, recorder in self._recorder.pvs.items():
            yield (
                pv,
                {
                    "connected": recorder.connected,
                    "seen": recorder.seen,
                    "recorded": recorder.recorded,
                    "thinned": recorder.thinned,
                    "repeats": recorder.repeats,
                    "unprocessed": recorder.unprocessed,
                    "refused": refused.get(pv, 0),
                },
            )


def _alarmed(error: str) -> Any:
    return Bad(error, error, Severity.MAJOR, Status.STATE) if error else error


def _free(folder: Path) -> Any:
    free = room(folder)
    return Bad("the disk cannot be asked") if free is None else free
