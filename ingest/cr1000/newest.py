"""The newest row of a station, calibrated by its configuration as it is now: what people see of a table that grows."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ingest.cr1000.blocks import Block
from ingest.cr1000.configuration import load
from ingest.cr1000.missing import CODES
from ingest.cr1000.overlay import Overlay
from ingest.cr1000.tally import Tally


@dataclass(frozen=True, slots=True)
class Variable:
    """One parameter in a row.

    Attributes:
        name: the canonical one, as T1.
        unit: of its values; empty for text.
        description: with what metadata lines add to it.
        text: its values are text.
        value: None where it is missing.
        serial: that of its sensor, empty where none is known; None where no sensor is declared.
    """

    name: str
    unit: str
    description: str
    text: bool
    value: float | str | None
    serial: str | None


@dataclass(frozen=True, slots=True)
class Told:
    """What a look at a station's source gave.

    Attributes:
        time_ns: the newest row's stamp, ns since 1970, UTC; None before the first row.
        interval: seconds from row to row, the most common step; None while it is not known.
        variables: those that the configuration declares for that row.
        rows: since the source was opened, each newer than those before it.
        odd: what was odd since then: rows and cells dropped, repeated, late, lost ...
        note: the most common reason, or the last thing to be told to people.
        faults: in the configuration.
        fault: the first of them, with file, line and field.
        reading: the source is being caught up with; there is no newest row yet to tell of.
        trouble: why the source cannot be read; empty when it can.
    """

    time_ns: int | None = None
    interval: float | None = None
    variables: tuple[Variable, ...] = ()
    rows: int = 0
    odd: int = 0
    note: str = ""
    faults: int = 0
    fault: str = ""
    reading: bool = False
    trouble: str = ""

    def to_json(self) -> str:
        """Write it as one line."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, line: str | bytes) -> "Told":
        """Read what `to_json` wrote."""
        plain: dict[str, Any] = json.loads(line)
        plain["variables"] = tuple(Variable(**each) for each in plain["variables"])
        return cls(**plain)


class Newest:
    """Keeps the newest row of a station and calibrates it.

    Args:
        directory, station, lenient: see `configuration.load`. The files are read again when one of them changes.
        missing: by parameter, the numbers that mean missing, where others than the usual ones do.
    """

    def __init__(
        self,
        directory: Path,
        station: str,
        lenient: bool = False,
        missing: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        self._where = directory, station, lenient
        self._missing = missing or {}
        self._seen = self._fingerprint()
        self._configuration = load(directory, station, lenient=lenient)
        self._block: Block | None = None
        self._interval: float | None = None
        self._variables: tuple[Variable, ...] | None = ()
        self._rows, self._note = 0, ""

    def take(self, block: Block) -> None:
        """Take note of rows; they are calibrated when `told` asks."""
        if not len(block):
            return
        before = None if self._block is None else int(self._block.time_ns[-1])
        newest = int(block.time_ns[-1])
        self._rows += len(block) if before is None else int((block.time_ns > before).sum())
        if before is not None and newest <= before:
            return
        if self._block is not None and (changes := self._block.header.changes(block.header)):
            self._note = f"the header changes: {'; '.join(changes)}"
        times = block.time_ns if before is None or len(block) > 1 else np.array([before, newest])
        steps, often = np.unique(np.diff(times), return_counts=True)
        if len(steps):
            self._interval = float(steps[np.argmax(often)]) / 1e9
        self._block, self._variables = block, None

    def catching_up(self, counts: Counter[str]) -> Told:
        """Tell how far it is."""
        return Told(rows=self._rows, odd=counts.total(), reading=True)

    def told(self, counts: Counter[str], notes: list[str], *, trouble: str = "") -> Told:
        """Give the newest row as the configuration has it now."""
        if self._refresh() or self._variables is None:
            self._variables = () if self._block is None else self._calibrated(self._block)
        faults = self._configuration.findings.faults
        common = [f"{reason}: {number}" for reason, number in counts.most_common(1)]
        return Told(
            None if self._block is None else int(self._block.time_ns[-1]),
            self._interval,
            self._variables,
            self._rows,
            counts.total(),
            (notes[-1:] or [self._note])[0] or (common or [""])[0],
            len(faults),
            str(faults[0]) if faults else "",
            trouble=trouble,
        )

    def _calibrated(self, block: Block) -> tuple[Variable, ...]:
        """Give what the configuration declares for the last row of a block."""
        row, parameters = _LastRow(block), self._configuration.parameters.values()
        columns = Overlay(self._configuration, Tally(), self._missing).columns(row)
        found = []
        for parameter, column in zip(parameters, columns, strict=True):
            line = parameter.declarations.at(int(row.time_ns[0]))
            if line is None:
                continue  # nothing is declared of it now
            value = column.values[0] if column.covered[0] else None
            if isinstance(value, str) or value is None:
                value = value or None
            else:
                value = float(value) if np.isfinite(value) else None
            which = int(column.serial[0])
            serial = None if not line.sensor else column.serials[which] if which >= 0 else ""
            found.append(Variable(column.name, column.unit, column.description, parameter.text, value, serial))
        return tuple(found)

    def _refresh(self) -> bool:
        """Read the configuration again if its files have changed."""
        seen = self._fingerprint()
        if seen == self._seen:
            return False
        directory, station, lenient = self._where
        self._seen, self._configuration = seen, load(directory, station, lenient=lenient)
        return True

    def _fingerprint(self) -> list[tuple[str, int, int]]:
        found = []
        for path in sorted(self._where[0].rglob("*.cfg")):
            try:
                told = path.stat()
            except OSError:  # it has just been replaced: the next look sees what is there then
                continue
            found.append((str(path), told.st_mtime_ns, told.st_size))
        return found


class _LastRow:
    """The last row of a block, as a block of its own."""

    def __init__(self, block: Block) -> None:
        self._block, self.time_ns, self.width = block, block.time_ns[-1:], block.width

    def number(self, field: int, codes: Sequence[float] = CODES) -> np.ndarray:
        return self._block.number(field, codes)[-1:]

    def coded(self, field: int) -> tuple[np.ndarray, list[str]]:
        codes, texts = self._block.coded(field)
        return np.zeros(1, np.intp), [texts[int(codes[-1])]]
