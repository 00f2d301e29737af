"""Files to calibrated rows, here, in several processes, or on a Dask cluster: the same code and order of results."""

import io
import pickle
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import count, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ingest.cr1000.blocks import Block
from ingest.cr1000.columns import NO_TEXTS, Chunk, Column, Texts
from ingest.cr1000.configuration import Configuration
from ingest.cr1000.overlay import Overlay
from ingest.cr1000.plan import Start, Wanted, look
from ingest.cr1000.resume import mark, resume
from ingest.cr1000.tables import Reader, Unreadable, read
from ingest.cr1000.tally import Tally


class Lost(Exception):
    """A process or a cluster that did a part of the work is gone; the text says which."""


Rows = tuple[np.ndarray, Sequence[Column], Texts]
"""Stamps int64[n], ns, a column for each parameter, and what is formatted of them already."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are read.

    Attributes:
        table: which table to take; empty = the first.
        utc_offset_ns: what the logger's clock is ahead of UTC.
        shift_ns: what is taken from every stamp of a row before it is published.
        final: a last line without an end is whole.
        missing: by parameter, the numbers that mean missing, where others than the usual ones do.
    """

    table: str = ""
    utc_offset_ns: int = 0
    shift_ns: int = 0
    final: bool = False
    missing: Mapping[str, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """One file to be read from a place on, calibrated, and formatted as is wanted by whoever formats ahead."""

    path: Path
    configuration: Configuration
    reading: Reading
    start: Start = field(default_factory=Start)
    wanted: Wanted | None = None


@dataclass(slots=True)
class Outcome:
    """What came of a file.

    Attributes:
        rows: that were read.
        counts: rows dropped and things noted, per reason.
        notes: what people want to read.
        tally: what is missing, per parameter and reason.
        look, mark, last_ns: for the state, see `publish`.
        error: why the rest of the file could not be read; empty if it could.
    """

    rows: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    look: list[int] = field(default_factory=list)
    mark: dict[str, Any] | None = None
    last_ns: int | None = None
    error: str = ""


def blocks(job: Job, outcome: Outcome, tell: Callable[[int], None] = lambda _: None) -> Iterator[Block]:
    """Give the blocks of a file, as far as it can be read.

    Args:
        job: the file.
        outcome: is told what came of it.
        tell: is told bytes read so far.
    """
    reader = Reader(str(job.path), job.reading.table, job.reading.utc_offset_ns)
    offset = 0
    try:
        outcome.look = look(job.path)
        if job.start.saved is not None:
            begun = resume(reader, job.path, job.start.saved)
            if begun is None:
                raise Unreadable(f"{job.path}: the file was changed while it was looked at: run it again")
            offset = begun
        for block in read(job.path, reader, job.reading.final, offset):
            outcome.rows += len(block)
            yield block
            tell(reader.taken)
        outcome.mark = mark(reader, job.path)
    except Unreadable as error:
        outcome.error = str(error)
    except OSError as error:
        outcome.error = f"{job.path}: {error.strerror or error}"
    outcome.counts, outcome.notes, outcome.last_ns = reader.counts, reader.notes, reader.order.last_ns


def calibrated(job: Job, outcome: Outcome, tell: Callable[[int], None] = lambda _: None) -> Iterator[Rows]:
    """Give the calibrated rows of a file; see `blocks`."""
    shift_ns, wanted = job.reading.shift_ns, job.wanted
    if wanted:
        first, end = (None if bound is None else bound + shift_ns for bound in (wanted.from_ns, wanted.to_ns))
        outcome.tally = Tally(first, end)
    overlay = Overlay(job.configuration, outcome.tally, job.reading.missing)
    for block in blocks(job, outcome, tell):
        yield block.time_ns - shift_ns, overlay.columns(block), NO_TEXTS


Result = tuple[Iterator[Rows], Outcome]
"""Rows, and what came of the file, which is whole when there are no more of them."""


class Here:
    """Runs jobs in this process, one after the other.

    Args:
        tell: is told how many bytes of the present file are done with.
    """

    def __init__(self, tell: Callable[[int], None] = lambda _: None) -> None:
        self._tell = tell

    def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """Give the result of each job, in their order."""
        for job in jobs:
            outcome = Outcome()
            yield calibrated(job, outcome, self._tell), outcome

    def __enter__(self) -> "Here":
        return self

    def __exit__(self, *error: object) -> None:
        pass


class Processes:
    """Spreads jobs over processes of this machine; their rows come through files that have no name for long.

    Args:
        workers: how many processes.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool = ProcessPoolExecutor(workers, get_context("spawn"))
        self._folder = tempfile.TemporaryDirectory(prefix="cr1000-")

    def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """Give the result of each job, in their order.

        Raises:
            Lost: a process was killed.
        """
        paths = (Path(self._folder.name) / str(number) for number in count())
        tasks = ((path, self._pool.submit(_into_file, job, path)) for job, path in zip(jobs, paths, strict=False))
        for path, future in _ahead(tasks, 2 * self._workers):
            try:
                outcome = future.result()
            except BrokenExecutor as error:
                raise Lost(f"a process that read files was killed: {error}") from error
            with path.open("rb") as file:
                path.unlink()
                yield _rows(file), outcome

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._folder.cleanup()


class Dask:
    """Spreads jobs over a Dask cluster, whose workers see the same files under the same names.

    Args:
        address: of the scheduler.

    Raises:
        LookupError: distributed is not installed, or the cluster has no workers.
        OSError: the scheduler does not answer.
    """

    def __init__(self, address: str, timeout: float = 10.0) -> None:
        try:
            from distributed import Client
        except ImportError:
            raise LookupError("distributed is not installed: pip install 'countinghouse[dask]'") from None
        self._client = Client(address, timeout=timeout, set_as_default=False)
        nthreads: Any = self._client.nthreads()
        threads = sum(nthreads.values())
        if not threads:
            self._client.close()
            raise LookupError(f"the cluster at {address} has no workers: start some, as in `dask worker {address}`")
        self._most = 2 * threads

    def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """Give the result of each job, in their order.

        Raises:
            Lost: the cluster, or a worker again and again.
        """
        tasks = ((None, self._client.submit(_into_bytes, job, pure=False)) for job in jobs)
        for _, future in _ahead(tasks, self._most):
            try:
                data, outcome = future.result()
            except Exception as error:
                raise Lost(f"the cluster gave no result: {type(error).__name__}: {error}") from error
            yield _rows(io.BytesIO(data)), outcome

    def __enter__(self) -> "Dask":
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()


Runner = Here | Processes | Dask


def _ahead(tasks: Iterator[tuple[Any, Any]], most: int) -> Iterator[tuple[Any, Any]]:
    """Give tasks in their order, so many of them begun before they are asked for."""
    begun = list(islice(tasks, most))
    while begun:
        yield begun.pop(0)
        begun += islice(tasks, 1)


def _into(job: Job, file: BinaryIO) -> Outcome:
    outcome = Outcome()
    for times_ns, columns, _ in calibrated(job, outcome):
        texts = job.wanted.texts(Chunk(times_ns, columns)) if job.wanted else NO_TEXTS
        pickle.dump((times_ns, columns, texts), file, pickle.HIGHEST_PROTOCOL)
    return outcome


def _into_file(job: Job, path: Path) -> Outcome:
    with path.open("wb") as file:
        return _into(job, file)


def _into_bytes(job: Job) -> tuple[bytes, Outcome]:
    file = io.BytesIO()
    outcome = _into(job, file)
    return file.getvalue(), outcome


def _rows(file: BinaryIO) -> Iterator[Rows]:
    while True:
        try:
            yield pickle.load(file)
        except EOFError:
            return
