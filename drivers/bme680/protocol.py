"""What a line of a sensor board says (pure): a decoder that refuses what it does not understand.

All values are in K, Pa, % and Ohm.
"""

import binascii
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from drivers.bme680.formats import MEASURED, UNITS, Field, Format, Quantity
from drivers.bme680.lines import KEPT, Reason, Refusal


class Trouble(Enum):
    """What the board says of its sensor."""

    NONE = 0
    NOT_FOUND = 1
    BEGIN_FAILED = 2
    READING_FAILED = 3


TROUBLES = {
    Trouble.NONE: "the sensor works",
    Trouble.NOT_FOUND: "the board finds no BME680: check its wiring (SDA, SCL, supply), then reset the board",
    Trouble.BEGIN_FAILED: "the board could not begin a reading: is the sensor's cable loose?",
    Trouble.READING_FAILED: "the board could not complete a reading: is the sensor's cable loose?",
}

# Texts of the sketches in the field, and the lines of our own (`firmware/README.md`).
SAYINGS = {
    "Could not find a valid BME680 sensor, check wiring!": Trouble.NOT_FOUND,
    "Failed to begin reading :(": Trouble.BEGIN_FAILED,
    "Failed to complete reading :(": Trouble.READING_FAILED,
    "Failed to perform reading :(": Trouble.READING_FAILED,
}
OWN_SAYINGS = {"E,1": Trouble.NOT_FOUND, "E,2": Trouble.BEGIN_FAILED, "E,3": Trouble.READING_FAILED}


@dataclass(frozen=True, slots=True)
class Reading:
    """One line's values. What the format does not have is in neither mapping.

    Attributes:
        values: by quantity, in its unit.
        bad: quantities that the line has no usable value of, and why.
        digits: the texts of gas and pressure (of all values where the format has neither), to see whether they stand
            still.
    """

    values: Mapping[str, float]
    bad: Mapping[str, str]
    digits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """What the board says it is.

    Attributes:
        text: name and version.
        uptime: s since it was reset.
    """

    text: str
    uptime: float


_NUMBER = re.compile(r"[+-]?\d{1,15}(?:\.(?P<decimals>\d{1,15}))?(?:[eE][+-]?\d{1,3})?")
_PADDED = re.compile(r"\+|-?0\d")  # a first digit that was changed to 0 shows so
_NO_VALUE = re.compile(r"[+-]?(?:nan|inf|infinity|ovf|none|null)", re.IGNORECASE)
_IDENTITY = re.compile(r"I,(?P<text>[^,]+,[^,]+),(?P<uptime>\d{1,10})")

Message = Reading | Trouble | Identity | Refusal


def decode(format: Format, line: bytes) -> Message:
    """Take one line apart.

    A line that is not exactly what the format says is refused, all of it. A field that says that it has no value
    (`nan`, `inf`, `ovf`, and a gas of 0, which is a heater that was not stable) is bad by itself, the others stand. So
    is a value out of range where a checksum shows that the line is as it was sent; without one the line is refused: a
    byte more or less may have moved the fields.
    """
    text = line.decode("ascii")
    if (trouble := saying(line)) is not None:
        return trouble
    if format.checksum:
        body, _, told = text.rpartition("*")
        if not body:
            return _refused(Reason.CHECKSUM, line, "there is no checksum")
        if told.upper() != checksum(format.checksum, body):
            return _refused(Reason.CHECKSUM, line, f"the checksum is {told!r}, not {checksum(format.checksum, body)!r}")
        text = body.removeprefix("$") if format.checksum == "xor" else body
        if text in OWN_SAYINGS and format.identify:
            return OWN_SAYINGS[text]
    if format.identify and (match := _IDENTITY.fullmatch(text)):
        return Identity(match["text"].replace(",", " "), float(match["uptime"]))
    try:
        return _reading(format, _texts(format, text))
    except _Refused as refused:
        return _refused(refused.reason, line, refused.why)


def saying(frame: bytes) -> Trouble | None:
    """Find a line of a frame in which a sketch tells of a trouble in words; None if there is none."""
    lines = frame.decode("ascii", "replace").splitlines()
    return next((SAYINGS[line] for line in lines if line in SAYINGS), None)


