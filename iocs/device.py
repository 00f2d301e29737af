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
import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar

from drivers.errors import DriverError
from drivers.link import Backoff
from iocs.ca.client import Client
from iocs.ca.server import Server
from iocs.config import DeviceSettings
from iocs.log import device as device_of_log
from iocs.signals import (
    MONITOR,
    ROW_COUNT,
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
    narrowed,
    readback,
    rows,
    setpoint,
)
from iocs.state import State

log = logging.getLogger(__name__)

NS = 1_000_000_000


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
    """

    prefix: str
    server: Server
    state: State
    simulated: bool
    client: Callable[[], Client]


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

    def __init__(self, settings: Any, place: Place) -> None:
        self.settings = settings
        self.name: str = settings.name
        self.prefix = f"{place.prefix}{self.name}:"
        self.backoff = Backoff()
        self.state = place.state
        self.simulated = place.simulated
        self._server = place.server
        self._client = place.client
        self._saved = {"enable": True, "shape": None, "version": 0, "signals": None, "memory": {}, **self.state.load()}
        self.shape = self._saved["shape"]
        self.memory: dict[str, Any] = self._saved["memory"]
        self._enabled = asyncio.Event()
        if self._saved["enable"]:
            self._enabled.set()
        self._session: asyncio.Task[None] | None = None
        self._putting = asyncio.Lock()
        self._life = Life.CONNECTING
        self._reason = ""
        self._reconnects = -1
        self._heartbeat = 0
        self._good_at: float | None = None
        self._signals: dict[str, Signal] = {}
        self._rows: dict[str, tuple[str, ...]] = {}
        self._sequence: dict[str, int] = {}
        self._serve_signals()
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
        """
        self._good_at = time.monotonic()
        if self._life is not Life.ONLINE:
            self._come_online()
        for row, columns in self._rows.items():
            if any(column in values for column in columns):
                self._post_row(row, time_ns, [_number(values.get(column)) for column in columns])
        if scalars:
            self._server.post(self.prefix, time_ns, values)

    def post_threadsafe(self, loop: asyncio.AbstractEventLoop, time_ns: int, values: Mapping[str, Any]) -> None:
        """`post`, for the thread of a box that blocks. The values are posted in the event loop's next turn."""
        loop.call_soon_threadsafe(self.post, time_ns, dict(values))

    def identify(self, idn: str) -> None:
        """Tell what the box says it is (`IDN`)."""
        self._server.post(self.prefix, time.time_ns(), {"IDN": idn})

    def lost(self, reason: str, *, life: Life = Life.LOST) -> None:
        """Say that the box is lost: all its PVs INVALID with their last values and stamps, the reason in `ERROR`.

        The same reason again is not logged again.
        """
        if life is not Life.DISABLED and reason != self._reason:
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
        """
        if shape == self.shape:
            return
        self.shape = self._saved["shape"] = shape
        self._serve_signals()

    def watch(self, name: str, on_reading: Callable[[Reading], None]) -> Callable[[], Any]:
        """Watch a PV: in this process where it is served here, else over Channel Access; gives what ends it."""
        if self._server.reading(name) is not None:
            return self._server.watch(name, on_reading)
        return self._client().watch(name, on_reading).close

    def save(self) -> None:
        """Save the state (`memory`, ENABLE, shape, catalogue version). A disk that refuses is told in the log."""
        self._saved["memory"] = self.memory
        try:
            self.state.save(self._saved)
        except OSError as error:
            log.error("state could not be saved to %s: %s; it would be lost at a restart", self.state.path, error)

    # What the process calls

    async def live(self) -> None:
        """Serve the box until cancelled: run, lose, back off, heal. What is not a DriverError escapes."""
        beating = asyncio.create_task(self._beat())
        try:
            while True:
                await self._enabled.wait()
                self._life = Life.CONNECTING if self._life is Life.DISABLED else self._life
                self._tell_life()
                self._session = asyncio.create_task(self.run())
                try:
                    await self._session
                    self.lost("the connection ended")
                except DriverError as error:
                    self.lost(str(error))
                except asyncio.CancelledError:
                    if (task := asyncio.current_task()) is None or task.cancelling():
                        raise
                    continue  # ENABLE 0 ended the session
                finally:
                    self._session = None
                await asyncio.sleep(self.backoff.next())
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def handle_put(self, pv: str, value: Any, by: str) -> None:
        """Check a client's put, carry it out, and post the confirmed value. Puts to one box are serial.

        Raises:
            Refused: it was not carried out; value and alarm of the PV are untouched, the reason is in LASTREJECT.
        """
        signal = self._signals[pv.removeprefix(self.prefix)]
        device_of_log.set(self.name)
        try:
            value = acceptable(signal, value)
            async with self._putting:
                if signal.name == "ENABLE":
                    await self._enable(bool(value), by)
                else:
                    if not self._enabled.is_set():
                        raise Refused("the device is disabled; put 1 to ENABLE first")
                    value = await self.put(signal, value, by)
        except (Refused, DriverError) as error:
            log.warning("put of %s = %r by %s refused: %s", signal.name, value, by, error)
            self._server.post(self.prefix, time.time_ns(), {"LASTREJECT": f"{signal.name} = {value}: {error}"})
            raise Refused(str(error)) from error
        log.info("put of %s = %r by %s", signal.name, value, by)
        self._server.post(self.prefix, time.time_ns(), {signal.name: value})

    # Within

    async def _enable(self, enable: bool, by: str) -> None:
        self._saved["enable"] = enable
        self.save()
        if enable:
            self._enabled.set()
            return
        self._enabled.clear()
        if self._session is not None:
            self._session.cancel()
            await asyncio.wait({self._session})
        self.lost(f"disabled by {by}", life=Life.DISABLED)

    async def _beat(self) -> None:
        """Count seconds, tell the age of the data, and lose a box that has gone silent."""
        while True:
            await asyncio.sleep(1)
            self._heartbeat = (self._heartbeat + 1) % (1 << 31)
            age = math.nan if self._good_at is None else time.monotonic() - self._good_at
            told = Bad("no good data yet", status=Status.UDF) if self._good_at is None else age
            self._server.post(self.prefix, time.time_ns(), {"HEARTBEAT": self._heartbeat, "AGE": told})
            if self._life is Life.ONLINE and age > self.lost_after:
                self.lost(f"no good data for {age:.1f} s")

    def _come_online(self) -> None:
        self._life, self._reason = Life.ONLINE, ""
        self._reconnects += 1
        self.backoff.reset()
        log.info("online")
        self._tell_life()

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

    def _serve_signals(self) -> None:
        """Bring what is served in line with settings and shape; a change of it is a new catalogue version."""
        wanted = {signal.name: signal for signal in (*COMMON, *site_signals(type(self), self.settings, self.shape))}
        served = self._signals
        gone = [name for name, signal in served.items() if wanted.get(name) != signal]
        self._server.withdraw([self.prefix + name for name in gone])
        new = [signal for name, signal in wanted.items() if served.get(name) != signal]
        self._signals = wanted
        columns = {row.name: tuple(signal.name for signal in row.signals) for row in rows(wanted.values())}
        self._server.withdraw([self.prefix + name for name in self._rows if name not in columns])
        new += [
            Signal(name, count=ROW_COUNT, doc=f"Row {name}", queued=True) for name in columns if name not in self._rows
        ]
        self._rows = columns
        self._server.serve(self.prefix, new, self.handle_put)
        told = json.loads(self.catalogue.to_json())
        if told["signals"] != self._saved["signals"]:
            self._saved["signals"] = told["signals"]
            self._saved["version"] += 1
            self.save()
            log.info("catalogue version %d: %d signals", self._saved["version"], len(wanted))
        self._server.post(self.prefix, time.time_ns(), {"PVS": self.catalogue.to_json()})

    def _post_row(self, row: str, time_ns: int, values: list[float]) -> None:
        sequence = self._sequence[row] = self._sequence.get(row, 0) + 1
        head = [float(sequence), float(self._saved["version"]), float(time_ns // NS), float(time_ns % NS)]
        self._server.post(self.prefix, time_ns, {row: head + values})


def site_signals(kind: Any, settings: Any, shape: Any) -> list[Signal]:
    """Give a device's own signals with the site file's limits and alarms: of two names that fit, the longer one wins.

    Raises:
        ValueError: limits or alarms in the site file do not fit the signal; a name clashes with a common PV.
    """
    common = {signal.name for signal in COMMON}
    result = []
    for signal in kind.signals(settings, shape):
        if signal.name in common:
            raise ValueError(f"signal {signal.name} is one of the PVs that every device has")
        limits = _fitting(settings.limits, signal.name)
        alarms = _fitting(settings.alarms, signal.name)
        try:
            result.append(narrowed(signal, limits, alarms and alarms.alarms()))
        except ValueError as error:
            raise ValueError(f"{signal.name}: {error}") from error
    return result


def _fitting(table: Mapping[str, Any], name: str) -> Any:
    """Give the entry for a signal: by its whole name, else by the longest end of it after a ':'."""
    while True:
        if name in table:
            return table[name]
        if ":" not in name:
            return None
        name = name.split(":", 1)[1]


def _number(value: Any) -> float:
    """A row's element: INVALID and absent are NaN, an enum is its state's number."""
    if isinstance(value, Bad):
        value = None if value.severity is Severity.INVALID else value.value
    return math.nan if value is None else float(value)
