"""A regular block of lines, its cells converted a column at a time by numpy alone (pure)."""

import numpy as np

from ingest.cr1000 import missing, stamps
from ingest.cr1000.lines import count, places
from ingest.cr1000.quoting import split

_LONGEST = 15  # digits and point of a number that is read here: so many digits a float64 holds
_WIDEST = 16
_POWERS = 10.0 ** np.arange(_WIDEST)
_GAPS = np.concatenate(([0.0], 9 * _POWERS[:-1]))  # what the place of the point adds to what is above it
_QUOTE, _COMMA, _FEED, _RETURN, _MINUS, _DOT = 34, 44, 10, 13, 45, 46


class Irregular(ValueError):
    """The lines are not all of one form; they go one by one."""


class NumpyCells:
    """The cells of lines that all have the same number of fields.

    Args:
        block: whole lines.
        width: fields that each line must have; 0 = as the first.

    Raises:
        Irregular: a line has another number of fields, or quotes that do not just enclose a cell without a comma.
    """

    def __init__(self, block: bytes, width: int = 0) -> None:
        data = self._data = np.frombuffer(block, np.uint8)
        places = np.flatnonzero((data == _COMMA) | (data == _FEED))
        lines = count(block, _FEED)
        self.count, self.width = lines, len(places) // lines if lines else 0
        grid = places.reshape(lines, self.width) if lines and len(places) == lines * self.width else None
        if grid is None or not (data[grid[:, -1]] == _FEED).all() or (width and self.width != width):
            raise Irregular("lines have different numbers of fields")
        self._ends = grid
        self._starts = np.concatenate(([0], places[:-1] + 1)).reshape(grid.shape)
        self._check_quotes(places)
        returned = data[np.maximum(grid[:, -1] - 1, 0)] == _RETURN
        if np.count_nonzero(returned) != (count(block, _RETURN) if b"\r" in block else 0):
            raise Irregular("a line ends without a line feed")
        self._line_ends = grid[:, -1] - returned

    def _check_quotes(self, places: np.ndarray) -> None:
        opening, closing = quotes(self._data)
        if (np.searchsorted(places, opening) != np.searchsorted(places, closing)).any():
            raise Irregular("a comma in quotes")

    def _place(self, column: int) -> tuple[np.ndarray, np.ndarray]:
        """Give where the cells of a column lie, without quotes."""
        starts = self._starts[:, column]
        ends = self._line_ends if column == self.width - 1 else self._ends[:, column]
        quoted = self._data[starts] == _QUOTE
        return (starts + quoted, ends - quoted) if quoted.any() else (starts, ends)

    def time_ns(self, column: int) -> np.ndarray:
        """Read a column of stamps, int64[n].

        Raises:
            Irregular: one of them is none, or 24:00.
        """
        found = stamps.stamps(self._data, *self._place(column))
        if found is None:
            raise Irregular("a stamp is none")
        return found

    def number(self, column: int) -> tuple[np.ndarray, int]:
        """Read a column of numbers.

        Returns:
            float64[n], NaN for what is none, each the nearest to what is written; how many cells are neither a number
            nor a word for none.
        """
        starts, ends = self._place(column)
        values, odd = decimals(self._data, starts, ends)
        wrong = 0
        data, cells = self._data, zip(odd.tolist(), starts[odd].tolist(), ends[odd].tolist(), strict=True)
        for row, start, end in cells:
            values[row], good = missing.number(data[start:end].tobytes().decode("latin-1"))
            wrong += not good
        return values, wrong

    def coded(self, column: int) -> tuple[np.ndarray, list[str]]:
        """Read a column of texts: int[n], numbers of the texts; the different texts."""
        starts, ends = self._place(column)
        width = int((ends - starts).max(initial=0))
        if not width:
            return np.zeros(self.count, np.intp), [""]
        if width > 256:
            return coded([self._data[a:b].tobytes() for a, b in zip(starts.tolist(), ends.tolist(), strict=True)])
        places = starts[:, None] + np.arange(width)
        letters = self._data[np.minimum(places, len(self._data) - 1)]
        letters[places >= ends[:, None]] = 0
        if (letters == letters[0]).all():
            return np.zeros(self.count, np.intp), [decoded(letters[0].tobytes().rstrip(b"\0"))]
        texts, codes = np.unique(np.ascontiguousarray(letters).view(f"S{width}").ravel(), return_inverse=True)
        return codes, [decoded(text) for text in texts.tolist()]


