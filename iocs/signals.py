"""The words that all rooms share (pure): Signal, Row, Reading, Bad, names, limit alarms, the catalogue and its JSON.

A `Signal` is the one declaration of a quantity; PV, screen, dashboard, archive list and documentation derive from it:

    VMON = readback("VMON", "V", precision=1, archive=MONITOR, doc="Measured output voltage (magnitude)")
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, fields, replace
from enum import Enum, IntEnum, StrEnum
from itertools import pairwise
from typing import Any

import numpy as np

Value = float | int | str | Sequence[float]


class Severity(IntEnum):
    """EPICS alarm severity."""

    NO_ALARM = 0
    MINOR = 1
    MAJOR = 2
    INVALID = 3


class Status(IntEnum):
    """EPICS alarm status, with the numbers of Channel Access (EPICS Base, alarm.h)."""

    NO_ALARM = 0
    READ = 1
    WRITE = 2
    HIHI = 3
    HIGH = 4
    LOLO = 5
    LOW = 6
    STATE = 7
    COS = 8
    COMM = 9
    TIMEOUT = 10
    HWLIMIT = 11
    CALC = 12
    SCAN = 13
    LINK = 14
    SOFT = 15
    BAD_SUB = 16
    UDF = 17
    DISABLE = 18
    SIMM = 19
    READ_ACCESS = 20
    WRITE_ACCESS = 21


class Direction(StrEnum):
    """Who gives the value: the box, or a person (`command`: a put does something and has no value of its own)."""

    READBACK = "readback"
    SETPOINT = "setpoint"
    COMMAND = "command"


class Level(StrEnum):
    """Who may put."""

    OPERATOR = "operator"
    EXPERT = "expert"


class Archive(StrEnum):
    """Whether the archiver records the signal by itself. Members of a row are recorded with their row instead."""

    NONE = "none"
    MONITOR = "monitor"


MONITOR = Archive.MONITOR


class Kind(StrEnum):
    """What a value is. `STR`: 39 bytes plain, whole as `NAME.VAL$`; `TEXT`: long text as a character array."""

    FLOAT = "float"
    INT = "int"
    ENUM = "enum"
    STR = "str"
    TEXT = "text"


STR_BYTES = 500  # how much of a STR is served as NAME.VAL$
TEXT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Alarms:
    """Limits in the signal's unit: at low/high MINOR, at lolo/hihi MAJOR; `hysteresis`: how far back ends the alarm."""

    lolo: float | None = None
    low: float | None = None
    high: float | None = None
    hihi: float | None = None
    hysteresis: float = 0.0

    def __post_init__(self) -> None:
        """Refuse limits in the wrong order, and what is not a finite number (JSON has no word for it)."""
        given = [
            (name, getattr(self, name)) for name in ("lolo", "low", "high", "hihi") if getattr(self, name) is not None
        ]
        for name, limit in (*given, ("hysteresis", self.hysteresis)):
            if not math.isfinite(limit):
                raise ValueError(f"{name} = {limit:g} is not a limit")
        for (lower_name, lower), (upper_name, upper) in pairwise(given):
            if lower > upper:
                raise ValueError(f"{lower_name} = {lower:g} is above {upper_name} = {upper:g}")
        if self.hysteresis < 0:
            raise ValueError(f"hysteresis = {self.hysteresis:g} is below 0")


