"""Bytes to frames: any chunks give the same, memory is bounded, what is dropped is said."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.bme680.lines import Lines, Reason, Refusal, escaped

GOOD = b"294.31;98123;41.20;120345"


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def frames(chunks: list[bytes], **options) -> list[bytes | Refusal]:
    lines = Lines(**options)
    found = [frame for chunk in chunks for frame in lines.feed(chunk)]
    last = lines.discard()
    assert not lines.unfinished
    return found + ([last] if last else [])


pieces = st.lists(
    st.one_of(
        st.sampled_from([GOOD, b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n", b"\x00\xff", b"9" * 300, b";", b"x"]),
        st.binary(max_size=8),
        st.integers(250, 262).map(lambda size: b"a" * size),
    ),
    max_size=25,
)


@given(pieces, st.lists(st.integers(0, 10_000), max_size=30), st.booleans())
def test_any_split_of_the_stream_gives_the_same_frames(parts, places, empty_line):
    data = b"".join(parts)
    whole = frames([data], empty_line=empty_line)
    assert frames(cut(data, places), empty_line=empty_line) == whole
    assert frames([data[at : at + 1] for at in range(len(data))], empty_line=empty_line) == whole


@given(pieces, st.booleans())
def test_every_frame_that_is_handed_on_is_short_text(parts, empty_line):
    for frame in frames([b"".join(parts)], empty_line=empty_line):
        if isinstance(frame, bytes):
            assert 0 < len(frame) <= 256
            assert all(32 <= byte < 127 or byte in b"\t\r\n" for byte in frame)


@given(st.integers(1, 5000))
def test_memory_stays_bounded_without_an_end_of_line(chunk):
    lines = Lines()
    for _ in range(200_000 // chunk // 10):
        assert lines.feed(b"9" * chunk) == []
        assert len(lines._held) + len(lines._too_long) <= 2 * 256 + 8
    assert not lines.unfinished or lines.discard().reason in (Reason.LENGTH, Reason.UNFINISHED)


@pytest.mark.parametrize(
    ("data", "reasons"),
    [
        (b"\x00\xff" + GOOD + b"\r\n", ["BYTES"]),
        (b"9" * 10_000 + b"\r\n", ["LENGTH"]),
        (b"9" * 257 + b"\n", ["LENGTH"]),
        (GOOD[:10], ["UNFINISHED"]),
        (b"9" * 10_000, ["LENGTH"]),
        (GOOD + b"\r" + GOOD + b"\r\n", ["BYTES"]),  # ended by CR alone: never taken for two
        (b"\r\n\n\r\n", []),
    ],
)
def test_what_is_no_line_is_refused_and_the_next_line_is_good(data, reasons):
    lines = Lines()
    found = lines.feed(data)
    found += [lines.discard()] if lines.unfinished else []
    assert [refusal.reason.value for refusal in found] == reasons
    assert all(len(refusal.line) <= 120 for refusal in found)
    assert lines.feed(GOOD + b"\r\n") == [GOOD]


def test_a_frame_of_several_lines_ends_with_an_empty_one():
    text = b"Temperature = 23.1 *C\r\nGas = 12.3 KOhms\r\n\r\nTemp"
    lines = Lines(1024, empty_line=True)
    assert lines.feed(text) == [b"Temperature = 23.1 *C\r\nGas = 12.3 KOhms"]
    assert lines.unfinished
    assert lines.feed(b"\n\n\r\nTemp\n\n") == [b"Temp", b"Temp"], "more than one empty line in between"


def test_a_refused_line_is_shown_so_that_it_can_be_read():
    (refusal,) = Lines().feed(b"29\x004.31;\xff'\n")
    assert str(refusal) == r"the byte 0x00 is no text: 29\x004.31;\xff'"
    assert escaped(b"a\tb\r") == r"a\tb\r"
