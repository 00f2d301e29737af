"""How clients find PVs: nothing set in the environment, several servers on one host, name servers, beacons."""

import asyncio
import contextlib
import os
import re
import resource
import socket
import struct
import subprocess
import sys

import pytest

from iocs.ca.server.beacons import Beacons, broadcasts
from iocs.ca.server.search import LOOPBACK, is_own, siblings
from iocs.signals import readback
from tests.house import house, until
from tests.processes import Process, free_port, random_prefix
from tests.raw_ca import HEADER, RawClient

READ = """
import json, sys, epics
for name in sys.argv[1:]:
    pv = epics.PV(name)
    print(json.dumps([pv.wait_for_connection(timeout=10), pv.get(timeout=5), pv.host if pv.connected else None]))
"""


def bare(port: int) -> dict[str, str]:
    """An environment without EPICS variables but for the port that keeps tests apart."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EPICS_")}
    return {**clean, "EPICS_CA_SERVER_PORT": str(port), "EPICS_CA_REPEATER_PORT": str(free_port())}


def read(environment: dict[str, str], *names: str) -> list[str]:
    command = [sys.executable, "-c", READ, *names]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.parametrize("how", ["nothing set", "one address", "broadcast"])
def test_servers_on_one_host_do_not_hide_each_other(how):
    port, prefix = free_port(), random_prefix()
    environment = bare(port)
    if how == "one address":
        environment |= {"EPICS_CA_ADDR_LIST": "127.0.0.1", "EPICS_CA_AUTO_ADDR_LIST": "NO"}
    if how == "broadcast":
        environment |= {"EPICS_CA_ADDR_LIST": "127.255.255.255", "EPICS_CA_AUTO_ADDR_LIST": "NO"}
    names = [f"{prefix}{letter}:X" for letter in "ABC"]
    servers = [Process("tests.system.ca_ioc", name[:-1], "X", environment=environment) for name in names]
    try:
        ports = [re.search(r"\d+", server.line("ready"))[0] for server in servers]
        assert str(port) in ports and len(set(ports)) == 3
        seen = read(environment, *names)
        assert all("true, 0.0" in line for line in seen), seen
        servers[0].kill()
        again = Process("tests.system.ca_ioc", f"{prefix}A:", "X", environment=environment)
        servers.append(again)
        again.line("ready")
        assert all("true, 0.0" in line for line in read(environment, *names))
    finally:
        for server in servers:
            server.kill()


def test_siblings_vanish_with_their_process():
    port = free_port()
    server = Process("tests.system.ca_ioc", random_prefix(), "X", environment=bare(port))
    with server:
        server.line("ready")
        assert len(siblings(port, b"")) == 1
    assert siblings(port, b"") == []


def search(name: str, cid: int, sequence: int | None = None) -> bytes:
    body = name.encode() + b"\0"
    body += bytes(-len(body) % 8)
    version = HEADER.pack(0, 0, sequence is not None, 13, sequence or 0, 0)
    return version + HEADER.pack(6, len(body), 5, 13, cid, cid) + body


def test_replies_carry_the_clients_number_and_come_many_to_a_datagram(monkeypatch):
    async def story():
        signals = [readback(f"X{number}") for number in range(120)]
        async with house(monkeypatch, signals) as it:
            loop = asyncio.get_running_loop()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.setblocking(False)
                searches = search(it.prefix + "X0", 0, sequence=77)
                searches += b"".join(search(f"{it.prefix}X{number}", number)[16:] for number in range(1, 120))
                await loop.sock_sendto(client, searches, ("127.0.0.1", it.port))
                found = {}
                datagrams = 0
                while len(found) < 120:
                    data = await asyncio.wait_for(loop.sock_recv(client, 65536), 10)
                    datagrams += 1
                    assert HEADER.unpack_from(data) == (0, 0, 1, 13, 77, 0)
                    for at in range(16, len(data), 24):
                        command, size, port, _, address, cid = HEADER.unpack_from(data, at)
                        assert (command, size) == (6, 8)
                        found[cid] = port, socket.inet_ntoa(struct.pack(">I", address))
                assert set(found.values()) == {(it.server.port, "127.0.0.1")}
                assert datagrams == 3
                for nonsense in (b"", b"x", b"\xff" * 1000, search("x" * 500, 1), search("NOBODY:X", 2), bytes(40)):
                    await loop.sock_sendto(client, nonsense, ("127.0.0.1", it.port))
                await loop.sock_sendto(client, search(it.prefix + "X7", 7), ("127.0.0.1", it.port))
                data = await asyncio.wait_for(loop.sock_recv(client, 65536), 10)
                assert HEADER.unpack_from(data, 16)[5] == 7 and len(data) == 40

    asyncio.run(story())


def test_a_client_may_use_the_server_as_its_name_server(monkeypatch):
    async def story():
        async with house(monkeypatch, [readback("X")]) as it, it.raw() as raw:
            raw.say(6, f"{it.prefix}X\0".encode(), 10, 13, 5, 5)
            raw.say(6, f"{it.prefix}NONE\0".encode(), 10, 13, 6, 6)
            found, missing = await raw.until(6), await raw.until(14)
            assert (found.dtype, found.second, missing.second) == (it.server.port, 5, 6)
            it.post(X=1.5)
            environment = bare(free_port()) | {"EPICS_CA_NAME_SERVERS": f"127.0.0.1:{it.server.port}"}
            environment |= {"EPICS_CA_AUTO_ADDR_LIST": "NO"}
            read, _ = await it.python(READ, it.prefix + "X", environment=environment)
            assert read[:2] == [True, 1.5]

    asyncio.run(story())


def test_a_server_on_two_addresses_is_found_and_heard_on_each_and_on_no_other(monkeypatch):
    """The addresses are of loopback, which has a whole network of them on every machine."""
    addresses, elsewhere = ["127.0.0.2", "127.0.0.3"], ["127.0.0.1", "127.0.0.4"]

    def found(port: int, source: str, target: str, name: str) -> tuple[str, int]:
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.settimeout(10)
            client.bind((source, 0))
            client.sendto(search(name, 5), (target, port))
            command, size, tcp, _, address, cid = HEADER.unpack_from(client.recv(100), 16)
            assert (command, size, cid) == (6, 8, 5)
            return socket.inet_ntoa(struct.pack(">I", address)), tcp

    def value(source: str, host: str, port: int, name: str) -> float:
        with RawClient(port, source, server=host) as client:
            return client.get(client.channel(name)).double

    async def story():
        with contextlib.ExitStack() as stack:
            beacon_port = free_port()
            repeaters = {}
            for address in addresses + elsewhere:
                repeaters[address] = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
                repeaters[address].bind((address, beacon_port))
                repeaters[address].settimeout(10)
            monkeypatch.setenv("EPICS_CAS_BEACON_PORT", str(beacon_port))
            async with house(monkeypatch, [readback("X")], interfaces=addresses) as it:
                it.post(X=1.5)
                name, port = it.prefix + "X", it.server.port
                for source in addresses + elsewhere:
                    for target in addresses:
                        host, tcp = await asyncio.to_thread(found, it.port, source, target, name)
                        assert host in addresses and tcp == port
                        assert await asyncio.to_thread(value, source, host, port, name) == 1.5
                for address in addresses:
                    assert await asyncio.to_thread(value, address, address, port, name) == 1.5
                for address in elsewhere:
                    with pytest.raises(ConnectionRefusedError):
                        await asyncio.to_thread(value, "127.0.0.1", address, port, name)
                for address in addresses:
                    for number in range(3):
                        data, (source, _) = await asyncio.to_thread(repeaters[address].recvfrom, 100)
                        assert (HEADER.unpack(data), source) == ((13, 0, 13, port, number, 0), address)
                for address in elsewhere:
                    repeaters[address].setblocking(False)
                    with pytest.raises(BlockingIOError):
                        repeaters[address].recv(100)
                environment = bare(it.port) | {"EPICS_CA_ADDR_LIST": " ".join(addresses)}
                read, _ = await it.python(READ, name, environment=environment | {"EPICS_CA_AUTO_ADDR_LIST": "NO"})
                assert read[:2] == [True, 1.5] and read[2] in {f"{address}:{port}" for address in addresses}

    asyncio.run(story())


def test_own_addresses_are_known():
    assert is_own("127.0.0.1") and is_own("127.8.9.10") and not is_own("203.0.113.7")
    assert broadcasts()[LOOPBACK] == LOOPBACK


def test_beacons_go_where_the_server_can_be_reached(monkeypatch):
    monkeypatch.setattr(
        "iocs.ca.server.beacons.broadcasts",
        lambda: {LOOPBACK: LOOPBACK, "192.0.2.2": "192.0.2.255", "10.1.0.1": "10.1.255.255"},
    )
    environment = {"EPICS_CAS_BEACON_PORT": 5065, "EPICS_CAS_BEACON_PERIOD": 15.0}
    environment |= {"EPICS_CAS_BEACON_ADDR_LIST": "", "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "YES"}
    assert Beacons([LOOPBACK], environment).targets() == [(LOOPBACK, (LOOPBACK, 5065))]
    assert Beacons([LOOPBACK, "10.1.0.1"], environment).targets()[1:] == [("10.1.0.1", ("10.1.255.255", 5065))]
    assert len(Beacons(["0.0.0.0"], environment).targets()) == 3
    listed = {
        **environment,
        "EPICS_CAS_BEACON_ADDR_LIST": "10.2.0.1 10.3.0.1:6000",
        "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
    }
    assert [target for _, target in Beacons([LOOPBACK], listed).targets()] == [("10.2.0.1", 5065), ("10.3.0.1", 6000)]


def test_beacons_are_heard_and_start_over_when_pvs_appear(monkeypatch):
    async def story():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as repeater:
            repeater.setblocking(False)
            repeater.bind(("127.0.0.1", 0))
            monkeypatch.setenv("EPICS_CAS_BEACON_PORT", str(repeater.getsockname()[1]))
            async with house(monkeypatch, [readback("X")]) as it:
                loop = asyncio.get_running_loop()
                beacons = [HEADER.unpack(await asyncio.wait_for(loop.sock_recv(repeater, 100), 10)) for _ in range(4)]
                assert beacons == [(13, 0, 13, it.server.port, number, 0) for number in range(4)]
                await asyncio.wait_for(loop.sock_recv(repeater, 100), 10)
                it.add(readback("Y"))
                began = loop.time()
                for _ in range(3):
                    await asyncio.wait_for(loop.sock_recv(repeater, 100), 10)
                assert loop.time() - began < 0.3

    asyncio.run(story())


def test_beacons_start_over_with_no_descriptor_left_in_silence(monkeypatch, caplog):
    async def story():
        async with house(monkeypatch, [readback("X")]) as it, it.raw() as client:
            sid = await client.channel(it.prefix + "X")
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            clients = []
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, hard))
                for _ in range(19):  # both ends of a connection are this process's
                    sock = socket.socket()
                    clients.append(sock)
                    sock.setblocking(False)
                    sock.connect_ex(("127.0.0.1", it.server.port))
                await until(lambda: it.server.counts.refused, "refusal")
                it.add(readback("Y"))
                for _ in range(20):
                    await client.get(sid)
                    await asyncio.sleep(0.01)
                assert it.server.counts.refused < 100 and not caplog.records
            finally:
                for sock in clients:
                    sock.close()
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            async with asyncio.timeout(10), it.raw() as again:
                assert await again.create(it.prefix + "Y")

    asyncio.run(story())
