"""Decoded data frames as CSV: one row per frame and PMU, one file per layout (set of columns).

The first layout goes to the file named, others beside it: out.csv, out-2.csv, out-3.csv ...

Columns: `time` (seconds since 1970, 9 decimals, from integer ns), `stream` and `pmu` (IDCODEs), `station`, `stat` and
`tq` (raw), `freq (Hz)`, `rocof (Hz/s)`, each phasor's `NAME:MAG (V)` or `(A)` and `NAME:ANG (deg)`, the analogs
(`(raw)`: counts of the integer format), the digital words `DIG1` ... Floats are exact (the shortest digits that read
back equal; it is the archive that rounds), NaN is an empty cell.
"""

import csv
import math
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from drivers.c37118.frames import Configuration, DataFrame, PmuConfiguration, PmuData


def columns(pmu: PmuConfiguration) -> tuple[str, ...]:
    """Give the header of a PMU's rows; a name that comes again gets its number behind it (`VA_2`)."""
    names = ["time", "stream", "pmu", "station", "stat", "tq", "freq (Hz)", "rocof (Hz/s)"]
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


def row(frame: DataFrame, pmu: PmuConfiguration, data: PmuData) -> list[str | int]:
    """Give the cells of one PMU's part of a frame, in the order of `columns`."""
    second, ns = divmod(frame.time_ns, 10**9)
    cells: list[str | int] = [f"{second}.{ns:09d}", frame.idcode, pmu.idcode, pmu.station, data.stat, frame.tq.raw]
    values = [data.freq, data.rocof]
    for phasor in data.phasors:
        values += phasor.magnitude, math.degrees(phasor.angle)
    values += data.analogs
    cells += ["" if math.isnan(value) else repr(value) for value in values]
    cells += data.digitals
    return cells


class Table:
    """Writes data frames to `path` and, for further layouts, to files beside it. Existing files are replaced.

    Attributes:
        rows: rows written, by file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[Path, int] = {}
        self._files: dict[tuple[str, ...], tuple[Path, TextIO, Any]] = {}
        self._configuration: Configuration | None = None
        self._current: list[tuple[Path, Any]] = []  # file and writer of each PMU of that configuration

    def write(self, frame: DataFrame, configuration: Configuration) -> None:
        """Write one row for each PMU of a frame.

        Raises:
            OSError: the file cannot be written.
        """
        if configuration is not self._configuration:
            self._configuration, self._current = configuration, [self._file(pmu) for pmu in configuration.pmus]
        for pmu, data, (path, writer) in zip(configuration.pmus, frame.pmus, self._current, strict=True):
            writer.writerow(row(frame, pmu, data))
            self.rows[path] += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, file, _ in self._files.values():
            file.close()

    def _file(self, pmu: PmuConfiguration) -> tuple[Path, Any]:
        layout = columns(pmu)
        if layout not in self._files:
            number = len(self._files) + 1
            path = self.path if number == 1 else self.path.with_stem(f"{self.path.stem}-{number}")
            file = path.open("w", encoding="utf-8", newline="")
            writer = csv.writer(file, lineterminator="\n")
            self._files[layout] = path, file, writer
            self.rows[path] = 0
            writer.writerow(layout)
        path, _, writer = self._files[layout]
        return path, writer
