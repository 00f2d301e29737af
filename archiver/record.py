"""Recording a site: read its devices' catalogues over Channel Access, watch what they name, spool what comes.

What comes goes to the spools (`spooling`). From then on a kill does not lose it; bringing it to the store is the
store's own thread's affair.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from archiver.batch import Event, Mark, Source, foreign
from archiver.device_recorder import DeviceRecorder
from archiver.foreign_pv import ForeignPv
from archiver.killed import mark_kill
from archiver.last_events import LastEvents
from archiver.logbook import Logbook
from archiver.outlet import Outlet
from archiver.pv_recorder import Fingerprint, PvRecorder
from archiver.row_recorder import RowRecorder
from archiver.simulation import Simulation, names_above
from archiver.spooling import Spooling
from iocs import log as logs
from iocs.archive_tables import Mode
from iocs.ca import statistics
from iocs.ca.client import Client, Mask, Watch
from iocs.ca.metadata import Metadata
from iocs.config import Site
from iocs.signals import Catalogue, Reading
from iocs.state import State, StateError

log = logging.getLogger(__name__)

READ_WITHIN = 5.0  # s for reading a catalogue again, or what a foreign PV is
FOUND_WITHIN = 5.0  # s after which it is said that a device was not found
CLOSE_WITHIN = 2.0  # s for telling the servers at the end
WRITE_WITHIN = 20.0  # s for the stores at the end; what they do not take by then stays in the spool
COUNTS_EVERY = 60.0  # s between lines with the counts


class Recorder:
    """All devices of a site, and PVs by name.

    Args:
        site: what is to be recorded.
        state: keeps catalogues.
        outlets: the stores.
        last: the last events of the run before.

    Attributes:
        listen: gives what is to hear the readings of a single PV besides, None for most.
    """

    def __init__(self, site: Site, state: State, outlets: list[Outlet], last: LastEvents) -> None:
        self.site = site
        self.outlets = outlets
        self.devices = [DeviceRecorder(device.name, self) for device in site.devices]
        names = [device.name for device in site.devices]
        servers = statistics.likely(site.prefix, names) if names else []
        self.devices += [DeviceRecorder(name, self, expected=False) for name in servers]
        self.pvs: dict[str, PvRecorder] = {}
        self.foreign: list[ForeignPv] = []
        self._simulations: dict[str, Simulation] = {}
        self.listen: Callable[[Source], Callable[[Reading], None] | None] = lambda source: None
        self.spooling = Spooling(site.archive, outlets, last, self._forget)
        self._state = state
        self._last = last
        self._watches: dict[str, Watch] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._periods: dict[float, list[PvRecorder]] = defaultdict(list)
        self._reading: dict[str, asyncio.Task[None]] = {}
        self._read_at: dict[str, float] = {}
        self._logbook = Logbook(self)
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            self._catalogues: dict[str, Any] = state.load().get("catalogues", {})
        except StateError as error:
            log.warning("the catalogues of the run before are not known: %s", error)
            self._catalogues = {}

    async def run(self, stop: asyncio.Event, *others: Coroutine[Any, Any, None]) -> bool:
        """Record until `stop` is set, then spool and write what is held.

        Args:
            stop: ends it.
            others: what is to run meanwhile; a fault in it ends the run.

        Returns:
            Whether all that came is in the stores or waits in their spools.

        Raises:
            Exception: a bug; what was held is spooled before.
        """
        mark_kill(self.outlets, self._last, self._catalogues.values(), self.site.prefix)
        for outlet in self.outlets:
            outlet.start()
        async with Client() as self._client:
            return await self._run(stop, others)

    async def _run(self, stop: asyncio.Event, others: Sequence[Coroutine[Any, Any, None]]) -> bool:
        for device in self.devices:
            self._watch(device.name, device.pvs, device.on_catalogue)
        own = tuple(f"{self.site.prefix}{device.name}:" for device in self.devices)  # their catalogues tell of them
        for pv in self.site.archive.pvs:
            if not pv.startswith(own):
                self._open_foreign(pv)
        ending = asyncio.create_task(stop.wait())
        self._start("-", self._chores())
        self._start("-", self.spooling.run())
        for other in others:
            self._start("-", other)
        try:
            await asyncio.wait([ending, self._failed], return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending.cancel()
            complete = await self._close()
        if self._failed.done():
            self._failed.result()
        return complete

    async def _close(self) -> bool:
        tasks = [*self._tasks, *self._reading.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        closing = [asyncio.create_task(watch.close()) for watch in self._watches.values()]
        if closing:
            done, late = await asyncio.wait(closing, timeout=CLOSE_WITHIN)
            for error in [task.exception() for task in done] + [TimeoutError("a watch does not end")] * len(late):
                if error:
                    log.warning("closing the connections: %s", error)
        self._settle()
        await self.spooling.finish()
        empty = await asyncio.gather(*(asyncio.to_thread(outlet.stop, WRITE_WITHIN) for outlet in self.outlets))
        self._logbook.say_counts("at the end ")
        return all(done or not outlet.spool.fault for done, outlet in zip(empty, self.outlets, strict=True))

    def _settle(self) -> None:
        """Hand on all that waits for something, and mark that we stop."""
        now = time.time_ns()
        for pv in self.foreign:
            pv.settle()
        for recorder in self.pvs.values():
            recorder.stop()
        for device in self.devices:
            logs.device.set(device.name)
            for row in device.rows.values():
                row.follower.settle()
                row.follower.say_gaps()
                if row.connected:
                    self.spooling.put_sample((row.source, Mark(Event.STOPPED, now)))
        logs.device.set("-")

    # -- watching

    def _watch(
        self, device: str, pv: str, on_reading: Callable[[Reading], None], mask: Mask | None = None, key: str = ""
    ) -> None:
        """Watch a PV; a bug in taking its events ends the run instead of being lost in the client."""

        def guarded(reading: Reading) -> None:
            token = logs.device.set(device)
            try:
                on_reading(reading)
            except Exception as error:  # noqa: BLE001
                self._fail(error)
            finally:
                logs.device.reset(token)

        def guarded_sample(reading: Reading) -> None:  # a hundred thousand a second: no name for the log
            try:
                on_reading(reading)
            except Exception as error:  # noqa: BLE001
                self._fail(error)

        if mask is None:
            self._watches[key or pv] = self._client.watch(pv, guarded)
        else:
            self._watches[pv] = self._client.watch(pv, guarded_sample, mask)

    def _fail(self, error: BaseException) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)

    def _start(self, device: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        def ended(task: asyncio.Task[None]) -> None:
            error = None if task.cancelled() else task.exception()
            if error:
                self._fail(error)
            if task in self._tasks:
                self._tasks.remove(task)

        token = logs.device.set(device)
        try:
            task = asyncio.create_task(work)
        finally:
            logs.device.reset(token)
        self._tasks.append(task)
        task.add_done_callback(ended)
        return task

    # -- what the devices ask for

    def open_row(self, source: Source, every: float | None, device: DeviceRecorder) -> RowRecorder:
        """Begin to record a row PV."""
        last = self._last.events.get(source.pv)
        known = (int(last[0]), int(last[1]), int(last[2])) if isinstance(last, list) and len(last) == 3 else None
        row = RowRecorder(source, self.spooling.put_row, self.spooling.put_sample, self.spooling.hurry, every, known)
        log.info("recording %s", source.pv)
        self._watch(device.name, source.pv, device.listener(row))
        return row

    def open_pv(self, source: Source, mode: Mode) -> PvRecorder:
        """Begin to record a PV as single samples."""
        recorder = self._recorder(source, mode)
        self._watch(source.device, source.pv, self._heard(recorder, recorder.on_reading), Mask.LOG | Mask.ALARM)
        return recorder

    def _heard(self, recorder: PvRecorder, on_reading: Callable[[Reading], None]) -> Callable[[Reading], None]:
        """Have a PV's readings heard by whoever wants to (`listen`), where that is this PV's."""
        listener = self.listen(recorder.source)
        if listener is None:
            return on_reading

        def both(reading: Reading) -> None:
            on_reading(reading)
            listener(reading)

        return both

    def close_pv(self, recorder: PvRecorder) -> None:
        """End the recording of a PV."""
        pv = recorder.source.pv
        recorder.stop()
        if last := recorder.last():
            self._last.events[pv] = last
        self._watches.pop(pv).end()
        if recorder.every is not None:
            self._periods[recorder.every].remove(recorder)
        del self.pvs[pv]

    def _forget(self, pv: str, event: Fingerprint) -> None:
        if (recorder := self.pvs.get(pv)) is not None:
            recorder.forget(event)

    def _recorder(self, source: Source, mode: Mode) -> PvRecorder:
        last = self._last.events.get(source.pv)
        known = (int(last[0]), str(last[1]), int(last[2]), int(last[3])) if last and len(last) == 4 else None
        recorder = self.pvs[source.pv] = PvRecorder(source, mode, self.spooling.put_sample, known)
        if recorder.every is not None:
            if recorder.every not in self._periods:
                self._start("-", self._tick_every(recorder.every))
            self._periods[recorder.every].append(recorder)
        return recorder

    def _open_foreign(self, pv: str) -> None:
        source = foreign(pv, self.site.prefix)
        mode = self.site.archive.mode(source.site_name) or "monitor"
        if mode == "none":
            return
        it = ForeignPv(self._recorder(source, mode), self.spooling.put_label, self._metadata, self._ask)
        self.foreign.append(it)
        if not self.site.simulated:
            for name in names_above(pv):
                self._simulation(name).add(it)
        self._watch("-", pv, self._heard(it.recorder, it.on_reading), Mask.LOG | Mask.ALARM)

    def _simulation(self, name: str) -> Simulation:
        """Give what tells whether the PVs below a name are simulated; it is searched before those."""

        def watch(on_reading: Callable[[Reading], None]) -> Callable[[], None]:
            self._watch("-", name, on_reading, key=f"simulation {name}")
            return lambda: self._watches.pop(f"simulation {name}").end()

        if name not in self._simulations:
            self._simulations[name] = Simulation(name, watch, self._metadata, self._ask)
        return self._simulations[name]

    def _ask(self, question: Coroutine[Any, Any, None]) -> None:
        self._start("-", question)

    async def _metadata(self, pv: str) -> Metadata | None:
        try:
            return await self._client.metadata(pv, READ_WITHIN)
        except (TimeoutError, PermissionError) as error:
            log.warning("%s: what it is cannot be read: %s", pv, error)
            return None

    async def _tick_every(self, every: float) -> None:
        """Record the newest values at each multiple of a period."""
        while True:
            await asyncio.sleep(every - time.time() % every)
            for recorder in self._periods[every]:
                recorder.tick()

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
        not_found_said, counts_at = False, started + COUNTS_EVERY
        while True:
            await asyncio.sleep(0.5)
            now = time.monotonic()
            if not not_found_said and now >= started + FOUND_WITHIN:
                not_found_said = True
                self._logbook.say_not_found()
            for simulation in self._simulations.values():
                simulation.tend(now)
            for outlet in self.outlets:
                if outlet.bug is not None:
                    raise outlet.bug
            for device in self.devices:
                logs.device.set(device.name)
                for row in device.rows.values():
                    row.follower.tick()
                    if row.follower.waiting:
                        self.read_again(device)
            logs.device.set("-")
            if now >= counts_at:
                counts_at = now + COUNTS_EVERY
                self._logbook.say_counts()
