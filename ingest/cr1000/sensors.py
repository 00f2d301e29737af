"""The files of one type of sensor: default.cfg, and over it SERIAL.cfg of the sensor that a row tells of."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from ingest.cr1000.declarations import RTD, WINDS, bounds, unsafe
from ingest.cr1000.layers import Layer, Pieces
from ingest.cr1000.polynomials import callendar_van_dusen, coefficients, remark
from ingest.cr1000.records import Findings, Place, Record, records
from ingest.cr1000.tally import SERIAL

DEFAULT = "default"
_NUMBER_WITH_POINT = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,2})?")
_LOOKS_LIKE_A_NUMBER = re.compile(r"[+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a line sets: coefficients, or the numbers of an equation."""

    place: Place
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SensorLine:
    """`Start,End,FIRST[,SECOND]`; a part that is empty touches nothing below it.

    Attributes:
        start, end: ns since 1970; None is an open bound.
        first: a calibration, of wind sensors that of the speed.
        second: of wind sensors the calibration of the direction, of `rtd` the seven Callendar-Van Dusen numbers.
    """

    place: Place
    start: int | None
    end: int | None
    first: tuple[float, ...] = ()
    second: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Sensor:
    """What calibrates one sensor, when.

    Attributes:
        serial: its serial number, as its file is named; empty where there is none.
        files: those that apply, the lowest first.
        first, second: see SensorLine.
        broken: a file of it has faults: nothing measured by it is published.
        note: why it is calibrated by less than a file of its own; empty where it is not.
    """

    serial: str
    files: tuple[str, ...]
    first: Pieces[Numbers]
    second: Pieces[Numbers]
    broken: bool = False
    note: str = ""


class SensorType:
    """All files of a type.

    Args:
        folder: sensors/TYPE; None where there is none, and every sensor is taken as it is.
        name: of the type, in lower case.
        shown: what the folder is called in messages.
        findings: is told what is wrong with the files.

    Attributes:
        lines: by the name of the file without `.cfg`.
    """

    def __init__(self, folder: Path | None, name: str, shown: Path, findings: Findings) -> None:
        self.name = name
        self.lines: dict[str, tuple[SensorLine, ...]] = {}
        self._shown = shown
        self._broken: set[str] = set()
        self._sensors: dict[str, Sensor] = {}
        for path in sorted(folder.iterdir()) if folder else ():
            if path.suffix.lower() == ".cfg" and path.is_file():
                self._load(path, findings)

    def _load(self, path: Path, findings: Findings) -> None:
        before = len(findings.faults)
        read = [self._line(record) for record in records(path, str(self._shown / path.name), findings)]
        self.lines[path.stem] = tuple(line for line in read if line)
        if len(findings.faults) > before:
            self._broken.add(path.stem)

    def _line(self, record: Record) -> SensorLine | None:
        if not record.good:
            return None
        start, end = bounds(record)
        first = record.read(3, coefficients) or ()
        second: tuple[float, ...] = ()
        if self.name in WINDS:
            second = record.read(4, coefficients) or ()
        elif self.name == RTD:
            second = record.read(4, callendar_van_dusen) or ()
        if not record.good:
            return None
        for number, part in ((3, first), (4, second)):
            if said := remark(part, record.text(number)):
                record.warn(number, said)
        note = 5 if self.name in WINDS or self.name == RTD else 4
        if _LOOKS_LIKE_A_NUMBER.fullmatch(record.text(note)):
            cure = "coefficients parted by a comma are one quoted field"
            record.warn(note, f"{record.text(note)!r} looks like a number and is ignored as a note; {cure}")
        return SensorLine(record.place, start, end, first, second)

    def sensor(self, text: str) -> Sensor:
        """Give the sensor of a serial number as it stands in the data or in a line.

        Any text has one: what has no file of its own, or is no serial number, is calibrated by default.cfg alone.
        """
        if text not in self._sensors:
            if len(self._sensors) > 10_000:  # a column of rubbish is no reason to fill the memory
                self._sensors.clear()
            self._sensors[text] = self._find(text.strip())
        return self._sensors[text]

    def _find(self, text: str) -> Sensor:
        if _absent(text):
            return self._made("", [DEFAULT], "no serial number")
        if unsafe(text):
            return self._made("", [DEFAULT], f"{SERIAL}{text[:40]!r} cannot be the name of a file")
        whole = _whole(text)
        for name in (text, whole):
            if name in self.lines and name != DEFAULT:
                return self._made(name, [DEFAULT, name])
        alike = [name for name in self.lines if name.lower() == text.lower() and name.lower() != DEFAULT]
        if len(alike) == 1:
            return self._made(alike[0], [DEFAULT, alike[0]])
        return self._made(whole, [DEFAULT], f"{SERIAL}{whole[:40]!r} has no file")

    def _made(self, serial: str, names: Sequence[str], note: str = "") -> Sensor:
        names = [name for name in names if name in self.lines]
        lines = [line for name in names for line in self.lines[name]]
        if note:
            note += f" in sensors/{self.name}" + (": default.cfg alone" if names else ", nor a default.cfg: identity")
        return Sensor(
            serial,
            tuple(str(self._shown / f"{name}.cfg") for name in names),
            Pieces([Layer(at.start, at.end, Numbers(at.place, at.first)) for at in lines if at.first]),
            Pieces([Layer(at.start, at.end, Numbers(at.place, at.second)) for at in lines if at.second]),
            broken=not self._broken.isdisjoint(names),
            note=note,
        )


def _absent(text: str) -> bool:
    """Tell whether a logger wrote that it knows no serial number: nothing, NAN, 0, or LONG's NAN."""
    try:
        number = float(text)
    except ValueError:
        return not text or text.upper() in ("NA", "N/A")
    return math.isnan(number) or number in (0, -2147483648)


def _whole(text: str) -> str:
    """Write a number that a logger stored as a float without its point and exponent."""
    if not _NUMBER_WITH_POINT.fullmatch(text) or text.isdecimal():
        return text
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    return str(int(number)) if number == number.to_integral_value() and number.adjusted() < 20 else text