@dataclass(frozen=True, slots=True)
class Signal:
    """One quantity of a device.

    Attributes:
        name: PV suffix after the device's prefix, e.g. "CH0:VMON"; the word of the box's own manual.
        direction: readback, setpoint or command.
        kind: float, int (32 bits), enum, str or text.
        unit: engineering unit (EGU), empty for none.
        doc: one sentence for people; the PV's DESC.
        precision: decimals shown to people (floats).
        count: most elements of an array; 1 for a scalar.
        states: labels of an enum, at most 16 of 25 bytes.
        state_severities: alarm severity of each state; empty = none alarms.
        limits: what a put may ask (setpoints), or the range to display (readbacks).
        alarms: alarm limits.
        archive: whether the archiver records it by itself.
        level: who may put.
        group: heading under which screens show it.
        row: name of the row that it is a column of, empty for none.
        mdel: a change by no more than this sends no event (scalars); below 0 every post does.
        adel: the same for archivers that ask for LOG events.
        queued: a slow client gets every post of some seconds, not only the newest one.
        confirm: screens ask before they put it.
    """

    name: str
    direction: Direction = Direction.READBACK
    kind: Kind = Kind.FLOAT
    unit: str = ""
    doc: str = ""
    precision: int = 3
    count: int = 1
    states: tuple[str, ...] = ()
    state_severities: tuple[Severity, ...] = ()
    limits: tuple[float, float] | None = None
    alarms: Alarms | None = None
    archive: Archive = Archive.NONE
    level: Level = Level.OPERATOR
    group: str = ""
    row: str = ""
    mdel: float = 0.0
    adel: float = 0.0
    queued: bool = False
    confirm: bool = False

    def __post_init__(self) -> None:
        """Refuse a declaration that could not be served."""
        check_name(self.name, SIGNAL_LENGTH)
        if self.row:
            check_name(self.row, SIGNAL_LENGTH)
        if self.count < 1 or (self.count > 1 and self.kind not in (Kind.FLOAT, Kind.INT)):
            raise ValueError(f"{self.name}: count = {self.count}; 1, or more of float or int")
        if (self.kind is Kind.ENUM) != bool(self.states):
            raise ValueError(f"{self.name}: an enum needs states, and only an enum has them")
        if len(self.states) > 16 or any(len(state.encode()) > 25 for state in self.states):
            raise ValueError(f"{self.name}: Channel Access allows 16 states of 25 bytes, not {self.states}")
        if len(set(self.states)) < len(self.states) or "" in self.states:
            raise ValueError(f"{self.name}: states need names, each another, not {self.states}")
        if self.state_severities and len(self.state_severities) != len(self.states):
            raise ValueError(f"{self.name}: one severity a state, or none at all")
        if self.row and (self.kind in (Kind.STR, Kind.TEXT) or self.count != 1):
            raise ValueError(f"{self.name}: a column of row {self.row} must be a number")
        if (self.limits or self.alarms) and self.kind not in (Kind.FLOAT, Kind.INT):
            raise ValueError(f"{self.name}: limits and alarm limits are for numbers, this is {self.kind}")
        if self.limits and not all(math.isfinite(limit) for limit in self.limits):
            raise ValueError(f"{self.name}: limits {self.limits} are not finite")
        if self.limits and not self.limits[0] <= self.limits[1]:
            raise ValueError(f"{self.name}: limits {self.limits} are upside down")

    @property
    def writable(self) -> bool:
        """Whether clients may put at all."""
        return self.direction is not Direction.READBACK


def same_type(one: Signal, other: Signal) -> bool:
    """Whether a PV may become the other while clients hold it: what they were told at connect stays true."""
    if len(one.states) > len(other.states):  # it may be in a state that the other does not have
        return False
    told = ("name", "kind", "count", "direction", "level", "queued")
    return all(getattr(one, name) == getattr(other, name) for name in told)


def _signal(direction: Direction, name: str, unit: str, type: Any, options: dict[str, Any]) -> Signal:
    kinds = {float: Kind.FLOAT, int: Kind.INT, str: Kind.STR}
    if isinstance(type, tuple):
        return Signal(name, direction, Kind.ENUM, unit, states=type, **options)
    if isinstance(type, Kind):
        return Signal(name, direction, type, unit, **options)
    if issubclass(type, Enum):
        return Signal(name, direction, Kind.ENUM, unit, states=tuple(member.name for member in type), **options)
    return Signal(name, direction, kinds[type], unit, **options)


def readback(name: str, unit: str = "", *, type: Any = float, **options: Any) -> Signal:
    """Declare what the box says. `type`: float, int, str, `Kind.TEXT`, an Enum class, or a tuple of state labels."""
    return _signal(Direction.READBACK, name, unit, type, options)


def setpoint(name: str, unit: str = "", *, type: Any = float, **options: Any) -> Signal:
    """Declare what a person may ask of the box. `type` as for `readback`."""
    return _signal(Direction.SETPOINT, name, unit, type, options)


def command(name: str, *, type: Any = ("Idle", "Do"), **options: Any) -> Signal:
    """Declare something that a put makes the box do."""
    return _signal(Direction.COMMAND, name, "", type, options)


@dataclass(frozen=True, slots=True)
class Row:
    """What is read together, served as one float64 array PV: `ROW_HEAD` elements, then the value of each signal."""

    name: str
    signals: tuple[Signal, ...]


