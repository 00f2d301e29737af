import asyncio
import gc
import os
import selectors
import socket
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import LinkError, LinkTimeout, ProtocolError
from drivers.link import Address, Backoff, make_link, parse_address
from drivers.tcp_link import TcpLink

# addresses

hosts = (
    st.from_regex(r"\A[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?\Z")
    | st.ip_addresses(v=4).map(str)
    | st.ip_addresses().map(str)
)
paths = st.from_regex(r"\A(/[A-Za-z0-9_.:+@%-]{1,12}){1,4}\Z")
line_options = st.fixed_dictionaries(
    {},
    optional={
        "baud": st.integers(1, 99_999_999).map(str),
        "frame": st.sampled_from(["8N1", "7E1", "8O2", "5M1.5", "6S1"]),
        "xonxoff": st.sampled_from(["on", "off"]),
        "dtr": st.sampled_from(["keep", "on", "off", "hupcl-off"]),
    },
)
addresses = st.builds(lambda host, port: Address("tcp", host, port), hosts, st.integers(1, 65535)) | st.builds(
    lambda path, options: Address("serial", path=path, options=options), paths, line_options
)


@given(addresses)
def test_an_address_survives_being_written(address):
    read = parse_address(str(address))
    assert read == address and hash(read) == hash(address)
    assert dict(read.options) == dict(address.options)


def test_address_syntax():
    assert parse_address("tcp://box", 4712) == Address("tcp", "box", 4712)
    assert parse_address("tcp://box:1", 4712).port == 1
    address = parse_address("tcp://[fe80::1%eth0]:5")
    assert (address.host, address.port) == ("fe80::1%eth0", 5)
    assert str(parse_address("tcp://[::1]:5")) == "tcp://[::1]:5"
    port = parse_address("serial:///dev/serial/by-path/pci-0000:00:14.0-usb-0:2:1.0?baud=115200&dtr=hupcl-off", 4712)
    assert port.path == "/dev/serial/by-path/pci-0000:00:14.0-usb-0:2:1.0"
    assert (port.host, port.port, dict(port.options)) == ("", None, {"baud": "115200", "dtr": "hupcl-off"})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("192.168.0.20:4712", "is not an address"),
        ("tcp:192.168.0.20:4712", "is not an address"),
        ("tcp://", "is not an address of the kind 'tcp': write for example tcp://"),
        ("tcp://a b:1", "is not an address"),
        ("tcp://a:b", "is not an address"),
        ("tcp://::1:5", "is not an address"),
        ("tcp://host:1/path", "is not an address of the kind 'tcp'"),
        ("", "is not an address"),
        ("ftp://host:1", "'ftp' are not known here; known: tcp, serial"),
        ("tcp://host", "has no port"),
        ("tcp://host:0", "not within 1..65535"),
        ("tcp://host:65536", "not within 1..65535"),
        ("tcp://host:1?baud=9600", "there is no option 'baud'; tcp:// has none"),
        ("serial://ttyACM0", "is not an address of the kind 'serial': write for example serial:///dev/"),
        ("serial://host/dev/ttyACM0", "is not an address of the kind 'serial'"),
        ("serial://:5/dev/ttyACM0", "is not an address of the kind 'serial'"),
        ("serial:///dev/ttyACM0?bauds=9600", "there is no option 'bauds'; known: baud, frame, xonxoff, dtr"),
        ("serial:///dev/ttyACM0?baud", "option baud cannot be ''; it may be: bits per second"),
        ("serial:///dev/ttyACM0?baud=fast", "option baud cannot be 'fast'; it may be: bits per second"),
        ("serial:///dev/ttyACM0?baud=0", "option baud cannot be '0'"),
        ("serial:///dev/ttyACM0?frame=9N1", "option frame cannot be '9N1'; it may be: data bits 5 to 8.*8N1"),
        ("serial:///dev/ttyACM0?xonxoff=yes", "option xonxoff cannot be 'yes'; it may be: on, off"),
        ("serial:///dev/ttyACM0?dtr=hupcl", "option dtr cannot be 'hupcl'; it may be: keep, on, off, hupcl-off"),
        ("serial:///dev/ttyACM0?baud=9600&baud=9600", "option baud is given twice"),
    ],
)
def test_what_is_no_address_is_refused_with_an_example(text, why):
    with pytest.raises(ValueError, match=why):
        parse_address(text)


