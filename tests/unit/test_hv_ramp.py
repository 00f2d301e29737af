"""Ramping neighbours together: never farther apart than told, whatever gets lost, and there at the same moment."""

import math
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iocs.hv.ramp import Course, Output, farthest

DT = 0.05


@dataclass
class Unit:
    """Channels that go to their VSET by themselves."""

    volts: list[float]
    rates: list[float]
    vset: list[float] = field(default_factory=list)

    def __post_init__(self):
        self.vset = self.vset or list(self.volts)

    @property
    def outputs(self):
        return tuple(Output(volts, vset) for volts, vset in zip(self.volts, self.vset, strict=True))

    def step(self, dt=DT):
        for number, (volts, vset) in enumerate(zip(self.volts, self.vset, strict=True)):
            most = self.rates[number] * dt
            self.volts[number] = volts + min(max(vset - volts, -most), most)


def course(start, goal, apart=100.0, rate=20.0, lead=20.0):
    return Course(tuple(start), tuple(goal), apart, rate, lead, (1,) * len(start))


def follow(unit, way, *, bound, cut=math.inf, lose=None, longest=5000):
    """Ramp until all are there, or until the link is cut, and then until nothing moves; give the moments of arrival."""
    arrived = {}
    now = 0.0
    for _ in range(longest):
        if now < cut:
            steps = way.steps(unit.outputs, now)
            for number, volts in list(steps.items())[: None if lose is None else lose]:
                unit.vset[number] = volts
        before = list(unit.volts)
        for _part in range(4):
            unit.step()
            assert all(abs(a - b) <= limit + 1e-6 for (a, b), limit in zip(pairwise(unit.volts), bound, strict=True)), (
                unit
            )
        now += 4 * DT
        for number, volts in enumerate(unit.volts):
            if volts == way.goal[number]:
                arrived.setdefault(number, now)
        if len(arrived) == len(unit.volts) or (now >= cut and before == unit.volts):
            return arrived
    raise AssertionError(f"not there after {now:g} s: {unit}, {way}")


def bounds(start, apart):
    return [max(apart, abs(a - b)) for a, b in pairwise(start)]


@pytest.mark.parametrize(
    ("start", "goal"),
    [
        ((0, 0, 0), (300, 200, 100)),
        ((300, 200, 100), (0, 0, 0)),
        ((100, 0), (200, 100)),  # as far apart as may be, all the way
        ((200, 100), (100, 0)),
        ((100, 0), (0, 100)),
        ((0, 100, 0, 100), (100, 0, 100, 0)),
        ((500, 0), (100, 100)),  # too far apart already
        ((500, 0), (600, 550)),
        ((10, 10), (10, 10)),
        ((50,), (400,)),
        ((0, 0), (0.1, 0)),
    ],
)
def test_the_way(start, goal):
    unit = Unit([float(v) for v in start], [50.0] * len(start))
    follow(unit, course(start, goal), bound=bounds(start, 100.0))
    assert unit.volts == list(goal)


def test_nobody_waits_at_the_goal_for_another():
    """Ways of another length and rates of another size; the moments of arrival differ by one lead at most."""
    way = course((0, 0, 0), (300, 250, 160))
    arrived = follow(Unit([0.0, 0.0, 0.0], [50.0, 25.0, 500.0]), way, bound=[100.0, 100.0])
    assert max(arrived.values()) - min(arrived.values()) <= way.lead / 25 + 2 * 4 * DT
    assert way.seconds == 15.0 <= max(arrived.values()) < 20.0


def test_a_channel_that_does_not_follow_holds_the_others():
    unit = Unit([0.0, 0.0], [50.0, 0.0])
    way = course((0, 0), (300, 300))
    with pytest.raises(AssertionError, match="not there"):
        follow(unit, way, bound=[100.0], longest=500)
    assert unit.volts == [pytest.approx(20.0, abs=0.2), 0.0] and way.done(unit.outputs) < 0.01


def test_a_vset_beyond_the_goal_comes_back_to_it():
    way = course((0, 0), (100, 100))
    assert way.steps((Output(100.0, 120.0), Output(100.0, 100.0)), 60.0) == {0: 100.0}


def test_the_rate_is_kept():
    way = course((0, 0), (200, 100), rate=10.0, lead=50.0)
    assert way.steps((Output(0, 0), Output(0, 0)), 1.0) == {0: 10.0, 1: 5.0}
    assert way.steps((Output(0, 0), Output(0, 0)), 0.0) == {}


def test_farthest():
    assert farthest((0.0, 30.0, -10.0)) == 40.0 and farthest((5.0,)) == 0.0


VOLTS = st.integers(0, 5000).map(lambda tenths: tenths / 10)


@st.composite
def ramps(draw):
    count = draw(st.integers(2, 5))
    apart = draw(st.sampled_from([20.0, 50.0, 100.0]))
    goal = [draw(VOLTS)]
    for _ in range(count - 1):
        goal.append(min(max(goal[-1] + draw(st.integers(-10, 10)) * apart / 10, 0.0), 600.0))
    start = draw(st.lists(VOLTS, min_size=count, max_size=count))
    rates = draw(st.lists(st.sampled_from([5.0, 20.0, 50.0, 500.0]), min_size=count, max_size=count))
    rate, lead = draw(st.sampled_from([5.0, 20.0, 100.0])), draw(st.sampled_from([1.0, 10.0, 40.0]))
    return start, [round(v, 1) for v in goal], rates, apart, rate, lead


@settings(deadline=None, max_examples=60)
@given(ramps(), st.sampled_from([1.0, 5.0, math.inf]), st.sampled_from([None, 1, 2]))
def test_whatever_the_way_neighbours_stay_together_through_cuts_and_losses(ramp, cut, lose):
    start, goal, rates, apart, rate, lead = ramp
    way = course(start, goal, apart, rate, lead)
    unit = Unit(list(start), rates)
    arrived = follow(unit, way, bound=bounds(start, apart), cut=cut, lose=lose)
    if math.isinf(cut):
        assert unit.volts == goal and len(arrived) == len(goal)
    assert unit.volts == pytest.approx(unit.vset)