ROW_HEAD = 4  # sequence number (1 at process start), catalogue version, seconds, nanoseconds
ROW_COUNT = 4096  # elements that a row PV can hold: room for a configuration that grows without the PV going away


def rows(signals: Iterable[Signal]) -> tuple[Row, ...]:
    """Give the rows that the signals say they are columns of, in order of declaration.

    Raises:
        ValueError: a name is used twice, by signals or by a row, or a row has more columns than fit.
    """
    columns: dict[str, list[Signal]] = {}
    names: set[str] = set()
    for signal in signals:
        if signal.name in names:
            raise ValueError(f"the signal {signal.name} is declared twice")
        names.add(signal.name)
        if signal.row:
            columns.setdefault(signal.row, []).append(signal)
    for name, members in columns.items():
        if name in names:
            raise ValueError(f"{name} is the name of a row and of a signal")
        if len(members) + ROW_HEAD > ROW_COUNT:
            raise ValueError(f"row {name} has {len(members)} columns; at most {ROW_COUNT - ROW_HEAD} fit")
    return tuple(Row(name, tuple(members)) for name, members in columns.items())


@dataclass(frozen=True, slots=True)
class Bad:
    """A posted value that must not be taken at its word.

    Attributes:
        reason: why, for the log.
        value: what to show; None keeps the last good value.
        severity: INVALID unless the value is merely in doubt.
        status: the EPICS status that goes with it.
    """

    reason: str
    value: Value | None = None
    severity: Severity = Severity.INVALID
    status: Status = Status.READ


@dataclass(frozen=True, slots=True)
class Reading:
    """A value as a watcher gets it. Enum values are state numbers.

    Attributes:
        value: the value, None before the first one.
        time_ns: when it was taken, ns since 1970 (0 before the first one).
        severity: EPICS severity.
        status: EPICS status.
        connected: whether the PV is being served at this moment.
        local: whether it comes from this process, not over the network.
    """

    value: Any
    time_ns: int
    severity: Severity
    status: Status
    connected: bool = True
    local: bool = True


class Refused(Exception):
    """A put that was not carried out; the text is the reason that the operator sees."""


_NAME = re.compile(r"[A-Z0-9_]+(:[A-Z0-9_]+)*")
# A PV name has at most 60 characters. Each half keeps its own limit, so that no signal of any kind of device, not even
# one that a box names at run time, can be too long for the site.
HEAD_LENGTH = 28  # the site's prefix and the device's name, with both colons
SIGNAL_LENGTH = 32
NAME_LENGTH = HEAD_LENGTH + SIGNAL_LENGTH


def check_name(name: str, length: int = NAME_LENGTH) -> None:
    """Refuse a name (or a part of one) that breaks the house's rule for PV names.

    Args:
        name: the name, or the part.
        length: most characters that it may have.

    Raises:
        ValueError: it says which rule.
    """
    if len(name) > length:
        raise ValueError(f"PV name {name!r} has {len(name)} characters; at most {length} are allowed")
    if not _NAME.fullmatch(name):
        raise ValueError(f"PV name {name!r}: use capitals, digits, '_', and ':' between parts")


def legal_name(text: str, fallback: str, length: int = 24) -> str:
    """Make a box's own channel name legal: capitals, other characters to '_'; `fallback` where nothing is left."""
    word = re.sub(r"[^A-Z0-9]+", "_", text.upper()).strip("_")[:length].strip("_")
    return word or fallback


