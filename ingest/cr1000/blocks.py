"""A block: some thousand rows of a table, of which only the columns that are asked for are converted."""

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ingest.cr1000 import missing
from ingest.cr1000.header import Header


class Cells(Protocol):
    """The cells of a block's lines, by column from 0."""

    count: int
    width: int

    def number(self, column: int) -> tuple[np.ndarray, int]:
        """Give float64[n] and how many cells are neither a number nor a word for none."""
        ...

    def coded(self, column: int) -> tuple[np.ndarray, list[str]]:
        """Give int[n], numbers of texts, and the texts."""
        ...


class Block:
    """Rows of one header, in order of time, each stamp once.

    Attributes:
        source: the file, or what else the rows are from.
        header: what the table says of itself.
        time_ns: int64[n], UTC, the logger's stamp.
        lines: int64[n], the number of each row's line in the file, the first is 1; of a binary table, of its row.
        width: fields of a row.
        counts: what was dropped or noted so far in the table, per reason; shared by all blocks of the table.
        clock: bool[n], rows before which the logger's clock was put back; None where there are none.
    """

    def __init__(
        self,
        source: str,
        header: Header,
        cells: Cells,
        time_ns: np.ndarray,
        lines: np.ndarray,
        counts: Counter[str],
        rows: np.ndarray | None = None,
        clock: np.ndarray | None = None,
    ) -> None:
        self.source, self.header, self.counts = source, header, counts
        self._cells, self._rows = cells, rows
        self.time_ns, self.lines = self._chosen(time_ns), self._chosen(lines)
        self.clock = None if clock is None else self._chosen(clock)
        self.width = cells.width
        self._numbers: dict[int, np.ndarray] = {}
        self._texts: dict[int, tuple[np.ndarray, list[str]]] = {}

    def __len__(self) -> int:
        return len(self.time_ns)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, the first is field 1; empty where no header tells."""
        return self.header.names

    def _chosen(self, values: np.ndarray) -> np.ndarray:
        return values if self._rows is None else values[self._rows]

    def number(self, field: int, codes: Sequence[float] = missing.CODES) -> np.ndarray:
        """Give a column as numbers.

        Args:
            field: counted from 1, the time stamp included; one that the rows do not have is missing.
            codes: numbers that mean missing; empty for raw counts, of which any may be true.

        Returns:
            float64[n], NaN = missing; not to be written to.
        """
        if not 0 < field <= self.width:
            return np.full(len(self), np.nan)
        if field not in self._numbers:
            values, wrong = self._cells.number(field - 1)
            if wrong:
                self.counts[f"no number in field {field}"] += wrong
            self._numbers[field] = self._chosen(values)
        return missing.without_codes(self._numbers[field], codes)

    def coded(self, field: int) -> tuple[np.ndarray, list[str]]:
        """Give a column as int[n], numbers of its different texts, and these texts, quotes decoded, nothing trimmed."""
        if not 0 < field <= self.width:
            return np.zeros(len(self), np.intp), [""]
        if field not in self._texts:
            codes, texts = self._cells.coded(field - 1)
            self._texts[field] = self._chosen(codes), texts
        return self._texts[field]

    def text(self, field: int) -> list[str]:
        """Give a column as texts; empty ones for a field that the rows do not have."""
        codes, texts = self.coded(field)
        return [texts[code] for code in codes.tolist()]
