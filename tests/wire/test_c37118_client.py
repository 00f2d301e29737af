"""The client's words on the wire, byte for byte; nothing unsent or unread may be left."""

import asyncio
import contextlib
from binascii import crc_hqx
from dataclasses import dataclass
from pathlib import Path

import pytest

from drivers.c37118.client import Client, Configured, Connected, Data, Event, Header, Lost
from drivers.c37118.frames import CommandFrame, command, decode, encode
from drivers.link import Address, Backoff, make_link

# The published example of C37.118 (int16 rectangular phasors, float analogs, 60 Hz): stream 7734, 30 frames/s.
DATA = bytes.fromhex(
    "aa0100341e3644853600000041b10000392b0000e36ace7ce36a31830444000009c4000042c80000447a0000461c40003c12d43f"
)


def _configuration() -> bytes:
    names = [
        "VA",
        "VB",
        "VC",
        "I1",
        "ANALOG1",
        "ANALOG2",
        "ANALOG3",
        *(f"BREAKER {n} STATUS" for n in "123456789ABCDEFG"),
    ]
    body = b"".join(
        (
            bytes.fromhex("aa3101c61e36448527f056071098000f42400001"),
            b"Station A".ljust(16) + bytes.fromhex("1e360004000400030001"),
            *(name.encode().ljust(16) for name in names),
            bytes.fromhex(
                "000df847" * 3 + "0100b2d0" + "00000001" + "01000001" + "02000001" + "0000ffff" + "00000016001e"
            ),
        )
    )
    return body + bytes.fromhex("d5d1")


CFG2 = _configuration()


@dataclass
class Expect:
    """A command frame that the client must send next."""

    number: int
    idcode: int = 7734


@dataclass
class Say:
    """Bytes that the PMU sends."""

    data: bytes


