"""Runs: N events from a scope to files, each event whole or not at all, and nothing ever written over.

An event is the raw block of every channel, on disk before anything is decoded and before the scope is armed again: a
slow disk makes a run slow and loses nothing. Files of a run in a folder:

    C2-NAME-0007-00001.trc     a channel's block of event 1 of run 7, as scopes save it (format trc)
    NAME-0007.npz              all events in columns (format npz), made at the end; until then NAME-0007.part/ has
                               them as .trc files, and keeps them if it could not be made
    NAME-0007.json             settings of the scope and chosen values at start and end, what happened

npz and not HDF5, because numpy alone reads it everywhere. Its arrays, one row a segment, for each channel `C2`: `C2`
(codes, int16), `C2_gain`, `C2_offset` (V: gain x code - offset), `C2_x0` (s from the trigger to the first point); and
`event`, `segment` (from 1), `trigger_ns` (ns since 1970 by the scope's clock), `dx` (s).
"""

import contextlib
import json
import os
import re
import threading
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from drivers.errors import ProtocolError
from drivers.lecroy.wavedesc import Buffer, Waveform, block, decode, read_descriptor

FORMATS = ("trc", "npz")
_NAME = re.compile(r"[A-Za-z0-9_.+=-]{1,64}")


@dataclass
class Run:
    """One run: where its files are, how far it is. Its methods block: call them in a thread.

    Attributes:
        directory: an existing folder or one that is made.
        name: of the run, without C1, C2 ... in it: the analysis finds channels by these.
        channels: which are kept.
        events: how many are wanted; 0 = no limit. seconds: for how long; 0 = no limit.
        format: trc or npz.
        number: given by `begin`: the next one that has no file in the folder.
        done: events that are on disk.
        files: names of the files that are there, in the folder.
    """

    directory: Path
    name: str
    channels: Sequence[str]
    events: int = 0
    seconds: float = 0.0
    format: str = "trc"
    number: int = 0
    done: int = 0
    files: list[str] = field(default_factory=list)
    _sidecar: dict[str, Any] = field(default_factory=dict, repr=False)
    _writing: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _ended: bool = field(default=False, init=False, repr=False)
    _began: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what could not be carried out.

        Raises:
            ValueError: it says what.
        """
        if not _NAME.fullmatch(self.name) or self.name.startswith("."):
            raise ValueError(f"run name {self.name!r}: use up to 64 letters, digits and _ . + = -")
        if re.search(r"C\d", self.name):
            raise ValueError(f"run name {self.name!r}: C and a digit is how an analysis finds the channel of a file")
        if self.format not in FORMATS:
            raise ValueError(f"format {self.format!r}: it may be {', '.join(FORMATS)}")
        if not self.channels or len(set(self.channels)) < len(self.channels):
            raise ValueError(f"channels {list(self.channels)}: at least one, and each once")
        if self.events < 0 or self.seconds < 0:
            raise ValueError("events and seconds cannot be below 0")

    @property
    def title(self) -> str:
        """What all its files have in their names."""
        return f"{self.name}-{self.number:04d}"

    @property
    def sidecar(self) -> Path:
        """The JSON file beside the data."""
        return self.directory / f"{self.title}.json"

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    @property
    def finished(self) -> bool:
        """Whether it has what was wanted."""
        return bool(self.events and self.done >= self.events) or bool(self.seconds and self.elapsed >= self.seconds)

    @property
    def progress(self) -> float:
        """How far it is, 0 to 1; 0 for a run without an end."""
        parts = [self.done / self.events] if self.events else []
        parts += [self.elapsed / self.seconds] if self.seconds else []
        return min(max(parts, default=0.0), 1.0)

    @property
    def remaining(self) -> float | None:
        """Seconds that it will still take at this rate; None = not known."""
        if not 0 < self.progress:
            return None
        return self.elapsed * (1 - self.progress) / self.progress

    def begin(self, settings: Mapping[str, str], values: Mapping[str, Any]) -> None:
        """Take the next number, and write the sidecar.

        Args:
            settings: those of the scope.
            values: what else is to be kept, e.g. readings of HV and gas.

        Raises:
            OSError: the folder cannot be written.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self._began = time.monotonic()
        taken = re.compile(rf"(?:C\d-)?{re.escape(self.name)}-(\d{{4,}})[-.].*")
        used = [int(match[1]) for entry in os.listdir(self.directory) if (match := taken.fullmatch(entry))]
        self.number = max(used, default=0) + 1
        self._sidecar = {
            "run": self.title,
            "channels": list(self.channels),
            "format": self.format,
            "asked": {"events": self.events, "seconds": self.seconds},
            "started_ns": time.time_ns(),
            "start": {"settings": dict(settings), "values": dict(values)},
            "notes": [],
        }
        _publish({self.sidecar: json.dumps(self._sidecar, indent=1).encode()})
        if self.format == "npz":
            self._folder.mkdir()

    def store(self, event: Mapping[str, Buffer]) -> list[str]:
        """Write one event: the reply of each channel to `WF? ALL`. All its files are there, synced, or none.

        `end` waits for it; an event that comes after the end belongs to no run, and nothing is written.

        Raises:
            OSError: the disk refuses; nothing of the event is there, and it can be stored again.
            ProtocolError: a channel's reply is no block, or they are not of one trigger; nothing is written.
        """
        with self._writing:
            if self._ended:
                return []
            blocks = {channel: block(event[channel]) for channel in self.channels}
            same_trigger(blocks)
            folder = self._folder
            files = {
                folder / f"{channel}-{self.title}-{self.done + 1:05d}.trc": data for channel, data in blocks.items()
            }
            _publish(files)
            self.done += 1
            names = [path.name for path in files]
            if self.format == "trc":
                self.files += names
            return names

    def note(self, text: str) -> None:
        """Keep a line of what happened for the sidecar."""
        self._sidecar["notes"].append({"time_ns": time.time_ns(), "event": self.done, "text": text})

    def end(self, why: str, settings: Mapping[str, str], values: Mapping[str, Any]) -> None:
        """Make the columnar file where one is wanted, and complete the sidecar.

        Raises:
            OSError: the disk refuses; what was stored stays.
            ProtocolError: the events do not fit into columns (another number of points); their .trc files stay.
        """
        with self._writing:  # a thread of `store` goes on where who waited for it was stopped
            self._ended = True
            self._sidecar |= {
                "ended_ns": time.time_ns(),
                "ended": why,
                "events": self.done,
                "end": {"settings": dict(settings), "values": dict(values)},
            }
            trouble: OSError | ProtocolError | None = None
            if self.format == "npz":
                try:
                    self._columns()
                except (OSError, ProtocolError) as error:
                    trouble = error
                    self.note(f"no {self.title}.npz: {error}; its events are in {self._folder.name}")
            self._sidecar["files"] = len(self.files)
            temporary = self.sidecar.with_suffix(".json.new")
            with open(temporary, "wb") as file:
                file.write(json.dumps(self._sidecar, indent=1).encode())
                _sync(file.fileno())
            os.replace(temporary, self.sidecar)  # our own, of the beginning
            if trouble:
                raise trouble

    @property
    def _folder(self) -> Path:
        return self.directory / f"{self.title}.part" if self.format == "npz" else self.directory

    def _columns(self) -> None:
        parts = {
            channel: [self._folder / f"{channel}-{self.title}-{n:05d}.trc" for n in range(1, self.done + 1)]
            for channel in self.channels
        }
        target = self.directory / f"{self.title}.npz"
        temporary = target.with_suffix(".npz.new")
        try:
            write_columns(temporary, parts)
            os.link(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        self.files.append(target.name)
        for path in (path for paths in parts.values() for path in paths):
            path.unlink()
        self._folder.rmdir()


def same_trigger(replies: Mapping[str, Buffer]) -> None:
    """Refuse channels that are not of one trigger: the scope went on while they were read.

    Raises:
        ProtocolError: they are not, or a reply is no waveform.
    """
    times = {channel: read_descriptor(reply).trigger_time for channel, reply in replies.items()}
    if len(set(times.values())) > 1:
        raise ProtocolError("the channels are of different triggers: the scope went on while they were read")


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
        _sync(file.fileno())


def _trigger_ns(waveform: Waveform) -> list[int]:
    start = waveform.triggered
    if start is None:
        return [np.iinfo(np.int64).min] * waveform.segments
    first = int(start.astype(np.int64))
    return [
        first + round(after * 1e9) if after == after else np.iinfo(np.int64).min for after in waveform.trigger_times
    ]


def _publish(files: Mapping[Path, Buffer]) -> None:
    """Write files under temporary names, sync them, and give all of them their names, or none; never over a file."""
    temporary = {path: path.with_name(path.name + ".new") for path in files}
    named: list[Path] = []
    try:
        for path, data in files.items():
            with open(temporary[path], "wb") as file:
                file.write(data)
                _sync(file.fileno(), file)
        for path in files:
            os.link(temporary[path], path)
            named.append(path)
    except BaseException:
        for path in named:
            path.unlink()
        raise
    finally:
        for path in temporary.values():
            with contextlib.suppress(OSError):
                path.unlink()
    directory = os.open(next(iter(files)).parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _sync(descriptor: int, file: Any = None) -> None:
    if file is not None:
        file.flush()
    os.fsync(descriptor)
