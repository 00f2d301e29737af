"""A block of lines read strictly, by pyarrow where it is installed, else by numpy."""

from functools import lru_cache
from typing import Any, Literal

import numpy as np

from ingest.cr1000 import missing
from ingest.cr1000.numpy_cells import Irregular, NumpyCells, coded, fields
from ingest.cr1000.rows import Layout
from ingest.cr1000.stamps import array_stamps

try:
    from ingest.cr1000 import arrow_cells
except ImportError:  # an extra
    arrow_cells = None

Engine = Literal["pyarrow", "numpy", "rows"]
ENGINE: Engine = "numpy" if arrow_cells is None else "pyarrow"


class RegularCells:
    """The cells of a block whose lines are all of one form: as many fields in each, a stamp in each.

    Args:
        block: whole lines.
        first_line: number of the first.
        layout: where the stamp and the record number are.
        plan: what the blocks before were asked for, of pyarrow.

    Raises:
        Irregular: the lines are not; `RowCells` takes what there is to take.
    """

    def __init__(self, block: bytes, first_line: int, layout: Layout, plan: Any = None) -> None:
        if b"\0" in block:
            raise Irregular("NUL bytes")
        self._block = block
        width = len(fields(block[: block.find(b"\n")]))
        if layout.width and width == layout.width + 1 and b",\n" in block.replace(b",\r\n", b",\n"):
            if block.count(b",\n") + block.count(b",\r\n") < block.count(b"\n"):
                raise Irregular("not every line ends with a comma")
        elif layout.width and width != layout.width:
            raise Irregular("another number of fields")
        self.width = layout.width or width
        if plan is None:
            self._cells: Any = NumpyCells(block, width)
        else:
            assert arrow_cells is not None  # noqa: S101
            self._cells = arrow_cells.ArrowCells(block, plan, width)
        self.count: int = self._cells.count
        self.lines = np.arange(first_line, first_line + self.count)
        self.time_ns = self._times(layout)
        self._starts: np.ndarray | None = None

    def _times(self, layout: Layout) -> np.ndarray:
        if max(layout.time) >= self.width:
            raise Irregular("rows have no column for the stamp")
        if len(layout.time) == 1:
            return self._cells.time_ns(layout.time[0])
        year, day, clock = (self.number(column)[0] for column in layout.time)
        found = array_stamps(year, day, clock)
        if found is None:
            raise Irregular("a stamp is none, or 2400")
        return found

    def number(self, column: int) -> tuple[np.ndarray, int]:
        """Give float64[n] and how many cells are neither a number nor a word for none."""
        try:
            return self._cells.number(column)
        except Irregular:
            codes, texts = self.coded(column)
        read = [missing.number(text) for text in texts]
        wrong = np.array([not good for _, good in read])
        return np.array([value for value, _ in read])[codes], int(wrong[codes].sum())

    def coded(self, column: int) -> tuple[np.ndarray, list[str]]:
        """Give int[n], numbers of texts, and the texts."""
        try:
            return self._cells.coded(column)
        except Irregular:
            rows = (fields(self.line(row)) for row in range(self.count))
            return coded([cells[column].encode() if column < len(cells) else b"" for cells in rows])

    def line(self, row: int) -> bytes:
        """Give the bytes of a row."""
        if row == self.count - 1:  # asked for of every block
            return self._block[self._block.rfind(b"\n", 0, -1) + 1 :]
        starts = self._starts
        if starts is None:
            feeds = np.flatnonzero(np.frombuffer(self._block, np.uint8) == 10)
            starts = self._starts = np.concatenate(([0], feeds + 1))
        return self._block[starts[row] : starts[row + 1]]


def plan_for(layout: Layout, names: tuple[str, ...], engine: Engine) -> Any:
    """Give the plan for the blocks of a header, the same one for all files that have it; None where numpy reads them.

    Raises:
        LookupError: pyarrow is asked for, and not installed.
    """
    if engine != "pyarrow":
        return None
    if arrow_cells is None:
        raise LookupError("pyarrow is not installed: pip install 'countinghouse[cr1000]', or leave the engine to numpy")
    return _plan(layout, names)


@lru_cache(64)
def _plan(layout: Layout, _: tuple[str, ...]) -> Any:
    assert arrow_cells is not None  # noqa: S101
    return arrow_cells.Plan(layout)
