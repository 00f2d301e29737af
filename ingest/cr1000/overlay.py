"""A configuration laid over a block of raw rows: calibrated columns (pure).

Each parameter at each instant is what the topmost covering line declares; where that names a sensor, the sensor's files
calibrate it, row by row by the serial number that the row tells. Columns are evaluated in slices: one for each piece of
time, and in it one for each sensor.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ingest.cr1000.calibration import IDENTITY, IEC_60751, callendar_van_dusen, outside, polynomial, wrapped
from ingest.cr1000.columns import Column
from ingest.cr1000.configuration import Configuration, Parameter
from ingest.cr1000.declarations import RTD, STRING, WINDS, Declaration
from ingest.cr1000.layers import Rows
from ingest.cr1000.parameters import quantity, unit
from ingest.cr1000.sensors import Sensor
from ingest.cr1000.tally import Tally

UNCOVERED = "no line covers the row"
MISSING = "missing in the file"
NOT_A_RATIO = "rtd: no ratio Rs/R0"
NO_DIRECTION = "direction a turn or more off"
CHANGES = "the logger changes inside the file"
BEYOND = "is beyond the row"
NOT_FINITE = "the calibration gives no finite number"
BROKEN = "the sensor's files have faults"
ASSUMED = "no Callendar-Van Dusen numbers: those of IEC 60751 are taken"


def is_missing(reason: str) -> bool:
    """Tell whether a reason is why a covered value is missing; others say why one is absent, or are remarks."""
    return reason in (MISSING, NOT_A_RATIO, NO_DIRECTION, NOT_FINITE) or reason.endswith(BEYOND)


class RawBlock(Protocol):
    """Rows of a logger's table; see `blocks.Block`."""

    time_ns: NDArray[np.int64]
    width: int

    def number(self, field: int, codes: Sequence[float] = ...) -> NDArray[np.float64]:
        """Give a column as numbers, NaN = missing."""
        ...

    def coded(self, field: int) -> tuple[NDArray[np.intp], list[str]]:
        """Give a column as numbers of its different texts, and these texts."""
        ...


@dataclass(slots=True)
class Calibrated(Column):
    """A parameter's values for the rows of a block, and its `description` at the newest row."""

    description: str


@dataclass(frozen=True, slots=True)
class Step:
    """How some rows are calibrated: where a value comes from, and what is done to it.

    Attributes:
        rows: which.
        declaration: the line that says where the value is.
        sensor: the sensor, where one is named.
        equation: place and numbers of the Callendar-Van Dusen equation; of a resistance sensor only.
        polynomial: place and coefficients; None where nothing is applied.
    """

    rows: Rows
    declaration: Declaration
    sensor: Sensor | None = None
    equation: tuple[str, tuple[float, ...]] | None = None
    polynomial: tuple[str, tuple[float, ...]] | None = None


