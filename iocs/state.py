"""What must survive a restart: one versioned JSON file a device, written atomically, held by one process at a time."""

import fcntl
import json
import os
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

FORMAT = 1


class StateError(Exception):
    """State that cannot be used: held by another process, damaged, or of a newer version. The text says what to do."""


class State:
    """The state of one device, open and locked until `close` (or the end of the process, however it ends)."""

    def __init__(self, directory: Path, name: str) -> None:
        self.path = directory / f"{name}.json"
        self._lock = _lock(directory, name)
        self._writer = ThreadPoolExecutor(1, f"state of {name}")
        self._writer.submit(int)  # its thread begins now: whoever begins one waits until it runs
        self._written: Future[None] | None = None  # the last of what `save_later` has begun

    def load(self) -> dict[str, Any]:
        """Give what was saved last, empty if nothing was; waits for what is being written.

        Raises:
            StateError: the file is damaged or of a newer version. Nothing is guessed, as latches may be in it.
        """
        if self._written is not None:
            self._written.exception()
        return _load(self.path)

    def save(self, data: dict[str, Any]) -> None:
        """Replace what was saved. The file is whole at every instant, also across a power cut.

        Raises:
            OSError: it could not be written; the old file is untouched.
        """
        self._write(_text(data))

    def save_later(self, data: dict[str, Any]) -> Future[None]:
        """`save` as it is now, in a thread and in turn, for an event loop: a disk may take its time (fsync).

        Returns:
            Done when it is on the disk; its exception is an OSError, as of `save`.
        """
        self._written = self._writer.submit(self._write, _text(data))
        return self._written

    def _write(self, text: str) -> None:
        fresh = self.path.with_suffix(".json.new")
        with open(fresh, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self.path)
        directory = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def close(self) -> None:
        """Write what is still to be written, and let go of the lock."""
        self._writer.shutdown()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


MOVE_AWAY = "move it away to start without (latches, limits and ENABLE that were set are then forgotten)"


def open_state(directory: Path, name: str) -> State:
    """Open and lock the state of a device (or of the archiver); the folder is made if missing.

    Raises:
        StateError: another process holds it, or the folder cannot be used.
    """
    return State(directory, name)


def peek(directory: Path, name: str) -> dict[str, Any]:
    """Read the state of a device without locking it, for looking only; empty if there is none.

    Raises:
        StateError: as `State.load`.
    """
    return _load(directory / f"{name}.json")


def holder(lock: Path) -> str:
    """Give what the process that holds a lock file has written there (of state: its number); empty where none does."""
    try:
        with open(lock, encoding="utf-8", errors="replace") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return file.read(200).strip() or "unknown"
    except OSError:
        return ""
    return ""


def _text(data: dict[str, Any]) -> str:
    return json.dumps({"format": FORMAT, "data": data}, indent=1, sort_keys=True) + "\n"


def _load(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StateError(f"{path} cannot be read: {error}; {MOVE_AWAY}") from error
    if not isinstance(document, dict) or not isinstance(document.get("format"), int):
        raise StateError(f"{path} is not a state file; {MOVE_AWAY}")
    if document["format"] != FORMAT:
        raise StateError(
            f"{path} has format {document['format']}, this program knows {FORMAT}: "
            f"use the version that wrote it; or {MOVE_AWAY}"
        )
    if not isinstance(document.get("data"), dict):
        raise StateError(f"{path} is not a state file; {MOVE_AWAY}")
    return document["data"]


def _lock(directory: Path, name: str) -> int:
    path = directory / f"{name}.lock"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StateError(f"{path} cannot be made: {error.strerror}; is [site] state_dir writable?") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(handle)
        raise StateError(
            f"{name} is already run by process {holder}, and there can be one owner only; stop that one first ({path})"
        ) from None
    os.ftruncate(handle, 0)
    with suppress(OSError):  # a full disk: the lock is held all the same, only who holds it cannot be told
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return handle
