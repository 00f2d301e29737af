"""Who may do what, told when and noted where: real IOC processes, and peers with addresses of their own."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from caproto.threading.client import Context

from iocs.ca.access import Access, Rule, Standing
from iocs.ca.server import Server
from iocs.signals import Severity, Status, readback
from tests.processes import Process, ca_environment, free_port, random_prefix, wait_for, write_site
from tests.pvs import pvs
from tests.raw_ca import NORDACCESS, NORMAL, NOWTACCESS, PUTFAIL, Command, RawClient, Type, claim

READ, WRITE = 1, 2
KNOB = '[[device]]\nname = "KNOB"\ntype = "tests.system.knob:Knob"\n'
LEVELS = """[access]
read = ["127.0.0.0/8"]
operator = ["127.0.0.3"]
expert = ["127.0.0.1"]
users = { guest = "read", eve = "none", "jörg" = "none" }
"""


class Site:
    """A site of knobs; its processes end with the test."""

    def __init__(self, directory: Path, rest: str = "", devices: str = KNOB) -> None:
        self.directory, self.prefix, self.port = directory, random_prefix(), free_port()
        self.environment = ca_environment(self.port)
        self.devices = devices
        self.write(rest)
        self.running: list[Process] = []

    def write(self, rest: str) -> None:
        self.path = write_site(self.directory, self.prefix, self.devices, rest)

    def start(self, *arguments: str, port: int | None = None) -> Process:
        environment = ca_environment(port) if port else self.environment
        process = Process("iocs", "run", str(self.path), *arguments, environment=environment)
        self.running.append(process)
        process.line("serving")
        return process

    def put_log(self) -> list[dict]:
        path = self.directory / "state" / "putlog.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def pvs(self):
        return pvs(self.port, self.prefix)

    def name(self, signal: str) -> str:
        return f"{self.prefix}KNOB:{signal}"


@contextmanager
def site(*arguments, **options):
    it = Site(*arguments, **options)
    try:
        yield it
    finally:
        for process in it.running:
            process.kill()


def rights(client: RawClient, it: Site) -> list[int]:
    return [client.open(it.name(signal))[1] for signal in ("VMON", "VSET", "TRIP")]


def test_rules_go_by_the_peers_address_on_get_put_and_monitor(tmp_path):
    with site(tmp_path, LEVELS) as it:
        it.start()
        with RawClient(it.port, "127.0.0.2") as reader:
            assert rights(reader, it) == [READ, READ, READ]
            sid, _ = reader.open(it.name("VSET"))
            wait_for(lambda: reader.get(sid).double == 0, "value")
            assert reader.event(reader.subscribe(sid)).first == NORMAL
            assert reader.put(sid, 5.0)[0] == NOWTACCESS
            assert reader.get(sid).double == 0
        with RawClient(it.port, "127.0.0.3") as operator:
            assert rights(operator, it) == [READ, READ | WRITE, READ]
            sid, _ = operator.open(it.name("VSET"))
            assert operator.put(sid, 6.0)[0] == NORMAL and operator.get(sid).double == 6
            sid, _ = operator.open(it.name("TRIP"))
            assert operator.put(sid, 6.0)[0] == NOWTACCESS
        with RawClient(it.port, "127.0.0.1") as expert:
            assert rights(expert, it) == [READ, READ | WRITE, READ | WRITE]
            sid, _ = expert.open(it.name("TRIP"))
            assert expert.put(sid, 7.0)[0] == NORMAL and expert.get(sid).double == 7
            for name in ("VMON.HIHI", "VSET.HIHI"):  # refused, with the reason: who may put is not told "access denied"
                sid, told = expert.open(it.name(name))
                assert told == READ | WRITE
                assert expert.put(sid, 8.0)[0] == PUTFAIL


def test_a_claimed_name_narrows_also_later_and_a_monitor_of_a_forbidden_pv_shows_no_value(tmp_path):
    with site(tmp_path, LEVELS) as it:
        it.start()
        with RawClient(it.port, user="jörg") as joerg:
            assert rights(joerg, it) == [0, 0, 0]
        with RawClient(it.port, user="eve") as eve:
            assert rights(eve, it) == [0, 0, 0]
            sid, _ = eve.open(it.name("VMON"))
            event = eve.event(eve.subscribe(sid))
            assert (event.first, event.body) == (NORDACCESS, b"")
            assert (eve.get(sid).first, eve.get(sid).body) == (NORDACCESS, b"")
        with RawClient(it.port, user="anna") as client:
            sid, told = client.open(it.name("VSET"))  # channel 1
            assert told == READ | WRITE
            number = client.subscribe(sid)
            assert client.event(number).first == NORMAL
            client.send(claim("guest"))
            assert client.rights(1) == READ
            assert client.put(sid, 5.0)[0] == NOWTACCESS
            client.send(claim("eve"))
            assert client.rights(1) == 0
            assert client.until(Command.EVENT_ADD, where=lambda event: event.first == NORDACCESS).body == b""
            client.send(claim("anna"))
            assert client.rights(1) == READ | WRITE
            assert client.event(number).first == NORMAL


def test_who_has_no_rights_can_neither_find_nor_connect(monkeypatch):
    for key, value in ca_environment(free_port()).items():
        monkeypatch.setenv(key, value)

    def open_from(port: int, address: str) -> int:
        with RawClient(port, address) as client:
            return client.open("T:VMON")[1]

    async def story() -> None:
        access = Access()
        access.replace([Rule("127.0.0.2", IPv4Network("127.0.0.2/32"), Standing.NONE)], {})
        server = Server(access=access)
        server.serve("T:", [readback("VMON")])
        await server.start()
        try:
            with pytest.raises(OSError):
                await asyncio.to_thread(open_from, server.port, "127.0.0.2")
            assert server.counts.refused == 1 and not server.clients()
            assert await asyncio.to_thread(open_from, server.port, "127.0.0.3") == READ
        finally:
            await server.stop()

    asyncio.run(story())


def test_rights_are_told_again_on_sighup_to_libca_and_caproto(tmp_path, monkeypatch):
    with site(tmp_path) as it:
        ioc = it.start()
        for key, value in it.environment.items():
            monkeypatch.setenv(key, value)
        context = Context()
        libca = Process("tests.system.libca_rights", it.name("VSET"), it.name("VMON"), environment=it.environment)

        def told(name: str, **expected) -> None:
            """Wait until libca's client has told something new."""

            def found() -> bool:
                while libca.out:
                    line = json.loads(libca.out.pop(0))
                    if line["name"] == it.name(name) and expected.items() <= line.items():
                        return True
                return False

            wait_for(found, f"{name} {expected} from libca in {libca.log()}")

        try:
            told("VSET", read=True, write=True)
            (pv,) = context.get_pvs(it.name("VSET"))
            pv.wait_for_connection(timeout=10)
            wait_for(lambda: int(pv.access_rights) == READ | WRITE, "rights of caproto's client")

            it.write('[access]\nread = ["127.0.0.0/8"]\n')
            ioc.popen.send_signal(signal.SIGHUP)
            told("VSET", read=True, write=False)
            wait_for(lambda: int(pv.access_rights) == READ, "lost right of caproto's client")
            libca.out.clear()
            told("VMON")  # still updated

            it.write('[access]\nexpert = ["no such host"]\n')
            ioc.popen.send_signal(signal.SIGHUP)
            ioc.line("stay as they were")
            assert "expert" in ioc.line("must be a host name")
            assert int(pv.access_rights) == READ

            it.write("")
            ioc.popen.send_signal(signal.SIGHUP)
            told("VSET", read=True, write=True)
            wait_for(lambda: int(pv.access_rights) == READ | WRITE, "regained right of caproto's client")
        finally:
            context.disconnect()
            libca.kill()
        assert ioc.stop() == 0


