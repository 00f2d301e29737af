"""The spool: its log torn and damaged anywhere, its bounds, and every order of putting, taking, saving and dying."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from archiver import spool as spool_module
from archiver.spool import Spool
from archiver.spool_format import HEAD, Record, frame, read_record, records

PAYLOADS = st.lists(st.binary(max_size=300), max_size=12)


def log_of(payloads: list[bytes]) -> tuple[list[Record], bytes]:
    made = [Record(number, number % 7, payload) for number, payload in enumerate(payloads, 1)]
    return made, b"".join(frame(record) for record in made)


@given(PAYLOADS)
def test_a_whole_log_reads_back(payloads: list[bytes]) -> None:
    made, log = log_of(payloads)
    found = list(records(log))
    assert [record for _, record in found] == made
    assert [offset for offset, _ in found] == [sum(r.size for r in made[: n + 1]) for n in range(len(made))]


@given(PAYLOADS, st.data())
def test_a_torn_log_gives_what_is_whole_and_nothing_else(payloads: list[bytes], data) -> None:
    made, log = log_of(payloads)
    cut = data.draw(st.integers(0, len(log)))
    tail = data.draw(st.sampled_from([b"", bytes(500), b"\xff" * 40]))  # as file systems leave them
    found = [record for _, record in records(log[:cut] + tail)]
    whole = [record for offset, record in records(log) if offset <= cut]
    assert found[: len(whole)] == whole and found == made[: len(found)]  # zeros may be just what was cut off


@given(PAYLOADS.filter(bool), st.data())
def test_a_changed_bit_is_never_taken_for_data(payloads: list[bytes], data) -> None:
    made, log = log_of(payloads)
    place, bit = data.draw(st.integers(0, len(log) - 1)), data.draw(st.integers(0, 7))
    wrong = bytearray(log)
    wrong[place] ^= 1 << bit
    found = [record for _, record in records(wrong)]
    hit = next(n for n in range(len(made)) if place < sum(record.size for record in made[: n + 1]))
    assert found == made[:hit]


@given(st.binary(max_size=200))
def test_garbage_is_no_log(garbage: bytes) -> None:
    assert read_record(garbage, 0) is None or garbage[: HEAD + 8] == frame(next(records(garbage))[1])[: HEAD + 8]


def fresh(folder: Path, **bounds: int) -> Spool:
    spool = Spool("test", folder, **{"keep_free": 0, **bounds})
    spool.open()
    return spool


def drain(spool: Spool, most: int = 100) -> list[bytes]:
    found = []
    while taken := spool.peek(most):
        found += [record.payload for record in taken]
        spool.acknowledge(taken)
    return found


def test_what_waits_is_there_after_a_kill(tmp_path: Path) -> None:
    spool = fresh(tmp_path)
    sent = [b"%d" % n * 30 for n in range(50)]
    assert all(spool.put(payload, 2) for payload in sent)
    first = spool.peek(200)
    spool.acknowledge(first)
    assert spool.save({"a": 1}) and not spool.save({"a": 1})
    again = fresh(tmp_path)  # the first one is not closed: it was killed
    assert again.mark == {"a": 1} and again.waiting == spool.waiting == 2 * (50 - len(first))
    assert drain(again) == sent[len(first) :]
    assert again.waiting == again.waiting_bytes == 0
    again.save({})
    again.close()
    assert [path.name for path in tmp_path.iterdir()] == ["acknowledged.json"]


def test_a_backlog_larger_than_memory_is_read_back_from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", 500)
    spool = fresh(tmp_path, memory_bytes=300)
    sent = [b"%05d" % n * 10 for n in range(100)]
    assert all(spool.put(payload, 1) for payload in sent)
    assert len(list(tmp_path.glob("*.log"))) > 5
    assert sum(record.size for record in spool._memory) <= 300
    assert drain(spool, 150) == sent
    spool.save({})
    assert len(list(tmp_path.glob("*.log"))) <= 1
    assert spool.put(b"more", 1) and drain(spool) == [b"more"]


def test_the_bound_on_disk_then_the_bound_in_memory_then_no_more(tmp_path: Path, caplog) -> None:
    spool = fresh(tmp_path, most_bytes=200, memory_bytes=200)
    taken = [spool.put(b"x" * 30, 1) for _ in range(20)]
    assert taken == [True] * taken.count(True) + [False] * taken.count(False) and 6 < taken.count(True) < 10
    assert "spool_megabytes" in caplog.text and spool.waiting == taken.count(True)
    assert len(drain(spool)) == taken.count(True)
    spool.save({})
    assert spool.put(b"y", 1) and not spool.fault


def test_a_disk_without_room_is_left_alone(tmp_path: Path) -> None:
    spool = fresh(tmp_path, keep_free=1 << 60)
    assert spool.put(b"x", 1) and "keep_free" in spool.fault
    assert not list(tmp_path.glob("*.log")) and drain(spool) == [b"x"]


def test_a_disk_that_fails_is_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = fresh(tmp_path)
    assert spool.put(b"one", 1)
    whole = os.write
    with monkeypatch.context() as patch:
        patch.setattr("archiver.spool.os.write", lambda fd, data: whole(fd, data[:5]))
        assert spool.put(b"two", 1) and spool.fault
    with monkeypatch.context() as patch:

        def refuse(fd: int, data: bytes) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        patch.setattr("archiver.spool.os.write", refuse)
        assert spool.put(b"three", 1)
    assert spool.put(b"four", 1) and not spool.fault
    again = fresh(tmp_path)
    assert not again.torn and drain(again) == drain(spool) == [b"one", b"two", b"three", b"four"]


def test_a_folder_that_was_removed_is_written_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "spool"
    spool = fresh(folder)
    assert spool.put(b"one", 1) and spool.put(b"two", 1)
    shutil.rmtree(folder)
    assert spool.put(b"three", 1) and not spool.fault
    assert "was removed" in caplog.text
    assert drain(fresh(folder)) == drain(spool) == [b"one", b"two", b"three"]
    assert spool.waiting == 0


def test_damage_in_the_midst_costs_what_is_damaged_and_is_told(tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", 200)
    spool = fresh(tmp_path, memory_bytes=100)
    sent = [b"%05d" % n * 6 for n in range(40)]
    assert all(spool.put(payload, 1) for payload in sent)
    segments = sorted(tmp_path.glob("*.log"))
    damaged = bytearray(segments[1].read_bytes())
    damaged[HEAD + 60] ^= 1
    segments[1].write_bytes(damaged)
    found = drain(spool)
    assert set(found) < set(sent) and found == sorted(found)
    assert spool.lost == 40 - len(found) > 0 and spool.waiting == 0
    assert "are lost" in caplog.text


def test_what_is_not_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "acknowledged.json").write_text("[]")
    with pytest.raises(ValueError, match="move the folder"):
        fresh(tmp_path)


class SpoolMachine(RuleBasedStateMachine):
    """What was taken and not acknowledged comes, in order; what was saved as acknowledged does not."""

    @initialize()
    def begin(self) -> None:
        import tempfile

        self.folder = Path(tempfile.mkdtemp(prefix="spool-"))
        self.segment_bytes, spool_module.SEGMENT_BYTES = spool_module.SEGMENT_BYTES, 200
        self.number = 0
        self.waiting: list[bytes] = []  # taken, not acknowledged
        self.unsaved: list[bytes] = []  # acknowledged since the last save: a kill brings these back
        self.in_memory: list[bytes] = []  # taken while the disk failed
        self.disk = "well"
        self.start()

    def start(self) -> None:
        self.spool = fresh(self.folder, memory_bytes=400, most_bytes=4000)

    @rule(size=st.integers(0, 120), disk=st.sampled_from(["well", "well", "short", "fails"]))
    def put(self, size: int, disk: str) -> None:
        self.number += 1
        payload = b"%06d" % self.number + b"." * size
        whole = os.write

        def write(fd: int, data: bytes) -> int:
            if disk == "fails":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return whole(fd, data[: len(data) // 2]) if disk == "short" else whole(fd, data)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("archiver.spool.os.write", write)
            taken = self.spool.put(payload, 1)
        if taken:
            self.waiting.append(payload)
            self.in_memory = [*self.in_memory, payload] if self.spool.fault else []

    @rule(most=st.integers(1, 600))
    def take(self, most: int) -> None:
        taken = self.spool.peek(most)
        payloads = [record.payload for record in taken]
        assert payloads == self.waiting[: len(payloads)] and bool(payloads) == bool(self.waiting)
        if taken:
            self.spool.acknowledge(taken)
            del self.waiting[: len(payloads)]
            self.unsaved += payloads
            self.in_memory = [payload for payload in self.in_memory if payload in self.waiting]

    @rule()
    def save(self) -> None:
        self.spool.save({"number": self.number})
        self.unsaved = []

    @rule(torn=st.binary(max_size=30))
    def kill(self, torn: bytes) -> None:
        segments = sorted(self.folder.glob("*.log"))
        if torn and segments:
            with segments[-1].open("ab") as file:
                file.write(torn)
        expected = [payload for payload in self.unsaved + self.waiting if payload not in self.in_memory]
        self.start()
        found = drain(self.spool)
        # of what had been acknowledged while the disk failed, nothing was ever on disk
        assert [payload for payload in found if payload not in self.unsaved] == [
            payload for payload in expected if payload not in self.unsaved
        ]
        assert set(found) <= set(expected)
        self.spool.save({})
        self.waiting, self.unsaved, self.in_memory = [], [], []

    @invariant()
    @precondition(lambda self: hasattr(self, "spool"))
    def counts_agree(self) -> None:
        assert self.spool.waiting == len(self.waiting)
        assert self.spool.waiting_bytes == sum(len(payload) + HEAD for payload in self.waiting)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            spool_module.SEGMENT_BYTES = self.segment_bytes
            shutil.rmtree(self.folder)


TestSpoolMachine = SpoolMachine.TestCase
TestSpoolMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
