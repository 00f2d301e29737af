"""What waits for one store: a queue in memory, and behind it a log on disk that a killed process finds again.

The log lies in segments, each named by its first record's number. `acknowledged.json` says up to which number all is
safe in the store, and keeps the store's own mark with it; segments that lie wholly before are removed. What cannot be
put on disk is held in memory, up to a bound; what does not fit there either is refused.

One thread puts, another takes and acknowledges.
"""

import errno
import json
import logging
import os
import threading
from collections import deque
from pathlib import Path
from typing import Any

from archiver.segment import Segment, find
from archiver.sinks.append import sync_folder
from archiver.spool_format import Record, frame, records

log = logging.getLogger(__name__)

SEGMENT_BYTES = 16 << 20
MEGABYTE = 1_000_000
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)


class Spool:
    """The log of one store.

    Args:
        name: of the store, for the log.
        folder: where it lies; made if missing.
        most_bytes: how much may lie on disk.
        keep_free: bytes on the disk that are left to others.
        memory_bytes: how much may wait in memory, and how much is kept there to be written without reading it back.

    Attributes:
        waiting: events that are not acknowledged.
        waiting_bytes: the same in bytes of the log.
        fault: why nothing can be put on disk at the moment, empty when all is well.
        mark: the store's mark of the last `save`.
        torn: bytes at the end of the log that a crash had torn, found by `open`.
        damaged: bytes in the midst of the log that could not be read.
        lost: events that waited in them, as far as they had been counted.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        most_bytes: int = 2000 * MEGABYTE,
        keep_free: int = 500 * MEGABYTE,
        memory_bytes: int = 64 * MEGABYTE,
    ) -> None:
        self.name = name
        self.folder = folder
        self.waiting = self.waiting_bytes = self.torn = self.damaged = self.lost = 0
        self.fault = ""
        self.mark: dict[str, Any] = {}
        self._most_bytes, self._keep_free, self._memory_bytes = most_bytes, keep_free, memory_bytes
        self._lock = threading.RLock()
        self._segments: deque[Segment] = deque()
        self._fd = -1  # of the last segment, while it is written
        self._cut_to = -1  # size of that one before a torn write that could not be undone
        self._memory: deque[Record] = deque()  # the newest records, without a hole
        self._memory_size = 0
        self._unwritten: deque[Record] = deque()  # those of them that are not on disk
        self._number = 0  # of the last record
        self._acknowledged = 0
        self._saved: tuple[int, str] | None = None

    def open(self) -> None:
        """Find what waits from the run before. A torn end is cut off.

        Raises:
            OSError: the folder cannot be made or read.
            ValueError: `acknowledged.json` is not one of ours.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for stray in self.folder.glob("*.new"):
            stray.unlink()
        self.load_acknowledged()
        found = find(self.name, self.folder, self._acknowledged)
        self._segments = found.segments
        self.waiting, self.waiting_bytes = found.waiting, found.waiting_bytes
        self.torn, self.damaged = found.torn, found.damaged
        self._number = max([self._acknowledged, *(segment.last for segment in self._segments)])

    def load_acknowledged(self) -> None:
        """Read how far the store has got; nothing is changed.

        Raises:
            OSError: it cannot be read.
            ValueError: `acknowledged.json` is not one of ours.
        """
        path = self.folder / "acknowledged.json"
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        try:
            told = json.loads(text)
            self._acknowledged, self.mark = int(told["number"]), dict(told["mark"])
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{path} is not what the archiver writes ({error}); move the folder {self.folder} away to begin anew "
                "(what waits in it is then not written)"
            ) from error

    # -- in

    def put(self, payload: bytes, count: int, beyond: bool = False) -> bool:
        """Add a record: on disk, or while that cannot be, in memory.

        Args:
            payload: what the store is to get.
            count: events in it.
            beyond: the bounds of the disk do not hold for it: it is small and says what they have cost.

        Returns:
            False: there is no room in either; it is not taken.
        """
        with self._lock:
            record = Record(self._number + 1, count, payload)
            self._unwritten.append(record)
            try:
                self._write(beyond)
                self._heal()
            except OSError as error:
                self._fail(error)
                if sum(waiting.size for waiting in self._unwritten) > self._memory_bytes:
                    self._unwritten.pop()
                    return False
            self._number = record.number
            self._memory.append(record)
            self._memory_size += record.size
            self.waiting += count
            self.waiting_bytes += record.size
            while self._memory_size > self._memory_bytes and len(self._memory) > len(self._unwritten):
                self._memory_size -= self._memory.popleft().size
            return True

    def flush(self) -> None:
        """Put on disk what waits in memory alone, beyond the bounds; what is not there at the end is lost, and told."""
        with self._lock:
            if not self._unwritten:
                return
            try:
                self._write(beyond=True)
                self._heal()
            except OSError as error:
                self._fail(error)
                count = sum(record.count for record in self._unwritten)
                log.error("%s: %d events that wait in memory alone are LOST with the end", self.name, count)

    def _write(self, beyond: bool = False) -> None:
        self._check_in_place()
        if self._fd < 0:
            self.folder.mkdir(parents=True, exist_ok=True)
        data = b"".join(frame(record) for record in self._unwritten)
        on_disk = sum(segment.size for segment in self._segments)
        if on_disk + len(data) > self._most_bytes and not beyond:
            raise OSError(errno.EDQUOT, f"{on_disk / MEGABYTE:.0f} MB wait, and more are not allowed (spool_megabytes)")
        disk = os.statvfs(self.folder)
        if disk.f_bavail * disk.f_frsize < self._keep_free + len(data) and not beyond:
            raise OSError(errno.ENOSPC, "the disk has no room to spare (spool_keep_free_megabytes)")
        if self._fd >= 0 and self._segments and self._segments[-1].size >= SEGMENT_BYTES:
            self._end_segment()
        if self._fd < 0:
            self._begin_segment(self._unwritten[0].number)
        segment = self._segments[-1]
        if self._cut_to >= 0:
            os.ftruncate(self._fd, self._cut_to)
            self._cut_to = -1
        taken = os.write(self._fd, data)
        if taken < len(data):
            self._cut_to = segment.size
            os.ftruncate(self._fd, self._cut_to)
            self._cut_to = -1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(segment.path))
        segment.size += taken
        segment.last = self._unwritten[-1].number
        self._unwritten.clear()

    def _check_in_place(self) -> None:
        """Where somebody has taken the log away, begin a new one with what is still in memory."""
        if self._fd < 0 or os.fstat(self._fd).st_nlink:
            return
        log.error("%s: the spool %s was removed; it is written anew from memory", self.name, self.folder)
        os.close(self._fd)
        self._fd = self._cut_to = -1
        self._segments = deque(segment for segment in self._segments if segment.path.exists())
        kept = [record for record in self._memory if record.number > self._acknowledged]
        new = [record for record in self._unwritten if not kept or record.number > kept[-1].number]
        self._unwritten = deque([*kept, *new])
        self._recount()

    def _begin_segment(self, number: int) -> None:
        path = self.folder / f"{number:020d}.log"
        self._fd = os.open(path, _FLAGS, 0o644)
        self._segments.append(Segment(path, number - 1))

    def _end_segment(self) -> None:
        fd, self._fd = self._fd, -1
        self._cut_to = -1  # a torn end of it stays: nothing is put behind it
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _fail(self, error: OSError) -> None:
        reason = error.strerror or str(error)
        if reason != self.fault:
            log.error(
                "%s: the spool %s cannot be written: %s; what comes waits in memory", self.name, self.folder, reason
            )
        self.fault = reason

    def _heal(self) -> None:
        if self.fault:
            log.warning("%s: the spool is written again", self.name)
            self.fault = ""

    def sync(self) -> None:
        """Wait until the disk has what was put.

        Raises:
            OSError: the disk failed.
        """
        with self._lock:
            if self._fd < 0:
                return
            fd = os.dup(self._fd)  # not held up by whoever takes, and not closed under us
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        sync_folder(self.folder)

    # -- out

    def peek(self, most_bytes: int) -> list[Record]:
        """Give the oldest records that are not acknowledged, at least one if there are any."""
        with self._lock:
            first = self._memory[0].number if self._memory else self._number + 1
            found = self._read(most_bytes, first) if first > self._acknowledged + 1 else []
            if found:
                return found
            size = 0
            for record in self._memory:
                if record.number > self._acknowledged:
                    size += record.size
                    if found and size > most_bytes:
                        break
                    found.append(record)
            return found

    def _read(self, most_bytes: int, before: int) -> list[Record]:
        """Read records from disk whose number lies before that of the oldest in memory."""
        found: list[Record] = []
        size = 0
        for segment in list(self._segments):
            position = segment.read
            while segment.last > self._acknowledged and position < segment.size:
                data = segment.part(position, most_bytes)
                begin = position
                for offset, record in records(data):
                    if record.number >= before:
                        return found
                    if record.number > self._acknowledged:
                        size += record.size
                        if found and size > most_bytes:
                            return found
                        found.append(record)
                    else:
                        segment.read = begin + offset
                    position = begin + offset
                if position == begin:
                    self._lose(segment, position)
        return found

    def _lose(self, segment: Segment, end: int) -> None:
        """Give up what cannot be read of a segment."""
        if self._fd >= 0 and segment is self._segments[-1]:
            self._end_segment()  # what is put from now on must not lie behind the damage
        self.damaged += segment.size - end
        segment.size = end
        lost = self._recount()
        log.error("%s: %s is damaged or gone behind byte %d; %d events are lost", self.name, segment.path, end, lost)

    def _recount(self) -> int:
        """Count anew what waits and can be read; gives how many events cannot be read any more."""
        waiting = {record.number: record for record in self._memory if record.number > self._acknowledged}
        first = self._memory[0].number if self._memory else self._number + 1
        for segment in self._segments:
            if segment.last > self._acknowledged:
                found = (record for _, record in records(segment.part(0, segment.size)))
                waiting |= {record.number: record for record in found if self._acknowledged < record.number < first}
        lost = self.waiting - sum(record.count for record in waiting.values())
        self.lost += lost
        self.waiting -= lost
        self.waiting_bytes = sum(record.size for record in waiting.values())
        return lost

    def acknowledge(self, taken: list[Record]) -> None:
        """Take note that records have been brought to the store, in the order in which they were given."""
        with self._lock:
            self._acknowledged = max(self._acknowledged, taken[-1].number)
            self.waiting -= sum(record.count for record in taken)
            self.waiting_bytes -= sum(record.size for record in taken)
            while self._memory and self._memory[0].number <= self._acknowledged:
                self._memory_size -= self._memory.popleft().size
            while self._unwritten and self._unwritten[0].number <= self._acknowledged:
                self._unwritten.popleft()

    def save(self, mark: dict[str, Any]) -> bool:
        """Make what was acknowledged outlast this process, with the store's mark; remove segments of no more use.

        Returns:
            Whether anything had to be written.

        Raises:
            OSError: it could not be written; what was saved before stays.
        """
        with self._lock:
            number = self._acknowledged
        text = json.dumps({"number": number, "mark": mark})
        if self._saved == (number, text):
            return False
        path, fresh = self.folder / "acknowledged.json", self.folder / "acknowledged.json.new"
        self.folder.mkdir(parents=True, exist_ok=True)
        with fresh.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
        sync_folder(self.folder)
        self._saved, self.mark = (number, text), mark
        with self._lock:
            if self._fd >= 0 and self._segments[-1].size >= min(SEGMENT_BYTES, self._most_bytes // 4):
                self._end_segment()
            while self._segments and self._segments[0].last <= number:
                if len(self._segments) == 1 and self._fd >= 0:
                    break
                self._segments.popleft().path.unlink(missing_ok=True)
        return True

    def close(self) -> None:
        """Let go of the log. What waits, waits for the next run; if nothing does, the log is removed."""
        with self._lock:
            if self._fd >= 0:
                self._end_segment()
            if not self.waiting:
                while self._segments:
                    self._segments.popleft().path.unlink(missing_ok=True)
