"""The archiver with a real InfluxDB behind every fault that a server has. Values are counters: each loss is seen."""

import random
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver.sinks.influx import Influx
from iocs.archive_tables import InfluxTable
from tests.archive import samples, values
from tests.influx import InfluxDb, Shim, before, running
from tests.processes import wait_for
from tests.system.test_archiver_samples import Logbook

TOKEN = "first token"


class Book(Logbook):
    """Counters, an archiver, and a database behind a server with faults."""

    def __init__(self, folder: Path, server: InfluxDb, shim: Shim, *pvs: str, version: int, more: str = "") -> None:
        self.server, self.shim = server, shim
        self.token = folder / "token"
        self.token.write_text(f"{TOKEN}\n")
        influx = (
            f'[archive.influx]\nurl = "{shim.url}"\nversion = {version}\norg = "lab"\nbucket = "lab"\n'
            f'token_file = "{self.token}"\nwrite_every = 0.1\ntimeout = 1.0\n{more}'
        )
        super().__init__(folder, *pvs, csv=influx)

    def stored(self, database: str = "lab") -> dict[str, list[float]]:
        found = defaultdict(list)
        for point in sorted(self.server.points(database), key=lambda point: point["time"]):
            if "value" in point and "pv" in point:
                found[point["pv"].removeprefix(self.prefix)].append(float(point["value"]))
        return dict(found)

    def numbers(self) -> dict[str, list[float]]:
        """Values in the CSV files, which no fault of the database may hold up."""
        return {pv: [float(value) for value in found] for pv, found in self.values().items()}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxDb]:
    with running(tmp_path_factory.mktemp("influx"), "lab") as it:
        yield it


@pytest.fixture
def book(server: InfluxDb, tmp_path: Path) -> Iterator:
    server.ask("DROP DATABASE lab")
    server.ask("CREATE DATABASE lab")
    with before(server) as shim:
        books: list[Book] = []

        def open_book(*pvs: str, version: int = 2, more: str = "") -> Book:
            books.append(Book(tmp_path, server, shim, *pvs, version=version, more=more))
            return books[-1]

        yield open_book
        for it in books:
            it.close()


FAULTS = ("401", "403", "404", "429", "500", "503", "hang", "drop", "slow", "late")
SHORT = [f"PV{n}" for n in range(5)]


@pytest.mark.parametrize("version", [1, 2])
def test_no_fault_of_the_server_costs_a_value_or_holds_up_the_files(book, version: int) -> None:
    it = book(*SHORT, version=version)
    it.counting(20)
    archiver = it.archiver()
    chance = random.Random(version)
    for fault in chance.sample(FAULTS, len(FAULTS)):
        wait_for(lambda: it.stored().keys() == it.numbers().keys() == set(SHORT), "values in both stores")
        it.shim.fault = fault
        asked, written = it.shim.requests, len(it.numbers()["PV0"])
        wait_for(lambda asked=asked: it.shim.requests > asked, f"a write that meets {fault}")
        wait_for(lambda written=written: len(it.numbers()["PV0"]) > written + 10, f"files that go on during {fault}")
        it.shim.fault = ""
        newest = it.numbers()["PV0"][-1]
        wait_for(lambda newest=newest: it.stored()["PV0"][-1] >= newest, f"all that waited for the end of {fault}", 60)
    assert archiver.stop() == 0
    assert it.stored() == it.numbers()
    for found in it.numbers().values():
        assert found == [found[0] + n for n in range(len(found))]
    assert ", 0 waiting" in archiver.log() and "dropped" not in archiver.log()
    for words in ("401", "the token is wrong", "403", "404", "no such database", "no answer"):
        assert words in archiver.log(), words


def test_a_database_that_is_away_from_the_start_and_restarted_gets_everything(tmp_path: Path) -> None:
    with running(tmp_path / "influx", "lab") as server, before(server) as shim:
        server.stop()
        it = Book(tmp_path, server, shim, *SHORT, version=1)
        try:
            it.counting(20)
            archiver = it.archiver()
            wait_for(lambda: len(it.numbers().get("PV0", [])) > 20, "files without a database")
            archiver.kill()  # and what waits for it outlasts a kill
            first = it.numbers()
            second = it.archiver()
            server.start()
            wait_for(lambda: it.stored().keys() == set(SHORT), "what waited", 60)
            assert second.stop() == 0
            for pv, found in it.stored().items():
                assert found == it.numbers()[pv] and set(first[pv]) <= set(found)
        finally:
            it.close()


