"""Bytes that come in pieces, cut into blocks of whole lines (pure)."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

_SCAN = 1 << 16
LONGEST = 1 << 20  # bytes of a line; a row of a logger has some thousand at most


class LineBlocks:
    """Cuts at line ends; holds back what follows the last of them, as it may still be being written.

    A line that is longer than LONGEST is dropped and counted: memory is bounded whatever comes.

    Attributes:
        line: number of the line that comes next, the first is 1.
        rest: what is held back.
        taken: bytes that were given out or dropped: where to go on reading.
    """

    def __init__(self, counts: Counter[str]) -> None:
        self.line, self.rest, self.taken = 1, b"", 0
        self._counts = counts
        self._dropping = False

    def feed(self, data: bytes) -> Iterator[tuple[bytes, int]]:
        """Give the whole lines that data completes, with the number of the first of them."""
        if self._dropping:
            end = _first_end(data)
            if not end:
                self.taken += len(data)
                return
            self.taken += end
            self.line += 1
            self._dropping, data = False, data[end:]
        whole = data.rfind(b"\n") + 1 or _last_return(data)
        if whole:
            block, self.rest = b"".join((self.rest, memoryview(data)[:whole])), data[whole:]
            first, self.line = self.line, self.line + ends(block)
            self.taken += len(block)
            yield block, first
        else:
            self.rest += data
        if len(self.rest) > LONGEST:
            self._counts["line too long"] += 1
            self.taken += len(self.rest)
            self.rest, self._dropping = b"", True

    def release(self) -> tuple[bytes, int]:
        """Give what was held back, as a line."""
        block, self.rest = self.rest, b""
        self.taken += len(block)
        return block, self.line


def ends(block: bytes) -> int:
    r"""Count the line ends: `\n`, `\r\n`, and `\r` alone (which are not looked for where there are as many of both)."""
    feeds = count(block, 10)
    returns = count(block, 13) if b"\r" in block else 0
    return feeds if returns in (0, feeds) else feeds + returns - block.count(b"\r\n")


def count(block: bytes, letter: int) -> int:
    """Count a byte; piece by piece, as new memory for a whole block costs more than the counting."""
    data = np.frombuffer(block, np.uint8)
    return sum(int(np.count_nonzero(data[at : at + _SCAN] == letter)) for at in range(0, len(data), _SCAN))


def places(data: np.ndarray, letter: int) -> np.ndarray:
    """Give where a byte is in uint8[n], int[k]; piece by piece as well."""
    found = [np.flatnonzero(data[at : at + _SCAN] == letter) + at for at in range(0, len(data), _SCAN)]
    return np.concatenate(found) if found else np.zeros(0, np.intp)


def _first_end(data: bytes) -> int:
    places = [place for place in (data.find(b"\n"), data.find(b"\r", 0, len(data) - 1)) if place >= 0]
    if not places:
        return 0
    place = min(places)
    return place + 2 if data[place : place + 2] == b"\r\n" else place + 1


def _last_return(data: bytes) -> int:
    r"""Give the place behind the last `\r`; one at the very end does not count, as its `\n` may follow."""
    return data.rfind(b"\r", 0, len(data) - 1) + 1
