"""Ingest of stations: files in, what is published out, and the summary that tells what was and was not done."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ingest.cr1000.check import time
from ingest.cr1000.configuration import Configuration
from ingest.cr1000.influx_output import NotWritten
from ingest.cr1000.jobs import Job, Outcome, Reading, Result, Runner
from ingest.cr1000.overlay import is_missing
from ingest.cr1000.plan import Wanted
from ingest.cr1000.progress import Progress
from ingest.cr1000.publish import Publication, Published
from ingest.cr1000.tally import Tally
from iocs.state import StateError

FAILURES = (NotWritten, StateError, LookupError, OSError)
"""What keeps one station from being published, and no other."""


@dataclass
class StationRun:
    """One station of a run.

    Attributes:
        configuration: of the station.
        wanted: what is asked for.
        paths: its files, in the order in which they count.
        reading: how they are read.
        state: where the state is kept; None = nowhere.
        outcomes: what came of each file that was read.
        published: what came of the run; None when nothing was put in its place.
        errors: what could not be done.
    """

    configuration: Configuration
    wanted: Wanted
    paths: Sequence[Path]
    reading: Reading
    state: Path | None = None
    outcomes: dict[Path, Outcome] = field(default_factory=dict)
    published: Published | None = None
    errors: list[str] = field(default_factory=list)
    publication: Publication | None = None
    open_files: int = 0

    def begin(self) -> list[Job]:
        """Open the outputs; gives the files that are to be read."""
        if not self.configuration.parameters:
            self.errors.append("no parameter can be published")
            return []
        try:
            self.publication = Publication(self.wanted, self.paths, self.state)
        except FAILURES as error:
            self._failed(error)
            return []
        starts = self.publication.starts
        todo = [path for path in dict.fromkeys(self.paths) if not starts[path].unchanged]
        self.open_files = len(todo)
        if not todo:
            self._finish()
        return [Job(path, self.configuration, self.reading, starts[path], self.wanted) for path in todo]

    def take(self, path: Path, result: Result) -> None:
        """Publish the rows of a file, and put everything in its place behind the last one."""
        rows, outcome = result
        self.outcomes[path] = outcome
        try:
            for times_ns, columns, texts in rows:
                if self.publication is not None:
                    self.publication.take(times_ns, columns, texts)
        except FAILURES as error:
            self._failed(error)
        if outcome.error:
            self.errors.append(outcome.error)
        if self.publication is not None and (outcome.rows or not outcome.error):
            self.publication.done(path, [] if outcome.error else outcome.look, outcome.mark, outcome.last_ns)
        self.open_files -= 1
        if not self.open_files:
            self._finish()

    def _finish(self) -> None:
        if self.publication is None:
            return
        try:
            self.published = self.publication.finish()
        except FAILURES as error:
            self._failed(error)
        self.close()

    def _failed(self, error: Exception) -> None:
        said = str(error)
        if isinstance(error, OSError):  # of a renaming, the name that it was to get
            said = f"{error.filename2 or error.filename or ''}: {error.strerror or error}"
        self.errors.append(said.removeprefix(": "))
        self.close()

    def close(self) -> None:
        """Let go of the outputs; what is not finished is as it was."""
        if self.publication is not None:
            self.publication.close()
            self.publication = None

    def summary(self) -> Iterator[str]:
        """Tell what was and was not done."""
        name = self.configuration.station
        done = self.published
        if done is None:
            yield f"{name}: nothing was published"
        elif done.up_to_date:
            yield f"{name}: all is up to date, {len(self.paths)} files are as they were"
        else:
            parts = [f"{done.rows} rows", f"{done.values} values", f"{self._missing()} missing"]
            parts += [f"{done.replaced} replaced by later ones"] if done.replaced else []
            parts += [f"{done.points} points to InfluxDB"] if done.points else []
            parts += [f"{done.refused} points refused by InfluxDB"] if done.refused else []
            yield f"{name}: {', '.join(parts)}"
            if done.anew:
                yield f"  all was computed anew: {done.anew}"
        for path, outcome in self.outcomes.items():
            told = [f"{outcome.rows} rows", *(f"{reason}: {count}" for reason, count in outcome.counts.items())]
            yield f"  {path}: {', '.join(told)}"
            yield from (f"    {note}" for note in outcome.notes)
        for (parameter, reason), count in self._tally().counts.items():
            yield f"  {parameter}: {reason}: {count.rows} rows, {time(count.first_ns)} to {time(count.last_ns)}"
        if self.configuration.broken:
            yield f"  not published, for faults of the configuration: {', '.join(sorted(self.configuration.broken))}"
        yield from (f"  {error}" for error in self.errors)

    def _tally(self) -> Tally:
        total = Tally()
        for outcome in self.outcomes.values():
            total.add(outcome.tally)
        return total

    def _missing(self) -> int:
        """Count the cells that a line covers, and that have no value."""
        return sum(count.rows for (_, reason), count in self._tally().counts.items() if is_missing(reason))


def run(stations: Sequence[StationRun], runner: Runner, progress: Progress) -> None:
    """Ingest stations; what stops one does not stop the others."""
    waiting: list[tuple[StationRun, Path]] = []

    def jobs() -> Iterator[Job]:
        for station in stations:
            for job in station.begin():
                waiting.append((station, job.path))
                yield job

    try:
        with runner:
            for result in runner.run(jobs()):
                station, path = waiting.pop(0)
                progress.file(path)
                station.take(path, result)
                progress.done(path)
    finally:
        progress.end()
        for station in stations:
            station.close()


def tell(text: str) -> None:
    """Say something to people."""
    print(text, file=sys.stderr)
