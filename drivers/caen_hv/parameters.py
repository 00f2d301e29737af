"""What a CAEN N1470 family supply can be asked and told: its parameters and the bits of its status words.

One table is one dialect: `N1470` is that of the x1470, x1471, x1419 and N1570 in all housings. Source: CAEN N1470 and
R1470ET user's manuals, chapter on remote control.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Kind = Literal["number", "bits", "word", "text", "order"]
Severity = Literal["", "minor", "major"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter, as the manual names it.

    Attributes:
        name: the word on the wire.
        kind: number = decimal; bits = decimal that is a bit field; word = one of `words`; text = anything; order = a
            SET without a value.
        unit: V, uA, V/s or s; empty where there is none.
        board: True = of the board, asked without a channel; False = one a channel.
        settable: SET is allowed.
        minimum, maximum, decimals: the parameters that say which values a SET takes; empty where there are none.
        words: what a parameter of the kind word can say.
        doc: what it is.
    """

    name: str
    kind: Kind
    doc: str
    unit: str = ""
    board: bool = False
    settable: bool = False
    minimum: str = ""
    maximum: str = ""
    decimals: str = ""
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bit:
    """One bit of a status word. `severity` is that of an alarm when it is set; empty = no alarm."""

    number: int
    name: str
    severity: Severity
    doc: str


STAT = (
    Bit(0, "ON", "", "on"),
    Bit(1, "RUP", "", "ramping up"),
    Bit(2, "RDW", "", "ramping down"),
    Bit(3, "OVC", "minor", "over current: IMON has reached ISET"),
    Bit(4, "OVV", "minor", "over voltage: VMON above VSET"),
    Bit(5, "UNV", "minor", "under voltage: VMON below VSET"),
    Bit(6, "MAXV", "minor", "held by the MAXV limit"),
    Bit(7, "TRIP", "major", "switched off by a trip"),
    Bit(8, "OVP", "major", "over power"),
    Bit(9, "OVT", "major", "over temperature, above 105 C"),
    Bit(10, "DIS", "", "disabled by the front switch"),
    Bit(11, "KILL", "major", "killed from the front panel or outside"),
    Bit(12, "ILK", "major", "interlock"),
    Bit(13, "NOCAL", "major", "calibration error"),
)
"""Bits of STAT. OVV and UNV are true, and no fault, while a channel ramps."""

BDALARM = (
    *(Bit(n, f"CH{n}", "minor", f"alarm on channel {n}") for n in range(4)),
    Bit(4, "PWFAIL", "major", "power failure"),
    Bit(5, "OVP", "major", "board over power"),
    Bit(6, "HVCKFAIL", "major", "HV clock not within 200 +- 10 kHz"),
)


def alarm_bits(channels: int) -> tuple[Bit, ...]:
    """Give the bits of BDALARM of a board with so many channels; none for more than four: their layout is not known."""
    return BDALARM if channels <= 4 else ()


def names(value: int, bits: tuple[Bit, ...]) -> list[str]:
    """Give the names of the bits that are set; those that the table does not have as `BIT14`."""
    known = {bit.number: bit.name for bit in bits}
    return [known.get(n, f"BIT{n}") for n in range(value.bit_length()) if value >> n & 1]


def in_words(value: int) -> str:
    """Say a STAT in words: `on, ramping up`, `off`."""
    said = [bit.doc for bit in STAT if value >> bit.number & 1]
    said += [name for name in names(value, STAT) if name.startswith("BIT")]
    return ", ".join(said if value & 1 else ["off", *said])


def _limited(name: str, unit: str, stem: str, doc: str, decimals: str = "") -> tuple[Parameter, ...]:
    """Make a numeric setting and the three parameters that bound it."""
    low, high, digits = f"{stem}MIN", f"{stem}MAX", decimals or f"{stem}DEC"
    return (
        Parameter(name, "number", doc, unit, settable=True, minimum=low, maximum=high, decimals=digits),
        Parameter(low, "number", f"least {name}", unit),
        Parameter(high, "number", f"greatest {name}", unit),
        Parameter(digits, "number", f"decimals of {name}"),
    )


def _table(*parameters: Parameter) -> Mapping[str, Parameter]:
    return MappingProxyType({parameter.name: parameter for parameter in parameters})


N1470 = _table(
    *_limited("VSET", "V", "V", "Voltage asked for (magnitude)"),
    Parameter("VMON", "number", "Measured voltage (magnitude)", "V"),
    *_limited("ISET", "uA", "I", "Current limit", decimals="ISDEC"),
    Parameter("IMON", "number", "Measured current (magnitude)", "uA"),
    Parameter("IMDEC", "number", "decimals of IMON in the present range"),
    Parameter("IMRANGE", "word", "Range of the current meter", settable=True, words=("HIGH", "LOW")),
    *_limited("MAXV", "V", "MV", "Ceiling of VSET, kept in the unit"),
    *_limited("RUP", "V/s", "RUP", "Rate of ramping up"),
    *_limited("RDW", "V/s", "RDW", "Rate of ramping down"),
    *_limited("TRIP", "s", "TRIP", "Time of over current until the channel is switched off"),
    Parameter("PDWN", "word", "How OFF, trip and interlock end", settable=True, words=("KILL", "RAMP")),
    Parameter("POL", "word", "Polarity of the output", words=("+", "-")),
    Parameter("STAT", "bits", "Status"),
    Parameter("ON", "order", "Switch the channel on", settable=True),
    Parameter("OFF", "order", "Switch the channel off", settable=True),
    Parameter("BDNAME", "text", "Model", board=True),
    Parameter("BDNCH", "number", "Number of channels", board=True),
    Parameter("BDFREL", "text", "Firmware release", board=True),
    Parameter("BDSNUM", "text", "Serial number", board=True),
    Parameter("BDILK", "word", "Interlock is active", board=True, words=("YES", "NO")),
    Parameter("BDILKM", "word", "Interlock contact", board=True, settable=True, words=("OPEN", "CLOSED")),
    Parameter("BDCTR", "word", "Who may set", board=True, words=("LOCAL", "REMOTE")),
    Parameter("BDTERM", "word", "Termination of the bus", board=True, words=("ON", "OFF")),
    Parameter("BDALARM", "bits", "Alarms of the board", board=True),
    Parameter("BDCLR", "order", "Clear the latched alarms of the whole board", board=True, settable=True),
)
