"""Rows into files: names, changes of file, repair after a kill, and a disk that will not take them."""

import csv
import errno
import logging
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.sinks.csv_files import CsvFiles
from archiver.sinks.folder import LOCK_NAME, Folder, FolderTaken
from iocs.config import CsvTable
from iocs.signals import Kind, Row, Signal

S = 1_000_000_000
HOUR = 3600 * S
START = 497_222 * HOUR  # a full hour in 2026
ROW = Row("ROW", (Signal("FREQ", unit="Hz"), Signal("STAT", kind=Kind.INT)))
WIDER = Row("ROW", (*ROW.signals, Signal("VA:MAG", unit="V")))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def sink(data: Path, **settings: object) -> CsvFiles:
    rules = CsvTable.model_validate({"time_format": "ns", **settings})
    return CsvFiles("PMU:ROW", Folder(data), "PMU_", rules)


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


def feed(files: CsvFiles, times: list[int], row: Row = ROW) -> None:
    for time_ns in times:
        assert files.add(row, time_ns, [50.0] * len(row.signals))


def name(time_ns: int, number: int = 0) -> str:
    return f"PMU_{time_ns // S}{f'-{number}' if number else ''}.csv"


def test_a_row_a_frame_under_the_first_rows_second(data: Path) -> None:
    out = sink(data)
    assert out.recover()
    times = [START + 5 * S + n * 20_000_000 for n in range(50)]
    feed(out, times[:25])
    assert out.held == 25 and not list(data.glob("*.csv"))
    assert out.write()
    feed(out, times[25:])
    assert out.close()
    assert files(data) == {name(times[0]): times}
    assert (out.written, out.held, out.dropped, out.fault) == (50, 0, 0, "")
    assert (data / name(times[0])).read_text().startswith(f"time,FREQ (Hz),STAT\n{times[0]},50,50\n")


def test_files_are_cut_at_the_hour_of_the_row(data: Path) -> None:
    out = sink(data)
    before, after = [START - 2, START - 1], [START, START + HOUR - 1]
    feed(out, before + after + [START + 3 * HOUR + 7])
    assert out.close()
    assert files(data) == {
        name(before[0]): before,
        name(after[0]): after,
        name(START + 3 * HOUR): [START + 3 * HOUR + 7],
    }


def test_a_name_that_is_taken_gets_a_number(data: Path) -> None:
    data.mkdir()
    (data / name(START)).write_text("mine\n")
    (data / name(START, 1)).write_text("mine too\n")
    out = sink(data)
    feed(out, [START])
    assert out.close()
    assert (data / name(START)).read_text() == "mine\n"
    assert (data / name(START, 2)).read_text().count("\n") == 2


def test_a_repeated_second_stays_and_a_clock_set_back_never_reopens_a_file(data: Path) -> None:
    out = sink(data)
    feed(out, [START - S, START, START - S, START - S, START + S])  # a second told twice, across the hour
    assert out.write()
    feed(out, [START - 5 * HOUR, START - 5 * HOUR + S, START + 2 * S])  # the clock jumps back and returns
    assert out.close()
    assert files(data) == {
        name(START - S): [START - S],
        name(START): [START, START - S, START - S, START + S],
        name(START - 5 * HOUR): [START - 5 * HOUR, START - 5 * HOUR + S],
        name(START + 2 * S): [START + 2 * S],
    }


def test_new_columns_get_a_new_file_and_equal_ones_do_not(data: Path) -> None:
    out = sink(data)
    feed(out, [START])
    feed(out, [START + S], Row("ROW", (Signal("FREQ", unit="Hz", doc="other words"), ROW.signals[1])))
    feed(out, [START + 2 * S], WIDER)
    assert out.close()
    assert files(data) == {name(START): [START, START + S], name(START + 2 * S): [START + 2 * S]}


