"""One line of global.cfg or of a station's file: where a parameter comes from, or what describes it (pure)."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ingest.cr1000.parameters import canonical, quantity
from ingest.cr1000.polynomials import coefficients, remark
from ingest.cr1000.records import Place, Record
from ingest.cr1000.times import bound

CALIBRATION, STRING, RTD = "calibration", "string", "rtd"
WINDS = ("ventus", "rmy")
_FIELD = re.compile(r"[0-9]{1,5}")
_SERIAL_IS_UNSAFE = re.compile(r"[/\\\x00-\x1f\x7f]|\.\.")


@dataclass(frozen=True, slots=True)
class Declaration:
    """Where a parameter's values come from.

    Attributes:
        start, end: ns since 1970, it holds from start to before end; None is an open bound.
        parameter: its canonical name.
        type: in lower case: `calibration`, `string`, or a type of sensor.
        field: of the value, the first of a row is 1.
        serial: the sensor's serial number where it stands in the line; else empty.
        serial_field: of the serial number, where it is to be looked up; else 0.
        coefficients: of type `calibration`, ascending; empty is identity.
    """

    place: Place
    start: int | None
    end: int | None
    parameter: str
    type: str
    field: int
    serial: str = ""
    serial_field: int = 0
    coefficients: tuple[float, ...] = ()

    @property
    def sensor(self) -> bool:
        """Whether a sensor's files calibrate it."""
        return self.type not in (CALIBRATION, STRING)


@dataclass(frozen=True, slots=True)
class Description:
    """What is added to the description of a parameter."""

    place: Place
    start: int | None
    end: int | None
    parameter: str
    text: str


@dataclass(frozen=True, slots=True)
class Broken:
    """A line with faults; what it would have said of a parameter is not known."""

    parameter: str


def declarations(records: Iterable[Record]) -> Iterator[Declaration | Description | Broken]:
    """Read `Start,End,Parameter,Type[,fields...]` and `Start,End,Parameter:metadata,description,TEXT`.

    A line with faults, of which its record is told, gives Broken where the parameter can be made out.
    """
    for record in records:
        _, colon, kind = record.text(3).partition(":")
        unread = not record.good
        parameter = record.read(3, lambda text: canonical(text.partition(":")[0].strip()))
        if unread and parameter is not None:
            yield Broken(parameter)
        if unread:
            continue
        start, end = bounds(record)
        if parameter is None:
            continue
        if colon and kind.strip() != "metadata":
            record.fault(3, f"{kind.strip()!r} cannot be set of a parameter: only {parameter}:metadata can")
        elif colon:
            yield from _description(record, start, end, parameter)
            continue
        else:
            line = _declaration(record, start, end, parameter)
            if record.good:
                yield line
                continue
        yield Broken(parameter)


def bounds(record: Record) -> tuple[int | None, int | None]:
    """Read the first two fields of a line."""
    start, end = record.read(1, bound), record.read(2, bound)
    if start is not None and end is not None and end <= start:
        record.fault(2, "the end is not after the start, so that the line covers nothing; a day ends where it begins")
    return start, end


def unsafe(serial: str) -> bool:
    """Tell whether a serial number could lead out of the folder of its sensor's files."""
    return _SERIAL_IS_UNSAFE.search(serial) is not None


def _description(record: Record, start: int | None, end: int | None, parameter: str) -> Iterator[Description]:
    kind = record.text(4)
    if kind.lower() != "description":
        record.fault(4, f"{kind!r} is no kind of metadata: only `description` is")
    if record.good:
        yield Description(record.place, start, end, parameter, record.text(5))


def _declaration(record: Record, start: int | None, end: int | None, parameter: str) -> Declaration:
    kind = record.text(4).lower()
    where = (record.place, start, end, parameter, kind)
    if kind in (CALIBRATION, STRING):
        field = record.read(5, _field) or 0
        own = record.read(6, coefficients) or () if kind == CALIBRATION else ()
        if kind == CALIBRATION and (said := remark(own, record.text(6))):
            record.warn(6, said)
        return Declaration(*where, field, coefficients=own)
    if not kind:
        record.fault(4, "no type: write calibration, string, or the type of a sensor, whose folder is sensors/TYPE")
        return Declaration(*where, 0)
    if unsafe(kind) or kind == ".":
        record.fault(4, f"{kind!r} cannot be the name of a folder")
    if kind in WINDS and quantity(parameter) not in ("WS", "WSx", "WD"):
        record.fault(4, f"a {kind} measures WS, WSx and WD, not {parameter}")
    serial, serial_field = record.read(5, _serial) or ("", 0)
    return Declaration(*where, record.read(6, _field) or 0, serial, serial_field)


def _serial(text: str) -> tuple[str, int]:
    """Read `@SERIAL`, or the number of a field."""
    if not text.startswith("@"):
        try:
            return "", _field(text)
        except ValueError as error:
            raise ValueError(f"{error}, nor @ and a serial number") from None
    serial = text[1:].strip()
    if not serial:
        raise ValueError("no serial number behind @; @0 takes default.cfg alone")
    if unsafe(serial):
        raise ValueError(f"{serial!r} cannot be the name of a sensor's file")
    return serial, 0


def _field(text: str) -> int:
    """Read the number of a field."""
    if not _FIELD.fullmatch(text) or not int(text):
        raise ValueError(f"{text!r} is no number of a field: the first of a row, its time stamp, is 1")
    return int(text)
