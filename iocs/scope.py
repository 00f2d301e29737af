"""A LeCroy scope over VXI-11 as PVs: its settings, its waveforms, and runs of events that go to files.

While the scope acquires, each event is read whole and posted: all channels with one event number and one time stamp, of
this computer's clock. In a run the scope is armed for one event at a time, and again once that is on disk.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from drivers.errors import DeviceError, DriverError, ProtocolError
from drivers.lecroy.acquire import read_event
from drivers.lecroy.replies import NEW
from drivers.lecroy.scope import Scope
from iocs.config import Finding
from iocs.device import Device, Life, Place
from iocs.scope_puts import DEEDS, do, put_setting
from iocs.scope_readbacks import ReadBacks
from iocs.scope_runs import RETRY, Runs
from iocs.scope_settings import ScopeSettings
from iocs.scope_signals import MEASURED, TRIGGERS, signals_of
from iocs.scope_waveforms import prepared
from iocs.signals import TEXT_BYTES, Bad, Reading, Refused, Signal
from iocs.simulation import simulator

log = logging.getLogger(__name__)

SAY_EVERY = 60.0  # s between two lines about the same trouble with events


class Oscilloscope(Device):
    """One scope."""

    Settings = ScopeSettings
    settings: ScopeSettings

    def __init__(self, settings: ScopeSettings, place: Place) -> None:
        super().__init__(settings, place)
        self._scope: Scope | None = None
        self._busy = asyncio.Lock()  # held over an event and over a put: neither comes between the other's questions
        self._long = 0  # calls under way that may take long
        self._armed = False  # for the run's next event
        self._stops = 0  # looks at which an armed scope was stopped
        self._disk: asyncio.Task[None] | None = None  # writes an event, or ends a run
        self._pending: dict[str, memoryview] | None = None  # an event that the disk refused
        self._complaint = "", -SAY_EVERY  # the last reason why an event was left out, and when it was logged
        self._stale = True  # all is to be posted, also what has not changed
        self._full: set[str] = set()
        self._inputs = tuple(f"C{n}" for n in range(1, settings.channels + 1))
        self._own = {each.name: each for each in self.signals(settings, None)}
        self._had = ReadBacks(self._inputs, self._own)
        self._autostores = True  # until it says that it cannot
        self._count = self._lost = 0
        self._counted = (time.monotonic(), 0)
        self._next_event = 0.0
        self._readings: dict[str, Reading] = {}
        self._runs = Runs(
            settings.runs, self.memory.setdefault("run", {}), self.save, self._tell_run, self._readings_now
        )
        self._ends: list[Callable[[], Any]] = []

    @staticmethod
    def signals(settings: ScopeSettings, shape: Any) -> list[Signal]:
        """Give the signals of the scope and of each of its inputs."""
        return signals_of(settings.channels, settings.maxpts, settings.fullpts)

    @staticmethod
    @contextmanager
    def simulate(settings: ScopeSettings) -> Iterator[ScopeSettings]:
        """Run a simulated scope."""
        with simulator("drivers.lecroy.simulator", ["--port", "0"]) as address:
            yield settings.model_copy(update={"link": address})

    @staticmethod
    async def check(settings: ScopeSettings) -> tuple[list[Finding], None]:
        """Ask what it is, and whether it has the channels."""
        scope = Scope(settings.link, settings.channels)
        try:
            findings = [Finding(True, f"{settings.link} is {await scope.identify()}")]
            if missing := await scope.missing_channels():
                findings.append(Finding(False, f"it has no {', '.join(missing)}: channels = {settings.channels}"))
            return findings, None
        finally:
            await scope.close()

    @property
    def lost_after(self) -> float:
        """3 s; while a waveform comes, or what an expert has asked for, the link itself watches over it."""
        return self.settings.lost_after or (3600.0 if self._long else max(3.0, 3 * self.settings.reread))

    def lost(self, reason: str, *, life: Life = Life.LOST) -> None:
        """Lose the scope; it may come back within the same session, when it was merely silent for a while."""
        self._stale = True
        super().lost(reason, life=life)

    async def run(self) -> None:
        """Read settings and events until the scope is lost."""
        self._watch_run_pvs()
        scope = Scope(self.settings.link, self.settings.channels)
        try:
            self.identify(str(await scope.open()))
            self._scope, self._armed, self._autostores = scope, False, True
            self._had = ReadBacks(self._inputs, self._own)
            settings = await self._reread(scope)
            await self._runs.back(settings)
            due = time.monotonic() + self.settings.reread
            while True:
                await self._look(scope)
                if time.monotonic() >= due:
                    async with self._busy:
                        self._see_whether_stopped(scope, await self._reread(scope))
                    self._tell_counts()
                    due = time.monotonic() + self.settings.reread
                await asyncio.sleep(self.settings.poll)
        except asyncio.CancelledError:
            await self._end_run("the scope was released, or the program ended")
            raise
        finally:
            self._scope = None
            await scope.close()

    async def put(self, signal: Signal, value: Any, by: str) -> Any:
        """Bring a value to the scope; what comes back is what the scope has made of it."""
        name = signal.name
        if name.startswith("RUN:"):
            return await self._put_run(name, value)
        if name.endswith(":WF:GET"):
            if value:
                self._full.add(name.split(":")[0])
            return 0
        scope = self._connected()
        word = signal.states[value] if signal.states else value
        try:
            async with self._busy:
                if name == "CMD":
                    return await self._expert(scope, str(value))
                if name in DEEDS:
                    await self._do(scope, name, bool(value))
                else:
                    self._refuse_in_run("its settings stay")
                    await put_setting(scope, name, word, self._had.words)
                await self._reread(scope)
        except ValueError as error:
            raise Refused(str(error)) from error
        if name in DEEDS:
            return 0
        confirmed = self._had.get(name)
        if confirmed is None or isinstance(confirmed, Bad):
            raise DeviceError(f"{name}: the scope does not tell what it has made of it")
        return confirmed

    # Within: what is put

    def _connected(self) -> Scope:
        if self._scope is None:
            raise Refused("the scope does not answer")
        return self._scope

    def _refuse_in_run(self, why: str) -> None:
        if self._runs.taking:
            raise Refused(f"a run is under way, {why}; put RUN:STOP or RUN:PAUSE first")

    async def _do(self, scope: Scope, deed: str, wanted: bool) -> None:
        if not wanted:
            return
        if deed != "FORCE":
            self._refuse_in_run("which arms and stops the scope itself")
        await do(scope, deed)
        self._next_event = 0.0  # somebody waits for it

    async def _expert(self, scope: Scope, text: str) -> str:
        """Send what an expert wrote; a question's answer goes to REPLY."""
        if any("?" not in part for part in text.split(";")):
            self._refuse_in_run("its settings stay")
        reply = ""
        async with self._taking_long(scope):
            if "?" in text:
                reply = await scope.ask(text)
            else:
                await scope.write(text)
        if len(reply.encode()) > TEXT_BYTES:
            raise Refused(f"the answer has {len(reply)} characters; REPLY holds {TEXT_BYTES} bytes")
        self.post(time.time_ns(), {"REPLY": reply})
        await self._reread(scope)
        return text

    async def _put_run(self, name: str, value: Any) -> Any:
        runs = self._runs
        match name:
            case "RUN:START":
                if value:
                    shown = tuple(self._had.inputs_shown)
                    async with self._busy:
                        self._armed, self._pending = False, None
                        await runs.start(shown, await self._reread(self._connected()))
                return 0
            case "RUN:STOP":
                if value:
                    await self._end_run("stopped")
                return 0
            case "RUN:PAUSE":
                runs.pause(bool(value))
                self._armed = False
                if self._disk is not None:  # the event of before the pause, unless the disk is slow
                    await asyncio.wait({self._disk}, timeout=RETRY)
                self.tell(runs.values())
                return value
        if runs.active:
            raise Refused("a run is under way; this is for the next one, put RUN:STOP first")
        return runs.wish(name, value)

    async def _end_run(self, why: str) -> None:
        """End the run, and the wait for its next event."""
        armed, self._armed = self._armed, False
        lost, self._pending = self._pending is not None, None
        if armed and self._scope is not None:
            with contextlib.suppress(DriverError):  # the scope's own loop will find and tell it
                await self._scope.stop()
        await self._runs.end(f"{why}; the last event was not written" if lost else why)

    # Within: what is read

    async def _reread(self, scope: Scope) -> dict[str, str]:
        """Read all settings; post the read-backs, and the setpoints that the front panel has changed."""
        settings = await scope.settings()
        store = await self._autostore(scope)
        back, self._stale = self._stale, False
        troubles = scope.take_troubles()
        posted = self._had.take({**settings, **store}, troubles, everything=back)
        if back:
            posted |= {**self._idle_values(), **self._runs.values()}
        if not back:  # else the run looks at them itself
            self._runs.seen(settings)
        self.post(time.time_ns(), posted)
        return settings

    async def _autostore(self, scope: Scope) -> dict[str, str]:
        """Read AutoStore's settings; a model without it does not tell, which is asked once a connection."""
        if not self._autostores:
            return {}
        try:
            return {"STST": await scope.autostore()}
        except DeviceError as error:
            log.info("AutoStore: %s", error)
            self._autostores = False
            return {}

    async def _look(self, scope: Scope) -> None:
        """See whether there is a new event, and take it; arm for the next one of a run."""
        runs = self._runs
        if self._disk is not None and self._disk.done():
            done, self._disk = self._disk, None
            done.result()
        if self._disk is None and runs.active:
            if self._pending is not None:
                if runs.may_retry:
                    self._disk = asyncio.create_task(self._store(self._pending))
            elif runs.finished:
                self._disk = asyncio.create_task(self._end_run("complete"))
            elif runs.taking and not self._armed:
                async with self._busy:
                    await scope.single()
                self._armed, self._stops = True, 0
        async with self._busy:  # reading clears what a question without answer is explained by
            await scope.status()
        self._answered()
        taking = runs.taking and self._armed
        if not scope.inr & NEW or (not taking and time.monotonic() < self._next_event):
            return
        scope.inr &= ~NEW
        self._next_event = time.monotonic() + 1 / self.settings.rate
        channels = runs.channels if taking else self._had.inputs_shown
        if not channels:
            return
        taken_ns = time.time_ns()
        event = await self._read(scope, channels)
        if event is None:
            return
        if taking and runs.taking and self._disk is None:
            self._armed, self._disk = False, asyncio.create_task(self._store(event))
            await asyncio.wait({self._disk}, timeout=RETRY)  # first the file; but a slow disk holds up nothing else
        measured = await scope.parameters(list(MEASURED), channels)
        await self._post_event(taken_ns, event, measured)

    def _complain(self, reason: str) -> None:
        """Log why an event was left out; the same reason seldom, as a scope that runs on has it often. LOST counts."""
        now, (last, then) = time.monotonic(), self._complaint
        if reason == last and now - then < SAY_EVERY:
            log.debug("event left out: %s", reason)
            return
        self._complaint = reason, now
        log.warning("event left out: %s", reason)

    async def _read(self, scope: Scope, channels: Sequence[str]) -> dict[str, memoryview] | None:
        """Read the channels of an event; None = they are not whole, or not of one trigger, which is counted."""
        try:
            async with self._busy, self._taking_long(scope):
                event = await read_event(scope, channels)
        except ProtocolError as error:
            self._lost += 1
            self._armed = False
            self._runs.leave_out(str(error))
            self._tell_counts()
            self._complain(str(error))
            if not scope.link.is_open:
                raise
            return None
        return event

    def _answered(self) -> None:
        """Say that the scope is there."""
        self.post(time.time_ns(), {"LOST": self._lost})

    @asynccontextmanager
    async def _taking_long(self, scope: Scope) -> AsyncIterator[None]:
        """Leave it to the link to watch over a call; after it the scope has answered, if the link is still there."""
        self._long += 1
        try:
            yield
        finally:
            self._long -= 1
            if scope.link.is_open:
                self._answered()

    async def _store(self, event: dict[str, memoryview]) -> None:
        """Write an event of the run; what the disk refuses stays, and the scope is not armed again."""
        self._pending = None if await self._runs.store(event) else event
        self.tell(self._runs.values())

    def _see_whether_stopped(self, scope: Scope, settings: Mapping[str, str]) -> None:
        """Pause the run when somebody has stopped the scope at its front panel: no trigger would ever come."""
        stopped = self._runs.taking and self._armed and settings.get("TRMD") == "STOP" and not scope.inr & NEW
        self._stops = self._stops + 1 if stopped else 0
        if self._stops > 1:
            self._armed = False
            self._runs.pause(True, "the scope was stopped at its front panel")
            self.tell(self._runs.values())

    async def _post_event(
        self, taken_ns: int, event: Mapping[str, memoryview], measured: Mapping[str, Mapping[str, float | None]]
    ) -> None:
        full, self._full = self._full & event.keys(), self._full - event.keys()
        settings = self.settings
        values = await asyncio.to_thread(prepared, event, settings.maxpts, full, settings.fullpts, TRIGGERS)
        for channel, each in measured.items():
            for name, value in each.items():
                if name in MEASURED:
                    values[f"{channel}:{name}"] = Bad("the scope finds no value") if value is None else value
        self._count += 1
        values |= {"EVENT": self._count, "ACQ:COUNT": self._count}
        self.post(taken_ns, values)

    def _idle_values(self) -> dict[str, Any]:
        """Give the values of commands and counts, which no scope tells."""
        values: dict[str, Any] = {name: 0 for name in ("ARM", "STOP", "FORCE", "STORE")}
        values |= {f"{name}:WF:GET": 0 for name in self._inputs}
        return values | {
            "CMD": "",
            "REPLY": "",
            "LOST": self._lost,
            "ACQ:COUNT": self._count,
            "ACQ:RATE": 0.0,
            "EVENT": self._count,
        }

    def _tell_counts(self) -> None:
        now = time.monotonic()
        since, then = self._counted
        self._counted = (now, self._count)
        self.tell({"LOST": self._lost, "ACQ:RATE": (self._count - then) / max(now - since, 1e-3)})
        if self._runs.active:
            self.tell(self._runs.values())

    def _tell_run(self, values: Mapping[str, Any]) -> None:
        self.tell(values)

    def _watch_run_pvs(self) -> None:
        if self._ends:
            return
        for name in self.settings.run_pvs:
            self._ends.append(self.watch(name, lambda reading, name=name: self._readings.__setitem__(name, reading)))

    def _readings_now(self) -> dict[str, Any]:
        """Give the chosen PVs as plain data."""
        told: dict[str, Any] = {}
        for name in self.settings.run_pvs:
            reading = self._readings.get(name)
            if reading is None or not reading.connected:
                told[name] = None
                continue
            value = reading.value.tolist() if hasattr(reading.value, "tolist") else reading.value
            told[name] = {"value": value, "time_ns": reading.time_ns, "severity": reading.severity.name}
        return told
