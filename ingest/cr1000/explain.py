"""Why a number is what it is: from the cell in the logger's file to the result, with all that took part."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from drivers.digits import time_text
from ingest.cr1000.blocks import Block
from ingest.cr1000.calibration import IDENTITY, callendar_van_dusen, polynomial
from ingest.cr1000.configuration import Configuration, Parameter
from ingest.cr1000.declarations import STRING, Declaration
from ingest.cr1000.overlay import Overlay, Step, evaluated
from ingest.cr1000.parameters import canonical, quantity, unit
from ingest.cr1000.records import Place
from ingest.cr1000.sensors import SensorLine
from ingest.cr1000.tally import Tally
from ingest.cr1000.times import moment


def asked(text: str) -> tuple[str, int]:
    """Read `T1 2016-09-01T19:18`: a parameter and a time.

    Raises:
        ValueError: it is none.
    """
    name, _, time = text.strip().partition(" ")
    if not time:
        raise ValueError(f"{text!r} is no parameter and a time: write it as 'T1 2016-09-01T19:18'")
    return canonical(name), moment(time)


class Row:
    """One row of a block, as a block."""

    def __init__(self, block: Block, row: int) -> None:
        self.block, self.row, self.width = block, row, block.width
        self.time_ns = block.time_ns[row : row + 1]

    def number(self, field: int, codes: Sequence[float] | None = None) -> np.ndarray:
        """Give a cell as a number, float64[1]."""
        values = self.block.number(field) if codes is None else self.block.number(field, codes)
        return values[self.row : self.row + 1]

    def coded(self, field: int) -> tuple[np.ndarray, list[str]]:
        """Give a cell as text."""
        codes, texts = self.block.coded(field)
        return np.zeros(1, np.intp), [texts[codes[self.row]]]

    def text(self, field: int) -> str:
        """Give a cell as it stands in the file."""
        return self.coded(field)[1][0]


def explain(overlay: Overlay, blocks: Iterable[Block], name: str, time_ns: int) -> Iterator[str]:
    """Tell how a value came about, line by line.

    Args:
        overlay: of the station; its tally is not touched.
        blocks: the station's rows, in any order.
        name: canonical name of the parameter.
        time_ns: stamp of the row.
    """
    configuration = overlay.configuration
    faults = [fault for fault in configuration.findings.faults if name in configuration.broken]
    if faults or name not in configuration.parameters:
        known = ", ".join(configuration.parameters) or "none"
        why = "has faults, so that nothing of it is published" if faults else f"is not declared; declared are {known}"
        yield f"{name} of {configuration.station} {why}"
        yield from (f"  {fault}" for fault in faults)
        return
    found, nearest = _rows(blocks, time_ns)
    if not found:
        near = " and ".join(_time(time) for time in nearest) or "none"
        yield f"{name} at {_time(time_ns)}: no row has this stamp; the nearest are {near}"
    for row in found:
        yield from _explained(Overlay(configuration, Tally(), overlay.missing), configuration.parameters[name], row)


def _rows(blocks: Iterable[Block], time_ns: int) -> tuple[list[Row], list[int]]:
    """Give the rows of a stamp, and the stamps before and after."""
    rows: list[Row] = []
    before: int | None = None
    after: int | None = None
    for block in blocks:
        rows += [Row(block, row) for row in np.flatnonzero(block.time_ns == time_ns).tolist()]
        lower, upper = block.time_ns[block.time_ns < time_ns], block.time_ns[block.time_ns > time_ns]
        if len(lower):
            before = max(int(lower.max()), before if before is not None else int(lower.max()))
        if len(upper):
            after = min(int(upper.min()), after if after is not None else int(upper.min()))
    return rows, [time for time in (before, after) if time is not None]


def _explained(overlay: Overlay, parameter: Parameter, row: Row) -> Iterator[str]:
    time_ns = int(row.time_ns[0])
    about = parameter.description(time_ns)
    steps = list(overlay.steps(parameter, row))
    result = "absent" if not steps else _result(overlay, parameter, row, steps[0])
    yield f"{parameter.name} at {_time(time_ns)}: {result}  ({about})"
    yield f"  row     {row.block.source}:{row.block.lines[row.row]}"
    lines = [
        line for line in overlay.configuration.lines if line.parameter == parameter.name and _covers(line, time_ns)
    ]
    declared = [line for line in lines if isinstance(line, Declaration)]
    if not steps:
        yield "  line    none covers this instant"
        return
    step = steps[0]
    field = step.declaration.field
    yield f"  raw     field {field}{_named(row, field)} holds {row.text(field)!r}"
    yield from _lines("line", [line.place for line in declared], step.declaration.place)
    described = [line.place for line in lines if not isinstance(line, Declaration)]
    yield from _lines("text", described, described[-1] if described else None)
    if step.sensor:
        yield from _sensor(overlay.configuration, row, step)
    if parameter.text or step.declaration.type == STRING:
        return
    yield from _calculation(overlay, parameter, row, step)
    yield from (f"  note    {reason}" for _, reason in overlay.tally.counts)


def _lines(title: str, places: Sequence[Place], top: Place | None) -> Iterator[str]:
    """Show lines of the stack, the topmost first, and which of them holds."""
    for place in reversed(places):
        mark = "" if place == top else "  (lies under the line above)"
        yield f"  {title:<7} {place}: {_written(place)}{mark}"


def _written(place: Place) -> str:
    """Give a line of a file as it stands there."""
    lines = (
        Path(place.file).read_bytes().decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    )
    return lines[place.line - 1].strip()


def _sensor(configuration: Configuration, row: Row, step: Step) -> Iterator[str]:
    line, sensor = step.declaration, step.sensor
    assert sensor is not None  # noqa: S101
    field = line.serial_field
    where = f"field {field}{_named(row, field)} holds {row.text(field)!r}" if field else "the line says so"
    yield f"  sensor  {line.type} {sensor.serial or '(no serial number)'}: {where}"
    time_ns = int(row.time_ns[0])
    kind = configuration.types[line.type]
    for file in reversed(sensor.files):
        here: list[SensorLine] = [each for each in kind.lines[Path(file).stem] if _covers(each, time_ns)]
        yield f"  file    {file}: {'these lines cover' if here else 'no line covers'} this instant"
        yield from (f"          {each.place}: {_written(each.place)}" for each in reversed(here))


def _calculation(overlay: Overlay, parameter: Parameter, row: Row, step: Step) -> Iterator[str]:
    if step.sensor and step.sensor.broken:
        yield "  result  absent: the sensor's files have faults"
        return
    raw = overlay.raw(parameter, row, step.declaration.field)
    if np.isnan(raw[0]):
        yield "  result  missing: the cell is empty, no number, or a number that means none"
        return
    value = raw
    yield f"  value   {_number(value)}"
    if step.equation:
        place, numbers = step.equation
        value = callendar_van_dusen(value, numbers)
        named = " ".join(f"{letter}={number!r}" for letter, number in zip("adeghij", numbers, strict=True))
        yield f"  step    Callendar-Van Dusen ({place}) {named}: {_number(value)} degC"
    if step.polynomial:
        place, coefficients = step.polynomial
        value = polynomial(value, coefficients)
        yield f"  step    {_formula(coefficients)} ({place}): {_number(value)}"
    else:
        yield "  step    no calibration is set: identity"
    final, reasons = evaluated(parameter.name, step, raw)
    if quantity(parameter.name) == "WD" and step.polynomial and step.polynomial[1] != IDENTITY:
        yield f"  step    turned into [0, 360): {_number(final)}"
    yield from (f"  refused {reason}" for reason, _ in reasons)


def _result(overlay: Overlay, parameter: Parameter, row: Row, step: Step) -> str:
    if step.sensor and step.sensor.broken:
        return "absent"
    if parameter.text:
        return repr(row.text(step.declaration.field))
    value = evaluated(parameter.name, step, overlay.raw(parameter, row, step.declaration.field))[0]
    return "missing" if np.isnan(value[0]) else f"{_number(value)} {unit(parameter.name)}".rstrip()


def _formula(coefficients: Sequence[float]) -> str:
    powers = ["", " x", *(f" x^{power}" for power in range(2, len(coefficients)))]
    return " + ".join(f"{number!r}{power}" for number, power in zip(coefficients, powers, strict=False))


def _number(value: np.ndarray) -> str:
    return "missing" if np.isnan(value[0]) else repr(float(value[0]))


def _named(row: Row, field: int) -> str:
    name = row.block.header.name(field)
    return f" ({name})" if name else ""


def _covers(line: object, time_ns: int) -> bool:
    start, end = getattr(line, "start", None), getattr(line, "end", None)
    return (start is None or start <= time_ns) and (end is None or time_ns < end)


def _time(time_ns: int) -> str:
    if time_ns < 0:
        return f"{time_ns} ns before 1970"
    return time_text(time_ns, "iso").removesuffix("Z").rstrip("0").rstrip(".") + "Z"
