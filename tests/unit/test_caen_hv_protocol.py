"""Requests and replies as bytes: the reference's forms, any chunking, and nothing that is not a reply."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.caen_hv.parameters import BDALARM, N1470, STAT, alarm_bits, in_words, names
from drivers.caen_hv.protocol import (
    CURES,
    LONGEST,
    ErrorReply,
    Nonsense,
    Replies,
    Reply,
    Request,
    decimals,
    decode,
    encode,
    number,
    written,
)
from drivers.errors import ProtocolError


@pytest.mark.parametrize(
    ("request_", "wire"),
    [
        (Request(0, "VMON", 3), b"$BD:00,CMD:MON,CH:3,PAR:VMON\r\n"),
        (Request(31, "STAT", 8), b"$BD:31,CMD:MON,CH:8,PAR:STAT\r\n"),
        (Request(7, "BDNAME"), b"$BD:07,CMD:MON,PAR:BDNAME\r\n"),
        (Request(0, "VSET", 2, "250.0", setting=True), b"$BD:00,CMD:SET,CH:2,PAR:VSET,VAL:250.0\r\n"),
        (Request(0, "ON", 0, setting=True), b"$BD:00,CMD:SET,CH:0,PAR:ON\r\n"),
        (Request(0, "OFF", 4, setting=True), b"$BD:00,CMD:SET,CH:4,PAR:OFF\r\n"),
        (Request(0, "BDCLR", setting=True), b"$BD:00,CMD:SET,PAR:BDCLR\r\n"),
        (Request(0, "BDILKM", value="OPEN", setting=True), b"$BD:00,CMD:SET,PAR:BDILKM,VAL:OPEN\r\n"),
    ],
)
def test_requests_are_written_as_the_manual_writes_them(request_: Request, wire: bytes) -> None:
    assert encode(request_) == wire


@pytest.mark.parametrize(
    "request_",
    [
        Request(32, "VMON", 0),
        Request(-1, "VMON", 0),
        Request(0, "VMON", -1),
        Request(0, "", 0),
        Request(0, "VMON\r\n$BD:00,CMD:SET", 0),
        Request(0, "VSET", 0, "1,2", setting=True),
        Request(0, "VSET", 0, "", setting=True),
    ],
)
def test_what_would_break_the_line_is_not_written(request_: Request) -> None:
    with pytest.raises(ValueError, match=r"boards are 0 to 31|break the line"):
        encode(request_)


REPLIES = {
    b"#BD:00,CMD:OK,VAL:0700.0": Reply(0, ("0700.0",)),
    b"#BD:00,CMD:OK,VAL:0250.0;0000.0;1500.0;0000.0": Reply(0, ("0250.0", "0000.0", "1500.0", "0000.0")),
    b"#BD:31,CMD:OK": Reply(31),
    b"#BD:00,CMD:OK,VAL:R1470ET": Reply(0, ("R1470ET",)),
    b"#BD:00,CMD:OK,VAL:+;-;+;-": Reply(0, ("+", "-", "+", "-")),
    b"#BD:00,CMD:OK,VAL:01024": Reply(0, ("01024",)),
    **{b"#BD:04,%s:ERR" % word.encode(): Reply(4, error=word) for word in CURES},
}


@pytest.mark.parametrize("line", REPLIES)
def test_replies_of_the_reference(line: bytes) -> None:
    assert Replies().feed(line + b"\r\n") == [REPLIES[line]]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"#BD:0,CMD:OK",
        b"#BD:00,CMD:OK,VAL:",
        b"#BD:00,CMD:OKAY",
        b"#BD:00,CMD:ERR,VAL:1",
        b"#BD:00,XYZ:ERR",
        b"BD:00,CMD:OK",
        b" #BD:00,CMD:OK",
        b"#BD:00,CMD:OK,VAL:0250.0#BD:00,CMD:OK,VAL:0250.0",
        b"#BD:00,CMD:OK,VAL:0250.0,CMD:OK",
        b"#BD:00,CMD:OK,VAL:02\xb50.0",
        b"#BD:00,CMD:OK,VAL:02\x0050.0",
        b"$BD:00,CMD:MON,CH:0,PAR:VMON",
        "#BD:٠٠,CMD:OK".encode(),
    ],
)
def test_what_is_no_reply(line: bytes) -> None:
    assert Replies().feed(line + b"\r\n") == [Nonsense(line)]


def chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@given(st.lists(st.sampled_from(list(REPLIES)), max_size=8), st.lists(st.integers(0, 10**6), max_size=30))
def test_any_split_gives_the_same(lines: list[bytes], cuts: list[int]) -> None:
    wire = b"".join(line + b"\r\n" for line in lines)
    for pieces in ([wire], [wire[n : n + 1] for n in range(len(wire))], chunks(wire, cuts)):
        replies = Replies()
        assert [found for piece in pieces for found in replies.feed(piece)] == [REPLIES[line] for line in lines]
        assert not replies.pending


@given(st.binary(max_size=3000), st.lists(st.integers(0, 10**6), max_size=10))
def test_garbage_gives_no_exception_and_the_next_line_is_read(garbage: bytes, cuts: list[int]) -> None:
    replies = Replies()
    found = [each for piece in chunks(garbage, cuts) for each in replies.feed(piece)]
    assert found == Replies().feed(garbage)
    assert all(isinstance(each, Reply | Nonsense) for each in found)
    assert len(replies._line) <= LONGEST
    replies.feed(b"\n")
    assert replies.feed(b"#BD:00,CMD:OK\r\n") == [Reply(0)]


@given(st.sampled_from(list(REPLIES)), st.integers(1, 40))
def test_a_truncated_reply_is_none(line: bytes, cut: int) -> None:
    short = line[:-cut]
    (found,) = Replies().feed(short + b"\r\n")
    if isinstance(found, Reply):  # a number cut short, or VAL gone: other checks than these find that
        assert found != REPLIES[line]
    replies = Replies()
    assert replies.feed(short) == []
    assert replies.pending == bool(short)


def test_memory_is_bounded() -> None:
    replies = Replies()
    found = [each for _ in range(1000) for each in replies.feed(b"x" * 1000)]
    assert len(found) == 1
    assert len(replies._line) <= LONGEST
    assert replies.pending
    assert replies.feed(b"\r\n#BD:00,CMD:OK\r\n") == [Reply(0)]


@pytest.mark.parametrize(
    ("text", "value"), [("0700.0", 700.0), ("0000.00", 0.0), ("000.000", 0.0), ("02048", 2048.0), ("-000.12", -0.12)]
)
def test_numbers_are_decimal_and_zero_padded(text: str, value: float) -> None:
    assert number(text) == value


@pytest.mark.parametrize("text", ["", "nan", "inf", "1e3", "1_0", " 1", "1.", ".5", "0x10", "+1", "--1", "١", "1,5"])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(ProtocolError, match="not a decimal number"):
        number(text)


@given(st.text(max_size=12), st.sampled_from(sorted(N1470)))
def test_a_value_is_of_its_kind_or_an_error(text: str, name: str) -> None:
    try:
        value = decode(N1470[name], text)
    except ProtocolError as error:
        assert repr(text) in str(error)
        return
    kinds = {"number": float, "bits": int, "word": str, "text": str}
    assert type(value) is kinds[N1470[name].kind]
    assert value or value == 0


@given(st.floats(0, 8000), st.integers(0, 3))
def test_what_is_written_is_read_again(value: float, digits: int) -> None:
    text = written(value, digits)
    assert "-" not in text
    assert decimals(text) == digits
    assert abs(number(text) - value) <= 0.5000001 * 10**-digits


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1])
def test_what_cannot_be_written(value: float) -> None:
    with pytest.raises(ValueError, match="magnitudes"):
        written(value, 1)


def test_status_words_are_said_in_words() -> None:
    assert in_words(0) == "off"
    assert in_words(1) == "on"
    assert in_words(33) == "on, under voltage: VMON below VSET"
    assert in_words(128) == "off, switched off by a trip"
    assert names(0x4001, STAT) == ["ON", "BIT14"]
    assert in_words(0x4001) == "on, BIT14"
    assert [bit.number for bit in STAT] == list(range(14))
    assert names(0b1010001, BDALARM) == ["CH0", "PWFAIL", "HVCKFAIL"]
    assert alarm_bits(4) == BDALARM
    assert alarm_bits(8) == ()


def test_the_table_names_its_own_limits() -> None:
    for parameter in N1470.values():
        bounds = (parameter.minimum, parameter.maximum, parameter.decimals)
        if any(bounds):
            assert parameter.settable
            assert all(bound in N1470 for bound in bounds), parameter
        assert (parameter.kind == "word") == bool(parameter.words)


def test_error_replies_say_what_to_do() -> None:
    error = ErrorReply("tcp://10.0.0.5:1470", Request(0, "VSET", 1, "10.0", setting=True), "LOC")
    assert error.kind == "LOC"
    assert "LOC:ERR to $BD:00,CMD:SET,CH:1,PAR:VSET,VAL:10.0: the unit is in LOCAL; turn it to REMOTE" in str(error)
