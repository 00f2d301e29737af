"""The client's parser: it reads what caproto reads, however the stream is cut, and nonsense ends in an error."""

import struct
from itertools import pairwise

import caproto as ca
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iocs.ca import updates
from iocs.ca.updates import EPICS_EPOCH_NS, TIME, BadFrame, Frames
from iocs.signals import Reading, Severity, Status

# native type -> values that it can hold
VALUES = {
    updates.STRING: [b"", b"abc", b"x" * 39],
    updates.SHORT: [-32768, 0, 32767],
    updates.FLOAT: [-1.5, 0.0, 3.25],
    updates.ENUM: [0, 1, 15],
    updates.CHAR: [0, 65, 255],
    updates.LONG: [-(2**31), 7, 2**31 - 1],
    updates.DOUBLE: [-1e300, 0.1, float("nan"), float("inf")],
}


class Watcher:
    def __init__(self, array: bool = False) -> None:
        self.array = array
        self.seen: list[Reading | int] = []

    def take(self, reading: Reading) -> None:
        self.seen.append(reading)

    def refuse(self, status: int) -> None:
        self.seen.append(status)


def update(
    native: int, values: list, number: int = 1, stamp: tuple[int, int] = (1000, 5), status: int = 0, severity: int = 0
) -> bytes:
    """Encode an update with caproto."""
    time_type = ca.ChannelType(TIME + native)
    metadata = ca.DBR_TYPES[time_type](status, severity, ca.TimeStamp(*stamp))
    data = bytes(values) if native == updates.CHAR else values
    return bytes(ca.EventAddResponse(data, time_type, len(values), 1, number, metadata=metadata))


def feed(data: bytes, watcher: Watcher, cuts: list[int] | None = None, messages: list[bytes] | None = None) -> None:
    frames = Frames({1: watcher}, (messages if messages is not None else []).append)
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts or [])})
    for start, end in pairwise(places):
        frames.feed(data[start:end])


def as_caproto(frame: bytes) -> tuple:
    """Decode an update with caproto."""
    (message,) = ca.VirtualCircuit(ca.CLIENT, ("h", 1), priority=0).recv(frame)[0]
    meta = message.metadata
    stamp = (meta.stamp.secondsSinceEpoch * 10**9 + meta.stamp.nanoSeconds) + EPICS_EPOCH_NS
    return message.data, stamp, meta.severity, meta.status


def plain(reading: Reading | int) -> object:
    """Give a reading as something that equals itself, NaN too."""
    if isinstance(reading, int):
        return reading
    value = reading.value
    value = (value.dtype.str, value.tolist()) if isinstance(value, np.ndarray) else value
    return repr((value, reading.time_ns, reading.severity, reading.status, reading.connected))


@pytest.mark.parametrize("native", VALUES)
@pytest.mark.parametrize("array", [False, True])
def test_every_type_is_read_as_caproto_reads_it(native: int, array: bool) -> None:
    lengths = [1] if not array else range(len(VALUES[native]) + 1)
    chosen = [[value] for value in VALUES[native]] + [VALUES[native][:length] for length in lengths]
    for values in chosen:
        if native == updates.STRING and not values:
            continue  # caproto cannot encode it; see below
        frame = update(native, values, stamp=(7, 999_999_999), status=Status.HIHI, severity=Severity.MAJOR)
        watcher = Watcher(array)
        feed(frame, watcher)
        (reading,) = watcher.seen
        assert isinstance(reading, Reading)
        data, stamp, severity, status = as_caproto(frame)
        assert (reading.time_ns, reading.severity, reading.status) == (stamp, severity, status)
        if native == updates.STRING:
            texts = [item.decode() for item in data]
            assert reading.value == (texts if array or len(texts) > 1 else texts[0])
        elif native == updates.CHAR and array:
            assert reading.value == bytes(data).split(b"\0")[0].decode(errors="replace")
        elif array:
            np.testing.assert_array_equal(reading.value, np.asarray(data))
            assert reading.value.dtype.isnative
        else:
            np.testing.assert_equal(reading.value, data[0].item() if hasattr(data[0], "item") else data[0])


@pytest.mark.parametrize("native", VALUES)
def test_a_value_may_have_no_elements(native: int) -> None:
    frame = struct.pack(">HHHHIIHHII", 1, 16, TIME + native, 0, 1, 1, 0, 0, 5, 5) + bytes(4)
    watcher = Watcher(array=True)
    feed(frame, watcher)
    (reading,) = watcher.seen
    assert len(reading.value) == 0
    assert reading.time_ns == EPICS_EPOCH_NS + 5_000_000_005


def test_1990_is_no_time() -> None:
    watcher = Watcher()
    feed(update(updates.DOUBLE, [1.0], stamp=(0, 0)) + update(updates.STRING, [b"a"], stamp=(0, 0)), watcher)
    assert [reading.time_ns for reading in watcher.seen] == [0, 0]


def test_counts_may_differ_from_update_to_update() -> None:
    watcher = Watcher(array=True)
    feed(b"".join(update(updates.DOUBLE, [float(n)] * n) for n in (3, 1, 0, 5000, 2)), watcher)
    assert [len(reading.value) for reading in watcher.seen] == [3, 1, 0, 5000, 2]


def test_arrays_own_their_memory() -> None:
    watcher = Watcher(array=True)
    buffer = bytearray(update(updates.DOUBLE, [1.0, 2.0]))
    Frames({1: watcher}, lambda message: None).feed(buffer)
    buffer[:] = bytes(len(buffer))
    assert watcher.seen[0].value.tolist() == [1.0, 2.0]


