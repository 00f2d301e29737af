"""Searching: how often it asks, what wakes it, and that no datagram can hurt it."""

import asyncio
import contextlib
import struct
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iocs.ca import circuit, search
from iocs.ca.search import Address, Search, Sought
from iocs.ca.updates import REPLIES, BadFrame


class Network(asyncio.DatagramProtocol):
    """Hears the searches; answers for the names it serves."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.datagrams = 0
        self.served: set[str] = set()
        self.port = 5064

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self.datagrams += 1
        while data:
            command, size, _, _, cid, _ = struct.unpack(">HHHHII", data[:16])
            name = data[16 : 16 + size].rstrip(b"\0").decode()
            data = data[16 + size :]
            if command == 6:
                self.asked[name] += 1
                if name in self.served:
                    answer = struct.pack(">HHHHIIH6x", 6, 8, self.port, 0, 0xFFFFFFFF, cid, 13)
                    self.transport.sendto(answer, addr)


@contextlib.asynccontextmanager
async def searching(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Search, Network]]:
    loop = asyncio.get_running_loop()
    transport, network = await loop.create_datagram_endpoint(Network, local_addr=("127.0.0.1", 0))
    monkeypatch.setenv("EPICS_CA_AUTO_ADDR_LIST", "NO")
    monkeypatch.setenv("EPICS_CA_ADDR_LIST", f"127.0.0.1:{transport.get_extra_info('sockname')[1]}")
    one = Search()
    await one.open()
    try:
        yield one, network
    finally:
        await one.close()
        transport.close()
        await asyncio.sleep(0)


async def until(condition, seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "AGAIN", (0.01, 0.01, 0.01, 0.01))
    monkeypatch.setattr(search, "PROBE_EVERY", 0.05)


def test_a_name_is_asked_for_at_once_and_again(monkeypatch) -> None:
    async def test() -> None:
        async with searching(monkeypatch) as (one, network):
            one.seek("A", lambda address: None)
            await until(lambda: network.asked["A"] == 3, 1.0)

    asyncio.run(test())


def test_missing_names_take_turns_and_one_answer_wakes_all(monkeypatch, quick) -> None:
    names = [f"LAB:DEVICE:SIGNAL{number}" for number in range(500)]

    async def test() -> None:
        async with searching(monkeypatch) as (one, network):
            found: dict[str, Address] = {}
            soughts: list[Sought] = [
                one.seek(name, lambda address, name=name: found.update({name: address})) for name in names
            ]
            await until(lambda: min(network.asked[name] for name in names) >= 5)
            await until(lambda: len(one._probes()) < 100)  # the first requests are over
            network.asked.clear()
            before = network.datagrams
            await until(lambda: len(network.asked) == len(names))
            assert network.datagrams - before < len(names)
            network.served = set(names)
            woken = network.datagrams
            await until(lambda: len(found) == len(names))
            assert network.datagrams - woken < len(names)
            last: list[Address] = []  # answers come in order: after this one none is on its way
            network.served.add("LAST")
            one.seek("LAST", last.append)
            await until(lambda: last)
            # lost: asked for again, and found where it is now
            found.clear()
            network.port = 6064
            for sought in soughts:
                one.seek_again(sought)
            await until(lambda: len(found) == len(names))
            assert set(found.values()) == {("127.0.0.1", 6064)}
            assert soughts[0].last == ("127.0.0.1", 5064)

    asyncio.run(test())


def test_a_dropped_name_is_asked_for_no_more_and_found_by_nobody(monkeypatch, quick) -> None:
    async def test() -> None:
        async with searching(monkeypatch) as (one, network):
            found: list[Address] = []
            dropped = one.seek("A", found.append)
            await until(lambda: network.asked["A"])
            one.drop(dropped)
            one.drop(dropped)
            one.seek_again(dropped)
            one.seek("B", found.append)
            await until(lambda: network.asked["B"])  # datagrams come in order: none for A is on its way
            before = network.asked["A"]
            await until(lambda: network.asked["B"] >= 5)
            assert network.asked["A"] == before
            late = struct.pack(">HHHHIIH6x", 6, 8, network.port, 0, 0xFFFFFFFF, dropped.number, 13)
            one.datagram_received(late, ("127.0.0.1", network.port))
            assert not found

    asyncio.run(test())


def test_a_host_without_an_address_does_not_keep_the_others_waiting(monkeypatch, quick, caplog) -> None:
    async def test() -> None:
        async with searching(monkeypatch) as (_, network):
            pass
        loop = asyncio.get_running_loop()
        transport, network = await loop.create_datagram_endpoint(Network, local_addr=("127.0.0.1", 0))
        port = transport.get_extra_info("sockname")[1]
        monkeypatch.setenv("EPICS_CA_ADDR_LIST", f"127.0.0.1:{port} no-such-host.invalid")
        one = Search()
        await one.open()
        one.seek("A", lambda address: None)
        await until(lambda: network.asked["A"])
        await until(lambda: "no-such-host.invalid" in caplog.text)
        await one.close()
        transport.close()
        await asyncio.sleep(0)

    asyncio.run(test())


def test_a_wrong_environment_is_told_at_once(monkeypatch) -> None:
    monkeypatch.setenv("EPICS_CA_ADDR_LIST", "127.0.0.1:port")
    with pytest.raises(ValueError):
        Search()


@given(st.binary(max_size=100), st.booleans())
def test_no_datagram_can_hurt(garbage: bytes, answer: bool) -> None:
    head = struct.pack(">HHHHII", 6, 8, 5064, 0, 0xFFFFFFFF, 1) if answer else b""

    async def test() -> None:
        one = Search()
        found: list[Address] = []
        one.seek("A", found.append)
        one.datagram_received(head + garbage, ("127.0.0.1", 5064))

    asyncio.run(test())


@given(
    st.sampled_from(sorted(REPLIES - {1})),
    st.integers(0, 40),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 500),
    st.binary(max_size=64),
)
def test_no_message_can_hurt_a_circuit(
    command: int, kind: int, count: int, first: int, second: int, payload: bytes
) -> None:
    """It is taken, or it is an error that closes the circuit."""

    class Owner:
        def opened(self, channel: circuit.Channel) -> None:
            number = channel.circuit.subscribe(channel, 20, 1, None)
            channel.circuit.unsubscribe(channel, 20, number)

        def gone(self, channel: circuit.Channel) -> None:
            pass

    async def test() -> None:
        one = circuit.Circuit(("127.0.0.1", 1), ("user", "host"), 30.0, 1000, lambda it, why: None)
        one.open_channel("A", Owner())
        reading = asyncio.create_task(one.read(one.channels[1], 20, lambda message, frame: None))
        await asyncio.sleep(0)
        padded = payload + bytes(-len(payload) % 8)
        with contextlib.suppress(BadFrame):
            one._frames.feed(struct.pack(">HHHHII", command, len(padded), kind, count, first, second) + padded)
        await one.close()
        await asyncio.gather(reading, return_exceptions=True)

    asyncio.run(test())
