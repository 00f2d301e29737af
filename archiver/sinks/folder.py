"""The folder that one archiver writes to, and no second one."""

import fcntl
import os
import socket
import threading
from pathlib import Path

from archiver.sinks.append import sync_folder

LOCK_NAME = ".archiver.lock"


class FolderTaken(OSError):
    """Another archiver writes to the folder; the text says which."""


class Folder:
    """A folder made when needed and held by a lock in it, which the system frees when the process ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock_fd: int | None = None
        self._claiming = threading.Lock()  # several rows may share the folder, each written in its own thread

    def claim(self) -> None:
        """Make the folder if it is missing and lock it; nothing happens where both is done.

        Raises:
            FolderTaken: another archiver holds it.
            OSError: it cannot be made or locked.
        """
        with self._claiming:
            self._claim()

    def _claim(self) -> None:
        if self._lock_fd is not None:
            if self._in_place(self._lock_fd):
                return
            self.release()  # somebody took the folder away under our feet
        if not self.path.is_dir():
            self.path.mkdir(parents=True, exist_ok=True)
            sync_folder(self.path.parent)
        fd = os.open(self.path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(fd, 200).decode(errors="replace").strip() or "an unknown process"
            os.close(fd)
            raise FolderTaken(f"{self.path} is written by another archiver ({holder}); stop that one first") from error
        except OSError:
            os.close(fd)
            raise
        self._lock_fd = fd
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"pid {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def _in_place(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.stat(self.path / LOCK_NAME), os.fstat(fd))
        except (FileNotFoundError, NotADirectoryError):
            return False

    def release(self) -> None:
        """Let others have the folder."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None
