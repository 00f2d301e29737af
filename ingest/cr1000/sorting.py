"""Rows that came out of order, put in order with bounded memory: they wait in a file that has no name."""

import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ingest.cr1000.columns import Chunk, joined


class Spool:
    """Holds chunks, and gives them in order of time; of rows with one stamp the one that came last.

    Only chunks that overlap are in memory together.

    Args:
        folder: where there is room; the file in it goes with the process, however it ends.

    Attributes:
        replaced: rows whose stamp another row has that came later.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)
        self._index: list[tuple[int, int, int]] = []  # first stamp, number, place
        self.replaced = 0

    def __len__(self) -> int:
        return len(self._index)

    def add(self, chunk: Chunk) -> None:
        """Take a chunk, whose rows are in order.

        Raises:
            OSError: there is no room.
        """
        if len(chunk):
            place = self._file.seek(0, 2)
            pickle.dump(chunk, self._file, pickle.HIGHEST_PROTOCOL)
            self._index.append((int(chunk.time_ns[0]), len(self._index), place))

    def __iter__(self) -> Iterator[Chunk]:
        index = sorted(self._index)
        rest: tuple[Chunk, np.ndarray] | None = None
        for at, (_, number, place) in enumerate(index):
            self._file.seek(place)
            chunk = pickle.load(self._file)  # a file of our own that nobody else can open
            rest = self._merged(rest, chunk, number)
            until = index[at + 1][0] if at + 1 < len(index) else None
            whole = len(rest[0]) if until is None else int(np.searchsorted(rest[0].time_ns, until))
            if whole:
                yield rest[0].take(slice(0, whole))
            rest = rest[0].take(slice(whole, None)), rest[1][whole:]

    def _merged(self, rest: tuple[Chunk, np.ndarray] | None, chunk: Chunk, number: int) -> tuple[Chunk, np.ndarray]:
        numbers = np.full(len(chunk), number)
        if rest is None or not len(rest[0]):
            return chunk, numbers
        both, numbers = joined([rest[0], chunk]), np.concatenate([rest[1], numbers])
        order = np.lexsort((numbers, both.time_ns))
        times = both.time_ns[order]
        newest = np.append(times[1:] != times[:-1], True)
        self.replaced += int(np.count_nonzero(~newest))
        return both.take(order[newest]), numbers[order[newest]]

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
