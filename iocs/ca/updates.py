"""The byte stream of one Channel Access circuit, as a client reads it (pure): updates become Readings, many at a read.

Subscriptions and reads here always ask for a TIME type (status, severity, stamp, value); those are decoded by offset in
the buffer that came, without a copy. All other messages are cut out whole and handed on.

Source: Channel Access Protocol Specification (EPICS Base), "Message Structure" and "Payload Data Types".
"""

import struct
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from iocs.ca import EPICS_EPOCH, NS
from iocs.signals import Reading, Severity, Status

EPICS_EPOCH_NS = EPICS_EPOCH * NS

EVENT_ADD, READ_NOTIFY, ERROR = 1, 15, 11  # commands
REPLIES = frozenset((0, 1, 2, 3, 6, 11, 12, 14, 15, 18, 19, 22, 23, 26, 27))  # all that a server may send over TCP
STRING, SHORT, FLOAT, ENUM, CHAR, LONG, DOUBLE = range(7)  # native types
TIME, CTRL = 14, 28  # added to a native type
Bytes = bytes | bytearray | memoryview

NORMAL = 1  # ECA_NORMAL
STRING_BYTES = 40

SMALL = 1 << 16  # bytes; no reply without a value is longer
LARGE = 1 << 26  # bytes; default bound of a value

_HEADER = struct.Struct(">HHHHII")
_LENGTHS = struct.Struct(">II")  # size and count, where the header has no room for them
_STAMP = struct.Struct(">HHII")  # status, severity, seconds, nanoseconds
_SCALARS = {
    TIME + SHORT: struct.Struct(">HHIIxxh"),
    TIME + FLOAT: struct.Struct(">HHIIf"),
    TIME + ENUM: struct.Struct(">HHIIxxH"),
    TIME + CHAR: struct.Struct(">HHIIxxxB"),
    TIME + LONG: struct.Struct(">HHIIi"),
    TIME + DOUBLE: struct.Struct(">HHII4xd"),
}
# type -> where the value begins, its bytes an element, its type on the wire and here
_ARRAYS: dict[int, tuple[int, int, str, str]] = {
    TIME + STRING: (12, STRING_BYTES, "", ""),
    TIME + SHORT: (14, 2, ">i2", "=i2"),
    TIME + FLOAT: (12, 4, ">f4", "=f4"),
    TIME + ENUM: (14, 2, ">u2", "=u2"),
    TIME + CHAR: (15, 1, "u1", "u1"),
    TIME + LONG: (12, 4, ">i4", "=i4"),
    TIME + DOUBLE: (16, 8, ">f8", "=f8"),
}
_SEVERITIES = tuple(Severity)
_STATUSES = tuple(Status)


class BadFrame(Exception):
    """The server sent what is not Channel Access; the rest of its stream means nothing."""


class Subscriber(Protocol):
    """Whoever gets the updates of one subscription.

    Attributes:
        array: whether the PV is an array: its values are arrays (or text), whatever their length.
    """

    array: bool

    def take(self, reading: Reading) -> None:
        """Take an update."""

    def refuse(self, status: int) -> None:
        """Take an update that carries no value, but the reason (an ECA code)."""


