"""A store with its spool around it, and the thread that brings what waits there to the store."""

import logging
import random
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

from archiver.batch import Batch, Event, Mark, Source
from archiver.sinks.sink import Encoded, Sink, Verdict
from archiver.spool import Spool

log = logging.getLogger(__name__)

MOST_LETTERS = 100_000_000  # bytes of what a store refuses
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # s between attempts while a store takes nothing


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the events for a store; see `Outlet`."""

    seen: int
    written: int
    waiting: int
    dropped: dict[str, int]


class Outlet:
    """One store.

    Args:
        sink: the store.
        spool: what waits for it.
        dead_letters: file for what the store will never take.
        write_every: s between writes.
        sync_every: s between marks of what is safe.

    Attributes:
        seen: events that came for the store, with those that waited at the start.
        written: events that it has.
        dropped: events that it will not have, by reason.
        error: why it takes nothing at the moment, empty when all is well.
        bug: what ended the thread, if anything has.
    """

    def __init__(self, sink: Sink, spool: Spool, dead_letters: Path, write_every: float, sync_every: float) -> None:
        self.sink, self.spool = sink, spool
        self.seen = spool.waiting
        self.written = 0
        self.dropped: dict[str, int] = {}
        self.error = ""
        self.error_since = 0.0
        self.bug: Exception | None = None
        self._write_every, self._sync_every = write_every, sync_every
        self._dead_letters = dead_letters
        self._gaps: dict[Source, Mark] = {}  # that are not marked in the data yet
        self._full = False
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._todo: deque[Encoded] = deque()
        self._in_hand: list = []
        self._done = 0  # events of what is in hand that are written or refused
        self._thread = threading.Thread(target=self._run, name=f"{sink.name} outlet", daemon=True)
        self._save_at = 0.0
        self._save_said = ""
        self._pause = FIRST_PAUSE

    # -- in

    def record(self, batch: Batch) -> bool:
        """Take a batch.

        Returns:
            Whether it is in the spool; if not, it is counted as dropped, and marked when there is room again.
        """
        encoded = self.sink.encode(batch)
        taken = not encoded.count or self.spool.put(encoded.data, encoded.count)
        self.seen += encoded.count
        if taken:
            self._mark_gaps(batch.arrived_ns)
        else:
            self._lose(batch, encoded.count)
        return taken

    def _lose(self, batch: Batch, count: int) -> None:
        if not self._full:
            self._full = True
            log.error(
                "%s: the spool is full (%d events wait): what comes is LOST for this store",
                self.sink.name,
                self.waiting,
            )
        self._drop("no room in the spool", count)
        self._gaps = batch.as_gaps(self._gaps)

    def overrun(self, count: int, gaps: dict[Source, Mark]) -> None:
        """Take note of events that were dropped before they could be encoded, as all spools are too slow."""
        self.seen += count
        self._drop("too many at once", count)
        self.add_gaps(gaps)

    def add_gaps(self, gaps: dict[Source, Mark]) -> None:
        """Have gaps marked in the data, before anything else or as soon as there is room."""
        for source, gap in gaps.items():
            known = self._gaps.get(source, Mark(Event.GAP, gap.time_ns))
            self._gaps[source] = replace(known, missing=known.missing + gap.missing)

    @property
    def behind(self) -> bool:
        """Whether anything that came is not on disk, or is lost and not marked yet."""
        return bool(self._gaps or self.spool.fault)

    def _mark_gaps(self, now_ns: int) -> None:
        """Write the marks of what was lost. They find room beyond the bounds of the spool: one for each PV."""
        if not self._gaps:
            return
        gaps = self.sink.encode(Batch(now_ns, list(self._gaps.items())))
        if not self.spool.put(gaps.data, gaps.count, beyond=True):
            return
        self.seen += gaps.count
        if self._full:
            self._full = False
            count = sum(gap.missing for gap in self._gaps.values())
            log.warning("%s: %d events were lost; there is room in the spool again", self.sink.name, count)
        self._gaps = {}

    def _drop(self, reason: str, count: int) -> None:
        self.dropped[reason] = self._drops(reason) + count

    def _drops(self, reason: str) -> int:
        return self.dropped.get(reason, 0)

    @property
    def waiting(self) -> int:
        """Events in the spool and in hand."""
        return self.spool.waiting - self._done

    def counts(self) -> Counts:
        """Give the counts of one moment: seen = written + waiting + dropped."""
        counts = Counts(0, 0, 0, {})
        for _ in range(1000):  # the two threads change them one after the other, within microseconds
            lost = {"damaged in the spool": self.spool.lost} if self.spool.lost else {}
            counts = Counts(self.seen, self.written, self.waiting, {**self.dropped, **lost})
            if counts.seen == counts.written + counts.waiting + sum(counts.dropped.values()):
                break
            time.sleep(1e-5)
        return counts

    # -- out

    def start(self) -> None:
        """Begin to write."""
        self.sink.resume(self.spool.mark)
        self._thread.start()

    def wake(self) -> None:
        """Write now."""
        self._wake.set()

    def stop(self, within: float) -> bool:
        """Write what waits, if the store takes it, then end.

        Returns:
            Whether nothing waits; what does, waits for the next run.
        """
        self._mark_gaps(time.time_ns())
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(within)
        self.spool.flush()
        if self._thread.is_alive():
            log.warning("%s: the store does not answer; what waits for it stays in the spool", self.sink.name)
            return False
        self.sink.close()
        self.spool.close()
        return not self.waiting

    def _run(self) -> None:
        try:
            wait = self._write_every
            while True:
                (self._stopping if self.error else self._wake).wait(wait)  # nobody hurries a store that is down
                stopping = self._stopping.is_set()
                self._wake.clear()
                wait = self.drain()
                self.save(force=stopping)
                if stopping:
                    return
        except Exception as error:  # a bug must not leave the store dead in silence
            log.critical("%s: ended by a fault of its own", self.sink.name, exc_info=True)
            self.bug = error

    def drain(self) -> float:
        """Write until nothing waits or the store takes no more.

        Returns:
            s until the next attempt.
        """
        while True:
            if not self._todo:
                self._in_hand = self.spool.peek(self.sink.most_bytes)
                if not self._in_hand:
                    return self._write_every
                whole = b"".join(record.payload for record in self._in_hand)
                self._todo.append(Encoded(whole, sum(record.count for record in self._in_hand)))
            pause = self._write_todo()
            if pause:
                return pause
            self._done = 0
            self.spool.acknowledge(self._in_hand)
            self._in_hand = []
            self._save_if_due()

    def _write_todo(self) -> float:
        while self._todo:
            part = self._todo[0]
            outcome = self.sink.write(part.data)
            if outcome.verdict is Verdict.LATER:
                return self._later(outcome.reason, outcome.wait)
            parts = self.sink.split(part.data) if outcome.verdict is Verdict.SPLIT else []
            if outcome.verdict is not Verdict.WRITTEN and len(parts) < 2:
                try:
                    self._refused(part, outcome.reason)
                except OSError as error:
                    return self._later(f"{self._dead_letters} cannot be written: {error.strerror}", 0.0)
            self._well()
            self._todo.popleft()
            if outcome.verdict is Verdict.WRITTEN:
                self.written += part.count
                self._done += part.count
            elif len(parts) > 1:
                self._todo.extendleft(reversed(parts))
        return 0.0

    def _refused(self, part: Encoded, reason: str) -> None:
        """Keep what the store will never take where somebody may look at it.

        Raises:
            OSError: it cannot be kept.
        """
        where = f"they are in {self._dead_letters}"
        self._dead_letters.parent.mkdir(parents=True, exist_ok=True)
        with self._dead_letters.open("ab") as file:
            if file.tell() < MOST_LETTERS:
                file.write(f"# {' '.join(reason.split())}\n".encode() + part.data)
            else:
                where = f"they are LOST, as {self._dead_letters} is full: move it away"
        self._drop("refused by the store", part.count)
        self._done += part.count
        log.error("%s refuses %d events: %s; %s", self.sink.name, part.count, reason, where)

    def _later(self, reason: str, wait: float) -> float:
        if not self.error:
            self.error_since = time.time()
            self._pause = FIRST_PAUSE
        self.error = reason
        if wait:
            return min(wait, LONGEST_PAUSE)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        return self._pause * random.uniform(0.5, 1.0)

    def _well(self) -> None:
        self.error = ""

    def _save_if_due(self) -> None:
        if time.monotonic() >= self._save_at:
            self.save()

    def save(self, force: bool = False) -> None:
        """Make outlast a kill what is written and what waits."""
        if not force and time.monotonic() < self._save_at:
            return
        self._save_at = time.monotonic() + self._sync_every
        try:
            if self.spool.save(self.sink.mark()):
                self.sink.marked()
            self._save_said = ""
        except OSError as error:
            if str(error) != self._save_said:
                self._save_said = str(error)
                log.error(
                    "%s: what is written cannot be noted: %s; a kill now costs nothing but time", self.sink.name, error
                )

    def new_file(self) -> None:
        """Keep a mark at once, within a write: a new file is known to the next run before anything is in it."""
        try:
            self.spool.save(self.sink.mark())
        except OSError as error:
            log.error("%s: a new file cannot be noted: %s; a kill now may leave lines twice", self.sink.name, error)
