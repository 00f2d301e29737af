"""How a time and a value are written in a text file (pure): one rule for archived rows and for recordings.

`Lines` writes rows; `lines` many of them at once from numpy arrays, digit for digit as `line` does one after the other.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

TimeFormat = Literal["seconds", "iso", "ns"]
ValueDigits = int | Literal["repr"]

SECOND = 1_000_000_000  # ns
BLOCK = 1000  # rows formatted in one go


def time_text(time_ns: int, form: TimeFormat = "seconds", digits: int = 13) -> str:
    """Write a time, from integer nanoseconds and never through a float.

    Args:
        time_ns: ns since 1970, UTC, at least 0.
        form: "seconds" (UTC seconds, rounded to nearest, ties to even), "iso" (`2026-01-31T12:00:00.123456789Z`), or
            "ns" (the integer).
        digits: significant figures of "seconds": 13 is milliseconds, 19 nanoseconds, in this age.

    Raises:
        ValueError: "iso" cannot write a time after the year 9999.
    """
    if form == "ns":
        return str(time_ns)
    second, rest = divmod(time_ns, SECOND)
    if form == "iso":
        return f"{_iso_second(second)}.{rest:09d}Z"
    decimals = min(max(digits - len(str(second)), 0), 9)
    unit = 10 ** (9 - decimals)
    ticks, rest = divmod(time_ns, unit)
    if 2 * rest > unit or (2 * rest == unit and ticks % 2):
        ticks += 1
    if not decimals:
        return str(ticks)
    text = str(ticks).zfill(decimals + 1)
    return f"{text[:-decimals]}.{text[-decimals:]}"


@lru_cache(maxsize=8)
def _iso_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def value_text(value: float, digits: ValueDigits = 7) -> str:
    """Write a float without an exponent; NaN is empty, infinity `inf`.

    Args:
        value: the float.
        digits: this many significant digits or zero decimals, whichever is more precise, rounded to nearest (a tie in
            binary goes to even), zeros at the end dropped; or "repr": the shortest that reads back as the same float.
    """
    if value != value:
        return ""
    text = repr(value) if digits == "repr" else f"{value:.{digits}g}"
    if "e" not in text:
        return text
    if digits != "repr" and "e+" in text:
        return f"{value:.0f}"
    return _positional(text)


def _positional(text: str) -> str:
    """Write out a number in exponent form: -1.5e-07 becomes -0.00000015, digit for digit."""
    mantissa, _, exponent = text.partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits, point = whole + fraction, len(whole) + int(exponent)
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    return f"{sign}{digits[:point].ljust(point, '0')}{'.' + digits[point:] if digits[point:] else ''}"


class Lines:
    """Rows of numbers as lines of text: the time, then the values, a line feed at the end.

    Args:
        whole: for each value whether it is an integer (or an enum's state number), which is never cut.
        time_format, time_digits, value_digits: see `time_text` and `value_text`.
    """

    def __init__(
        self,
        whole: Sequence[bool],
        time_format: TimeFormat = "seconds",
        time_digits: int = 13,
        value_digits: ValueDigits = 7,
    ) -> None:
        self.whole = tuple(whole)
        self._time_format: TimeFormat = time_format
        self._time_digits = time_digits
        self._digits: ValueDigits = value_digits
        self._cell = "%r" if value_digits == "repr" else f"%.{value_digits}g"
        self._format = ",".join("%.0f" if whole else self._cell for whole in self.whole)

    def line(self, time_ns: int, values: Sequence[float]) -> str:
        """Write one row.

        Args:
            time_ns: ns since 1970, UTC.
            values: a Python float for each column.

        Raises:
            ValueError: the number of values is not that of the columns, or the time cannot be written.
        """
        if len(values) != len(self.whole):
            raise ValueError(f"{len(values)} values for {len(self.whole)} columns")
        text = self._format % tuple(values)
        if "e" in text or "n" in text:  # an exponent, nan or inf somewhere: these cells are written one by one
            cells = text.split(",")
            for index, cell in enumerate(cells):
                if "e" in cell or "n" in cell:
                    cells[index] = value_text(values[index], self._digits)
            text = ",".join(cells)
        return f"{time_text(time_ns, self._time_format, self._time_digits)},{text}\n"

    def lines(self, times_ns: NDArray[np.int64], values: NDArray[np.float64], constant: str = "") -> str:
        """Write many rows.

        Args:
            times_ns: (rows,) ns since 1970, UTC.
            values: (rows, columns).
            constant: cells that are the same in every row and stand behind the time, as written in the file, with the
                comma after them.

        Raises:
            ValueError: the number of columns is another, or a time cannot be written.
        """
        if values.shape != (len(times_ns), len(self.whole)):
            raise ValueError(f"{values.shape} values for {len(times_ns)} rows of {len(self.whole)} columns")
        parts = [
            self._block(times_ns[at : at + BLOCK], values[at : at + BLOCK], constant)
            for at in range(0, len(times_ns), BLOCK)
        ]
        return "".join(parts)

    def _block(self, times_ns: NDArray[np.int64], values: NDArray[np.float64], constant: str) -> str:
        """Write rows in one go, then those anew in which a cell has another form than the rest of its column.

        %g writes an exponent, and zeros for digits cut, where the rule wants zero decimals; and it writes `nan`.
        """
        size = np.abs(values)
        absent, tiny = np.isnan(values), (size < 1e-4) & (size > 0)
        large = size >= (1e16 if self._digits == "repr" else 10.0**self._digits - 0.5)
        empty, huge = np.all(absent, axis=0), np.all(large, axis=0) & (self._digits != "repr")
        whole = np.array(self.whole, bool)
        odd = np.any((absent & ~empty) | ((tiny | (large & ~huge)) & ~whole), axis=1)
        formats = ["%.0s" if no else "%.0f" if cut else self._cell for no, cut in zip(empty, huge | whole, strict=True)]
        text = "\n".join([",".join(formats)] * len(values)) % tuple(values.ravel().tolist())
        times = self._times(times_ns)
        rows = [f"{time},{constant}{cells}\n" for time, cells in zip(times, text.split("\n"), strict=True)]
        for index in np.flatnonzero(odd).tolist():
            cells = self.line(int(times_ns[index]), values[index].tolist()).partition(",")[2]
            rows[index] = f"{times[index]},{constant}{cells}"
        return "".join(rows)

    def _times(self, times_ns: NDArray[np.int64]) -> list[str]:
        if self._time_format != "seconds" or times_ns[0] < SECOND:
            return [time_text(time_ns, self._time_format, self._time_digits) for time_ns in times_ns.tolist()]
        seconds = times_ns // SECOND
        places = len(str(int(seconds[0])))
        if len(str(int(seconds.min()))) != places or len(str(int(seconds.max()))) != places:
            return [time_text(time_ns, self._time_format, self._time_digits) for time_ns in times_ns.tolist()]
        decimals = min(max(self._time_digits - places, 0), 9)
        unit = 10 ** (9 - decimals)
        ticks, rest = np.divmod(times_ns, unit)
        ticks += (2 * rest > unit) | ((2 * rest == unit) & (ticks % 2 == 1))
        if not decimals:
            return list(map(str, ticks.tolist()))
        whole, part = np.divmod(ticks, 10**decimals)
        text = (f"%d.%0{decimals}d\n" * len(ticks)) % tuple(np.column_stack((whole, part)).ravel().tolist())
        return text.split("\n")[:-1]