# a TcpLink against real sockets


class Peer:
    """A TCP server of one connection, for a test to play the box by hand."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.link = TcpLink(Address("tcp", "127.0.0.1", self.socket.getsockname()[1]))

    async def __aenter__(self):
        await self.link.open(5)
        self.connection, _ = self.socket.accept()
        return self

    async def __aexit__(self, *exception):
        await self.link.close()
        self.connection.close()
        self.socket.close()

    def says(self, data):
        self.connection.sendall(data)

    def until_arrived(self):
        """Wait until what was said lies in the link's socket; the event loop has not seen it."""
        assert self.link._fd is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.link._fd, selectors.EVENT_READ)
            assert selector.select(5)

    async def hears(self, count):
        self.connection.settimeout(5)
        return await asyncio.to_thread(self.connection.recv, count)


def line(reply):
    end = reply.find(b"\n")
    return None if end < 0 else end + 1


@pytest.fixture(autouse=True)
def no_leaks():
    descriptors = len(os.listdir("/proc/self/fd"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
        gc.collect()
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_refused():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(LinkError, match=f"tcp://127.0.0.1:{port}: connection refused.*nothing listens"):
        asyncio.run(make_link(Address("tcp", "127.0.0.1", port)).open(5))


@pytest.mark.parametrize("host", ["no-such-host.invalid", "two..dots", "x" * 70])
def test_hosts_that_are_not_there(host):
    with pytest.raises(LinkError, match=host.replace(".", r"\.")):
        asyncio.run(TcpLink(Address("tcp", host, 1)).open(10))


def test_nobody_accepts():
    async def run():
        with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
            port = server.getsockname()[1]
            with socket.create_connection(("127.0.0.1", port)):  # the queue of one is full
                with pytest.raises(LinkTimeout, match=r"no connection within 0\.2 s.*switched on"):
                    await TcpLink(Address("tcp", "127.0.0.1", port)).open(0.2)

    asyncio.run(run())


def test_exchange_puts_split_answers_together():
    async def run():
        async with Peer() as peer:
            task = asyncio.create_task(peer.link.exchange(b"?\n", line, 5))
            assert await peer.hears(9) == b"?\n"
            for part in (b"1", b"2.", b"5\n"):
                peer.says(part)
                await asyncio.sleep(0)
            assert await task == b"12.5\n"

    asyncio.run(run())


@pytest.mark.parametrize("turns", range(4))
def test_bytes_from_before_the_question_are_not_its_answer(turns):
    async def run():
        async with Peer() as peer:
            for _again in range(20):
                peer.says(b"stale\n")
                peer.until_arrived()
                for _turn in range(turns):
                    await asyncio.sleep(0)
                task = asyncio.create_task(peer.link.exchange(b"?\n", line, 5))
                assert await peer.hears(9) == b"?\n"
                peer.says(b"fresh\n")
                assert await task == b"fresh\n"

    asyncio.run(run())


def test_exchanges_take_turns():
    async def run():
        async with Peer() as peer:
            tasks = [asyncio.create_task(peer.link.exchange(b"%d\n" % n, line, 5)) for n in range(5)]
            for n in range(5):
                assert await peer.hears(99) == b"%d\n" % n
                peer.says(b"answer %d\n" % n)
                assert await tasks[n] == b"answer %d\n" % n

    asyncio.run(run())


def test_a_silent_peer_closes_the_exchange_but_not_the_read():
    async def run():
        async with Peer() as peer:
            with pytest.raises(LinkTimeout, match=r"silent for 0\.05 s"):
                await peer.link.read(0.05)
            peer.says(b"x")
            assert await peer.link.read(5) == b"x"
            task = asyncio.create_task(peer.link.exchange(b"?\n", line, 0.1))
            assert await peer.hears(9) == b"?\n"
            peer.says(b"half")
            with pytest.raises(LinkTimeout, match=r"no complete answer to b'\?\\n' within 0.1 s; got b'half'"):
                await task
            assert await peer.hears(9) == b""
            with pytest.raises(LinkError, match="not open"):
                await peer.link.exchange(b"?\n", line, 1)

    asyncio.run(run())


@pytest.mark.parametrize("how", ["cancelled", "not understood"])
def test_an_exchange_that_is_broken_off_closes_the_link(how):
    def puzzled(reply):
        if reply:
            raise ProtocolError("nonsense")

    async def run():
        async with Peer() as peer:
            task = asyncio.create_task(peer.link.exchange(b"?\n", puzzled, 5))
            assert await peer.hears(9) == b"?\n"
            if how == "cancelled":
                task.cancel()
            else:
                peer.says(b"\xff")
            with pytest.raises((asyncio.CancelledError, ProtocolError)):
                await task
            assert await peer.hears(9) == b""

    asyncio.run(run())


def test_one_who_gives_up_waiting_for_his_turn_does_not_spoil_the_other_s():
    async def run():
        async with Peer() as peer:
            first = asyncio.create_task(peer.link.exchange(b"1\n", line, 5))
            second = asyncio.create_task(peer.link.exchange(b"2\n", line, 5))
            assert await peer.hears(9) == b"1\n"
            second.cancel()
            await asyncio.wait({second})
            peer.says(b"one\n")
            assert await first == b"one\n"

    asyncio.run(run())


@pytest.mark.parametrize("verb", ["read", "exchange"])
def test_closed_by_the_peer(verb):
    async def run():
        async with Peer() as peer:
            peer.connection.close()
            with pytest.raises(LinkError, match="closed"):
                await (peer.link.read(5) if verb == "read" else peer.link.exchange(b"?\n", line, 5))
            with pytest.raises(LinkError, match="not open"):
                await peer.link.read(5)

    asyncio.run(run())


def test_reset_by_the_peer():
    async def run():
        async with Peer() as peer:
            peer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            peer.connection.close()
            with pytest.raises(LinkError, match="connection reset by the peer"):
                await peer.link.read(5)

    asyncio.run(run())


def test_a_peer_that_does_not_read():
    async def run():
        async with Peer() as peer:
            with pytest.raises(LinkTimeout, match=r"could not send 50000000 bytes within 0\.2 s"):
                await peer.link.write(bytes(50_000_000), 0.2)
            with pytest.raises(LinkError, match="not open"):
                await peer.link.write(b"x", 1)

    asyncio.run(run())


def test_open_twice_is_refused_and_close_twice_does_nothing():
    async def run():
        async with Peer() as peer:
            with pytest.raises(LinkError, match="already open"):
                await peer.link.open(1)
            await peer.link.close()
            await peer.link.close()
            await peer.link.open(5)
            other, _ = peer.socket.accept()
            other.sendall(b"again")
            assert await peer.link.read(5) == b"again"
            other.close()

    asyncio.run(run())


def test_closing_while_somebody_reads_wakes_him():
    async def run():
        async with Peer() as peer:
            reading = asyncio.create_task(peer.link.read(30))
            await asyncio.sleep(0)
            await peer.link.close()
            with pytest.raises(LinkError):
                await asyncio.wait_for(reading, 5)

    asyncio.run(run())


# back-off


@given(st.floats(0.01, 1), st.floats(1, 100), st.integers(1, 30))
def test_backoff_grows_to_its_longest_and_never_beyond(first, longest, attempts):
    backoff = Backoff(first, longest)
    for n in range(attempts):
        wanted = min(first * 2**n, longest)
        assert 0.8 * wanted <= backoff.next() <= wanted
    backoff.reset()
    assert backoff.next() <= first


def test_backoff_of_the_house():
    backoff = Backoff()
    waits = [backoff.next() for _ in range(12)]
    assert 0.08 <= waits[0] <= 0.1 and 12 <= waits[-1] <= 15
