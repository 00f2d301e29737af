"""The raw bytes of a live link, kept in a file of bounded size: what `python -m drivers.c37118 decode FILE` reads."""

import io
import logging
import time
from pathlib import Path

log = logging.getLogger(__name__)

LIMIT = 100_000_000  # bytes
SLACK = 65536  # a frame is at most so long: within so many bytes one must end


class Recorder:
    """Appends received bytes to FILE; when that has grown to `limit` bytes it becomes FILE.1, in place of the one
    before.

    So at most twice `limit` is on the disk. Each file begins with the last configuration frame, so that each can be
    decoded by itself, and ends with a whole frame. A full or missing disk never stops the stream: it is logged once,
    counted, and tried again.

    Args:
        path: FILE; its directory is made when it is missing.
        limit: bytes of one file.
        retry_after: seconds after a failure before the file is tried again.

    Attributes:
        configuration: the last configuration frame, as received.
        lost_bytes: bytes that could not be written.
        failures: how often writing failed.
    """

    def __init__(self, path: Path | str, limit: int = LIMIT, retry_after: float = 5.0) -> None:
        self.path = Path(path)
        self.limit = limit
        self.retry_after = retry_after
        self.configuration = b""
        self.lost_bytes = 0
        self.failures = 0
        self._file: io.FileIO | None = None
        self._size = 0
        self._failing = False
        self._retry_at = 0.0

    def write(self, data: bytes, whole: bool) -> None:
        """Keep received bytes. `whole`: they end with a frame's end, so that a new file may begin behind them."""
        if self._failing and time.monotonic() < self._retry_at:
            self.lost_bytes += len(data)
            return
        try:
            file = self._file or self._open()
            self._write(file, data)
            if self._size >= self.limit and (whole or self._size >= self.limit + SLACK):
                self._turn(file)
        except OSError as error:
            self.lost_bytes += len(data)
            self.failures += 1
            self._retry_at = time.monotonic() + self.retry_after
            if not self._failing:
                log.error("recording %s: %s; the stream goes on unrecorded, trying again", self.path, error.strerror)
            self._failing = True
            self.close()
            return
        if self._failing:
            log.info("recording %s: written again", self.path)
            self._failing = False

    def close(self) -> None:
        """Close the file. The next write opens it again."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:
                log.error("recording %s: %s", self.path, error.strerror)

    def _open(self) -> io.FileIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = file = io.FileIO(self.path, "a")
        self._size = file.seek(0, io.SEEK_END)
        self._write(file, self.configuration)
        return file

    def _write(self, file: io.FileIO, data: bytes) -> None:
        while data:  # a disk that fills up takes a part, and refuses the next
            written = file.write(data)
            self._size += written
            data = data[written:]

    def _turn(self, file: io.FileIO) -> None:
        file.close()
        self._file = None
        self.path.replace(self.path.with_name(self.path.name + ".1"))
