"""Many rows at once are written as one after the other, digit for digit; the rule itself: `test_csv_text`."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.digits import Lines

VALUES = st.one_of(
    st.floats(),
    st.floats(width=32),
    st.sampled_from([9999999.5, 9999999.4, -9.5, 1e-4, 9.9999995e-5, 1e22, 0.0, -0.0, 65535.0]),
)


@given(
    st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(VALUES, min_size=n, max_size=n), min_size=1, max_size=6)),
    st.lists(st.integers(0, 2**62), min_size=6, max_size=6),
    st.sampled_from([1, 7, 16, 17, "repr"]),
    st.sampled_from(["seconds", "ns"]),
    st.integers(10, 19),
)
def test_any_rows(rows, times, digits, form, time_digits):
    lines = Lines([False] * len(rows[0]), form, time_digits, digits)
    times = np.array(times[: len(rows)])
    one_by_one = [lines.line(time_ns, row) for time_ns, row in zip(times.tolist(), rows, strict=True)]
    assert lines.lines(times, np.array(rows, float)) == "".join(one_by_one)


@pytest.mark.parametrize("digits", [3, 7, 12, "repr"])
@pytest.mark.parametrize("form", ["seconds", "iso", "ns"])
def test_long_columns_of_each_size(digits, form):
    """More rows than are formatted in one go; columns that are large, small, mixed, absent, and whole."""
    rng = random.Random(1)
    scales = (1e-9, 1e-5, 1.0, 1e6, 1e9, 1e18)
    columns = [[rng.gauss(0, scale) for _ in range(2500)] for scale in scales]
    columns.append([rng.choice([0.0, 2e9, float("nan")]) for _ in range(2500)])
    columns.append([float("nan")] * 2500)
    columns.append([rng.choice([3e9, float("nan"), float("inf")]) for _ in range(2500)])
    columns.append([float(rng.randrange(65536)) for _ in range(2500)])
    values = np.array(columns).T.copy()
    times = 1_699_999_999_990_000_000 + 20_000_001 * np.arange(2500)
    lines = Lines([False] * 9 + [True], form, 13, digits)
    text = lines.lines(times, values)
    assert text == "".join(map(lines.line, times.tolist(), values.tolist()))
    with_constant = lines.lines(times, values, 'a,"100%, nan",').splitlines()
    assert with_constant == [line.replace(",", ',a,"100%, nan",', 1) for line in text.splitlines()]


def test_the_number_of_digits_of_the_seconds_may_change_in_a_block():
    lines = Lines([True], "seconds", 13)
    times = np.array([5, 10**9, 999_999_999_999_999_999, 10**18, 10**18 + 4 * 10**8])
    rows = [[float(number)] for number in range(5)]
    assert lines.lines(times, np.array(rows)) == "".join(map(lines.line, times.tolist(), rows))


def test_another_number_of_columns_is_refused():
    with pytest.raises(ValueError, match=r"\(1, 2\) values for 1 rows of 1 columns"):
        Lines([True]).lines(np.array([1]), np.array([[1.0, 2.0]]))
