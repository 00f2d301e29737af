"""Record fields of a PV (NAME.EGU, NAME.HIHI, ...), made when somebody asks for them.

Names and meanings are those of EPICS Base's record reference; limits that are not set are NaN. Fields cannot be put:
what they say stands in the site file. What a PV has no honest value for (DTYP, FLNK, PROC ...) it has no field for.
"""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from iocs.ca.server.pv import Judged, Pv
from iocs.signals import Alarms, Direction, Kind, Refused, Severity, Signal, Status


class Field(NamedTuple):
    """A field: its kind, and what it is of a PV."""

    kind: Kind
    of: Callable[[Pv], Any]
    states: tuple[str, ...] = ()


SEVERITIES = tuple(severity.name for severity in Severity)
SCANS = ("Passive", "Event", "I/O Intr", *(f"{each} second" for each in ("10", "5", "2", "1", ".5", ".2", ".1")))
NO_ALARMS = Alarms()
NUMBERS = (Kind.FLOAT, Kind.INT)
CHANGING = ("SEVR", "STAT", "TIME", "UDF", "NORD")  # with every post; the others when the PV is described anew
_RTYP = {Kind.FLOAT: ("ai", "ao"), Kind.INT: ("longin", "longout"), Kind.STR: ("stringin", "stringout")}
_FTVL = {Kind.FLOAT: "DOUBLE", Kind.INT: "LONG", Kind.TEXT: "CHAR"}
_PLACES = ("ZR", "ON", "TW", "TH", "FR", "FV", "SX", "SV", "EI", "NI", "TE", "EL", "TV", "TT", "FT", "FF")


def record_type(pv: Pv) -> str:
    """The record type that an EPICS IOC would serve such a PV from; some screens draw by it."""
    signal = pv.signal
    if signal.count > 1 or signal.kind is Kind.TEXT:
        return "waveform"
    if signal.kind is Kind.ENUM:
        return ("bi" if len(signal.states) == 2 else "mbbi")[:-1] + ("o" if signal.writable else "i")
    return _RTYP[signal.kind][signal.writable]


def find(pv: Pv, name: str) -> Field | None:
    """Give what a field is, None where a PV of this kind has no such field."""
    kind, record = pv.signal.kind, record_type(pv)
    for group, has in (
        (COMMON, True),
        (NUMBER, kind in NUMBERS),
        (FLOAT, kind is Kind.FLOAT),
        (OUTPUT, kind in NUMBERS and pv.signal.writable),
        (WAVEFORM, record == "waveform"),
        (BIT, record in ("bi", "bo")),
        (STATES, record in ("mbbi", "mbbo")),
    ):
        if has and name in group:
            return group[name]
    return None


def field(pv: Pv, name: str) -> "FieldPv":
    """Give the PV of a field that `find` has found; there is one of it."""
    if name not in pv.fields:
        found = find(pv, name)
        if found is None:
            raise KeyError(f"{pv.name}.{name}")
        pv.fields[name] = FieldPv(pv, name, found)
    return pv.fields[name]


class FieldPv(Pv):
    """A field; its value is taken from its record whenever it is asked for.

    Attributes:
        changes: with every post of its record.
    """

    __slots__ = ("_of", "changes", "record")

    def __init__(self, record: Pv, name: str, field: Field) -> None:
        # a setpoint, so that a put comes here and the reason for its refusal goes to the client
        level, states = record.signal.level, field.states
        signal = Signal("VAL", Direction.SETPOINT, field.kind, states=states, precision=6, level=level)
        super().__init__(f"{record.name}.{name}", signal, _refuse, record.on_refused)
        self.record, self.changes, self._of = record, name in CHANGING, field.of
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


def _text(of: Callable[[Signal], str]) -> Field:
    return Field(Kind.STR, lambda pv: of(pv.signal))


def _whole(of: Callable[[Pv], int]) -> Field:
    return Field(Kind.INT, of)


