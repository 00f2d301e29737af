"""From what a logger stored to physical units: whole columns at once (pure). NaN is a missing value, and stays one."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

IDENTITY = (0.0, 1.0)
IEC_60751 = (3.9083e-3, -2.31e-6, 1.758481e-5, 1.7909, -2.92363, 9.1455, 255.819)
"""a, d, e, g, h, i, j of a platinum sensor of 0.00385 per K (CR1000 manual, PRTCalc, type 1)."""


def polynomial(values: Numbers, coefficients: Sequence[float]) -> Numbers:
    """Give c[0] + c[1] x + c[2] x^2 ... of each value, float64[n]; no coefficients are identity.

    The result is the argument itself where nothing is to be done; the argument is never changed.
    """
    if not coefficients or tuple(coefficients) == IDENTITY:
        return values
    result = np.full_like(values, coefficients[-1])
    result[np.isnan(values)] = np.nan  # a constant of nothing is nothing
    with np.errstate(over="ignore", invalid="ignore"):
        for coefficient in coefficients[-2::-1]:
            result *= values
            result += coefficient
    return result


def callendar_van_dusen(ratio: Numbers, numbers: Sequence[float]) -> Numbers:
    """Give the temperature, degC, of a resistance sensor.

    Args:
        ratio: float64[n], Rs/R0, the resistance over that at 0 degC; never ohm.
        numbers: a, d, e, g, h, i, j, where f = d / 2: CR1000 manual, PRTCalc. With R/R0 = 1 + A t + B t^2 of IEC 60751
            a = A, d = 4 B, e = A^2 - 4 B.

    Returns:
        float64[n]; NaN where the ratio is not positive, or above all that the equation knows.
    """
    a, d, e, g, h, i, j = numbers
    with np.errstate(over="ignore", invalid="ignore"):
        warm = (np.sqrt(d * ratio + e) - a) / (d / 2)
        k = ratio - 1
        cold = (((g * k + h) * k + i) * k + j) * k
        return np.where(ratio > 0, np.where(ratio >= 1, warm, cold), np.nan)


def wrapped(direction: Numbers) -> Numbers:
    """Give calibrated directions, degrees, in [0, 360); NaN where one is a turn or more outside of it."""
    with np.errstate(invalid="ignore"):
        turned = np.mod(direction, 360.0)
    turned[turned >= 360.0] = 0.0  # the remainder of -1e-15 is 360
    turned[outside(direction)] = np.nan
    return turned


def outside(direction: Numbers) -> NDArray[np.bool_]:
    """Tell which directions, degrees, are so far off that they are none: not between -360 and 720."""
    return (direction <= -360.0) | (direction >= 720.0)
