"""A table that grows while it is read: polled, it gives the blocks that are newly complete."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ingest.cr1000.blocks import Block
from ingest.cr1000.tables import PIECE, Reader

HEAD = 512  # bytes by which a file is known again


class Follow:
    """Follows a file by its name, over a roll (another file gets the name), a truncation and a header written anew.

    What a rolled file still held back is released: nothing is written to it any more. A file that is written anew is
    read from its begin; rows that come again are for the caller to know by their stamps.

    Args:
        path: the file; it may be missing, and come.
        make: gives a reader for each file that has the name.

    Attributes:
        reader: that of the present file.
        rolls: how often another file got the name, or the file was written anew.
        seen: whether the file has ever been there.
    """

    def __init__(self, path: Path, make: Callable[[], Reader]) -> None:
        self.path, self.reader = path, make()
        self.rolls, self.seen = 0, False
        self._make = make
        self._file: BinaryIO | None = None
        self._head = b""
        self._before: Counter[str] = Counter()

    @property
    def counts(self) -> Counter[str]:
        """Reasons of all files so far."""
        return self._before + self.reader.counts

    def poll(self) -> Iterator[Block]:
        """Give what is newly complete, until there is no more; a caller that stops early goes on with the next poll.

        Raises:
            Unreadable: the file is no table.
            OSError: it cannot be read.
        """
        while self._open():
            file = self._file
            assert file is not None  # noqa: S101
            if self._written_anew(file):
                self._next()
                continue
            rolled = self._rolled(file)
            while data := file.read(PIECE):
                self._head += data[: HEAD - len(self._head)]
                yield from self.reader.feed(data)
            if not rolled:
                return
            yield from self.reader.end(final=True)
            self._next()

    def _open(self) -> bool:
        if self._file is None:
            with suppress(FileNotFoundError):
                self._file = self.path.open("rb", buffering=0)
                self.seen = True
        return self._file is not None

    def _rolled(self, file: BinaryIO) -> bool:
        """Tell whether another file has the name; where none has it, the next one is yet to come."""
        try:
            return not os.path.samestat(os.stat(self.path), os.fstat(file.fileno()))
        except FileNotFoundError:
            return False

    def _written_anew(self, file: BinaryIO) -> bool:
        at = file.tell()
        if os.fstat(file.fileno()).st_size < at:
            return True
        file.seek(0)
        head = file.read(len(self._head))
        file.seek(at)
        return head != self._head

    def _next(self) -> None:
        self.close()
        self._before += self.reader.counts
        self.reader, self._head = self._make(), b""
        self.rolls += 1

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
