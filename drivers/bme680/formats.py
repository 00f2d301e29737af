"""How a sensor board speaks (pure): the fields of its lines and how a line is taken apart, as data.

`PICOSEC` is the sketch of picosec-daq, unchanged; `COUNTINGHOUSE` is our own (`firmware/`); others are made from a few
words of the site file.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Quantity(StrEnum):
    """What a field of a line can be. The units are those of a `Reading`."""

    TEMPERATURE = "temperature"  # K
    PRESSURE = "pressure"  # Pa
    HUMIDITY = "humidity"  # %
    GAS = "gas"  # Ohm
    SEQUENCE = "sequence"  # number of the line, 0..65535, then 0 again
    UPTIME = "uptime"  # s since the board was reset


UNITS = {"temperature": "K", "pressure": "Pa", "humidity": "%", "gas": "Ohm", "sequence": "", "uptime": "s"}

# What a BME680 can say at all: its data sheet's ranges, a little wider where it reads on beyond them.
RANGES = {
    "temperature": (233.0, 358.5),
    "pressure": (30_000.0, 110_000.0),
    "humidity": (0.0, 100.0),
    "gas": (1.0, 1e9),
    "sequence": (0.0, 65535.0),
    "uptime": (0.0, 4294967295.0),
}
MEASURED = (Quantity.TEMPERATURE, Quantity.PRESSURE, Quantity.HUMIDITY, Quantity.GAS)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a line.

    Attributes:
        quantity: what it is; None = something that is passed over.
        key: its JSON key, with dots into inner objects ("bme.t"); empty = the quantity's name.
        text: the field must read so (a line's mark).
        scale, offset: value = number * scale + offset, in the unit of the quantity (`UNITS`).
        low, high: values beyond them are refused; None = what a BME680 can give (`RANGES`), and never more.
        decimals: exactly so many digits after the point; None = any.
        jump: a value further than this from the last one needs to be confirmed by a second one (for gas a factor);
            None = the usual (`plausible.JUMPS`).
    """

    quantity: Quantity | None = None
    key: str = ""
    text: str | None = None
    scale: float = 1.0
    offset: float = 0.0
    low: float | None = None
    high: float | None = None
    decimals: int | None = None
    jump: float | None = None

    @property
    def range(self) -> tuple[float, float]:
        """The values that the sensor can give, in the unit of the quantity."""
        low, high = RANGES[self.quantity or ""]
        return (low if self.low is None else self.low, high if self.high is None else self.high)


@dataclass(frozen=True, slots=True)
class Format:
    """How a board speaks. Exactly one of `separator`, `pattern`, `json` says how a line is taken apart.

    Attributes:
        name: for people.
        fields: in the order of the line; with `pattern` and `json` by name.
        request: bytes that ask for a line; empty = the board streams unasked.
        separator: between the fields.
        pattern: regular expression of the whole line, whose named groups are quantities.
        json: each line is a JSON object.
        checksum: "" none; "crc16" = CRC-16/CCITT-FALSE of what stands before `*`, four hexadecimal digits after it;
            "xor" = all bytes before `*` combined by XOR without a leading `$`, two digits (as in NMEA 0183).
        empty_line: a frame is all lines until an empty one.
        identify: bytes that ask who the board is; empty = it cannot be asked.

    Raises:
        ValueError: it makes no sense; the text says why.
    """

    name: str
    fields: tuple[Field, ...]
    request: bytes = b""
    separator: str = ""
    pattern: str = ""
    json: bool = False
    checksum: str = ""
    empty_line: bool = False
    identify: bytes = b""
    compiled: Any = field(default=None, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if bool(self.separator) + bool(self.pattern) + self.json != 1:
            raise ValueError("exactly one of separator, pattern and json says how a line is taken apart")
        quantities = [each.quantity for each in self.fields if each.quantity is not None]
        if twice := sorted({each for each in quantities if quantities.count(each) > 1}):
            raise ValueError(f"{', '.join(twice)}: each quantity can be there once")
        if not set(quantities) & set(MEASURED):
            raise ValueError(f"there is no field with one of {', '.join(MEASURED)}")
        if self.checksum not in ("", "crc16", "xor"):
            raise ValueError(f"the checksum {self.checksum!r} is not known; known: crc16, xor")
        if "\n" in self.separator and not self.empty_line:
            raise ValueError("a separator with an end of line needs empty_line = true: else each line is a frame")
        for each in self.fields:
            if not self.separator and (each.quantity is None or each.text is not None):
                raise ValueError("fields without a name, and text, are for separator; else fields stand by their names")
            if each.key and not self.json:
                raise ValueError(f"{each.quantity or 'a field'}: key = {each.key!r} is for json")
            if each.quantity is not None:
                _check_range(each.quantity, *each.range)
            if each.jump is not None and each.jump <= (each.quantity is Quantity.GAS):
                raise ValueError(f"{each.quantity}: jump = {each.jump:g}; above 0, for gas a factor above 1")
            if each.scale == 0:
                raise ValueError(f"{each.quantity}: with scale 0 every value would be the same")
        if self.pattern:
            try:
                compiled = re.compile(self.pattern, re.ASCII)
            except re.error as error:
                raise ValueError(f"pattern: not a regular expression: {error}") from error
            groups = set(compiled.groupindex)
            if missing := sorted(set(quantities) - groups):
                raise ValueError(f"pattern: there is no group (?P<{missing[0]}>...)")
            if strange := sorted(groups - set(quantities)):
                raise ValueError(f"pattern: the group {strange[0]!r} is none of the fields")
            object.__setattr__(self, "compiled", compiled)

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """What the lines tell."""
        return tuple(each.quantity for each in self.fields if each.quantity is not None)


def _check_range(quantity: Quantity, low: float, high: float) -> None:
    least, most = RANGES[quantity]
    if not low <= high:
        raise ValueError(f"{quantity}: its range {[low, high]} is upside down")
    if low < least or high > most:
        unit = UNITS[quantity]
        raise ValueError(
            f"{quantity}: its range {[low, high]} is beyond {least:g} .. {most:g} {unit}".rstrip()
            + ", all that the sensor can give; it is meant after scale and offset"
        )


def picosec() -> Format:
    """The sketch of picosec-daq: `R` without an end of line; `T;P;RH;gas`, K with 2 decimals, Pa, % with 2, Ohm."""
    fields = (
        Field(Quantity.TEMPERATURE, decimals=2),
        Field(Quantity.PRESSURE, decimals=0),
        Field(Quantity.HUMIDITY, decimals=2),
        Field(Quantity.GAS, decimals=0),
    )
    return Format("picosec", fields, request=b"R", separator=";")


def countinghouse() -> Format:
    """Our sketch: `D,sequence,uptime,T in 0.01 K,P in Pa,RH in 0.001 %,gas in Ohm*CRC` (see firmware/README.md)."""
    fields = (
        Field(text="D"),
        Field(Quantity.SEQUENCE, decimals=0),
        Field(Quantity.UPTIME, decimals=0),
        Field(Quantity.TEMPERATURE, scale=0.01, decimals=0),
        Field(Quantity.PRESSURE, decimals=0),
        Field(Quantity.HUMIDITY, scale=0.001, decimals=0),
        Field(Quantity.GAS, decimals=0),
    )
    return Format("countinghouse", fields, request=b"R", separator=",", checksum="crc16", identify=b"I")


PICOSEC = picosec()
COUNTINGHOUSE = countinghouse()
