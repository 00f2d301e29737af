"""Which values of a logger's table are none (pure).

A cell is missing where it is empty, NAN, NA or INF in any case, or no number at all; and where it is exactly one of the
numbers that Campbell's types have for "not a number": FP2 writes 7999 and -7999 (manual of the CR1000, "FP2"), older
arrays 6999 and -6999, tables of others -99999, LONG -2147483648. 65535, the INF of UINT2, is a good number elsewhere:
it counts only where a binary table says that the column is of that type.
"""

import math
from collections.abc import Sequence

import numpy as np

CODES = (7999.0, -7999.0, 6999.0, -6999.0, -99999.0, -2147483648.0)
UNPARSED = ("", "NA")
"""Words for a missing value that are not read as NaN or infinity."""

_WORDS = {*UNPARSED, "NAN", "-NAN", "INF", "+INF", "-INF", "N/A", "NULL", "INFINITY", "-INFINITY"}


def number(text: str) -> tuple[float, bool]:
    """Read a cell; NaN where it is missing.

    Returns:
        The value, and whether the cell is a number or one of the words for none.
    """
    text = text.strip()
    try:
        value = float(text)
    except ValueError:
        return math.nan, text.upper() in _WORDS
    if "_" in text:  # Python's own way of writing numbers
        return math.nan, False
    return (value if math.isfinite(value) else math.nan), True


def without_codes(values: np.ndarray, codes: Sequence[float]) -> np.ndarray:
    """Give float64[n] with NaN in place of infinity and of the codes; the array itself where it has none of them."""
    size = np.abs(values)
    least = min(map(abs, codes), default=math.inf)
    suspect = size >= least  # NaN is not
    if not suspect.any():
        return values
    places = np.flatnonzero(suspect)
    wrong = np.isin(values[places], np.array(codes)) | np.isinf(values[places])
    if not wrong.any():
        return values
    values = values.copy()
    values[places[wrong]] = np.nan
    return values
