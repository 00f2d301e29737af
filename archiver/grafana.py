"""Pieces of a Grafana dashboard as plain data (pure), in the form that Grafana 9 and later import."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Any

from iocs.signals import Alarms, Severity, Signal

SOURCE = {"type": "influxdb", "uid": "${DS_LAB}"}
COLOURS = {Severity.NO_ALARM: "green", Severity.MINOR: "#EAB839", Severity.MAJOR: "red", Severity.INVALID: "purple"}
WIDTH = 24  # of a dashboard, in its own unit
BRIDGED = 30_000  # ms; a gap that is longer is drawn as one

UNITS = {
    "V": "volt",
    "kV": "kvolt",
    "A": "amp",
    "mA": "mamp",
    "Hz": "hertz",
    "Ohm": "ohm",
    "W": "watt",
    "degC": "celsius",
    "K": "kelvin",
    "hPa": "pressurehpa",
    "%": "percent",
    "deg": "degree",
    "s": "s",
    "ms": "ms",
    "us": "µs",
    "ns": "ns",
    "B": "bytes",
    "1": "none",
    "": "none",
}


def unit(text: str) -> str:
    """Give Grafana's word for a unit; units that it does not know stand behind the value as they are."""
    return UNITS.get(text, f"suffix: {text}")


def steps(alarms: Alarms | None) -> list[dict[str, Any]]:
    """Give the thresholds of alarm limits: the colour from each value on."""
    found: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if alarms is None:
        return found
    below = [("red", alarms.lolo), ("#EAB839", alarms.low)]
    known = [(colour, limit) for colour, limit in below if limit is not None]
    for place, (colour, limit) in enumerate(known):
        found[-1]["color"] = colour
        after = known[place + 1][0] if place + 1 < len(known) else "green"
        found.append({"color": after, "value": limit})
    for colour, limit in (("#EAB839", alarms.high), ("red", alarms.hihi)):
        if limit is not None:
            found.append({"color": colour, "value": limit})
    return found


def target(query: str, letter: str, form: str = "time_series") -> dict[str, Any]:
    """Give one query of a panel; its series are named as its columns."""
    return {
        "refId": letter,
        "datasource": SOURCE,
        "rawQuery": True,
        "query": query,
        "resultFormat": form,
        "alias": "$col",
    }


