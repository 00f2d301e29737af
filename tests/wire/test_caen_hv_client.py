"""The client's words on the wire, byte for byte; nothing unsent or unread may be left.

The requests are those that the manual writes; the replies have the forms that real units were seen to give
(zero-padded decimals, an unpadded serial number, no VAL after a SET).
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.caen_hv.client import Client, ErrorReply, LostReply, NotConfirmed
from drivers.errors import DriverError, LinkError, LinkTimeout
from drivers.link import Address

SERIAL = [("$BD:00,CMD:MON,PAR:BDSNUM", "#BD:00,CMD:OK,VAL:174")]
NAME = [("$BD:00,CMD:MON,PAR:BDNAME", "#BD:00,CMD:OK,VAL:R1470ET")]
IN_STEP = SERIAL + NAME


def asked(par: str, *values: str) -> list[tuple[str, str]]:
    return [(f"$BD:00,CMD:MON,CH:4,PAR:{par}", "#BD:00,CMD:OK,VAL:" + ";".join(values))]


def all_say(**answers: str) -> list[tuple[str, str]]:
    return [each for par, value in answers.items() for each in asked(par, *[value] * 4)]


OPENING = [
    *SERIAL,
    *NAME,
    ("$BD:00,CMD:MON,PAR:BDNCH", "#BD:00,CMD:OK,VAL:4"),
    ("$BD:00,CMD:MON,PAR:BDFREL", "#BD:00,CMD:OK,VAL:1.08"),
    *all_say(VMIN="0000.0", VMAX="8000.0", VDEC="1", IMIN="0000.00", IMAX="3000.00", ISDEC="2"),
    *all_say(MVMIN="0000", MVMAX="8100", MVDEC="0", RUPMIN="001", RUPMAX="500", RUPDEC="0"),
    *all_say(RDWMIN="001", RDWMAX="500", RDWDEC="0", TRIPMIN="0000.0", TRIPMAX="1000.0", TRIPDEC="1", IMDEC="2"),
    *SERIAL,
]


class Transcript:
    """A link that plays one conversation: each request must be the next one; None = no reply comes."""

    def __init__(self, *talk: tuple[str, str | bytes | None]) -> None:
        self.address = Address("tcp", "10.0.0.5", 1470)
        self.left = list(talk)
        self.unread = bytearray()
        self.opened = False

    async def open(self, timeout: float) -> None:
        self.opened = True

    async def read(self, timeout: float) -> bytes:
        await asyncio.sleep(0)
        if not self.opened:
            raise LinkError("not open")
        if not self.unread:
            raise LinkTimeout("silent")
        data = bytes(self.unread)
        self.unread.clear()
        return data

    async def write(self, data: bytes, timeout: float) -> None:
        assert self.left, f"unexpected: {data!r}"
        request, reply = self.left.pop(0)
        assert data == request.encode() + b"\r\n", f"{data!r} instead of {request!r}"
        if reply is not None:
            self.unread += reply if isinstance(reply, bytes) else reply.encode() + b"\r\n"

    async def drop(self) -> int:
        await asyncio.sleep(0)
        dropped = len(self.unread)
        self.unread.clear()
        return dropped

    async def exchange(self, request: bytes, length: Callable[[bytes], int | None], timeout: float) -> bytes:
        raise AssertionError("the client keeps its own exchanges")

    async def close(self) -> None:
        self.opened = False


def play(test: Callable[[Client], Awaitable[None]], *talk: tuple[str, str | bytes | None]) -> Client:
    async def run() -> Client:
        link = Transcript(*OPENING, *talk)
        client = Client(link, timeout=0.01)
        async with asyncio.timeout(20):
            await client.open()
            await test(client)
            await client.close()
        assert link.left == []
        assert not link.unread
        assert not link.opened
        return client

    return asyncio.run(run())


def test_opening_asks_and_writes_nothing() -> None:
    async def test(hv: Client) -> None:
        assert hv.units[0].serial == "174"
        assert hv.units[0].limits[3]["TRIP"].maximum == 1000.0

    client = play(test)
    assert client.counts.exchanges == len(OPENING)


def test_a_fast_cycle_is_four_exchanges() -> None:
    async def test(hv: Client) -> None:
        assert await hv.read(0, "STAT") == (33, 0, 1024, 1)
        for _cycle in range(2):
            assert await hv.read(0, "VMON") == (700.0, 0.0, 0.0, 250.3)
            assert await hv.read(0, "IMON") == (0.12, 0.0, 0.0, 12.5)
            assert await hv.read(0, "STAT") == (33, 0, 1024, 1)
            assert await hv.read(0, "BDALARM") == (0,)

    stat = asked("STAT", "00033", "00000", "01024", "00001")
    alarm = [("$BD:00,CMD:MON,PAR:BDALARM", "#BD:00,CMD:OK,VAL:00000")]
    volts = asked("VMON", "0700.0", "0000.0", "0000.0", "0250.3")
    amps = asked("IMON", "0000.12", "0000.00", "0000.00", "0012.50")
    # The first status words are read twice, as nothing was believed before.
    play(test, *stat * 2, *volts, *amps, *stat, *alarm * 2, *volts, *amps, *stat, *alarm)


def test_a_put_is_a_set_and_a_read_back() -> None:
    async def test(hv: Client) -> None:
        assert await hv.set(0, 3, "VSET", 250) == 250.0
        assert await hv.set(0, 0, "TRIP", 2.04) == 2.0
        assert await hv.set(0, 1, "MAXV", 2048) == 2048.0

    play(
        test,
        ("$BD:00,CMD:SET,CH:3,PAR:VSET,VAL:250.0", "#BD:00,CMD:OK"),
        *asked("VSET", "0000.0", "0000.0", "0000.0", "0250.0"),
        ("$BD:00,CMD:SET,CH:0,PAR:TRIP,VAL:2.0", "#BD:00,CMD:OK"),
        *asked("TRIP", "0002.0", "0001.0", "0001.0", "0001.0"),
        *SERIAL,  # as this could have been the answer about VSET, come twice
        ("$BD:00,CMD:SET,CH:1,PAR:MAXV,VAL:2048", "#BD:00,CMD:OK"),
        *asked("MAXV", "8100", "02048", "8100", "8100"),
    )


def test_a_read_back_one_digit_off_is_right_and_two_are_not() -> None:
    async def test(hv: Client) -> None:
        assert await hv.set(0, 0, "ISET", 2) == 2.01
        with pytest.raises(NotConfirmed, match=r"ISET was set to 3.0 and reads back 2.98 uA"):
            await hv.set(0, 0, "ISET", 3)

    first = ("$BD:00,CMD:SET,CH:0,PAR:ISET,VAL:2.00", "#BD:00,CMD:OK")
    second = ("$BD:00,CMD:SET,CH:0,PAR:ISET,VAL:3.00", "#BD:00,CMD:OK")

    async def run() -> None:
        link = Transcript(*OPENING, first, *asked("ISET", "0002.01", *["0100.00"] * 3), second)
        again = asked("ISET", "0002.98", *["0100.00"] * 3)
        link.left += again * 50  # it is looked at until it should have settled
        client = Client(link, timeout=0.01)
        await client.open()
        await test(client)
        await client.close()
        assert 2 <= 50 - len(link.left) <= 20

    asyncio.run(run())


def test_orders_have_no_value() -> None:
    async def test(hv: Client) -> None:
        assert await hv.on(0, 2) == 3
        assert await hv.off(0, 2) == (0, 0, 4, 0)
        assert await hv.clear(0) == 0
        assert await hv.set(0, None, "BDILKM", "CLOSED") == "CLOSED"

    play(
        test,
        ("$BD:00,CMD:SET,CH:2,PAR:ON", "#BD:00,CMD:OK"),
        *asked("STAT", "00000", "00000", "00003", "00000") * 2,
        ("$BD:00,CMD:SET,CH:2,PAR:OFF", "#BD:00,CMD:OK"),
        *asked("STAT", "00000", "00000", "00004", "00000") * 2,
        ("$BD:00,CMD:SET,PAR:BDCLR", "#BD:00,CMD:OK"),
        *[("$BD:00,CMD:MON,PAR:BDALARM", "#BD:00,CMD:OK,VAL:00000")] * 2,
        ("$BD:00,CMD:SET,PAR:BDILKM,VAL:CLOSED", "#BD:00,CMD:OK"),
        ("$BD:00,CMD:MON,PAR:BDILKM", "#BD:00,CMD:OK,VAL:CLOSED"),
    )


@pytest.mark.parametrize("kind", ["CMD", "CH", "PAR"])
def test_an_error_reply_to_a_question_is_an_answer(kind: str) -> None:
    async def test(hv: Client) -> None:
        with pytest.raises(ErrorReply, match=f"the unit answered {kind}:ERR to .BD:00,CMD:MON,CH:4,PAR:VMON"):
            await hv.read(0, "VMON")
        assert hv.counts.desyncs == 0

    play(test, ("$BD:00,CMD:MON,CH:4,PAR:VMON", f"#BD:00,{kind}:ERR"))


def line(values: str) -> bytes:
    return f"#BD:00,CMD:OK,VAL:{values}\r\n".encode()


GOOD = "0700.0;0000.0;0000.0;0250.3"
QUESTION = "$BD:00,CMD:MON,CH:4,PAR:VMON"


@pytest.mark.parametrize(
    "reply",
    [
        None,
        b"#BD:00,CMD:OK,VAL:0700.0;00",
        line("0700.0;0000.0;0000.0"),
        line("0700.0;0000.0;0000.0;0250.3;0000.0"),
        line("0700.0;0000.0;;0250.3"),
        line("0700.0;0000.0;nan;0250.3"),
        line("0700.0;0000.0;0\xe900.0;0250.3"),
        line("0000.12;0000.00;0000.00;0012.50"),  # the reply to IMON
        line("00001;00000;00000;00001"),  # to STAT
        line(GOOD) * 2,
        line(GOOD) + b"#BD",
        line("174") + line(GOOD),
        b"#BD:00,CMD:OK\r\n",  # to a SET
        b"#BD:00,VAL:ERR\r\n",
        b"#BD:00,LOC:ERR\r\n",
        b"#BD:01,CMD:OK,VAL:" + GOOD.encode() + b"\r\n",
        b"\x00\xff\r\n" + line(GOOD),
    ],
    ids=repr,
)
def test_what_cannot_be_the_answer_is_not_believed(reply: bytes | None) -> None:
    """The line is checked, and the question asked once more."""
    seen = (700.0, 0.0, 0.0, 250.3)

    async def test(hv: Client) -> None:
        assert await hv.read(0, "VMON") == seen
        assert await hv.read(0, "VMON") == seen
        assert hv.counts.desyncs == 1

    play(test, *asked("VMON", GOOD), (QUESTION, reply), *IN_STEP, *asked("VMON", GOOD))


PARTS = [
    b"#BD:00,CMD:OK,VAL:",
    b"#BD:00,",
    b"CMD:OK",
    b",VAL:",
    b"0700.0",
    b";",
    b"\r\n",
    b"\n",
    b"VAL:ERR",
    b"174",
    b"\xff",
]


@settings(deadline=None)
@given(st.lists(st.one_of(st.sampled_from(PARTS), st.binary(max_size=30)), max_size=12).map(b"".join))
def test_whatever_is_answered_there_is_a_right_value_or_an_error(reply: bytes) -> None:
    """Fuzzed replies never crash, never hang, never become a value of another form."""

    async def run() -> None:
        link = Transcript(*OPENING)
        client = Client(link, timeout=0.01)
        await client.open()
        link.left = [(QUESTION, reply), *IN_STEP, *asked("VMON", GOOD)]
        try:
            async with asyncio.timeout(10):
                values = await client.read(0, "VMON")
        except DriverError as error:
            assert "10.0.0.5" in str(error)
        else:
            assert values == (700.0, 0.0, 0.0, 250.3) or reply.count(b"0700.0") == 4
        await client.close()
        assert not link.opened

    asyncio.run(run())


def test_a_question_is_asked_twice_and_not_more() -> None:
    async def test(hv: Client) -> None:
        with pytest.raises(LostReply, match=r"no reply to \$BD:00,CMD:MON,CH:4,PAR:VMON within 0.01 s"):
            await hv.read(0, "VMON")
        assert (hv.counts.timeouts, hv.counts.desyncs) == (2, 2)

    play(test, (QUESTION, None), *IN_STEP, (QUESTION, None), *IN_STEP)


def test_stale_bytes_are_dropped_and_the_line_is_checked_before_the_next_question() -> None:
    async def test(hv: Client) -> None:
        link = hv.link
        assert isinstance(link, Transcript)
        link.unread += line("0999.9;0999.9;0999.9;0999.9")
        assert await hv.read(0, "VMON") == (700.0, 0.0, 0.0, 250.3)
        assert hv.counts.stale_bytes == len(line("0999.9;0999.9;0999.9;0999.9"))

    play(test, *IN_STEP, *asked("VMON", GOOD))


def test_a_late_check_cannot_pass_for_the_next_one() -> None:
    """The serial number that comes as the answer to the model is an old one: the line is checked again."""

    async def test(hv: Client) -> None:
        assert await hv.read(0, "VMON") == (700.0, 0.0, 0.0, 250.3)

    play(
        test,
        (QUESTION, None),
        *SERIAL,
        ("$BD:00,CMD:MON,PAR:BDNAME", "#BD:00,CMD:OK,VAL:174"),
        *IN_STEP,
        *asked("VMON", GOOD),
    )


def test_another_serial_number_closes_the_line() -> None:
    async def test(hv: Client) -> None:
        with pytest.raises(LinkError, match=r"answered with 18, expected 174. Another unit, or out of step"):
            await hv.read(0, "VMON")
        with pytest.raises(LinkError, match="Another unit"):
            await hv.read(0, "VMON")

    other = ("$BD:00,CMD:MON,PAR:BDSNUM", "#BD:00,CMD:OK,VAL:18")
    play(test, (QUESTION, None), other, other)


def test_two_questions_whose_answers_look_alike_are_told_apart_by_what_comes_after() -> None:
    async def test(hv: Client) -> None:
        for _again in range(2):
            assert await hv.read(0, "VSET") == (700.0, 0.0, 0.0, 250.0)
            assert await hv.read(0, "VMON") == (699.9, 0.0, 0.0, 250.1)

    first = asked("VSET", "0700.0", "0000.0", "0000.0", "0250.0")
    second = asked("VMON", "0699.9", "0000.0", "0000.0", "0250.1")
    play(test, *first, *second, *SERIAL, *first, *SERIAL, *second, *SERIAL)


def test_a_set_answered_by_something_else_is_read_back() -> None:
    async def test(hv: Client) -> None:
        assert await hv.set(0, 3, "VSET", 250) == 250.0

    play(
        test,
        ("$BD:00,CMD:SET,CH:3,PAR:VSET,VAL:250.0", line("0001.0")),
        *IN_STEP,
        *asked("VSET", "0000.0", "0000.0", "0000.0", "0250.0"),
    )


def test_an_order_for_all_that_is_not_known_is_given_one_by_one() -> None:
    async def test(hv: Client) -> None:
        assert await hv.off_all(0) == (0, 0, 0, 0)

    on, off = ["00001"] * 4, ["00000"] * 4
    mixed = [[*off[: n + 1], *on[n + 1 :]] for n in range(4)]

    async def run() -> None:
        link = Transcript(*OPENING, ("$BD:00,CMD:SET,CH:4,PAR:OFF", "#BD:00,CH:ERR"))
        write = link.write

        async def answer(data: bytes, timeout: float) -> None:
            if data == b"$BD:00,CMD:MON,CH:4,PAR:STAT\r\n":  # as often as it likes
                link.unread += line(";".join(state))
            else:
                await write(data, timeout)

        link.write = answer  # type: ignore[method-assign]
        state = on
        client = Client(link, timeout=0.01)
        await client.open()

        async def obey(data: bytes, timeout: float) -> None:
            nonlocal state
            await answer(data, timeout)
            if data.startswith(b"$BD:00,CMD:SET") and data.endswith(b"OFF\r\n") and b"CH:4" not in data:
                state = mixed[int(data[18:19])]

        link.write = obey  # type: ignore[method-assign]
        link.left += [(f"$BD:00,CMD:SET,CH:{n},PAR:OFF", "#BD:00,CMD:OK") for n in range(4)]
        await test(client)
        await client.close()
        assert link.left == []

    asyncio.run(run())
