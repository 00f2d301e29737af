"""What systemd is told: READY when it serves, WATCHDOG while the loop turns, STOPPING; and any order of start."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from archiver.serve.server import Server
from iocs import config, sd_notify
from tests.processes import Process, ca_environment, free_port, random_prefix, wait_for, write_site

PMU = '[[device]]\nname = "PMU"\ntype = "pmu"\nlink = "tcp://192.0.2.1"\nidcode = 1\n'


@contextmanager
def manager(address: str) -> Iterator[socket.socket]:
    """The socket at which a service manager listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(address.replace("@", "\0"))
        end.settimeout(10)
        yield end


def heard(end: socket.socket, within: float = 0.05) -> list[str]:
    """All that has come, until nothing does for a moment."""
    end.settimeout(within)
    messages = []
    try:
        while True:
            messages.append(end.recv(4096).decode())
    except TimeoutError:
        return messages


@pytest.mark.parametrize("address", ["FOLDER/notify", "@countinghouse-PREFIX"])
def test_a_loop_that_is_held_up_says_nothing(tmp_path, monkeypatch, address):
    address = address.replace("FOLDER", str(tmp_path)).replace("PREFIX", random_prefix())
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.setenv("WATCHDOG_USEC", "40000")
    with manager(address) as end:

        async def turn_then_hold() -> list[str]:
            async with sd_notify.watchdog():
                sd_notify.ready("two\nlines")
                turned = [await asyncio.to_thread(end.recv, 4096) for _ in range(5)]
                heard(end, 0.001)  # what came meanwhile; this holds the loop up from here on
                held = heard(end, 0.2)
                assert turned[0] == b"READY=1\nSTATUS=two lines" and set(turned[1:]) == {b"WATCHDOG=1"}
                return held

        assert asyncio.run(turn_then_hold()) == []
        assert heard(end) == []


def test_nobody_listens_and_nothing_fails(tmp_path, monkeypatch, caplog):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    sd_notify.ready("")
    assert not caplog.records
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    sd_notify.ready("serving")
    assert "NOTIFY_SOCKET takes no READY=1" in caplog.text
    for environment, every in (({"WATCHDOG_USEC": "2000000"}, 0.5), ({"WATCHDOG_PID": "1"}, None)):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert sd_notify.alive_every() == every


def test_the_page_is_alive_while_both_its_threads_are(tmp_path, monkeypatch):
    address = f"@{random_prefix()}notify"
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.setenv("WATCHDOG_USEC", "4")
    monkeypatch.setenv("EPICS_CA_SERVER_PORT", str(free_port()))
    site = config.load(write_site(tmp_path, random_prefix(), ""))
    with manager(address) as end, Server(("127.0.0.1", 0), site) as server:
        server.watching.start()
        server.service_actions()
        assert end.recv(4096) == b"WATCHDOG=1" and heard(end) == []
        go_on = threading.Event()
        server.watching.loop.call_soon_threadsafe(go_on.wait)
        server.service_actions()
        assert heard(end) == []
        go_on.set()
        end.settimeout(10)
        assert end.recv(4096) == b"WATCHDOG=1"
        server.watching.stop()
        server.service_actions()  # a loop that has ended
        assert heard(end) == []


def test_three_processes_started_in_the_wrong_order_are_ready_alive_and_end(tmp_path):
    archive = "[archive.csv]\nwrite_every = 0.1\n[serve]\nport = 0\n[archive]\nspool_every = 0.1\n"
    site = write_site(tmp_path, random_prefix(), PMU, archive)
    environment = {**ca_environment(free_port()), "WATCHDOG_USEC": "400000"}
    commands = {"page": ("archiver", "serve"), "archiver": ("archiver", "run"), "ioc": ("iocs", "run")}
    ends, started = {}, {}

    def start(name: str, *more: str) -> Process:
        address = f"@{random_prefix()}{name}"
        ends[name] = stack.enter_context(manager(address))
        variables = {**environment, "NOTIFY_SOCKET": address}
        started[name] = stack.enter_context(Process(*commands[name], str(site), *more, environment=variables))
        return started[name]

    def until(name: str, message: str) -> None:
        deadline = time.monotonic() + 30
        ends[name].settimeout(30)
        while not ends[name].recv(4096).decode().startswith(message):
            assert time.monotonic() < deadline, started[name].log()

    with ExitStack() as stack:
        start("page"), start("archiver")
        until("page", "READY=1\nSTATUS=page of test: http://127.0.0.1:")
        until("archiver", "READY=1\nSTATUS=archiver: ")
        start("ioc", "--sim")
        until("ioc", "READY=1\nSTATUS=test: serving PMU on 127.0.0.1 port ")
        wait_for(lambda: any(Path(tmp_path / "data").glob("PMU_*.csv")), "rows of the PMU")
        for name, process in started.items():
            until(name, "WATCHDOG=1")
            until(name, "WATCHDOG=1")
            process.popen.terminate()
        for name, process in started.items():
            until(name, "STOPPING=1")
            assert process.popen.wait(30) == 0, process.log()