class Transcript:
    """A PMU that plays one conversation a connection, and keeps what went otherwise."""

    def __init__(self, *conversations: list[Expect | Say]) -> None:
        self.left = [list(conversation) for conversation in conversations]
        self.wrong: list[str] = []
        self.done = asyncio.Event()
        self.port = 0
        self._playing = 0

    @contextlib.asynccontextmanager
    async def serve(self):
        server = await asyncio.start_server(self._play, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
            async with asyncio.timeout(10):
                await self.done.wait()
        finally:
            server.close()
        assert self.wrong == []
        assert self.left == []

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = self.left[self._playing] if self._playing < len(self.left) else []
        self._playing += 1
        try:
            async with asyncio.timeout(10):
                for step in conversation:
                    if isinstance(step, Say):
                        writer.write(step.data)
                        continue
                    got = await reader.readexactly(18)
                    # Its own time stands in bytes 6..14; everything else is fixed.
                    soc, fraction = int.from_bytes(got[6:10]), int.from_bytes(got[11:14])
                    right = encode(command(step.number, step.idcode, soc * 10**9 + fraction * 1000))
                    if got != right:
                        self.wrong.append(f"{got.hex()} instead of command {step.number}: {right.hex()}")
                rest = await reader.read()
                if rest:
                    self.wrong.append(f"unexpected: {rest.hex()}")
        except (TimeoutError, OSError, asyncio.IncompleteReadError) as error:
            self.wrong.append(f"{type(error).__name__} {error}")
        finally:
            writer.close()
            if self._playing >= len(self.left):
                self.left = []
                self.done.set()


def collect(transcript: Transcript, count: int, idcode: int = 7734, **settings) -> list[Event]:
    async def test() -> list[Event]:
        async with transcript.serve():
            link = make_link(Address("tcp", "127.0.0.1", transcript.port))
            client = Client(
                link, idcode, backoff=Backoff(0.01, 0.05), **{"answer_timeout": 0.3, "cfg3": False, **settings}
            )
            seen = []
            async with asyncio.timeout(15), contextlib.aclosing(client.events()) as events:
                async for event in events:
                    seen.append(event)
                    if len(seen) == count:
                        break
            return seen

    return asyncio.run(test())


def test_start_up_is_1_5_2_and_leaving_is_1() -> None:
    seen = collect(Transcript([Expect(1), Expect(5), Say(CFG2), Expect(2), Say(DATA), Expect(1)]), 3)
    assert [type(event) for event in seen] == [Connected, Configured, Data]
    assert isinstance(seen[2], Data)
    frame = seen[2].frame
    assert frame.time_ns == 1149580800_016817000
    assert frame.pmus[0].freq == 62.5
    assert frame.pmus[0].phasors[0].magnitude == pytest.approx(133987.376, abs=5e-4)


def _configuration3() -> tuple[bytes, bytes]:
    lines = (Path(__file__).with_name("c37118_vectors.txt")).read_text().splitlines()
    vectors = dict(line.split() for line in lines if not line.startswith("#"))
    return bytes.fromhex(vectors["cfg3"]), bytes.fromhex(vectors["cfg3_data"])


CFG3, DATA3 = _configuration3()


def test_start_up_with_a_cfg3_is_1_6_2() -> None:
    talk = [Expect(1, 100), Expect(6, 100), Say(CFG3), Expect(2, 100), Say(DATA3), Expect(1, 100)]
    seen = collect(Transcript(talk), 3, idcode=100, cfg3=True)
    assert isinstance(seen[2], Data)
    assert seen[2].frame.pmus[0].phasors[0].magnitude == 100_000


def test_without_a_cfg3_the_cfg2_is_asked_for_and_at_the_next_connection_at_once() -> None:
    async def test() -> None:
        first = [Expect(1), Expect(6), Expect(1), Expect(5), Say(CFG2), Expect(2), Say(DATA), Expect(1)]
        second = [Expect(1), Expect(5), Say(CFG2), Expect(2), Say(DATA), Expect(1)]
        transcript = Transcript(first, second)
        async with transcript.serve():
            link = make_link(Address("tcp", "127.0.0.1", transcript.port))
            client = Client(link, 7734, backoff=Backoff(0.01, 0.05), lost_after=0.1, answer_timeout=0.2)
            kinds = []
            async with asyncio.timeout(15), contextlib.aclosing(client.events()) as events:
                async for event in events:
                    kinds.append(type(event))
                    if len(kinds) == 7:
                        break
            assert kinds == [Connected, Configured, Data, Lost, Connected, Configured, Lost]

    asyncio.run(test())


def test_the_header_is_asked_for_on_request() -> None:
    hello = bytes.fromhex("aa11001900646553f1000000000048656c6c6f20504d551b93")
    talk = [Expect(1, 100), Expect(6, 100), Say(CFG3), Expect(3, 100), Expect(2, 100), Say(hello + DATA3)]
    seen = collect(Transcript([*talk, Expect(1, 100)]), 4, idcode=100, cfg3=True, header=True)
    assert seen[2] == Header("Hello PMU") and isinstance(seen[3], Data)


def test_an_extended_frame_goes_out_as_it_is_given() -> None:
    async def test() -> None:
        received = asyncio.Queue()

        async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(36)
            writer.write(CFG3)
            await reader.readexactly(18)
            writer.write(DATA3)
            await received.put(await reader.readexactly(22))
            writer.close()

        server = await asyncio.start_server(play, "127.0.0.1", 0)
        client = Client(make_link(Address("tcp", "127.0.0.1", server.sockets[0].getsockname()[1])), 100)
        async with asyncio.timeout(15), contextlib.aclosing(client.events()) as events:
            async for event in events:
                if isinstance(event, Data):
                    await client.extended(bytes.fromhex("12345678"))
                    break
            message = decode(await received.get())
        server.close()
        assert isinstance(message, CommandFrame)
        assert (message.command, message.idcode, message.extended.hex()) == (8, 100, "12345678")

    asyncio.run(test())


def test_leaving_before_the_configuration_came() -> None:
    kinds = [type(event) for event in collect(Transcript([Expect(1), Expect(5), Expect(1)]), 2, tries=1)]
    assert kinds == [Connected, Lost]


def test_data_between_request_and_answer_are_skipped() -> None:
    talk = [
        Say(DATA),
        Expect(1),
        Say(DATA),
        Expect(5),
        Say(DATA + CFG2),
        Expect(2),
        Say(DATA[:20]),
        Say(DATA[20:]),
        Expect(1),
    ]
    assert [type(event) for event in collect(Transcript(talk), 3)] == [Connected, Configured, Data]


def test_an_unanswered_request_is_repeated_with_data_off_and_then_given_up() -> None:
    talk = [Expect(1), Expect(5), Expect(1), Expect(5), Expect(1), Expect(5), Expect(1)]
    seen = collect(Transcript(talk), 2, answer_timeout=0.05)
    assert isinstance(seen[1], Lost)
    assert "no configuration came, asked 3 times" in seen[1].reason


def test_another_idcode_is_named() -> None:
    talk = [Expect(1, 5), Expect(5, 5), Say(CFG2), Expect(1, 5)]
    seen = collect(Transcript(talk), 2, idcode=5, answer_timeout=0.1, tries=1)
    assert isinstance(seen[1], Lost)
    assert "answers with IDCODE 7734, the site file says 5" in seen[1].reason


def test_a_wrong_header_or_cfg1_in_between_is_passed_over() -> None:
    hello = bytes.fromhex("aa11001900646553f1000000000048656c6c6f20504d551b93")
    talk = [Expect(1), Expect(5), Say(hello), Say(CFG2), Expect(2), Say(hello + DATA), Expect(1)]
    assert [type(event) for event in collect(Transcript(talk), 3)] == [Connected, Configured, Data]


def test_the_2024_edition_is_named() -> None:
    body = bytes([0xAA, 0xB3]) + (40).to_bytes(2) + CFG2[4:38]
    newer = body + crc_hqx(body, 0xFFFF).to_bytes(2)
    seen = collect(Transcript([Expect(1), Expect(5), Say(newer), Expect(1)]), 2)
    assert isinstance(seen[1], Lost)
    assert "2024 edition" in seen[1].reason


def test_a_broken_configuration_is_named() -> None:
    body = CFG2[:14] + bytes(4) + CFG2[18:-2]  # TIME_BASE 0
    broken = body + crc_hqx(body, 0xFFFF).to_bytes(2)
    seen = collect(Transcript([Expect(1), Expect(5), Say(broken), Expect(1)]), 2, tries=1, answer_timeout=0.1)
    assert isinstance(seen[1], Lost)
    assert "TIME_BASE" in seen[1].reason


def test_a_closed_connection_is_opened_again() -> None:
    async def test() -> None:
        talk = [Expect(1), Expect(5), Say(CFG2), Expect(2), Say(DATA), Expect(1)]
        transcript = Transcript(talk, talk)
        async with transcript.serve():
            link = make_link(Address("tcp", "127.0.0.1", transcript.port))
            client = Client(link, 7734, backoff=Backoff(0.01, 0.05), lost_after=0.1, cfg3=False)
            kinds = []
            async with asyncio.timeout(15), contextlib.aclosing(client.events()) as events:
                async for event in events:
                    kinds.append(type(event))
                    if len(kinds) == 7:
                        break
            # The same frame again, after the reconnect: counted, not handed out.
            assert kinds == [Connected, Configured, Data, Lost, Connected, Configured, Lost]
            assert client.counts.duplicates == 1
            assert client.counts.reconnects == 1

    asyncio.run(test())


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70, "127.0.0.1"])
def test_what_cannot_be_reached_is_lost_and_not_an_exception(host: str) -> None:
    async def test() -> None:
        client = Client(make_link(Address("tcp", host, 1)), 1, backoff=Backoff(0.01, 0.05), connect_timeout=2.0)
        async with asyncio.timeout(15), contextlib.aclosing(client.events()) as events:
            event = await anext(events)
        assert isinstance(event, Lost)
        assert f"tcp://{host}:1: " in event.reason

    asyncio.run(test())
