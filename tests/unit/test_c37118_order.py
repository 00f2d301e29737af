"""Datagrams put in order again; what shares a datagram is told apart."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.c37118 import frames
from drivers.c37118.frames import DataFrame
from drivers.c37118.listening import by_stream, is_group
from drivers.c37118.order import Order
from drivers.c37118.simulated_stream import SimulatedStream
from drivers.c37118.timeline import Counts

PERIOD = 0.02
WAIT = 0.1


def stream_frames(count: int, **changes) -> list[DataFrame]:
    stream = SimulatedStream(clock=lambda: 1_790_000_000 * 10**9)
    configuration = stream.configuration()
    for name, value in changes.items():
        getattr(stream, name)(value)
    messages = [frames.decode(stream.step()[0], configuration) for _ in range(count)]
    return [message for message in messages if isinstance(message, DataFrame)]


class Line:
    """Frames that arrive one each period."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.order = Order(self.counts, WAIT)
        self.out: list[DataFrame] = []
        self.now = 0.0

    def put(self, *arriving: DataFrame) -> "Line":
        for frame in arriving:
            self.out += [frame for frame, _ in self.order.add(frame, 0, PERIOD, self.now)]
            self.now += PERIOD
        return self

    def end(self) -> list[DataFrame]:
        self.out += [frame for frame, _ in self.order.due(float("inf"), PERIOD)]
        return self.out


def test_in_order_nothing_waits():
    own = stream_frames(20)
    line = Line().put(*own)
    assert line.out == own and line.order.deadline == float("inf")


def test_overtaken_frames_are_put_in_order_and_doubles_left_out():
    own = stream_frames(12)
    line = Line().put(own[0], own[2], own[1], own[2], own[3], own[6], own[5], own[4], own[7], own[3])
    assert line.out == own[:8]
    assert (line.counts.reordered, line.counts.duplicates, line.counts.too_late) == (3, 2, 0)


def test_a_lost_frame_is_waited_for_as_long_as_said_and_no_longer():
    own = stream_frames(12)
    line = Line().put(own[0], *own[2:6])
    assert line.out == own[:1] and line.order.deadline == pytest.approx(PERIOD + WAIT)
    line.put(*own[6:8])
    assert line.out == [own[0], *own[2:8]]
    line.put(own[1])
    assert (line.counts.too_late, line.counts.reordered) == (1, 0) and own[1] not in line.out


@given(st.integers(0, 2**32), st.integers(1, 4))
def test_any_order_within_the_wait_is_mended(seed, reach):
    rng = random.Random(seed)
    own = stream_frames(40)
    shuffled = sorted(range(1, 40), key=lambda index: index + rng.uniform(0, reach))
    line = Line().put(own[0], *(own[index] for index in shuffled))
    assert line.end() == own
    assert (line.counts.duplicates, line.counts.too_late) == (0, 0)


def test_a_clock_that_is_set_begins_anew_and_loses_nothing():
    before, after = stream_frames(5), stream_frames(5, jump=-3600.0)
    ahead = stream_frames(5, jump=7200.0)
    line = Line().put(*before, *after, *ahead)
    assert line.end() == [*before, *after, *ahead]


def test_a_leap_second_that_repeats_loses_nothing():
    own = stream_frames(150, leap_second="insert")
    assert len({frame.time_ns for frame in own}) < len(own)
    line = Line().put(*own)
    assert line.end() == own and line.counts.duplicates == 0


def test_what_is_held_is_bounded(monkeypatch):
    monkeypatch.setattr("drivers.c37118.order.MOST_HELD", 5)
    own = stream_frames(30)
    line = Line()
    for frame in own[::2]:
        line.put(frame)
        line.now = 0.0  # no time passes
    assert len(line.out) >= 10 and line.end() == own[::2]


def test_the_frames_of_a_datagram_by_stream():
    def frame(idcode: int) -> bytes:
        stream = SimulatedStream(idcode=idcode, clock=lambda: 10**18)
        return stream.step()[0]

    one, two = frame(1), frame(2)
    assert by_stream(one + one + two + one) == [(1, one + one), (2, two), (1, one)]
    assert by_stream(one + b"garbage") == [(1, one + b"garbage")]
    assert by_stream(one + two[:-3]) == [(1, one), (2, two[:-3])]
    assert by_stream(b"") == []
    assert b"".join(part for _, part in by_stream(b"nothing of ours")) == b"nothing of ours"


def test_groups():
    assert is_group("239.1.2.3") and is_group("224.0.0.1")
    assert not is_group("192.168.0.20") and not is_group("pmu.lab")