def _number(of: Callable[[Signal], float]) -> Field:
    return Field(Kind.FLOAT, lambda pv: of(pv.signal))


def _severity(of: Callable[[Pv], int]) -> Field:
    return Field(Kind.ENUM, of, SEVERITIES)


def _limit(side: int) -> Field:
    return _number(lambda signal: (signal.limits or (0.0, 0.0))[side])


def _alarms(signal: Signal) -> Alarms:
    return signal.alarms or NO_ALARMS


def _alarm(name: str) -> Field:
    def level(signal: Signal) -> float:
        limit = getattr(_alarms(signal), name)
        return math.nan if limit is None else limit

    return _number(level)


def _alarm_severity(name: str, severity: Severity) -> Field:
    return _severity(lambda pv: 0 if getattr(_alarms(pv.signal), name) is None else severity)


def _state(place: int, signal: Signal) -> str:
    return signal.states[place] if place < len(signal.states) else ""


def _state_severity(place: int, pv: Pv) -> int:
    severities = pv.signal.state_severities
    return severities[place] if place < len(severities) else Severity.NO_ALARM


def _state_value(place: int, pv: Pv) -> int:
    """A state's number is its place; those that are not there have 0, as in a record."""
    return place if place < len(pv.signal.states) else 0


def _time(pv: Pv) -> str:
    return datetime.fromtimestamp(pv.time_ns / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if pv.time_ns else ""


def _length(pv: Pv) -> int:
    return len(pv.value.encode()) if pv.signal.kind is Kind.TEXT else len(pv.value) if pv.signal.count > 1 else 1


def _scan(pv: Pv) -> int:
    """A readback is posted when its box tells it; a setpoint is put."""
    return SCANS.index("Passive" if pv.signal.writable else "I/O Intr")


COMMON = {
    "NAME": Field(Kind.STR, lambda pv: pv.name),
    "DESC": _text(lambda signal: signal.doc),
    "RTYP": Field(Kind.STR, record_type),
    "SCAN": Field(Kind.ENUM, _scan, SCANS),
    "STAT": Field(Kind.STR, lambda pv: Status(pv.status).name),
    "SEVR": _severity(lambda pv: pv.severity),
    "TIME": Field(Kind.STR, _time),
    "UDF": _whole(lambda pv: pv.status == Status.UDF),
    "NELM": _whole(lambda pv: pv.size),
    "NORD": _whole(_length),
}
NUMBER = {
    "EGU": _text(lambda signal: signal.unit),
    "LOPR": _limit(0),
    "HOPR": _limit(1),
    "HIHI": _alarm("hihi"),
    "HIGH": _alarm("high"),
    "LOW": _alarm("low"),
    "LOLO": _alarm("lolo"),
    "HHSV": _alarm_severity("hihi", Severity.MAJOR),
    "HSV": _alarm_severity("high", Severity.MINOR),
    "LSV": _alarm_severity("low", Severity.MINOR),
    "LLSV": _alarm_severity("lolo", Severity.MAJOR),
    "HYST": _number(lambda signal: _alarms(signal).hysteresis),
    "MDEL": _number(lambda signal: signal.mdel),
    "ADEL": _number(lambda signal: signal.adel),
}
FLOAT = {"PREC": _whole(lambda pv: pv.signal.precision)}
OUTPUT = {"DRVL": _limit(0), "DRVH": _limit(1)}
WAVEFORM = {"FTVL": _text(lambda signal: _FTVL[signal.kind])}
BIT = {
    "ZNAM": _text(partial(_state, 0)),
    "ONAM": _text(partial(_state, 1)),
    "ZSV": _severity(partial(_state_severity, 0)),
    "OSV": _severity(partial(_state_severity, 1)),
}
STATES: dict[str, Field] = {}
for _place, _word in enumerate(_PLACES):
    STATES[f"{_word}ST"] = _text(partial(_state, _place))
    STATES[f"{_word}SV"] = _severity(partial(_state_severity, _place))
    STATES[f"{_word}VL"] = _whole(partial(_state_value, _place))
