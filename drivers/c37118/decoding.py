"""Recordings -> CSV files or numpy arrays: what `python -m drivers.c37118 decode` does, as calls.

from drivers.c37118.decoding import convert, read

convert("stream.raw", csv="out.csv", npz="out.npz")
arrays = read("stream.raw")
arrays["stream7_pmu7"]["time_ns"], arrays["stream7_pmu7"]["phasors"], arrays["stream7_pmu7_channels"]
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from drivers.c37118.arrays import Arrays, NpzFile
from drivers.c37118.batch import Batch
from drivers.c37118.capture import Captured, Recording, Run
from drivers.c37118.table import Table

FRAMES = 4096  # decoded at a time
BYTES = 1 << 20
WAITING = 1 << 25  # bytes of frames that wait for more of their stream


class Sink(Protocol):
    """Where decoded frames go."""

    def write(self, batch: Batch) -> None:
        """Take a batch."""
        ...

    def close(self) -> None:
        """Finish."""
        ...


class Batches:
    """Gathers the runs of a recording, stream by stream, and hands them on decoded, many frames at a time.

    The order of the frames of one stream is kept.
    """

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks
        self._waiting: dict[tuple[str, int], tuple[Run, int]] = {}  # with the bytes of its frames
        self._bytes = 0

    def add(self, run: Run) -> None:
        """Take frames."""
        key = run.sender, run.idcode
        size = sum(map(len, run.frames))
        known, before = self._waiting.get(key, (None, 0))
        if known is not None and known.configuration is not run.configuration:
            self._hand_on(key)
            known, before = None, 0
        if known is None:
            known = Run(*run[:3], [])
        known.frames.extend(run.frames)
        self._waiting[key] = known, before + size
        self._bytes += size
        if len(known.frames) >= FRAMES or before + size >= BYTES:
            self._hand_on(key)
        elif self._bytes >= WAITING:
            self.flush()

    def flush(self) -> None:
        """Hand on what waits."""
        for key in list(self._waiting):
            self._hand_on(key)

    def _hand_on(self, key: tuple[str, int]) -> None:
        run, size = self._waiting.pop(key)
        self._bytes -= size
        for at in range(0, len(run.frames), FRAMES):
            batch = Batch(run.frames[at : at + FRAMES], run.configuration, checked=True)
            for sink in self._sinks:
                sink.write(batch)


def pour(
    recording: Recording,
    sinks: Sequence[Sink],
    on_other: Callable[[Captured], None] = lambda _: None,
    on_progress: Callable[[], None] = lambda: None,
) -> None:
    """Read a recording through, its data frames into the sinks.

    Args:
        recording: to be read.
        sinks: may be none.
        on_other: is given each frame that is no data, and each data frame that could not be decoded.
        on_progress: is called now and then.

    Raises:
        OSError, RecordingError: the recording cannot be read, or a sink not written.
    """
    batches = Batches(sinks)
    for found in recording.runs():
        on_progress()
        if isinstance(found, Captured):
            on_other(found)
        elif sinks:
            batches.add(found)
    batches.flush()


def convert(path: str | Path, *, csv: str | Path | None = None, npz: str | Path | None = None) -> Recording:
    """Write the data frames of a recording (raw, pcap, pcapng) as CSV files, a `.npz` file, or both.

    Returns:
        The recording, with its counts: frames that could not be decoded are in `senders[...].undecoded`.

    Raises:
        OSError, RecordingError: it cannot be read, or a file not written.
    """
    sinks = [Table(Path(csv))] if csv else []
    sinks += [NpzFile(Path(npz))] if npz else []
    recording = Recording(Path(path))
    try:
        pour(recording, sinks)
    finally:
        for sink in sinks:
            sink.close()
    return recording


def read(path: str | Path) -> dict[str, NDArray[Any]]:
    """Give the data frames of a recording (raw, pcap, pcapng) as arrays: see `arrays`.

    Raises:
        OSError, RecordingError: it cannot be read.
    """
    arrays = Arrays()
    pour(Recording(Path(path)), [arrays])
    arrays.close()
    return arrays.arrays
