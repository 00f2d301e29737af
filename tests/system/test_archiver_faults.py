"""The archiver through faults of its own disk, and through all faults together in random order. Values are counters."""

import json
import os
import random
import resource
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.archive import samples, values
from tests.influx import before, running
from tests.processes import Process, wait_for
from tests.system.test_archiver_influx import Book
from tests.system.test_archiver_samples import Logbook


def room(process: Process, size: int | None) -> None:
    """Set how long a file of a running process may get: it is the system itself that refuses the rest."""
    _, hard = resource.prlimit(process.popen.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.popen.pid, resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


def test_disks_that_are_full_or_gone_cost_nothing(tmp_path: Path) -> None:
    book = Logbook(tmp_path, *(f"PV{n}" for n in range(5)))
    try:
        book.counting(50)
        archiver = book.archiver()
        moved = []

        def numbers() -> dict[str, list[str]]:
            return values([line for folder in (book.data, *moved) for line in samples(folder)])

        def grown(what: str) -> None:
            count = sum(map(len, numbers().values()))
            wait_for(lambda: sum(map(len, numbers().values())) > count + 100, what)

        grown("values")
        room(archiver, 0)  # neither store nor spool take a byte
        archiver.line("cannot write to")
        archiver.line("cannot be written")
        room(archiver, None)
        archiver.line("csv: writing again")
        grown("values after the disk was full")
        moved.append(tmp_path / "moved")
        book.data.rename(moved[0])
        grown("values after the folder was moved")
        shutil.rmtree(tmp_path / "state" / "spool")
        grown("values after the spool was removed")
        assert archiver.stop() == 0
        assert "dropped" not in archiver.log() and "0 waiting" in archiver.log()
        for found in numbers().values():
            counts = [float(value) for value in found]
            assert counts == [counts[0] + n for n in range(len(counts))]
    finally:
        book.close()


def test_a_torn_spool_and_torn_files_at_the_start(tmp_path: Path) -> None:
    book = Logbook(tmp_path, "PV0")
    try:
        book.counting(50)
        first = book.archiver()
        wait_for(lambda: len(book.values().get("PV0", [])) > 20, "values")
        first.kill()
        for path in [*(tmp_path / "state" / "spool" / "csv").glob("*.log"), *book.data.glob("*.csv")]:
            with path.open("ab") as file:
                file.write(b"torn by a power cut")
        journal = tmp_path / "state" / "archiver-last.jsonl"
        journal.write_bytes(journal.read_bytes()[:-5])
        second = book.archiver()
        second.line("cut a torn end")
        count = len(book.values().get("PV0", []))
        wait_for(lambda: len(book.values().get("PV0", [])) > count + 30, "values after the start")
        assert second.stop() == 0
        counts = [float(value) for value in book.values()["PV0"]]
        assert counts == sorted(counts) and len(counts) - len(set(counts)) <= 1  # the torn note may repeat one
    finally:
        book.close()


def test_a_spool_that_is_full_drops_the_newest_counts_and_marks_them(tmp_path: Path) -> None:
    book = Logbook(tmp_path, "PV0", archive="spool_megabytes = 0.002\nspool_memory_megabytes = 0.002")
    try:
        book.data.write_text("in the way")
        book.counting(50)
        archiver = book.archiver()
        archiver.line("LOST for this store")
        book.data.unlink()
        archiver.line("there is room in the spool again")
        wait_for(lambda: any(mark.startswith("GAP") for mark in book.marks("PV0")), "the mark")
        assert archiver.stop() == 0
        missing = sum(int(mark.split()[1]) for mark in book.marks("PV0") if mark.startswith("GAP"))
        counts = [float(value) for value in book.values()["PV0"]]
        assert missing == counts[-1] - counts[0] + 1 - len(counts) > 0
        assert f"{missing} dropped (no room in the spool)" in archiver.log()
    finally:
        book.close()


@pytest.mark.parametrize("seed", [1, 2])
def test_faults_in_any_order_lose_nothing_that_was_spooled_and_all_drains_when_they_stop(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    pvs = [f"PV{n}" for n in range(5)]
    with running(tmp_path / "influx", "lab") as server, before(server) as shim:
        book = Book(tmp_path, server, shim, *pvs, version=1 + seed % 2)
        try:
            book.counting(50)
            archiver, kills = book.archiver(), 0
            for step in range(8):
                wait_for(lambda: len(book.values()) == 5, "values of all")
                fault = chance.choice(("503", "hang", "drop", "401", "kill", "database", "full", "stop"))
                if fault == "kill":
                    archiver.kill()
                    kills += 1
                    archiver = book.archiver()
                elif fault == "database":
                    server.stop()
                    server.start()
                elif fault == "full":
                    room(archiver, 0)
                elif fault == "stop":
                    os.kill(archiver.popen.pid, signal.SIGSTOP)
                else:
                    shim.fault = fault
                time.sleep(chance.uniform(0.1, 0.8))  # how long the fault lasts is what is random here
                shim.fault = ""
                if fault == "full":
                    room(archiver, None)
                    latest = book.numbers()["PV0"][-1]  # until it is spooled, a kill may cost what is in memory
                    wait_for(lambda latest=latest: book.numbers()["PV0"][-1] > latest + 5, "files that go on")
                if fault == "stop":
                    os.kill(archiver.popen.pid, signal.SIGCONT)
                assert archiver.popen.poll() is None, (step, fault, archiver.log())
            newest = book.numbers()["PV0"][-1]
            wait_for(lambda: book.stored().get("PV0", [0.0])[-1] > newest, "all that waited", 60)
            assert archiver.stop() == 0
            assert ", 0 waiting" in archiver.log()
            for pv, found in book.numbers().items():
                assert found == sorted(set(found)), pv
                stored = book.stored()[pv]
                assert stored == sorted(set(stored)), pv
                # a kill between the puts into the two spools may cost one of them what it had not put yet
                assert len(set(found) ^ set(stored)) <= kills * 0.35 * 50, pv
                holes = found[-1] - found[0] + 1 - len(found)
                assert kills or not holes, (pv, holes)
            told = json.loads((tmp_path / "state" / "spool" / "influx" / "acknowledged.json").read_text())
            assert told["number"] > 0
        finally:
            book.close()
