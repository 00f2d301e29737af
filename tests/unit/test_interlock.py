"""Interlocks: whom they believe, when they trip, what stays latched."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iocs.interlock import LONGEST_BYPASS, NS, Condition, Interlock, Source, State, signals_of
from iocs.signals import Bad, Reading, Refused, Severity, Status

GOOD, UDF = Status.NO_ALARM, Status.UDF
WAITING, ARMED, DELAY, ACTING, TRIPPED, BYPASSED = State


def reading(value, *, severity=Severity.NO_ALARM, status=GOOD, connected=True, time_ns=1):
    return Reading(value, time_ns, severity, status, connected)


GONE = reading(None, connected=False)
UNREAD = reading(0.0, severity=Severity.INVALID, status=UDF)
LOST = reading(7.0, severity=Severity.INVALID, status=Status.COMM)


@pytest.mark.parametrize(
    ("condition", "value", "was_bad", "fault"),
    [
        (Condition(high=5.0), 5.0, False, ""),
        (Condition(high=5.0), 5.01, False, "is 5.01, above 5"),
        (Condition(high=5.0, hysteresis=1.0), 4.5, False, ""),
        (Condition(high=5.0, hysteresis=1.0), 4.5, True, "is 4.5; good again down to 4"),
        (Condition(high=5.0, hysteresis=1.0), 4.0, True, ""),
        (Condition(low=1.0), 0.999, False, "is 0.999, below 1"),
        (Condition(low=1.0, hysteresis=0.5), 1.2, True, "is 1.2; good again from 1.5"),
        (Condition(low=1.0, high=5.0), 3.0, True, ""),
        (Condition(low=1.0), math.nan, False, "is nan, which is not a number"),
        (Condition(low=1.0), math.inf, False, "is inf, which is not a number"),
        (Condition(low=1.0), "3", False, "is '3', which is not a number"),
        (Condition(low=1.0), [3.0], False, "is not a single value"),
        (Condition(low=1.0), None, False, "is not a single value"),
        (Condition(values=(1, 2)), 2, False, ""),
        (Condition(values=(1, 2)), 0, False, "is 0, not 1 or 2"),
        (Condition(values=("OPEN",)), "OPEN", False, ""),
        (Condition(values=("OPEN",)), "SHUT", False, "is 'SHUT', not 'OPEN'"),
        (Condition(), -3, True, ""),
    ],
)
def test_what_is_bad(condition, value, was_bad, fault):
    assert condition.fault(value, was_bad) == fault


@pytest.mark.parametrize(
    ("good", "value", "fault"),
    [
        (("Open",), 1, ""),
        ((1,), 1, ""),
        (("Shut", 1), 1, ""),
        (("Open",), 0, "is 'Shut', not 'Open'"),
        ((1,), 0, "is 'Shut', not 1"),
        (("Opne",), 1, "is 'Open', not 'Opne'; its states are Shut, Open"),
        (("Open",), 2, "is 2, not 'Open'"),
        (("Open",), -1, "is -1, not 'Open'"),
    ],
)
def test_states_of_an_enum_have_numbers_and_names(good, value, fault):
    assert Condition(values=good).fault(value, False, ("Shut", "Open")) == fault


def source(heartbeat="GAS:HEARTBEAT", max_age=5.0, simulated=True):
    return Source("GAS:RH", heartbeat, max_age, simulated)


def test_a_source_is_believed_when_it_has_a_value_and_its_heartbeat_has_moved():
    it = source()
    assert it.value(0.0) == (None, "is not connected")
    it.take(UNREAD, 0.0)
    it.take_heartbeat(reading(4), 0.0)
    it.take_heartbeat(reading(5), 1.0)
    assert it.value(1.0) == (None, "has no value yet")
    it.take(reading(3.0), 1.5)
    assert it.value(1.5)[1] == "is not to be trusted: GAS:HEARTBEAT has not changed yet"
    it.take_heartbeat(reading(5), 1.6)
    assert it.value(1.6)[1], "the same number again is no sign of life"
    it.take_heartbeat(reading(6), 2.0)
    assert it.value(7.0) == (3.0, "")
    assert it.value(7.1) == (None, "is not to be trusted: GAS:HEARTBEAT has not changed for 5.1 s")


def test_what_is_invalid_is_not_believed_at_once():
    it = alive(source())
    it.take(LOST, 1.0)
    assert it.value(1.0) == (None, "is INVALID (COMM)")
    it.take(GONE, 1.0)
    assert it.value(1.0) == (None, "is INVALID (COMM)"), "going away makes it no better"


def test_a_restart_shorter_than_max_age_is_bridged_with_the_last_value():
    it = alive(source())
    it.take(GONE, 1.0)
    it.take_heartbeat(GONE, 1.0)
    assert it.value(4.9) == (3.0, "")
    it.take(UNREAD, 2.0)
    it.take_heartbeat(reading(0), 2.0)
    it.take_heartbeat(reading(1), 3.0)
    assert it.value(5.0) == (3.0, "")
    assert it.value(5.1) == (None, "has no value yet"), "a process without its box is not the gas"
    it.take(reading(3.5), 6.0)
    it.take_heartbeat(reading(2), 6.1)
    assert it.value(6.1) == (3.5, "")


def test_a_source_without_heartbeat_lives_by_its_own_updates():
    it = source(heartbeat="")
    it.take(reading(3.0, time_ns=1), 0.0)
    assert it.value(0.0) == (None, "has not changed yet")
    it.take(reading(3.0, time_ns=1), 1.0)
    assert it.value(1.0)[1], "the same update again, as after a reconnect"
    it.take(reading(3.0, time_ns=2), 2.0)
    assert it.value(2.0) == (3.0, "")
    assert it.value(7.5) == (None, "has not changed for 5.5 s")


def test_a_watched_pv_that_is_its_own_heartbeat_must_change_its_value():
    it = source(heartbeat="GAS:RH")
    for number in range(3):
        it.take(reading(1, time_ns=number), float(number))
    assert it.value(2.0)[1] == "has not changed yet"
    it.take(reading(2, time_ns=9), 3.0)
    assert it.value(3.0) == (2, "")


def test_simulated_values_are_believed_on_simulated_sites_alone():
    for site, fault in ((True, ""), (False, "comes from a simulator, and [site] simulated is not true")):
        it = alive(source(simulated=site))
        it.take_simulated(reading(1))
        it.take_simulated(GONE)
        assert it.value(0.0)[1] == fault


def alive(it, now=0.0):
    it.take(reading(3.0), now)
    it.take_heartbeat(reading(1), now)
    it.take_heartbeat(reading(2), now)
    return it


class Bench:
    """An interlock on a source that is always alive, with a bound of 5."""

    def __init__(self, *, delay=2.0, startup_grace=None, saved=None, now=0.0, longest_bypass=LONGEST_BYPASS):
        self.source = source(heartbeat="", max_age=math.inf)
        self.it = Interlock(
            "gas",
            self.source,
            Condition(high=5.0),
            {"kind": "off"},
            delay=delay,
            startup_grace=startup_grace,
            longest_bypass=longest_bypass,
            saved=saved,
            now=now,
            now_ns=round(now * NS),
        )
        self.now, self.count = now, 0

    def at(self, now, value=None):
        self.now = now
        if value is not None:
            for _ in range(2):
                self.count += 1
                self.source.take(reading(float(value), time_ns=self.count), now)
        return self.it.judge(now, round(now * NS))


def test_it_waits_as_long_as_it_must_and_arms_when_it_is_good():
    bench = Bench()
    assert not any(bench.at(float(now), 9) for now in range(1000))
    assert bench.it.state is WAITING and "is not armed: GAS:RH is 9, above 5" in bench.it.refusal
    bench.at(1000.0, 4)
    assert bench.it.state is ARMED and bench.it.refusal == bench.it.cause == ""


def test_it_trips_when_bad_for_as_long_as_the_delay():
    bench = Bench()
    bench.at(0.0, 4)
    assert not bench.at(1.0, 6) and bench.it.state is DELAY and "about to trip" in bench.it.refusal
    assert not bench.at(2.9) and not bench.at(2.95, 4) and bench.it.state is ARMED
    assert not bench.at(4.0, 7) and not bench.at(5.9) and bench.at(6.0, 8)
    assert bench.it.state is ACTING and bench.it.cause == "GAS:RH is 8, above 5; not confirmed: under way"
    assert bench.it.since_ns == 6 * NS and not bench.at(7.0), "it trips once"
    bench.it.trouble = "LOCAL"
    assert bench.it.cause.endswith("; not confirmed: LOCAL")
    bench.it.confirm()
    assert bench.it.state is TRIPPED and bench.it.cause == "GAS:RH is 8, above 5"


def test_a_latch_goes_by_a_reset_alone_when_confirmed_and_good():
    bench = Bench(delay=0.0)
    with pytest.raises(Refused, match="has not tripped"):
        bench.it.reset()
    bench.at(0.0, 4)
    assert bench.at(1.0, 6)
    bench.at(2.0, 4)
    with pytest.raises(Refused, match="not confirmed yet"):
        bench.it.reset()
    bench.it.confirm()
    bench.at(3.0, 6)
    with pytest.raises(Refused, match="still bad: GAS:RH is 6"):
        bench.it.reset()
    bench.at(4.0, 4)
    assert bench.it.state is TRIPPED and "an expert resets it" in bench.it.refusal
    bench.it.reset()
    assert bench.it.state is ARMED and bench.it.since_ns == 4 * NS
    assert bench.at(5.0, 6), "and it trips again"


def test_grace_at_the_start_arms_good_or_not():
    bench = Bench(startup_grace=10.0)
    assert not bench.at(9.9, 6) and bench.it.state is WAITING
    assert not bench.at(10.0) and bench.it.state is DELAY
    assert bench.at(12.0) and bench.it.state is ACTING


def test_a_bypass_does_nothing_refuses_nothing_and_ends_by_itself():
    bench = Bench(delay=1.0)
    bench.at(0.0, 4)
    bench.it.bypass(100.0, "anna@here")
    assert not bench.at(50.0, 9) and bench.it.state is BYPASSED and bench.it.refusal == ""
    assert bench.it.cause == "bypassed by anna@here; GAS:RH is 9, above 5" and bench.it.bypassed == 50.0
    assert not bench.at(100.0) and bench.it.state is DELAY, "the delay begins when the bypass ends"
    assert bench.at(101.0)
    with pytest.raises(Refused, match="it goes first"):
        bench.it.bypass(10.0, "anna@here")
    bench.it.confirm()
    bench.it.bypass(10.0, "anna@here")
    assert bench.it.state is BYPASSED
    bench.at(111.0)
    assert bench.it.state is TRIPPED and bench.it.since_ns == 101 * NS, "the latch lies below the bypass"
    bench.it.bypass(10.0, "anna@here")
    bench.it.bypass(0.0, "anna@here")
    assert bench.it.state is TRIPPED


def saved(bench):
    return json.loads(json.dumps(bench.it.plain(), allow_nan=False))


def test_what_outlasts_a_restart():
    bench = Bench(delay=0.0)
    bench.at(0.0, 4)
    assert saved(bench)["latch"] is None
    assert bench.at(1.0, 6)
    again = Bench(saved=saved(bench), now=50.0)
    again.it._action = {"kind": "another"}
    assert again.it.state is ACTING and again.it.latch.action == {"kind": "off"} and again.it.since_ns == NS
    again.it.confirm()
    third = Bench(saved=saved(again), now=99.0)
    assert third.it.state is TRIPPED and not third.at(100.0, 9)
    third.it.bypass(60.0, "anna")
    fourth = Bench(saved=saved(third), now=120.0)
    assert fourth.it.state is BYPASSED and fourth.it.bypassed == pytest.approx(40.0)
    assert "anna" in fourth.it.cause
    fifth = Bench(saved=saved(third), now=170.0)
    assert fifth.it.state is TRIPPED


def test_a_bypass_never_becomes_longer_over_a_restart():
    bench = Bench(now=1000.0)
    bench.it.bypass(60.0, "anna")
    assert Bench(saved=saved(bench), now=10.0).it.bypassed == pytest.approx(60.0), "the clock was set back"
    assert Bench(saved=saved(bench), now=1020.0, longest_bypass=30.0).it.bypassed == pytest.approx(30.0)
    assert Bench(saved=saved(bench), now=1061.0).it.bypassed == 0.0


def test_its_pvs():
    bench = Bench(delay=0.0)
    names = {signal.name for signal in signals_of(2, "gas", 3600.0)}
    bench.at(0.0, 4)
    told = bench.it.values(2)
    assert told.keys() == names and told["ILK2:CAUSE"] == "" and told["ILK2:SINCE"] == "1970-01-01 00:00:00"
    bench.at(1.0, 6)
    assert bench.it.values(2)["ILK2:CAUSE"].severity is Severity.MAJOR
    bench.it.confirm()
    bench.it.bypass(59.5, "anna")
    told = bench.it.values(2)
    assert isinstance(told["ILK2:BYPASS"], Bad) and told["ILK2:BYPASS"].value == 60.0
    assert told["ILK2:BYPASS"].severity is told["ILK2:CAUSE"].severity is Severity.MINOR


EVENTS = st.lists(
    st.tuples(
        st.floats(0.01, 3.0),
        st.sampled_from([None, 4.0, 4.9, 5.1, 9.0]),
        st.sampled_from(["", "", "", "confirm", "reset", "bypass", "end", "restart"]),
    ),
    max_size=60,
)


@given(EVENTS, st.sampled_from([0.0, 0.5, 2.0]))
def test_whatever_happens(events, delay):
    """It trips exactly when armed, not bypassed, and bad without a break for the delay; a latch goes by reset alone."""
    bench = Bench(delay=delay)
    now, armed, bad_since, value = 0.0, False, None, None
    for step, change, deed in events:
        now += step
        value = change if change is not None else value
        before = bench.it.latch
        tripped = bench.at(now, change)
        bad = value is None or value > 5.0
        if before is None:
            armed = armed or not bad
            bypassed = bench.it.state is BYPASSED
            bad_since = None if not bad or bypassed or not armed else now if bad_since is None else bad_since
            assert tripped == (bad_since is not None and now - bad_since >= delay)
            bad_since = None if tripped else bad_since
        else:
            assert not tripped and bench.it.latch is before
        assert (bench.it.refusal == "") == (bench.it.state in (ARMED, BYPASSED))
        assert bench.it.state in (BYPASSED, WAITING if not armed else None) or armed or bench.it.latch
        latch = bench.it.latch
        match deed:
            case "confirm":
                bench.it.confirm()
                assert latch is None or bench.it.latch.confirmed
            case "reset":
                try:
                    bench.it.reset()
                except Refused:
                    assert bench.it.latch is latch and (latch is None or not latch.confirmed or bad)
                else:
                    assert latch.confirmed and not bad and bench.it.latch is None
                    armed, bad_since = True, None
            case "bypass" | "end":
                try:
                    bench.it.bypass(2.5 if deed == "bypass" else 0.0, "anna")
                except Refused:
                    assert latch is not None and not latch.confirmed
                else:
                    bad_since = None
                assert bench.it.latch is latch
            case "restart":
                bench = Bench(delay=delay, saved=saved(bench), now=now)
                armed, bad_since, value = False, None, None
                assert bench.it.latch == latch
