"""Rows into CSV files: one row a frame, a new file every so often, and nothing lost while the disk is away.

Rows are held as finished lines until they are written. `add` is quick and never touches the disk; `write` may block,
and may run in another thread than `add`. What cannot be written stays held, at most `HELD_BYTES` a row PV; beyond that
the newest rows are refused and counted, so that what is held goes on without a hole from what is in the file.
"""

import errno
import logging
import re
import threading
import time
from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from archiver.sinks.append import AppendFile, Tail, repair_tail
from archiver.sinks.csv_text import SECOND, RowText, time_text
from archiver.sinks.folder import Folder
from iocs.config import CsvTable
from iocs.signals import Row

log = logging.getLogger(__name__)

HELD_BYTES = 64 << 20  # an hour and a half of 8 phasors at 50 frames/s
SYNC_EVERY = 5.0  # s: with `write_every`, the most that a power cut can cost


@dataclass(slots=True)
class _Part:
    """The rows that belong in one file, with the file once it exists."""

    text: RowText
    period: int
    times: "array[int]" = field(default_factory=lambda: array("q"))
    lines: list[bytes] = field(default_factory=list)
    file: AppendFile | None = None


class CsvFiles:
    """The files of one row PV.

    Args:
        name: the row PV, for the log.
        folder: where the files lie.
        prefix: beginning of their names; the UTC seconds of the first row and `.csv` follow.
        settings: the rules for this row.
        held_bytes: how much to hold while nothing can be written.

    Attributes:
        written: rows in files.
        dropped: rows refused because too many were held.
        repeated: rows that were already in the last file of the run before.
        fault: why nothing can be written at the moment, empty when all is well.
        path: the file of the last write.
    """

    def __init__(
        self, name: str, folder: Folder, prefix: str, settings: CsvTable, held_bytes: int = HELD_BYTES
    ) -> None:
        self.name = name
        self.written = 0
        self.dropped = 0
        self.repeated = 0
        self.fault = ""
        self.path: Path | None = None
        self._folder = folder
        self._prefix = prefix
        self._settings = settings
        self._period_ns = round(settings.new_file_every * SECOND)
        self._held_bytes = held_bytes
        self._bytes = 0
        self._row: Row | None = None
        self._text: RowText | None = None
        self._parts: deque[_Part] = deque()
        self._held = threading.Lock()  # guards what is held
        self._writing = threading.Lock()  # one write at a time
        self._recovered = False
        self._last_line = b""  # of the run before, until the first row of this one
        self._dropping: tuple[int, int] | None = None  # dropped before, time of the first one now
        self._fault_since = 0.0
        self._next_sync = 0.0

    @property
    def held(self) -> int:
        """Rows that wait to be written."""
        with self._held:
            return sum(len(part.lines) for part in self._parts)

    # -- rows come in

    def add(self, row: Row, time_ns: int, values: Sequence[float]) -> bool:
        """Take one row.

        Args:
            row: its columns; pass the same object as long as they are the same.
            time_ns: when it was taken, ns since 1970, UTC.
            values: a float for each column.

        Returns:
            Whether it was taken; otherwise it is counted in `dropped` or `repeated`.

        Raises:
            ValueError: the row does not have a value for each column, or a time that can be written.
        """
        if self._text is None or row is not self._row:
            rules = self._settings
            self._text = RowText(row.signals, rules.time_format, rules.time_digits, rules.value_digits)
            self._row = row
        line = self._text.encode(time_ns, values)
        if self._last_line:
            repeat, self._last_line = line == self._last_line, b""
            if repeat:
                self.repeated += 1
                return False
        if self._bytes + len(line) > self._held_bytes:
            self._drop(time_ns)
            return False
        if self._dropping:
            self._end_drop(time_ns)
        with self._held:
            part = self._part_for(self._text, time_ns)
            part.times.append(time_ns)
            part.lines.append(line)
            self._bytes += len(line)
        return True

    def _part_for(self, text: RowText, time_ns: int) -> _Part:
        """Choose the file: a new one for new columns and for a new period.

        A clock that steps back into the period before (a leap second) stays in its file; one that steps back further
        gets a new file. None is ever opened again.
        """
        period = time_ns // self._period_ns
        if self._parts:
            last = self._parts[-1]
            if last.period - 1 <= period <= last.period and last.text.same_columns(text):
                return last
        part = _Part(text, period)
        self._parts.append(part)
        return part

    def _drop(self, time_ns: int) -> None:
        if not self._dropping:
            self._dropping = (self.dropped, time_ns)
            log.error(
                "%s: %d rows are held and no more fit in memory: new rows are lost from now on", self.name, self.held
            )
        self.dropped += 1

    def _end_drop(self, time_ns: int) -> None:
        if self._dropping:
            before, since = self._dropping
            self._dropping = None
            span = f"{time_text(since, 'iso')} and {time_text(time_ns, 'iso')}"
            log.warning("%s: %d rows between %s were lost; rows are kept again", self.name, self.dropped - before, span)

    # -- rows go out

    def recover(self) -> bool:
        """Repair the newest file of the run before: cut it to whole lines. Call it before the first `add`.

        Returns:
            False when the folder cannot be used at the moment; it is repaired before the first file is made.
        """
        with self._writing:
            try:
                self._recover()
            except OSError as error:
                self._fail(error)
                return False
            return True

    def _recover(self) -> None:
        if self._recovered:
            return
        self._folder.claim()
        name = re.compile(re.escape(self._prefix) + r"(\d+)(?:-(\d+))?\.csv")
        found = [(path.stat().st_mtime_ns, path) for path in self._folder.path.iterdir() if name.fullmatch(path.name)]
        for _, path in sorted(found)[-1:]:
            tail = repair_tail(path)
            self._last_line = tail.last_line
            self._report(path, tail)
        self._recovered = True

    def _report(self, path: Path, tail: Tail) -> None:
        if tail.cut:
            log.warning("%s: cut a torn row of %d bytes off the end of %s", self.name, tail.cut, path)
        if path.stat().st_size == 0:
            path.unlink()
            log.warning("%s: %s had no whole line and was removed", self.name, path)

    def write(self, sync: bool = False) -> bool:
        """Write all that is held.

        Args:
            sync: wait until the disk has it; otherwise that is done every `SYNC_EVERY` seconds.

        Returns:
            Whether nothing is left; otherwise `fault` says why, and it can be tried again.
        """
        with self._writing:
            try:
                self._write_parts()
                if sync or time.monotonic() >= self._next_sync:
                    self._sync()
            except OSError as error:
                self._fail(error)
                return False
            self._heal()
            return True

    def _write_parts(self) -> None:
        while self._parts:
            part = self._parts[0]
            self._write_part(part)
            with self._held:
                done = len(self._parts) > 1 and not part.lines
                if done:
                    self._parts.popleft()
                elif not part.lines:
                    return
            if done and part.file:
                part.file.close()

    def _write_part(self, part: _Part) -> None:
        if part.file and not part.file.in_place():
            log.warning("%s: %s is gone from its place; going on in a new file", self.name, part.file.path)
            part.file, gone = None, part.file
            gone.abandon()
        with self._held:
            count = len(part.lines)
            lines = b"".join(part.lines)
        if not count:
            return
        if part.file is None:
            self._recover()
            self._folder.claim()
            stem = f"{self._prefix}{part.times[0] // SECOND}"
            part.file = AppendFile.create(self._folder.path, stem, ".csv")
            log.info("%s: new file %s", self.name, part.file.path)
        self.path = part.file.path
        head = part.text.header if part.file.empty else b""
        data = head + lines
        taken = part.file.append(data)
        rows = count if taken == len(data) else max(0, data.count(b"\n", 0, taken) - bool(head))
        with self._held:
            self._bytes -= sum(len(line) for line in part.lines[:rows])
            del part.lines[:rows], part.times[:rows]
        self.written += rows
        if taken < len(data):
            raise OSError(errno.ENOSPC, f"only {rows} of {count} rows fitted", str(part.file.path))

    def _sync(self) -> None:
        if self._parts and self._parts[-1].file:
            self._parts[-1].file.sync()
        self._next_sync = time.monotonic() + SYNC_EVERY

    def _fail(self, error: OSError) -> None:
        """Say once what is wrong, and again when something else is."""
        reason = "no space left on the disk" if error.errno == errno.ENOSPC else error.strerror or str(error)
        if reason != self.fault:
            where = error.filename or self._folder.path
            text = "%s: cannot write to %s: %s; %d rows are held in memory and written when the way is free"
            log.error(text, self.name, where, reason, self.held)
        if not self.fault:
            self._fault_since = time.monotonic()
        self.fault = reason

    def _heal(self) -> None:
        if self.fault:
            seconds = time.monotonic() - self._fault_since
            log.warning("%s: writing again after %.0f s; the held rows are in %s", self.name, seconds, self.path)
            self.fault = ""

    def close(self) -> bool:
        """Write what is held, sync and close the file.

        Returns:
            Whether all rows are in files.
        """
        done = self.write(sync=True)
        with self._writing:
            for part in self._parts:
                if part.file:
                    file, part.file = part.file, None
                    try:
                        file.close()
                    except OSError as error:
                        self._fail(error)
                        done = False
            if not done:
                log.error("%s: %d rows could not be written and are lost with this process", self.name, self.held)
        return done
