"""Columns to lines of text (pure).

A number is written with the fewest digits that read back as it is, after it was rounded to 9 decimals: no sensor of a
met station tells more, and the noise of binary fractions (20.552500000000002) is no measurement.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ingest.cr1000.times import SECOND

DECIMALS = 9
_ROUNDED = 1e6  # below it a float64 has 9 decimals to round to
ISO = "0000-00-00T00:00:00Z"


def rounded(values: np.ndarray) -> np.ndarray:
    """Round float64[n] to 9 decimals, where a float64 has so many."""
    small = np.abs(values) < _ROUNDED
    near = np.round(np.where(small, values, 0.0), DECIMALS) + 0.0  # no -0
    return near if small.all() else np.where(small, near, values)


def iso(time_ns: np.ndarray) -> list[str]:
    """Write times, int64[n], as `2016-09-01T19:18:01Z`; a fraction of a second is as long as it must be."""
    seconds = time_ns // SECOND
    fractions = (time_ns - seconds * SECOND).tolist()
    whole = letters(seconds).view("S20").ravel().tolist()
    return [
        f"{text[:-1].decode()}.{f'{fraction:09d}'.rstrip('0')}Z" if fraction else text.decode()
        for text, fraction in zip(whole, fractions, strict=True)
    ]


def letters(seconds: np.ndarray) -> np.ndarray:
    """Write whole seconds since 1970 as uint8[n, 20]."""
    days, clock = np.divmod(seconds, 86400)
    dates = days.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    month = months.astype(np.int64)
    parts = {
        0: month // 12 + 1970,
        5: month % 12 + 1,
        8: (dates - months).astype(np.int64) + 1,
        11: clock // 3600,
        14: clock // 60 % 60,
        17: clock % 60,
    }
    letters = np.tile(np.frombuffer(ISO.encode(), np.uint8), (len(seconds), 1))
    for place, number in parts.items():
        width = 2 if place else 4
        for digit in range(width):
            letters[:, place + digit] += (number // 10 ** (width - 1 - digit) % 10).astype(np.uint8)
    return letters


class PythonText:
    """Cells of columns as lists of text, None where there is none."""

    def times(self, time_ns: np.ndarray) -> Any:
        """Write times as ISO 8601."""
        return iso(time_ns)

    def whole(self, numbers: np.ndarray) -> Any:
        """Write whole numbers."""
        return list(map(str, numbers.tolist()))

    def numbers(self, values: np.ndarray) -> Any:
        """Write numbers; NaN is none."""
        return [None if value != value else repr(value).removesuffix(".0") for value in rounded(values).tolist()]

    def texts(self, texts: Sequence[str | None]) -> Any:
        """Take texts as they are."""
        return texts

    def lines(self, cells: Sequence[Any], between: str, absent: str | None) -> Any:
        """Join cells, column by column, with something between; a cell that is none is `absent`, or left out."""
        columns = [[text] * _count(cells) if isinstance(text, str) else text for text in cells]
        rows = zip(*columns, strict=True)
        if absent is None:
            return [between.join([cell for cell in row if cell is not None]) for row in rows]
        return [between.join([absent if cell is None else cell for cell in row]) for row in rows]

    def labelled(self, label: str, cells: Any) -> Any:
        """Put a label before each cell that there is."""
        return [None if cell is None else label + cell for cell in cells]

    def coded(self, codes: np.ndarray, texts: Sequence[str | None]) -> Any:
        """Give the texts by their numbers, int[n]; -1 is the last."""
        return [texts[code] for code in codes.tolist()]

    def chosen(self, cells: Any, rows: np.ndarray) -> Any:
        """Give those of bool[n]."""
        return [cell for cell, good in zip(cells, rows.tolist(), strict=True) if good]

    def encoded(self, lines: Any) -> bytes:
        """Give lines as bytes."""
        return "".join(lines).encode()


def _count(cells: Sequence[Any]) -> int:
    return next(len(column) for column in cells if not isinstance(column, str))
