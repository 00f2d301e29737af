"""The archiver as a process, against a process that serves rows: kills, stops, restarts, new columns, a full stop."""

import csv
import itertools
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.archive import text_of
from tests.processes import ca_environment, free_port, wait_for

ROW_IOC = Path(__file__).with_name("row_ioc.py")
FIRST, STEP = 1_790_000_000_020_000_000, 20_000_000


class House:
    """A site in a folder, with its row server and archivers as processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.prefix = f"T{random.randrange(10**6)}:"
        self.data = folder / "data"
        self.site = folder / "site.toml"
        self.processes: list[subprocess.Popen[str]] = []
        self.write_site()
        root = str(Path(__file__).parents[2])
        self.environment = {**ca_environment(free_port()), "PYTHONPATH": root}

    def write_site(self, more: str = "write_every = 0.2", simulated: bool = False) -> None:
        flag = "simulated = true\n" if simulated else ""
        self.site.write_text(
            f'[site]\nname = "test"\nprefix = "{self.prefix}"\n{flag}'
            f'[[device]]\nname = "PMU"\ntype = "test"\n[archive.csv]\ntime_format = "ns"\n{more}\n'
        )

    def ioc(self, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(ROW_IOC), self.prefix + "PMU:", *options]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, env=self.environment, stdin=pipe, stdout=pipe, text=True)
        self.processes.append(process)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        return process

    def simulated_lab(self) -> subprocess.Popen[str]:
        """Run the site's PMU on its simulator."""
        command = [sys.executable, "-m", "iocs", "run", str(self.site), "--sim"]
        process = subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.processes.append(process)
        return process

    def archiver(self, number: int = 1, module: str | None = None) -> subprocess.Popen[str]:
        """Start an archiver; `module` runs it in its own way."""
        command = [
            sys.executable,
            "-m",
            *([module] if module else []),
            "archiver",
            "run",
            str(self.site),
            "--log-overwrite",
            str(self.log_path(number)),
        ]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, env=self.environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=self.folder
        )
        self.processes.append(process)
        return process

    def log_path(self, number: int = 1) -> Path:
        return self.folder / f"archiver-{number}.log"

    def log(self, number: int = 1) -> str:
        path = self.log_path(number)
        return path.read_text() if path.exists() else ""

    def wait_log(self, text: str, number: int = 1) -> None:
        wait_for(lambda: text in self.log(number), f"{text!r} in the log ({self.log_path(number)})")

    def tables(self) -> dict[str, list[list[str]]]:
        """Rows of every file, header first; each line must be whole."""
        tables = {}
        for path in sorted(self.data.glob("PMU_*.csv")):
            text = text_of(path)
            if not text:
                continue  # the instant between the making of a file and its first write
            tables[path.name] = list(csv.reader(text.splitlines()))
        return tables

    def samples(self) -> list[list[str]]:
        """Single samples and marks, in order of arrival."""
        files = sorted(self.data.glob("samples_*.csv"))
        return [row for path in files for row in list(csv.reader(text_of(path).splitlines()))[1:]]

    def times(self) -> list[int]:
        return [int(row[0]) for table in self.tables().values() for row in table[1:]]


def tell(ioc: subprocess.Popen[str], line: str) -> int:
    assert ioc.stdin is not None and ioc.stdout is not None
    ioc.stdin.write(line + "\n")
    ioc.stdin.flush()
    return int(ioc.stdout.readline())


def expected(*spans: tuple[int, int]) -> list[int]:
    return [FIRST + STEP * (number - 1) for first, last in spans for number in range(first, last + 1)]


