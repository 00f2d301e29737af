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
        self._lost: dict[Source, Mark] = {}  # what was dropped since the last batch that found room
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

    def record(self, batch: Batch) -> None:
        """Take a batch: it is in the spool, or counted as dropped, when this returns."""
        encoded = self.sink.encode(batch)
        if not encoded.count:
            return
        gaps = self.sink.encode(Batch(batch.arrived_ns, list(self._lost.items()))) if self._lost else Encoded(b"", 0)
        if self.spool.put(gaps.data + encoded.data, gaps.count + encoded.count):
            self.seen += encoded.count + gaps.count
            if self._lost:
                count = sum(gap.missing for gap in self._lost.values())
                log.warning("%s: %d events were lost; there is room in the spool again", self.sink.name, count)
                self._lost = {}
        else:
            self.seen += encoded.count
            self._lose(batch, encoded.count)

    def _lose(self, batch: Batch, count: int) -> None:
        if not self._lost:
            log.error(
                "%s: the spool is full (%d events wait): what comes is LOST for this store",
                self.sink.name,
                self.waiting,
            )
        self._drop("no room in the spool", count)
        self._lost = batch.as_gaps(self._lost)

    def overrun(self, count: int, gaps: dict[Source, Mark]) -> None:
        """Take note of events that were dropped before they could be encoded, as all spools are too slow."""
        self.seen += count
        self._drop("too many at once", count)
        for source, gap in gaps.items():
            known = self._lost.get(source, Mark(Event.GAP, gap.time_ns))
            self._lost[source] = replace(known, missing=known.missing + gap.missing)

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
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(within)
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
            self._well()
            self._todo.popleft()
            if outcome.verdict is Verdict.WRITTEN:
                self.written += part.count
                self._done += part.count
                continue
            parts = self.sink.split(part.data) if outcome.verdict is Verdict.SPLIT else []
            if len(parts) > 1:
                self._todo.extendleft(reversed(parts))
            else:
                self._refused(part, outcome.reason)
        return 0.0

    def _refused(self, part: Encoded, reason: str) -> None:
        self._drop("refused by the store", part.count)
        self._done += part.count
        log.error("%s refuses %d events: %s; they are in %s", self.sink.name, part.count, reason, self._dead_letters)
        try:
            self._dead_letters.parent.mkdir(parents=True, exist_ok=True)
            with self._dead_letters.open("ab") as file:
                file.write(f"# {' '.join(reason.split())}\n".encode() + part.data)
        except OSError as error:
            log.error("%s cannot be written: %s", self._dead_letters, error.strerror)

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