class Frames:
    """Cuts a byte stream into messages, in order; however it comes in pieces, the result is the same.

    Args:
        subscribers: by subscription id; updates of an id that is not there are dropped (its cancel is on the way).
        on_message: gets every message but updates, whole.
        most: bytes of the longest value that is accepted.
    """

    def __init__(
        self, subscribers: Mapping[int, Subscriber], on_message: Callable[[bytes], None], most: int = LARGE
    ) -> None:
        self._subscribers = subscribers
        self._on_message = on_message
        self._most = most
        self._held = bytearray()  # the beginning of a message
        self._wanted = 0  # bytes before more can be said about it

    def feed(self, data: Bytes) -> None:
        """Take bytes as they come from the socket; nothing of them is kept that is not a copy.

        Raises:
            BadFrame: they are not Channel Access. Feed nothing after that.
        """
        if self._held:
            self._held += data
            if len(self._held) < self._wanted:
                return
            data, self._held = self._held, bytearray()
        used = self._cut(data)
        self._held = bytearray(memoryview(data)[used:])

    def _cut(self, data: Bytes) -> int:
        """Hand on all messages that are complete; gives how many bytes those are."""
        header, subscribers, scalars = _HEADER.unpack_from, self._subscribers, _SCALARS
        severities, statuses, epoch = _SEVERITIES, _STATUSES, EPICS_EPOCH_NS
        end, offset = len(data), 0
        while end - offset >= 16:
            command, size, kind, count, first, second = header(data, offset)
            begin = offset + 16
            if size == 0xFFFF and count == 0:
                begin += 8
                if begin > end:
                    self._wanted = begin - offset
                    return offset
                size, count = _LENGTHS.unpack_from(data, offset + 16)
            if command != EVENT_ADD:
                self._check(command, size)
            elif size and first == NORMAL:
                _check_value(kind, count, size, self._most)
            elif size > self._most:
                raise BadFrame(f"an update of {size} bytes")
            after = begin + size
            if after > end:
                self._wanted = after - offset
                return offset
            if command != EVENT_ADD:
                self._on_message(bytes(data[offset:after]))
            elif (subscriber := subscribers.get(second)) is not None:
                if first != NORMAL:
                    subscriber.refuse(first)
                elif not size:
                    pass  # nothing at all is how some servers confirm a cancel
                elif count == 1 and not subscriber.array and kind in scalars:
                    status, severity, seconds, nanoseconds, value = scalars[kind].unpack_from(data, begin)
                    time_ns = epoch + seconds * 1_000_000_000 + nanoseconds if seconds or nanoseconds else 0
                    if severity < 4 and status < 22:
                        alarm = severities[severity], statuses[status]
                    else:
                        alarm = _alarm(severity, status)
                    subscriber.take(Reading(value, time_ns, *alarm, True, False))
                else:
                    subscriber.take(_read(kind, count, data, begin, size, subscriber.array))
            offset = after
        self._wanted = 16
        return offset

    def _check(self, command: int, size: int) -> None:
        if command not in REPLIES:
            raise BadFrame(f"message {command} does not exist")
        if size > (self._most if command == READ_NOTIFY else SMALL):
            raise BadFrame(f"message {command} of {size} bytes")


def read_value(kind: int, count: int, data: Bytes, begin: int, size: int, *, array: bool) -> Reading:
    """Decode a value of a TIME type.

    Text is str (a list of str, if several), characters of an array are text up to the first NUL, other arrays are
    numpy arrays in this machine's byte order, enums are state numbers. 1990 is no time: `time_ns` 0.

    Args:
        kind: type number, 14 to 20.
        count: elements.
        data: holds the value, `size` bytes long, at `begin`.
        begin: where it begins: the status.
        size: its bytes.
        array: whether the PV is an array.

    Raises:
        BadFrame: the type is no TIME type, or there are fewer bytes than elements.
    """
    _check_value(kind, count, size, size)
    return _read(kind, count, data, begin, size, array)


def _read(kind: int, count: int, data: Bytes, begin: int, size: int, array: bool) -> Reading:
    status, severity, seconds, nanoseconds = _STAMP.unpack_from(data, begin)
    time_ns = EPICS_EPOCH_NS + seconds * 1_000_000_000 + nanoseconds if seconds or nanoseconds else 0
    start, _, wire, native = _ARRAYS[kind]
    value: Any
    if kind == TIME + STRING:
        value = _text(data, begin + start, begin + size, count, array)
    elif count == 1 and not array:
        value = _SCALARS[kind].unpack_from(data, begin)[-1]
    elif kind == TIME + CHAR:
        value = _decode(data[begin + start : begin + start + count])
    else:
        value = np.frombuffer(data, wire, count, begin + start).astype(native)
    return Reading(value, time_ns, *_alarm(severity, status), True, False)


def _check_value(kind: int, count: int, size: int, most: int) -> None:
    layout = _ARRAYS.get(kind)
    if layout is None:
        raise BadFrame(f"a value of type {kind}, which was not asked for")
    start, width = layout[0], layout[1]
    cut = kind == TIME + STRING and count == 1  # one string may end after its NUL
    if size < start + (0 if cut else count * width):
        raise BadFrame(f"{size} bytes for {count} elements of type {kind}")
    if size > most:
        raise BadFrame(f"a value of {size} bytes; at most {most} are accepted (EPICS_CA_MAX_ARRAY_BYTES)")


def _alarm(severity: int, status: int) -> tuple[Severity, Status]:
    """Give alarm numbers as ours; numbers that EPICS does not have mean that the value cannot be trusted."""
    if severity < 4 and status < 22:
        return _SEVERITIES[severity], _STATUSES[status]
    return Severity.INVALID, Status.UDF


def _text(data: Bytes, start: int, end: int, count: int, array: bool) -> str | list[str]:
    strings = [
        _decode(data[place : min(place + STRING_BYTES, end)])
        for place in range(start, start + count * STRING_BYTES, STRING_BYTES)
    ]
    if count > 1 or array:
        return strings
    return strings[0] if strings else ""


def _decode(characters: Bytes) -> str:
    return bytes(characters).split(b"\0", 1)[0].decode(errors="replace")
