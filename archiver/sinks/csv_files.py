"""Encoded batches into CSV files: a new file every so often, whole lines, and each line once whatever fails.

A write is carried out whole or not at all: where one of its files does not take its lines, the others are cut back.
`mark` gives the size of each file; a run that follows a kill cuts them back to it, as all that came later is written
again from the spool. Files of a run before are never appended to.
"""

import errno
import logging
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archiver.batch import Batch
from archiver.sinks.append import AppendFile, repair_tail
from archiver.sinks.closed_files import OURS, ClosedFiles, Rules
from archiver.sinks.csv_batch import SAMPLES, CsvEncoder, Section, sections
from archiver.sinks.folder import Folder, FolderTaken
from archiver.sinks.sink import WRITTEN, Encoded, Outcome, Verdict
from iocs.archive_tables import CsvFilesTable, CsvTable

log = logging.getLogger(__name__)

BEGINNING = re.compile(r"\d+(-\d+)?\.csv$")  # what follows the beginning of a name
GOES_BY_ROOM = (errno.ENOSPC, errno.EDQUOT)


@dataclass(slots=True)
class _Current:
    """The file that a stream's lines go to."""

    section: Section  # the first one of it
    file: AppendFile
    size: int = 0  # when the write began


class CsvFiles:
    """The CSV store.

    Args:
        table: `[archive.csv]`.
        on_new_file: called with the file made and nothing in it, so that `mark` can be kept before anything is.

    Attributes:
        fault: why nothing can be written at the moment, empty when all is well.
        deleted: files that were deleted to make room, or for their age.
    """

    name = "csv"
    most_bytes = 4 << 20

    def __init__(self, table: CsvTable, on_new_file: Callable[[], None] = lambda: None) -> None:
        self.fault = ""
        self.on_new_file = on_new_file
        self._table = table
        self._encoder = CsvEncoder(self._for_stream)
        self._folders: dict[Path, Folder] = {}
        self._prefixes: dict[tuple[Path, str], str] = {}  # the stream that has them
        self._current: dict[str, _Current] = {}
        self._closed = ClosedFiles(Rules(table.gzip, table.keep_days, table.keep_megabytes, table.keep_free_megabytes))
        self._fault_since = 0.0
        self._before: dict[str, _Current] | None = None  # the files as they were when the write began, while it lasts
        self._made: list[_Current] = []  # by the present write

    @property
    def deleted(self) -> int:
        """Files that were deleted to make room, or for their age."""
        return self._closed.deleted

    # -- encoding

    def encode(self, batch: Batch) -> Encoded:
        """Give the batch as sections of lines (see csv_batch)."""
        return self._encoder.encode(batch)

    def split(self, data: bytes) -> list[Encoded]:
        """Give it in one part: files never ask for less."""
        return [Encoded(data, sum(section.count for section, _ in sections(data)))]

    def _for_stream(self, stream: str) -> CsvFilesTable:
        return self._table if stream == SAMPLES else self._table.for_row(stream)

    # -- the folders

    def claim(self) -> None:
        """Make and lock the folders of the table. One that cannot be used at the moment is made later.

        Raises:
            FolderTaken: another archiver writes to one of them.
        """
        for path in {self._table.directory, *(row.directory for row in self._rows())}:
            self._claim(path)

    def _rows(self) -> list[CsvFilesTable]:
        return [self._table.for_row(name) for name in self._table.row]

    def _claim(self, path: Path) -> Folder:
        folder = self._folders.setdefault(path, Folder(path))
        try:
            folder.claim()
        except FolderTaken:
            raise
        except OSError as error:
            log.error(
                "%s cannot be used: %s; what comes waits in the spool until it can", path, error.strerror or error
            )
        return folder

    # -- a run before

    def resume(self, mark: dict[str, Any]) -> None:
        """Cut the files of the run before back to what had been acknowledged. Call it once, before the first write."""
        for name, size in mark.get("files", {}).items():
            path = Path(name)
            try:
                now = path.stat().st_size
                if now > size:
                    os.truncate(path, size)
                    log.warning(
                        "%s: cut back by %d bytes, which come again from the spool (the run before was killed)",
                        path,
                        now - size,
                    )
                elif now < size:
                    log.error("%s: %d bytes are missing at its end", path, size - now)
                if not size:
                    path.unlink()
            except FileNotFoundError:
                continue
            except OSError as error:
                log.error("%s cannot be cut back to %d bytes: %s", path, size, error.strerror)
            if size:
                self._closed.add(path)
        for name in mark.get("closed", []):
            self._closed.add(Path(name))
        for folder in self._folders.values():
            if folder.path.is_dir():
                self._repair(folder.path, {Path(name) for name in mark.get("files", {})})

    def _repair(self, folder: Path, marked: set[Path]) -> None:
        """Cut the newest file of each beginning to whole lines, where no mark says how long it is."""
        newest: dict[str, tuple[int, Path]] = {}
        for path in folder.iterdir():
            if path.suffix == ".csv" and OURS.fullmatch(path.name) and path.resolve() not in marked:
                beginning = BEGINNING.sub("", path.name)
                newest[beginning] = max(newest.get(beginning, (0, path)), (path.stat().st_mtime_ns, path))
        for _, path in newest.values():
            try:
                cut = repair_tail(path)
                if cut:
                    log.warning("cut a torn line of %d bytes off the end of %s", cut, path)
                if not path.stat().st_size:
                    path.unlink()
                    log.warning("%s had no whole line and was removed", path)
            except OSError as error:
                log.error("%s cannot be repaired: %s", path, error.strerror)

    def mark(self) -> dict[str, Any]:
        """Sync the files and give their sizes; within a write those at its beginning, with the files that it made."""
        if self._before is None:
            for current in self._current.values():
                current.file.sync()
                current.size = current.file.size
        files = self._current.values() if self._before is None else [*self._before.values(), *self._made]
        sizes = {str(current.file.path.resolve()): current.size for current in files}
        return {"files": sizes, "closed": self._closed.names()}

    def marked(self) -> None:
        """Compress and delete what is closed: no mark speaks of it any more."""
        open_files = {current.file.path.resolve() for current in self._current.values()}
        self._closed.tend({*self._folders}, open_files)

    # -- writing

    def write(self, data: bytes) -> Outcome:
        """Write whole sections; all of them, or none."""
        before = self._before = dict(self._current)
        for current in before.values():
            current.size = current.file.size
        try:
            for section, lines in sections(data):
                self._append(section, lines)
        except OSError as error:
            self._roll_back(before)
            if error.errno in GOES_BY_ROOM and self._closed.make_room({*self._folders}, self._open_paths()):
                return Outcome(Verdict.LATER, "room was made", wait=0.01)
            return Outcome(Verdict.LATER, self._fail(error))
        finally:
            made, self._made, self._before = self._made, [], None
        for old in (*before.values(), *made):
            if not any(old is current for current in self._current.values()):
                self._finish(old)
        self._heal()
        return WRITTEN

    def _open_paths(self) -> set[Path]:
        return {current.file.path.resolve() for current in self._current.values()}

    def _append(self, section: Section, lines: bytes) -> None:
        current = self._current.get(section.stream)
        if current is not None and not current.file.in_place():
            log.warning("%s is gone from its place; going on in a new file", current.file.path)
            current.file.abandon()
            current = None
        if current is None or not self._fits(current, section, lines):
            current = self._begin(section)
        head = section.header if current.file.empty else b""
        current.file.append(head + lines)

    def _fits(self, current: _Current, section: Section, lines: bytes) -> bool:
        if not current.section.same_file(section):
            return False
        most = self._for_stream(section.stream).new_file_megabytes
        return most is None or current.file.empty or current.file.size + len(lines) <= most * 1e6

    def _begin(self, section: Section) -> _Current:
        rules = self._for_stream(section.stream)
        folder = self._folders.setdefault(rules.directory, Folder(rules.directory))
        folder.claim()
        stem = f"{self._prefix(section.stream, rules)}{section.second}"
        current = _Current(section, AppendFile.create(folder.path, stem, ".csv"))
        self._current[section.stream] = current
        self._made.append(current)
        log.info("%s: new file %s", section.stream, current.file.path)
        self.on_new_file()
        return current

    def _prefix(self, stream: str, rules: CsvFilesTable) -> str:
        if stream == SAMPLES:
            return "samples_"
        prefix, longer = prefixes_of(stream, rules)
        holder = self._prefixes.setdefault((rules.directory, prefix), stream)
        if holder != stream:
            log.warning("%s: files of %s begin with %r already; these begin with %r", stream, holder, prefix, longer)
            prefix = longer
        return prefix

    def _roll_back(self, before: dict[str, _Current]) -> None:
        for current in self._made:
            current.file.abandon()
            current.file.path.unlink(missing_ok=True)
        self._current = {stream: current for stream, current in before.items() if current.file.open}
        for current in self._current.values():
            current.file.cut(current.size)

    def _finish(self, old: _Current) -> None:
        if old.file.open:
            try:
                old.file.close()
            except OSError as error:
                log.error("%s: the disk failed as it was closed: %s", old.file.path, error.strerror)
            self._closed.add(old.file.path)

    def _fail(self, error: OSError) -> str:
        """Say once what is wrong, and again when something else is."""
        reason = "no space left on the disk" if error.errno == errno.ENOSPC else error.strerror or str(error)
        if reason != self.fault:
            where = error.filename or self._table.directory
            log.error("csv: cannot write to %s: %s; what comes waits in the spool until the way is free", where, reason)
        if not self.fault:
            self._fault_since = time.monotonic()
        self.fault = reason
        return reason

    def _heal(self) -> None:
        if self.fault:
            log.warning("csv: writing again after %.0f s", time.monotonic() - self._fault_since)
            self.fault = ""

    def close(self) -> None:
        """Close the files and let others have the folders."""
        for current in self._current.values():
            self._finish(current)
        self._current.clear()
        for folder in self._folders.values():
            folder.release()


def prefixes_of(stream: str, rules: CsvFilesTable) -> tuple[str, str]:
    """Give what the files of a row begin with, and what they do where another row's begin so already."""
    default = stream.removesuffix(":ROW").replace(":", "_") + "_"
    prefix = rules.name if rules.name is not None else default
    return prefix, prefix + default
