"""What may be put to a high-voltage channel."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iocs.hv.limits import Bound, Channel, check_number, check_on
from iocs.hv.shape import Range
from iocs.hv.status import BIT
from iocs.signals import Refused

SPANS = {
    "VSET": Range(0, 8000, 1),
    "ISET": Range(0, 3000, 2),
    "MAXV": Range(0, 8100, 0),
    "RUP": Range(1, 500, 0),
    "TRIP": Range(0, 1000, 1),
}
READ = {"VSET": 100.0, "ISET": 5.0, "MAXV": 8100.0, "POL": "-"}
CHANNEL = Channel("CH3:", READ, BIT["ON"], SPANS, {"VSET": (0, 1000)}, vsoftmax=1000, isoftmax=3000)


def refusal(function, *arguments):
    with pytest.raises(Refused) as caught:
        function(*arguments)
    return str(caught.value)


def told(channel, name, value):
    return check_number(channel, name, value)


@pytest.mark.parametrize(
    ("changes", "high", "by"),
    [
        ({}, 1000, "the site file"),
        ({"site": {}, "vsoftmax": 9e9}, 8000, "the unit"),
        ({"read": READ | {"MAXV": 250.0}}, 250, "MAXV"),
        ({"vsoftmax": 300}, 300, "VSOFTMAX"),
    ],
)
def test_the_tightest_limit_counts_and_is_named(changes, high, by):
    channel = replace(CHANNEL, **changes)
    assert (channel.bound("VSET").high, channel.bound("VSET").high_by) == (high, by)
    assert told(channel, "VSET", high) == high
    assert refusal(told, channel, "VSET", high + 0.1).endswith(f"is beyond the limits 0 .. {high:g} V ({by})")


@given(
    st.floats(0, 9000),
    st.floats(0, 9000),
    st.floats(0, 9000),
    st.floats(allow_nan=True, allow_infinity=True),
    st.booleans(),
)
def test_nothing_passes_that_any_limit_forbids(maxv, site, soft, value, on):
    channel = replace(
        CHANNEL,
        read=READ | {"MAXV": maxv},
        site={"VSET": (0, site)},
        vsoftmax=soft,
        stat=BIT["ON"] if on else 0,
    )
    try:
        sent = told(channel, "VSET", value)
    except Refused as refused:
        assert str(refused)
        return
    assert 0 <= sent <= min(8000, maxv, site, soft) + 1e-9
    assert abs(sent - value) <= 0.05 + 1e-9 and sent == round(sent, 1)


@given(st.floats(0, 1e4), st.floats(0, 1e4), st.integers(0, 3))
def test_a_bound_is_a_value_that_the_unit_can_be_told(low, high, decimals):
    channel = replace(CHANNEL, spans={"VSET": Range(low, max(low, high), decimals)}, site={}, vsoftmax=math.inf)
    bound = replace(channel, read=READ | {"MAXV": 1e6}).bound("VSET")
    slack = 2e-6 * 10.0**-decimals  # floats that mean the same decimal
    assert bound.high <= max(low, high) + slack and bound.low >= low - slack
    for end in (bound.low, bound.high):
        assert float(f"{end:.{decimals}f}") == pytest.approx(end, abs=1e-9)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(value):
    assert "not a value that can be set" in refusal(told, CHANNEL, "VSET", value)


def test_a_sign_is_refused_and_never_dropped():
    assert "the sign is that of the polarity switch" in refusal(told, CHANNEL, "VSET", -50)
    assert told(CHANNEL, "VSET", 0) == 0


def test_one_put_raises_by_no_more_than_the_step_and_lowers_by_any():
    channel = replace(CHANNEL, max_step=50, read=READ | {"VSET": 900.0})
    assert told(channel, "VSET", 950) == 950
    assert "50.1 V is a larger step than the 50 V" in refusal(told, channel, "VSET", 950.1)
    assert told(channel, "VSET", 0) == 0


@pytest.mark.parametrize("missing", ["VSET", "MAXV"])
def test_nothing_is_guessed(missing):
    channel = replace(CHANNEL, read={name: value for name, value in READ.items() if name != missing}, max_step=10)
    assert "could not be read from the unit, so nothing is sent" in refusal(told, channel, "VSET", 105)
    assert "does not tell the limits of CH3:RDW" in refusal(told, channel, "RDW", 10)


def test_wrong_polarity_keeps_the_output_from_being_raised_not_from_being_lowered():
    channel = replace(CHANNEL, polarity="+")
    assert "look at the polarity switch" in refusal(told, channel, "VSET", 101)
    assert "look at the polarity switch" in refusal(check_on, replace(channel, stat=0))
    assert told(channel, "VSET", 99) == 99
    assert "not known" in refusal(told, replace(channel, read={"VSET": 1.0, "MAXV": 8100.0}), "VSET", 101)
    assert told(replace(channel, polarity="-"), "VSET", 101) == 101


def test_maxv_is_not_put_below_vset():
    assert "lower VSET first" in refusal(told, CHANNEL, "MAXV", 99)
    assert told(CHANNEL, "MAXV", 100) == 100


def test_an_output_that_maxv_holds_is_not_let_go_by_raising_maxv():
    held = replace(CHANNEL, read=READ | {"VSET": 1500.0, "MAXV": 250.0})
    assert "VSET = 1500 V is above MAXV = 250 V, which holds the output" in refusal(told, held, "MAXV", 8000)
    assert told(held, "VSET", 250) == 250
    assert told(replace(held, read=READ | {"VSET": 250.0, "MAXV": 250.0}), "MAXV", 8000) == 8000


@pytest.mark.parametrize(("name", "value"), [("VSET", 101), ("ISET", 6), ("MAXV", 500), ("RUP", 50), ("TRIP", 1)])
def test_a_tripped_channel_takes_nothing_but_less(name, value):
    channel = replace(CHANNEL, tripped="TRIP flag")
    assert "find out why, then put 1 to CH3:TRIPCLEAR" in refusal(told, channel, name, value)
    assert told(channel, "VSET", 100) == 100 and told(channel, "ISET", 4) == 4


OFF = replace(CHANNEL, stat=0)


@pytest.mark.parametrize(
    ("channel", "why"),
    [
        (replace(OFF, tripped="collapse"), "has tripped (collapse)"),
        (replace(OFF, stat=BIT["TRIP"]), "says that it has tripped"),
        (replace(OFF, stat=BIT["DIS"]), "front switch is off"),
        (replace(OFF, stat=BIT["KILL"]), "killed"),
        (replace(OFF, stat=BIT["ILK"]), "interlock is active"),
        (replace(OFF, stat=None), "STAT could not be read"),
        (replace(OFF, read=READ | {"VSET": 1500.0}), "VSET of the unit is 1500 V, beyond the limits 0 .. 1000 V"),
        (replace(OFF, isoftmax=4), "ISET of the unit is 5 uA, beyond the limits 0 .. 4 uA (ISOFTMAX)"),
        (replace(OFF, read={}), "could not be read"),
    ],
)
def test_what_keeps_a_channel_from_being_switched_on(channel, why):
    assert why in refusal(check_on, channel)


def test_a_channel_that_may_be_switched_on():
    check_on(OFF)
    check_on(replace(OFF, stat=BIT["TRIP"], stale_flag=True))


def test_bounds_of_both_ends():
    assert Bound(0, 10).within(2, 20, "a") == Bound(2, 10, "a", "the unit")
