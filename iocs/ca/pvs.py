"""One PV: a signal's value, time stamp and alarm, as a caproto data object."""

import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import caproto as ca
import numpy as np
from caproto import AccessRights, AlarmSeverity, AlarmStatus, CAStatus

from iocs.signals import (
    STR_BYTES,
    TEXT_BYTES,
    Bad,
    Kind,
    Reading,
    Refused,
    Severity,
    Signal,
    Status,
    limit_alarm,
    typed,
)

log = logging.getLogger(__name__)

EPICS_EPOCH = 631152000  # s: 1990-01-01 in Unix time
NS = 1_000_000_000

# (value as put by a client, who) -> nothing, or Refused
PutHandler = Callable[[Any, str], Awaitable[None]]


class Channel:
    """What our rules add to caproto's data classes: rights, refusals, and storing without caproto's own checks."""

    signal: Signal
    on_put: PutHandler | None

    def check_access(self, hostname: str, username: str) -> AccessRights:
        """Everybody reads; setpoints and commands may be put."""
        return AccessRights.READ | AccessRights.WRITE if self.on_put else AccessRights.READ

    def get_field(self, field: str) -> "Channel":
        """Give the PV itself as its field VAL, so that `NAME.VAL$` is the whole text; there are no other fields."""
        if field != "VAL":
            raise KeyError(field)
        return self

    async def auth_write(
        self,
        hostname: str,
        username: str,
        data: Any,
        data_type: Any,
        metadata: Any,
        *,
        flags: int = 0,
        user_address: Any = None,
    ) -> Any:
        """Hand a client's put to the device; the new value comes back by `store`. Gives the status of the put."""
        host = user_address[0] if user_address else hostname
        try:
            if self.on_put is None:
                raise Refused(f"{self.signal.name} is a readback and cannot be put")
            await self.on_put(self._from_wire(data, data_type), f"{username or '?'}@{host}")
        except Refused:
            return CAStatus.ECA_PUTFAIL
        return None

    def _from_wire(self, data: Any, data_type: Any) -> Any:
        """Give what a client sent as a plain value, not converted: whether it fits is for `acceptable` to say."""
        native = ca.native_type(data_type)
        if native == ca.ChannelType.CHAR and self.signal.kind in (Kind.STR, Kind.TEXT):
            return _decoded(bytes(data))
        values = [
            _decoded(item) if isinstance(item, bytes) else item.item() if isinstance(item, np.generic) else item
            for item in data
        ]
        return values[0] if self.signal.count == 1 and len(values) == 1 else values

    async def store(self, value: Any, time_ns: int, severity: Severity, status: Status, *, send: bool) -> None:
        """Keep value, stamp and alarm; send an event to subscribers if `send`."""
        seconds, nanoseconds = divmod(time_ns, NS)
        await self.alarm.write(status=AlarmStatus(status), severity=AlarmSeverity(severity), publish=False)  # type: ignore[attr-defined]
        self._data["value"] = value  # type: ignore[attr-defined]
        self._data["timestamp"] = ca.TimeStamp(max(seconds - EPICS_EPOCH, 0), nanoseconds)  # type: ignore[attr-defined]
        if send:
            flags = ca.SubscriptionType.DBE_VALUE | ca.SubscriptionType.DBE_LOG | ca.SubscriptionType.DBE_ALARM
            await self.publish(flags)  # type: ignore[attr-defined]


class FloatChannel(Channel, ca.ChannelDouble):
    """DBR_DOUBLE, scalar or array."""


class IntChannel(Channel, ca.ChannelInteger):
    """DBR_LONG."""


class EnumChannel(Channel, ca.ChannelEnum):
    """DBR_ENUM."""


class StrChannel(Channel, ca.ChannelString):
    """DBR_STRING of 39 bytes; whole as `NAME.VAL$`."""

    async def _read(self, data_type: Any) -> Any:
        metadata, values = await super()._read(data_type)
        if ca.native_type(data_type) == ca.ChannelType.STRING:
            values = [cut(_decoded(bytes(item)), 39).encode() for item in values]  # caproto leaves no room for the NUL
        return metadata, values


class TextChannel(Channel, ca.ChannelByte):
    """Long text as DBR_CHAR array."""


CHANNELS: dict[Kind, type[Any]] = {
    Kind.FLOAT: FloatChannel,
    Kind.INT: IntChannel,
    Kind.ENUM: EnumChannel,
    Kind.STR: StrChannel,
    Kind.TEXT: TextChannel,
}