def test_broken_rules_are_in_alarm_until_mended(tmp_path):
    async def story(it: Site, ioc: Process) -> None:
        async with it.pvs() as watched:
            await watched.value("IOC:ACCESS", "this host expert")
            it.write('[access]\nread = ["10.0.0.0/24"]\nexpert = ["10.0.0.0/24"]\n')
            ioc.popen.send_signal(signal.SIGHUP)
            reading = await watched.until("IOC:ACCESS", lambda reading: reading.severity is Severity.MINOR)
            assert (reading.value, reading.status) == ("this host expert", Status.STATE)
            it.write('[access]\nread = ["10.0.0.0/24"]\n')
            ioc.popen.send_signal(signal.SIGHUP)
            await watched.value("IOC:ACCESS", "this host expert, 10.0.0.0/24 read")
            await watched.until("IOC:ACCESS", lambda reading: reading.severity is Severity.NO_ALARM)

    with site(tmp_path) as it:
        asyncio.run(story(it, it.start()))


def test_rules_with_a_mistake_are_refused_at_the_start(tmp_path):
    it = Site(tmp_path, '[access]\nread = ["127.0.0.9"]\nexpert = ["127.0.0.9"]\n')
    for command in ("run", "check"):
        arguments = [sys.executable, "-m", "iocs", command, str(it.path)]
        ended = subprocess.run(arguments, capture_output=True, text=True, env=it.environment)
        assert ended.returncode == 2
        assert "[access], key expert: '127.0.0.9' (127.0.0.9/32) is granted read already" in ended.stderr


