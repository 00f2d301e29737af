"""`getData.json` of the Archiver Appliance (pure), for the programs and Grafana plugins that ask an appliance."""

import re
from typing import Any

from archiver.series import MARKS, SECOND, Bins, Series
from iocs.signals import Signal, Status

OPERATORS = ("mean", "min", "max", "count")
_MOST_SECONDS = 10**9  # more than there is time to bin; ns of it still fit 64 bits
_BINNED = re.compile(r"(\w+?)_(\d+)\((.+)\)")


def asked(pv: str) -> tuple[str, str, int]:
    """Read `mean_60(NAME)`: gives the name, the operator and its seconds; a bare name has none and 0.

    Raises:
        ValueError: there is no such operator.
    """
    found = _BINNED.fullmatch(pv)
    if not found:
        if "(" in pv:
            there = ", ".join(OPERATORS)
            raise ValueError(f"{pv!r}: write NAME, or an operator as in mean_60(NAME); there are {there}")
        return pv, "", 0
    if found[1] not in OPERATORS or not 0 < int(found[2]) <= _MOST_SECONDS:
        there = ", ".join(OPERATORS)
        raise ValueError(
            f"there is no operator {found[1]}_{found[2]}; there are {there}, each with 1 to {_MOST_SECONDS} seconds"
        )
    return found[3], found[1], int(found[2])


def told(series: Series, signal: Signal | None, operator: str, seconds: int) -> list[dict[str, Any]]:
    """Give one PV's answer."""
    meta = {"name": series.pv}
    if signal is not None:
        meta |= {"EGU": signal.unit, "PREC": str(signal.precision)}
    data = _binned(series.every(seconds), operator) if operator else _records(series)
    return [{"meta": meta, "data": data}]


def _records(series: Series) -> list[dict[str, Any]]:
    """Give the values; marks are no values there, but fields of the value behind them."""
    data: list[dict[str, Any]] = []
    fields: dict[str, str] = {}
    records = zip(series.time_ns.tolist(), series.value.tolist(), series.severity.tolist(), series.status, strict=True)
    for time_ns, value, severity, status in records:
        mark = status.split(" ", 1)[0]
        if mark in MARKS:
            name = "cnxregainedepsecs" if mark == "CONNECTED" else "cnxlostepsecs"
            fields[name] = str(time_ns // SECOND)
            continue
        finite = isinstance(value, str) or value - value == 0
        point = {"val": value if finite else None, "severity": severity, "status": Status[status].value}
        data.append({**_time(time_ns), **point, **({"fields": fields} if fields else {})})
        fields = {}
    return data


def _binned(bins: Bins, operator: str) -> list[dict[str, Any]]:
    values = {"mean": bins.mean, "min": bins.least, "max": bins.greatest, "count": bins.count}[operator]
    return [
        {**_time(time_ns), "val": value, "severity": 0, "status": 0}
        for time_ns, value in zip(bins.time_ns.tolist(), values.tolist(), strict=True)
    ]


def _time(time_ns: int) -> dict[str, int]:
    return {"secs": time_ns // SECOND, "nanos": time_ns % SECOND}
