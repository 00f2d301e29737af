"""Decoded data frames as CSV: a row a frame, a file for each PMU of a stream and each of its layouts (sets of columns).

The first one goes to the file named, others beside it: out.csv, out-2.csv, out-3.csv ...

Columns: `time`, `stream` and `pmu` (IDCODEs), `station`, `stat` and `tq` (raw), `freq (Hz)`, `rocof (Hz/s)`, each
phasor's `NAME:MAG (V)` or `(A)` and `NAME:ANG (deg)`, the analogs (`(raw)`: counts of the integer format), the digital
words `DIG1` ... Times and values are written as the archive writes them (`drivers.digits`), NaN is an empty cell.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from drivers.c37118.batch import Batch
from drivers.c37118.frames import PmuConfiguration
from drivers.digits import Lines, TimeFormat, ValueDigits

HEAD = ("time", "stream", "pmu", "station", "stat", "tq", "freq (Hz)", "rocof (Hz/s)")


def columns(pmu: PmuConfiguration) -> tuple[str, ...]:
    """Give the header of a PMU's rows; a name that comes again gets its number behind it (`VA_2`)."""
    names: list[str] = [*HEAD]
    seen = Counter(names)

    def own(name: str) -> str:
        seen[name] += 1
        return name if seen[name] == 1 else f"{name}_{seen[name]}"

    for number, phasor in enumerate(pmu.phasors, 1):
        name = own(phasor.name or f"PH{number}")
        names += f"{name}:MAG ({'A' if phasor.current else 'V'})", f"{name}:ANG (deg)"
    for number, analog in enumerate(pmu.analogs, 1):
        name = own(analog.name or f"AN{number}")
        names.append(name if pmu.analogs_float else f"{name} (raw)")
    names += [own(f"DIG{number}") for number in range(1, len(pmu.digitals) + 1)]
    return tuple(names)


def values(batch: Batch, pmu: int) -> NDArray[np.float64]:
    """Give the numbers of the rows of one PMU, (frames, columns), in the order of `columns` from `stat` on."""
    magnitude, angle = batch.polar(pmu)
    phasors = np.stack((magnitude, np.degrees(angle)), axis=2).reshape(len(batch), -1)
    first = (batch.stat(pmu), batch.tq, *batch.frequency(pmu))
    return np.column_stack((*first, phasors, batch.analogs(pmu), batch.digitals(pmu))).astype("f8", copy=False)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Let an error of the disk say which file it is of: the kernel knows that only where one is opened."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


class Table:
    """Writes batches of data frames to `path` and, for further PMUs and layouts, to files beside it.

    Existing files are replaced.

    Args:
        path: the first file.
        time_format, time_digits, value_digits: as for the archive, see `drivers.digits`.

    Attributes:
        rows: rows written, by file.
    """

    def __init__(
        self,
        path: Path,
        time_format: TimeFormat = "seconds",
        time_digits: int = 13,
        value_digits: ValueDigits = 7,
    ) -> None:
        self.path = path
        self.rows: dict[Path, int] = {}
        self._rules: tuple[TimeFormat, int, ValueDigits] = time_format, time_digits, value_digits
        self._files: dict[tuple[object, ...], tuple[Path, BinaryIO]] = {}

    def write(self, batch: Batch) -> None:
        """Write one row for each PMU of each frame.

        Raises:
            OSError: a file cannot be written.
        """
        for number, pmu in enumerate(batch.configuration.pmus):
            titles = columns(pmu)
            path, file = self._file(batch.configuration.idcode, pmu, titles)
            whole = [
                index < 2 or index >= 4 + 2 * len(pmu.phasors) + len(pmu.analogs) for index in range(len(titles) - 4)
            ]
            lines = Lines(whole, *self._rules)
            constant = _csv((batch.configuration.idcode, pmu.idcode, pmu.station)).rstrip("\n") + ","
            with named(path):
                file.write(lines.lines(batch.time_ns, values(batch, number), constant).encode())
            self.rows[path] += len(batch)

    def close(self) -> None:
        """Close the files."""
        for path, file in self._files.values():
            with named(path):
                file.close()

    def _file(self, stream: int, pmu: PmuConfiguration, titles: tuple[str, ...]) -> tuple[Path, BinaryIO]:
        key = (stream, pmu.idcode, pmu.station, titles)
        if key not in self._files:
            number = len(self._files) + 1
            path = self.path if number == 1 else self.path.with_stem(f"{self.path.stem}-{number}")
            file = path.open("wb")
            self._files[key] = path, file
            self.rows[path] = 0
            file.write(_csv(titles).encode())
        return self._files[key]


def _csv(cells: tuple[object, ...]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()
