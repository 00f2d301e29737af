"""One PV: a signal's value, time stamp and alarm, and who is to be told of its changes."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from iocs.ca.server import encoding
from iocs.ca.server.encoding import CHAR, DOUBLE, ENUM, LONG, STRING, Form, Metadata
from iocs.signals import (
    STR_BYTES,
    TEXT_BYTES,
    Alarms,
    Bad,
    Kind,
    Reading,
    Refused,
    Severity,
    Signal,
    Status,
    limit_alarm,
    same_type,
    typed,
)

if TYPE_CHECKING:
    from iocs.ca.server.channel import Channel, Subscription
    from iocs.ca.server.fields import FieldPv

log = logging.getLogger(__name__)

VALUE, LOG, ALARM, PROPERTY = 1, 2, 4, 8  # event masks (DBE_*)
NATIVE = {Kind.FLOAT: DOUBLE, Kind.INT: LONG, Kind.ENUM: ENUM, Kind.STR: STRING, Kind.TEXT: CHAR}
MOST_WAITING = 200  # puts to one PV; they are carried out though their clients have left
MOST_FORMS = 8  # in which a value is kept encoded; clients may ask for any number
MOST_KEPT = 1 << 22  # bytes of them; one form is kept however large it is

# (name of the PV, value, who) -> nothing, or Refused
Put = Callable[[str, Any, str], Awaitable[None]]
ASKED: ContextVar[float] = ContextVar("asked")  # when the put that is being carried out came (time.monotonic)
# (name of the PV, value) -> whether a put of it waits for no other one
Urgent = Callable[[str, Any], bool]
# (name of the PV or field, value if it was understood, who, why)
OnRefused = Callable[[str, Any, str, str], None]
Judged = tuple[Any, Severity, Status]


class Pv:
    """A served signal.

    Attributes:
        name: whole name of the PV.
        put: carries out a client's put; None where nothing may be put.
        urgent: says of a put whether it waits for no other one (switching off); None: all wait their turn.
        on_refused: hears of every put that was refused, to a field too.
        value: number, state number, text, or a sequence of numbers; UDF and INVALID until the first post.
        time_ns: when it was taken, ns since 1970; 0 before the first post.
        subscriptions: of clients, by the form that they want.
        channels: that clients have open on it.
        fields: its fields that somebody has asked for.
    """

    __slots__ = (
        "_cache",
        "_complaint",
        "_limit",
        "_logged",
        "_plain",
        "_posted",
        "_turn",
        "_waiting",
        "channels",
        "connected",
        "fields",
        "name",
        "native",
        "on_refused",
        "put",
        "severity",
        "signal",
        "status",
        "subscriptions",
        "time_ns",
        "urgent",
        "value",
        "watchers",
    )

    def __init__(self, name: str, signal: Signal, put: Put | None = None, on_refused: OnRefused | None = None) -> None:
        self.name = name
        self.signal = signal
        self.put = put
        self.on_refused = on_refused
        self.urgent: Urgent | None = None
        self.native = NATIVE[signal.kind]
        self.value: Any = [] if signal.count > 1 else UNKNOWN[signal.kind]
        self.time_ns = 0
        self.severity: int = Severity.INVALID
        self.status: int = Status.UDF
        self.connected = True
        self.subscriptions: dict[Form, list[Subscription]] = {}
        self.channels: set[Channel] = set()
        self.fields: dict[str, FieldPv] = {}
        self.watchers: list[Callable[[Reading], None]] = []
        self._plain = _is_plain(signal)
        self._limit = Status.NO_ALARM  # the limit alarm of the last good value, from which hysteresis counts
        self._complaint = ""
        self._posted = self._logged = self.value
        self._cache: dict[Form, tuple[int, bytes | bytearray]] = {}
        self._turn: asyncio.Lock | None = None
        self._waiting = 0  # puts, the one under way too

    @property
    def writable(self) -> bool:
        """Whether clients may put at all."""
        return self.put is not None and self.signal.writable

    @property
    def reading(self) -> Reading:
        """The newest reading."""
        return Reading(self.value, self.time_ns, Severity(self.severity), Status(self.status), self.connected)

    @property
    def size(self) -> int:
        """Most elements that the value may have."""
        return TEXT_BYTES if self.native == CHAR else self.signal.count

    @property
    def metadata(self) -> Metadata:
        """What clients show beside the value, as the signal declares it."""
        signal = self.signal
        if signal.kind is Kind.ENUM:
            return Metadata(states=signal.states)
        if signal.kind in (Kind.STR, Kind.TEXT):
            return Metadata()
        low, high = signal.limits or (0.0, 0.0)
        control = (high, low) if signal.writable else (0.0, 0.0)
        alarms = signal.alarms or Alarms()
        levels = (alarms.hihi, alarms.high, alarms.low, alarms.lolo)
        # NaN where no limit is set, as EPICS records tell it
        limits = (high, low, *(math.nan if level is None else level for level in levels), *control)
        return Metadata(signal.unit, signal.precision if signal.kind is Kind.FLOAT else 0, (), limits)

    # What whoever serves does

    def post(self, posted: Any, time_ns: int) -> None:
        """Take a value or `Bad` as the newest one, and tell whoever is to know. An array is the PV's own from here on.

        What is not of the signal's kind makes the PV INVALID, and is logged once.
        """
        if posted.__class__ is float and self._plain:  # the short way of most
            value, severity, status = posted, Severity.NO_ALARM, Status.NO_ALARM
            if value != value:
                severity, status = Severity.INVALID, Status.UDF
        else:
            value, severity, status = self._judged(self._understood(posted))
        flags = 0
        if severity != self.severity or status != self.status:
            self.severity, self.status = severity, status
            flags = VALUE | LOG | ALARM
            self._posted = self._logged = value
        elif self.native in (DOUBLE, LONG) and self.signal.count == 1:
            if moved(value, self._posted, self.signal.mdel):
                flags = VALUE
                self._posted = value
            if moved(value, self._logged, self.signal.adel):
                flags |= LOG
                self._logged = value
        elif self.signal.count > 1 or value != self.value:
            flags = VALUE | LOG
        self.value, self.time_ns = value, time_ns
        if self._cache:
            self._cache.clear()
        if flags:
            self._tell(flags)
        if self.fields:
            self._refresh_fields()

    def describe(self, signal: Signal) -> None:
        """Take another declaration of the same type; who asked for PROPERTY events gets one.

        Alarm limits judge from the next post on.

        Raises:
            ValueError: its clients were told another type.
        """
        if not same_type(self.signal, signal):
            raise ValueError(f"{self.name}: its clients were told another type; withdraw it and serve it anew")
        self.signal, self._plain = signal, _is_plain(signal)
        self._cache.clear()
        self._tell(PROPERTY)
        self._refresh_fields(all_of_them=True)

    def _refresh_fields(self, *, all_of_them: bool = False) -> None:
        for field in self.fields.values():
            if field.subscriptions and (field.changes or all_of_them):
                field.refresh()

    def invalidate(self, status: int) -> None:
        """Make the PV INVALID with its last value and stamp; it stays UDF if it never had one."""
        if self.time_ns and (self.severity, self.status) != (Severity.INVALID, status):
            self.severity, self.status = Severity.INVALID, status
            self._cache.clear()
            self._tell(VALUE | LOG | ALARM)
            self._refresh_fields()

    def disconnect(self) -> None:
        """Say that the PV is no longer served: to its clients, and to the watchers in this process."""
        self.invalidate(Status.COMM)
        self.connected = False
        for pv in (self, *self.fields.values()):
            for channel in tuple(pv.channels):
                channel.circuit.withdraw(channel)
        self._tell_watchers()

    def refresh(self) -> None:
        """Bring the value up to date before it is read; a signal's value always is."""

    def encoded(self, form: Form) -> tuple[int, bytes | bytearray]:
        """Give number of elements and body in a form, encoded once for all who want it.

        Raises:
            ValueError: the value cannot be given so.
        """
        whole = self._cache.get(form)
        if whole is None:
            if form.now:  # the time of sending is another one at the next event
                return encoding.encode(self, form, time.time_ns())
            whole = encoding.encode(self, form)
            large = len(whole[1]) > MOST_KEPT // MOST_FORMS
            if len(self._cache) >= MOST_FORMS or (large and self._kept() + len(whole[1]) > MOST_KEPT):
                self._cache.clear()
            self._cache[form] = whole
        return whole

    def _kept(self) -> int:
        return sum(len(body) for _, body in self._cache.values())

    # What a client's put comes to

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Put]:
        """Hold the PV for one put: those to one PV are carried out one after the other, in order of arrival.

        Raises:
            Refused: too many wait already, or nothing can be put.
        """
        if self.put is None:
            raise Refused(f"{self.name} cannot be put")
        if self._turn is None:
            self._turn = asyncio.Lock()
        if self._waiting >= MOST_WAITING:
            raise Refused(f"{self._waiting} puts are waiting for {self.name} already")
        self._waiting += 1
        try:
            async with self._turn:
                yield self.put
        finally:
            self._waiting -= 1

    async def settled(self) -> None:
        """Wait until the puts that are under way have been carried out."""
        if self._turn is not None:
            async with self._turn:
                pass

    def understood(self, native: int, count: int, body: bytes) -> Any:
        """Give what a client sent as a plain value; what is not of our kind is given as it came, for refusal.

        Raises:
            Refused: it is no value at all.
        """
        try:
            values = encoding.decode(native, count, body)
        except ValueError as error:
            raise Refused(str(error)) from error
        if self.native in (STRING, CHAR):
            if native == CHAR:
                return encoding.characters(values)
            if count == 1:
                return str(values[0])
        if self.signal.count == 1 and count == 1:
            return values[0] if isinstance(values, list) else values[0].item()
        return values

    # Within

    def _judged(self, posted: Any) -> Judged:
        """Judge a value or `Bad`; of its own alarm and the one that is given with it the worse one counts."""
        signal = self.signal
        if isinstance(posted, Bad):
            if posted.value is None:
                return self.value, posted.severity, posted.status
            value, severity, status = self._judged(posted.value)
            return (value, severity, status) if severity > posted.severity else (value, posted.severity, posted.status)
        if signal.count > 1 or signal.kind in (Kind.STR, Kind.TEXT):
            return posted, Severity.NO_ALARM, Status.NO_ALARM
        if signal.kind is Kind.ENUM:
            severity = signal.state_severities[posted] if signal.state_severities else Severity.NO_ALARM
            return posted, severity, Status.STATE if severity else Status.NO_ALARM
        if posted != posted:
            return posted, Severity.INVALID, Status.UDF
        severity, self._limit = limit_alarm(signal.alarms, posted, self._limit)
        return posted, severity, self._limit

    def _understood(self, posted: Any) -> Any:
        """Bring what is posted to the type of the signal; what is not of its kind becomes Bad, and is logged once."""
        value = posted.value if isinstance(posted, Bad) else posted
        if value is None:
            return posted if isinstance(posted, Bad) else Bad("nothing was read")
        try:
            value = array(self.signal, value) if self.signal.count > 1 else typed(self.signal, value)
        except (ValueError, TypeError, OverflowError) as error:
            complaint = f"{type(error).__name__}: {error}"
            if complaint != self._complaint:
                log.error("%s = %.200r cannot be served, the PV is INVALID: %s", self.name, value, complaint)
            self._complaint = complaint
            return Bad(complaint)
        self._complaint = ""
        return replace(posted, value=value) if isinstance(posted, Bad) else value

    def _tell(self, flags: int) -> None:
        for form, subscriptions in self.subscriptions.items():
            whole: Any = None
            for subscription in subscriptions:
                if not subscription.mask & flags or (
                    subscription.deadband is not None and not subscription.passes(self.value, flags)
                ):
                    continue
                if subscription.circuit.slow and not subscription.queued:
                    subscription.circuit.hold(subscription)
                    continue
                if whole is None:
                    try:
                        whole = self.encoded(form)
                    except ValueError:
                        whole = False
                if whole:
                    subscription.push(whole)
                else:
                    subscription.send()
        if self.watchers:
            self._tell_watchers()

    def _tell_watchers(self) -> None:
        reading = self.reading
        for on_reading in tuple(self.watchers):
            tell(on_reading, self.name, reading)


