"""A met station as PVs: the newest row of its logger, each value calibrated by when and by which sensor.

Rows come from the logger's files, which grow, or from its web server. A file is followed by a process of its own: years
of history, a slow disk and whatever the file holds cost no other device a moment, and only the newest row comes from
there. The files are the station's record: `python -m ingest.cr1000` writes it out, and no PV of a station is archived.
"""

import asyncio
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from drivers.errors import DeviceError, LinkError, ProtocolError
from ingest.cr1000.configuration import load
from ingest.cr1000.dataquery import DataQuery, Kept
from ingest.cr1000.newest import Newest, Told
from ingest.cr1000.station_settings import StationSettings
from ingest.cr1000.station_signals import LATER, counted, shape_of, signals_of, values_of
from ingest.cr1000.tables import Reader, Unreadable
from ingest.cr1000.tail import Job, looks
from iocs.config import Finding
from iocs.device import Device, Place
from iocs.signals import Signal
from iocs.simulation import simulator

log = logging.getLogger(__name__)

NEWEST = 2  # records that are asked for where none is kept: two tell the time from row to row


class Station(Device):
    """One station. `shape` is what its newest row had: see `shape_of`."""

    Settings = StationSettings
    settings: StationSettings
    later = LATER

    def __init__(self, settings: StationSettings, place: Place) -> None:
        super().__init__(settings, place)
        self._posted: Any = None  # what of a row was posted last

    @staticmethod
    def signals(settings: StationSettings, shape: list[list[Any]] | None) -> list[Signal]:
        """Give those of the variables that the newest row had; before the first one, what every station has."""
        return signals_of(shape)

    @staticmethod
    @contextmanager
    def simulate(settings: StationSettings) -> Iterator[StationSettings]:
        """Run a simulated logger that replays a table of the station, a row a second, with stamps of now."""
        replayed = settings.replayed
        if replayed is None:
            raise RuntimeError("there is nothing to replay: set replay to a TOA5 file of the station")
        with simulator("ingest.cr1000.simulator", ["--replay", str(replayed)]) as address:
            told = {"link": address, "files": [], "user": "", "password_env": "", "keep": None, "utc_offset": 0.0}
            with replayed.open(encoding="utf-8-sig", errors="replace") as file:
                table = file.readline().rstrip().rpartition(",")[2].strip('"')
            yield settings.model_copy(update=told | {"table": table, "period": 1.0, "timeout": 3.0})

    @staticmethod
    async def check(settings: StationSettings) -> tuple[list[Finding], list[list[Any]] | None]:
        """Look once at the configuration and at the source."""
        made = await asyncio.to_thread(load, settings.config, settings.station, lenient=settings.lenient)
        findings = [Finding(False, str(fault)) for fault in made.findings.faults]
        findings += [Finding(True, f"{len(made.parameters)} parameters of station {settings.station}")]
        if settings.link:
            logger, newest = _logger(settings), _newest(settings)
            told = await asyncio.to_thread(_look, settings, logger, None, newest, Counter())
        else:
            told = await asyncio.to_thread(lambda: next(told for told in looks(_job(settings)) if not told.reading))
        if told.trouble or told.time_ns is None:
            raise LinkError(told.trouble or "there is no row yet")
        findings.append(Finding(True, f"newest row {(time.time_ns() - told.time_ns) / 1e9:.0f} s ago"))
        if told.note:
            findings.append(Finding(True, f"rows: {told.note}"))
        return findings, shape_of(told.variables)

    @property
    def lost_after(self) -> float:
        """Three looks, and one that waits for its answer."""
        return self.settings.lost_after or max(3 * self.settings.period, 3.0) + self.settings.timeout

    async def run(self) -> None:
        """Tell the newest row until the source is lost."""
        self._posted = None
        await (self._ask_logger() if self.settings.link else self._follow_files())

    async def _follow_files(self) -> None:
        settings, job = self.settings, _job(self.settings)
        self.identify(f"station {settings.station}, {len(settings.files)} file(s)")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "ingest.cr1000.tail", job.to_json()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us
            limit=1 << 22,
        )
        lines = process.stdout
        try:
            while lines is not None and (line := await lines.readline()):
                self._take(Told.from_json(line))
            raise LinkError(f"the process that reads {job.files[0]} ended with code {await process.wait()}")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def _ask_logger(self) -> None:
        settings, logger = self.settings, _logger(self.settings)
        kept = None if settings.keep is None else Kept(settings.keep)
        newest = await asyncio.to_thread(_newest, settings)
        counts: Counter[str] = Counter()
        while True:
            self._take(await asyncio.to_thread(_look, settings, logger, kept, newest, counts))
            await asyncio.sleep(settings.period)

    def _take(self, told: Told) -> None:
        """Post what a look gave."""
        if told.reading:
            progress = {"CATCHUP": 1, "ROWS": told.rows % (1 << 31)}
            self.post(time.time_ns(), progress) if self.online else self.tell(progress)
            return
        if told.time_ns is None:
            self.tell(counted(told))
            self.lost(told.trouble or "there is no row yet")
            return
        age = time.time() - told.time_ns / 1e9
        stale = age > self._stale_after(told)
        if self.settings.link and not self.online:
            self.identify(f"station {self.settings.station}, table {self.settings.table} at {self.settings.link}")
        self.reshape(shape_of(told.variables))
        row = told.time_ns, told.variables, stale
        if row != self._posted or not self.online:
            self.post(told.time_ns, values_of(told.variables, stale))
            self._posted = row
        note = told.trouble or told.note
        self.post(time.time_ns(), {"STALE": stale, "DATAAGE": age, **counted(told), "NOTE": note})

    def _stale_after(self, told: Told) -> float:
        settings = self.settings
        return settings.stale_after or (3 * (told.interval or 3600.0) + 2 * settings.period)


def _job(settings: StationSettings) -> Job:
    files = [str(path) for path in settings.files]
    told = settings.table, settings.utc_offset_ns, settings.lenient, settings.period, dict(settings.missing)
    return Job(files, str(settings.config), settings.station, *told)


def _newest(settings: StationSettings) -> Newest:
    return Newest(settings.config, settings.station, settings.lenient, settings.missing)


def _logger(settings: StationSettings) -> DataQuery:
    """Give the logger.

    Raises:
        DeviceError: the environment does not hold its password.
    """
    try:
        return DataQuery(settings.link, settings.table, settings.user, settings.password, settings.timeout)
    except LookupError as error:
        raise DeviceError(str(error)) from error


def _look(
    settings: StationSettings, logger: DataQuery, kept: Kept | None, newest: Newest, counts: Counter[str]
) -> Told:
    """Ask a logger once (in a thread)."""
    try:
        table = logger.newest(NEWEST) if kept is None else kept.fetch(logger)
    except OSError as error:
        raise LinkError(f"{settings.keep} cannot be written: {error.strerror}") from error
    reader = Reader(logger.link, utc_offset_ns=settings.utc_offset_ns)
    try:
        for block in (*reader.feed(table), *reader.end(final=True)):
            newest.take(block)
    except Unreadable as error:
        raise ProtocolError(str(error)) from error
    counts += reader.counts
    return newest.told(counts, reader.notes)