def test_an_error_carries_no_value() -> None:
    """As an IOC tells that reading is not allowed: with a payload of zeros, or none."""
    watcher = Watcher()
    refused = ca.CAStatus.ECA_NORDACCESS.value.code_with_severity
    feed(struct.pack(">HHHHII", 1, 24, 20, 1, refused, 1) + bytes(24), watcher)
    feed(struct.pack(">HHHHII", 1, 0, 20, 1, refused, 1), watcher)
    assert watcher.seen == [refused, refused]


def test_updates_after_the_cancel_are_dropped_and_so_is_its_confirmation() -> None:
    watcher = Watcher()
    feed(update(updates.DOUBLE, [1.0], number=2) + struct.pack(">HHHHII", 1, 0, 20, 0, 1, 1), watcher)
    assert watcher.seen == []


def test_alarm_numbers_that_epics_does_not_have_are_invalid() -> None:
    for native in (updates.DOUBLE, updates.STRING):
        watcher = Watcher()
        value = [b"a"] if native == updates.STRING else [1.0]
        feed(update(native, value, status=300, severity=1), watcher)
        assert (watcher.seen[0].severity, watcher.seen[0].status) == (Severity.INVALID, Status.UDF)


def test_one_string_may_be_cut_after_its_nul() -> None:
    watcher = Watcher()
    feed(struct.pack(">HHHHIIHHII", 1, 16, TIME, 1, 1, 1, 0, 0, 5, 5) + b"abc\0", watcher)
    assert watcher.seen[0].value == "abc"


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Give messages of all kinds, as caproto encodes them."""
    parts = []
    for _ in range(draw(st.integers(1, 12))):
        native = draw(st.sampled_from([*VALUES, None]))
        if native is None:
            parts.append(bytes(draw(st.sampled_from([ca.EchoResponse(), ca.AccessRightsResponse(3, 3)]))))
            continue
        values = draw(st.lists(st.sampled_from(VALUES[native]), min_size=1, max_size=20))
        stamp = draw(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 999_999_999)))
        number = draw(st.integers(1, 2))
        parts.append(update(native, values, number, stamp, draw(st.integers(0, 21)), draw(st.integers(0, 3))))
    return b"".join(parts)


@given(streams(), st.lists(st.integers(0), max_size=40), st.booleans())
def test_however_the_stream_is_cut_the_readings_are_the_same(stream: bytes, cuts: list[int], array: bool) -> None:
    whole, cut, bytewise = Watcher(array), Watcher(array), Watcher(array)
    messages: list[list[bytes]] = [[], [], []]
    feed(stream, whole, messages=messages[0])
    feed(stream, cut, cuts, messages[1])
    feed(stream, bytewise, list(range(len(stream))), messages[2])
    assert [*map(plain, whole.seen)] == [*map(plain, cut.seen)] == [*map(plain, bytewise.seen)]
    assert messages[0] == messages[1] == messages[2]
    assert all(message[:2] in (b"\0\x17", b"\0\x16") for message in messages[0])


@given(st.binary(min_size=16, max_size=400))
def test_garbage_ends_in_an_error_or_in_waiting_for_a_bounded_rest(garbage: bytes) -> None:
    watcher = Watcher()
    frames = Frames({1: watcher}, lambda message: None, most=1000)
    try:
        frames.feed(garbage)
        frames.feed(bytes([0xFF]) * (updates.SMALL + 100))
    except BadFrame:
        return
    raise AssertionError("nothing was found to be wrong")


@pytest.mark.parametrize(
    "header",
    [
        struct.pack(">HHHHII", 99, 0, 0, 0, 0, 0),  # no such message
        struct.pack(">HHHHII", 13, 0, 0, 0, 0, 0),  # a beacon
        struct.pack(">HHHHII", 1, 24, 6, 1, 1, 1),  # a type that was not asked for
        struct.pack(">HHHHII", 1, 24, 20, 2, 1, 1),  # fewer bytes than elements
        struct.pack(">HHHHII", 1, 8, 20, 0, 1, 1),  # no room for the stamp
        struct.pack(">HHHHIIII", 1, 0xFFFF, 20, 0, 1, 1, 1 << 30, 1 << 27),  # a gigabyte
        struct.pack(">HHHHIIII", 1, 0xFFFF, 20, 0, 192, 1, 1 << 30, 0),  # a gigabyte of apology
        struct.pack(">HHHHIIII", 15, 0xFFFF, 20, 0, 1, 1, 1 << 30, 1 << 27),
        struct.pack(">HHHHIIII", 22, 0xFFFF, 0, 0, 1, 1, 1 << 20, 0),  # long rights
    ],
)
def test_a_lying_header_is_an_error_before_its_payload_comes(header: bytes) -> None:
    with pytest.raises(BadFrame):
        feed(header, Watcher())


def test_a_large_array_in_small_pieces() -> None:
    values = np.arange(1 << 20, dtype=float)
    time_type = ca.ChannelType.TIME_DOUBLE
    frame = bytes(
        ca.EventAddResponse(
            values, time_type, len(values), 1, 1, metadata=ca.DBR_TYPES[time_type](0, 0, ca.TimeStamp(1, 1))
        )
    )
    watcher = Watcher(array=True)
    feed(frame, watcher, list(range(0, len(frame), 4096)))
    np.testing.assert_array_equal(watcher.seen[0].value, values)
