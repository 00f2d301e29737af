"""UDP on real sockets of 127.0.0.1: asked for, by itself, shared, and two ways at once."""

import asyncio
import contextlib
import socket

import pytest

from drivers.c37118.listening import ListeningLink
from drivers.c37118.simulated_stream import SimulatedStream
from drivers.c37118.transport import TwoLinks, comes_by_itself, link_of
from drivers.errors import LinkError, LinkTimeout
from drivers.link import Address, Datagram, make_link, parse_address
from drivers.udp_link import UdpLink
from tests.processes import free_port

HOST = "127.0.0.1"


def frame(idcode: int) -> bytes:
    stream = SimulatedStream(idcode=idcode, clock=lambda: 10**18)
    return stream.step()[0]


@contextlib.contextmanager
def peer(port: int = 0):
    with socket.socket(type=socket.SOCK_DGRAM) as own:
        own.bind((HOST, port))
        own.settimeout(10)
        yield own


def by_itself(port: int, host: str = HOST) -> Address:
    return parse_address(f"udp://{host}:{port}?commands=off&interface={HOST}")


def test_a_question_and_its_answers_one_datagram_at_a_time():
    async def test() -> None:
        with peer() as box:
            link = make_link(Address("udp", HOST, box.getsockname()[1]))
            await link.open(5)
            await link.write(b"question", 5)
            data, where = await asyncio.to_thread(box.recvfrom, 100)
            assert data == b"question"
            box.sendto(b"one", where)
            box.sendto(b"two", where)
            first, second = await link.read(5), await link.read(5)
            assert (first, second) == (b"one", b"two") and isinstance(first, Datagram)
            with pytest.raises(LinkTimeout, match=r"silent for 0\.05 s"):
                await link.read(0.05)
            box.sendto(b"late", where)
            await asyncio.sleep(0)
            with peer() as stranger:
                stranger.sendto(b"not asked", where)
            assert await link.read(5) == b"late"
            await link.close()
            with pytest.raises(LinkError, match="not open"):
                await link.read(1)

    asyncio.run(test())


def test_an_empty_datagram_ends_nothing_and_is_counted(caplog):
    async def test() -> None:
        with peer() as box:
            link = UdpLink(Address("udp", HOST, box.getsockname()[1]))
            await link.open(5)
            await link.write(b"question", 5)
            _, where = await asyncio.to_thread(box.recvfrom, 100)
            for answer in (b"", b"one", b"", b"", b"two"):
                box.sendto(answer, where)
            assert [await link.read(5), await link.read(5)] == [b"one", b"two"]
            for answer in (b"old", b"", b"old"):
                box.sendto(answer, where)
            assert (await link.drop(), link.empty) == (6, 4)
            with pytest.raises(LinkTimeout):
                await link.read(0.05)
            await link.close()

    asyncio.run(test())
    assert [record.message for record in caplog.records if "empty datagram" in record.message] == [
        caplog.records[0].message
    ]


def test_nobody_at_the_port_is_told():
    async def test() -> None:
        link = make_link(Address("udp", HOST, free_port()))
        await link.open(5)
        with pytest.raises(LinkError, match="nothing listens on that port"):
            for _ in range(100):
                await link.write(b"anybody?", 5)
                with contextlib.suppress(LinkTimeout):
                    await link.read(0.05)
        link = make_link(Address("udp", "no-such-host.invalid", 1))
        with pytest.raises(LinkError, match=r"udp://no-such-host\.invalid:1: "):
            await link.open(10)

    asyncio.run(test())


