"""Time stamps as loggers write them, to ns since 1970 (pure)."""

import re
from datetime import datetime

import numpy as np

from ingest.cr1000.times import DAY, SECOND, moment

_DATED = re.compile(r"\d{4}[-/]\d{1,2}[-/]\d|\d{8}T\d|EM?:-?\d")
_EPOCH = datetime(1970, 1, 1)
_YEARS = 1678, 2261  # that 64 bits of ns hold
_FRACTION = 20  # where the fraction of a second begins
_DIGITS = np.array([0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18])
_MONTH_ENDS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


def stamp(text: str) -> tuple[int, bool] | None:
    """Read a cell as a time with a date, in any form of `times`; None if it is none.

    Returns:
        ns since 1970, and whether the text says 24:00, which is the next day's 00:00.
    """
    text = text.strip()
    if not _DATED.match(text):
        return None  # a bare number is a value, whatever year it could be
    try:
        return moment(text), " 24:00" in text or "T24:00" in text
    except ValueError:
        return None


def array_stamp(year: float, day: float, clock: float) -> tuple[int, bool] | None:
    """Read the stamp of an array: year, day of the year, and hhmm (2400: the end of the day); None if none."""
    if not (1970 <= year <= 2200 and 1 <= day <= 366 and 0 <= clock <= 2400) or any(x % 1 for x in (year, day, clock)):
        return None
    hour, minute = divmod(int(clock), 100)
    if minute > 59:
        return None
    days = (datetime(int(year), 1, 1) - _EPOCH).days + int(day) - 1
    return days * DAY + (hour * 60 + minute) * 60 * SECOND, hour == 24


def array_stamps(year: np.ndarray, day: np.ndarray, clock: np.ndarray) -> np.ndarray | None:
    """Read the stamps of arrays, each float64[n]: int64[n] ns since 1970; None where one of them is none, or 2400."""
    hour, minute = np.floor(clock / 100), clock % 100
    good = (year >= 1970) & (year <= 2200) & (day >= 1) & (day <= 366) & (hour >= 0) & (hour <= 23) & (minute <= 59)
    if not good.all() or ((year % 1) + (day % 1) + (clock % 1)).any():
        return None
    first = (year.astype(np.int64) - 1970).astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64)
    minutes = (first + day.astype(np.int64) - 1) * 1440 + (hour * 60 + minute).astype(np.int64)
    return minutes * 60 * SECOND


def stamps(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray | None:
    """Read the cells of a column as `2016-09-01 19:18:01` with or without a fraction.

    Args:
        data: uint8, the bytes of a block.
        starts: int64[n], where each cell begins, without quotes.
        ends: int64[n], where it ends.

    Returns:
        int64[n] ns since 1970; None where one of them is none, or says 24:00.
    """
    widths = ends - starts
    if not len(widths) or widths.min() < 19 or widths.max() > _FRACTION + 9:
        return None
    digits = data[starts + _DIGITS[:, None]] - np.uint8(48)  # [14, n]
    if (digits > 9).any():
        return None
    between = [data[starts + at] for at in (4, 7, 13, 16)]
    wrong = (between[0] != 45) | (between[1] != 45) | (between[2] != 58) | (between[3] != 58)
    blank = data[starts + 10]
    if (wrong | ((blank != 32) & (blank != 84))).any():
        return None
    pairs = digits[2::2].astype(np.int64) * 10 + digits[3::2]  # year of the century, month, day, hour, minute, second
    short, month, day, hour, minute, second = pairs
    year = (digits[0].astype(np.int64) * 10 + digits[1]) * 100 + short
    if year.min() < _YEARS[0] or year.max() > _YEARS[1]:
        return None
    if (month < 1).any() or (month > 12).any() or (hour > 23).any() or (minute > 59).any() or (second > 59).any():
        return None
    leap = (month == 2) & (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    if (day < 1).any() or (day > _MONTH_ENDS[month] + leap).any():
        return None
    days = ((year - 1970) * 12 + month - 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) + day - 1
    time_ns = (days * 86400 + (hour * 60 + minute) * 60 + second) * SECOND
    for width in np.unique(widths[widths > 19]):
        rows = np.flatnonzero(widths == width)
        places = starts[rows] + np.arange(_FRACTION, width)[:, None]
        fraction = data[places] - np.uint8(48)
        if width == _FRACTION or (fraction > 9).any() or (data[starts[rows] + 19] != 46).any():
            return None
        for digit, power in zip(fraction, range(8, -1, -1), strict=False):
            time_ns[rows] += digit.astype(np.int64) * 10**power
    return time_ns
