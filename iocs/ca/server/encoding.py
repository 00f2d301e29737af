"""Values as Channel Access puts them on the wire: DBR types 0 to 34, and puts back to values (pure).

A DBR type is a form (plain, with status, with time, with graphic or control limits) of one of seven native types; all
is big-endian. Source: EPICS Base, db_access.h and the Channel Access protocol specification.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from iocs.ca import EPICS_EPOCH, NS
from iocs.signals import STR_BYTES, TEXT_BYTES

if TYPE_CHECKING:
    from iocs.ca.server.pv import Pv

STRING, INT, FLOAT, ENUM, CHAR, LONG, DOUBLE = range(7)
PLAIN, STS, TIME, GR, CTRL = range(5)  # form; DBR type = 7 * form + native type
STSACK_STRING, CLASS_NAME = 37, 38
LAST_TYPE = 34  # DBR_CTRL_DOUBLE

SIZES = (40, 2, 4, 2, 1, 4, 8)
_CODES = "shfHBid"
_ARRAYS = ("", ">i2", ">f4", ">u2", "u1", ">i4", ">f8")
_RANGES = {INT: (-(2**15), 2**15 - 1), ENUM: (0, 2**16 - 1), CHAR: (0, 255), LONG: (-(2**31), 2**31 - 1)}
_FLOAT_MAX = float(np.finfo(np.float32).max)
_STS_PAD = (0, 0, 0, 0, 1, 0, 4)  # filling between status and value, bytes
_TIME_PAD = (0, 2, 0, 2, 3, 0, 4)
_SCALARS = {  # status, severity, seconds, nanoseconds, value: whole bodies, filled up to 8 bytes
    native: struct.Struct(f">HHII{_TIME_PAD[native]}x{_CODES[native]}{-(12 + _TIME_PAD[native] + SIZES[native]) % 8}x")
    for native in (ENUM, LONG, DOUBLE)
}
_ONE = (float, int)
_FEW = 64  # elements; up to here Python is quicker than numpy


class Form(NamedTuple):
    """In what form a client wants a value; what is encoded once is shared by all who want the same form."""

    dtype: int  # DBR type
    elements: int  # 0 = as many as there are
    long: bool = False  # text as characters (`$`)
    part: tuple[int, int | None, int] | None = None  # filter arr: start, stop, step
    now: bool = False  # filter ts: the time of sending


@dataclass(frozen=True, slots=True)
class Metadata:
    """What goes with a value: unit, decimals, state labels; limits: display high and low, HIHI HIGH LOW LOLO, control
    high and low, NaN where none is set.
    """

    unit: str = ""
    precision: int = 0
    states: tuple[str, ...] = ()
    limits: tuple[float, ...] = (0.0,) * 8


def cut(text: str, size: int) -> bytes:
    """Give at most `size` bytes of UTF-8 without breaking a character."""
    raw = text.encode(errors="replace")
    return raw if len(raw) <= size else raw[:size].decode(errors="ignore").encode()


def stamp(time_ns: int) -> tuple[int, int]:
    """Give seconds and nanoseconds since 1990, (0, 0) for what is before."""
    seconds, nanoseconds = divmod(time_ns, NS)
    return (seconds - EPICS_EPOCH, nanoseconds) if seconds >= EPICS_EPOCH else (0, 0)


def encode(pv: "Pv", form: Form, now_ns: int = 0) -> tuple[int, bytes | bytearray]:
    """Encode a PV's value; gives the number of elements and the message's body.

    Args:
        pv: the PV.
        form: what is wanted. A fixed count beyond the value's length is filled up with zeros.
        now_ns: time for the filter ts.

    Raises:
        ValueError: the value cannot be given as that type (text that is no number).
    """
    dtype, count, long, part, now = form
    kind, native = divmod(dtype, 7)
    value, time_ns = pv.value, now_ns if now else pv.time_ns
    if kind == TIME and native == pv.native and value.__class__ in _ONE and count < 2 and part is None:  # mostly
        return 1, _SCALARS[native].pack(pv.status, pv.severity, *stamp(time_ns), value)
    head = _head(kind, native, pv, time_ns)
    if isinstance(value, str):
        body, length = _text(value, pv.native, native, long, part)
    elif pv.native == ENUM and native == STRING:
        body, length = cut(pv.metadata.states[value], 39).ljust(40, b"\0"), 1
    else:
        values = value if isinstance(value, Sequence | np.ndarray) else (value,)
        if part is not None:
            values = values[slice(*part)]
        length = len(values)
        if native == STRING:
            body = b"".join(decimal(v, pv.metadata.precision).ljust(40, b"\0") for v in values)
        elif length > _FEW or isinstance(values, np.ndarray):
            return _array(head, values, native, count)
        else:
            body = struct.pack(f">{length}{_CODES[native]}", *(fitted(v, native) for v in values))
    if count and count != length:
        body = body[: count * SIZES[native]].ljust(count * SIZES[native], b"\0")
        length = count
    whole = head + body
    return length, whole + bytes(-len(whole) % 8)


def fitted(value: float, native: int) -> float:
    """Give a number as the native type can hold it: beyond its range the nearest one (NaN as 0)."""
    if native in _RANGES:
        low, high = _RANGES[native]
        return int(min(max(value, low), high)) if value == value else 0
    if native == FLOAT and math.isfinite(value) and abs(value) > _FLOAT_MAX:
        return math.copysign(_FLOAT_MAX, value)
    return value


def decimal(value: float, precision: int) -> bytes:
    """Write a number as DBR_STRING, floats with the PV's precision (EPICS Base, cvtDoubleToString)."""
    if isinstance(value, int | np.integer):
        return str(value).encode()[:39]
    return f"{value:.{precision}{'f' if abs(value) < 1e16 or value != value else 'e'}}".encode()[:39]


