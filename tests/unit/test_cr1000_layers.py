import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ingest.cr1000.layers import Layer, Pieces

bounds = st.none() | st.integers(-20, 20)
stacks = st.lists(st.tuples(bounds, bounds), max_size=8)


def naive(stack, time):
    """Look at every transparency, the lowest first."""
    seen = None
    for number, (start, end) in enumerate(stack):
        if (start is None or start <= time) and (end is None or time < end):
            seen = number
    return seen


def pieces(stack):
    return Pieces([Layer(start, end, number) for number, (start, end) in enumerate(stack)])


@given(stacks, st.integers(-22, 22))
def test_what_holds_is_the_topmost_line_that_covers_the_instant(stack, time):
    assert pieces(stack).at(time) == naive(stack, time)


@given(stacks, st.lists(st.integers(-22, 22), max_size=20), st.data())
def test_rows_are_split_as_each_one_alone(stack, times, data):
    times_ns = np.array(times, np.int64)
    rows = slice(None)
    if data.draw(st.booleans()):
        rows = np.array(sorted(data.draw(st.sets(st.integers(0, len(times) - 1)))) if times else [], np.intp)
    found = np.full(len(times), -2)
    for value, those in pieces(stack).split(times_ns, rows):
        assert (found[those] == -2).all()
        found[those] = -1 if value is None else value
    wanted = np.arange(len(times))[rows]
    for row, time in enumerate(times):
        expected = naive(stack, time)
        assert found[row] == (-2 if row not in wanted else -1 if expected is None else expected)


@given(stacks)
def test_neighbouring_pieces_differ_and_begin_in_order(stack):
    made = pieces(stack)
    assert list(made.starts) == sorted(set(made.starts)) and len(made.starts) == len(made.values)
    assert all(a != b for a, b in zip(made.values, made.values[1:], strict=False))


def test_bounds_are_half_open():
    made = pieces([(None, 10), (10, 20)])
    assert [made.at(time) for time in (-(2**63), 9, 10, 19, 20, 2**63 - 1)] == [0, 0, 1, 1, None, None]
