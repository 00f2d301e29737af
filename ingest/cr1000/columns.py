"""Rows that are calibrated, as columns: what outputs take (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(slots=True)
class Column:
    """A parameter's values for some rows.

    Attributes:
        name: the canonical one, as T1.
        unit: empty for text.
        values: float64[n], NaN = missing; of a text parameter list[str], "" = missing.
        covered: bool[n], whether a line declares the parameter for the row; where none does it is absent.
        serials: the different serial numbers.
        serial: int32[n], which of them each row's sensor has; -1 where it has none, or none is known.
    """

    name: str
    unit: str
    values: Any
    covered: NDArray[np.bool_]
    serials: list[str]
    serial: NDArray[np.int32]


@dataclass(slots=True)
class Chunk:
    """Rows in order of time, each stamp once.

    Attributes:
        time_ns: int64[n], UTC.
        columns: one for each parameter, the same ones in every chunk.
    """

    time_ns: np.ndarray
    columns: Sequence[Column]

    def __len__(self) -> int:
        return len(self.time_ns)

    def take(self, rows: np.ndarray | slice) -> "Chunk":
        """Give some of the rows."""
        return Chunk(self.time_ns[rows], [_taken(column, rows) for column in self.columns])


@dataclass(frozen=True, slots=True)
class Texts:
    """What the outputs write of some rows, where somebody else has formatted it already; None = nobody has."""

    csv: bytes | None = None
    influx: bytes | None = None


NO_TEXTS = Texts()


def _taken(column: Column, rows: np.ndarray | slice) -> Column:
    values = column.values
    if isinstance(values, list):
        values = values[rows] if isinstance(rows, slice) else [values[row] for row in rows.tolist()]
    else:
        values = values[rows]
    return Column(column.name, column.unit, values, column.covered[rows], column.serials, column.serial[rows])


def joined(chunks: Sequence[Chunk]) -> Chunk:
    """Give the rows of several chunks one behind the other."""
    if len(chunks) == 1:
        return chunks[0]
    columns = []
    for parts in zip(*(chunk.columns for chunk in chunks), strict=True):
        serials: dict[str, int] = {}
        numbers = []
        for part in parts:
            places = [serials.setdefault(text, len(serials)) for text in part.serials]
            numbers.append(np.array([*places, -1], np.int32)[part.serial])
        values = (
            [text for part in parts for text in part.values]
            if isinstance(parts[0].values, list)
            else np.concatenate([part.values for part in parts])
        )
        covered = np.concatenate([part.covered for part in parts])
        columns.append(Column(parts[0].name, parts[0].unit, values, covered, list(serials), np.concatenate(numbers)))
    return Chunk(np.concatenate([chunk.time_ns for chunk in chunks]), columns)