def test_streams_that_share_a_port_each_get_their_own_and_all_get_what_is_nobodys():
    async def test() -> None:
        port = free_port()
        one, two = ListeningLink(by_itself(port), 1), ListeningLink(by_itself(port), 2)
        await one.open(5)
        await two.open(5)
        with peer() as box:
            box.sendto(frame(1) + frame(2) + frame(1), (HOST, port))
            box.sendto(frame(3), (HOST, port))
        assert [await one.read(5) for _ in range(3)] == [frame(1), frame(1), frame(3)]
        assert [await two.read(5) for _ in range(2)] == [frame(2), frame(3)]
        await one.close()
        with peer() as box:
            box.sendto(frame(2), (HOST, port))
        assert await two.read(5) == frame(2)
        await two.close()
        await one.open(5)  # the port is free again, and what came before is not told
        with pytest.raises(LinkTimeout):
            await one.read(0.05)
        await one.close()

    asyncio.run(test())


def test_from_any_host_the_first_that_is_heard_counts_and_others_are_not_heard():
    link = ListeningLink(by_itself(4713, "0.0.0.0"), 1)
    link._hosts = None
    link.take(Datagram(frame(2)), "10.0.0.1")
    assert link.hears("10.0.0.2")
    link.take(Datagram(frame(1)), "10.0.0.2")
    assert link.hears("10.0.0.2") and not link.hears("10.0.0.1")


def test_nothing_is_written_to_who_takes_no_commands_and_a_taken_port_is_told():
    async def test() -> None:
        port = free_port()
        link = ListeningLink(by_itself(port), 1)
        for asked in (link.write(b"1234", 1), link.exchange(b"1234", len, 1)):
            with pytest.raises(LinkError, match="takes no commands; 4 bytes were not sent"):
                await asked
        with pytest.raises(LinkError, match="not open"):
            await link.read(1)
        with peer(port), pytest.raises(LinkError, match=rf"port {port}: Address already in use; another program"):
            await link.open(5)
        await link.open(5)
        with pytest.raises(LinkError, match="already open"):
            await link.open(5)
        await link.close()
        await link.close()

    asyncio.run(test())


def test_what_is_not_read_is_bounded_counted_and_told(monkeypatch, caplog):
    monkeypatch.setattr("drivers.c37118.listening.QUEUE", 3)

    async def test() -> None:
        link = ListeningLink(by_itself(free_port()), 1)
        await link.open(5)
        for number in range(5):
            link.take(Datagram(bytes([number])), HOST)
        assert link.dropped == 2 and await link.read(1) == b"\2"
        assert await link.drop() == 2
        await link.close()

    asyncio.run(test())
    assert sum("the oldest are dropped" in record.message for record in caplog.records) == 1


def test_commands_one_way_and_data_the_other():
    async def test() -> None:
        said: asyncio.Queue[bytes] = asyncio.Queue()
        closed = asyncio.Event()

        async def obey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            said.put_nowait(await reader.readexactly(4))
            writer.write(b"answer")
            await reader.read()
            closed.set()
            writer.close()

        server = await asyncio.start_server(obey, HOST, 0)
        port = free_port()
        address = Address("tcp", HOST, server.sockets[0].getsockname()[1])
        link = link_of(address, parse_address(f"udp://{HOST}:{port}?interface={HOST}"), 1)
        assert isinstance(link, TwoLinks)
        await link.open(5)
        await link.write(b"send", 5)
        assert await said.get() == b"send"
        assert await link.read(5) == b"answer"
        with pytest.raises(LinkTimeout, match="silent"):
            await link.read(0.05)
        with peer() as box:
            box.sendto(frame(1), (HOST, port))
        data = await link.read(5)
        assert data == frame(1) and isinstance(data, Datagram)
        await link.close()
        await asyncio.wait_for(closed.wait(), 10)
        server.close()
        with peer(port):  # the port was let go
            pass

    asyncio.run(test())


@pytest.mark.parametrize(
    ("address", "alone"),
    [
        ("udp://10.0.0.1:4713", False),
        ("udp://10.0.0.1:4713?commands=off", True),
        ("udp://239.1.2.3:4713", True),
        ("tcp://239.1.2.3:4712", False),
    ],
)
def test_who_is_not_to_be_asked(address, alone):
    assert comes_by_itself(parse_address(address)) is alone
