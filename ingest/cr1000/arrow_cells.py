"""A regular block of lines, its cells converted by pyarrow: all columns that were asked for so far in one go."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc

from ingest.cr1000 import missing
from ingest.cr1000.lines import count
from ingest.cr1000.numpy_cells import Irregular, fields, quotes
from ingest.cr1000.rows import Layout
from ingest.cr1000.stamps import stamp
from ingest.cr1000.times import SECOND

HOUR, _COLON = 3600 * SECOND, 58
_TIME, _NUMBER = pa.timestamp("ns"), pa.float64()
_TEXT = pa.dictionary(pa.int32(), pa.string())


class Plan:
    """What was asked of the blocks before: the next one has it converted at once."""

    def __init__(self, layout: Layout) -> None:
        kind = _NUMBER if len(layout.time) > 1 else _TIME
        self.types: dict[int, Any] = dict.fromkeys(layout.time, kind)
        if layout.record >= 0:
            self.types[layout.record] = _NUMBER
        self._options: dict[int, tuple[pc.ReadOptions, pc.ConvertOptions]] = {}

    def ask(self, column: int, kind: Any) -> None:
        """Take note of a column."""
        if column not in self.types:
            self.types[column] = kind
            self._options.clear()

    def options(self, width: int) -> tuple[pc.ReadOptions, pc.ConvertOptions]:
        """Give the options for lines with so many fields."""
        if width not in self._options:
            types = {column: kind for column, kind in self.types.items() if column < width}
            self._options[width] = _options(width, types)
        return self._options[width]


def _options(width: int, types: dict[int, Any]) -> tuple[pc.ReadOptions, pc.ConvertOptions]:
    names = [str(column) for column in range(width)]
    reading = pc.ReadOptions(column_names=names, use_threads=False, block_size=1 << 30)
    converting = pc.ConvertOptions(
        column_types={str(column): kind for column, kind in types.items()},
        include_columns=[str(column) for column in types],
        null_values=list(missing.UNPARSED),
    )
    return reading, converting


class ArrowCells:
    """The cells of lines that all have the same number of fields.

    Args:
        block: whole lines.
        plan: what blocks of this table were asked for.
        width: fields that each line must have.

    Raises:
        Irregular: the lines are not all of that form.
    """

    def __init__(self, block: bytes, plan: Plan, width: int) -> None:
        self._block, self._plan, self.width = block, plan, width
        self.count = count(block, 10)
        self._columns: dict[int, Any] = {}
        if b"\r" in block and count(block, 13) != self.count:  # in quotes it would be taken for text
            raise Irregular("a line ends without a line feed")
        quotes(np.frombuffer(block, np.uint8))  # pyarrow reads "1.5"7 as 1.57
        try:
            self._read(*plan.options(width))
        except pa.ArrowInvalid:  # a cell that is no number, or lines of another form
            self._read(*_options(width, {0: pa.string()}))

    def _read(self, reading: pc.ReadOptions, converting: pc.ConvertOptions) -> None:
        try:
            table = pc.read_csv(pa.py_buffer(self._block), read_options=reading, convert_options=converting)
        except pa.ArrowInvalid as error:
            if converting.include_columns == ["0"]:
                raise Irregular(str(error)) from None
            raise
        if table.num_rows != self.count:
            raise Irregular("a quote, or a line without a line feed")
        for name, column in zip(table.column_names, table.columns, strict=True):
            self._columns[int(name)] = column.combine_chunks()

    def _column(self, column: int, kind: Any) -> Any:
        """Give a column of a type; None where it cannot be read as that."""
        self._plan.ask(column, kind)
        found = self._columns.get(column)
        if found is None or found.type != kind:
            try:
                self._read(*_options(self.width, {column: kind}))
            except (pa.ArrowInvalid, Irregular):
                return None
            found = self._columns[column]
        return found

    def time_ns(self, column: int) -> np.ndarray:
        """Read a column of stamps, int64[n].

        Raises:
            Irregular: one of them is none, or 24:00.
        """
        found = self._column(column, _TIME)
        if found is None or found.null_count:
            raise Irregular("a stamp is none")
        times = _array(found, np.int64)
        if count(self._block, _COLON) != 2 * self.count:  # `2016-09-01 19` is no stamp, and pyarrow takes it
            whole = np.flatnonzero(times % HOUR == 0)
            lines = self._block.split(b"\n") if len(whole) else []
            if any(stamp(fields(lines[row])[column]) is None for row in whole.tolist()):
                raise Irregular("a stamp is none")
        return times

    def number(self, column: int) -> tuple[np.ndarray, int]:
        """Read a column of numbers: float64[n], NaN for what is none; and how many cells are neither.

        Raises:
            Irregular: there are such cells.
        """
        found = self._column(column, _NUMBER)
        if found is None:
            raise Irregular("a cell is no number")
        return _array(found.fill_null(np.nan) if found.null_count else found, np.float64), 0

    def coded(self, column: int) -> tuple[np.ndarray, list[str]]:
        """Read a column of texts: int[n], numbers of the texts; the different texts.

        Raises:
            Irregular: a text has quotes that only the reader of lines can tell.
        """
        found = self._column(column, _TEXT)
        if found is None:
            raise Irregular("a text is not UTF-8")
        texts = found.dictionary.to_pylist()
        if any('"' in text for text in texts):
            raise Irregular("a text has quotes in it")
        return _array(found.indices, np.int32), texts


def _array(values: Any, kind: type) -> np.ndarray:
    """Give a column without nulls as numpy has it; `to_numpy` would load pandas, where that is installed."""
    return np.frombuffer(values.buffers()[1], kind, len(values), values.offset * np.dtype(kind).itemsize)
