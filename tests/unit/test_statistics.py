"""The server's own PVs: names, values against the kernel's, who is slowest, and the file limit reached."""

import asyncio
import json
import os
import resource
from dataclasses import replace
from pathlib import Path

import pytest

from iocs.ca import statistics
from iocs.ca.access import Access
from iocs.ca.putlog import PutLog
from iocs.ca.server import Client, Counts
from iocs.ca.statistics import SIGNALS, About, Statistics, prefix, slowest
from iocs.signals import NAME_LENGTH, Bad, Catalogue, Kind, Severity, check_name

IOCSTATS = (
    "HEARTBEAT UPTIME STARTTOD TOD IOC_CPU_LOAD SYS_CPU_LOAD MEM_USED MEM_MAX FD_CNT FD_FREE FD_MAX CA_CLNT_CNT "
    "CA_CONN_CNT RECORD_CNT HOSTNAME PROCESS_ID EPICS_VERS KERNEL_VERS ENGINEER LOCATION ACCESS"
).split()


ANNA = Client("127.0.0.1", 4711, "anna", "hut", 3, 2, 100, 0, 0)


class Server:
    """Takes what is served and posted, as the real one does, and keeps it."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.names: list[str] = []
        self.values: dict[str, object] = {}
        self.connected: list[Client] = []
        self.posts = 0

    def clients(self):
        return self.connected

    def serve(self, prefix, signals):
        self.names += [prefix + signal.name for signal in signals]

    def post(self, prefix, time_ns, values):
        assert time_ns > 0
        self.posts += 1
        for name, value in values.items():
            assert prefix + name in self.names
            self.values[name] = value


@pytest.fixture
def made(tmp_path):
    server, put_log = Server(), PutLog(tmp_path / "putlog.jsonl")
    it = Statistics(server, About("LAB:IOC:", engineer="Anna", location="Hut 2"), Access(), put_log)
    it.serve()
    yield server, it, put_log
    it.close()


def test_every_pv_is_declared_with_a_description_a_group_and_a_value(made):
    server, _, _ = made
    names = {signal.name for signal in SIGNALS}
    assert set(IOCSTATS) <= names and "SYSRESET" not in names
    assert set(server.values) == names
    assert all(signal.doc and signal.group and not signal.writable for signal in SIGNALS)
    for signal in SIGNALS:
        value = server.values[signal.name]
        kind = {Kind.FLOAT: int | float, Kind.INT: int, Kind.STR: str, Kind.TEXT: str}[signal.kind]
        assert isinstance(value, kind), signal
        if signal.kind is Kind.INT:
            assert 0 <= value < 2**31
    assert Catalogue.from_json(str(server.values["PVS"])).signals == SIGNALS


def test_the_catalogue_has_another_version_when_its_signals_are_others(made, monkeypatch):
    server, it, _ = made

    def version() -> int:
        server.names.clear()
        it.serve()
        return Catalogue.from_json(str(server.values["PVS"])).version

    before = version()
    assert version() == before
    monkeypatch.setattr(statistics, "SIGNALS", (replace(SIGNALS[0], doc="other words"), *SIGNALS[1:]))
    assert version() != before


def test_values_are_the_kernels(made):
    server, _, _ = made
    values = server.values
    assert values["PROCESS_ID"] == os.getpid() and values["HOSTNAME"] == os.uname().nodename
    assert (values["ENGINEER"], values["LOCATION"]) == ("Anna", "Hut 2")
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    assert values["MEM_USED"] == pytest.approx(int(status["VmRSS"].split()[0]) * 1024, rel=0.1)
    memory = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    assert values["MEM_MAX"] == int(memory["MemTotal"].split()[0]) * 1024
    assert values["FD_CNT"] == pytest.approx(len(os.listdir("/proc/self/fd")), abs=2)
    assert values["FD_CNT"] + values["FD_FREE"] == values["FD_MAX"]
    assert values["ACCESS"] == "this host expert"
    assert values["RECORD_CNT"] == len(SIGNALS)


def test_clients_and_counts(made):
    server, it, _ = made
    server.connected = [ANNA, Client("10.0.0.9", 5, "bob", "", 4, 4, 10, 7, 9000)]
    server.counts = Counts(channels=7, updates=1000, dropped=5, refused_puts=2, malformed=1, refused=3)
    it.post()
    values = server.values
    assert (values["CA_CLNT_CNT"], values["CA_CONN_CNT"]) == (2, 7)
    assert (values["DROPPED"], values["REFUSED"], values["CLOSED"]) == (5, 2, 1) and values["TURNED_AWAY"] == 3
    assert values["UPDATES"] > 1000
    assert values["SLOWEST"] == "bob@10.0.0.9:5: 9000 events wait, 7 dropped"
    bob = json.loads(values["CLIENTS"])[1]
    assert (bob["user"], bob["rate"]) == ("bob", 0)
    server.connected = [replace(server.connected[1], updates=500)]
    it.post()
    (bob,) = json.loads(values["CLIENTS"])
    assert bob["updates"] == 500 and bob["rate"] > 500
    assert values["UPDATES"] == 0


def test_the_slowest_is_nobody_while_all_keep_up():
    assert slowest([]) == slowest([ANNA]) == ""
    slow = slowest([replace(ANNA, dropped=3), replace(ANNA, user="eve", backlog=1)])
    assert slow == "eve@127.0.0.1:4711: 1 events wait, 0 dropped"


def test_a_put_log_or_rules_in_trouble_are_in_alarm(made):
    server, it, put_log = made
    put_log.error, put_log.dropped, it.access_error = "disk full", 3, "site.toml: nonsense"
    it.post()
    error, access = server.values["PUTLOG_ERROR"], server.values["ACCESS"]
    assert isinstance(error, Bad) and (error.value, error.severity) == ("disk full", Severity.MAJOR)
    assert isinstance(access, Bad) and (access.value, access.severity) == ("this host expert", Severity.MINOR)
    assert server.values["PUTLOG_DROPPED"] == 3


def test_it_goes_on_when_no_file_can_be_opened(made):
    server, it, _ = made
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        it.post()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert (server.values["FD_FREE"], server.values["FD_MAX"]) == (0, 3)


def test_it_posts_once_a_period(made, monkeypatch):
    monkeypatch.setattr(statistics, "PERIOD", 0.02)
    server, it, _ = made

    async def story():
        running = asyncio.create_task(it.run())
        while server.values["HEARTBEAT"] < 5:
            await asyncio.sleep(0.001)
        running.cancel()

    before = server.posts
    asyncio.run(asyncio.wait_for(story(), 5))
    assert server.posts - before == 5


def test_durations_read_well():
    assert statistics._duration(3661.9) == "01:01:01"
    assert statistics._duration(2 * 86400 + 5) == "2 days, 00:00:05"


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ((), "LAB:IOC:"),
        (("HV",), "LAB:IOC:HV:"),
        (("HV", "GAS"), "LAB:IOC:HV_GAS:"),
        ([f"DEVICE_{number}" for number in range(9)], "LAB:IOC:DEVICE_0:"),
    ],
)
def test_a_process_of_its_own_has_its_own_names_and_all_are_legal(part, expected):
    assert prefix("LAB:", part) == expected
    for signal in SIGNALS:
        check_name(prefix("LAB:", part) + signal.name)
        assert len(prefix("LAB:", part) + signal.name) <= NAME_LENGTH


def test_a_sites_servers_are_looked_for_where_one_or_several_processes_serve_it() -> None:
    assert statistics.likely("LAB:", ["PMU", "HV", "GAS"]) == [
        "IOC", "IOC:PMU", "IOC:HV", "IOC:GAS", "IOC:HV_GAS", "IOC:PMU_GAS", "IOC:PMU_HV"
    ]  # fmt: skip
    assert statistics.likely("LAB:", ["PMU"]) == ["IOC", "IOC:PMU"]
    many = [f"DEVICE{number}" for number in range(9)]
    assert statistics.likely("LAB:", many) == ["IOC", *(f"IOC:{name}" for name in many)]  # too long to be joined
