"""Calibrated rows as InfluxDB line protocol (pure): one point a row.

Measurement and tags (`station`, `instrument`) are the same for all points of a station, so that a row that is written
again is the same point. A parameter is a field of its name; its sensor's serial number is the field `T1_serial`, as a
tag would begin another series when a sensor is swapped. What is missing or not covered is absent.
"""

from typing import Any

import numpy as np

from archiver.sinks.point_names import head
from ingest.cr1000.columns import Chunk, Column
from ingest.cr1000.text import TEXT, Text

MEASUREMENT, INSTRUMENT = "met", "XM1"
MOST = 2048  # rows that are written together: a point is long


def tags(station: str) -> dict[str, str]:
    """Give the tags of a station's points."""
    return {"station": station, "instrument": INSTRUMENT}


def lines(chunk: Chunk, start: str, text: Text = TEXT) -> bytes:
    """Write rows as points.

    Args:
        chunk: the rows.
        start: measurement and tags, as `start_of` gives them.
        text: who writes.
    """
    if len(chunk) > MOST:
        return b"".join(lines(chunk.take(slice(at, at + MOST)), start, text) for at in range(0, len(chunk), MOST))
    there = np.zeros(len(chunk), bool)
    for column in chunk.columns:
        there |= _good(column)
    if not there.any():
        return b""
    if not there.all():
        chunk = chunk.take(np.flatnonzero(there))
    fields = []
    for column in chunk.columns:
        fields.append(_field(column, text))
        if column.serials:
            fields.append(_serials(column, text))
    joined = text.lines(fields, ",", None)
    return text.encoded(text.lines([f"{start} ", joined, " ", text.whole(chunk.time_ns), "\n"], "", ""))


def start_of(station: str, measurement: str = MEASUREMENT) -> str:
    """Give measurement and tags of a station, escaped."""
    return head(measurement, tags(station))


def _good(column: Column) -> np.ndarray:
    """Tell where there is a value, bool[n]."""
    if isinstance(column.values, list):
        return np.array([bool(value) for value in column.values], bool)
    return ~np.isnan(column.values)


def _field(column: Column, text: Text) -> Any:
    """Give a column as fields, None where it is absent."""
    if not isinstance(column.values, list):
        return text.labelled(f"{column.name}=", text.numbers(column.values))
    known: dict[str, str | None] = {"": None}
    for value in set(column.values) - {""}:
        known[value] = f"{column.name}={_text(value)}"
    return text.texts([known[value] for value in column.values])


def _serials(column: Column, text: Text) -> Any:
    known = [*(f"{column.name}_serial={_text(serial)}" for serial in column.serials), None]
    return text.coded(np.where(_good(column), column.serial, -1), known)


def _text(value: str) -> str:
    value = " ".join(value.splitlines()).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{value}"'