def quotes(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give where quotes open and close, int[k] each.

    Args:
        data: uint8, the bytes of whole lines.

    Raises:
        Irregular: they do not just enclose cells.
    """
    found = places(data, _QUOTE)
    opening, closing = found[0::2], found[1::2]
    if len(opening) != len(closing):
        raise Irregular("a quote is not closed")
    before = data.take(opening - 1, mode="clip")
    after = data.take(closing + 1)  # a block ends with a line feed
    begins = (before == _COMMA) | (before == _FEED) | (opening == 0)
    ends = (after == _COMMA) | (after == _RETURN) | (after == _FEED)
    if not (begins.all() and ends.all()):
        raise Irregular("quotes do not enclose a cell")
    return opening, closing


def decoded(text: bytes) -> str:
    """Decode a cell: UTF-8, else Latin-1, which takes everything."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def coded(cells: list[bytes]) -> tuple[np.ndarray, list[str]]:
    """Number the different cells of a column in the order in which they come."""
    known: dict[bytes, int] = {}
    codes = np.array([known.setdefault(cell, len(known)) for cell in cells], np.intp)
    return codes, [decoded(cell) for cell in known]


def fields(line: bytes) -> list[str]:
    """Split one line as `quoting` says."""
    return split(decoded(line.rstrip(b"\r\n")))[0]


def decimals(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Read plain decimal numbers, `-12.5` or `.427`: 15 digits over a power of ten below 10^23 divide exactly
    rounded (W. D. Clinger, "How to Read Floating Point Numbers Accurately", 1990), so this is what `float` gives.

    Args:
        data: uint8, the bytes.
        starts: int[n], where each begins.
        ends: int[n], where it ends.

    Returns:
        float64[n], and the rows that hold something else, int[k].
    """
    widths = ends - starts
    odd = (widths < 1) | (widths > _WIDEST) | (ends < _WIDEST)
    negative = data.take(starts, mode="clip") == _MINUS
    odd |= widths - negative > _LONGEST
    lengths = np.where(odd, 0, widths - negative).astype(np.uint8)
    span = 8 if lengths.max(initial=0) <= 8 else _WIDEST
    letters = np.empty((span, len(starts)), np.uint8)  # one below the other, the last letter in the last line
    for line in range(span):
        data.take(ends - (span - line), mode="clip", out=letters[line])
    behind = np.arange(span, 0, -1, dtype=np.uint8)[:, None]  # places from the end, the last is 1
    inside = behind <= lengths
    digits = letters - np.uint8(48)
    digit = (digits <= 9) & inside
    dot = (letters == _DOT) & inside
    count = np.add.reduce(digit, axis=0, dtype=np.uint8)
    dots = np.add.reduce(dot, axis=0, dtype=np.uint8)
    odd |= (count + dots != lengths) | (count < 1) | (dots > 1)
    digits *= digit
    pairs = digits[0::2] * np.uint8(10) + digits[1::2]
    fours = pairs[0::2] * np.uint16(100) + pairs[1::2]
    eights = fours[0::2] * np.uint32(10_000) + fours[1::2]
    whole = eights[0].astype(float)
    if span > 8:
        whole = whole * 1e8 + eights[1]
    place = np.add.reduce(dot * behind, axis=0, dtype=np.uint8)  # of the point: one more than there are decimals
    place[odd] = 0
    above = np.floor(whole / _POWERS[place])  # the point stands as a 0, so that this is never near the next number
    values = (whole - above * _GAPS[place]) / _POWERS[np.maximum(place, 1) - 1]
    np.negative(values, out=values, where=negative)
    return values, np.flatnonzero(odd)