def _array(head: bytes, values: Any, native: int, count: int) -> tuple[int, bytearray]:
    """Encode in one pass: the body is made at its full size, the numbers are brought into it big-endian."""
    array = np.asarray(values)
    length = count or len(array)
    array = array[:length]
    if array.dtype.kind == "f":
        if native in _RANGES:
            low, high = _RANGES[native]
            array = np.clip(np.nan_to_num(array, nan=0.0, posinf=high, neginf=low), low, high)
        elif native == FLOAT and array.dtype.itemsize > 4:
            array = np.where(np.isfinite(array), np.clip(array, -_FLOAT_MAX, _FLOAT_MAX), array)
    elif native in _RANGES and array.dtype.newbyteorder(">") != np.dtype(_ARRAYS[native]):
        array = np.clip(array, *_RANGES[native])
    size = len(head) + length * SIZES[native]
    body = bytearray(size + -size % 8)
    body[: len(head)] = head
    np.frombuffer(body, _ARRAYS[native], len(array), len(head))[:] = array
    return length, body


def _text(text: str, own: int, native: int, long: bool, part: tuple[int, int | None, int] | None) -> tuple[bytes, int]:
    """Encode text: as one string, as characters, or as the number that it says."""
    if native == STRING:
        return cut(text, 39).ljust(40, b"\0"), 1
    if not long and own == STRING:
        number = fitted(float(text) if text.strip() else 0.0, native)
        return struct.pack(f">{_CODES[native]}", number), 1
    most = STR_BYTES if own == STRING else TEXT_BYTES  # as the client was told
    raw = (cut(text, most - long) + bytes(long)) or b"\0"
    if part is not None:
        raw = raw[slice(*part)]
    if native == CHAR:
        return raw, len(raw)
    return np.frombuffer(raw, "u1").astype(_ARRAYS[native]).tobytes(), len(raw)


def _head(kind: int, native: int, pv: "Pv", time_ns: int) -> bytes:
    """Encode what stands before the value."""
    if kind == PLAIN:
        return b""
    head = struct.pack(">HH", pv.status, pv.severity)
    if kind == TIME:
        return head + struct.pack(">II", *stamp(time_ns)) + bytes(_TIME_PAD[native])
    if kind == STS or native == STRING:
        return head + bytes(_STS_PAD[native])
    metadata = pv.metadata
    if native == ENUM:
        labels = b"".join(cut(label, 25).ljust(26, b"\0") for label in metadata.states)
        return head + struct.pack(">H", len(metadata.states)) + labels.ljust(416, b"\0")
    if native in (FLOAT, DOUBLE):
        head += struct.pack(">hxx", metadata.precision)
    limits = [fitted(limit, native) for limit in metadata.limits[: 8 if kind == CTRL else 6]]
    unit = cut(metadata.unit, 7).ljust(8, b"\0")
    return head + unit + struct.pack(f">{len(limits)}{_CODES[native]}", *limits) + bytes(native == CHAR)


def decode(native: int, count: int, body: bytes) -> Any:
    """Decode what a client puts: list of texts (str), list of numbers, or ndarray where there are many.

    Raises:
        ValueError: the type cannot be put, or the body is shorter than the count says.
    """
    if not STRING <= native <= DOUBLE:
        raise ValueError(f"DBR type {native} cannot be put")
    if native == STRING:
        if len(body) < 40 * (count - 1):
            raise ValueError(f"{len(body)} bytes are no {count} strings")
        # a single string comes cut after its NUL
        return [_until_nul(body[40 * i : 40 * i + 40]).decode(errors="replace") for i in range(count)]
    if len(body) < count * SIZES[native]:
        raise ValueError(f"{len(body)} bytes are no {count} elements of DBR type {native}")
    if native == CHAR or count > _FEW:
        return np.frombuffer(body, _ARRAYS[native], count)
    return list(struct.unpack_from(f">{count}{_CODES[native]}", body))


def characters(values: Any) -> str:
    """Give a put of characters as text, up to its NUL."""
    return _until_nul(bytes(values)).decode(errors="replace")


def _until_nul(raw: bytes) -> bytes:
    return raw.split(b"\0", 1)[0]
