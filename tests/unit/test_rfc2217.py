import asyncio
import contextlib
import socket
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import LinkError, LinkTimeout, ProtocolError
from drivers.link import Address, make_link
from drivers.rfc2217 import Telnet, command, escape, settings
from tests.port_server import PortServer

# the client's half alone

WILL_BINARY, DO_PORT, DONT_PORT = b"\xff\xfb\x00", b"\xff\xfd\x2c", b"\xff\xfe\x2c"


def pieces(data, cuts):
    ends = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(ends)]


stretches = st.lists(
    st.tuples(st.just("data"), st.binary(max_size=9))
    | st.tuples(st.just("command"), st.tuples(st.integers(100, 112), st.binary(max_size=5)))
    | st.tuples(st.just("noise"), st.sampled_from([b"\xff\xf1", b"\xff\xf9", WILL_BINARY, DO_PORT, b"\xff\xfd\x18"])),
    max_size=8,
)


@given(stretches, st.lists(st.integers(0, 200), max_size=9))
def test_any_split_of_the_stream_gives_the_same(parts, cuts):
    stream, data, said = b"", b"", []
    for kind, what in parts:
        if kind == "data":
            stream, data = stream + escape(what), data + what
        elif kind == "command":
            stream += command(*what)
            said.append((what[0] - 100, what[1]))
        else:
            stream += what
    telnet = Telnet()
    telnet.begin()
    assert b"".join(telnet.feed(piece) for piece in pieces(stream, cuts)) == data
    assert telnet.said == said


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=9))
def test_rubbish_ends_in_an_error_or_in_data_never_in_a_hang(rubbish, cuts):
    telnet = Telnet()
    try:
        assert len(b"".join(telnet.feed(piece) for piece in pieces(rubbish, cuts))) <= len(rubbish)
    except ProtocolError as error:
        assert "does not end" in str(error)


def test_a_subnegotiation_without_an_end_is_an_error():
    telnet = Telnet()
    with pytest.raises(ProtocolError, match="does not end"):
        for _ in range(3000):
            telnet.feed(b"\xff\xfa\x2c")


def test_what_was_asked_for_is_not_acknowledged_and_what_is_not_wanted_is_refused_once():
    telnet = Telnet()
    telnet.begin()
    telnet.feed(WILL_BINARY + DO_PORT)
    assert telnet.answers == b"" and telnet.serves_ports is True
    telnet.feed(b"\xff\xfb\x01" + b"\xff\xfd\x18")  # WILL ECHO, DO TERMINAL-TYPE
    assert telnet.answers == b"\xff\xfe\x01" + b"\xff\xfc\x18"
    telnet.answers.clear()
    telnet.feed(DONT_PORT)
    assert telnet.serves_ports is False and telnet.answers == b"\xff\xfc\x2c"
    telnet.answers.clear()
    telnet.feed(DONT_PORT)
    assert telnet.answers == b""


def test_commands_are_the_bytes_of_the_rfc():
    # RFC 2217: IAC SB COM-PORT-OPTION SET-BAUDRATE <value(4)> IAC SE, and so on; 255 in a value is doubled
    numbers = settings(9600, "7E2", "on", "off")
    assert b"".join(command(*one) for one in numbers) == bytes.fromhex(
        "fffa2c0100002580fff0 fffa2c0207fff0 fffa2c0303fff0 fffa2c0402fff0 fffa2c0502fff0 fffa2c0509fff0 fffa2c0c01fff0"
    )
    assert command(1, (255).to_bytes(4, "big")) == bytes.fromhex("fffa2c01000000fffffff0")


# the link


@pytest.fixture
def server():
    server = PortServer()
    yield server
    server.close()


def opened(port, timeout=10, **options):
    async def run():
        link = make_link(Address("rfc2217", "127.0.0.1", port, options))
        await link.open(timeout)
        await link.close()

    asyncio.run(run())


def test_speed_frame_flow_and_dtr_arrive_at_the_port(server):
    opened(server.port, baud="57600", frame="8N2", xonxoff="on", dtr="off")
    port = server.serial
    assert (port.baudrate, port.bytesize, port.parity, port.stopbits, port.xonxoff) == (57600, 8, "N", 2, True)
    assert port.lines["dtr"] is False
    opened(server.port, baud="115200", dtr="on")
    assert (port.baudrate, port.stopbits, port.xonxoff, port.lines["dtr"]) == (115200, 1, False, True)


def test_dtr_is_left_alone(server):
    server.serial.lines.clear()
    opened(server.port)
    assert server.serial.lines == {}


class Played:
    """A server played by hand: one connection, its answer to whatever comes first, then the end or silence."""

    def __init__(self, *answers, then_close=False):
        self.answers, self.then_close = answers, then_close

    async def __aenter__(self):
        self.ended = asyncio.Event()
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1]

    async def serve(self, reader, writer):
        for answer in self.answers:
            await reader.read(999)
            writer.write(answer)
        if not self.then_close:
            await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        self.ended.set()

    async def __aexit__(self, *exception):
        self.server.close()
        await asyncio.wait_for(self.ended.wait(), 10)


CONFIRMED = [(101, b"\0\0\x25\x80"), (102, b"\x08"), (103, b"\x01"), (104, b"\x01"), (105, b"\x01"), (112, b"\x01")]


def confirmed(**other):
    return b"".join(command(number, other.get(f"of{number}", value)) for number, value in CONFIRMED)


@pytest.mark.parametrize(
    ("played", "why"),
    [
        (Played(DONT_PORT), r"the server does not know RFC 2217; does RFC 2217 listen there"),
        (Played(b"login: "), r"no port set up within 0\.3 s; it said b'login: '"),
        (Played(b"Port already in use\r\n", then_close=True), r"closed the connection; it said b'Port already in use"),
        (Played(DO_PORT, confirmed(of101=b"\0\0\x4b\0")), r"does not set baud: asked for 9600, it confirmed 19200"),
        (Played(DO_PORT, confirmed(of103=b"\x02")), r"does not set parity: asked for 1, it confirmed 2"),
        (Played(DO_PORT, confirmed()), r"does not set flow control or DTR: asked for 9, it confirmed 1"),
        (Played(DO_PORT + b"\xff\xfa" * 2000), r"a Telnet subnegotiation does not end"),
    ],
)
def test_a_server_that_is_none_or_does_not_obey_is_told(played, why):
    async def run():
        async with played as port:
            link = make_link(Address("rfc2217", "127.0.0.1", port, {"dtr": "off"}))
            with pytest.raises(LinkError, match=why) as failed:
                await link.open(0.3 if "0\\.3" in why else 10)
            assert isinstance(failed.value, LinkTimeout) == ("0\\.3" in why)
            with pytest.raises(LinkError, match="not open"):
                await link.read(1)

    asyncio.run(run())


def test_nothing_of_before_the_set_up_is_read():
    async def run():
        async with Played(DO_PORT + b"old", b"old" + confirmed(), b"new") as port:
            link = make_link(Address("rfc2217", "127.0.0.1", port))
            await link.open(10)
            await link.write(b"?", 10)
            assert (await link.read(10))[:1] == b"n"
            await link.close()

    asyncio.run(run())


def test_refused():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(LinkError, match=f"rfc2217://127.0.0.1:{port}: connection refused"):
        opened(port)
