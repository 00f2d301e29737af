"""The splitter: every good frame, whatever surrounds it and however it is cut into chunks."""

import random
import tracemalloc
from binascii import crc_hqx
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.c37118.stream import Stream

VECTORS = [
    bytes.fromhex(line.split()[1])
    for line in (Path(__file__).parents[1] / "wire/c37118_vectors.txt").read_text().splitlines()
    if not line.startswith("#")
]
CFG2, DATA = VECTORS[11], VECTORS[12]
BOGUS = bytes.fromhex("aa01ffff")  # a head that announces 65535 bytes


def sealed(frame: bytes) -> bytes:
    return frame + crc_hqx(frame, 0xFFFF).to_bytes(2)


def data(number: int, size: int = 54, idcode: int = 7) -> bytes:
    """A data frame with content that differs from the next one's and holds no SYNC."""
    body = bytes((number * 31 + i * 7) % 0xAA for i in range(size - 8))
    return sealed(b"\xaa\x01" + size.to_bytes(2) + idcode.to_bytes(2) + body)


def split(stream: bytes, cuts=()) -> tuple[list[bytes], int, int, int]:
    """Frames and counts of a whole recording fed in chunks that end at `cuts`."""
    splitter = Stream()
    frames = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        frames += splitter.feed(stream[begin:end])
    frames += splitter.flush()
    return frames, splitter.bad_crc, splitter.skipped_bytes, splitter.unsupported


def test_frames_of_the_vectors_in_any_chunk_size():
    for size in (1, 2, 3, 7, 1460):
        whole = b"".join(VECTORS) * 3
        assert split(whole, range(size, len(whole), size)) == (VECTORS * 3, 0, 0, 0)


def test_a_frame_is_given_with_its_last_byte():
    splitter = Stream()
    for frame in [*VECTORS, *VECTORS]:
        assert splitter.feed(frame[:-1]) == []
        assert splitter.feed(frame[-1:]) == [frame]


def test_a_bogus_size_delays_nothing():
    splitter = Stream()
    frames = [data(0), data(1)]
    assert splitter.feed(b"".join(frames)) == frames
    splitter.feed(BOGUS)
    for number in range(2, 40):
        frame = data(number)
        assert splitter.feed(frame[:-1]) == []
        assert splitter.feed(frame[-1:]) == [frame]
    assert splitter.skipped_bytes == len(BOGUS)


@pytest.mark.parametrize("framesize", [0, 15, 16, 40, 108, 0x8036, 65535])
def test_a_wrong_framesize_costs_its_own_frame_only(framesize):
    frames = [data(number) for number in range(9)]
    bad = frames[4][:2] + framesize.to_bytes(2) + frames[4][4:]
    found, bad_crc, skipped, _ = split(b"".join([*frames[:4], bad, *frames[5:]]))
    assert found == frames[:4] + frames[5:]
    assert skipped == len(bad)
    assert bad_crc == (framesize >= 16)  # less is no head of a frame


def test_each_corrupt_frame_is_counted_once():
    frames = [data(number) for number in range(200)]
    bad = {3, 4, 5, 50, 100, 199}
    wire = [bytearray(frame) for frame in frames]
    for number in bad:
        wire[number][20] ^= 0x10
    found, bad_crc, skipped, _ = split(b"".join(wire))
    assert found == [frame for number, frame in enumerate(frames) if number not in bad]
    assert (bad_crc, skipped) == (len(bad), 54 * len(bad))


