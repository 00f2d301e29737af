"""The quantities of a met station: their names, units and descriptions (pure)."""

import re
from typing import NamedTuple


class Quantity(NamedTuple):
    """What is measured: base description, unit, and whether the first instance is written with its number."""

    description: str
    unit: str
    numbered: bool


QUANTITIES = {
    "LOGGER": Quantity("Logger serial number", "", False),
    "Tx": Quantity("Logger panel temperature", "degC", False),
    "Vx": Quantity("Logger panel voltage", "V", False),
    "WS": Quantity("Wind speed", "m s-1", True),
    "WD": Quantity("Wind direction", "degree", True),
    "WSx": Quantity("Wind gust speed", "m s-1", True),
    "P": Quantity("Air pressure", "hPa", False),
    "T": Quantity("Air temperature", "degC", True),
    "TD": Quantity("Dewpoint temperature", "degC", True),
    "U": Quantity("Relative humidity", "%", True),
    "WI": Quantity("Precipitation rate", "mm h-1", False),
}
_NAME = re.compile(rf"({'|'.join(sorted(QUANTITIES, key=len, reverse=True))})([1-9][0-9]{{0,3}})?")


def canonical(text: str) -> str:
    """Give the one name of a parameter: T is T1, P stays P.

    Raises:
        ValueError: there is no such parameter.
    """
    found = _NAME.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is no parameter: write {' '.join(QUANTITIES)}, with or without a number behind")
    name, number = found.groups()
    return name + (number or ("1" if QUANTITIES[name].numbered else ""))


def quantity(name: str) -> str:
    """Give the parameter without its number: WS of WS2."""
    return name.rstrip("0123456789")


def unit(name: str) -> str:
    """Give the unit of a parameter's values; empty for text."""
    return QUANTITIES[quantity(name)].unit


def description(name: str, addition: str = "") -> str:
    """Give the base description of a parameter, with what a metadata line adds to it."""
    return f"{QUANTITIES[quantity(name)].description} {addition}".rstrip()
