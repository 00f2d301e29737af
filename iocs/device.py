"""The life of one box: connect, identify, run, lose, heal.

A kind of device is a class with a table in the site file, a list of signals, a simulator, and `run`:

    class Foo(Device):
        Settings = FooSettings                       # its [[device]] table

        @staticmethod
        def signals(settings, shape): ...            # -> list[Signal], pure
        @staticmethod
        @contextmanager
        def simulate(settings): ...                  # starts its simulator, yields settings that point at it
        async def run(self): ...                     # connect, identify, then post until DriverError
        async def put(self, signal, value, by): ...  # -> the confirmed value

The base class does the rest: common PVs, ENABLE, loss and healing, limits, refusals, state, catalogue.
"""

import asyncio
import contextlib
import contextvars
import functools
import itertools
import json
import logging
import math
import re
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar

from drivers.errors import DeviceError, DriverError
from drivers.link import Backoff
from iocs.ca import NS
from iocs.ca.client import Client
from iocs.ca.putlog import PutLog, plain
from iocs.ca.server import Server
from iocs.ca.watch import watch
from iocs.config import DeviceSettings, Finding, fitting
from iocs.log import device as device_of_log
from iocs.log import quieten
from iocs.signals import (
    MONITOR,
    ROW_COUNT,
    TEXT_BYTES,
    Bad,
    Catalogue,
    Kind,
    Level,
    Reading,
    Refused,
    Severity,
    Signal,
    Status,
    acceptable,
    label,
    narrowed,
    readback,
    rows,
    same_type,
    setpoint,
    signal_to_dict,
    typed,
)
from iocs.state import State

log = logging.getLogger(__name__)
puts_log = quieten(f"{__name__}.puts")  # the put log has them all

_NUMBERS = re.compile(r"\d+")  # a line that is refused has others each time
STEADY = 2.0  # s online, after which the waits between attempts begin anew


class Life(IntEnum):
    """Where a device is in its life (its PV `STATE`)."""

    CONNECTING = 0
    ONLINE = 1
    LOST = 2
    DISABLED = 3
    FAULT = 4


_LIFE_SEVERITIES = (Severity.MINOR, Severity.NO_ALARM, Severity.MAJOR, Severity.NO_ALARM, Severity.MAJOR)

COMMON = (
    readback(
        "ONLINE",
        type=("Offline", "Online"),
        state_severities=(Severity.MAJOR, Severity.NO_ALARM),
        archive=MONITOR,
        group="Device",
        doc="Whether the box answers",
    ),
    readback(
        "STATE",
        type=Life,
        state_severities=_LIFE_SEVERITIES,
        archive=MONITOR,
        group="Device",
        doc="Where the device is in its life",
    ),
    readback("ERROR", type=str, archive=MONITOR, group="Device", doc="What is wrong, empty when well"),
    readback("LASTREJECT", type=str, group="Device", doc="Last put that was refused, and why"),
    readback("IDN", type=str, group="Device", doc="What the box says it is"),
    readback("HEARTBEAT", type=int, group="Device", doc="Counts seconds while the process lives"),
    readback("AGE", "s", precision=0, group="Device", doc="Time since good data came"),
    readback("RECONNECTS", type=int, group="Device", doc="Times that the box came back"),
    readback("SIM", type=("Real", "Simulated"), group="Device", doc="Whether a simulator answers for the box"),
    setpoint(
        "ENABLE",
        type=("Disabled", "Enabled"),
        level=Level.EXPERT,
        group="Device",
        doc="0 releases the box to somebody else's program",
    ),
    readback("PVS", type=Kind.TEXT, group="Device", doc="Catalogue of this device's signals (JSON)"),
)


@dataclass(frozen=True)
class Place:
    """What a device is given by the process that runs it.

    Attributes:
        prefix: the site's prefix, e.g. "LAB:".
        server: where its PVs are served.
        state: what survives a restart; open and locked.
        simulated: whether a simulator answers for the box.
        client: makes the process's Channel Access client, for watching foreign PVs.
        put_log: where what the device writes unasked is noted.
        believes_simulated: whether the values of simulators may be acted on ([site] simulated).
    """

    prefix: str
    server: Server
    state: State
    simulated: bool
    client: Callable[[], Client]
    put_log: PutLog | None = None
    believes_simulated: bool = False