def stop(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> str:
    process.send_signal(number)
    out, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    return out


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    for process in house.processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_every_row_is_written_and_a_stop_writes_what_is_held(house: House, end: int) -> None:
    house.write_site("write_every = 3600")
    ioc = house.ioc()
    archiver = house.archiver()
    house.wait_log("ROW: connected")
    tell(ioc, "rows 1")
    assert tell(ioc, "rows 499") == 500
    tell(ioc, "lost")
    wait_for(lambda: len(house.times()) == 500, "500 rows after the loss of the device")
    tell(ioc, "rows 50")
    tell(ioc, "lost")
    wait_for(lambda: len(house.times()) == 550, "550 rows")
    out = stop(archiver, end)
    assert house.times() == expected((1, 550))
    assert out.startswith("archiver: rows and PVs of PMU (site test") and str(house.data) in out.splitlines()[0]
    (table,) = house.tables().values()
    assert table[0] == ["time", "FREQ (Hz)", "STAT"]
    assert table[1][1:] == ["50", "1"] and table[-1][1:] == ["50.00055", "550"]
    assert "at the end 550 rows, 0 missing in 0 gaps" in house.log()
    assert "csv: at the end 552 seen, 552 written, 0 waiting" in house.log()  # with the marks CONNECTED and STOPPED
    state = (house.folder / "state" / "archiver.json").read_text()
    assert "FREQ" in state and house.prefix in state


def test_sigterm_writes_rows_that_wait_for_their_turn(house: House) -> None:
    house.write_site("write_every = 3600")
    ioc = house.ioc()
    archiver = house.archiver()
    house.wait_log("ROW: connected")
    tell(ioc, "rows 20")
    tell(ioc, "lost")
    wait_for(lambda: len(house.times()) == 20, "the first rows")
    tell(ioc, "rows 100")
    reader = [sys.executable, "-c", f"import asyncio\n{READ_LAST}", f"{house.prefix}PMU:ROW", "120"]
    subprocess.run(reader, env=house.environment, check=True, timeout=20)  # the server has sent all 120 by now
    stop(archiver)
    assert house.times() == expected((1, 120))


READ_LAST = """
import sys
from iocs.ca.client import Client
async def main():
    async with Client() as client:
        while (await client.get(sys.argv[1])).value[0] != float(sys.argv[2]):
            await asyncio.sleep(0.02)
asyncio.run(main())
"""


def test_kill_leaves_whole_lines_and_a_restart_goes_on_in_a_new_file(house: House) -> None:
    ioc = house.ioc()
    first = house.archiver(1)
    house.wait_log("ROW: connected", 1)
    tell(ioc, "rows 300")
    wait_for(lambda: len(house.times()) == 300, "300 rows")
    tell(ioc, "rows 30")
    first.kill()
    first.communicate()
    before = house.times()
    assert before == expected((1, len(before))) and len(before) >= 300
    (old,) = house.tables()
    with (house.data / old).open("a") as torn:
        torn.write("17900000")  # as a power cut may leave it
    second = house.archiver(2)
    house.wait_log("ROW: connected", 2)
    house.wait_log("cut back by", 2)
    tell(ioc, "rows 10")
    wait_for(lambda: house.times()[-1:] == expected((340, 340)), "the rows after the restart")
    stop(second)
    assert old in house.tables()
    rows = [row for table in house.tables().values() for row in table[1:]]
    numbers = [int(row[2]) for row in rows]
    assert rows == [[str(FIRST + STEP * (n - 1)), f"{50 + n * 1e-6:.7g}", str(n)] for n in numbers]
    assert numbers == sorted(set(numbers)) and set(range(1, len(before) + 1)) <= set(numbers)
    missing = 340 - len(numbers)  # what the kill found in the window of spool_every
    gaps = [row for row in house.samples() if row[4].startswith("GAP")]
    assert [row[4] for row in gaps] == ["GAP", *([f"GAP {missing}"] if missing else [])]
    assert gaps[0][1] == f"{house.prefix}PMU:ROW"  # from when on the first run knew nothing more


def test_a_clock_step_of_the_box_and_of_the_archiver_keeps_every_row_in_the_order_of_its_post(house: House) -> None:
    ioc, archiver = house.ioc(), house.archiver(module="tests.system.stepped_clock")
    house.wait_log("ROW: connected")
    hour = 3600 * 10**9
    for turn, (seconds, shift) in enumerate(((0, 0), (-7200, -7200), (7200, 0), (3600, 3600)), 1):
        tell(ioc, f"step {seconds}")
        assert archiver.stdin is not None
        archiver.stdin.write(f"{shift}\n")
        archiver.stdin.flush()
        tell(ioc, "rows 100")
        wait_for(lambda rows=turn * 100: len(house.times()) == rows, "the rows after the step")
    stop(archiver)
    tables = sorted(house.tables().values(), key=lambda table: int(table[1][2]))  # by the number of the first row
    assert [int(row[2]) for table in tables for row in table[1:]] == list(range(1, 401))
    spans = expected((1, 100)), expected((101, 200)), expected((201, 300)), expected((301, 400))
    told = [time + step * hour for span, step in zip(spans, (0, -2, 0, 1), strict=True) for time in span]
    assert [int(row[0]) for table in tables for row in table[1:]] == told
    assert "400 rows, 0 missing in 0 gaps" in house.log()


def test_gaps_are_counted_and_a_server_that_comes_back_goes_on_in_the_same_file(house: House) -> None:
    ioc = house.ioc()
    archiver = house.archiver()
    house.wait_log("ROW: connected")
    tell(ioc, "rows 10")
    tell(ioc, "skip 7")
    tell(ioc, "rows 10")
    wait_for(lambda: len(house.times()) == 20, "20 rows")
    ioc.kill()
    ioc.communicate()
    again = house.ioc()
    tell(again, "rows 5")
    wait_for(lambda: "the serving process is a new one" in house.log(), "restart in the log")
    tell(again, "rows 5")
    wait_for(lambda: house.times()[-1:] == expected((10, 10)), "the last row after the restart")
    stop(archiver)
    assert len(house.tables()) == 1
    log = house.log()
    assert "7 rows are missing between" in log and "7 missing in 1 gaps" in log


def test_new_columns_get_a_new_file_and_lose_no_row(house: House) -> None:
    ioc = house.ioc()
    archiver = house.archiver()
    house.wait_log("ROW: connected")
    tell(ioc, "rows 50")
    tell(ioc, "columns")
    tell(ioc, "rows 50")  # these come before their catalogue
    wait_for(lambda: len(house.times()) == 100, "100 rows")
    stop(archiver)
    old, new = house.tables().values()
    assert (len(old), len(new)) == (51, 51)
    assert new[0] == ["time", "FREQ (Hz)", "STAT", "A2 (V)"]
    assert house.times() == expected((1, 100))


def test_simulated_values_are_recorded_only_where_the_site_says_so(house: House) -> None:
    ioc = house.ioc("--simulated")
    archiver = house.archiver(1)
    house.wait_log("SIMULATED values: they are NOT recorded")
    tell(ioc, "rows 5")
    stop(archiver)
    assert not list(house.data.glob("*.csv"))
    house.write_site(simulated=True)
    archiver = house.archiver(2)
    house.wait_log("ROW: connected", 2)
    tell(ioc, "rows 5")
    wait_for(lambda: len(house.times()) >= 5, "rows")
    stop(archiver)


def test_a_second_archiver_is_refused(house: House) -> None:
    first = house.archiver(1)
    assert first.stdout is not None and first.stdout.readline().startswith("archiver: ")
    second = house.archiver(2)
    assert second.wait(20) == 2
    assert f"process {first.pid}" in house.log(2)
    elsewhere = house.folder / "elsewhere"
    elsewhere.mkdir()
    other = elsewhere / "site.toml"
    other.write_text(house.site.read_text() + f'directory = "{house.data}"\n')
    command = [sys.executable, "-m", "archiver", "run", str(other)]
    third = subprocess.run(command, env=house.environment, capture_output=True, text=True, timeout=20)
    assert third.returncode == 2 and f"pid {first.pid}" in third.stderr
    stop(first)


def test_a_folder_that_is_in_the_way_holds_rows_back_until_it_is_free(house: House) -> None:
    house.data.write_text("in the way")
    ioc = house.ioc()
    archiver = house.archiver()
    house.wait_log("ROW: connected")
    tell(ioc, "rows 100")
    house.wait_log("cannot write to")
    house.data.unlink()
    tell(ioc, "rows 100")
    wait_for(lambda: len(house.times()) == 200, "200 rows")
    stop(archiver)
    assert house.times() == expected((1, 200))
    assert "writing again" in house.log()


def test_it_says_where_it_looks_when_nothing_answers(house: House) -> None:
    archiver = house.archiver()
    house.wait_log("no answer yet for")
    assert f"{house.prefix}PMU:PVS" in house.log() and "EPICS_CA_ADDR_LIST is '127.0.0.1'" in house.log()
    stop(archiver)


def test_mistakes_are_told_with_exit_code_2(house: House) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "archiver", *arguments]
        return subprocess.run(command, env=house.environment, capture_output=True, text=True, timeout=20)

    missing = run("run", str(house.folder / "none.toml"))
    assert missing.returncode == 2 and "none.toml" in missing.stderr
    house.write_site("time_digits = 9")
    wrong = run("run", str(house.site))
    assert wrong.returncode == 2 and "time_digits" in wrong.stderr
    assert run().returncode == 2
    assert run("--version").stdout.startswith("countinghouse")