def unique_names(wanted: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """Make names unique among themselves and against `taken` by a number at the end: VA, VA_2, VA_3."""
    used = set(taken)
    result = []
    for name in wanted:
        candidate, number = name, 1
        while candidate in used:
            number += 1
            candidate = f"{name}_{number}"
        used.add(candidate)
        result.append(candidate)
    return result


def limit_alarm(alarms: Alarms | None, value: float, last: Status = Status.NO_ALARM) -> tuple[Severity, Status]:
    """Judge a value by its alarm limits, with hysteresis as EPICS records have it.

    Args:
        alarms: the limits, or None.
        value: the value, in the unit of the limits.
        last: the limit status that the last value had.
    """
    if alarms is None or value != value:
        return Severity.NO_ALARM, Status.NO_ALARM
    checks = (
        (alarms.hihi, 1, Status.HIHI, Severity.MAJOR),
        (alarms.lolo, -1, Status.LOLO, Severity.MAJOR),
        (alarms.high, 1, Status.HIGH, Severity.MINOR),
        (alarms.low, -1, Status.LOW, Severity.MINOR),
    )
    for limit, side, status, severity in checks:
        if limit is None:
            continue
        slack = alarms.hysteresis if status is last else 0.0  # a value must come back by it to leave its alarm
        if side * value >= side * limit - slack:
            return severity, status
    return Severity.NO_ALARM, Status.NO_ALARM


def narrowed(signal: Signal, limits: tuple[float, float] | None, alarms: Alarms | None) -> Signal:
    """Give the signal with the site file's limits and alarms.

    Raises:
        ValueError: the limits would widen what the box allows, or the signal is not a number.
    """
    if limits is not None:
        if signal.limits and not (signal.limits[0] <= limits[0] <= limits[1] <= signal.limits[1]):
            raise ValueError(f"limits {list(limits)} are not within {list(signal.limits)}, which the box allows")
        signal = replace(signal, limits=limits)
    return replace(signal, alarms=alarms) if alarms is not None else signal


def typed(signal: Signal, value: Any) -> Any:
    """Bring one value to the Python type of its signal's kind; an Enum member becomes its place among the states.

    Raises:
        ValueError, TypeError, OverflowError: it is not a value of the kind.
    """
    match signal.kind:
        case Kind.FLOAT:
            return float(value)
        case Kind.INT:
            number = int(value)
            if not -(2**31) <= number < 2**31:
                raise ValueError(f"{value!r} is not a whole number of 32 bits")
            return number
        case Kind.ENUM:
            if isinstance(value, Enum):
                return signal.states.index(value.name)
            state = int(value)
            if not 0 <= state < len(signal.states):
                raise ValueError(f"{value!r} is none of the states {signal.states}")
            return state
    return str(value)


def acceptable(signal: Signal, value: Any) -> Any:
    """Check what a client puts, without asking the box; gives the value in the type of the signal's kind.

    Raises:
        Refused: it is not a value of the kind, not finite, beyond the limits, too long, or none of the states.
    """
    if signal.kind in (Kind.STR, Kind.TEXT):
        return _text(signal, value)
    many = isinstance(value, Iterable) and not isinstance(value, str | bytes)
    if signal.count > 1:
        if isinstance(value, np.ndarray) and value.size and value.dtype.kind in "iuf":
            return _array(signal, value)
        return [_number(signal, item) for item in _fitting(signal, list(value) if many else [value])]
    if many:
        raise Refused(f"one value is needed, not {value!r}")
    return _state(signal, value) if signal.kind is Kind.ENUM else _number(signal, value)


def _text(signal: Signal, value: Any) -> str:
    if isinstance(value, Sized) and not isinstance(value, str):
        raise Refused(f"one text is needed, not {len(value)} values")
    text, most = str(value), STR_BYTES if signal.kind is Kind.STR else TEXT_BYTES
    if len(text.encode(errors="replace")) > most:
        raise Refused(f"the text has more than {most} bytes")
    return text


def _float(value: Any) -> float:
    if isinstance(value, str) and "_" in value:
        raise ValueError("1_0 is a number to Python alone")
    return float(value)


def _number(signal: Signal, value: Any) -> float:
    try:
        number = _float(value)
    except (TypeError, ValueError, OverflowError):
        raise Refused(f"{value!r} is not a number") from None
    if not math.isfinite(number):
        raise Refused(f"{number} is not a value that can be set")
    if signal.limits and not signal.limits[0] <= number <= signal.limits[1]:
        low, high = signal.limits
        unit = f" {signal.unit}" if signal.unit else ""
        raise Refused(f"{number:.15g}{unit} is beyond the limits {low:.15g} .. {high:.15g}{unit}")
    if signal.kind is Kind.INT:
        if number != int(number) or not -(2**31) <= number < 2**31:
            raise Refused(f"{value!r} is not a whole number of 32 bits")
        return int(number)
    return number


def _fitting(signal: Signal, values: Any) -> Any:
    if len(values) > signal.count:
        raise Refused(f"at most {signal.count} values fit, not {len(values)}")
    return values


def _array(signal: Signal, values: Any) -> Any:
    """`_number` for many at once: a million of them must not hold up the process for a second."""
    low, high = signal.limits or (-math.inf, math.inf)
    values = _fitting(signal, values)
    if not np.isfinite(values).all():
        raise Refused("there are elements that are not values that can be set")
    if not low <= values.min() <= values.max() <= high:
        raise Refused(f"there are elements beyond the limits {low:g} .. {high:g} {signal.unit}".rstrip())
    if signal.kind is Kind.INT:
        if (values != np.rint(values)).any() or values.min() < -(2**31) or values.max() >= 2**31:
            raise Refused("there are elements that are not whole numbers of 32 bits")
        return values.astype("i4")
    return values.astype("f8")


def _state(signal: Signal, value: Any) -> int:
    if isinstance(value, str) and value in signal.states:
        return signal.states.index(value)
    try:
        number = _float(value)
        state = int(number) if number.is_integer() else -1
    except (TypeError, ValueError, OverflowError):
        state = -1
    if not 0 <= state < len(signal.states):
        choices = ", ".join(f"{number} = {label}" for number, label in enumerate(signal.states))
        raise Refused(f"{value!r} is none of the states {choices}")
    return state


def label(signal: Signal, value: Any) -> Any:
    """Give a value as people read it: the state of an enum by its name, all else (no state either) as it is."""
    if signal.kind is Kind.ENUM and isinstance(value, int | float) and value in range(len(signal.states)):
        return signal.states[int(value)]
    return value


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What a device serves, as its PV `PVS` tells it.

    Attributes:
        device: the device's name in the site file.
        kind: its type in the site file.
        prefix: what stands before each signal's name in its PV.
        version: grows whenever the signals change, over restarts too.
        simulated: whether the values come from a simulator.
        signals: in order of declaration.
    """

    device: str
    kind: str
    prefix: str
    version: int
    simulated: bool
    signals: tuple[Signal, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows that the signals form."""
        return rows(self.signals)

    def to_json(self) -> str:
        """Write the catalogue as one line of JSON; what has its default value is left out."""
        head = {name: getattr(self, name) for name in ("device", "kind", "prefix", "version", "simulated")}
        return json.dumps(
            {**head, "signals": [signal_to_dict(signal) for signal in self.signals]}, separators=(",", ":")
        )

    @classmethod
    def from_json(cls, text: str) -> "Catalogue":
        """Read a catalogue. Keys that this version does not know are passed over.

        Raises:
            ValueError: the text is not a catalogue; it says where.
        """
        try:
            data = json.loads(text)
            signals = tuple(signal_from_dict(entry) for entry in data["signals"])
            return cls(
                str(data["device"]),
                str(data["kind"]),
                str(data["prefix"]),
                int(data["version"]),
                bool(data["simulated"]),
                signals,
            )
        except (LookupError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"not a catalogue: {type(error).__name__} {error}") from error


_DEFAULTS = {field.name: field.default for field in fields(Signal)}
_LIMITS = [field.name for field in fields(Alarms)]


def signal_to_dict(signal: Signal) -> dict[str, Any]:
    """Give a signal as plain data for JSON, without what has its default value."""
    data = {name: getattr(signal, name) for name, default in _DEFAULTS.items() if getattr(signal, name) != default}
    if signal.alarms is not None:
        data["alarms"] = {
            name: getattr(signal.alarms, name) for name in _LIMITS if getattr(signal.alarms, name) is not None
        }
    return data


def _alarms_from_dict(data: Mapping[str, float] | None) -> Alarms | None:
    return None if data is None else Alarms(**{name: value for name, value in data.items() if name in _LIMITS})


def signal_from_dict(data: Mapping[str, Any]) -> Signal:
    """Read a signal from plain data; unknown keys are passed over.

    Raises:
        ValueError, KeyError, TypeError: the data are not a signal.
    """
    known = {name: data[name] for name in _DEFAULTS if name in data}
    convert = {
        "direction": Direction,
        "kind": Kind,
        "states": tuple,
        "state_severities": lambda values: tuple(Severity(value) for value in values),
        "limits": lambda pair: None if pair is None else (float(pair[0]), float(pair[1])),
        "alarms": _alarms_from_dict,
        "archive": Archive,
        "level": Level,
    }
    return Signal(**{name: convert[name](value) if name in convert else value for name, value in known.items()})