def letters(number: int) -> list[str]:
    """Give names of queries: A ... Z, AA ..."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return [("" if n < 26 else alphabet[n // 26 - 1]) + alphabet[n % 26] for n in range(number)]


def place(x: int, y: int, width: int, height: int) -> dict[str, int]:
    """Give where a panel lies."""
    return {"x": x, "y": y, "w": width, "h": height}


def row(title: str, where: dict[str, int], folded: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """Give a heading, and what is folded under it."""
    return {"type": "row", "title": title, "collapsed": bool(folded), "gridPos": where, "panels": list(folded)}


def time_series(
    title: str, queries: Sequence[str], signals: Sequence[Signal], where: dict[str, int], hidden: str
) -> dict[str, Any]:
    """Give a plot of numbers that share a unit.

    Args:
        title: over the plot.
        queries: what it shows.
        signals: of the queries, for unit, digits and limits.
        where: place.
        hidden: name of the series of marks, which part the lines and are not drawn.
    """
    first = signals[0]
    limits = {signal.alarms for signal in signals}
    shared = limits.pop() if len(limits) == 1 else None
    overrides = [
        _override(signal.name, "thresholds", {"mode": "absolute", "steps": steps(signal.alarms)})
        for signal in signals
        if shared is None and signal.alarms is not None
    ]
    overrides.append(_override(hidden, "custom.hideFrom", {"legend": True, "tooltip": True, "viz": True}))
    custom = {
        "drawStyle": "line",
        "lineInterpolation": "linear" if first.row else "stepAfter",
        "spanNulls": BRIDGED if first.row else False,
        "showPoints": "auto",
        "thresholdsStyle": {"mode": "dashed" if shared is not None else "off"},
    }
    defaults = {
        "unit": unit(first.unit),
        "decimals": min(max(signal.precision for signal in signals), 6),
        "custom": custom,
        "color": {"mode": "palette-classic"},
        "thresholds": {"mode": "absolute", "steps": steps(shared)},
    }
    return {
        "type": "timeseries",
        "title": title,
        "datasource": SOURCE,
        "gridPos": where,
        "fieldConfig": {"defaults": defaults, "overrides": overrides},
        "options": {
            "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "min", "max"]},
            "tooltip": {"mode": "multi"},
        },
        "targets": [target(query, letter) for query, letter in zip(queries, letters(len(queries)), strict=True)],
    }


def state_timeline(
    title: str, queries: Sequence[str], signals: Sequence[Signal], where: dict[str, int]
) -> dict[str, Any]:
    """Give a timeline of states, each in the colour of its alarm severity."""
    overrides = [_override(signal.name, "mappings", [_mapping(signal)]) for signal in signals]
    return {
        "type": "state-timeline",
        "title": title,
        "datasource": SOURCE,
        "gridPos": where,
        "fieldConfig": {
            "defaults": {"custom": {"fillOpacity": 75, "lineWidth": 0, "spanNulls": True}},
            "overrides": overrides,
        },
        "options": {"mergeValues": True, "showValue": "auto", "rowHeight": 0.9, "legend": {"showLegend": False}},
        "transformations": [
            {"id": "merge", "options": {}},
            {"id": "sortBy", "options": {"sort": [{"field": "Time"}]}},
        ],
        "targets": [
            target(query, letter, "table") for query, letter in zip(queries, letters(len(queries)), strict=True)
        ],
    }


def annotation(name: str, query: str) -> dict[str, Any]:
    """Give marks in all plots for texts that changed."""
    return {
        "name": name,
        "datasource": SOURCE,
        "enable": True,
        "iconColor": "red",
        "query": query,
        "textColumn": "text",
        "titleColumn": "pv",
    }


def dashboard(
    title: str, uid: str, panels: list[dict[str, Any]], annotations: Iterable[dict[str, Any]]
) -> dict[str, Any]:
    """Give a dashboard that asks for its data source when it is imported."""
    asked = {
        "name": "DS_LAB",
        "label": "InfluxDB of the archive",
        "description": "Query language InfluxQL; the database is the bucket of [archive.influx]",
        "type": "datasource",
        "pluginId": "influxdb",
        "pluginName": "InfluxDB",
    }
    return {
        "__inputs": [asked],
        "__requires": [
            {"type": "grafana", "id": "grafana", "name": "Grafana", "version": "9.0.0"},
            {"type": "datasource", "id": "influxdb", "name": "InfluxDB", "version": "1.0.0"},
        ],
        "id": None,
        "uid": uid,
        "title": title,
        "tags": ["countinghouse"],
        "timezone": "browser",
        "schemaVersion": 37,
        "version": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "graphTooltip": 1,
        "annotations": {"list": list(annotations)},
        "panels": _numbered(panels, count(1)),
    }


def _numbered(panels: list[dict[str, Any]], numbers: Iterator[int]) -> list[dict[str, Any]]:
    return [
        {"id": next(numbers), **panel, **({"panels": _numbered(panel["panels"], numbers)} if "panels" in panel else {})}
        for panel in panels
    ]


def _mapping(signal: Signal) -> dict[str, Any]:
    severities = signal.state_severities or (Severity.NO_ALARM,) * len(signal.states)
    alarming = any(severities)
    options: dict[str, Any] = {}
    for number, (state, severity) in enumerate(zip(signal.states, severities, strict=True)):
        shown = {"index": number, "text": state, **({"color": COLOURS[severity]} if alarming else {})}
        options[state] = options[str(number)] = shown  # a PV has its label, a column its number
    return {"type": "value", "options": options}


def _override(name: str, key: str, value: Any) -> dict[str, Any]:
    return {"matcher": {"id": "byName", "options": name}, "properties": [{"id": key, "value": value}]}
