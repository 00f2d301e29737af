"""The CSV file of a station: written beside its place, and put there whole."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ingest.cr1000 import csv_text
from ingest.cr1000.columns import Chunk
from ingest.cr1000.sorting import Spool


class CsvOutput:
    """Takes rows, in order or not; what comes late is put in its place at the end.

    Args:
        path: the file; None = stdout.
        long: a line a value.
        after: keep what the file has, whose last row has this stamp; None = begin anew.

    Attributes:
        last_ns: the newest stamp.
        replaced: rows in whose place another came.
    """

    def __init__(self, path: Path | None, long: bool = False, after: int | None = None) -> None:
        self.path, self._long, self.last_ns = path, long, after
        self.replaced = 0
        self._late: Spool | None = None
        self._begun = False
        self._fresh = self._new()
        if after is not None and path is not None:
            with path.open("rb") as old:
                shutil.copyfileobj(old, self._fresh, 1 << 20)
            self._begun = True

    def _new(self) -> BinaryIO:
        if self.path is None:
            return tempfile.TemporaryFile()  # type: ignore[return-value]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return open(self._beside, "w+b")

    @property
    def _beside(self) -> Path:
        path = self.path or Path()
        return path.with_name(f".{path.name}.{os.getpid()}.part")

    def take(self, chunk: Chunk, text: bytes | None = None) -> None:
        """Take rows, and what `csv_text.lines` gives of them where it is known.

        Raises:
            OSError: there is no room.
        """
        if not self._begun:
            self._fresh.write(csv_text.header(chunk.columns, self._long))
            self._begun = True
        if not len(chunk):
            return
        if self.last_ns is not None and chunk.time_ns[0] <= self.last_ns:
            if self._late is None:
                self._late = Spool(self.path.parent if self.path else None)
            self._late.add(chunk)
            self.last_ns = max(self.last_ns, int(chunk.time_ns[-1]))
            return
        self._fresh.write(csv_text.lines(chunk, self._long) if text is None else text)
        self.last_ns = int(chunk.time_ns[-1])

    def finish(self) -> None:
        """Put late rows in their place, and the file in its.

        Raises:
            OSError: it cannot be written; the file that was there is untouched.
        """
        if self._late is not None:
            self._merge(self._late)
        if self.path is None:
            self._fresh.seek(0)
            shutil.copyfileobj(self._fresh, sys.stdout.buffer, 1 << 20)
            sys.stdout.buffer.flush()
            self._fresh.close()
            return
        self._fresh.flush()
        os.fsync(self._fresh.fileno())
        self._fresh.close()
        os.replace(self._beside, self.path)

    def abandon(self) -> None:
        """Leave all as it was."""
        self._fresh.close()
        if self._late is not None:
            self._late.close()
        if self.path is not None:
            self._beside.unlink(missing_ok=True)

    def _merge(self, late: Spool) -> None:
        with tempfile.TemporaryFile(dir=self.path.parent if self.path else None) as merged:
            self._fresh.seek(0)
            merged.write(self._fresh.readline())
            for group, again in _merged(self._fresh, _lines(late, self._long)):
                merged.write(group)
                self.replaced += again
            self.replaced += late.replaced
            late.close()
            merged.seek(0)
            self._fresh.seek(0)
            self._fresh.truncate()
            shutil.copyfileobj(merged, self._fresh, 1 << 20)


def _lines(late: Spool, long: bool) -> Iterator[bytes]:
    for chunk in late:
        yield from csv_text.lines(chunk, long).splitlines(keepends=True)


def _groups(lines: Iterator[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Give the lines of each stamp together, after what they sort by: a stamp without its Z sorts as the time does."""
    key, group = b"", b""
    for line in lines:
        new = line[: line.index(b",")].rstrip(b"Z")
        if new != key:
            if group:
                yield key, group
            key, group = new, b""
        group += line
    if group:
        yield key, group


def _merged(main: Iterator[bytes], late: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Merge lines that are in order; where both have a stamp the late ones count. Tells so with each group."""
    ours, theirs = _groups(iter(main)), _groups(late)
    one, other = next(ours, None), next(theirs, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one[0] < other[0]):
            assert one is not None  # noqa: S101
            yield one[1], False
            one = next(ours, None)
        else:
            again = one is not None and one[0] == other[0]
            yield other[1], again
            other = next(theirs, None)
            if again:
                one = next(ours, None)
