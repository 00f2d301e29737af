"""When a high-voltage channel has tripped, and what is kept of it."""

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from iocs.hv.status import BIT
from iocs.hv.trip import HISTORY, LEAST_VSET, STEP, VALUES, Reading, TripLatch, collapsed

ON, UNV, RUP, RDW, TRIP = (BIT[name] for name in ("ON", "UNV", "RUP", "RDW", "TRIP"))
S = 1_000_000_000


def reading(time, stat=ON, vmon=1000.0, imon=1.0, vset=1000.0):
    return Reading(time, stat, vmon, imon, vset)


def feed(latch, readings):
    return [latch.take(each, round(each.time * S)) for each in readings]


def test_a_flag_latches_at_once_with_its_cause_time_and_count():
    latch = TripLatch()
    assert feed(latch, [reading(1), reading(2, TRIP, 12.0, 7.5), reading(3, TRIP, 0.0)]) == [False, True, False]
    assert latch.trip.cause == "TRIP flag, IMON 7.5 uA, VMON 12 V"
    assert (latch.trip.time_ns, latch.count) == (2 * S, 1)


def test_the_unflagged_trip_of_firmware_1_04():
    """As it was recorded: ON + UNV, VMON 2400 -> 198 V in 10 s, then 0; the bit never came."""
    latch = TripLatch()
    volts = [2400, 2350, 1300, 1150, 700, 198, 0]
    told = feed(latch, [reading(n, ON | UNV, float(v), vset=2400.0) for n, v in enumerate(volts)])
    assert told == [False, False, False, False, False, True, False]
    assert latch.trip.cause == "collapse without a flag: VMON 198 V of 2400 V, IMON 1 uA"


def test_three_readings_in_a_row_and_no_interruption():
    low = ON | UNV
    latch = TripLatch()
    assert not any(feed(latch, [reading(1, low, 10), reading(2, low, 10), reading(3), reading(4, low, 10)]))
    assert not any(feed(latch, [reading(5, low, 10)]))
    latch.interrupted()
    assert feed(latch, [reading(n, low, 10) for n in (6, 7, 8)]) == [False, False, True]


def test_what_is_no_collapse():
    low = ON | UNV
    assert collapsed(reading(0, low, 499.9))
    assert not collapsed(reading(0, low, 500.0))
    assert not collapsed(reading(0, low | RUP, 0.0)) and not collapsed(reading(0, low | RDW, 0.0))
    assert not collapsed(reading(0, UNV, 0.0)) and not collapsed(reading(0, ON, 0.0))
    assert not collapsed(reading(0, low, 0.0, vset=LEAST_VSET - 0.1))
    assert not collapsed(reading(0, low, math.nan)) and not collapsed(reading(0, low, 0.0, vset=math.nan))


def test_a_flag_that_outlasts_the_clearing_is_no_new_trip_until_the_channel_was_on_again():
    latch = TripLatch()
    feed(latch, [reading(1, TRIP)])
    latch.clear(TRIP)
    assert latch.trip is None and latch.last is not None and latch.stale_flag
    assert not any(feed(latch, [reading(2, TRIP), reading(3, TRIP), reading(4, ON | TRIP), reading(5, ON | TRIP)]))
    assert feed(latch, [reading(6, TRIP)]) == [True] and latch.count == 2
    latch.clear(TRIP)
    feed(latch, [reading(7, TRIP), reading(8, ON)])
    assert not latch.stale_flag and feed(latch, [reading(9, TRIP)]) == [True] and latch.count == 3


def test_a_trip_before_the_channel_was_seen_to_be_on_is_a_new_one():
    latch = TripLatch()
    feed(latch, [reading(1, TRIP)])
    latch.clear(TRIP)
    assert feed(latch, [reading(2, TRIP)]) == [False]
    latch.told_on()
    assert feed(latch, [reading(3, TRIP)]) == [True] and latch.count == 2


def test_the_minute_before_is_on_an_even_grid():
    latch = TripLatch()
    feed(latch, [reading(float(n), imon=float(n)) for n in range(1000, 1100)])
    feed(latch, [reading(1100.0, TRIP, 0.0, 99.0)])
    history = latch.trip.history
    assert len(history) == VALUES == HISTORY / STEP
    assert history[-1] == 99.0 and history[-2] == 1099.0 and history[-6] == 1099.0 and history[-7] == 1098.0
    assert history[0] == 1040.0


def test_what_was_not_read_is_not_in_the_history():
    latch = TripLatch()
    feed(latch, [reading(0.0, imon=1.0), reading(20.0, imon=2.0), reading(30.0, TRIP, imon=3.0)])
    history = latch.trip.history
    assert history[-1] == 3.0 and math.isnan(history[-2]) and history[-1 - round(9 / STEP)] == 2.0
    assert math.isnan(history[-1 - round(12 / STEP)]) and history[-1 - round(28 / STEP)] == 1.0


def test_a_trip_outlasts_a_restart_as_json():
    latch = TripLatch()
    feed(latch, [reading(1.0), reading(2.0, TRIP, imon=5.0)])
    again = TripLatch(json.loads(json.dumps(latch.plain(), allow_nan=False)))
    assert again.trip.cause == latch.trip.cause and again.count == 1 and again.trip.history[-1] == 5.0
    assert math.isnan(again.trip.history[0])
    again.clear(0)
    third = TripLatch(json.loads(json.dumps(again.plain(), allow_nan=False)))
    assert third.trip is None and third.last.cause == latch.trip.cause and third.count == 1


@given(
    st.lists(
        st.tuples(st.integers(0, 0x3FFF), st.floats(0, 9000), st.floats(0, 3000), st.floats(0, 9000), st.booleans()),
        max_size=60,
    )
)
def test_latched_stays_latched_until_cleared(steps):
    latch = TripLatch()
    counted = 0
    for time, (stat, vmon, imon, vset, clear) in enumerate(steps):
        before = latch.trip
        new = latch.take(reading(float(time), stat, vmon, imon, vset), time * S)
        counted += new
        assert latch.count == counted and new == (before is None and latch.trip is not None)
        assert before is None or latch.trip is before
        if clear:
            latch.clear(stat)
            assert latch.trip is None