def checksum(kind: str, text: str) -> str:
    """Give the checksum of a line as it stands behind the `*`."""
    if kind == "crc16":
        return f"{binascii.crc_hqx(text.encode('ascii'), 0xFFFF):04X}"
    value = 0
    for byte in text.removeprefix("$").encode("ascii"):
        value ^= byte
    return f"{value:02X}"


class _Refused(Exception):
    def __init__(self, reason: Reason, why: str) -> None:
        self.reason = reason
        self.why = why


def _refused(reason: Reason, line: bytes, why: str) -> Refusal:
    return Refusal(reason, line[:KEPT], why)


def _texts(format: Format, text: str) -> dict[Quantity, str]:
    """Give the text of each quantity."""
    if format.json:
        return _json_texts(format, text)
    if format.pattern:
        match = format.compiled.fullmatch(text)
        if match is None:
            raise _Refused(Reason.FORM, "the pattern does not fit")
        return {quantity: match[quantity] or "" for quantity in format.quantities}
    texts = text.split(format.separator)
    if len(texts) != len(format.fields):
        raise _Refused(Reason.FIELDS, f"fields: {len(texts)}, not {len(format.fields)}")
    for each, given in zip(format.fields, texts, strict=True):
        if each.text is not None and given.strip() != each.text:
            raise _Refused(Reason.FORM, f"{given!r} where {each.text!r} must stand")
    return {
        each.quantity: given.strip(" \t")
        for each, given in zip(format.fields, texts, strict=True)
        if each.quantity is not None
    }


def _json_texts(format: Format, text: str) -> dict[Quantity, str]:
    try:
        data = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise _Refused(Reason.FORM, f"not JSON: {error}") from None
    texts = {}
    for each in format.fields:
        if each.quantity is None:
            continue
        value, key = data, each.key or each.quantity.value
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                raise _Refused(Reason.FIELDS, f"there is no key {key!r}")
            value = value[part]
        texts[each.quantity] = "null" if value is None else value if isinstance(value, str) else json.dumps(value)
    return texts


def _reading(format: Format, texts: dict[Quantity, str]) -> Reading:
    values: dict[str, float] = {}
    bad: dict[str, str] = {}
    for each in format.fields:
        if each.quantity is None:
            continue
        text = texts[each.quantity]
        if _NO_VALUE.fullmatch(text):
            bad[each.quantity] = f"the board says {text}"
            continue
        value = _number(each, text)
        low, high = each.range
        if each.quantity is Quantity.GAS and value == 0:
            bad[each.quantity] = "the heater was not stable"
        elif not low <= value <= high:
            unit = UNITS[each.quantity]
            why = f"{each.quantity} {value:g} {unit}".rstrip() + f" is beyond {low:g} .. {high:g} {unit}".rstrip()
            if not format.checksum:
                raise _Refused(Reason.RANGE, why)
            bad[each.quantity] = why
        else:
            values[each.quantity] = value + 0.0  # -0.0 is 0
    watched = [texts[each] for each in (Quantity.GAS, Quantity.PRESSURE) if each in texts]
    return Reading(values, bad, tuple(watched or [texts[each] for each in MEASURED if each in texts]))


def _number(each: Field, text: str) -> float:
    """Give a field's value in the unit of its quantity. What Python's float() takes beyond plain digits is refused."""
    match = _NUMBER.fullmatch(text, 0) if text.isascii() else None
    if match is None:
        raise _Refused(Reason.NUMBER, f"{each.quantity}: {text!r} is no number")
    if each.decimals is not None:
        decimals = len(match["decimals"] or "")
        if decimals != each.decimals or "e" in text.lower():
            raise _Refused(Reason.NUMBER, f"{each.quantity}: {text!r} has not exactly {each.decimals} decimals")
        if _PADDED.match(text):
            raise _Refused(Reason.NUMBER, f"{each.quantity}: {text!r} begins as no board writes a number")
    value = float(text) * each.scale + each.offset
    if not math.isfinite(value):
        raise _Refused(Reason.NUMBER, f"{each.quantity}: {text!r} is beyond all numbers")
    return value
