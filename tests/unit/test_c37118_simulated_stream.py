"""The simulated PMU's behaviour: physics, the grid of time stamps, leap seconds, the procedure of a change; no wire."""

import itertools
import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.c37118 import frames
from drivers.c37118.faults import Faults
from drivers.c37118.frames import Configuration, DataFrame, TimeQuality
from drivers.c37118.simulated_pmu import Grid, SimulatedPmu
from drivers.c37118.simulated_stream import SimulatedStream
from drivers.c37118.timeline import Counts, Timeline

SECOND = 10**9


def take(stream: SimulatedStream, count: int) -> list[DataFrame]:
    return list(itertools.islice(sent(stream), count))


def sent(stream: SimulatedStream) -> Iterator[DataFrame]:
    while True:
        configuration = stream.configuration()
        for frame in stream.step():
            message = frames.decode(frame, configuration)
            if isinstance(message, Configuration):
                configuration = message
            else:
                assert isinstance(message, DataFrame)
                yield message


def test_the_angle_advances_with_the_frequency_off_nominal_and_rocof_is_its_slope() -> None:
    stream = SimulatedStream(rate=50)
    stream.grid = Grid(offset=0.05, swing=0.5, swing_period=4.0)
    seen = take(stream, 400)
    dt = 1 / 50
    for last, this in itertools.pairwise(frame.pmus[0] for frame in seen):
        for channel in range(8):
            advance = math.remainder(this.phasors[channel].angle - last.phasors[channel].angle, 2 * math.pi)
            assert advance == pytest.approx(2 * math.pi * ((this.freq + last.freq) / 2 - 50) * dt, abs=1e-5)
        assert (this.freq - last.freq) / dt == pytest.approx((this.rocof + last.rocof) / 2, abs=2e-3)


def test_the_frequency_may_be_changed_and_the_angle_does_not_jump() -> None:
    grid = Grid(offset=0.0, swing=0.0)
    grid.step(1.0)
    assert grid.angle == 0.0
    grid.offset = 0.25
    grid.step(1.0)
    assert grid.angle == pytest.approx(math.pi / 2)


