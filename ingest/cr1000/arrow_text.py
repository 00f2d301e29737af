"""Columns to lines of text by pyarrow (pure): the same as `python_text`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from ingest.cr1000.python_text import ISO, iso, letters, rounded
from ingest.cr1000.times import SECOND

compute: Any = pyarrow.compute  # its functions are made when it is loaded


class ArrowText:
    """The same by pyarrow; cells are its arrays of text."""

    def times(self, time_ns: np.ndarray) -> Any:
        """Write times as ISO 8601."""
        if (time_ns % SECOND).any():
            return pa.array(iso(time_ns))
        written = letters(time_ns // SECOND)
        ends = np.arange(len(time_ns) + 1, dtype=np.int32) * len(ISO)
        return pa.Array.from_buffers(pa.string(), len(time_ns), [None, pa.py_buffer(ends), pa.py_buffer(written)])

    def whole(self, numbers: np.ndarray) -> Any:
        """Write whole numbers."""
        return pa.array(numbers).cast(pa.string())

    def numbers(self, values: np.ndarray) -> Any:
        """Write numbers; NaN is none."""
        return pa.array(rounded(values), from_pandas=True).cast(pa.string())

    def texts(self, texts: Sequence[str | None]) -> Any:
        """Take texts as they are."""
        return pa.array(texts, pa.string())

    def lines(self, cells: Sequence[Any], between: str, absent: str | None) -> Any:
        """Join cells, column by column, with something between; a cell that is none is `absent`, or left out."""
        if absent is None:
            return compute.binary_join_element_wise(*cells, between, null_handling="skip")
        return compute.binary_join_element_wise(*cells, between, null_handling="replace", null_replacement=absent)

    def labelled(self, label: str, cells: Any) -> Any:
        """Put a label before each cell that there is."""
        return compute.binary_join_element_wise(label, cells, "", null_handling="emit_null")

    def coded(self, codes: np.ndarray, texts: Sequence[str | None]) -> Any:
        """Give the texts by their numbers, int[n]; -1 is the last."""
        return pa.array(texts, pa.string()).take(pa.array(np.where(codes < 0, len(texts) - 1, codes)))

    def chosen(self, cells: Any, rows: np.ndarray) -> Any:
        """Give those of bool[n]."""
        return cells.filter(pa.array(rows))

    def encoded(self, lines: Any) -> bytes:
        """Give lines as bytes."""
        if not len(lines):
            return b""
        ends = np.frombuffer(lines.buffers()[1], np.int32, len(lines) + 1, lines.offset * 4)
        return lines.buffers()[2][int(ends[0]) : int(ends[-1])].to_pybytes()
