"""Numbers as a LeCroy scope writes and takes them: `200E-3 V`, `5 US`, `1.5MV` (pure)."""

import re

_MULTIPLIERS = {
    "EX": 1e18,
    "PE": 1e15,
    "T": 1e12,
    "G": 1e9,
    "MA": 1e6,
    "K": 1e3,
    "": 1.0,
    "M": 1e-3,
    "U": 1e-6,
    "N": 1e-9,
    "P": 1e-12,
    "F": 1e-15,
    "A": 1e-18,
}
_NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:E[+-]?\d+)?)\s*(EX|PE|MA|[TGKMUNPFA]?)\s*(V|S|HZ|PCT|)\s*", re.I)


def number(text: str) -> float:
    """Read a number with an optional multiplier and unit, with or without spaces: `5US`, `5 US`, `5E-6` are the same.

    `M` is a milli, `MA` a mega.

    Raises:
        ValueError: it is none.
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a number")
    return float(match[1]) * _MULTIPLIERS[match[2].upper()]


def written(value: float) -> str:
    """Write a number without multiplier or unit, so that every firmware takes it: `5E-06`, `0.1`, `100`."""
    return f"{value:.7G}"