def test_every_put_is_noted_once(tmp_path):
    with site(tmp_path, LEVELS) as it:
        ioc = it.start()
        with RawClient(it.port, "127.0.0.3", "bob") as bob, RawClient(it.port, user="anna") as anna:
            vset, _ = bob.open(it.name("VSET"))
            wait_for(lambda: bob.get(vset).double == 0, "value")
            assert bob.put(vset, 5.0)[0] == NORMAL
            assert bob.put(vset, 500.0)[0] not in (NORMAL, NOWTACCESS)
            trip, _ = bob.open(it.name("TRIP"))
            assert bob.put(trip, 5.0)[0] == NOWTACCESS
            assert bob.put(vset, 95.0)[0] == NORMAL
            enable, _ = anna.open(it.name("ENABLE"))
            assert anna.put(enable, 0.0)[0] == NORMAL
            peers = bob.peer, anna.peer
        assert ioc.stop() == 0
        noted = it.put_log()
        told = [
            (line.get("by") or line["user"], line["pv"], line["old"], line["new"], line["accepted"]) for line in noted
        ]
        assert told == [
            ("bob", it.name("VSET"), 0.0, 5.0, True),
            ("bob", it.name("VSET"), 5.0, 500.0, False),
            ("bob", it.name("TRIP"), 1.0, 5.0, False),
            ("interlock TEST", it.name("TRIP"), 1.0, 0.0, True),
            ("bob", it.name("VSET"), 5.0, 95.0, True),
            ("anna", it.name("ENABLE"), "Enabled", "Disabled", True),
        ]
        assert [line["peer"] for line in noted if "peer" in line] == [peers[0]] * 4 + [peers[1]]
        assert "beyond the limits" in noted[1]["reason"] and noted[2]["reason"]
        assert (tmp_path / "state" / "putlog.jsonl").stat().st_mode & 0o777 == 0o640


def test_puts_that_wait_for_each_other_are_noted_each_with_the_value_it_found(tmp_path):
    with site(tmp_path) as it:
        ioc = it.start()
        with RawClient(it.port) as client:
            sid, _ = client.open(it.name("VSET"))
            wait_for(lambda: client.get(sid).double == 0, "value")
            numbers = [client.begin_put(sid, float(value)) for value in range(1, 21)]
            assert all(client.put_status(number) == NORMAL for number in numbers)
        assert ioc.stop() == 0
        assert [(line["old"], line["new"]) for line in it.put_log()] == [(value - 1, value) for value in range(1, 21)]


def test_puts_that_the_end_of_the_process_breaks_off_are_noted_and_answered(tmp_path):
    with site(tmp_path) as it:
        ioc = it.start()
        with RawClient(it.port) as client:
            vset, trip = client.open(it.name("VSET"))[0], client.open(it.name("TRIP"))[0]
            wait_for(lambda: client.get(vset).double == 0, "value")
            waiting = [client.begin_put(sid, value) for sid, value in ((vset, 66.5), (vset, 8.0), (trip, 5.0))]
            client.synchronise()
            assert ioc.stop() == 0
            assert client.put_status(waiting[0]) == PUTFAIL
            told = [each.body[16:] for each in client.seen if each.command == Command.ERROR]
            assert any(b"the server was stopped" in each for each in told)
        noted = it.put_log()
        assert sorted(line["new"] for line in noted) == [5.0, 8.0, 66.5]
        assert not any(line["accepted"] for line in noted) and all("stopped" in line["reason"] for line in noted)