def _is_plain(signal: Signal) -> bool:
    return signal.kind is Kind.FLOAT and signal.count == 1 and signal.alarms is None


def tell(on_reading: Callable[[Reading], None], name: str, reading: Reading) -> None:
    """Give a reading to a watcher. A bug of the watcher is logged; whoever posted has nothing to do with it."""
    try:
        on_reading(reading)
    except Exception:
        log.exception("internal error in a watcher of %s", name)


def array(signal: Signal, value: Any) -> Any:
    """Bring a posted array to what is served: one axis, numbers, no longer than the PV holds.

    Raises:
        ValueError, TypeError: it is not such an array.
    """
    kind = "f" if signal.kind is Kind.FLOAT else "i"
    result = value if isinstance(value, np.ndarray) and value.dtype.kind == kind else np.asarray(value, f"{kind}8")
    if result.ndim != 1 or result.size > signal.count:
        raise ValueError(f"an array of the shape {result.shape}, where at most {signal.count} values fit")
    return result


def moved(value: float, old: float, deadband: float) -> bool:
    """Whether a number differs by more than the deadband; from or to NaN it always does. Below 0: every post does."""
    if value == old:
        return deadband < 0
    return not abs(value - old) <= deadband and (value == value or old == old or deadband < 0)


UNKNOWN = {Kind.FLOAT: math.nan, Kind.INT: 0, Kind.ENUM: 0, Kind.STR: "", Kind.TEXT: ""}
LONG_SIZE = STR_BYTES  # characters of a STR that `$` gives
