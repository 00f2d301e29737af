"""The put log: who asked which PV for what, when, and what came of it, as JSON lines.

    {"time":"2026-11-20T19:34:14.123456789Z","peer":"127.0.0.1:40112","user":"anna","pv":"LAB:HV:CH0:VSET",
     "old":1500.0,"new":1600.0,"accepted":true,"reason":"","readback":1600.0}        (one line in the file)

`readback` is what the box confirmed of a put that was carried out. What a device writes unasked has
`"by":"interlock GAS"` in place of peer and user. `{"time":...,"lost":3}` stands where lines are missing. Lines are
written by a thread of their own, so that no disk, however full or slow, delays a put. Several processes may write to
one file.
"""

import collections
import fcntl
import json
import logging
import math
import os
import stat
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from iocs.ca import NS

log = logging.getLogger(__name__)

MOST_TEXT = 200  # characters of a value's text in a line
MOST_REASON = 1000
MOST_ELEMENTS = 20  # elements of an array in a line
MOST_LINE = 1 << 16  # bytes; more than any line has
RETRY = 1.0  # s between attempts at a disk that refuses


class PutLog:
    """Writes the put log from `start` to `stop`.

    Attributes:
        path: the file; older ones are PATH.1, PATH.2 ...
        dropped: lines lost for good, since the start.
        error: why the file cannot be written at present, empty when it can.
    """

    def __init__(self, path: Path, *, most_bytes: int = 10_000_000, keep: int = 10, most_waiting: int = 1000) -> None:
        """`most_bytes`: size at which a new file is begun; `keep`: older files; `most_waiting`: lines in memory."""
        self.path = path
        self.dropped = 0
        self.error = ""
        self._file = _RotatingFile(path, most_bytes, keep)
        self._waiting: collections.deque[dict[str, Any]] = collections.deque()
        self._most_waiting = most_waiting
        self._told_lost = 0
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._write_all, name="put log", daemon=True)

    def note(
        self,
        time_ns: int,
        peer: str,
        user: str,
        pv: str,
        old: Any,
        new: Any,
        accepted: bool,
        reason: str,
        *,
        by: str = "",
        readback: Any = None,
    ) -> None:
        """Note one put; never waits, never raises for the disk's sake. From the event loop's thread.

        Args:
            time_ns: when, ns since 1970.
            peer: the client's "address:port".
            user: the user name that the client claims.
            pv: name of the PV.
            old: its value before.
            new: what was asked; enum states as their labels.
            accepted: whether it was carried out.
            reason: why it was refused, else empty.
            by: what in the server wrote unasked ("interlock GAS"); peer and user are then left out.
            readback: what the box has confirmed; None where it was not asked, or refused.
        """
        line = {
            "time": time_ns,
            **({"by": by} if by else {"peer": peer, "user": user[:MOST_TEXT]}),
            "pv": pv,
            "old": plain(old),
            "new": plain(new),
            "accepted": accepted,
            "reason": reason[:MOST_REASON],
            **({} if readback is None else {"readback": plain(readback)}),
        }
        if len(self._waiting) >= self._most_waiting:
            self._drop(1, "too many lines wait for the disk")
            return
        self._waiting.append(line)
        self._news.set()

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self, timeout: float = 2.0) -> None:
        """Write what waits; lines that a disk does not take within `timeout` seconds are lost and counted."""
        self._stopping.set()
        self._news.set()
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._drop(len(self._waiting), "the disk does not answer")

    def _drop(self, lines: int, why: str) -> None:
        if lines and not self.dropped:
            log.error("lines of the put log are lost: %s (%s); the PV PUTLOG_DROPPED counts them", why, self.path)
        self.dropped += lines

    # In the thread

    def _write_all(self) -> None:
        while True:
            self._news.wait()
            self._news.clear()
            while count := len(self._waiting):
                batch = [self._waiting[number] for number in range(count)]
                lost = self.dropped
                if lost > self._told_lost:
                    batch.append({"time": time.time_ns(), "lost": lost - self._told_lost})
                try:
                    self._file.write(b"".join(_line(entry) for entry in batch))
                except OSError as error:
                    self._tell(f"{self.path}: {error.strerror}")
                    if self._stopping.wait(RETRY):
                        break
                    continue
                self._told_lost = lost
                for _ in range(count):
                    self._waiting.popleft()
                self._tell("")
            if self._stopping.is_set():
                self._drop(len(self._waiting), self.error)
                self._file.close()
                return

    def _tell(self, error: str) -> None:
        if error and error != self.error:
            log.error("the put log cannot be written, puts go on without it: %s", error)
        if self.error and not error:
            log.info("the put log is written again")
        self.error = error


