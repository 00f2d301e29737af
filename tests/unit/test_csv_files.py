"""The CSV store: names, changes of file, a kill between two marks, and a disk that will not take the lines."""

import csv
import errno
import gzip
import logging
import os
import resource
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from archiver.batch import Batch, RowRecord, Source
from archiver.sinks import closed_files
from archiver.sinks.csv_files import CsvFiles
from archiver.sinks.folder import LOCK_NAME, Folder, FolderTaken
from archiver.sinks.sink import Verdict
from iocs.archive_tables import CsvTable
from iocs.signals import Kind, Reading, Row, Severity, Signal, Status

S = 1_000_000_000
HOUR = 3600 * S
START = 497_222 * HOUR  # a full hour in 2026
ROW = Row("ROW", (Signal("FREQ", unit="Hz"), Signal("STAT", kind=Kind.INT)))
WIDER = Row("ROW", (*ROW.signals, Signal("VA:MAG", unit="V")))
SOURCE = Source("LAB:PMU:ROW", "PMU", "ROW", "PMU:ROW")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


class Store:
    """The sink, and the bytes that wait for it."""

    def __init__(self, data: Path, mark: dict | None = None, **settings: object) -> None:
        table = CsvTable.model_validate({"time_format": "ns", "directory": data, **settings})
        self.sink = CsvFiles(table)
        self.sink.claim()
        self.sink.resume(mark or {})
        self.waiting = b""

    def feed(self, times: list[int], row: Row = ROW) -> None:
        rows = [RowRecord(SOURCE, row, time_ns, [50.0] * len(row.signals)) for time_ns in times]
        self.waiting += self.sink.encode(Batch(START, [], rows)).data

    def write(self) -> bool:
        outcome = self.sink.write(self.waiting)
        assert outcome.verdict in (Verdict.WRITTEN, Verdict.LATER)
        if outcome.verdict is Verdict.LATER:
            return False
        self.waiting = b""
        return True

    def close(self) -> bool:
        done = self.write()
        self.sink.close()
        return done


def files(data: Path) -> dict[str, list[int]]:
    """Time of every row by file; each line must be whole."""
    found = {}
    for path in sorted(data.glob("*.csv")):
        text = path.read_text()
        assert text.endswith("\n")
        header, *rows = csv.reader(text.splitlines())
        assert header[0] == "time" and all(len(row) == len(header) for row in rows)
        found[path.name] = [int(row[0]) for row in rows]
    return found


def name(time_ns: int, number: int = 0) -> str:
    return f"PMU_{time_ns // S}{f'-{number}' if number else ''}.csv"


def test_a_row_a_frame_under_the_first_rows_second(data: Path) -> None:
    out = Store(data)
    times = [START + 5 * S + n * 20_000_000 for n in range(50)]
    out.feed(times[:25])
    assert not list(data.glob("*.csv"))
    assert out.write()
    out.feed(times[25:])
    assert out.close()
    assert files(data) == {name(times[0]): times}
    assert (data / name(times[0])).read_text().startswith(f"time,FREQ (Hz),STAT\n{times[0]},50,50\n")


def test_files_are_cut_at_the_hour_of_the_row(data: Path) -> None:
    out = Store(data)
    before, after = [START - 2, START - 1], [START, START + HOUR - 1]
    out.feed(before + after + [START + 3 * HOUR + 7])
    assert out.close()
    assert files(data) == {
        name(before[0]): before,
        name(after[0]): after,
        name(START + 3 * HOUR): [START + 3 * HOUR + 7],
    }


def test_a_size_begins_a_new_file_too(data: Path) -> None:
    out = Store(data, new_file_megabytes=0.0001)
    for n in range(6):
        out.feed([START + n * S])
        assert out.write()
    assert out.close()
    assert [len(times) for times in files(data).values()] == [3, 3]


def test_a_name_that_is_taken_gets_a_number(data: Path) -> None:
    data.mkdir()
    (data / name(START)).write_text("mine\n")
    (data / name(START, 1)).write_text("mine too\n")
    out = Store(data)
    out.feed([START])
    assert out.close()
    assert (data / name(START)).read_text() == "mine\n"
    assert (data / name(START, 2)).read_text().count("\n") == 2


