"""What a CSV file of rows says (pure): the header, the times and the values. No files here.

How times and values are written is `drivers.digits`: recordings that are decoded are written by the same rule.
"""

import csv
import io
from collections.abc import Sequence

from drivers.digits import SECOND, Lines, TimeFormat, ValueDigits, time_text, value_text
from iocs.signals import Kind, Signal

__all__ = ["SECOND", "RowText", "TimeFormat", "ValueDigits", "header_text", "time_text", "value_text"]


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

    def same_columns(self, other: "RowText") -> bool:
        """Whether rows of both may lie in one file."""
        return self.header == other.header and self._lines.whole == other._lines.whole

    def encode(self, time_ns: int, values: Sequence[float]) -> bytes:
        """Write one row as a line.

        Args:
            time_ns: ns since 1970, UTC.
            values: a Python float for each signal.

        Raises:
            ValueError: the number of values is not that of the signals, or the time cannot be written.
        """
        return self._lines.line(time_ns, values).encode()
