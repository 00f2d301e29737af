"""Record fields of a PV (NAME.EGU, NAME.HIHI, ...), made when somebody asks for them.

Names and meanings are those of EPICS Base's record reference; limits that are not set are NaN. Fields cannot be put:
what they say stands in the site file.
"""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from iocs.ca.server.pv import Judged, Pv
from iocs.signals import Alarms, Direction, Kind, Refused, Severity, Signal, Status

# (kind, what it is of the PV); None: a PV of this kind has no such field
Field = tuple[Kind, Callable[[Pv], Any]]
SEVERITIES = tuple(severity.name for severity in Severity)
NO_ALARMS = Alarms()
NUMBERS = (Kind.FLOAT, Kind.INT)
_RTYP = {Kind.FLOAT: ("ai", "ao"), Kind.INT: ("longin", "longout"), Kind.STR: ("stringin", "stringout")}
_FTVL = {Kind.FLOAT: "DOUBLE", Kind.INT: "LONG", Kind.TEXT: "CHAR"}
_PLACES = ("ZR", "ON", "TW", "TH", "FR", "FV", "SX", "SV", "EI", "NI", "TE", "EL", "TV", "TT", "FT", "FF")


def record_type(pv: Pv) -> str:
    """The record type that an EPICS IOC would serve such a PV from; some screens draw by it."""
    signal = pv.signal
    if signal.count > 1 or signal.kind is Kind.TEXT:
        return "waveform"
    if signal.kind is Kind.ENUM:
        return ("bi" if _is_bit(signal) else "mbbi")[:-1] + ("o" if signal.writable else "i")
    return _RTYP[signal.kind][signal.writable]


def has_field(pv: Pv, name: str) -> bool:
    """Whether a PV has a field, without making it."""
    return name in FIELDS and FIELDS[name][1](pv) is not None


def field(pv: Pv, name: str) -> Pv:
    """Give a field of a PV; there is one PV of it, which follows its record's alarm.

    Raises:
        KeyError: a PV of this kind has no such field.
    """
    if name not in pv.fields:
        if not has_field(pv, name):
            raise KeyError(f"{pv.name}.{name}")
        pv.fields[name] = FieldPv(pv, name)
    return pv.fields[name]


class FieldPv(Pv):
    """A field; its value is taken from its record whenever it is asked for."""

    __slots__ = ("_of", "record")

    def __init__(self, record: Pv, name: str) -> None:
        kind, self._of = FIELDS[name]
        states = SEVERITIES if kind is Kind.ENUM else ()
        # a setpoint, so that a put comes here and the reason for its refusal goes to the client
        signal = Signal("VAL", Direction.SETPOINT, kind, states=states, precision=6, level=record.signal.level)
        super().__init__(f"{record.name}.{name}", signal, _refuse)
        self.record = record
        self._plain = False
        self.refresh()

    def refresh(self) -> None:
        """Take the value from the record, with its time stamp."""
        self.post(self._of(self.record), self.record.time_ns)

    def _judged(self, posted: Any) -> Judged:
        """Never in alarm: what is not set (NaN) is known all the same."""
        return posted, Severity.NO_ALARM, Status.NO_ALARM


async def _refuse(name: str, value: Any, by: str) -> None:
    raise Refused(f"{name} cannot be put: set it in the site file")


def _is_bit(signal: Signal) -> bool:
    return len(signal.states) == 2


def _of_number(value: Callable[[Signal], Any]) -> Field:
    return Kind.FLOAT, lambda pv: value(pv.signal) if pv.signal.kind in NUMBERS else None


def _limit(side: int) -> Field:
    return _of_number(lambda signal: (signal.limits or (0.0, 0.0))[side])


def _drive(side: int) -> Field:
    return Kind.FLOAT, lambda pv: (pv.signal.limits or (0.0, 0.0))[side] if _is_output(pv.signal) else None


def _is_output(signal: Signal) -> bool:
    return signal.writable and signal.kind in NUMBERS


def _alarm(name: str) -> Field:
    def level(signal: Signal) -> float:
        limit = getattr(signal.alarms or NO_ALARMS, name)
        return math.nan if limit is None else limit

    return _of_number(level)


def _alarm_severity(name: str, severity: Severity) -> Field:
    def of(pv: Pv) -> int | None:
        if pv.signal.kind not in NUMBERS:
            return None
        return Severity.NO_ALARM if getattr(pv.signal.alarms or NO_ALARMS, name) is None else severity

    return Kind.ENUM, of


def _state(place: int, pv: Pv, *, bit: bool) -> str | None:
    states = pv.signal.states
    if not states or _is_bit(pv.signal) != bit:
        return None
    return states[place] if place < len(states) else ""


def _state_severity(place: int, pv: Pv, *, bit: bool) -> int | None:
    if _state(place, pv, bit=bit) is None:
        return None
    severities = pv.signal.state_severities
    return severities[place] if place < len(severities) else Severity.NO_ALARM


def _time(pv: Pv) -> str:
    return datetime.fromtimestamp(pv.time_ns / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if pv.time_ns else ""


def _length(pv: Pv) -> int:
    return len(pv.value.encode()) if pv.signal.kind is Kind.TEXT else len(pv.value) if pv.signal.count > 1 else 1


def _element(pv: Pv) -> str | None:
    return _FTVL[pv.signal.kind] if record_type(pv) == "waveform" else None


FIELDS: dict[str, Field] = {
    "NAME": (Kind.STR, lambda pv: pv.name),
    "DESC": (Kind.STR, lambda pv: pv.signal.doc),
    "RTYP": (Kind.STR, record_type),
    "STAT": (Kind.STR, lambda pv: Status(pv.status).name),
    "SEVR": (Kind.ENUM, lambda pv: pv.severity),
    "TIME": (Kind.STR, _time),
    "EGU": (Kind.STR, lambda pv: pv.signal.unit if pv.signal.kind in NUMBERS else None),
    "PREC": (Kind.INT, lambda pv: pv.signal.precision if pv.signal.kind is Kind.FLOAT else None),
    "LOPR": _limit(0),
    "HOPR": _limit(1),
    "DRVL": _drive(0),
    "DRVH": _drive(1),
    "HIHI": _alarm("hihi"),
    "HIGH": _alarm("high"),
    "LOW": _alarm("low"),
    "LOLO": _alarm("lolo"),
    "HHSV": _alarm_severity("hihi", Severity.MAJOR),
    "HSV": _alarm_severity("high", Severity.MINOR),
    "LSV": _alarm_severity("low", Severity.MINOR),
    "LLSV": _alarm_severity("lolo", Severity.MAJOR),
    "HYST": _of_number(lambda signal: (signal.alarms or NO_ALARMS).hysteresis),
    "MDEL": _of_number(lambda signal: signal.mdel),
    "ADEL": _of_number(lambda signal: signal.adel),
    "NELM": (Kind.INT, lambda pv: pv.size),
    "NORD": (Kind.INT, _length),
    "FTVL": (Kind.STR, _element),
    "ZNAM": (Kind.STR, partial(_state, 0, bit=True)),
    "ONAM": (Kind.STR, partial(_state, 1, bit=True)),
    "ZSV": (Kind.ENUM, partial(_state_severity, 0, bit=True)),
    "OSV": (Kind.ENUM, partial(_state_severity, 1, bit=True)),
}
for _place, _word in enumerate(_PLACES):
    FIELDS[f"{_word}ST"] = (Kind.STR, partial(_state, _place, bit=False))
    FIELDS[f"{_word}SV"] = (Kind.ENUM, partial(_state_severity, _place, bit=False))
