"""Coefficients in one field of a configuration line (pure)."""

import re
from collections.abc import Sequence

_SEPARATOR = re.compile(r"[:;,]")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def coefficients(text: str) -> tuple[float, ...]:
    """Read numbers parted by `:`, `;` or `,`, ascending: offset, slope, square ...; an empty text is ().

    Raises:
        ValueError: something between the separators is no finite number.
    """
    if not text.strip():
        return ()
    return tuple(_number(part.strip(), text) for part in _SEPARATOR.split(text))


def _number(part: str, text: str) -> float:
    if not _NUMBER.fullmatch(part) or abs(float(part)) == float("inf"):
        what = f"{part!r} is no number" if part else "a number is missing"
        raise ValueError(f"{text!r} is no calibration: {what}; write the offset, the slope ..., as in 0.1:1.02")
    return float(part)


def remark(numbers: Sequence[float], text: str) -> str:
    """Say what about a calibration is allowed, and is often a mistake; empty if nothing is."""
    if len(numbers) == 1:
        return f"a single coefficient is a constant: the result is always {str(numbers[0]).removesuffix('.0')}"
    if "," in text and (":" in text or ";" in text):
        return f"{text!r} is {len(numbers)} numbers: a comma parts two of them, decimals are written with a point"
    return ""


def callendar_van_dusen(text: str) -> tuple[float, ...]:
    """Read the seven numbers a, d, e, g, h, i, j; an empty text is ().

    Raises:
        ValueError: they are not seven, or d is 0, by which the equation divides.
    """
    numbers = coefficients(text)
    if numbers and len(numbers) != 7:
        raise ValueError(f"{len(numbers)} numbers for the Callendar-Van Dusen equation, not the seven a d e g h i j")
    if numbers and not numbers[1]:
        raise ValueError("d, the second number of the Callendar-Van Dusen equation, is 0; the equation divides by it")
    return numbers