def test_a_torn_tail_is_cut_and_the_next_run_takes_a_new_file(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = sink(data)
    feed(first, [START, START + S])
    assert first.close()
    first._folder.release()
    with (data / name(START)).open("a") as torn:
        torn.write("1790000")
    second = sink(data)
    with caplog.at_level(logging.WARNING):
        assert second.recover()
    assert "torn row of 7 bytes" in caplog.text
    assert not second.add(ROW, START + S, [50.0, 50.0])  # the server repeats its last row to a new client
    feed(second, [START + S + 1, START + 2 * S])
    assert second.close()
    assert second.repeated == 1
    assert files(data) == {name(START): [START, START + S], name(START + S): [START + S + 1, START + 2 * S]}


def test_a_file_torn_in_its_header_goes(data: Path) -> None:
    data.mkdir()
    (data / name(START)).write_text("time,FR")
    (data / "PMU_notes.csv").write_text("not ours, no newline")
    out = sink(data)
    assert out.recover()
    assert [path.name for path in data.glob("*.csv")] == ["PMU_notes.csv"]
    assert (data / "PMU_notes.csv").read_text() == "not ours, no newline"


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
    out = sink(data)
    assert not out.recover()
    feed(out, [START, START + S])
    assert not out.write() and not out.write()
    assert out.held == 2 and "exists" in out.fault
    assert caplog.text.count("cannot write") == 1
    data.unlink()
    feed(out, [START + 2 * S])
    assert out.close()
    assert "writing again" in caplog.text
    assert files(data) == {name(START): [START, START + S, START + 2 * S]}


def test_a_folder_removed_under_our_feet_is_made_again(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = sink(data)
    feed(out, [START])
    assert out.write()
    shutil.rmtree(data)
    feed(out, [START + S])
    assert out.write()
    feed(out, [START + 2 * S])
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
def test_a_full_disk_leaves_whole_lines_and_no_row_twice(data: Path, room, limit: int) -> None:
    out = sink(data)
    assert out.recover()
    times = [START + n * S for n in range(12)]
    feed(out, times[:6])
    room(limit)
    wrote = [out.write(), out.write()]
    text = b"".join(path.read_bytes() for path in data.glob("*.csv"))
    assert len(text) <= limit and (not text or text.endswith(b"\n"))
    assert out.written + out.held == 6 and (out.fault != "") == (out.held > 0) == (not wrote[1])
    room(None)
    feed(out, times[6:])
    assert out.close()
    assert files(data) == {name(START): times}


def test_no_space_at_all_is_told_once_and_healed(
    data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(fd: int, lines: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = sink(data)
    assert out.recover()
    feed(out, [START])
    with monkeypatch.context() as patch:
        patch.setattr("archiver.sinks.append.os.write", full)
        assert not out.write() and not out.write()
        assert out.fault == "no space left on the disk" and out.held == 1
    feed(out, [START + S])
    assert out.write()
    assert caplog.text.count("no space left") == 1 and not out.fault
    assert files(data) == {name(START): [START, START + S]}


def test_beyond_the_bound_the_newest_are_dropped_and_counted(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    data.write_text("in the way")
    out = CsvFiles("PMU:ROW", Folder(data), "PMU_", CsvTable.model_validate({"time_format": "ns"}), held_bytes=100)
    taken = [out.add(ROW, START + n * S, [50.0, 0.0]) for n in range(10)]
    assert taken == [True] * 4 + [False] * 6
    assert (out.held, out.dropped) == (4, 6)
    assert caplog.text.count("no more fit in memory") == 1
    assert not out.write()
    data.unlink()
    assert out.write()
    feed(out, [START + 10 * S])
    assert "6 rows between 2026-09-21T14:00:04.000000000Z and 2026-09-21T14:00:10.000000000Z were lost" in caplog.text
    assert out.close()
    assert files(data) == {name(START): [START + n * S for n in (0, 1, 2, 3, 10)]}


def test_rows_that_cannot_be_written_at_the_end_are_told(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    data.write_text("in the way")
    out = sink(data)
    feed(out, [START])
    assert not out.close()
    assert "1 rows could not be written and are lost" in caplog.text


@given(st.lists(st.tuples(st.sampled_from(["row", "wide", "write", "tear", "mend"]), st.integers(0, 3 * 3600))))
def test_what_was_taken_is_in_the_files_once_and_in_order(tmp_path_factory, steps) -> None:
    """Whatever order of rows, writes, short writes and faults: every row once, whole, in its own layout."""
    data = tmp_path_factory.mktemp("steps") / "data"
    out = sink(data)
    whole_write, room, expected = os.write, [1 << 30], []

    def write(fd: int, lines: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = whole_write(fd, lines[: room[0]])
        room[0] -= taken
        return taken

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("archiver.sinks.append.os.write", write)
        for number, (step, amount) in enumerate(steps):
            if step in ("row", "wide"):
                time_ns = START + amount * S + number
                feed(out, [time_ns], WIDER if step == "wide" else ROW)
                expected.append(time_ns)
            elif step == "write":
                out.write()
            else:
                room[0] = amount % 100 if step == "tear" else 1 << 30
        room[0] = 1 << 30
        assert out.close()
    found = files(data) if data.exists() else {}
    assert sorted(time_ns for times in found.values() for time_ns in times) == sorted(expected)
    for times in found.values():
        assert times == [time_ns for time_ns in expected if time_ns in times]
