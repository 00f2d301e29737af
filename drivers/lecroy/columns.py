"""The events of a run in columns: one .npz that numpy alone reads. `run` says which arrays it has."""

import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from drivers.errors import ProtocolError
from drivers.lecroy.wavedesc import Waveform, decode


def write_columns(target: Path, parts: Mapping[str, Sequence[Path]]) -> None:
    """Put the events in .trc files into the columns of one .npz; one event is in memory at a time.

    Raises:
        ProtocolError: they have not all the same number of points and segments in every channel of an event.
    """
    shapes: dict[str, list[tuple[int, int]]] = {}
    rows: dict[str, list[Any]] = {"event": [], "segment": [], "trigger_ns": [], "dx": []}
    for number, (channel, paths) in enumerate(parts.items()):
        shapes[channel] = []
        for key in ("gain", "offset", "x0"):
            rows[f"{channel}_{key}"] = []
        for event, path in enumerate(paths, 1):
            waveform = decode(path.read_bytes())
            shapes[channel].append((waveform.segments, waveform.points))
            count = waveform.segments
            rows[f"{channel}_gain"] += [waveform.descriptor.vertical_gain] * count
            rows[f"{channel}_offset"] += [waveform.descriptor.vertical_offset] * count
            rows[f"{channel}_x0"] += waveform.trigger_offsets.tolist()
            if number == 0:
                rows["event"] += [event] * count
                rows["segment"] += range(1, count + 1)
                rows["trigger_ns"] += _trigger_ns(waveform)
                rows["dx"] += [waveform.dx] * count
    first = next(iter(shapes.values()))
    points = {each[1] for each in first}
    if len(points) > 1 or any(each != first for each in shapes.values()):
        raise ProtocolError("the events have different numbers of points or segments and do not fit into columns")
    with zipfile.ZipFile(target, "x", allowZip64=True) as archive:
        for name, values in rows.items():
            integers = name in ("event", "segment", "trigger_ns")
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.array(values, np.int64 if integers else np.float64))
        for channel, paths in parts.items():
            shape = (sum(segments for segments, _ in first), *points)
            header = {"descr": "<i2", "fortran_order": False, "shape": shape}
            with archive.open(f"{channel}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array_header_1_0(file, header)
                for path in paths:
                    file.write(np.ascontiguousarray(decode(path.read_bytes()).codes, "<i2").data.cast("B"))
    with open(target, "rb") as file:
        os.fsync(file.fileno())


def _trigger_ns(waveform: Waveform) -> list[int]:
    start = waveform.triggered
    if start is None:
        return [np.iinfo(np.int64).min] * waveform.segments
    first = int(start.astype(np.int64))
    return [
        first + round(after * 1e9) if after == after else np.iinfo(np.int64).min for after in waveform.trigger_times
    ]