class Overlay:
    """Calibrates blocks of rows of one station.

    Args:
        configuration: the station's.
        tally: is told what is missing, and why.
        missing: by parameter, the numbers that mean missing in the file, where others than the usual ones do.
    """

    def __init__(
        self, configuration: Configuration, tally: Tally, missing: Mapping[str, Sequence[float]] | None = None
    ) -> None:
        self.configuration, self.tally = configuration, tally
        self.missing = missing or {}
        self._loggers: dict[str, str] = {}  # the last serial number of each logger

    def columns(self, block: RawBlock) -> list[Calibrated]:
        """Give all parameters of the rows of a block."""
        return [self.column(parameter, block) for parameter in self.configuration.parameters.values()]

    def column(self, parameter: Parameter, block: RawBlock) -> Calibrated:
        """Give one parameter of the rows of a block."""
        count = len(block.time_ns)
        made = Calibrated(
            parameter.name,
            "" if parameter.text else unit(parameter.name),
            [""] * count if parameter.text else np.full(count, np.nan),
            np.zeros(count, bool),
            [],
            np.full(count, -1, np.int32),
            parameter.description(int(block.time_ns.max()) if count else 0),
        )
        serials: dict[str, int] = {}
        for step in self.steps(parameter, block):
            if step.sensor and step.sensor.broken:
                self._count(parameter, block, BROKEN, step.rows)
                continue
            made.covered[step.rows] = True
            if step.sensor and step.sensor.serial:
                made.serial[step.rows] = serials.setdefault(step.sensor.serial, len(serials))
            if isinstance(made.values, list):
                self._texts(parameter, block, step, made.values)
            else:
                made.values[step.rows] = self._numbers(parameter, block, step)
        made.serials = list(serials)
        if isinstance(made.values, list) and quantity(parameter.name) == "LOGGER":
            self._changes(parameter, block, made.values)
        return made

    def steps(self, parameter: Parameter, block: RawBlock) -> Iterator[Step]:
        """Give the ways in which the rows of a block are calibrated; rows that no line covers are in none."""
        for line, rows in parameter.declarations.split(block.time_ns):
            if line is None:
                self._count(parameter, block, UNCOVERED, rows)
            elif not line.sensor:
                own = (str(line.place), line.coefficients) if line.coefficients else None
                yield Step(rows, line, polynomial=own)
            else:
                for sensor, those in self._sensors(line, block, rows):
                    if sensor.note:
                        self._count(parameter, block, sensor.note, those)
                    if sensor.broken:
                        yield Step(those, line, sensor)
                    else:
                        yield from self._calibrated(parameter, line, sensor, block, those)

    def _sensors(self, line: Declaration, block: RawBlock, rows: Rows) -> Iterator[tuple[Sensor, Rows]]:
        """Give the sensors of some rows."""
        find = self.configuration.types[line.type].sensor
        if not line.serial_field:
            yield find(line.serial), rows
            return
        which, texts = block.coded(line.serial_field)
        if len(texts) == 1:
            yield find(texts[0]), rows
            return
        which = which[rows]
        found = np.flatnonzero(np.bincount(which, minlength=len(texts))).tolist() if len(which) else []
        if len(found) == 1:
            yield find(texts[found[0]]), rows
            return
        places = np.arange(len(block.time_ns))[rows]
        for text in found:
            yield find(texts[text]), places[which == text]

    def _calibrated(
        self, parameter: Parameter, line: Declaration, sensor: Sensor, block: RawBlock, rows: Rows
    ) -> Iterator[Step]:
        """Part rows of one sensor where another line of its files begins to hold."""
        direction = line.type in WINDS and quantity(parameter.name) == "WD"
        for numbers, those in (sensor.second if direction else sensor.first).split(block.time_ns, rows):
            own = (str(numbers.place), numbers.values) if numbers else None
            if line.type != RTD:
                yield Step(those, line, sensor, polynomial=own)
                continue
            for equation, these in sensor.second.split(block.time_ns, those):
                if equation is None:
                    self._count(parameter, block, ASSUMED, these)
                values = (str(equation.place), equation.values) if equation else ("IEC 60751", IEC_60751)
                yield Step(these, line, sensor, values, own)

    def raw(self, parameter: Parameter, block: RawBlock, field: int) -> NDArray[np.float64]:
        """Give a column as numbers, by the parameter's own rule of what is missing."""
        codes = self.missing.get(parameter.name)
        return block.number(field) if codes is None else block.number(field, codes)

    def _numbers(self, parameter: Parameter, block: RawBlock, step: Step) -> NDArray[np.float64]:
        raw = self.raw(parameter, block, step.declaration.field)[step.rows]
        absent = int(np.count_nonzero(np.isnan(raw)))
        if absent:
            beyond = step.declaration.field > block.width
            reason = f"field {step.declaration.field} {BEYOND}" if beyond else MISSING
            self._count(parameter, block, reason, step.rows, np.isnan(raw))
        values, reasons = evaluated(parameter.name, step, raw)
        for reason, rows in reasons:
            self._count(parameter, block, reason, step.rows, rows)
        return values

    def _texts(self, parameter: Parameter, block: RawBlock, step: Step, into: list[str]) -> None:
        which, texts = block.coded(step.declaration.field)
        for row, code in zip(np.arange(len(into))[step.rows].tolist(), which[step.rows].tolist(), strict=True):
            into[row] = texts[code]
        if not all(text.strip() for text in texts):
            empty = np.isin(which[step.rows], [at for at, text in enumerate(texts) if not text.strip()])
            self._count(parameter, block, MISSING, step.rows, empty)

    def _changes(self, parameter: Parameter, block: RawBlock, values: Sequence[str]) -> None:
        """Count where another logger's serial number begins: files of two loggers may have been joined."""
        known = set(values) - {""}
        before = self._loggers.get(parameter.name)
        if len(known | ({before} if before else set())) < 2:
            if known:
                self._loggers[parameter.name] = known.pop()
            return
        changed = np.zeros(len(values), bool)
        for row, value in enumerate(values):
            changed[row] = bool(value and before and value != before)
            before = value or before
        self._loggers[parameter.name] = before or ""
        self.tally.count(parameter.name, CHANGES, block.time_ns[changed])

    def _count(
        self, parameter: Parameter, block: RawBlock, reason: str, rows: Rows, those: NDArray[np.bool_] | None = None
    ) -> None:
        times = block.time_ns[rows]
        self.tally.count(parameter.name, reason, times if those is None else times[those])


def evaluated(
    name: str, step: Step, raw: NDArray[np.float64]
) -> tuple[NDArray[np.float64], list[tuple[str, NDArray[np.bool_]]]]:
    """Calibrate raw values of rows that share a step.

    Returns:
        float64[n], and for each reason to refuse a result which ones were.
    """
    values, reasons = raw, []
    if step.equation:
        values = callendar_van_dusen(values, step.equation[1])
        refused = np.isnan(values) & ~np.isnan(raw)
        if refused.any():
            reasons.append((NOT_A_RATIO, refused))
    if step.polynomial and step.polynomial[1] != IDENTITY:
        before, values = values, polynomial(values, step.polynomial[1])
        endless = ~np.isfinite(values) & ~np.isnan(before)
        if endless.any():
            values[endless] = np.nan
            reasons.append((NOT_FINITE, endless))
        if quantity(name) == "WD" and step.declaration.type != STRING:
            off = outside(values)
            if off.any():
                reasons.append((NO_DIRECTION, off))
            values = wrapped(values)
    return values, reasons
