"""The `json:` protocol of the Phoebus Data Browser (pure): lists, names and samples as its reader wants them.

Source: the reader's own rules (org.phoebus.archive.reader.json): `type` stands before `value`, unknown fields are
refused, `quality`, `severity`, `status`, `time`, `type`, `value` are needed, NaN and infinity are text.
"""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from archiver.series import MARKS, Series
from iocs.signals import Kind, Severity, Signal

LEVELS = {severity: "OK" if severity is Severity.NO_ALARM else severity.name for severity in Severity}
KEY = 1  # there is one archive


def archives(site: str) -> list[dict[str, Any]]:
    """Give the list of archives."""
    return [{"key": KEY, "name": site or "archive", "description": f"Countinghouse archive of {site or 'this host'}"}]


def matching(names: list[str], pattern: str) -> list[str]:
    """Give the names that fit a pattern of * and ?."""
    return [name for name in names if fnmatchcase(name, pattern.replace("[", "[[]"))]


def samples(series: Series, signal: Signal | None) -> Iterator[dict[str, Any]]:
    """Give each record as a sample."""
    number = signal is None or signal.kind is not Kind.ENUM
    records = zip(series.time_ns.tolist(), series.value.tolist(), series.severity.tolist(), series.status, strict=True)
    for time_ns, value, severity, status in records:
        mark = status.split(" ", 1)[0] in MARKS
        head = _head(time_ns, severity, status, has_value=not mark)
        if isinstance(value, str):
            yield {**head, "quality": "Original", "type": "string", "value": [value]}
        elif signal is not None and not number and value == value:
            states = {"type": "enum", "states": list(signal.states)}
            yield {**head, "quality": "Original", "metaData": states, "type": "enum", "value": [int(value)]}
        else:
            meta = {"metaData": _numeric(signal)} if number else {}
            yield {**head, "quality": "Original", **meta, "type": "double", "value": [_number(value)]}


def binned(series: Series, signal: Signal | None, start_ns: int, end_ns: int, count: int) -> Iterator[dict[str, Any]]:
    """Give at most so many samples: mean, least and greatest of each part of the time; before them what held before."""
    early = int((series.time_ns < start_ns).sum()) if count > 1 else 0
    yield from samples(series.part(slice(early)), signal)
    width = -((start_ns - end_ns - 1) // (count - early))  # ns, rounded up: no rest makes a bin of its own
    bins = series.part(slice(early, None)).every(width / 1e9, start_ns)
    columns = (bins.time_ns, bins.mean, bins.least, bins.greatest)
    for time_ns, mean, least, greatest in zip(*(column.tolist() for column in columns), strict=True):
        yield {
            **_head(time_ns + width // 2, Severity.NO_ALARM, "NO_ALARM", has_value=True),
            "quality": "Interpolated",
            "metaData": _numeric(signal),
            "type": "minMaxDouble",
            "value": [mean],
            "minimum": least,
            "maximum": greatest,
        }


def _head(time_ns: int, severity: int, status: str, *, has_value: bool) -> dict[str, Any]:
    level = {"level": LEVELS[Severity(severity)], "hasValue": has_value}
    return {"time": time_ns, "severity": level, "status": status}


def _numeric(signal: Signal | None) -> dict[str, Any]:
    unit, precision, display, alarms = "", 3, (None, None), None
    if signal is not None:
        unit, precision, alarms = signal.unit, signal.precision, signal.alarms
        display = signal.limits or (None, None)
    limits = (alarms.low, alarms.high, alarms.lolo, alarms.hihi) if alarms else (None,) * 4
    names = ("displayLow", "displayHigh", "warnLow", "warnHigh", "alarmLow", "alarmHigh")
    told = {name: "NaN" if limit is None else limit for name, limit in zip(names, (*display, *limits), strict=True)}
    return {"type": "numeric", "precision": precision, "units": unit, **told}


def _number(value: float) -> float | str:
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return value
