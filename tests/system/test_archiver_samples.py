"""Single PVs of anybody's server, recorded by name: kills at any instant, restarts, a change of type. All processes."""

import itertools
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.archive import MARKS, samples, spooled, values
from tests.processes import Process, ca_environment, free_port, random_prefix, wait_for, write_site

SOFT_IOC = Path(__file__).with_name("soft_ioc.py")


class Logbook:
    """A site without devices that records PVs by name, its archiver, and servers."""

    def __init__(self, folder: Path, *pvs: str, archive: str = "", csv: str = "") -> None:
        self.folder, self.data, self.prefix = folder, folder / "data", random_prefix()
        self.environment = ca_environment(free_port())
        self.running: list[Process] = []
        self.others: list[subprocess.Popen[str]] = []
        names = ", ".join(f'"{self.prefix}{pv}"' for pv in pvs)
        self.site = folder / "site.toml"
        self.site.write_text(
            f'[site]\nname = "test"\nprefix = "LAB:"\n[archive]\npvs = [{names}]\nspool_every = 0.1\n{archive}\n'
            f'[archive.csv]\ntime_format = "ns"\nvalue_digits = "repr"\nwrite_every = 0.2\n{csv}\n'
        )

    def start(self, *arguments: str) -> Process:
        process = Process(*arguments, environment=self.environment, stdin=subprocess.PIPE)
        self.running.append(process)
        return process

    def archiver(self) -> Process:
        process = self.start("archiver", "run", str(self.site))
        process.line("archiver: ")
        return process

    def counting(self, rate: float, *before: str) -> Process:
        process = self.start(*before, "tests.system.counting_ioc", self.prefix, "--rate", str(rate))
        process.line("counting on port")
        return process

    def soft_ioc(self, database: str) -> subprocess.Popen[str]:
        """Run a C++ IOC; it ends when its stdin is closed."""
        path = self.folder / "ioc.db"
        path.write_text(database.replace("P:", self.prefix))
        pipe = subprocess.PIPE
        environment = {**self.environment, "EPICS_CAS_INTF_ADDR_LIST": "127.0.0.1"}
        process = subprocess.Popen(
            [sys.executable, str(SOFT_IOC), str(path)], env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )
        self.others.append(process)
        assert process.stdout is not None
        while line := process.stdout.readline():
            if line == "ready\n":
                return process
        raise AssertionError("the IOC did not start")

    def values(self) -> dict[str, list[str]]:
        return {pv.removeprefix(self.prefix): found for pv, found in values(samples(self.data)).items()}

    def marks(self, pv: str) -> list[str]:
        rows = sorted(samples(self.data), key=lambda row: int(row[0]))
        return [row[4] for row in rows if row[1] == self.prefix + pv and row[4].split()[0] in MARKS]

    def close(self) -> None:
        for process in self.running:
            process.kill()
        for process in self.others:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def logbook(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator:
    books = []

    def open_book(*pvs: str, **options: str) -> Logbook:
        books.append(Logbook(tmp_path, *pvs, **options))
        return books[-1]

    yield open_book
    for book in books:
        book.close()


def test_kills_at_any_instant_cost_nothing_that_was_spooled_and_repeat_nothing(logbook) -> None:
    book = logbook(*(f"PV{n}" for n in range(20)))
    book.counting(50)
    spool = book.folder / "state" / "spool" / "csv"
    safe: dict[str, set[str]] = {}
    for _ in range(4):
        archiver = book.archiver()
        wait_for(lambda: any(spool.glob("*.log")) or book.values(), "something recorded")
        time.sleep(random.uniform(0.3, 1.2))  # the instant of the kill is what is random here
        archiver.kill()
        for pv, found in values([*samples(book.data), *spooled(spool)]).items():
            safe.setdefault(pv.removeprefix(book.prefix), set()).update(found)
    last = book.archiver()
    wait_for(lambda: len(book.values()) == 20, "all PVs after the kills")
    assert last.stop() == 0
    assert "0 waiting" in last.log() and len(safe) == 20
    for pv, found in book.values().items():
        numbers = [float(value) for value in found]
        assert numbers == sorted(set(numbers)), f"{pv} has a value twice, or out of order"
        assert safe[pv] <= set(found), f"{pv} has lost what was spooled"
        marks = " ".join(book.marks(pv))
        assert "GAP CONNECTED" in marks and "GAP GAP" not in marks, f"{pv}: the kills are not marked: {marks}"


def test_every_value_of_a_cpp_ioc_once_bit_for_bit_and_to_the_ns(logbook) -> None:
    book = logbook("CALC", "TEXT", "MODE", "WAVE", "LONG")
    ioc = book.soft_ioc(
        'record(calc,"P:CALC"){field(CALC,"VAL+1")field(SCAN,".1 second")field(MDEL,"-1")field(ADEL,"-1")}\n'
        'record(stringin,"P:TEXT"){field(VAL,"a, \\"b\\"")field(PINI,"YES")}\n'
        'record(mbbi,"P:MODE"){field(ZRST,"Off")field(ONST,"On")field(VAL,"1")field(PINI,"YES")}\n'
        'record(waveform,"P:WAVE"){field(FTVL,"DOUBLE")field(NELM,"3")field(INP,[0.1,2.5,-3])field(PINI,"YES")}\n'
        'record(longin,"P:LONG"){field(VAL,"-7")field(PINI,"YES")}\n'
    )
    archiver = book.archiver()
    wait_for(lambda: len(book.values().get("CALC", [])) > 20 and len(book.values()) == 5, "values of all PVs")
    ioc.communicate("", timeout=20)
    wait_for(lambda: "DISCONNECTED" in book.marks("CALC"), "the mark of the loss")
    assert archiver.stop() == 0
    found = book.values()
    numbers = [float(value) for value in found["CALC"]]
    assert [later - earlier for earlier, later in itertools.pairwise(numbers)] == [1.0] * (len(numbers) - 1)
    assert (found["TEXT"], found["MODE"], found["LONG"]) == (['a, "b"'], ["1"], ["-7"])
    assert found["WAVE"] == ["[0.1,2.5,-3.0]"]
    assert book.marks("CALC") == ["CONNECTED", "DISCONNECTED"]


def test_a_pv_that_comes_back_with_another_type(logbook) -> None:
    book = logbook("X")
    ioc = book.soft_ioc('record(ai,"P:X"){field(VAL,"1.5")field(PINI,"YES")}\n')
    archiver = book.archiver()
    wait_for(lambda: book.values().get("X") == ["1.5"], "the number")
    ioc.communicate("", timeout=20)
    wait_for(lambda: "DISCONNECTED" in book.marks("X"), "the loss")
    book.soft_ioc('record(stringin,"P:X"){field(VAL,"now a text")field(PINI,"YES")}\n')
    wait_for(lambda: book.values().get("X") == ["1.5", "now a text"], "the text")
    assert archiver.stop() == 0
    assert book.marks("X") == ["CONNECTED", "DISCONNECTED", "CONNECTED", "STOPPED"]


def test_a_server_that_is_restarted_and_a_clock_that_leaps(logbook) -> None:
    book = logbook("PV0")
    first = book.counting(20)
    archiver = book.archiver()
    wait_for(lambda: len(book.values().get("PV0", [])) > 10, "values")
    first.kill()
    second = book.counting(20, "tests.system.stepped_clock")
    wait_for(lambda: book.marks("PV0").count("CONNECTED") == 2, "the return")
    before = len(book.values()["PV0"])
    second.tell("-86400")  # a day back
    wait_for(lambda: len(book.values()["PV0"]) > before + 20, "values of yesterday")
    assert archiver.stop() == 0
    times = [int(row[0]) for row in samples(book.data) if row[2]]
    assert max(times) - min(times) > 80_000 * 10**9
    assert len(list(book.data.glob("samples_*.csv"))) <= 2  # by arrival: a clock of a server makes no files


def test_without_a_site_file_and_read_back_by_the_command(logbook) -> None:
    book = logbook()
    book.counting(20)
    names = [f"{book.prefix}PV{n}" for n in range(2)]
    archiver = book.start("archiver", "run", "--pv", *names, "--csv", str(book.data))
    wait_for(lambda: sum(line[1] == names[1] for line in samples(book.data)) > 12, "values", 60)
    assert archiver.stop() == 0
    get = [sys.executable, "-m", "archiver", "get", names[1], "--folder", str(book.data), "--from", "5min", "--csv"]
    done = subprocess.run(get, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    lines = [line.split(",") for line in done.stdout.splitlines()]
    assert [line[4] for line in lines if line[4] in MARKS] == ["CONNECTED", "STOPPED"]
    numbers = [float(line[2]) for line in lines[1:] if line[4] == "NO_ALARM"]
    assert numbers == [numbers[0] + n for n in range(len(numbers))] and len(numbers) > 10
    again = book.start("archiver", "run", "--pv", names[0])
    again.line("--pv needs --csv")
    assert again.popen.wait(20) == 2


def test_what_is_named_twice_is_recorded_once(logbook) -> None:
    book = logbook("PV0", "PV0")
    book.counting(20)
    archiver = book.archiver()
    wait_for(lambda: len(book.values().get("PV0", [])) > 10, "values")
    assert archiver.stop() == 0
    found = book.values()["PV0"]
    assert len(found) == len(set(found)) and book.marks("PV0") == ["CONNECTED", "STOPPED"]


def test_a_pv_of_the_server_itself_that_is_named_is_recorded_once(logbook) -> None:
    book = logbook("X")
    text = book.site.read_text().replace(f'"{book.prefix}X"', '"LAB:IOC:HEARTBEAT"')
    device = '[[device]]\nname = "KNOB"\ntype = "tests.system.knob:Knob"\n[archive]'
    book.site.write_text(text.replace("[archive]", device, 1))
    book.start("iocs", "run", str(book.site)).line("serving")
    archiver = book.archiver()
    wait_for(lambda: any(len(found) > 2 for found in book.values().values()), "heartbeats")
    assert archiver.stop() == 0
    beats = next(found for pv, found in book.values().items() if pv == "LAB:IOC:HEARTBEAT")
    assert len(beats) == len(set(beats))


def test_pvs_by_name_of_a_simulated_lab_are_not_recorded_on_a_real_site(logbook, tmp_path: Path) -> None:
    book = logbook("GAS:TEMP", "GAS:ONLINE", "PV0")
    lab = tmp_path / "lab"
    lab.mkdir()
    gas = '[[device]]\nname = "GAS"\ntype = "gas"\nlink = "serial:///dev/none"\n'
    site = write_site(lab, book.prefix, gas)
    book.start("iocs", "run", str(site), "--sim").line("online")
    book.environment |= {"EPICS_CAS_SERVER_PORT": str(free_port())}  # a second server, found beside the first one
    book.environment["EPICS_CA_ADDR_LIST"] += f" 127.0.0.1:{book.environment['EPICS_CAS_SERVER_PORT']}"
    book.counting(20)
    archiver = book.archiver()
    archiver.line("GAS:TEMP is SIMULATED")
    archiver.line("GAS:ONLINE is SIMULATED")
    wait_for(lambda: len(book.values().get("PV0", [])) > 20, "values of a real one")
    assert archiver.stop() == 0
    assert book.values().keys() == {"PV0"} and not book.marks("GAS:TEMP")
    assert "refused as simulated" in archiver.log()