class Device:
    """One box and its PVs; base class of all kinds.

    Attributes:
        settings: its checked table of the site file.
        name: its name in the site file.
        prefix: what stands before its signals' names, e.g. "LAB:PMU:".
        shape: what the box told last about itself (channels, limits), None if it never did.
        backoff: the waits between attempts to reach the box.
        state: its saved state; call `save` after changing `memory`.
        memory: a kind's own part of the saved state.
    """

    Settings: ClassVar[type[DeviceSettings]] = DeviceSettings
    alone: ClassVar[bool] = False  # each in a process of its own, that no other device's fault can stop
    later: ClassVar[Collection[str]] = ()  # last parts of names that only a box that has told what it is has

    @staticmethod
    def signals(settings: Any, shape: Any) -> list[Signal]:
        """Give the signals of a device (pure).

        Args:
            settings: its table of the site file.
            shape: what the box told last, as plain data; None if it never did.
        """
        raise NotImplementedError

    @staticmethod
    def simulate(settings: Any) -> AbstractContextManager[Any]:
        """Start the simulator for as long as the context lasts; yields settings that point at it."""
        raise NotImplementedError

    @staticmethod
    async def check(settings: Any) -> tuple[list[Finding], Any]:
        """Ask the box whether it is what the site file says, and let go of it; nothing is written to it.

        Args:
            settings: its table of the site file.

        Returns:
            What was found, and its shape.

        Raises:
            DriverError: it does not answer.
        """
        raise NotImplementedError

    async def run(self) -> None:
        """Connect, identify, then post until the box is lost.

        Raises:
            DriverError: the box is lost; the base class backs off and calls again.
        """
        raise NotImplementedError

    async def put(self, signal: Signal, value: Any, by: str) -> Any:
        """Bring an acceptable value to the box, wait until it has confirmed; give the confirmed value.

        Raises:
            Refused: it was not carried out; the text is for the operator.
            DriverError: the box did not confirm.
        """
        raise Refused(f"{signal.name} cannot be set on this device")

    def urgent(self, signal: Signal, value: Any) -> bool:
        """Whether an acceptable put waits for no other one (switching off); all others are serial."""
        return False

    async def in_turn(self, signal: Signal, value: Any, by: str) -> Any:
        """Carry out an acceptable put: at once if it is urgent, else when its turn has come."""
        if self.urgent(signal, value):
            return await self.carry_out(signal, value, by)
        async with self._putting:
            return await self.carry_out(signal, value, by)

    def __init__(self, settings: Any, place: Place) -> None:
        self.settings = settings
        self.name: str = settings.name
        self.prefix = f"{place.prefix}{self.name}:"
        self.backoff = Backoff()
        self.state = place.state
        self.simulated = place.simulated
        self._server = place.server
        self._client = place.client
        self._put_log = place.put_log
        self._saved = {"enable": True, "shape": None, "version": 0, "signals": None, "memory": {}, **self.state.load()}
        self.shape = self._saved["shape"]
        self.memory: dict[str, Any] = self._saved["memory"]
        self._enabled = asyncio.Event()
        if self._saved["enable"]:
            self._enabled.set()
        self._session: asyncio.Task[None] | None = None
        self._bug: Exception | None = None  # what went wrong in a post from a thread
        self._waking = asyncio.Event()  # ends the wait between two attempts
        self._putting = asyncio.Lock()
        self._puts: set[asyncio.Task[None]] = set()
        self._saving: Future[None] | None = None
        self._stopped = False
        self._last_reject = ""  # not told yet
        self._life = Life.CONNECTING
        self._reason = ""
        self._reconnects = -1
        self._heartbeat = 0
        self._good_at: float | None = None
        self._online_at = 0.0
        self._signals: dict[str, Signal] = {}
        self._rows: dict[str, tuple[str, ...]] = {}
        self._sequence: dict[str, int] = {}
        self._serve_signals(self.shape)
        self._server.post(self.prefix, time.time_ns(), self._common_values())

    @property
    def lost_after(self) -> float:
        """Seconds without good data until the device counts as lost; a kind gives its own default."""
        return self.settings.lost_after or 3.0

    @property
    def online(self) -> bool:
        """Whether good data have come since the last loss."""
        return self._life is Life.ONLINE

    @property
    def catalogue(self) -> Catalogue:
        """What the device serves now."""
        signals = tuple(self._signals.values())
        return Catalogue(self.name, self.settings.type, self.prefix, self._saved["version"], self.simulated, signals)

    # What a kind calls

    def post(self, time_ns: int, values: Mapping[str, Any], *, scalars: bool = True) -> None:
        """Post values that were read together, in the event loop, without waiting.

        Rows of which a column is among the values are posted too, each time; absent or INVALID columns are NaN.

        Args:
            time_ns: when the values were taken, ns since 1970, by the box's clock where that is the better one.
            values: by signal name; a value or `Bad`.
            scalars: False posts rows alone (data that come faster than people look).

        A value that is not of its signal's kind makes that PV INVALID and is logged, once.

        Raises:
            KeyError: a name is none of the device's signals; nothing is posted.
        """
        if unknown := values.keys() - self._signals.keys():
            raise KeyError(f"{self.name} has no signals {sorted(unknown)}")
        if not self._enabled.is_set():
            return  # a last reading on its way when the box was released
        self._good_at = time.monotonic()
        if self._life is not Life.ONLINE:
            self._come_online()
        for row, columns in self._rows.items():
            if any(column in values for column in columns):
                self._post_row(row, time_ns, [self._column(column, values) for column in columns])
        if scalars:
            self._server.post(self.prefix, time_ns, values)

    def tell(self, values: Mapping[str, Any]) -> None:
        """Post what is known of the link and not from the box (counts, the last line that was refused), now.

        Unlike `post` it does not say that the box answers. While the box is lost the values are new, and INVALID.
        """
        if not self._enabled.is_set():
            return
        if self._life is not Life.ONLINE:
            values = {name: Bad("the box is lost", value, status=Status.COMM) for name, value in values.items()}
        self._server.post(self.prefix, time.time_ns(), values)

    def post_threadsafe(self, loop: asyncio.AbstractEventLoop, time_ns: int, values: Mapping[str, Any]) -> None:
        """`post`, for the thread of a box that blocks. The values are posted in the event loop's next turn.

        What comes too late, after the session of `run` that the thread belongs to, is dropped.
        """
        loop.call_soon_threadsafe(self._post_from_thread, self._session, time_ns, dict(values))

    def identify(self, idn: str) -> None:
        """Tell what the box says it is (`IDN`)."""
        self._server.post(self.prefix, time.time_ns(), {"IDN": idn})

    def lost(self, reason: str, *, life: Life = Life.LOST) -> None:
        """Say that the box is lost: all its PVs INVALID with their last values and stamps, the reason in `ERROR`.

        What never had a value stays UDF. The same reason again, numbers apart, is not logged again. A disabled device
        stays disabled.
        """
        if not self._enabled.is_set() and life is not Life.DISABLED:
            log.info("while disabled: %s", reason)
            return
        if self._life is Life.ONLINE and time.monotonic() - self._online_at > STEADY:
            self.backoff.reset()
        if life is not Life.DISABLED and _NUMBERS.sub("", reason) != _NUMBERS.sub("", self._reason):
            log.warning("lost: %s", reason)
        self._life, self._reason = life, reason
        status = Status.DISABLE if life is Life.DISABLED else Status.COMM
        common = {signal.name for signal in COMMON}
        self._server.invalidate(
            [self.prefix + name for name in (*self._signals, *self._rows) if name not in common], status
        )
        self._tell_life()

    def reshape(self, shape: Any) -> None:
        """Take over what the box tells about itself: PVs are added and withdrawn, and the catalogue gets a new version.

        Args:
            shape: plain data that JSON can hold; saved for the next start.

        Raises:
            DeviceError: it cannot be served, or the site file does not fit it; what was served stays as it is.
        """
        if shape == self.shape:
            return
        try:
            self._serve_signals(shape)
        except ValueError as error:
            raise DeviceError(f"what the box tells about itself cannot be served: {error}") from error

    def note_unasked(self, name: str, value: Any, by: str, reason: str = "", *, old: Any = None) -> None:
        """Note in the put log that a device wrote without being asked by a person.

        Args:
            name: the signal.
            value: what was written, an enum as its state's number.
            by: who and why: "interlock GAS: LAB:GAS:HUMIDITY is 12, above 5".
            reason: why the box did not take it; empty if it did.
            old: what it was before; None = what its PV says now.
        """
        if self._put_log is None:
            return
        signal, reading = self._signals[name], self._server.reading(self.prefix + name)
        if old is None and reading is not None:
            old = reading.value
        told = self.prefix + name, label(signal, old), label(signal, value)
        self._put_log.note(time.time_ns(), "", "", *told, not reason, reason, by=by)

    def watch(self, name: str, on_reading: Callable[[Reading], None]) -> Callable[[], Any]:
        """Watch a PV: in this process where it is served here, else over Channel Access; gives what ends it.

        Args:
            name: the whole name of the PV, e.g. "LAB:GAS:P".
            on_reading: called in the event loop with the present reading and with every new one, `connected` False when
                the PV goes away. It must not wait; an exception in it is logged and hurts nobody else.
        """
        return watch(self._server, self._client, name, on_reading)

    def save(self) -> Future[None]:
        """Save the state (`memory`, ENABLE, shape, catalogue version), without waiting for the disk.

        A put is confirmed once it is there. A disk that refuses is told in the log.

        Returns:
            Done when it is there.
        """
        self._saved["memory"] = self.memory
        self._saving = self.state.save_later(self._saved)
        self._saving.add_done_callback(functools.partial(contextvars.copy_context().run, self._tell_unsaved))
        return self._saving

    # What the process calls

    async def live(self) -> None:
        """Serve the box until cancelled: run, lose, back off, heal. What is not a DriverError escapes."""
        while True:
            await self._enabled.wait()
            if self._life is Life.DISABLED:
                self._life, self._reason = Life.CONNECTING, ""
            self._tell_life()
            reason = await self._hold()
            if self._enabled.is_set():
                self.lost(reason)
                await self.pause(self.backoff.next())

    async def beat(self) -> None:
        """Count seconds, tell the age of the data, and lose a box that has gone silent, until cancelled."""
        for quarter in itertools.count(1):
            await asyncio.sleep(0.25)
            age = math.nan if self._good_at is None else time.monotonic() - self._good_at
            if quarter % 4 == 0:
                self._heartbeat = (self._heartbeat + 1) % (1 << 31)
                told = Bad("no good data yet", status=Status.UDF) if self._good_at is None else age
                self._server.post(self.prefix, time.time_ns(), {"HEARTBEAT": self._heartbeat, "AGE": told})
            if self._life is Life.ONLINE and age > self.lost_after:
                self.lost(f"no good data for {age:.1f} s")

    async def pause(self, seconds: float) -> None:
        """Wait before the next attempt to reach the box; a put to ENABLE ends the wait."""
        self._waking.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._waking.wait()

    async def handle_put(self, pv: str, value: Any, by: str) -> None:
        """Check a client's put, carry it out, and post the confirmed value. Puts to one box are serial.

        A put that has begun is brought to its end, also when the client has gone meanwhile.

        Raises:
            Refused: it was not carried out; value and alarm of the PV are untouched.
        """
        if self._stopped:
            raise Refused("the server was stopped before its turn came")
        task = asyncio.create_task(self._put(pv.removeprefix(self.prefix), value, by))
        self._puts.add(task)
        task.add_done_callback(self._puts.discard)
        await asyncio.shield(task)

    async def guard(self) -> None:
        """Watch over what the box feeds, whether or not it answers, until cancelled. Most kinds have nothing to do."""
        await asyncio.Event().wait()

    async def at_stop(self) -> None:
        """Do what the site file says for an orderly stop of the program. Most kinds leave the box as it is."""

    async def end_puts(self) -> None:
        """Break off the puts that are under way, begin no other; for the end of the process."""
        self._stopped = True
        for task in self._puts:
            task.cancel()
        await asyncio.gather(*self._puts, return_exceptions=True)

    # Within

    async def _hold(self) -> str:
        """Hold the box for one session of `run`; give the reason of its end. What is not a DriverError escapes."""
        session = self._session = asyncio.create_task(self.run())
        try:
            await asyncio.wait({session})
        finally:
            self._session = None
            if not session.done():
                session.cancel()
                await asyncio.wait({session})
        bug, self._bug = self._bug, None
        error = bug or (None if session.cancelled() else session.exception())
        if error is not None and not isinstance(error, DriverError):
            raise error
        return str(error or "the connection ended")

    def _post_from_thread(self, session: "asyncio.Task[None] | None", time_ns: int, values: dict[str, Any]) -> None:
        if session is None or session is not self._session:
            return
        try:
            self.post(time_ns, values)
        except Exception as error:  # noqa: BLE001  # told by whoever waits for the session
            self._bug = error
            session.cancel()

    async def _put(self, name: str, value: Any, by: str) -> None:
        device_of_log.set(self.name)
        try:
            signal = self._signals.get(name)
            if signal is None:
                raise Refused(f"{name} is no longer served")
            value = acceptable(signal, value)
            confirmed = await self.in_turn(signal, value, by)
            if self._saving is not None:
                with contextlib.suppress(OSError):  # told in the log
                    await asyncio.shield(asyncio.wrap_future(self._saving))  # a put broken off leaves it to end
        except DriverError as error:
            raise Refused(str(error)) from error
        except Refused:
            raise
        except Exception as error:
            puts_log.exception("internal error in a put of %s", name)
            raise Refused(f"internal error: {type(error).__name__}: {error}") from error
        puts_log.info("put of %s = %r by %s", name, confirmed, by)
        if name in self._signals:
            self._server.post(self.prefix, time.time_ns(), {name: confirmed})

    async def carry_out(self, signal: Signal, value: Any, by: str) -> Any:
        """Carry out an acceptable put now; give the confirmed value.

        Raises:
            Refused: the device is disabled or not online, or the kind refuses.
            DriverError: the box did not confirm.
        """
        if signal.name == "ENABLE":
            await self._enable(bool(value), by)
            return value
        if not self._enabled.is_set():
            raise Refused("the device is disabled; put 1 to ENABLE first")
        if self._life is not Life.ONLINE:
            raise Refused(f"the box does not answer: {self._reason or 'not connected yet'}")
        return (
            typed(signal, await self.put(signal, value, by)) if signal.count == 1 else await self.put(signal, value, by)
        )

    def _is_urgent(self, pv: str, value: Any) -> bool:
        signal = self._signals.get(pv.removeprefix(self.prefix))
        try:
            return signal is not None and self.urgent(signal, acceptable(signal, value))
        except Refused:  # it is told when it is carried out
            return False

    def _tell_unsaved(self, saving: "Future[None]") -> None:
        if (error := saving.exception()) is not None:
            log.error("state could not be saved to %s: %s; it would be lost at a restart", self.state.path, error)

    def _on_refused(self, pv: str, value: Any, by: str, reason: str) -> None:
        """Tell of a put that the server or the device refused; of many in one turn of the loop PVs tell the last."""
        asked = pv.removeprefix(self.prefix) if value is None else f"{pv.removeprefix(self.prefix)} = {plain(value)}"
        device = device_of_log.set(self.name)
        puts_log.warning("put of %s by %s refused: %s", asked, by, reason)
        device_of_log.reset(device)
        if not self._last_reject:
            asyncio.get_running_loop().call_soon(self._tell_reject)
        self._last_reject = f"{asked}: {reason}"

    def _tell_reject(self) -> None:
        self._server.post(self.prefix, time.time_ns(), {"LASTREJECT": self._last_reject})
        self._last_reject = ""

    async def _enable(self, enable: bool, by: str) -> None:
        self._saved["enable"] = enable
        self.save()
        self._waking.set()
        if enable:
            self.backoff.reset()
            self._enabled.set()
            return
        self._enabled.clear()
        if self._session is not None:
            self._session.cancel()
            await asyncio.wait({self._session})
        self.lost(f"disabled by {by}", life=Life.DISABLED)

    def _come_online(self) -> None:
        self._life, self._reason = Life.ONLINE, ""
        self._online_at = time.monotonic()
        self._reconnects += 1
        log.info("online")
        self._tell_life()
        if idle := idle_names(self.settings, self._signals):
            log.warning("names in the site file fit none of the signals: %s", ", ".join(idle))

    def _tell_life(self) -> None:
        self._server.post(
            self.prefix,
            time.time_ns(),
            {
                "ONLINE": self._life is Life.ONLINE,
                "STATE": self._life,
                "ERROR": self._reason,
                "RECONNECTS": max(self._reconnects, 0),
                "ENABLE": self._enabled.is_set(),
            },
        )

    def _common_values(self) -> dict[str, Any]:
        if not self._enabled.is_set():
            self._life, self._reason = Life.DISABLED, "disabled before this start; put 1 to ENABLE"
        self._tell_life()
        return {
            "HEARTBEAT": 0,
            "SIM": self.simulated,
            "LASTREJECT": "",
            "AGE": Bad("no good data yet", status=Status.UDF),
        }

    def _serve_signals(self, shape: Any) -> None:
        """Bring what is served in line with settings and shape; a change of it is a new catalogue version.

        Raises:
            ValueError: it cannot be served; nothing has changed.
        """
        wanted = {signal.name: signal for signal in all_signals(type(self), self.settings, shape)}
        columns = {row.name: tuple(signal.name for signal in row.signals) for row in rows(wanted.values())}
        told = json.loads(json.dumps([signal_to_dict(signal) for signal in wanted.values()]))  # as it is read back
        change = told != self._saved["signals"]
        served = self._signals
        stay = {name for name, signal in served.items() if name in wanted and same_type(signal, wanted[name])}
        gone = [name for name in served if name not in stay]
        gone += [name for name in self._rows if name not in columns]
        new = [signal for name, signal in wanted.items() if name not in stay]
        new += [
            Signal(name, count=ROW_COUNT, doc=f"Row {name}", queued=True) for name in columns if name not in self._rows
        ]
        self._server.withdraw([self.prefix + name for name in gone])
        self._signals, self._rows = wanted, columns
        self._server.describe(self.prefix, [wanted[name] for name in stay if wanted[name] != served[name]])
        self._server.serve(self.prefix, new, self.handle_put, self._on_refused, self._is_urgent)
        if change or shape != self.shape:
            self.shape = self._saved["shape"] = shape
            self._saved["signals"] = told
            self._saved["version"] += change
            self.save()
        if change:
            log.info("catalogue version %d: %d signals", self._saved["version"], len(wanted))
        self._server.post(self.prefix, time.time_ns(), {"PVS": self.catalogue.to_json()})

    def _column(self, name: str, values: Mapping[str, Any]) -> float:
        """Give a row's element: an enum as its state's number; NaN for absent, INVALID, or not of the kind."""
        value = values.get(name)
        if isinstance(value, Bad):
            value = None if value.severity is Severity.INVALID else value.value
        try:
            return math.nan if value is None else float(typed(self._signals[name], value))
        except (ValueError, TypeError, OverflowError):  # the PV itself tells it
            return math.nan

    def _post_row(self, row: str, time_ns: int, values: list[float]) -> None:
        sequence = self._sequence[row] = self._sequence.get(row, 0) + 1
        head = [float(sequence), float(self._saved["version"]), float(time_ns // NS), float(time_ns % NS)]
        self._server.post(self.prefix, time_ns, {row: head + values})


def all_signals(kind: Any, settings: Any, shape: Any) -> list[Signal]:
    """Give all signals of a device, the common ones first, with the site file's limits and alarms (pure).

    Of two names in the site file that fit a signal, the longer one wins.

    Raises:
        ValueError: limits or alarms in the site file do not fit the signal; names clash; there are too many signals.
    """
    result = list(COMMON)
    for signal in kind.signals(settings, shape):
        limits, alarms = fitting(settings.all_limits, signal.name), fitting(settings.alarms, signal.name)
        try:
            result.append(
                narrowed(signal, limits and settings.all_limits[limits], alarms and settings.alarms[alarms].alarms())
            )
        except ValueError as error:
            keys = " and ".join(f"{table}.{key}" for table, key in (("limits", limits), ("alarms", alarms)) if key)
            said = str(error).removeprefix(f"{signal.name}: ")
            raise ValueError(f"key {keys}, for the signal {signal.name}: {said}") from error
    rows(result)
    size = len(Catalogue(settings.name, settings.type, "", 0, False, tuple(result)).to_json())
    if size > TEXT_BYTES - 1000:
        raise ValueError(f"the catalogue of its {len(result)} signals has {size} bytes; PVS can hold {TEXT_BYTES}")
    return result


def idle_names(settings: DeviceSettings, signals: Mapping[str, Signal], later: Collection[str] = ()) -> list[str]:
    """Give the signals that a device's table names (in limits, alarms ...) and that it does not have.

    Args:
        settings: its table of the site file.
        signals: those that are known.
        later: last parts of names that more signals may have, once the box has told what it is.
    """
    ends = {name.split(":", cut)[-1] for name in signals for cut in range(name.count(":") + 1)}
    return sorted(name for name in settings.signal_names - ends if name.split(":")[-1] not in later)
