"""Calibrated rows as CSV (pure): wide, a line a row, or long, a line a value."""

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from ingest.cr1000.columns import Chunk, Column
from ingest.cr1000.text import TEXT, Text

LONG_HEADER = b"time,parameter,value,unit,serial\n"


def header(columns: Sequence[Column], long: bool = False) -> bytes:
    """Write the header line: `time`, then each parameter with its unit, as in `T1 [degC]`."""
    if long:
        return LONG_HEADER
    titles = [f"{column.name} [{column.unit}]" if column.unit else column.name for column in columns]
    return (",".join(["time", *map(quoted, titles)]) + "\n").encode()


def quoted(text: str) -> str:
    """Write a cell; line ends in it become blanks, as a line is a row."""
    if not any(letter in text for letter in ',"\r\n'):
        return text
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([" ".join(text.splitlines())])
    return line.getvalue()


def lines(chunk: Chunk, long: bool = False, text: Text = TEXT) -> bytes:
    """Write rows.

    Wide: a value that is missing, or whose parameter no line covers, is an empty cell. Long: a line for each covered
    parameter, its value empty where it is missing.
    """
    if not len(chunk):
        return b""
    times = text.times(chunk.time_ns)
    cells = [_cells(column, text) for column in chunk.columns]
    if not long:
        return text.encoded(text.lines([text.lines([times, *cells], ",", ""), "\n"], "", ""))
    ordered: list[bytes] = []
    places: list[np.ndarray] = []
    for number, (column, cell) in enumerate(zip(chunk.columns, cells, strict=True)):
        rows = np.flatnonzero(column.covered)
        if len(rows):
            serials = _serials(column, text)
            tail = f",{quoted(column.unit)},"
            whole = text.lines([times, f",{column.name},", cell, tail, serials, "\n"], "", "")
            ordered += text.encoded(text.chosen(whole, column.covered)).splitlines(keepends=True)
            places.append(rows * len(chunk.columns) + number)
    if not places:
        return b""
    return b"".join([ordered[at] for at in np.argsort(np.concatenate(places), kind="stable").tolist()])


def _cells(column: Column, text: Text) -> Any:
    if isinstance(column.values, list):
        known: dict[str, str] = {}
        return text.texts([known[v] if v in known else known.setdefault(v, quoted(v)) for v in column.values])
    return text.numbers(column.values)


def _serials(column: Column, text: Text) -> Any:
    known = [*map(quoted, column.serials), ""]
    return text.coded(column.serial, known)