def test_a_repeated_second_stays_and_a_clock_set_back_never_reopens_a_file(data: Path) -> None:
    out = Store(data)
    out.feed([START - S, START, START - S, START - S, START + S])  # a second told twice, across the hour
    assert out.write()
    out.feed([START - 5 * HOUR, START - 5 * HOUR + S, START + 2 * S])  # the clock jumps back and returns
    assert out.close()
    assert files(data) == {
        name(START - S): [START - S],
        name(START): [START, START - S, START - S, START + S],
        name(START - 5 * HOUR): [START - 5 * HOUR, START - 5 * HOUR + S],
        name(START + 2 * S): [START + 2 * S],
    }


def test_new_columns_get_a_new_file_and_equal_ones_do_not(data: Path) -> None:
    out = Store(data)
    out.feed([START])
    out.feed([START + S], Row("ROW", (Signal("FREQ", unit="Hz", doc="other words"), ROW.signals[1])))
    out.feed([START + 2 * S], WIDER)
    assert out.close()
    assert files(data) == {name(START): [START, START + S], name(START + 2 * S): [START + 2 * S]}


def test_a_torn_tail_without_a_mark_is_cut(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = Store(data)
    first.feed([START, START + S])
    assert first.close()
    with (data / name(START)).open("a") as torn:
        torn.write("1790000")
    (data / "PMU_17900000.csv.notes").write_text("not ours, no newline")
    (data / "PMU_5.csv").write_text("not ours, no newline")
    second = Store(data)
    assert "torn line of 7 bytes" in caplog.text
    second.feed([START + S])
    assert second.close()
    assert (data / "PMU_5.csv").read_text() == "not ours, no newline"
    (data / "PMU_5.csv").unlink()
    assert files(data) == {name(START): [START, START + S], name(START + S): [START + S]}


def test_a_file_torn_in_its_header_goes(data: Path) -> None:
    data.mkdir()
    (data / name(START)).write_text("time,FR")
    Store(data)
    assert not list(data.glob("*.csv"))


def test_what_came_behind_the_mark_is_cut_and_comes_again(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = Store(data)
    first.feed([START])
    assert first.write()
    mark = first.sink.mark()
    first.feed([START + S, START + 2 * S])
    again = first.waiting
    assert first.close()  # as after a kill: written, and not marked
    second = Store(data, mark)
    assert "cut back by" in caplog.text
    second.waiting = again
    assert second.close()
    assert files(data) == {name(START): [START], name(START + S): [START + S, START + 2 * S]}


def test_a_new_file_is_marked_before_anything_is_in_it(data: Path) -> None:
    out, marks = Store(data), []
    out.sink.on_new_file = lambda: marks.append(out.sink.mark())
    out.feed([START])
    assert out.write()
    before = out.sink.mark()["files"]
    out.feed([START + S, START + HOUR])
    assert out.close()
    ((old, size),) = before.items()
    assert marks[1]["files"] == {old: size, str(data / name(START + HOUR)): 0}


def test_two_archivers_cannot_have_one_folder(data: Path) -> None:
    holder, other = Folder(data), Folder(data)
    holder.claim()
    holder.claim()
    with pytest.raises(FolderTaken, match=f"pid {os.getpid()}"):
        other.claim()
    holder.release()
    other.claim()
    assert (data / LOCK_NAME).exists()


def test_a_file_in_the_place_of_the_folder_loses_nothing(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    data.write_text("in the way")
    out = Store(data)
    out.feed([START, START + S])
    assert not out.write() and not out.write()
    assert "exists" in out.sink.fault and caplog.text.count("cannot write") == 1
    data.unlink()
    out.feed([START + 2 * S])
    assert out.close()
    assert "writing again" in caplog.text
    assert files(data) == {name(START): [START, START + S, START + 2 * S]}


def test_a_folder_removed_under_our_feet_is_made_again(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = Store(data)
    out.feed([START])
    assert out.write()
    shutil.rmtree(data)
    out.feed([START + S])
    assert out.write()
    out.feed([START + 2 * S])
    os.rename(data, data.with_name("moved"))
    assert out.close()
    assert "is gone from its place" in caplog.text
    assert files(data.with_name("moved")) == {name(START + S): [START + S]}
    assert files(data) == {name(START + 2 * S): [START + 2 * S]}


@pytest.fixture
def room() -> Iterator[object]:
    """Set the largest size that a file may have (the system's own limit: a write is cut short, the next one fails)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("limit", [0, 3, 20, 21, 60, 100, 101, 137])
def test_a_full_disk_leaves_whole_writes_and_no_row_twice(data: Path, room, limit: int) -> None:
    out = Store(data)
    times = [START + n * S for n in range(12)]
    out.feed(times[:3])
    out.feed([*times[3:6], START + HOUR])  # the second file must not stay when the first one does not take its rows
    room(limit)
    wrote = [out.write(), out.write()]
    text = b"".join(path.read_bytes() for path in data.glob("*.csv"))
    assert wrote == [False, False] and not text and out.sink.fault
    room(None)
    out.feed([START + HOUR + S])
    assert out.close()
    assert files(data) == {name(START): times[:6], name(START + HOUR): [START + HOUR, START + HOUR + S]}


def test_no_space_at_all_is_told_once_and_healed(
    data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(fd: int, lines: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = Store(data)
    out.feed([START])
    with monkeypatch.context() as patch:
        patch.setattr("archiver.sinks.append.os.write", full)
        assert not out.write() and not out.write()
        assert out.sink.fault == "no space left on the disk"
    out.feed([START + S])
    assert out.close()
    assert caplog.text.count("no space left") == 1 and not out.sink.fault
    assert files(data) == {name(START): [START, START + S]}


def test_where_it_is_allowed_a_full_disk_costs_the_oldest_file(
    data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    out = Store(data, keep_megabytes=1.0)
    for hour in range(3):
        out.feed([START + hour * HOUR])
        assert out.write()
        os.utime(data / name(START + hour * HOUR), (hour, hour))
    (data / "notes.csv").write_text("mine\n")
    whole, faults = os.write, [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))]

    def full(fd: int, lines: bytes) -> int:
        if faults:
            raise faults.pop()
        return whole(fd, lines)

    monkeypatch.setattr("archiver.sinks.append.os.write", full)
    out.feed([START + 2 * HOUR + S])
    assert not out.write() and out.write()
    assert out.sink.deleted == 1 and "the disk is full" in caplog.text
    (data / "notes.csv").unlink()
    assert sorted(files(data)) == [name(START + HOUR), name(START + 2 * HOUR)]
    out.sink.close()


def test_closed_files_are_compressed_and_old_ones_deleted(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed_files, "TEND_EVERY", 0.0)
    out = Store(data, gzip=True, keep_days=10.0)
    for hour in range(3):
        out.feed([START + hour * HOUR])
        assert out.write()
    out.sink.mark()
    out.sink.marked()
    packed = data / (name(START) + ".gz")
    assert gzip.decompress(packed.read_bytes()).decode() == f"time,FREQ (Hz),STAT\n{START},50,50\n"
    assert sorted(path.name for path in data.glob("PMU_*")) == [
        packed.name,
        name(START + HOUR) + ".gz",
        name(START + 2 * HOUR),
    ]
    old = time.time() - 11 * 86400
    os.utime(packed, (old, old))
    os.utime(data / name(START + 2 * HOUR), (old, old))  # the open one stays
    out.sink.marked()
    assert sorted(path.name for path in data.glob("PMU_*")) == [name(START + HOUR) + ".gz", name(START + 2 * HOUR)]
    assert out.close() and out.sink.deleted == 1


def test_the_oldest_go_beyond_a_size_and_below_a_room(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed_files, "TEND_EVERY", 0.0)
    out = Store(data, keep_megabytes=0.0001)
    for hour in range(4):
        out.feed([START + hour * HOUR])
        assert out.write()
        os.utime(data / name(START + hour * HOUR), (hour, hour))
    out.sink.marked()
    assert sorted(files(data)) == [name(START + 2 * HOUR), name(START + 3 * HOUR)]
    assert out.close()
    roomy = Store(data, keep_free_megabytes=1e12)
    roomy.sink.marked()
    assert not files(data) and roomy.sink.deleted == 2
    roomy.sink.close()


def test_samples_in_the_long_form(data: Path) -> None:
    out = Store(data, value_digits="repr")
    volt = Source("LAB:HV:CH0:VMON", "HV", "CH0:VMON", "HV:CH0:VMON")
    good = Reading(0.1 + 0.2, START + 1, Severity.NO_ALARM, Status.NO_ALARM)
    high = Reading(5e-9, START + 2, Severity.MAJOR, Status.HIHI)
    text = Reading('a "b",\nc\\', START + 3, Severity.NO_ALARM, Status.NO_ALARM)
    absent = Reading(float("nan"), START + 4, Severity.INVALID, Status.READ)
    batch = Batch(START + HOUR + 5 * S, [(volt, what) for what in (good, high, text, absent)])
    out.waiting = out.sink.encode(batch).data
    assert out.close()
    (path,) = data.glob("*.csv")
    assert path.name == f"samples_{(START + HOUR) // S + 5}.csv"
    assert list(csv.reader(path.read_text().splitlines())) == [
        ["time", "pv", "value", "severity", "status"],
        [str(START + 1), "LAB:HV:CH0:VMON", "0.30000000000000004", "NO_ALARM", "NO_ALARM"],
        [str(START + 2), "LAB:HV:CH0:VMON", "0.000000005", "MAJOR", "HIHI"],
        [str(START + 3), "LAB:HV:CH0:VMON", 'a "b",\\nc\\\\', "NO_ALARM", "NO_ALARM"],
        [str(START + 4), "LAB:HV:CH0:VMON", "", "INVALID", "READ"],
    ]


@given(st.lists(st.tuples(st.sampled_from(["row", "wide", "write", "tear", "mend", "kill"]), st.integers(0, 3 * 3600))))
@example([("wide", 0), ("write", 0), ("row", 0), ("write", 0), ("kill", 0)])
def test_what_was_taken_is_in_the_files_once_and_in_order(tmp_path_factory, steps) -> None:
    """Whatever order of rows, writes, short writes, faults and kills: every row once, whole, in its own layout."""
    data = tmp_path_factory.mktemp("steps") / "data"
    mark, unmarked, expected = {}, b"", []
    whole_write, room = os.write, [1 << 30]

    def write(fd: int, lines: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = whole_write(fd, lines[: room[0]])
        room[0] -= taken
        return taken

    def begin() -> Store:
        store = Store(data, mark)

        def on_new_file() -> None:  # as the spool does: with what was written before, and without the present write
            nonlocal mark, unmarked
            mark, unmarked = store.sink.mark(), store.waiting

        store.sink.on_new_file = on_new_file
        store.waiting = unmarked
        return store

    logging.disable(logging.CRITICAL)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("archiver.sinks.append.os.write", write)
            out = begin()
            for number, (step, amount) in enumerate(steps):
                if step in ("row", "wide"):
                    time_ns = START + amount * S + number
                    before = out.waiting
                    out.feed([time_ns], WIDER if step == "wide" else ROW)
                    unmarked += out.waiting[len(before) :]
                    expected.append(time_ns)
                elif step == "write":
                    if out.write() and amount % 2:  # not every write is marked
                        mark, unmarked = out.sink.mark(), b""
                elif step == "kill":
                    for folder in out.sink._folders.values():
                        folder.release()  # as the system does; the files are left as they are
                    out = begin()
                else:
                    room[0] = amount % 100 if step == "tear" else 1 << 30
            room[0] = 1 << 30
            assert out.close()
    finally:
        logging.disable(logging.NOTSET)
    found = files(data) if data.exists() else {}
    assert sorted(time_ns for times in found.values() for time_ns in times) == sorted(expected)