def test_a_hole_costs_the_torn_frame_only():
    frames = [data(number) for number in range(20)]
    stream = b"".join(frames)
    for begin, end in [(5 * 54 + 1, 5 * 54 + 30), (5 * 54 + 20, 7 * 54 + 3), (5 * 54, 5 * 54 + 50)]:
        found, _, skipped, _ = split(stream[:begin] + stream[end:])
        lost = {begin // 54, end // 54} | set(range(begin // 54, end // 54))
        assert found == [frame for number, frame in enumerate(frames) if number not in lost]
        assert skipped == len(stream) - (end - begin) - 54 * len(found)


@pytest.mark.parametrize("count", [1, 2, 3, 17, 100, 200])
def test_garbage_between_frames(count):
    random.seed(count)
    garbage = bytes(random.choices([0xAA, 0x01, 0x00, 0x31, 0x77], k=count))
    frames = [data(number) for number in range(5)]
    found, _, skipped, _ = split(garbage + garbage.join(frames) + garbage)
    assert found == frames
    assert skipped == 6 * count


def test_sync_inside_good_data_is_data():
    """A whole good frame inside another one of a known head is content, not a frame."""
    outer = sealed(b"\xaa\x01" + (200).to_bytes(2) + bytes([0, 7]) + DATA + bytes(192 - len(DATA)))
    plain = sealed(b"\xaa\x01" + (200).to_bytes(2) + bytes([0, 7]) + bytes(192))
    for cuts in ((), range(1, 400)):
        assert split(plain + outer, cuts) == ([plain, outer], 0, 0, 0)


def test_another_size_of_data_is_a_good_frame():
    """Whether it fits the configuration is for the decoder to say."""
    frames = [data(0), data(1), data(2, 56), data(3, 56), data(4)]
    assert split(b"".join(frames)) == (frames, 0, 0, 0)


def test_the_2024_edition_is_counted_apart():
    newer = [sealed(bytes([0xAA, second]) + DATA[2:-2]) for second in (0x03, 0x83, 0xA3, 0x93)]
    whole = DATA + b"".join(newer) + DATA
    for cuts in ((), range(1, len(whole))):
        assert split(whole, cuts) == ([DATA, DATA], 0, 0, 4)


def test_flush_gives_up_what_is_torn():
    splitter = Stream()
    assert splitter.feed(data(0) + data(1)[:30]) == [data(0)]
    assert splitter.flush() == []
    assert splitter.skipped_bytes == 30
    assert splitter.feed(data(2)) == [data(2)]
    # A frame that hides behind the torn begin of one of a known head comes free.
    assert splitter.feed(data(3)[:7] + VECTORS[0]) == []
    assert splitter.flush() == [VECTORS[0]]
    assert splitter.skipped_bytes == 37
    assert splitter.bad_crc == 1


def test_more_streams_than_are_remembered():
    frames = [data(number, idcode=number) for number in range(1, 300)] * 2
    assert split(b"".join(frames)) == (frames, 0, 0, 0)


def test_memory_is_bounded():
    splitter = Stream()
    piece = BOGUS + bytes(60) + random.Random(1).randbytes(4000)
    tracemalloc.start()
    try:
        for _ in range(1000):
            splitter.feed(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000
    assert splitter.skipped_bytes > 1000 * len(piece) - 70_000


@pytest.mark.parametrize("garbage", [b"\xaa" * 300_000, bytes(300_000), BOGUS * 50_000, b"\xaa\x01" * 50_000])
def test_garbage_never_stalls(garbage):
    splitter = Stream()
    splitter.feed(garbage)
    assert splitter.feed(DATA) == [DATA]
    assert splitter.feed(DATA) == [DATA]
    assert splitter.skipped_bytes == len(garbage)


def test_more_claims_than_are_followed_in_any_chunking():
    """Patterns made of heads: which claims are given up must not depend on the chunks either."""
    rng = random.Random(5)
    heads = [b"\xaa\x01" + rng.randrange(16, 4000).to_bytes(2) for _ in range(3000)]
    whole = b"".join([*heads[:1500], DATA, *heads[1500:], CFG2, DATA])
    results = [split(whole, range(size, len(whole), size)) for size in (1, 2, 3, 5, 64, 1460, len(whole))]
    assert results[0][0][-2:] == [CFG2, DATA]
    assert DATA in results[0][0][:-2]
    assert results == results[:1] * len(results)


def slow_split(stream: bytes) -> tuple[list[bytes], int]:
    """What the module says it does, as slowly as it can be said: with each byte, look for a frame that ends with it."""
    frames: list[bytes] = []
    skipped = done = end = 0
    believed, doubted = 0, -1  # end of the head that is believed, begin of one that was and proved wrong
    known = set()
    kinds = {kind << 4 | version for kind in range(6) for version in (1, 2)}
    while end < len(stream):
        end += 1
        if end == done + 6 and stream[done:end] in known and doubted != done:
            believed = done + int.from_bytes(stream[done + 2 : done + 4])
        if end < believed:
            continue
        for begin in range(done, end - 15):
            frame = stream[begin:end]
            whole = frame[0] == 0xAA and frame[1] in kinds and int.from_bytes(frame[2:4]) == len(frame)
            if whole and crc_hqx(frame, 0xFFFF) == 0:
                if believed and begin != done:
                    continue
                frames.append(frame)
                skipped += begin - done
                done, believed = end, 0
                if frame[1] in (0x01, 0x02):
                    known.add(frame[:6])
                break
        if believed:  # it proved wrong: now what lies inside is looked at
            believed, doubted, end = 0, done, done
    return frames, skipped + len(stream) - done


PIECES = st.lists(
    st.one_of(
        st.sampled_from(VECTORS),
        st.integers(0, 5).map(data),
        st.integers(0, 5).map(lambda number: data(number, 40, 3)),
        st.lists(st.sampled_from([0xAA, 0x01, 0x00, 0x10, 0x36, 0xFF]), max_size=12).map(bytes),
        st.binary(max_size=30),
        st.tuples(st.sampled_from([*VECTORS, data(1)]), st.integers(1, 30)).map(lambda cut: cut[0][: cut[1]]),
        st.tuples(st.sampled_from([*VECTORS, data(1)]), st.integers(1, 30)).map(lambda cut: cut[0][cut[1] :]),
    ),
    max_size=12,
).map(b"".join)


@settings(deadline=None, max_examples=300)
@given(PIECES, st.data())
def test_any_chunking_gives_the_same(stream, draw):
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    whole = split(stream)
    assert split(stream, cuts) == whole
    assert split(stream, range(1, len(stream))) == whole or not stream


@settings(deadline=None, max_examples=100)
@given(PIECES)
def test_as_the_definition_says(stream):
    splitter = Stream()
    frames = splitter.feed(stream)
    believed_at_the_end = splitter.flush()
    slow_frames, slow_skipped = slow_split(stream)
    assert frames == slow_frames
    assert splitter.skipped_bytes + sum(map(len, believed_at_the_end)) == slow_skipped


@given(st.binary(max_size=3000))
def test_garbage_raises_nothing(garbage):
    frames, _, skipped, _ = split(garbage)
    assert sum(map(len, frames)) + skipped == len(garbage)
