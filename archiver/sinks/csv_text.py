"""What a CSV file of rows says (pure): the header, the times and the values. No files here.

How times and values are written is `drivers.digits`: recordings that are decoded are written by the same rule.
"""

import csv
import io
from collections.abc import Callable, Sequence

from drivers.digits import SECOND, Lines, TimeFormat, ValueDigits, time_text, value_text
from iocs.signals import Kind, Signal

__all__ = ["SECOND", "RowText", "TimeFormat", "Timer", "ValueDigits", "header_text", "time_text", "value_text"]


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
        whole = [signal.kind in (Kind.INT, Kind.ENUM) for signal in signals]
        self._lines = Lines(whole, time_format, time_digits, value_digits)

    @property
    def kinds(self) -> str:
        """Which columns are whole numbers ("1") and which not ("0")."""
        return "".join("1" if whole else "0" for whole in self._lines.whole)

    def encode(self, time_ns: int, values: Sequence[float]) -> bytes:
        """Write one row as a line.

        Args:
            time_ns: ns since 1970, UTC.
            values: a Python float for each signal.

        Raises:
            ValueError: the number of values is not that of the signals, or the time cannot be written.
        """
        return self._lines.line(time_ns, values).encode()


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
                self._head = time_text(second * SECOND, "iso").removesuffix("000000000Z")
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