@given(st.integers(1, 240), st.integers(0, 2**31 * SECOND))
def test_stamps_stand_on_the_grid_of_the_second(rate: int, start: int) -> None:
    stream = SimulatedStream(rate=rate, clock=lambda: start)
    times = [frame.time_ns for frame in take(stream, 3)]
    for time_ns in times:
        rest = time_ns % SECOND
        k = round(rest * rate / SECOND)
        assert rest == (k * SECOND + rate // 2) // rate
    assert 0 <= times[0] - start <= SECOND / rate + 1
    assert [round((b - a) * rate / SECOND) for a, b in itertools.pairwise(times)] == [1, 1]


def test_a_late_process_catches_up_and_a_long_sleep_is_counted() -> None:
    now = [1000 * SECOND]
    stream = SimulatedStream(rate=50, clock=lambda: now[0])
    now[0] += 10 * SECOND
    made = 0
    while stream.due() <= 0:
        stream.step()
        made += 1
    assert made == 501
    now[0] += 100 * SECOND
    stream.due()
    assert 4990 <= stream.skipped <= 5000


@pytest.mark.parametrize("direction", ["insert", "delete"])
@pytest.mark.parametrize("before", range(10))
@pytest.mark.parametrize("rate", [10, 1])
def test_a_leap_second_wherever_it_is_announced(direction: str, before: int, rate: int) -> None:
    stream = SimulatedStream(rate=rate, clock=lambda: 1000 * SECOND)
    seen = take(stream, before + 1)
    stream.leap_second(direction)
    seen += take(stream, 4 * rate)
    counts = Counts()
    timeline = Timeline(counts)
    assert all(timeline.new(frame, 1 / rate) for frame in seen)
    assert (counts.missed, counts.duplicates, counts.time_jumps) == (0, 0, 0)
    socs = [frame.soc for frame in seen]
    if direction == "insert":
        repeated = [frame for frame in seen if socs.count(frame.soc) == 2 * rate]
        assert [frame.tq.leap_pending for frame in repeated] == [True] * rate + [False] * rate
        assert [frame.tq.leap_occurred for frame in repeated] == [False] * rate + [True] * rate
    else:
        assert max(b - a for a, b in itertools.pairwise(socs)) == 2


def test_a_change_is_announced_and_counts_from_the_first_frame_without_the_bit() -> None:
    stream = SimulatedStream(rate=10)
    stream.reconfigure(phasors=["VA"], notice=0.5)
    asked = frames.decode(stream.answer(5) or b"")
    assert isinstance(asked, Configuration)
    assert [channel.name for channel in asked.pmus[0].phasors] == ["VA"]
    assert asked.pmus[0].cfgcnt == 1
    old = stream.configuration()
    seen = [frames.decode(stream.step()[0], old) for _ in range(5)]
    assert all(isinstance(frame, DataFrame) and frame.pmus[0].stat == 0x0400 for frame in seen)
    new = frames.decode(stream.step()[0], asked)
    assert isinstance(new, DataFrame)
    assert new.pmus[0].stat == 0


def test_a_header_or_cfg3_that_is_not_there_is_not_answered() -> None:
    stream = SimulatedStream(header=None)
    assert [stream.answer(number) for number in (3, 6, 8, 0x100)] == [None] * 4
    with pytest.raises(ValueError, match="rate 0"):
        SimulatedStream(rate=0)


def test_faults_befall_as_many_data_frames_and_no_configuration() -> None:
    stream = SimulatedStream(repeat=0.001, cfg3=True, fragment=300)
    faults = Faults(gap=2, bad_crc=2, duplicate=1)
    sent = [(frame, faults.frames(frame)) for _ in range(5) for frame in stream.step()]
    assert [left for frame, left in sent if frame[1] >> 4 != 0] == [[f] for f, _ in sent if f[1] >> 4 != 0]
    data = [(frame, left) for frame, left in sent if frame[1] >> 4 == 0]
    assert len(sent) > 2 * len(data) and [len(left) for _, left in data] == [0, 0, 2, 1, 1]
    assert [frame in left for frame, left in data] == [False, False, False, False, True]


def test_garbled_frames_never_pass_the_crc() -> None:
    faults = Faults(garble=300)
    stream = SimulatedStream()
    for _ in range(300):
        (frame,) = faults.frames(stream.step()[0])
        with pytest.raises(frames.ProtocolError):
            frames.decode(frame, stream.configuration())


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([20], {}),
        ([19, 21, 20], {}),
        ([60], {"missed": 2}),
        ([0], {"duplicates": 1}),
        ([-20], {"time_jumps": 1}),
        ([299_980], {"missed": 14_998}),
        ([3_600_000], {"time_jumps": 1}),
        ([0, 0, 20], {"duplicates": 2}),
    ],
)
def test_missing_frames_are_counted_by_their_times(steps: list[int], expected: dict[str, int]) -> None:
    """`steps` in ms, at 50 frames a second."""
    counts = Counts()
    timeline = Timeline(counts)
    for time_ms in itertools.accumulate(steps, initial=1_000_000):
        timeline.new(DataFrame(1, 0, TimeQuality(0), 0, time_ms * 10**6, ()), 0.02)
    assert {key: value for key, value in vars(counts).items() if value} == expected


def test_names_say_what_a_phasor_measures() -> None:
    pmu = SimulatedPmu(phasors=("VB", "IC", "V1", "ODD"), analogs=("P", "X"))
    configuration = pmu.configuration(3)
    assert [channel.current for channel in configuration.phasors] == [False, True, False, False]
    assert configuration.idcode == 3
    data = pmu.measure(Grid(angle=0.5))
    assert [round(phasor.angle - 0.5, 4) for phasor in data.phasors] == [-2.0944, 1.7944, 0.0, 0.0]
    assert data.analogs == (pytest.approx(3 * 63.5e3 * 400 * math.cos(0.3) / 1e6), 25.0)
