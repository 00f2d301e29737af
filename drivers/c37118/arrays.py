"""Decoded data frames as numpy arrays: in one `.npz` file, or in memory.

One structured array (its fields: `batch.array_type`) for each PMU of a stream and each of its layouts, under the name
`stream7_pmu7` (the IDCODEs; a further layout is `stream7_pmu7_2`), and beside it its channels' names as an array of
text: `stream7_pmu7_channels` (phasors, analogs, then the 16 bits of each digital word).
"""

import io
import tempfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from drivers.c37118.batch import Batch, array_type
from drivers.c37118.frames import PmuConfiguration
from drivers.c37118.table import named

COPY = 1 << 20


def channels(pmu: PmuConfiguration) -> list[str]:
    """Give the channels' names: phasors, analogs, bits of the digital words."""
    names = [channel.name for channel in (*pmu.phasors, *pmu.analogs)]
    return names + [name for word in pmu.digitals for name in word.names]


class _Names:
    """One name for each PMU and layout."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], str] = {}
        self._used: Counter[str] = Counter()

    def of(self, stream: int, pmu: PmuConfiguration) -> str:
        key = (stream, pmu.idcode, pmu.station, tuple(channels(pmu)), array_type(pmu))
        if key not in self._known:
            name = f"stream{stream}_pmu{pmu.idcode}"
            self._used[name] += 1
            self._known[key] = name if self._used[name] == 1 else f"{name}_{self._used[name]}"
        return self._known[key]


class Arrays:
    """Collects batches in memory.

    Attributes:
        arrays: by name, after `close`.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, NDArray[Any]] = {}
        self._names = _Names()
        self._parts: dict[str, list[NDArray[Any]]] = {}

    def write(self, batch: Batch) -> None:
        """Take a batch."""
        for number, pmu in enumerate(batch.configuration.pmus):
            name = self._names.of(batch.configuration.idcode, pmu)
            self._parts.setdefault(name, []).append(batch.array(number))
            self.arrays[f"{name}_channels"] = np.array(channels(pmu), str)

    def close(self) -> None:
        """Put the parts together."""
        self.arrays |= {name: np.concatenate(parts) for name, parts in self._parts.items()}


class NpzFile:
    """Writes batches to a `.npz` file. What has come lies in unnamed files beside it, so memory does not grow.

    An existing file is replaced, by the whole new one, at `close`.

    Attributes:
        rows: frames, by array name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, int] = {}
        self._names = _Names()
        self._parts: dict[str, tuple[np.dtype, list[str], BinaryIO]] = {}

    def write(self, batch: Batch) -> None:
        """Take a batch.

        Raises:
            OSError: the disk does not take it.
        """
        for number, pmu in enumerate(batch.configuration.pmus):
            name = self._names.of(batch.configuration.idcode, pmu)
            with named(self.path):
                if name not in self._parts:
                    file = tempfile.TemporaryFile(dir=self.path.parent)
                    self._parts[name] = array_type(pmu), channels(pmu), file
                    self.rows[name] = 0
                self._parts[name][2].write(batch.array(number).tobytes())
            self.rows[name] += len(batch)

    def close(self) -> None:
        """Write the file.

        Raises:
            OSError: the disk does not take it; what was there before stays.
        """
        if not self._parts:
            return
        new = self.path.with_name(self.path.name + ".part")
        try:
            with zipfile.ZipFile(new, "w", allowZip64=True) as archive:
                for name, (kind, names, file) in self._parts.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        shape = (self.rows[name],)
                        header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
                        np.lib.format.write_array_header_2_0(member, header)
                        file.seek(0)
                        while block := file.read(COPY):
                            member.write(block)
                    text = io.BytesIO()
                    np.save(text, np.array(names, str))
                    archive.writestr(f"{name}_channels.npy", text.getvalue())
            new.replace(self.path)
        finally:
            new.unlink(missing_ok=True)
            for _, _, file in self._parts.values():
                file.close()
