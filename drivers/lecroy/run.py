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
import math
import os
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from drivers.errors import ProtocolError
from drivers.lecroy.columns import write_columns
from drivers.lecroy.wavedesc import Buffer, block, read_descriptor

FORMATS = ("trc", "npz")
MOST_EVENTS = 99_999  # five digits, or files would not sort by name
SLOW = 1.0  # s for an event on the disk, after which people are told
_NAME = re.compile(r"[A-Za-z0-9_.+=-]{1,64}")


@dataclass
class Run:
    """One run: where its files are, how far it is. Its methods block: call them in a thread.

    Attributes:
        directory: an existing folder or one that is made.
        name: of the run, without C1, C2 ... in it: the analysis finds channels by these.
        channels: which are kept.
        events: how many are wanted, up to 99,999; 0 = no other limit. seconds: for how long; 0 = no limit.
        format: trc or npz.
        number: given by `begin`: the next one that has no file in the folder.
        done: events that are on disk. left_out: events that were not whole, and are not there.
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
    left_out: int = 0
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
        if self.events < 0 or not 0 <= self.seconds < math.inf:
            raise ValueError("events and seconds cannot be below 0, and have to be numbers")
        if self.events > MOST_EVENTS:
            raise ValueError(f"{self.events} events: a run has {MOST_EVENTS} at most, which sort by name")

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
        return self.done >= (self.events or MOST_EVENTS) or bool(self.seconds and self.elapsed >= self.seconds)

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

    def note(self, text: str) -> bool:
        """Keep a line of what happened for the sidecar; False = it is the line before, at the same event."""
        notes = self._sidecar["notes"]
        if notes and (notes[-1]["event"], notes[-1]["text"]) == (self.done, text):
            return False
        notes.append({"time_ns": time.time_ns(), "event": self.done, "text": text})
        return True

    def leave_out(self, reason: str) -> bool:
        """Count an event that could not be read whole, and note it; as `note`."""
        self.left_out += 1
        return self.note(f"an event was left out: {reason}")

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
                "left_out": self.left_out,
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
            try:
                with open(temporary, "wb") as file:
                    file.write(json.dumps(self._sidecar, indent=1).encode())
                    _sync(file)
                os.replace(temporary, self.sidecar)  # our own, of the beginning
            finally:
                temporary.unlink(missing_ok=True)
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


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Say which settings are others, but for the trigger mode, which a run itself changes; empty when none is."""
    names = sorted({*before, *now} - {"TRMD"})
    return ", ".join(f"{n} {before.get(n)} -> {now.get(n)}" for n in names if before.get(n) != now.get(n))


def _publish(files: Mapping[Path, Buffer]) -> None:
    """Write files under temporary names, sync them, and give all of them their names, or none; never over a file."""
    temporary = {path: path.with_name(path.name + ".new") for path in files}
    named: list[Path] = []
    try:
        for path, data in files.items():
            with open(temporary[path], "wb") as file:
                file.write(data)
                _sync(file)
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


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
