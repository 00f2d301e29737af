"""Times as people and spreadsheets write them in configuration files, to integer ns since 1970, UTC (pure).

The forms are those that the "standard time conversion" of NOAA's programs accepts, and a few more: numeric offsets from
UTC, `24:00`, `YYYY/MM/DD`. `9/1/2016` is refused, since nobody can know whether a day or a month comes first.
"""

import re
from collections.abc import Callable
from datetime import date, datetime

SECOND = 10**9
DAY = 86_400 * SECOND
FORMS = "2016-09-01T19:18:01Z, 2016-09-01 19:18, 2016-09-01, 20160901T191801Z, 2016, 2016:245, E:1472757481"
"""Some of the forms, for messages."""

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_OPEN = re.compile(r"[+-]?(|undef|inf|infinity|none|∞)", re.IGNORECASE)
_QUARTERS = (1, 91, 182, 274)  # days of the year on which NOAA's quarters begin, in leap years too

_CLOCK = r"(?P<hour>\d{1,2}):(?P<minute>\d{1,2})(?::(?P<second>\d{1,2})(?:\.(?P<fraction>\d*))?)?"
_ZONE = r"\s*(?P<zone>Z|UTC|[+-]\d{2}(?::?\d{2})?)?"
_CALENDAR = re.compile(
    rf"(?P<year>\d{{4}})(?P<sign>[-/])(?P<month>\d{{1,2}})(?P=sign)(?P<day>\d{{1,2}})(?:(?:T|\s+){_CLOCK})?{_ZONE}",
    re.ASCII | re.IGNORECASE,
)
_COMPACT = re.compile(
    r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})"
    rf"(?:(?:T|\s+)(?P<hour>\d{{2}})(?P<minute>\d{{2}})(?:(?P<second>\d{{2}})(?:\.(?P<fraction>\d*))?)?)?{_ZONE}",
    re.ASCII | re.IGNORECASE,
)
_YEAR = re.compile(r"(\d{4})(?:\.(\d+))?", re.ASCII)
_YEAR_DAY = re.compile(r"(\d{4})(?::|\s+)(\d{1,3})(?:\.(\d+))?", re.ASCII)
_WEEK = re.compile(r"(\d{4})-?w(\d{1,2})", re.ASCII | re.IGNORECASE)
_QUARTER = re.compile(r"(\d{4})Q([1-4])", re.ASCII | re.IGNORECASE)
_SINCE_1970 = re.compile(r"E(M?):(-?)(\d+)(?:\.(\d*))?", re.ASCII | re.IGNORECASE)
_DAY_OR_MONTH_FIRST = re.compile(r"\d{1,2}[/.-]\d{1,2}[/.-]\d{2,4}\b.*")


def bound(text: str) -> int | None:
    """Read a bound of a span: a time, or None where it is open: an empty text, `undef`, `inf`, `none`, `∞`.

    Raises:
        ValueError: it is neither; the text says why and what to write.
    """
    return None if _OPEN.fullmatch(text.strip()) else moment(text)


def moment(text: str) -> int:
    """Read a time; UTC unless it says otherwise.

    Returns:
        ns since 1970, exact: no form goes through a float.

    Raises:
        ValueError: it is none, or not between the years 1678 and 2261; the text says why and what to write.
    """
    text = text.strip()
    for form, read in _READERS:
        if found := form.fullmatch(text):
            try:
                time_ns = read(found)
            except ValueError as error:
                raise ValueError(f"{text!r} is not a time: {error}") from None
            if not -(2**63) < time_ns < 2**63:
                raise ValueError(f"{text!r} is not a time that can be kept: the years 1678 to 2261 can")
            return time_ns
    if _DAY_OR_MONTH_FIRST.fullmatch(text):
        raise ValueError(f"{text!r} may begin with the day or with the month: write it as 2016-09-01 19:18")
    if text.isascii() and text.isdecimal():
        raise ValueError(f"{text!r} is not a time: seconds since 1970 are written E:{text}, a day 20160901")
    raise ValueError(f"{text!r} is not a time: write for instance {FORMS}")


def _midnight(year: int, month: int = 1, day: int = 1) -> int:
    return (date(year, month, day).toordinal() - _EPOCH_DAY) * DAY


def _fraction(digits: str | None, unit: int) -> int:
    """Give so much of a unit (ns) as the digits behind the point say, rounded to ns."""
    return (2 * int(digits) * unit + 10 ** len(digits)) // (2 * 10 ** len(digits)) if digits else 0


def _calendar(found: re.Match[str]) -> int:
    year, month, day, hour, minute, second = (
        int(found[part] or 0) for part in ("year", "month", "day", "hour", "minute", "second")
    )
    fraction = _fraction(found["fraction"], SECOND)
    midnight = _midnight(year, month, day)
    if hour == 24 and not (minute or second or fraction):
        return midnight + DAY - _offset(found["zone"])
    datetime(year, month, day, hour, minute, second)
    return midnight + (hour * 3600 + minute * 60 + second) * SECOND + fraction - _offset(found["zone"])


def _offset(zone: str | None) -> int:
    """Give ns east of UTC."""
    if not zone or zone.upper() in ("Z", "UTC"):
        return 0
    hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or 0)
    if hours > 18 or minutes > 59:
        raise ValueError(f"{zone} is no offset from UTC")
    return (hours * 3600 + minutes * 60) * SECOND * (-1 if zone[0] == "-" else 1)


def _year(found: re.Match[str]) -> int:
    year = int(found[1])
    return _midnight(year) + _fraction(found[2], _days(year) * DAY)


def _days(year: int) -> int:
    return date(year, 12, 31).timetuple().tm_yday


def _year_day(found: re.Match[str]) -> int:
    """Read a day of the year; with a fraction of two digits it is rounded to the hour, with another to the minute."""
    year, day = int(found[1]), int(found[2])
    if not 1 <= day <= _days(year):
        raise ValueError(f"the year {year} has no day {day}")
    step = (3600 if len(found[3] or "") == 2 else 60) * SECOND
    into = _fraction(found[3], DAY)
    return _midnight(year) + (day - 1) * DAY + (2 * into + step) // (2 * step) * step


def _week(found: re.Match[str]) -> int:
    return (date.fromisocalendar(int(found[1]), int(found[2]), 1).toordinal() - _EPOCH_DAY) * DAY


def _quarter(found: re.Match[str]) -> int:
    return _midnight(int(found[1])) + (_QUARTERS[int(found[2]) - 1] - 1) * DAY


def _since_1970(found: re.Match[str]) -> int:
    unit = SECOND // 1000 if found[1] else SECOND
    return (int(found[3]) * unit + _fraction(found[4], unit)) * (-1 if found[2] else 1)


_READERS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], int]], ...] = (
    (_CALENDAR, _calendar),
    (_COMPACT, _calendar),
    (_YEAR, _year),
    (_YEAR_DAY, _year_day),
    (_WEEK, _week),
    (_QUARTER, _quarter),
    (_SINCE_1970, _since_1970),
)
