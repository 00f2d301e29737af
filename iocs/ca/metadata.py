"""What a server tells about a PV besides its values, and values as a put carries them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from iocs.ca.updates import CHAR, DOUBLE, ENUM, FLOAT, LONG, STRING, STRING_BYTES
from iocs.signals import Kind

_INT32 = np.iinfo(np.int32)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a server tells about a PV.

    Attributes:
        kind: what its values are; an array of characters is a text.
        count: most elements.
        writable: whether we may put.
        unit: engineering unit, empty for none.
        precision: decimals to show.
        display: lowest and highest value to show, in the unit.
        control: lowest and highest value that may be put, in the unit.
        alarms: limits LOLO, LOW, HIGH, HIHI, in the unit.
        states: labels of an enum.
    """

    kind: Kind
    count: int
    writable: bool
    unit: str = ""
    precision: int = 0
    display: tuple[float, float] | None = None
    control: tuple[float, float] | None = None
    alarms: tuple[float, float, float, float] | None = None
    states: tuple[str, ...] = ()


def read_metadata(native: int, count: int, writable: bool, told: Any) -> Metadata:
    """Give what caproto read from a message of a CTRL type.

    Args:
        native: native type of the PV, 0 to 6.
        count: most elements.
        writable: whether we may put.
        told: caproto's metadata; None where there is none (text).
    """
    if native == STRING or told is None:
        return Metadata(Kind.STR, count, writable)
    if native == ENUM:
        return Metadata(Kind.ENUM, count, writable, states=tuple(_text(state) for state in told.enum_strings))
    if native == CHAR and count != 1:
        return Metadata(Kind.TEXT, count, writable, unit=_text(told.units))
    kind = Kind.FLOAT if native in (FLOAT, DOUBLE) else Kind.INT
    return Metadata(
        kind,
        count,
        writable,
        unit=_text(told.units),
        precision=getattr(told, "precision", 0),
        display=(_number(told.lower_disp_limit), _number(told.upper_disp_limit)),
        control=(_number(told.lower_ctrl_limit), _number(told.upper_ctrl_limit)),
        alarms=(
            _number(told.lower_alarm_limit),
            _number(told.lower_warning_limit),
            _number(told.upper_warning_limit),
            _number(told.upper_alarm_limit),
        ),
    )


def wire_value(value: Any, native: int) -> tuple[Any, int, int]:
    """Give (data, type, count) of a put. What does not fit the PV goes out as it is, for the server to refuse.

    Args:
        value: a number, text, or a sequence of either.
        native: native type of the PV, 0 to 6.

    Raises:
        ValueError: Channel Access cannot carry it.
    """
    if isinstance(value, bytes | bytearray):
        return bytes(value), CHAR, len(value)
    if isinstance(value, str) and native == CHAR:
        text = value.encode() + b"\0"
        return text, CHAR, len(text)
    items = [value] if isinstance(value, str) or not hasattr(value, "__len__") else value
    if not len(items):
        raise ValueError("an empty array cannot be put")
    if isinstance(items[0], str):
        return [_string(item) for item in items], STRING, len(items)
    array = np.asarray(items)
    if array.ndim != 1 or array.dtype.kind not in "biuf":
        raise ValueError(f"{value!r} cannot be put")
    if native == STRING:
        return [_string(str(item)) for item in array.tolist()], STRING, len(array)
    if array.dtype.kind in "biu" and _INT32.min <= array.min() and array.max() <= _INT32.max:
        if native == CHAR and 0 <= array.min() and array.max() <= 255:
            return array.astype(np.uint8), CHAR, len(array)
        return array.astype(np.int32), LONG, len(array)
    return array.astype(np.float64), DOUBLE, len(array)


def _string(text: str) -> bytes:
    encoded = text.encode()
    if len(encoded) >= STRING_BYTES:
        raise ValueError(f"{text!r} is longer than {STRING_BYTES - 1} bytes; longer text is put to NAME.VAL$")
    return encoded


def _number(limit: Any) -> float:
    return limit[0] if isinstance(limit, bytes) else limit  # caproto gives those of CHAR as bytes


def _text(characters: bytes) -> str:
    return bytes(characters).split(b"\0", 1)[0].decode(errors="replace")
