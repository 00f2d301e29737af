"""Follows a station's files in a process of its own: `python -m ingest.cr1000.tail`, started by `station.py`.

Whatever the files hold, and however slow their disk is, costs the process that serves PVs nothing. Its one argument is
the `Job` as JSON; each line on stdout is a `Told` as JSON, one a look, and one a second while it catches up. It ends
when its stdin does.
"""

import json
import os
import select
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ingest.cr1000.follow import Follow
from ingest.cr1000.newest import Newest, Told
from ingest.cr1000.tables import Reader, Unreadable

PROGRESS = 1.0  # s between lines while catching up


@dataclass(frozen=True)
class Job:
    """What is to be followed.

    Attributes:
        files: the tables, all with the columns that the station's configuration says.
        config: the folder of the configuration.
        station: its name.
        table: which table of the files; empty = the first one.
        utc_offset_ns: what the logger's clock is ahead of UTC.
        lenient: sensors of a type that has no folder are taken as they are.
        period: seconds from look to look.
        missing: see `Newest`.
    """

    files: list[str]
    config: str
    station: str
    table: str = ""
    utc_offset_ns: int = 0
    lenient: bool = False
    period: float = 1.0
    missing: dict[str, list[float]] = field(default_factory=dict)

    def to_json(self) -> str:
        """Write it for the command line."""
        return json.dumps(asdict(self))


def looks(job: Job) -> Iterator[Told]:
    """Look at the files, again for each that is asked for; the first looks catch up."""
    newest = Newest(Path(job.config), job.station, job.lenient, job.missing)
    follows = [Follow(Path(file), lambda file=file: Reader(file, job.table, job.utc_offset_ns)) for file in job.files]
    try:
        while True:
            troubles = []
            told_at = time.monotonic()
            for follow in follows:
                try:
                    for block in follow.poll():
                        newest.take(block)
                        if time.monotonic() - told_at > PROGRESS:
                            yield newest.catching_up(_counted(follows)[0])
                            told_at = time.monotonic()
                    if not follow.seen:
                        troubles.append(f"{follow.path}: there is no such file yet")
                except Unreadable as error:
                    troubles.append(str(error))
                except OSError as error:
                    troubles.append(f"{follow.path} cannot be read: {error.strerror}")
            yield newest.told(*_counted(follows), trouble="; ".join(troubles))
    finally:
        for follow in follows:
            follow.close()


def _counted(follows: list[Follow]) -> tuple[Counter[str], list[str]]:
    counts: Counter[str] = Counter()
    for follow in follows:
        counts += follow.counts
    return counts, [note for follow in follows for note in follow.reader.notes]


def main() -> int:
    """Follow until stdin ends; gives the exit code."""
    job = Job(**json.loads(sys.argv[1]))
    try:
        for told in looks(job):
            print(told.to_json(), flush=True)
            if not told.reading and select.select([0], [], [], job.period)[0] and not os.read(0, 1):
                return 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