def test_nobody_can_forge_a_line_of_the_log(tmp_path):
    with site(tmp_path) as it:
        ioc = it.start()
        with RawClient(it.port, user="anna\n2026-11-20T00:00:00.000Z ERROR    HV       all is lost\x1b[31m") as client:
            vset, _ = client.open(it.name("VSET"))
            wait_for(lambda: client.get(vset).double == 0, "value")
            for value in (5.0, b"1\n2026-11-20T00:00:00.000Z ERROR".ljust(40, b"\0")):
                client.put(vset, value, *((Type.STRING,) if isinstance(value, bytes) else ()))
        assert ioc.stop() == 0
        assert "all is lost" in ioc.log() and "\x1b" not in ioc.log()
        assert not [line for line in ioc.err if line.startswith("2026-11-20T00:00:00")]


def test_a_hung_put_log_delays_no_put_and_no_end(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    it = Site(tmp_path)
    it.path.write_text(it.path.read_text().replace("[site]", '[site]\nput_log = "fifo"'))
    try:
        ioc = it.start()
        with RawClient(it.port) as client:
            sid, _ = client.open(it.name("VSET"))
            for number in range(50):
                assert client.put(sid, float(number))[0] == NORMAL
        assert ioc.stop(deadline=10) == 0
        ioc.line("lines of the put log are lost")
    finally:
        for process in it.running:
            process.kill()


def test_the_server_tells_about_itself_and_a_second_process_under_its_own_names(tmp_path):
    async def story(it: Site, process: Process, part: str) -> None:
        async with it.pvs() as watched:
            await watched.value(f"{part}PROCESS_ID", process.popen.pid)
            with RawClient(it.port, "127.0.0.2", "bob") as bob:
                for signal_ in ("VMON", "VSET"):
                    bob.open(f"{it.prefix}{'KNOB' if part == 'IOC:KNOB:' else 'OTHER'}:{signal_}")
                await watched.until(f"{part}CLIENTS", lambda reading: reading.value and "bob" in reading.value)
                clients = json.loads(watched[f"{part}CLIENTS"].value)
                (told,) = [client for client in clients if client["user"] == "bob"]
                assert f"{told['address']}:{told['port']}" == bob.peer and told["channels"] == 2
            await watched.until(f"{part}CLIENTS", lambda reading: reading.value and "bob" not in reading.value)
            for count in ("CA_CLNT_CNT", "CA_CONN_CNT", "RECORD_CNT", "MEM_USED", "FD_CNT"):
                await watched.until(f"{part}{count}", lambda reading: reading.connected and reading.value > 0)
            await watched.until(f"{part}UPDATES", lambda reading: reading.connected and reading.value > 5)
            await watched.until(f"{part}HEARTBEAT", lambda reading: reading.connected and reading.value > 2)
            await watched.value(f"{part}PUTLOG_ERROR", "")
            await watched.value(f"{part}SLOWEST", "")

    devices = KNOB + KNOB.replace("KNOB", "OTHER")
    with site(tmp_path, devices=devices) as it:
        one = it.start("--only", "KNOB")
        asyncio.run(story(it, one, "IOC:KNOB:"))
        assert one.stop() == 0
        asyncio.run(story(it, it.start("--except", "KNOB"), "IOC:OTHER:"))


def test_two_sites_may_share_a_prefix(tmp_path):
    async def story(it: Site, one: Process, two: Process) -> None:
        async with it.pvs() as watched:
            await watched.value("IOC:PROCESS_ID", one.popen.pid)
            await watched.value("IOC:OTHER:PROCESS_ID", two.popen.pid)

    (tmp_path / "other").mkdir()
    with site(tmp_path) as it:
        other = write_site(tmp_path / "other", it.prefix, KNOB.replace('"KNOB"', '"OTHER"'))
        one = it.start()
        with Process("iocs", "run", str(other), environment=it.environment) as two:
            two.line("serving OTHER")
            asyncio.run(story(it, one, two))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # forkpty with threads; the child execs at once
def test_a_closed_terminal_ends_the_process_and_a_detached_one_reloads(tmp_path):
    with site(tmp_path) as it:
        log = tmp_path / "log"
        child, terminal = pty.fork()
        if child == 0:
            arguments = [sys.executable, "-m", "iocs", "run", str(it.path), "--log-file", str(log)]
            os.execve(sys.executable, arguments, it.environment)
        told = b""
        while b"serving" not in told:
            told += os.read(terminal, 4096)
        os.kill(child, signal.SIGHUP)
        wait_for(lambda: "rules of access now" in log.read_text(), "reload")
        os.close(terminal)
        ended = wait_for(lambda: os.waitpid(child, os.WNOHANG)[0] and log.read_text(), "end")
        assert "the terminal was closed" in ended and "stopped" in ended
