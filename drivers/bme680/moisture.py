"""What temperature, pressure and relative humidity say about a gas (pure): water content, dew point, density.

Relative humidity is over liquid water at every temperature, as hygrometers have it (WMO-No. 8, part I, chapter 4). The
gas is ideal: the enhancement factor of moist air (0.4 % at 1 bar) is left out, and other gases than air have others.
"""

import math

# ln of the saturation vapour pressure in Pa: a/T + b + c T + d T^2 + e ln T, with T in K
_A, _B, _C, _D, _E = -6096.9385, 21.2409642, -2.711193e-2, 1.673952e-5, 2.433502

LOWEST, HIGHEST = 173.15, 373.15  # K, the formula's range


def saturation_pressure(temperature: float) -> float:
    """Give the saturation vapour pressure over liquid water in Pa.

    Sonntag, Z. Meteorol. 70 (1990) 340, fitted on ITS-90; coefficients for Pa as in Helten et al., J. Geophys. Res.
    104 (1999) 26087. Valid from 173.15 to 373.15 K (below 273.15 K over supercooled water).

    Args:
        temperature: K.

    Raises:
        ValueError: the temperature is out of the formula's range.
    """
    if not LOWEST <= temperature <= HIGHEST:
        raise ValueError(f"{temperature:g} K is beyond {LOWEST:g} .. {HIGHEST:g} K, where the formula holds")
    return math.exp(_A / temperature + _B + _C * temperature + _D * temperature**2 + _E * math.log(temperature))


def dew_point(temperature: float, humidity: float) -> float:
    """Give the temperature in K at which the gas would be saturated (over liquid water, also below 273.15 K).

    Newton's method on `saturation_pressure`, from the Magnus formula of WMO-No. 8, annex 4.B; to 0.1 mK. The sensor's
    3 % of humidity are 0.9 K at 50 %, 4 K at 10 % and everything below 3 %.

    Args:
        temperature: K.
        humidity: %, above 0.

    Raises:
        ValueError: there is no dew point within the formula's range.
    """
    if humidity <= 0:
        raise ValueError("a gas of 0 % has no dew point")
    wanted = math.log(saturation_pressure(temperature) * humidity / 100)
    magnus = math.log(math.exp(wanted) / 611.2)
    guess = 273.15 + 243.12 * magnus / (17.62 - magnus)
    for _ in range(20):
        excess = _A / guess + _B + _C * guess + _D * guess**2 + _E * math.log(guess) - wanted
        step = excess / (-_A / guess**2 + _C + 2 * _D * guess + _E / guess)
        guess -= step
        if abs(step) < 1e-4:
            break
    if not LOWEST <= guess <= HIGHEST:
        raise ValueError(f"the dew point is below {LOWEST:g} K, where no formula holds")
    return guess


def water_ppmv(temperature: float, pressure: float, humidity: float) -> float:
    """Give the water in the gas: 1e6 times its mole fraction (parts of the moist gas, not of the dry one).

    Args:
        temperature: K.
        pressure: of the gas, Pa.
        humidity: %.

    Raises:
        ValueError: out of the formula's range, or more water than there is gas.
    """
    vapour = saturation_pressure(temperature) * humidity / 100
    if vapour > pressure:
        raise ValueError(f"{vapour:g} Pa of water in {pressure:g} Pa of gas")
    return 1e6 * vapour / pressure


def density(temperature: float, pressure: float, reference_temperature: float, reference_pressure: float) -> float:
    """Give the density of the gas relative to that under reference conditions: (P / P0) (T0 / T), an ideal gas.

    The gain of a gas detector goes with the reduced field, E/N, thus with the inverse of this.

    Args:
        temperature: K.
        pressure: Pa.
        reference_temperature: K.
        reference_pressure: Pa.
    """
    return pressure / reference_pressure * reference_temperature / temperature