def test_a_bad_line_goes_to_the_dead_letters_and_the_good_ones_about_it_are_kept(book, server: InfluxDb) -> None:
    it = book("PV0", "PV1", "CLASH:X")
    line = f'{it.prefix}CLASH value="a text" {time.time_ns()}\n'  # from now on the field has a type
    server.ask("", "lab", "/write", line.encode())
    it.counting(20)
    it.soft_ioc('record(calc,"P:CLASH:X"){field(CALC,"VAL+1")field(SCAN,".1 second")field(ADEL,"-1")}\n')
    archiver = it.archiver()
    letters = it.folder / "state" / "spool" / "influx" / "dead-letters"
    wait_for(lambda: letters.exists() and letters.read_text().count("CLASH") > 3, "dead letters")
    assert archiver.stop() == 0
    numbers = it.numbers()
    clash = numbers.pop("CLASH:X")
    assert it.stored() == numbers
    lines = [line for line in letters.read_text().splitlines() if not line.startswith("#")]
    assert [float(line.split("value=")[1].split(",")[0]) for line in lines if "value=" in line] == clash
    assert "field type conflict" in letters.read_text()
    assert f"{len(lines)} dropped (refused by the store)" in archiver.log()


def test_a_server_that_takes_little_at_once_gets_it_in_parts(tmp_path: Path) -> None:
    with running(tmp_path / "influx", "lab", most_bytes=1000) as server, before(server) as shim:
        it = Book(tmp_path, server, shim, *(f"PV{n}" for n in range(40)), version=2)
        try:
            it.counting(10)
            archiver = it.archiver()
            wait_for(lambda: len(it.stored()) == 40, "values of all PVs")
            assert archiver.stop() == 0
            assert it.stored() == it.numbers() and "dropped" not in archiver.log()
        finally:
            it.close()


def test_a_token_that_is_changed_while_it_runs(book) -> None:
    it = book("PV0")
    it.shim.token = TOKEN
    it.counting(20)
    archiver = it.archiver()
    wait_for(lambda: it.stored().get("PV0"), "values")
    it.shim.token = "another one"
    archiver.line("401")
    it.token.write_text("another one\n")
    archiver.line("the token was changed")
    archiver.line("influx: writing again")
    assert archiver.stop() == 0
    assert it.stored() == it.numbers()


@pytest.mark.parametrize("version", [1, 2])
def test_a_token_is_tried_without_a_point(server: InfluxDb, monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    monkeypatch.setenv("TOKEN", TOKEN)
    server.ask("CREATE DATABASE lab")
    with before(server) as shim:

        def refusals(bucket: str) -> list[str]:
            table = InfluxTable(version=version, url=shim.url, org="lab", bucket=bucket, token_env="TOKEN", timeout=5)
            influx = Influx(table)
            try:
                return influx.refusals()
            finally:
                influx.close()

        points = server.points("lab")
        assert refusals("lab") == []
        assert server.points("lab") == points
        (missing,) = refusals("none")
        assert "404" in missing and "there is no such database or bucket" in missing
        if version == 2:
            shim.token = "another token"
            (refused,) = refusals("lab")
            assert "401" in refused and "the token is wrong or missing" in refused


def test_kills_lose_nothing_that_was_spooled_in_either_store(book) -> None:
    it = book(*SHORT)
    it.counting(50)
    for _ in range(3):
        archiver = it.archiver()
        wait_for(lambda: it.stored(), "values")
        it.shim.fault = random.choice(("", "", "503", "drop"))
        time.sleep(random.uniform(0.2, 1.0))  # the instant of the kill is what is random here
        archiver.kill()
        it.shim.fault = ""
    last = it.archiver()
    seen = max(wait_for(lambda: it.numbers().get("PV0"), "values in the files"))
    wait_for(lambda: it.stored()["PV0"][-1] > seen + 10, "values after the kills", 60)
    assert last.stop() == 0
    # a kill between the puts into the two spools may cost one of them the events of that quarter of a second
    for pv, found in it.numbers().items():
        assert found == sorted(set(found))
        stored = it.stored()[pv]
        assert stored == sorted(set(stored)) and len(set(stored) ^ set(found)) <= 3 * 0.35 * 50
    assert values(samples(it.data))
