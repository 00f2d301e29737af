"""The client's words on the wire, byte for byte, against lines of the sketches; nothing unsent or unread is left."""

import asyncio
import contextlib
import socket
from dataclasses import dataclass

import pytest

from drivers.bme680.client import Client, Counts, Identity, Measured, Phase, Refusal
from drivers.bme680.formats import COUNTINGHOUSE, PICOSEC, Quantity
from drivers.errors import LinkError
from drivers.link import Address, make_link

SEED = (b"294.31;98123;41.20;120345\r\n", b"294.32;98121;41.22;120512\r\n", b"294.33;98122;41.19;120498\r\n")
OWN = b"D,17,4711,29431,98123,41203,120345*5084\r\n"
OWN_IDENTITY = b"I,countinghouse-bme680,1.0,4711*FE18\r\n"


@dataclass
class Expect:
    """What the client must send next, and nothing more."""

    data: bytes


class Quiet:
    """Nothing more may come for a moment."""


def talk(*transcript, formats=(COUNTINGHOUSE, PICOSEC), **options):
    """Play a transcript with the client; gives its events. Ends by closing the connection."""
    options = {"period": 0.5, "timeout": 3.0, "boot": 0.0, "lost_after": 10.0, "frozen_after": 0, **options}
    events = []

    async def board(reader, writer):
        try:
            async with asyncio.timeout(15):
                for step in transcript:
                    if isinstance(step, bytes):
                        writer.write(step)
                    elif isinstance(step, Expect):
                        got = await reader.readexactly(len(step.data))
                        assert got == step.data
                    else:
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(0.15):
                                raise AssertionError(f"unexpected: {await reader.read(100)!r}")
            finished.set_result(None)
        except Exception as error:  # noqa: BLE001  # raised where the test waits
            finished.set_exception(error)
        finally:
            writer.close()

    async def run():
        nonlocal finished
        finished = asyncio.get_running_loop().create_future()
        server = await asyncio.start_server(board, "127.0.0.1", 0)
        link = make_link(Address("tcp", "127.0.0.1", server.sockets[0].getsockname()[1]))
        client = Client(link, formats, counts=Counts(), **options)

        async def follow():
            with contextlib.suppress(LinkError):
                async with contextlib.aclosing(client.events()) as stream:
                    async for event in stream:
                        events.append(event)

        following = asyncio.create_task(follow())
        try:
            await finished
            await asyncio.wait_for(following, 10)
        finally:
            following.cancel()
            server.close()

    finished = None
    asyncio.run(run())
    return events


def measured(events):
    return [event.judged.values for event in events if isinstance(event, Measured)]


def test_the_seeds_sketch_is_asked_with_single_r_and_nothing_else():
    events = talk(Expect(b"R"), SEED[0], Expect(b"R"), SEED[1], Expect(b"R"), SEED[2], Quiet())
    values = measured(events)
    assert values[0] == {}, "no checksum: the first reading waits for a second"
    assert values[1] == {
        Quantity.TEMPERATURE: 294.32,
        Quantity.PRESSURE: 98121,
        Quantity.HUMIDITY: 41.22,
        Quantity.GAS: 120512,
    }
    assert [event for event in events if isinstance(event, Phase)] == [Phase.OPENING, Phase.BOOTING, Phase.RUNNING]


def test_our_sketch_is_asked_who_it_is_once():
    following = OWN.replace(b"D,17,", b"D,18,").replace(b"5084", b"0000")
    events = talk(Expect(b"R"), OWN, Expect(b"I"), OWN_IDENTITY, Expect(b"R"), following, Quiet())
    assert measured(events)[0][Quantity.UPTIME] == 4711
    assert [event for event in events if isinstance(event, Identity)] == [Identity("countinghouse-bme680 1.0", 4711)]
    assert [event.reason for event in events if isinstance(event, Refusal)] == ["CHECKSUM"]


@pytest.mark.parametrize("cut", [1, 13, 26])
def test_no_second_question_before_the_answer_is_whole(cut):
    events = talk(Expect(b"R"), SEED[0][:cut], Quiet(), SEED[0][cut:], Expect(b"R"), SEED[1], Quiet())
    assert len(measured(events)) == 2


def test_what_lies_there_before_the_first_question_is_refused():
    events = talk(SEED[0], Expect(b"R"), SEED[1], Expect(b"R"), SEED[2], Quiet(), boot=0.3)
    assert [event.reason for event in events if isinstance(event, Refusal)] == ["UNASKED"]
    assert len(measured(events)) == 2


def test_a_port_where_nobody_listens_is_a_link_error():
    async def run():
        with socket.create_server(("127.0.0.1", 0)) as held:
            address = Address("tcp", "127.0.0.1", held.getsockname()[1])
        told = {"period": 1, "timeout": 1, "boot": 0, "lost_after": 3, "frozen_after": 0}
        client = Client(make_link(address), (PICOSEC,), counts=Counts(), **told)
        with pytest.raises(LinkError, match=str(address)):
            async with contextlib.aclosing(client.events()) as stream:
                async for event in stream:
                    assert event is Phase.OPENING

    asyncio.run(run())
