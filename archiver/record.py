"""Recording a site: read its devices' catalogues over Channel Access, watch their row PVs, write the rows."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from archiver.row_recorder import RowRecorder
from archiver.sinks.csv_files import CsvFiles
from archiver.sinks.folder import Folder, FolderTaken
from iocs import log as logs
from iocs.ca.client import Client, Watch
from iocs.config import Site
from iocs.signals import Catalogue, Reading
from iocs.state import State, StateError

log = logging.getLogger(__name__)

READ_WITHIN = 5.0  # s for reading a catalogue again
FOUND_WITHIN = 5.0  # s after which it is said that a device was not found
CLOSE_WITHIN = 2.0  # s for telling the servers at the end
COUNTS_EVERY = 60.0  # s between lines with the counts


class DeviceRecorder:
    """One device: its catalogue, and a `RowRecorder` for each of its rows."""

    def __init__(self, name: str, recorder: "Recorder") -> None:
        self.name = name
        self.pvs = f"{recorder.site.prefix}{name}:PVS"
        self.catalogue: Catalogue | None = None
        self.rows: dict[str, RowRecorder] = {}
        self._recorder = recorder
        self._bad_text = ""
        self._refusal_said = False

    def on_catalogue(self, reading: Reading) -> None:
        """Take an event of the PV `PVS`."""
        if reading.connected and isinstance(reading.value, str) and reading.value and reading.value != self._bad_text:
            try:
                catalogue = Catalogue.from_json(reading.value)
            except ValueError as error:
                self._bad_text = reading.value
                log.error("%s does not hold a catalogue: %s", self.pvs, error)
                return
            self._learn(catalogue)

    def _learn(self, catalogue: Catalogue) -> None:
        if catalogue != self.catalogue:
            self.catalogue = catalogue
            self._recorder.keep(self.name, catalogue)
            columns = ", ".join(f"{row.name} with {len(row.signals)} columns" for row in catalogue.rows) or "no rows"
            log.info("catalogue version %d: %s", catalogue.version, columns)
        wanted = self._recorder.site.simulated or not catalogue.simulated
        if not wanted and not self._refusal_said:
            self._refusal_said = True
            log.error(
                "%s serves SIMULATED values: they are NOT recorded. If this site is a simulation, write "
                "'simulated = true' under [site] in %s and start the archiver again",
                self.pvs,
                self._recorder.site.path,
            )
        for row in catalogue.rows:
            if row.name not in self.rows and wanted:
                self.rows[row.name] = self._recorder.open_row(catalogue.prefix + row.name, self._listener)
            if row.name in self.rows:
                self.rows[row.name].follower.learn(catalogue.version, row if wanted else None)

    def _listener(self, row: RowRecorder) -> Callable[[Reading], None]:
        """Give what takes the events of a row: a row whose catalogue is not known has it read again."""

        def on_reading(reading: Reading) -> None:
            row.on_reading(reading)
            if row.follower.waiting:
                self._recorder.read_again(self)

        return on_reading


class Recorder:
    """All devices of a site. Use: `claim`, then `run`."""

    def __init__(self, site: Site, state: State) -> None:
        self.site = site
        self.devices = [DeviceRecorder(device.name, self) for device in site.devices]
        self._state = state
        self._watches: list[Watch] = []
        self._writers: list[asyncio.Task[None]] = []
        self._reading: dict[str, asyncio.Task[None]] = {}
        self._read_at: dict[str, float] = {}
        self._folders: dict[Path, Folder] = {}
        self._prefixes: set[tuple[Path, str]] = set()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            self._catalogues: dict[str, Any] = state.load().get("catalogues", {})
        except StateError as error:
            log.warning("the catalogues of the run before are not known: %s", error)
            self._catalogues = {}

    def claim(self) -> None:
        """Make and lock the folders. One that cannot be used at the moment is made later.

        Raises:
            FolderTaken: another archiver writes to one of them.
        """
        for folder in {self.site.archive.csv.directory, *self._own_directories()}:
            self._claim(folder)

    async def run(self, stop: asyncio.Event) -> bool:
        """Record until `stop` is set, then write what is held.

        Returns:
            Whether all rows that came are in files.

        Raises:
            Exception: a bug; what was held is written before.
        """
        async with Client() as self._client:
            return await self._run(stop)

    async def _run(self, stop: asyncio.Event) -> bool:
        for device in self.devices:
            self._watch(device.name, device.pvs, device.on_catalogue)
        tasks = [self._start("-", self._chores()), asyncio.create_task(stop.wait())]
        try:
            await asyncio.wait([*tasks, self._failed], return_when=asyncio.FIRST_COMPLETED)
        finally:
            complete = await self._close(tasks)
        if self._failed.done():
            self._failed.result()
        return complete

    def _own_directories(self) -> list[Path]:
        names = {device.name for device in self.devices}
        tables = self.site.archive.csv.row.items()
        return [row.directory for name, row in tables if row.directory and name.split(":")[0] in names]

    def _claim(self, path: Path) -> Folder:
        folder = self._folders.setdefault(path, Folder(path))
        try:
            folder.claim()
        except FolderTaken:
            raise
        except OSError as error:
            log.error("%s cannot be used: %s; rows are held in memory until it can", path, error.strerror or error)
        return folder

    async def _close(self, tasks: list[asyncio.Task[Any]]) -> bool:
        tasks = [*tasks, *self._writers, *self._reading.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        closing = [asyncio.create_task(watch.close()) for watch in self._watches]
        if closing:
            done, late = await asyncio.wait(closing, timeout=CLOSE_WITHIN)
            for error in [task.exception() for task in done] + [TimeoutError("a watch does not end")] * len(late):
                if error:
                    log.warning("closing the connections: %s", error)
        complete = True
        for device in self.devices:
            logs.device.set(device.name)
            for row in device.rows.values():
                row.follower.settle()
                row.follower.say_gaps()
                try:
                    complete &= await asyncio.to_thread(row.files.close)
                except Exception:  # a bug in the files of one row does not cost the others theirs
                    log.exception("%s: the files could not be closed", row.follower.pv)
                    complete = False
                log.info("%s: at the end %s", row.follower.pv, row.counts())
        for folder in self._folders.values():
            folder.release()
        return complete

    def _watch(self, device: str, pv: str, on_reading: Callable[[Reading], None]) -> None:
        """Watch a PV; a bug in taking its events ends the run instead of being lost in the client."""

        def guarded(reading: Reading) -> None:
            token = logs.device.set(device)
            try:
                on_reading(reading)
            except Exception as error:  # noqa: BLE001
                self._fail(error)
            finally:
                logs.device.reset(token)

        self._watches.append(self._client.watch(pv, guarded))

    def _fail(self, error: BaseException) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)

    def _start(self, device: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        def ended(task: asyncio.Task[None]) -> None:
            error = None if task.cancelled() else task.exception()
            if error:
                self._fail(error)

        token = logs.device.set(device)
        try:
            task = asyncio.create_task(work)
        finally:
            logs.device.reset(token)
        task.add_done_callback(ended)
        return task

    # -- what the devices ask for

    def open_row(self, pv: str, listener: Callable[[RowRecorder], Callable[[Reading], None]]) -> RowRecorder:
        """Begin to record a row PV."""
        name = pv.removeprefix(self.site.prefix)
        settings = self.site.archive.csv.for_row(name)
        default = name.removesuffix(":ROW").replace(":", "_") + "_"
        prefix = settings.name if settings.name is not None else default
        if (settings.directory, prefix) in self._prefixes:
            log.warning(
                "%s: files of another row begin with %r already; these begin with %r", pv, prefix, prefix + default
            )
            prefix += default
        self._prefixes.add((settings.directory, prefix))
        folder = self._folders.setdefault(settings.directory, Folder(settings.directory))
        files = CsvFiles(pv, folder, prefix, settings)
        files.recover()
        row = RowRecorder(pv, files, settings.write_every)
        log.info("recording %s to %s", pv, settings.directory / f"{prefix}*.csv")
        device = name.split(":")[0]
        self._watch(device, pv, listener(row))
        self._writers.append(self._start(device, row.write()))
        return row

    def read_again(self, device: DeviceRecorder) -> None:
        """Read a device's catalogue now, if that is not being done or was not done a moment ago."""
        running = self._reading.get(device.name)
        now = time.monotonic()
        if (running and not running.done()) or now < self._read_at.get(device.name, 0.0):
            return
        self._read_at[device.name] = now + 0.1
        self._reading[device.name] = self._start(device.name, self._read(device))

    async def _read(self, device: DeviceRecorder) -> None:
        try:
            reading = await self._client.get(device.pvs, READ_WITHIN)
        except TimeoutError as error:
            log.warning("%s", error)
            return
        device.on_catalogue(reading)

    def keep(self, name: str, catalogue: Catalogue) -> None:
        """Keep a device's last catalogue in the archiver's state."""
        self._catalogues[name] = catalogue.to_json()
        try:
            self._state.save({"catalogues": self._catalogues})
        except OSError as error:
            log.warning("the catalogue is not kept: %s: %s", self._state.path, error.strerror)

    # -- what is due by time

    async def _chores(self) -> None:
        started = time.monotonic()
        not_found_said, counts_at, counts_said = False, started + COUNTS_EVERY, {}
        while True:
            await asyncio.sleep(0.5)
            now = time.monotonic()
            if not not_found_said and now >= started + FOUND_WITHIN:
                not_found_said = True
                self._say_not_found()
            for device in self.devices:
                logs.device.set(device.name)
                for row in device.rows.values():
                    row.follower.tick()
                    if row.follower.waiting:
                        self.read_again(device)
                    if now >= counts_at and counts_said.get(row) != row.counts():
                        counts_said[row] = row.counts()
                        log.info("%s: %s", row.follower.pv, row.counts())
            logs.device.set("-")
            if now >= counts_at:
                counts_at = now + COUNTS_EVERY

    def _say_not_found(self) -> None:
        silent = [device.pvs for device in self.devices if device.catalogue is None]
        if silent:
            addresses = os.environ.get("EPICS_CA_ADDR_LIST", "")
            where = f"EPICS_CA_ADDR_LIST is {addresses!r}" if addresses else "EPICS_CA_ADDR_LIST is not set"
            log.warning(
                "no answer yet for %s (%s). Is 'python -m iocs run' running? If it runs on another host, set "
                "EPICS_CA_ADDR_LIST to that host's address. The search goes on",
                ", ".join(silent),
                where,
            )
