"""What becomes of CSV files that are closed: compressed, and deleted by age, size or free space, the oldest first.

Only files named as the archiver names them are ever touched: a prefix, seconds of UTC, `.csv` or `.csv.gz`.
"""

import gzip
import logging
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from archiver.sinks.append import sync_folder

log = logging.getLogger(__name__)

OURS = re.compile(r".*?\d{9,}(-\d+)?\.csv(\.gz)?")
TEND_EVERY = 60.0  # s between looks at age and size
MEGABYTE = 1e6


@dataclass(frozen=True, slots=True)
class Rules:
    """What is wanted; None = never."""

    gzip: bool = False
    keep_days: float | None = None
    keep_megabytes: float | None = None
    keep_free_megabytes: float | None = None


class ClosedFiles:
    """The closed files of some folders.

    Attributes:
        deleted: files deleted.
    """

    def __init__(self, rules: Rules) -> None:
        self.deleted = 0
        self._rules = rules
        self._to_compress: list[Path] = []
        self._look_at = 0.0
        self._said = ""

    def add(self, path: Path) -> None:
        """Take note that a file was closed."""
        if self._rules.gzip and path.resolve() not in self._to_compress:
            self._to_compress.append(path.resolve())

    def names(self) -> list[str]:
        """Give the files that are still to be compressed."""
        return [str(path) for path in self._to_compress]

    def tend(self, folders: set[Path], open_files: set[Path]) -> None:
        """Compress what is to be compressed; once a minute delete what is too old or too much."""
        while self._to_compress:
            path = self._to_compress[0]
            try:
                if path.exists() and path not in open_files:
                    compress(path)
            except OSError as error:
                self._say(f"{path} cannot be compressed: {error.strerror}")
                break
            self._to_compress.pop(0)
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + TEND_EVERY
            try:
                self._delete(folders, open_files)
            except OSError as error:
                self._say(f"files that are due cannot be deleted: {error}")

    def make_room(self, folders: set[Path], open_files: set[Path]) -> bool:
        """Delete the oldest file now, where the rules allow it; tells whether one went."""
        if self._rules.keep_free_megabytes is None and self._rules.keep_megabytes is None:
            return False
        files = _files(folders, open_files)
        return bool(files) and self._remove(files[0][1], "the disk is full")

    def _delete(self, folders: set[Path], open_files: set[Path]) -> None:
        rules = self._rules
        files = _files(folders, open_files)
        if rules.keep_days is not None:
            oldest = time.time() - rules.keep_days * 86400
            while files and files[0][0] < oldest and self._remove(files[0][1], f"older than {rules.keep_days:g} days"):
                files.pop(0)
        if rules.keep_megabytes is not None:
            size = sum(path.stat().st_size for _, path in files) + sum(
                path.stat().st_size for path in open_files if path.exists()
            )
            while files and size > rules.keep_megabytes * MEGABYTE:
                due = files[0][1]
                size -= due.stat().st_size
                if not self._remove(due, f"more than {rules.keep_megabytes:g} MB"):
                    break
                files.pop(0)
        if rules.keep_free_megabytes is not None:
            while files and _free(files[0][1].parent) < rules.keep_free_megabytes * MEGABYTE:
                if not self._remove(files[0][1], f"less than {rules.keep_free_megabytes:g} MB free"):
                    break
                files.pop(0)

    def _remove(self, path: Path, why: str) -> bool:
        try:
            path.unlink()
        except OSError as error:
            self._say(f"{path} cannot be deleted: {error.strerror}")
            return False
        self.deleted += 1
        log.warning("deleted %s: %s", path, why)
        return True

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            log.error("%s", text)


def _files(folders: set[Path], open_files: set[Path]) -> list[tuple[float, Path]]:
    """Give the closed files of ours with the time of their last change (s), the oldest first."""
    found = []
    for folder in folders:
        if folder.is_dir():
            for path in folder.iterdir():
                if OURS.fullmatch(path.name) and path.resolve() not in open_files:
                    found.append((path.stat().st_mtime, path))
    return sorted(found)


def _free(folder: Path) -> int:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def compress(path: Path) -> Path:
    """Replace a file by its gzip; whole at every instant, with the time of its last change.

    Raises:
        OSError: it could not be; the file is untouched.
    """
    done, part = path.with_name(path.name + ".gz"), path.with_name(path.name + ".gz.part")
    try:
        with path.open("rb") as whole, gzip.open(part, "wb", compresslevel=6) as packed:
            shutil.copyfileobj(whole, packed, 1 << 20)
        with part.open("r+b") as packed:
            os.fsync(packed.fileno())
        shutil.copystat(path, part)
        os.replace(part, done)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    path.unlink()
    return done
