"""Configurations and rows of a CR1000 for tests."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ingest.cr1000.times import moment


def write(folder: Path, files: dict[str, str]) -> Path:
    """Write configuration files, by their names inside the folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


class Rows:
    """A block of rows, each a list of cells; the first is the time stamp."""

    def __init__(self, rows: Sequence[Sequence[str]]) -> None:
        self.time_ns = np.array([moment(row[0]) for row in rows], np.int64)
        self.width = max(map(len, rows), default=0)
        self._rows = rows

    def _cells(self, field: int) -> list[str]:
        return [row[field - 1] if field <= len(row) else "" for row in self._rows]

    def number(self, field: int, codes: Sequence[float] = (7999.0, -7999.0, -99999.0)) -> np.ndarray:
        return np.array([number(cell, codes) for cell in self._cells(field)], float)

    def coded(self, field: int) -> tuple[np.ndarray, list[str]]:
        known: dict[str, int] = {}
        codes = [known.setdefault(cell, len(known)) for cell in self._cells(field)]
        return np.array(codes, np.intp), list(known)


def number(cell: str, codes: Sequence[float]) -> float:
    try:
        value = float(cell)
    except ValueError:
        return math.nan
    return math.nan if value in codes or math.isinf(value) else value