class _RotatingFile:
    """Lines appended to a file that begins anew at a size; whole lines at every instant, for several processes."""

    def __init__(self, path: Path, most_bytes: int, keep: int) -> None:
        self._path = path
        self._most_bytes = most_bytes
        self._keep = keep
        self._handle = -1

    def write(self, lines: bytes) -> None:
        """Append lines; on an error nothing of them stays in the file.

        Raises:
            OSError: the disk refuses.
        """
        size = self._locked_size()
        try:
            if size and size + len(lines) > self._most_bytes:
                self._rotate()
                self.close()
                size = self._locked_size()
            written = 0
            try:
                while written < len(lines):
                    written += os.write(self._handle, lines[written:])
            except OSError:
                if written:
                    os.ftruncate(self._handle, size)
                raise
        finally:
            self._unlock()

    def close(self) -> None:
        """Close the file; the lock goes with it."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _locked_size(self) -> int:
        """Open and lock the file that now bears the name; give its size."""
        while True:
            fresh = self._handle < 0
            if fresh:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
                self._handle = os.open(self._path, flags, 0o640)
            fcntl.flock(self._handle, fcntl.LOCK_EX)
            mine = os.fstat(self._handle)
            try:
                named = os.stat(self._path)
            except FileNotFoundError:
                named = None
            if named and (named.st_dev, named.st_ino) == (mine.st_dev, mine.st_ino):
                return self._without_torn_line(mine) if fresh else mine.st_size
            self.close()  # moved away: by another process of the site, or by a person

    def _without_torn_line(self, file: os.stat_result) -> int:
        """Cut off what a killed process or a power cut left of a line; give the size then."""
        if not stat.S_ISREG(file.st_mode) or not file.st_size:
            return file.st_size
        with open(self._path, "rb") as reader:
            reader.seek(max(file.st_size - MOST_LINE, 0))
            tail = reader.read()
        size = file.st_size - (len(tail) - tail.rfind(b"\n") - 1)
        if size < file.st_size:
            os.ftruncate(self._handle, size)
        return size

    def _unlock(self) -> None:
        if self._handle >= 0:
            fcntl.flock(self._handle, fcntl.LOCK_UN)

    def _rotate(self) -> None:
        names = [self._path, *(self._path.with_name(f"{self._path.name}.{n}") for n in range(1, self._keep + 1))]
        if not self._keep:
            os.unlink(self._path)
        for older, newer in zip(reversed(names), list(reversed(names))[1:], strict=False):
            if newer.exists():
                os.replace(newer, older)


def _line(entry: dict[str, Any]) -> bytes:
    seconds, nanoseconds = divmod(entry["time"], NS)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    text = json.dumps({**entry, "time": f"{stamp}.{nanoseconds:09d}Z"}, separators=(",", ":"), ensure_ascii=False)
    return text.encode(errors="backslashreplace") + b"\n"


def plain(value: Any) -> Any:
    """Give a value as JSON has it, shortened where it is long; a float that is none (NaN, infinity) as text."""
    if isinstance(value, bool | int | None):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes | bytearray):
        value = bytes(value[: MOST_TEXT + 1]).decode(errors="replace")
    if isinstance(value, str):
        return value if len(value) <= MOST_TEXT else value[:MOST_TEXT] + " ..."
    if hasattr(value, "tolist"):  # numpy
        shown, count = value[:MOST_ELEMENTS].tolist() if value.ndim else value.tolist(), value.size
        return _shown(shown, count) if isinstance(shown, list) else plain(shown)
    if isinstance(value, Sequence):
        return _shown(value[:MOST_ELEMENTS], len(value))
    return plain(str(value))


def _shown(elements: Sequence[Any], count: int) -> list[Any]:
    shown = [plain(element) for element in elements]
    return shown if count <= MOST_ELEMENTS else [*shown, f"... {count} elements"]
