"""Our Channel Access server against plain caproto and pythonSoftIOC, with the same client of libca, in one run.

    python -m tests.benchmarks.ca_bench [--minutes 5] [--only updates,connect] [--servers ours,caproto]

Loopback only, some three minutes; `--minutes` adds as long under full load, to see whether memory stays. The client
(`libca_bench.c`) is built into `.cache/` with the system's compiler against libca of the PyPI package epicscorelibs.
Judge by the ratios: absolute figures are those of this machine at this hour.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests import raw_ca
from tests.c_client import Absent, build
from tests.processes import Process, ca_environment, free_port, wait_for

HERE = Path(__file__).parent
SERVERS = {
    "ours": ("tests.benchmarks.ca_server",),
    "caproto": ("tests.benchmarks.ca_peers", "caproto"),
    "softioc": ("tests.benchmarks.ca_peers", "softioc"),
}
TITLES = {"ours": "ours", "caproto": "plain caproto", "softioc": "pythonSoftIOC"}
PVS, MANY = 100, 10_000
ARRAY = 1 << 20  # float64: 8 MB
AGE_LIMIT = 1000.0  # ms: a server whose updates are older than that does not keep up
PATTERN = "BENCH:PV%d"


class Served:
    """A server process and clients of it.

    Attributes:
        start_seconds: from the start of the process until it accepted a connection.
        growth: MB; how much more memory it had, at most, than when it was ready.
    """

    def __init__(self, server: str, client: Path, **options: float | str) -> None:
        self.client, self.port = client, free_port()
        self.environment = ca_environment(self.port) | {
            "EPICS_CAS_INTF_ADDR_LIST": "127.0.0.1",
            "EPICS_CAS_BEACON_ADDR_LIST": "127.0.0.1",
            "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
            "EPICS_CA_MAX_ARRAY_BYTES": str(9 * ARRAY),
        }
        arguments = [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]
        began = time.monotonic()
        self.process = Process(*SERVERS[server], *arguments, environment=self.environment)
        self.process.line("READY")
        raw_ca.RawClient(self.port).socket.close()
        self.start_seconds = time.monotonic() - began
        self.memory = self.process.memory
        self.process.forget_peak()

    def __enter__(self):
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()

    @property
    def growth(self) -> float:
        return self.process.peak_memory - self.memory

    def clients(self, *arguments: object, n: int = 1, deadline: float = 90) -> list[dict[str, float]]:
        """Run so many clients at once; give what they found."""
        command = [str(self.client), *map(str, arguments)]
        pipe = subprocess.PIPE
        running = [
            subprocess.Popen(command, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=self.environment)
            for _ in range(n)
        ]
        try:
            return [json.loads(client.communicate(timeout=deadline)[0] or "null") or {} for client in running]
        except subprocess.TimeoutExpired:
            return []
        finally:
            for client in running:
                client.kill()
                client.wait()


@dataclass(frozen=True)
class Figure:
    """One measured number; `remark` goes below the table."""

    value: float | None
    memory: float | None = None  # MB more than at the start
    remark: str = ""


Measure = Callable[[Callable[..., Served], str], Figure]

# where the search for the highest rate begins, posts/s of each PV, for 1 client and for 5
FIRST_RATE = {"ours": (2500, 1500), "caproto": (70, 20), "softioc": (125, 75)}
STEP = 1.35


def most_updates(clients: int) -> Measure:
    """Raise the rate until something is lost or late, twice; the best that was delivered whole."""

    def measure(serve: Callable[..., Served], server: str) -> Figure:
        best, rate, failures = Figure(None), float(FIRST_RATE[server][clients > 1]), 0
        for _attempt in range(10):
            with serve(npv=PVS, rate=rate) as served:
                found = served.clients("monitor", PATTERN, PVS, 2, n=clients)
                delivered = sum(each.get("per_s", 0) for each in found)
                late = max((each.get("age_p99_ms", AGE_LIMIT) for each in found), default=AGE_LIMIT)
                if late < AGE_LIMIT and not any(each["lost"] for each in found):
                    if delivered > (best.value or 0):
                        best = Figure(delivered, served.growth, f"{rate:.0f} Hz asked, age p99 {late:.1f} ms")
                    if delivered < 0.8 * rate * PVS * clients:
                        break  # it posts no faster
                    failures, rate = 0, rate * STEP
                    continue
            failures += 1
            if failures == 2:
                if best.value or rate < 5:
                    break
                failures, rate = 0, rate / 3
        return best

    return measure


def age(serve: Callable[..., Served], _server: str) -> Figure:
    with serve(npv=PVS, rate=50) as served:
        found = served.clients("monitor", PATTERN, PVS, 4, n=5)
        if not all(found):
            return Figure(None)
        lost = sum(each["lost"] for each in found)
        return Figure(
            max(each["age_p99_ms"] for each in found), served.growth, f"{lost:.0f} late or lost" if lost else ""
        )


def connect(serve: Callable[..., Served], _server: str) -> Figure:
    with serve(npv=MANY) as served:
        (found,) = served.clients("connect", PATTERN, MANY)
        return Figure(found.get("seconds"), served.growth)


def gets(serve: Callable[..., Served], _server: str) -> Figure:
    with serve(npv=1000) as served:
        (found,) = served.clients("gets", PATTERN, 1000, 2)
        return Figure(found.get("per_s"), served.growth)


def churn(serve: Callable[..., Served], _server: str) -> Figure:
    with serve(npv=1) as served:
        (found,) = served.clients("churn", "BENCH:PV0", 2)
        return Figure(found.get("per_s"), served.growth)


def array(serve: Callable[..., Served], _server: str) -> Figure:
    with serve(npv=1, wave=ARRAY, wave_rate=30) as served:
        found = served.clients("array", "BENCH:WAVE", 5, n=3)
        if not all(found):
            return Figure(None, served.growth)
        remark = f"oldest {max(each['age_max_ms'] for each in found):.0f} ms"
        return Figure(min(each["per_s"] for each in found), served.growth, remark)


def stuck(serve: Callable[..., Served], _server: str) -> Figure:
    """What another client loses, in percent, while one reads no more."""
    with serve(npv=PVS, rate=100) as served:
        with raw_ca.RawClient(served.port, receive_buffer=4096) as client:
            sids = client.channels([PATTERN % number for number in range(PVS)])
            client.send(*(raw_ca.subscribe(sid, number) for number, sid in enumerate(sids * 2)))
            (found,) = served.clients("monitor", PATTERN, PVS, 6)
            memory = served.growth
        with suppress(AssertionError):
            wait_for(lambda: served.process.memory - served.memory < 2, "memory as before", deadline=2)
        kept = served.process.memory - served.memory
        lost = 100 * found["lost"] / found["posted"] if found.get("posted", 0) > PVS else 100.0
        return Figure(lost, memory, f"{kept:.1f} MB kept afterwards")


def start(serve: Callable[..., Served], _server: str) -> Figure:
    """What 10,000 PVs cost over 10: seconds, MB. Each the least of three: starting a Python alone varies by more."""
    found: dict[int, list[tuple[float, float]]] = {10: [], MANY + 10: []}
    for npv in (10, MANY + 10) * 3:
        with serve(npv=npv) as served:
            found[npv].append((served.start_seconds, served.memory))
    seconds, memory = ([min(each[kind] for each in found[npv]) for npv in found] for kind in (0, 1))
    return Figure(seconds[1] - seconds[0], memory[1] - memory[0])


@dataclass(frozen=True)
class Row:
    """A line of the table. `reach`: what we want, as a text and as a test of (ours, caproto's) figures."""

    key: str
    title: str
    measure: Measure
    unit: str
    reach: str
    reached: Callable[[Figure, Figure], bool]
    more_is_better: bool = True


def times(factor: float) -> Callable[[Figure, Figure], bool]:
    return lambda ours, caproto: bool(caproto.value) and ours.value >= factor * caproto.value


ROWS = [
    Row("updates", "updates to 5 clients, none lost", most_updates(5), "/s", "40 times", times(40)),
    Row("updates", "updates to 1 client, none lost", most_updates(1), "/s", "20 times", times(20)),
    Row("age", "100 PVs x 50 Hz x 5, age p99", age, "ms", "< 3 ms", lambda ours, _: ours.value < 3, False),
    Row("connect", "connect 10,000 PVs", connect, "s", "< 0.25 s", lambda ours, _: ours.value < 0.25, False),
    Row("gets", "1000 gets in flight", gets, "/s", "30 times", times(30)),
    Row("churn", "subscribe, first event, unsubscribe", churn, "/s", "3000/s", lambda ours, _: ours.value >= 3000),
    Row(
        "array",
        "8 MB array, 30 Hz, 3 clients",
        array,
        "Hz",
        "30 Hz, < 96 MB",
        lambda ours, _: ours.value > 29 and ours.memory < 96,
    ),
    Row("stuck", "one stuck client: others lose", stuck, "%", "< 5 %", lambda ours, _: ours.value < 5, False),
    Row(
        "start",
        "start, memory of 10,000 PVs",
        start,
        "s",
        "0.5 s, 40 MB",
        lambda ours, _: ours.value < 0.5 and ours.memory < 40,
        False,
    ),
]


def written(figure: Figure | None, unit: str) -> str:
    if figure is None:
        return "-"
    if figure.value is None:
        return "failed"
    number = f"{figure.value:,.0f}" if abs(figure.value) >= 100 else f"{figure.value:.3g}"
    return f"{number}{unit if unit.startswith('/') else ' ' + unit}"


def ratio(row: Row, figures: dict[str, Figure], server: str) -> str:
    """How many times better ours is than another."""
    ours, other = figures.get("ours"), figures.get(server)
    if ours is None or other is None or not ours.value or not other.value:
        return "-"
    better = ours.value / other.value if row.more_is_better else other.value / ours.value
    return f"x {better:.3g}"


HEAD = ("measure", "ours", "plain caproto", "pythonSoftIOC", "to caproto", "to softioc", "reach", "", "MB more")
WIDTHS = (36, 15, 14, 14, 10, 10, 15, 8, 20)


def line(*cells: str) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()


def table_row(row: Row, figures: dict[str, Figure]) -> str:
    ours, caproto = figures.get("ours"), figures.get("caproto", Figure(None))
    verdict = ""
    if ours is not None:
        verdict = "reached" if ours.value is not None and row.reached(ours, caproto) else "MISSED"
    memory = " / ".join(
        f"{figures[server].memory:.0f}" if server in figures and figures[server].memory is not None else "-"
        for server in SERVERS
    )
    return line(
        row.title,
        *(written(figures.get(server), row.unit) for server in SERVERS),
        ratio(row, figures, "caproto"),
        ratio(row, figures, "softioc"),
        row.reach,
        verdict,
        memory,
    )


def full_load(client: Path, minutes: float) -> None:
    """Show memory under full load to 5 clients, minute by minute."""
    with Served("ours", client, npv=PVS, rate=1000) as served:
        load = threading.Thread(
            target=served.clients,
            args=("monitor", PATTERN, PVS, 60 * minutes),
            kwargs={"n": 5, "deadline": 60 * minutes + 60},
        )
        load.start()
        print(f"\nfull load, 100 PVs x 1000 Hz x 5 clients, memory in MB (ready: {served.memory:.0f}):", flush=True)
        while load.is_alive():
            load.join(min(60.0, 15 * minutes))
            print(f"  {served.process.memory:.1f}", flush=True)


@contextmanager
def progress(total: int) -> Iterator[Callable[[str], None]]:
    """Show what is being measured, if somebody looks."""
    done = 0

    def step(what: str) -> None:
        nonlocal done
        done += 1
        if sys.stderr.isatty():
            print(f"\r\033[K[{done}/{total}] {what}", end="", file=sys.stderr, flush=True)

    yield step
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=0, help="of full load, besides")
    parser.add_argument("--only", help="rows, by comma: " + ",".join(dict.fromkeys(row.key for row in ROWS)))
    parser.add_argument("--servers", default=",".join(SERVERS), help="which servers, by comma")
    asked = parser.parse_args()
    rows = [row for row in ROWS if asked.only is None or row.key in asked.only.split(",")]
    servers = [server for server in SERVERS if server in asked.servers.split(",")]
    try:
        client = build(HERE / "libca_bench.c")
    except Absent as absent:
        print(f"ca_bench: skipped, for want of {absent}")
        return
    if "softioc" in servers and importlib.util.find_spec("softioc") is None:
        print("ca_bench: without pythonSoftIOC (pip install softioc)")
        servers.remove("softioc")
    busy = os.getloadavg()[0]
    print(f"{os.cpu_count()} processors; {busy:.1f} programs ran on them in the last minute: far less than 1 is wanted")
    if rows:
        print(line(*HEAD), flush=True)
    remarks: list[str] = []
    with progress(len(rows) * len(servers)) as step:
        for row in rows:
            figures = {}
            for server in servers:
                step(f"{row.title}: {TITLES[server]}")

                def serve(server: str = server, **options: float | str) -> Served:
                    return Served(server, client, **options)

                figures[server] = row.measure(serve, server)
            print(table_row(row, figures), flush=True)
            remarks += [
                f"  {row.title}, {TITLES[server]}: {figure.remark}"
                for server, figure in figures.items()
                if figure.remark
            ]
    if rows:
        print("\nMB more: the server's memory over that at its start, ours / plain caproto / pythonSoftIOC")
        print(*remarks, sep="\n")
    if asked.minutes:
        full_load(client, asked.minutes)


if __name__ == "__main__":
    main()
