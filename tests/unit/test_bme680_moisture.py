"""The formulas against tables that others have published."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.bme680.moisture import density, dew_point, saturation_pressure, water_ppmv

ZERO = 273.15

# Pa over water. ASHRAE Handbook Fundamentals 2017, chapter 1, table 3; at 0.01 degC the triple point (IAPWS R7-97).
PUBLISHED = {0.01: 611.657, 5: 872.6, 25: 3169.7, 50: 12351.3, 100: 101418.0}
# over supercooled water: Smithsonian Meteorological Tables, table 94 (Goff and Gratch, 1946), which newer formulas
# leave by 0.7 % at -40 degC; 240 K: Murphy and Koop, Q. J. R. Meteorol. Soc. 131 (2005) 1539, their check value
SUPERCOOLED = {-10: 286.27, -20: 125.40, -30: 50.88, -40: 18.91, 240 - ZERO: 37.667}


@pytest.mark.parametrize(("celsius", "pascal"), PUBLISHED.items())
def test_saturation_pressure_is_that_of_the_tables(celsius, pascal):
    assert saturation_pressure(ZERO + celsius) == pytest.approx(pascal, rel=1e-3)


@pytest.mark.parametrize(("celsius", "pascal"), SUPERCOOLED.items())
def test_saturation_pressure_over_supercooled_water(celsius, pascal):
    assert saturation_pressure(ZERO + celsius) == pytest.approx(pascal, rel=8e-3)


def test_dew_point_by_the_same_tables():
    for humidity, celsius in ((100 * 872.6 / 3169.7, 5), (100 * 125.40 / 3169.7, -20), (100, 25)):
        assert dew_point(ZERO + 25, humidity) - ZERO == pytest.approx(celsius, abs=0.05)


@given(st.floats(233.2, 358), st.floats(0.01, 100))
def test_at_its_dew_point_a_gas_is_saturated(temperature, humidity):
    vapour = saturation_pressure(temperature) * humidity / 100
    try:
        found = dew_point(temperature, humidity)
    except ValueError:
        assert vapour < saturation_pressure(173.15) * 1.001
    else:
        assert found <= temperature + 1e-3
        assert saturation_pressure(found) == pytest.approx(vapour, rel=1e-4)


def test_water():
    # 25 degC, 50 %, 1013.25 hPa by the table above: 0.5 * 3169.7 / 101325
    assert water_ppmv(ZERO + 25, 101325, 50) == pytest.approx(15641, rel=1e-3)
    assert water_ppmv(ZERO + 25, 101325, 0) == 0


def test_density():
    # dry air, CIPM-2007: 1.2041 kg/m3 at 20 degC and 1013.25 hPa, 1.2922 at 0 degC
    assert density(ZERO, 101325, ZERO + 20, 101325) == pytest.approx(1.2922 / 1.2041, rel=1e-3)
    assert density(ZERO + 20, 90000, ZERO + 20, 100000) == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("ask", "why"),
    [
        (lambda: saturation_pressure(100), "beyond 173.15 .. 373.15 K"),
        (lambda: dew_point(293, 0), "no dew point"),
        (lambda: dew_point(233, 0.0001), "below 173.15 K"),
        (lambda: water_ppmv(358, 30_000, 100), "of water in"),
    ],
)
def test_out_of_range(ask, why):
    with pytest.raises(ValueError, match=why):
        ask()