def make_channel(signal: Signal, on_put: PutHandler | None) -> Any:
    """Make the caproto data object of a signal: unit, precision and limits set, value unknown (UDF, INVALID)."""
    options: dict[str, Any] = {
        "alarm": ca.ChannelAlarm(status=AlarmStatus.UDF, severity=AlarmSeverity.INVALID_ALARM),
        "timestamp": ca.TimeStamp(0, 0),
    }
    if signal.kind in (Kind.FLOAT, Kind.INT):
        alarms, limits = signal.alarms, signal.limits
        options |= {"units": cut(signal.unit, 7), "max_length": signal.count, "string_encoding": "utf-8"}
        if limits:
            options |= {"lower_disp_limit": limits[0], "upper_disp_limit": limits[1]}
            if signal.writable:
                options |= {"lower_ctrl_limit": limits[0], "upper_ctrl_limit": limits[1]}
        unset = math.nan if signal.kind is Kind.FLOAT else 0  # as EPICS records tell limits that are not set
        for field, limit in (
            ("lower_alarm_limit", alarms and alarms.lolo),
            ("lower_warning_limit", alarms and alarms.low),
            ("upper_warning_limit", alarms and alarms.high),
            ("upper_alarm_limit", alarms and alarms.hihi),
        ):
            options[field] = unset if limit is None else limit
        if signal.kind is Kind.FLOAT:
            options["precision"] = signal.precision
    elif signal.kind is Kind.ENUM:
        options |= {"enum_strings": signal.states, "string_encoding": "utf-8"}
    elif signal.kind is Kind.STR:
        options |= {"long_string_max_length": STR_BYTES, "string_encoding": "utf-8"}
    else:
        options["max_length"] = TEXT_BYTES
    channel = CHANNELS[signal.kind](value=wire_value(signal, unknown(signal)), **options)
    channel.signal = signal
    channel.on_put = on_put if signal.writable else None
    return channel


def unknown(signal: Signal) -> Any:
    """The value of a PV before its first good one. It is INVALID; a float is NaN besides."""
    if signal.count > 1:
        return []
    return {Kind.FLOAT: math.nan, Kind.INT: 0, Kind.ENUM: 0, Kind.STR: "", Kind.TEXT: ""}[signal.kind]


def wire_value(signal: Signal, value: Any) -> Any:
    """Give a reading's value as caproto's data object keeps it."""
    if signal.kind is Kind.ENUM:
        return signal.states[value]
    if signal.kind is Kind.STR:
        return cut(value, STR_BYTES)
    if signal.kind is Kind.TEXT:
        return value.encode()[:TEXT_BYTES]
    return value


def _decoded(data: bytes) -> str:
    return data.split(b"\0")[0].decode(errors="replace")


def cut(text: str, size: int) -> str:
    """Cut text to `size` bytes of UTF-8 without breaking a character."""
    return text.encode()[:size].decode(errors="ignore")


class Pv:
    """A served signal: judges what is posted, keeps the newest reading, and tells local watchers."""

    def __init__(self, name: str, signal: Signal, on_put: PutHandler | None) -> None:
        self.name = name
        self.signal = signal
        self.channel = make_channel(signal, on_put)
        self.reading = Reading(unknown(signal), 0, Severity.INVALID, Status.UDF)
        self.watchers: list[Callable[[Reading], None]] = []
        self._limit = Status.NO_ALARM  # the limit alarm of the last good value, from which hysteresis counts
        self._complaint = ""

    def take(self, posted: Any, time_ns: int) -> bool:
        """Take a posted value as the newest reading; say whether it is an event: value or alarm changed, or array."""
        value, severity, status = self._judge(self._understood(posted))
        old = self.reading
        same = old.value is value or (
            self.signal.count == 1 and (old.value == value or (old.value != old.value and value != value))
        )
        event = self.signal.count > 1 or not same or (old.severity, old.status) != (severity, status)
        self.reading = Reading(value, time_ns, severity, status)
        if event:
            self.tell()
        return event

    def invalidate(self, status: Status) -> bool:
        """Make the PV INVALID with its last value and stamp, UDF if it never had one; say whether that is news."""
        old = self.reading
        if old.time_ns == 0:
            return False
        if (old.severity, old.status) == (Severity.INVALID, status):
            return False
        self.reading = Reading(old.value, old.time_ns, Severity.INVALID, status)
        self.tell()
        return True

    def disconnect(self) -> None:
        """Tell the watchers in this process that the PV is no longer served."""
        self.reading = replace(self.reading, connected=False)
        self.tell()

    def tell(self) -> None:
        """Give the newest reading to the watchers in this process."""
        for on_reading in tuple(self.watchers):
            tell(on_reading, self.name, self.reading)

    def _judge(self, posted: Any) -> tuple[Any, Severity, Status]:
        if isinstance(posted, Bad):
            if posted.value is None:
                return self.reading.value, posted.severity, posted.status
            value, severity, status = self._judge(posted.value)
            return (value, severity, status) if severity > posted.severity else (value, posted.severity, posted.status)
        value, signal = posted, self.signal
        if signal.count > 1 or signal.kind in (Kind.STR, Kind.TEXT):
            return value, Severity.NO_ALARM, Status.NO_ALARM
        if signal.kind is Kind.ENUM:
            severity = signal.state_severities[value] if signal.state_severities else Severity.NO_ALARM
            return value, severity, Status.STATE if severity else Status.NO_ALARM
        if value != value:
            return value, Severity.INVALID, Status.UDF
        severity, self._limit = limit_alarm(signal.alarms, value, self._limit)
        return value, severity, self._limit

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
