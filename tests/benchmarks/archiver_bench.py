"""Our archiver beside two plain ones: CPU an event, and events lost, into CSV and InfluxDB, in one run.

    python -m tests.benchmarks.archiver_bench [--seconds 15] [--minute] [--quick]

The same C++ IOC (100 counters) and the same InfluxDB 1.6, behind the same `/api/v2/write`, for each. What is lost are
the gaps in the counters, in each store. `--minute`: 100,000 events/s for a minute through ours; `--quick`: two rates.
"""

import argparse
import csv
import subprocess
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.influx import InfluxDb, Shim, before, running
from tests.processes import Process, ca_environment, free_port, random_prefix, wait_for

PVS = 100
PERIODS = (".02", ".01", ".005", ".002", ".001")  # s: 5, 10, 20, 50, 100 thousand events/s
QUICK = (".02", ".005")
OURS, CAPROTO, PYEPICS = "ours", "caproto + csv + Point", "pyepics + csv + Point"


@dataclass(frozen=True)
class Result:
    """One run: events in each store, gaps in each store, CPU of the archiver while it was measured, its memory.

    Events before and behind the measured time are stored too; `offered` are those within it.
    """

    offered: float
    events: tuple[int, int]
    gaps: tuple[int, int]
    cpu: float
    memory: float
    seconds: float

    @property
    def lost(self) -> bool:
        return any(self.gaps) or min(self.events) < 0.97 * self.offered


def run(who: str, period: str, seconds: float, server: InfluxDb, shim: Shim) -> Result:
    """Let one archiver record for so long, then count what its stores have."""
    server.ask("DROP DATABASE bench")
    server.ask("CREATE DATABASE bench")
    prefix = random_prefix()
    environment = ca_environment(free_port()) | {"EPICS_CAS_INTF_ADDR_LIST": "127.0.0.1"}
    with (
        tempfile.TemporaryDirectory() as folder,
        Process(
            *("tests.benchmarks.counting_soft_ioc", prefix, PVS, period),
            environment=environment,
            stdin=subprocess.PIPE,
        ) as ioc,
    ):
        ioc.line("ready")
        path = Path(folder)
        begin = began(who, path, prefix, environment, shim)
        with begin as archiver:
            archiver.line("connected" if who != OURS else "archiver: ")
            wait_for(lambda: rows(path), "the first rows", 120)
            cpu = archiver.cpu_seconds
            with_end = wait(seconds)
            used, memory = archiver.cpu_seconds - cpu, archiver.peak_memory
            try:
                archiver.stop(deadline=240)
            except subprocess.TimeoutExpired:
                archiver.kill()
            files = counts_of_csv(path)
        database = counts_of_influx(server)
    offered = PVS / float(period) * with_end
    return Result(offered, (total(files), total(database)), (gaps(files), gaps(database)), used, memory, with_end)


def began(who: str, folder: Path, prefix: str, environment: dict[str, str], shim: Shim) -> Process:
    """Start an archiver."""
    if who != OURS:
        client = "caproto" if who == CAPROTO else "pyepics"
        plain = ("tests.benchmarks.archiver_peers", client, shim.url, "bench", folder / "plain.csv", prefix, PVS)
        return Process(*(str(word) for word in plain), environment=environment)
    names = ", ".join(f'"{prefix}{n}"' for n in range(PVS))
    site = folder / "site.toml"
    site.write_text(
        f'[site]\nname = "bench"\nprefix = "B:"\n[archive]\npvs = [{names}]\n[archive.csv]\nvalue_digits = "repr"\n'
        'time_format = "ns"\nwrite_every = 1.0\n'
        f'[archive.influx]\nurl = "{shim.url}"\norg = "o"\nbucket = "bench"\ntoken_env = "BENCH_TOKEN"\ntimeout = 60\n'
    )
    return Process("archiver", "run", str(site), environment={**environment, "BENCH_TOKEN": "t"})


def wait(seconds: float) -> float:
    """Let time pass, which is what a measurement is for; gives how much did."""
    start = time.monotonic()
    time.sleep(seconds)
    return time.monotonic() - start


def rows(folder: Path) -> bool:
    return any(path.stat().st_size > 100 for path in [*folder.glob("data/*.csv"), *folder.glob("plain.csv")])


def counts_of_csv(folder: Path) -> dict[str, list[int]]:
    """Give the counts by PV that are in the files."""
    found: dict[str, list[int]] = defaultdict(list)
    for path in sorted(folder.glob("data/samples_*.csv")):
        with path.open() as file:
            for line in csv.reader(file):
                if len(line) == 5 and line[4] == "NO_ALARM":
                    found[line[1]].append(int(float(line[2])))
    for path in folder.glob("plain.csv"):
        with path.open() as file:
            for line in csv.reader(file):
                if len(line) == 3:
                    found[line[0]].append(int(float(line[2])))
    return found


def counts_of_influx(server: InfluxDb) -> dict[str, list[int]]:
    """Give the counts by PV that are in the database."""
    told = server.ask('SELECT "value" FROM /.*/ GROUP BY "pv"', "bench")
    found: dict[str, list[int]] = defaultdict(list)
    for series in told["results"][0].get("series", ()):
        found[series["tags"]["pv"]] += [int(value) for _, value in series["values"] if value is not None]
    return found


def total(counts: dict[str, list[int]]) -> int:
    return sum(len(values) for values in counts.values())


def gaps(counts: dict[str, list[int]]) -> int:
    """Count the numbers that are missing between the first and the last of each PV."""
    return sum(max(values) - min(values) + 1 - len(set(values)) for values in counts.values() if values)


def show(who: str, period: str, result: Result, anchor: float | None) -> float:
    """Print one run; gives its CPU an event, us."""
    events = min(*result.events, result.offered)
    cost = result.cpu / max(events, 1) * 1e6
    ratio = f", 1/{anchor / cost:.1f} of the first" if anchor and who == OURS else ""
    print(
        f"{who:22} {PVS / float(period):7.0f}/s offered: {events / result.seconds:7.0f}/s stored, "
        f"{cost:5.1f} us CPU an event{ratio}, gaps {result.gaps[0]} in CSV and {result.gaps[1]} in InfluxDB, "
        f"{result.memory:.0f} MB",
        flush=True,
    )
    return cost


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--minute", action="store_true", help="100,000 events/s for a minute, ours alone")
    parser.add_argument("--quick", action="store_true", help="two rates only")
    options = parser.parse_args()
    best: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), "bench") as server, before(server) as shim:
        if options.minute:
            show(OURS, ".001", run(OURS, ".001", 60, server, shim), None)
            return
        ended: set[str] = set()
        for period in QUICK if options.quick else PERIODS:
            anchor = None
            for who in (CAPROTO, PYEPICS, OURS):
                if who in ended:
                    continue
                result = run(who, period, options.seconds, server, shim)
                cost = show(who, period, result, anchor)
                anchor = cost if who == CAPROTO else anchor
                if result.lost:
                    ended.add(who)
                else:
                    best[who] = PVS / float(period)
    for who, rate in best.items():
        print(f"{who}: {rate:.0f} events/s without a loss")
    if PYEPICS in best and OURS in best:
        print(f"ours / pyepics: {best[OURS] / best[PYEPICS]:.1f}")


if __name__ == "__main__":
    try:
        main()
    except pytest.skip.Exception as absent:
        print(absent)