def test_the_simulated_pmu_ends_in_one_file_without_a_missing_frame(house: House) -> None:
    """50 frames/s of 8 phasors through both processes; the server is killed and comes back meanwhile."""
    house.write_site(simulated=True)
    house.site.write_text(
        house.site.read_text().replace('type = "test"', 'type = "pmu"\nlink = "tcp://192.0.2.1"\nidcode = 7')
    )
    archiver = house.archiver()
    first = house.simulated_lab()
    house.wait_log("ROW: connected")
    wait_for(lambda: len(house.times()) >= 100, "100 frames")
    first.kill()
    house.wait_log("the link is lost")
    before = len(house.times())
    second = house.simulated_lab()
    house.wait_log("the serving process is a new one")
    wait_for(lambda: len(house.times()) >= before + 100, "100 frames more")
    stop(archiver)
    stop(second)
    assert len(house.tables()) == 1
    times = house.times()
    steps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert set(steps) - {STEP} == {max(steps)} and steps.count(max(steps)) == 1  # all but the pause are 20 ms
    assert ", 0 missing in 0 gaps" in house.log()
    (table,) = house.tables().values()
    assert table[0][:3] == ["time", "FREQ (Hz)", "ROCOF (Hz/s)"] and table[0][-3:] == ["STAT", "TQ", "LEAP"]
    assert abs(float(table[1][1]) - 50) < 1
