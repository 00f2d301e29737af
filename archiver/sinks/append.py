"""A file that only ever grows by whole lines, and the repair of one whose writer was killed."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


class AppendFile:
    """A new file, open for appending whole lines without a buffer: a killed process tears nothing that was written."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd
        self._torn_after: int | None = None  # size to cut back to, when cutting failed
        self._named = False  # whether the disk has the name too

    @classmethod
    def create(cls, folder: Path, stem: str, suffix: str) -> Self:
        """Create `stem` + `suffix` in the folder, or `stem-1`, `stem-2` ... where that name is taken: never overwrites.

        Raises:
            OSError: the folder does not allow it.
        """
        number = 0
        while True:
            path = folder / f"{stem}{f'-{number}' if number else ''}{suffix}"
            try:
                fd = os.open(path, _FLAGS, 0o666)
            except FileExistsError:
                number += 1
                continue
            return cls(path, fd)

    @property
    def empty(self) -> bool:
        """Whether nothing is in the file yet."""
        return os.fstat(self._fd).st_size == 0

    def in_place(self) -> bool:
        """Whether the name still leads to this file: somebody may have removed or moved it, or its folder.

        Raises:
            OSError: nobody can tell at this moment.
        """
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._fd))
        except (FileNotFoundError, NotADirectoryError):
            return False

    def append(self, lines: bytes) -> int:
        """Append whole lines by one write.

        Returns:
            How many bytes the file took. Where they are fewer than given (no room), they are whole lines too.

        Raises:
            OSError: nothing was written.
        """
        if self._torn_after is not None:
            self._cut(self._torn_after)
        before = os.fstat(self._fd).st_size
        taken = os.write(self._fd, lines)
        if taken < len(lines):
            taken = lines.rfind(b"\n", 0, taken) + 1
            self._cut(before + taken)
        return taken

    def _cut(self, size: int) -> None:
        self._torn_after = size
        try:
            os.ftruncate(self._fd, size)
        except OSError:
            return  # tried again before the next write
        self._torn_after = None

    def sync(self) -> None:
        """Wait until the disk has what was written, and the name of the file.

        Raises:
            OSError: the disk failed.
        """
        os.fsync(self._fd)
        if not self._named:
            sync_folder(self.path.parent)
            self._named = True

    def abandon(self) -> None:
        """Close a file that is not in its place any more."""
        os.close(self._fd)

    def close(self) -> None:
        """Sync and close; the descriptor is gone whatever happens.

        Raises:
            OSError: the disk failed.
        """
        try:
            self.sync()
        finally:
            os.close(self._fd)


def sync_folder(folder: Path) -> None:
    """Make a new name outlast a power cut, where the system can say so."""
    if os.name != "posix":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a file after repair.

    Attributes:
        cut: bytes of a torn last line that were cut off.
        last_line: the last whole line with its newline, empty where there is none.
    """

    cut: int
    last_line: bytes


def repair_tail(path: Path, longest_line: int = 1 << 20) -> Tail:
    """Cut a file after its last newline.

    Raises:
        OSError: it cannot be read or cut.
    """
    with path.open("r+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - longest_line)
        file.seek(start)
        end = file.read(size - start)
        whole = end.rfind(b"\n") + 1
        if whole < len(end):
            file.truncate(start + whole)
            os.fsync(file.fileno())
        return Tail(len(end) - whole, end[end.rfind(b"\n", 0, max(whole - 1, 0)) + 1 : whole])
