"""What a CSV file of rows says (pure): the header, the rule for times and the rule for values. No files here."""

import csv
import io
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

from iocs.signals import Kind, Signal

TimeFormat = Literal["seconds", "iso", "ns"]
ValueDigits = int | Literal["repr"]

SECOND = 1_000_000_000  # ns


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


class Timer:
    """`time_text` for many times in one form: what is the same for all times of a second is written once."""

    def __init__(self, form: TimeFormat, digits: int) -> None:
        self._form: TimeFormat = form
        self._digits = digits
        self._decimals = digits - 10 if form == "seconds" else -1
        self._unit = 10 ** max(9 - self._decimals, 0)
        self._ticks = 10 ** max(self._decimals, 0)
        self._second = -1
        self._head = ""
        self.text: Callable[[int], str] = str if form == "ns" else self._text

    def _text(self, time_ns: int) -> str:
        second, rest = divmod(time_ns, SECOND)
        if second != self._second:
            if self._form == "iso":
                self._head = _iso_second(second) + "."
            elif len(str(second)) != 10 or not 0 < self._decimals < 9:
                return time_text(time_ns, self._form, self._digits)
            else:
                self._head = f"{second}."
            self._second = second
        if self._form == "iso":
            return f"{self._head}{rest:09d}Z"
        ticks, over = divmod(rest, self._unit)
        if 2 * over > self._unit or (2 * over == self._unit and ticks % 2):
            ticks += 1
            if ticks == self._ticks:
                return time_text(time_ns, self._form, self._digits)
        return f"{self._head}{ticks:0{self._decimals}d}"


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


def header_text(signals: Sequence[Signal]) -> str:
    """Write the header line: `time`, then each signal's name with its unit, as in `VA:MAG (V)`."""
    titles = [
        f"{signal.name} ({' '.join(signal.unit.split())})" if signal.unit.strip() else signal.name for signal in signals
    ]
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(["time", *titles])
    return line.getvalue()


class RowText:
    """Rows of one layout as lines of CSV: UTF-8, a line feed at the end.

    Floats follow `value_text`; integers and enums (by the signal's kind; an enum is its state number) are never cut.
    """

    def __init__(
        self,
        signals: Sequence[Signal],
        time_format: TimeFormat = "seconds",
        time_digits: int = 13,
        value_digits: ValueDigits = 7,
    ) -> None:
        self.header = header_text(signals).encode()
        self._whole = tuple(signal.kind in (Kind.INT, Kind.ENUM) for signal in signals)
        self._time = Timer(time_format, time_digits).text
        self._digits: ValueDigits = value_digits
        cell = "%r" if value_digits == "repr" else f"%.{value_digits}g"
        self._format = ",".join("%.0f" if whole else cell for whole in self._whole)

    @property
    def kinds(self) -> str:
        """Which columns are whole numbers ("1") and which not ("0")."""
        return "".join("1" if whole else "0" for whole in self._whole)

    def encode(self, time_ns: int, values: Sequence[float]) -> bytes:
        """Write one row as a line.

        Args:
            time_ns: ns since 1970, UTC.
            values: a Python float for each signal.

        Raises:
            ValueError: the number of values is not that of the signals, or the time cannot be written.
        """
        if len(values) != len(self._whole):
            raise ValueError(f"{len(values)} values for {len(self._whole)} columns")
        text = self._format % tuple(values)
        if "e" in text or "n" in text:  # an exponent, nan or inf somewhere: these cells are written one by one
            cells = text.split(",")
            for index, cell in enumerate(cells):
                if "e" in cell or "n" in cell:
                    cells[index] = value_text(values[index], self._digits)
            text = ",".join(cells)
        return f"{self._time(time_ns)},{text}\n".encode()
