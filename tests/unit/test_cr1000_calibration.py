import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.cr1000.calibration import IEC_60751, callendar_van_dusen, outside, polynomial, wrapped
from tests.cr1000_rtd import EXACT, PUBLISHED

numbers = st.floats(-1e3, 1e3)


@given(st.lists(numbers, min_size=1, max_size=20), st.lists(numbers, max_size=5))
def test_a_polynomial_is_the_sum_of_its_powers(values, coefficients):
    result = polynomial(np.array(values), coefficients)
    expected = [sum(c * x**k for k, c in enumerate(coefficients)) if coefficients else x for x in values]
    assert result == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_a_missing_value_stays_missing_and_the_argument_is_left_alone():
    raw = np.array([1.0, np.nan])
    assert polynomial(raw, (1, 2, 3))[0] == 6 and np.isnan(polynomial(raw, (1, 2, 3))[1])
    assert np.isnan(polynomial(raw, (5,))[1]) and polynomial(raw, (5,))[0] == 5
    assert polynomial(raw, ()) is raw and polynomial(raw, (0, 1)) is raw and raw[0] == 1


@pytest.mark.parametrize(("ratio", "temperature"), PUBLISHED.items())
def test_a_ratio_gives_the_temperature_of_the_published_constants(ratio, temperature):
    assert callendar_van_dusen(np.array([ratio]), IEC_60751)[0] == pytest.approx(temperature, abs=6e-9)


@pytest.mark.parametrize(("ratio", "temperature"), EXACT.items())
def test_a_ratio_gives_the_temperature_of_the_standard_within_its_known_error(ratio, temperature):
    assert callendar_van_dusen(np.array([ratio]), IEC_60751)[0] == pytest.approx(temperature, abs=1.7e-3)


def test_what_is_no_ratio_has_no_temperature():
    ratios = np.array([0.0, -0.1, np.nan, 7.613, 100.0, 109.7])
    assert np.isnan(callendar_van_dusen(ratios, IEC_60751)).all()
    assert np.isfinite(callendar_van_dusen(np.array([0.2, 1.0, 7.612]), IEC_60751)).all()


@pytest.mark.parametrize(
    ("direction", "result"),
    [(0, 0), (359.9, 359.9), (360, 0), (365, 5), (-5, 355), (-1e-15, 0), (719, 359), (720, math.nan), (-360, math.nan)],
)
def test_a_calibrated_direction_is_turned_into_one_turn(direction, result):
    assert wrapped(np.array([direction], float))[0] == pytest.approx(result, nan_ok=True)


@given(st.floats(allow_nan=True))
def test_a_turned_direction_is_below_360_or_none(direction):
    value = wrapped(np.array([direction]))[0]
    assert 0 <= value < 360 if -360 < direction < 720 else np.isnan(value)
    assert outside(np.array([direction]))[0] == (not -360 < direction < 720 and not math.isnan(direction))
