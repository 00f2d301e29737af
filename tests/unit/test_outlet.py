"""A store that answers anything: what waits, what is parted, what is refused, and that the counts always agree."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver import outlet as outlet_module
from archiver.batch import Batch, Event, Mark, Source
from archiver.outlet import Outlet
from archiver.sinks.sink import WRITTEN, Encoded, Outcome, Verdict
from archiver.spool import Spool
from iocs.signals import Reading, Severity, Status

SOURCE = Source("LAB:A:X", "A", "X", "A:X")


class LineStore:
    """A store of lines that behaves as it is told."""

    name = "lines"
    most_bytes = 200

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.answers: list[Verdict] = []
        self.poison: set[str] = set()
        self.marks = 0

    def encode(self, batch: Batch) -> Encoded:
        lines = [f"GAP {what.missing}\n" if isinstance(what, Mark) else f"{what.value}\n" for _, what in batch.samples]
        return Encoded("".join(lines).encode(), len(lines))

    def write(self, data: bytes) -> Outcome:
        if self.answers and self.answers.pop(0) is Verdict.LATER:
            return Outcome(Verdict.LATER, "not now")
        lines = data.decode().splitlines()
        if self.poison & set(lines):
            return Outcome(Verdict.SPLIT if len(lines) > 1 else Verdict.REFUSE, "poison")
        self.lines += lines
        return WRITTEN

    def split(self, data: bytes) -> list[Encoded]:
        lines = data.splitlines(keepends=True)
        half = len(lines) // 2
        return [Encoded(b"".join(part), len(part)) for part in (lines[:half], lines[half:]) if part]

    def resume(self, mark: dict) -> None:
        pass

    def mark(self) -> dict:
        self.marks += 1
        return {"lines": len(self.lines)}

    def marked(self) -> None:
        pass

    def close(self) -> None:
        pass


def batch(*values: int) -> Batch:
    readings = [Reading(value, 1000 + value, Severity.NO_ALARM, Status.NO_ALARM) for value in values]
    return Batch(0, [(SOURCE, reading) for reading in readings])


def outlet(folder: Path, store: LineStore, **bounds: int) -> Outlet:
    spool = Spool("lines", folder, **{"keep_free": 0, **bounds})
    spool.open()
    return Outlet(store, spool, folder / "dead-letters", 0.01, 0.0)


def agree(it: Outlet) -> bool:
    counts = it.counts()
    return counts.seen == counts.written + counts.waiting + sum(counts.dropped.values())


def test_poison_is_parted_from_what_is_good(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = LineStore()
    it = outlet(tmp_path, store)
    store.poison = {"13", "77"}
    for start in range(0, 100, 10):
        it.record(batch(*range(start, start + 10)))
    it.drain()
    assert store.lines == [str(n) for n in range(100) if n not in (13, 77)]
    assert (it.written, it.dropped, it.waiting) == (98, {"refused by the store": 2}, 0) and agree(it)
    assert (tmp_path / "dead-letters").read_text() == "# poison\n13\n# poison\n77\n"
    assert caplog.text.count("lines refuses 1 events: poison") == 2


def test_a_store_that_is_away_holds_nothing_up_and_gets_everything(tmp_path: Path) -> None:
    store = LineStore()
    it = outlet(tmp_path, store)
    store.answers = [Verdict.LATER] * 5
    pauses = []
    for number in range(5):
        it.record(batch(number))
        pauses.append(it.drain())
    assert it.error == "not now" and it.waiting == 5 and not store.lines and agree(it)
    assert all(0 < pause <= 30 for pause in pauses) and max(pauses[2:]) > max(pauses[:1])
    it.drain()
    assert store.lines == ["0", "1", "2", "3", "4"] and not it.error and agree(it)


def test_what_finds_no_room_is_counted_and_marked_when_there_is_room(tmp_path: Path, caplog) -> None:
    store = LineStore()
    it = outlet(tmp_path, store, most_bytes=60, memory_bytes=60)
    store.answers = [Verdict.LATER]
    for number in range(100, 110):
        it.record(batch(number))
    dropped = it.dropped["no room in the spool"]
    assert 0 < dropped < 10 and agree(it) and "LOST" in caplog.text
    it.drain()
    it.drain()
    it.save(force=True)
    it.record(batch(200))
    it.drain()
    assert store.lines == [*(str(100 + n) for n in range(10 - dropped)), "200", f"GAP {dropped}"]
    assert agree(it) and f"{dropped} events were lost" in caplog.text


def test_too_many_at_once_are_counted_and_marked(tmp_path: Path) -> None:
    store = LineStore()
    it = outlet(tmp_path, store)
    it.overrun(3, batch(1, 2, 3).as_gaps({}))
    it.record(batch(4))
    it.drain()
    assert store.lines == ["4", "GAP 3"] and it.dropped == {"too many at once": 3} and agree(it)


def test_a_stop_with_a_full_spool_marks_what_was_lost_and_keeps_what_waits_in_memory(tmp_path: Path) -> None:
    store = LineStore()
    it = outlet(tmp_path, store, most_bytes=60, memory_bytes=60)
    store.answers = [Verdict.LATER] * 100
    it.start()
    for number in range(100, 110):
        it.record(batch(number))
    it.record(Batch(0, [(SOURCE, Mark(Event.STOPPED, 5))]))
    dropped = it.dropped["no room in the spool"]
    assert it.spool.fault and 1 < dropped < 11
    assert not it.stop(10.0) and agree(it) and not store.lines
    store.answers = []
    again = outlet(tmp_path, store, most_bytes=60, memory_bytes=60)
    again.drain()
    assert store.lines == [*(str(n) for n in range(100, 111 - dropped)), f"GAP {dropped - 1}"]


def test_a_mark_that_is_lost_leaves_a_gap_too(tmp_path: Path) -> None:
    gaps = Batch(0, [(SOURCE, Mark(Event.DISCONNECTED, 5))]).as_gaps({})
    assert gaps == {SOURCE: Mark(Event.GAP, 5)}
    other = Source("LAB:A:ROW", "A", "ROW", "A:ROW")
    gaps = Batch(0, [(SOURCE, Mark(Event.GAP, 9, 4)), (other, Mark(Event.GAP, 7, 2))]).as_gaps(gaps)
    assert gaps == {SOURCE: Mark(Event.GAP, 5, 4), other: Mark(Event.GAP, 7, 2)}


def test_what_is_refused_and_cannot_be_kept_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    store = LineStore()
    it = outlet(tmp_path, store)
    store.poison = {"13"}
    (tmp_path / "dead-letters").mkdir()
    it.record(batch(12, 13, 14))
    assert it.drain() > 0 and "dead-letters cannot be written" in it.error
    assert store.lines == ["12"] and it.waiting == 2 and not it.dropped and agree(it)
    (tmp_path / "dead-letters").rmdir()
    it.drain()
    assert store.lines == ["12", "14"] and not it.error and agree(it)
    assert (tmp_path / "dead-letters").read_text() == "# poison\n13\n"
    monkeypatch.setattr(outlet_module, "MOST_LETTERS", 5)
    it.record(batch(13))
    it.drain()
    assert it.dropped == {"refused by the store": 2} and "LOST" in caplog.text and agree(it)
    assert (tmp_path / "dead-letters").stat().st_size < 20


def test_the_thread_writes_and_ends(tmp_path: Path) -> None:
    store = LineStore()
    it = outlet(tmp_path, store)
    it.start()
    it.record(batch(1, 2))
    assert it.stop(10.0)
    assert store.lines == ["1", "2"] and store.marks


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(["record", "drain", "later", "poison", "kill", "save"]), max_size=40), st.integers())
def test_conservation_and_liveness(tmp_path_factory, steps: list[str], seed: int) -> None:
    """Whatever happens, the counts agree; when the faults stop, every value is in the store or a dead letter."""
    folder, store, chance = tmp_path_factory.mktemp("outlet"), LineStore(), random.Random(seed)
    it, number = outlet(folder, store), 0
    for step in steps:
        if step == "record":
            values = range(number, number + chance.randrange(1, 20))
            number = values.stop
            it.record(batch(*values))
        elif step == "drain":
            it.drain()
        elif step == "later":
            store.answers += [Verdict.LATER] * chance.randrange(3) + [Verdict.WRITTEN] * chance.randrange(3)
        elif step == "poison" and number:
            store.poison.add(str(chance.randrange(number)))
        elif step == "save":
            it.save(force=True)
        elif step == "kill":
            it = outlet(folder, store)  # what was written since the last save is written again
        assert agree(it)
    store.answers = []
    it.drain()
    letters = [line for line in _lines(folder / "dead-letters") if not line.startswith("#")]
    assert {*store.lines, *letters} == {str(n) for n in range(number)}
    assert it.waiting == 0 and agree(it)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_what_is_damaged_in_the_spool_is_counted(tmp_path: Path) -> None:
    store = LineStore()
    it = outlet(tmp_path, store, memory_bytes=1)
    for number in range(20):
        it.record(batch(number))
    (segment,) = tmp_path.glob("*.log")
    segment.write_bytes(segment.read_bytes()[:200] + b"?" * 100)
    it.drain()
    assert it.counts().dropped["damaged in the spool"] > 5 and agree(it) and it.waiting == 0
    it.record(batch(99))
    it.drain()
    assert store.lines[-1] == "99" and agree(it)
