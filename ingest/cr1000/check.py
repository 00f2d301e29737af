"""What is allowed and is often a mistake: of a configuration alone, and of a configuration against the data."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from drivers.digits import time_text
from ingest.cr1000.blocks import Block
from ingest.cr1000.columns import Column
from ingest.cr1000.configuration import Configuration, Parameter
from ingest.cr1000.declarations import RTD, WINDS, Declaration
from ingest.cr1000.layers import EVER
from ingest.cr1000.overlay import Overlay, Step
from ingest.cr1000.sensors import SensorLine, SensorType
from ingest.cr1000.tally import Tally

OHM = 7.612  # Rs/R0 at which the equation of IEC 60751 ends; a Pt100 in ohm is far above
LOGGERS = 10  # whose serial numbers are told
SAMPLE = 100_000  # values of a resistance sensor that are looked at


def warnings(configuration: Configuration) -> Iterator[str]:
    """Tell what of a configuration may be a mistake; its faults are told elsewhere."""
    yield from map(str, configuration.findings.warnings)
    shown = {id(line) for each in configuration.parameters.values() for line in each.declarations.values}
    for line in configuration.lines:
        if isinstance(line, Declaration) and line.parameter in configuration.parameters and id(line) not in shown:
            yield f"{line.place}: the line never shows: others of {line.parameter} cover it wholly"
    for parameter in configuration.parameters.values():
        yield from _gaps(parameter)
    for kind in configuration.types.values():
        yield from _transparent(kind)


def _gaps(parameter: Parameter) -> Iterator[str]:
    """Tell of spans without configuration between others."""
    pieces = parameter.declarations
    ends = [*pieces.starts[1:], None]
    covered = [at for at, line in enumerate(pieces.values) if line]
    for at, line in enumerate(pieces.values):
        if line is None and covered and covered[0] < at < covered[-1]:
            yield f"{parameter.name}: no line covers {time(pieces.starts[at])} to {time(ends[at])}"


def _transparent(kind: SensorType) -> Iterator[str]:
    """Tell of lines that leave a part empty, so that what lies below shows through; identity is written 0:1."""
    parts = {name: ("speed calibration", "direction calibration") for name in WINDS}
    parts[RTD] = ("calibration", "Callendar-Van Dusen numbers")
    first, second = parts.get(kind.name, ("calibration", ""))
    for lines in kind.lines.values():
        for line in lines:
            empty = [(3, first)] * (not line.first) + [(4, second)] * (bool(second) and not line.second)
            for number, part in empty:
                yield f"{line.place}:{number}: no {part}: {_below(kind, lines, line)} (0:1 is identity)"


def _below(kind: SensorType, lines: tuple[SensorLine, ...], line: SensorLine) -> str:
    under = lines.index(line) or (lines is not kind.lines.get("default") and "default" in kind.lines)
    return "what lies below shows through" if under else "nothing lies below, so that it is as if the line were absent"


def time(time_ns: int | None) -> str:
    """Write a bound."""
    if time_ns is None or time_ns == EVER:
        return "the end" if time_ns is None else "the beginning"
    return _short(time_ns) if time_ns >= 0 else str(np.datetime64(time_ns, "ns"))


def _short(time_ns: int) -> str:
    return time_text(time_ns, "iso").removesuffix("Z").rstrip("0").rstrip(".") + "Z"


@dataclass
class Against:
    """Looks at the data with the eyes of a configuration.

    Args:
        configuration: the station's.
    """

    configuration: Configuration
    tally: Tally = field(default_factory=Tally)
    _names: dict[tuple[Declaration, int], Counter[str]] = field(default_factory=dict)
    _ratios: dict[Declaration, list[NDArray[np.float64]]] = field(default_factory=dict)
    _present: Counter[str] = field(default_factory=Counter)
    _loggers: dict[str, None] = field(default_factory=dict)
    rows: int = 0

    def look(self, block: Block) -> None:
        """Take note of a block."""
        overlay = Overlay(self.configuration, self.tally)
        self.rows += len(block)
        for parameter in self.configuration.parameters.values():
            for line, _ in parameter.declarations.split(block.time_ns):
                for number in (line.field, line.serial_field) if line else ():
                    if line and number and block.names:
                        self._names.setdefault((line, number), Counter())[block.header.name(number)] += 1
            column = overlay.column(parameter, block)
            self._count(column)
            for step in Overlay(self.configuration, Tally()).steps(parameter, block):
                if step.equation:
                    self._ratio(step, overlay.raw(parameter, block, step.declaration.field)[step.rows])

    def _count(self, column: Column) -> None:
        if isinstance(column.values, list):
            self._present[column.name] += sum(map(bool, column.values))
            if column.name.startswith("LOGGER"):
                self._loggers.update(dict.fromkeys(value for value in column.values if value))
        else:
            self._present[column.name] += int(np.count_nonzero(~np.isnan(column.values)))

    def _ratio(self, step: Step, raw: NDArray[np.float64]) -> None:
        kept = self._ratios.setdefault(step.declaration, [])
        if sum(map(len, kept)) < SAMPLE:
            kept.append(raw[~np.isnan(raw)])

    def warnings(self) -> Iterator[str]:
        """Tell what was seen."""
        for (line, number), names in self._names.items():
            if len(names) > 1:
                said = ", then ".join(map(repr, names))
                yield f"{line.place}: field {number} of {line.parameter} is called {said}: end the line there"
        for line, parts in self._ratios.items():
            yield from _resistance(line, np.concatenate(parts))
        for name in self.configuration.parameters:
            if self.rows and not self._present[name]:
                yield f"{name}: not one value in {self.rows} rows"
        if len(self._loggers) > 1:
            more = f" and {len(self._loggers) - LOGGERS} more" if len(self._loggers) > LOGGERS else ""
            yield f"LOGGER changes: {', '.join([*self._loggers][:LOGGERS])}{more}; are these files of one station?"
        for (name, reason), count in self.tally.counts.items():
            yield f"{name}: {reason}: {count.rows} rows from {time(count.first_ns)} to {time(count.last_ns)}"


def _resistance(line: Declaration, ratios: NDArray[np.float64]) -> Iterator[str]:
    if not len(ratios):
        return
    where = f"{line.place}: field {line.field} of {line.parameter}"
    middle = float(np.median(ratios))
    if middle > OHM:
        yield f"{where} looks like ohm (median {middle:g}), and must be the ratio Rs/R0: divide by R0 in the logger"
    elif len(ratios) >= 10 and np.allclose(ratios * 1000, np.round(ratios * 1000), rtol=0, atol=1e-6):
        yield f"{where} has three decimals at most, a step of 0.26 degC: store the ratio as IEEE4, not as FP2"


def against(configuration: Configuration, blocks: Iterable[Block]) -> Iterator[str]:
    """Tell what of a configuration may be a mistake in the light of the data."""
    seen = Against(configuration)
    for block in blocks:
        seen.look(block)
    yield from seen.warnings()
