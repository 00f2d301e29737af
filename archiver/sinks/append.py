"""A file that only ever grows by whole lines, and the repair of one whose writer was killed."""

import errno
import os
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
    def size(self) -> int:
        """Bytes of the file."""
        return os.fstat(self._fd).st_size

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

    def append(self, lines: bytes) -> None:
        """Append whole lines by one write.

        Raises:
            OSError: the file does not take them all; nothing of them is in it.
        """
        if self._torn_after is not None:
            self.cut(self._torn_after)
        if self._torn_after is not None:
            raise OSError(errno.EIO, "what a write has torn cannot be cut off", str(self.path))
        before = self.size
        if os.write(self._fd, lines) < len(lines):
            self.cut(before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def cut(self, size: int) -> None:
        """Cut the file back to a size it had; where that fails, before the next append."""
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

    @property
    def open(self) -> bool:
        """Whether it can be appended to."""
        return self._fd >= 0

    def abandon(self) -> None:
        """Close a file that is not in its place any more."""
        fd, self._fd = self._fd, -1
        os.close(fd)

    def close(self) -> None:
        """Sync and close; the descriptor is gone whatever happens.

        Raises:
            OSError: the disk failed.
        """
        try:
            self.sync()
        finally:
            self.abandon()


def sync_folder(folder: Path) -> None:
    """Make a new name outlast a power cut, where the system can say so."""
    if os.name != "posix":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def repair_tail(path: Path, longest_line: int = 1 << 20) -> int:
    """Cut a file after its last newline.

    Returns:
        How many bytes of a torn last line were cut off.

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
        return len(end) - whole
