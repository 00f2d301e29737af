"""The files of a spool's log: found again after a run before, and read."""

import logging
import os
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from archiver.spool_format import read_record, records

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Segment:
    """A file of the log: its records, its bytes, and how far it has been read."""

    path: Path
    last: int  # number of its last record
    size: int = 0
    read: int = 0  # offset behind the last record that was handed out

    def part(self, position: int, most_bytes: int) -> bytes:
        """Read a part that holds at least one whole record, if there is one; nothing where the file is gone."""
        try:
            with self.path.open("rb") as file:
                file.seek(position)
                data = file.read(min(most_bytes, self.size - position))
                if read_record(data, 0) is None:
                    data += file.read(max(self.size - position - len(data), 0))
                return data
        except OSError as error:
            log.error("%s cannot be read: %s", self.path, error.strerror)
            return b""


@dataclass(slots=True)
class Found:
    """What a run before has left: its segments, events and bytes that wait, and bytes that cannot be used."""

    segments: deque[Segment] = field(default_factory=deque)
    waiting: int = 0
    waiting_bytes: int = 0
    torn: int = 0
    damaged: int = 0


def find(name: str, folder: Path, acknowledged: int) -> Found:
    """Find what waits from the run before. A torn end is cut off; each segment is whole behind this.

    Args:
        name: of the store, for the log.
        folder: of the log.
        acknowledged: number of the last record that is of no more use.

    Raises:
        OSError: the folder cannot be read.
    """
    found = Found()
    paths = sorted(folder.glob("*.log"))
    for path in paths:
        data = path.read_bytes()
        end, last = 0, acknowledged
        for offset, record in records(data):
            end, last = offset, record.number
            if record.number > acknowledged:
                found.waiting += record.count
                found.waiting_bytes += record.size
        if lost := len(data) - end:
            if path is paths[-1]:
                found.torn += lost
                log.warning("%s: cut a torn end of %d bytes off %s", name, lost, path)
            else:
                found.damaged += lost
                log.error("%s: %d bytes of %s are damaged and cannot be used", name, lost, path)
            os.truncate(path, end)
        if last > acknowledged:
            found.segments.append(Segment(path, last, end))
        else:
            path.unlink()
    return found
