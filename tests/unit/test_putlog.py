"""The put log: what a line says, rotation, and disks that are full, hung, or not there."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from iocs.ca import putlog
from iocs.ca.putlog import PutLog
from tests.processes import wait_for


@pytest.fixture
def put_log(tmp_path):
    """Give a put log of given options, started; its end is seen to."""
    made = []

    def make(path: Path = tmp_path / "putlog.jsonl", **options) -> PutLog:
        it = PutLog(path, **options)
        it.start()
        made.append(it)
        return it

    yield make
    for it in made:
        it.stop(0.1)


def note(it: PutLog, pv: str, old: object, new: object, *, user: str = "anna", reason: str = "", by: str = "") -> None:
    it.note(1_790_000_000_000_000_007, "127.0.0.1:4711", user, pv, old, new, not reason, reason, by=by)


def lines(path: Path) -> list[dict]:
    text = path.read_text()
    assert not text or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_says_who_asked_what_and_what_came_of_it(tmp_path, put_log):
    it = put_log()
    note(it, "LAB:HV:VSET", 1500.0, 1600.0)
    note(it, "LAB:HV:VSET", 1600.0, 9e9, reason="beyond the limits")
    note(it, "LAB:HV:PW", "On", "Off", by="interlock GAS")
    it.stop()
    accepted, refused, unasked = lines(tmp_path / "putlog.jsonl")
    assert accepted == {
        "time": "2026-09-21T14:13:20.000000007Z",
        "peer": "127.0.0.1:4711",
        "user": "anna",
        "pv": "LAB:HV:VSET",
        "old": 1500.0,
        "new": 1600.0,
        "accepted": True,
        "reason": "",
    }
    assert (refused["accepted"], refused["reason"]) == (False, "beyond the limits")
    assert (unasked["by"], unasked["new"]) == ("interlock GAS", "Off") and "user" not in unasked
    assert (tmp_path / "putlog.jsonl").stat().st_mode & 0o777 == 0o640
    assert (it.dropped, it.error) == (0, "")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (float("nan"), "nan"),
        (None, None),
        (True, True),
        ("Zürich\n\udcff", "Zürich\n\udcff"),
        (b"abc\xff", "abc\ufffd"),
        ("x" * 1000, "x" * 200 + " ..."),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.arange(3.0), [0.0, 1.0, 2.0]),
        (np.zeros(1 << 20), [0.0] * 20 + ["... 1048576 elements"]),
        ([1, "a", [2]], [1, "a", [2]]),
        (10**30, 10**30),
    ],
)
def test_every_value_is_one_short_line_of_json(tmp_path, put_log, value, told):
    it = put_log()
    note(it, "X", None, value, user="u" * 5000, reason="r" * 5000)
    it.stop()
    (line,) = lines(tmp_path / "putlog.jsonl")
    assert line["new"] == told
    assert len(json.dumps(line)) < 4000


def test_rotation_keeps_a_number_of_files_with_nothing_lost_between(tmp_path, put_log):
    it = put_log(most_bytes=2000, keep=3)
    for number in range(100):
        note(it, "X", number, number + 1)
        wait_for(lambda: not it._waiting, "written line")
    it.stop()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["putlog.jsonl", "putlog.jsonl.1", "putlog.jsonl.2", "putlog.jsonl.3"]
    numbers = [line["old"] for name in (*reversed(names[1:]), names[0]) for line in lines(tmp_path / name)]
    assert numbers == list(range(numbers[0], 100)) and len(numbers) > 40
    assert all((tmp_path / name).stat().st_size <= 2000 for name in names)


def test_two_processes_of_a_site_share_the_file_across_rotation(tmp_path, put_log):
    one, two = put_log(most_bytes=3000, keep=100), put_log(most_bytes=3000, keep=100)
    for number in range(200):
        note(random.Random(number).choice((one, two)), "X", number, number)
        if number % 5 == 0:
            wait_for(lambda: not one._waiting and not two._waiting, "written lines")
    one.stop()
    two.stop()
    numbers = [line["old"] for path in tmp_path.iterdir() for line in lines(path)]
    assert sorted(numbers) == list(range(200))


def test_a_file_moved_away_by_a_person_is_begun_anew(tmp_path, put_log):
    it = put_log()
    note(it, "X", 0, 1)
    path = tmp_path / "putlog.jsonl"
    wait_for(path.exists, "put log")
    wait_for(lambda: not it._waiting, "written line")
    path.rename(tmp_path / "old")
    note(it, "X", 1, 2)
    it.stop()
    assert [line["old"] for line in lines(path)] == [1]


def test_a_directory_in_the_files_place_is_told_and_healed(tmp_path, put_log, monkeypatch, caplog):
    monkeypatch.setattr(putlog, "RETRY", 0.02)
    path = tmp_path / "putlog.jsonl"
    path.mkdir()
    it = put_log(most_waiting=5)
    for number in range(8):
        note(it, "X", number, number)
    wait_for(lambda: "Is a directory" in it.error, "error")
    assert it.dropped == 3
    path.rmdir()
    wait_for(lambda: not it.error, "healing")
    note(it, "X", 8, 8)
    it.stop()
    told = lines(path)
    assert [line["old"] for line in told if "pv" in line] == [0, 1, 2, 3, 4, 8]
    assert [line["lost"] for line in told if "lost" in line] == [3]
    assert sum("cannot be written" in record.message for record in caplog.records) == 1
    assert sum("lines of the put log are lost" in record.message for record in caplog.records) == 1


def test_a_full_disk_leaves_whole_lines_and_heals(tmp_path, put_log, monkeypatch):
    monkeypatch.setattr(putlog, "RETRY", 0.02)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        it = put_log(most_waiting=50)
        for number in range(60):
            note(it, "X", number, number)
        wait_for(lambda: "too large" in it.error, "error")
        assert all("pv" in line for line in lines(tmp_path / "putlog.jsonl"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    wait_for(lambda: not it.error, "healing")
    it.stop()
    told = lines(tmp_path / "putlog.jsonl")
    assert len([line for line in told if "pv" in line]) == 60 - it.dropped
    assert sum(line.get("lost", 0) for line in told) == it.dropped > 0


def test_a_hung_disk_delays_nobody(tmp_path, put_log):
    os.mkfifo(tmp_path / "putlog.jsonl")  # opening it waits for a reader, who never comes
    it = put_log(most_waiting=100)
    began = time.perf_counter()
    for number in range(1000):
        note(it, "X", number, number)
    assert time.perf_counter() - began < 0.5
    assert it.dropped == 900
    it.stop(0.05)
    assert it.dropped == 1000
    assert time.perf_counter() - began < 1


WRITER = """
import sys
from pathlib import Path
from iocs.ca.putlog import PutLog
it = PutLog(Path(sys.argv[1]), most_bytes=10**9, most_waiting=10**6)
it.start()
for number in range(10**6):
    it.note(0, "", "", "X", number, "v" * 150, True, "")
    if number % 100 == 0 and len(it._waiting) > 1000:
        while it._waiting: pass
"""


def test_kill_9_leaves_whole_lines(tmp_path, put_log):
    path = tmp_path / "putlog.jsonl"
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)])
    wait_for(lambda: path.exists() and path.stat().st_size > 500_000, "half a megabyte of lines")
    process.send_signal(signal.SIGKILL)
    process.wait()
    with open(path, "ab") as file:
        file.write(b'{"time":"2026-')  # as a power cut may leave it
    it = put_log(most_bytes=10**9)
    note(it, "X", -1, -1)
    it.stop()
    numbers = [line["old"] for line in lines(path)]
    assert numbers == [*range(len(numbers) - 1), -1] and len(numbers) > 1000
