"""Reading back from InfluxDB, by InfluxQL: version 1, and version 2 by its interface for version 1."""

import http.client
import json
from base64 import b64encode
from typing import Any
from urllib.parse import urlencode, urlsplit

from archiver.csv_history import unescaped
from archiver.influxql import name, string
from archiver.series import Point, status_of
from iocs.archive_tables import InfluxTable
from iocs.signals import Severity

FIELDS = ("value", "text", "array", "length", "event", "missing", "severity", "status")


def query(table: InfluxTable, text: str) -> list[dict[str, Any]]:
    """Ask the server; gives each point as a table of what it has, `time` in ns.

    Raises:
        OSError: there is no answer, or the server refuses; the text says why.
        LookupError: the token is not to be had.
    """
    url, token = urlsplit(table.url), table.token()
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=table.timeout)
    words = {"db": table.bucket, "epoch": "ns", "q": text}
    if table.version == 2:
        words["org"] = table.org
    headers = {}
    if token and table.version == 2:
        headers["Authorization"] = f"Token {token}"
    elif token:
        headers["Authorization"] = "Basic " + b64encode(token.encode()).decode()
    try:
        connection.request("GET", f"{url.path}/query?{urlencode(words)}", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
    except http.client.HTTPException as error:
        raise OSError(f"{table.url}: {type(error).__name__} {error}") from error
    finally:
        connection.close()
    try:
        told = json.loads(body)
    except ValueError:
        raise OSError(f"{table.url} answers {answer.status}: {body[:200]!r}") from None
    errors = [told.get("error"), told.get("message"), *(result.get("error") for result in told.get("results", ()))]
    if any(errors):
        raise OSError(f"{table.url} answers {answer.status}: {next(filter(None, errors))}")
    found = []
    for result in told.get("results", ()):
        for series in result.get("series", ()):
            columns = series["columns"]
            found += [dict(zip(columns, values, strict=True)) for values in series["values"]]
    return found


def samples(table: InfluxTable, pv: str, start_ns: int, end_ns: int) -> list[Point]:
    """Give a PV's records from a time to another, and the last one before it.

    Raises:
        OSError, LookupError: as `query`.
    """
    fields = ", ".join(name(field) for field in FIELDS)
    found = query(table, f"SELECT {fields} FROM /.*/ WHERE pv = {string(pv)} AND {_within(start_ns, end_ns)}")
    before = f"WHERE pv = {string(pv)} AND time < {start_ns} ORDER BY time DESC LIMIT 1"
    found += query(table, f"SELECT {fields} FROM /.*/ {before}")
    return [_sample(point) for point in found]


def column(table: InfluxTable, row: str, column_name: str, start_ns: int, end_ns: int) -> list[Point]:
    """Give one column of a row from a time to another, and its last value before it.

    Raises:
        OSError, LookupError: as `query`.
    """
    select = f"SELECT {name(column_name)} FROM /.*/ WHERE pv = {string(row)}"
    found = query(table, f"{select} AND {_within(start_ns, end_ns)}")
    found += query(table, f"{select} AND time < {start_ns} ORDER BY time DESC LIMIT 1")
    return [Point(point["time"], float(point[column_name]), Severity.NO_ALARM, "NO_ALARM") for point in found]


def _sample(point: dict[str, Any]) -> Point:
    severity = Severity(int(point["severity"] or 0))
    if point["event"] is not None:
        missing = f" {int(point['missing'])}" if point["missing"] else ""
        return Point(point["time"], None, severity, f"{point['event']}{missing}")
    return Point(point["time"], _value(point), severity, status_of(point["status"] or 0))


def _value(point: dict[str, Any]) -> float | str:
    if point["value"] is not None:
        return float(point["value"])
    if point["array"] is not None:
        return point["array"]
    if point["length"] is not None:
        return f"[{int(point['length'])} elements, too long for InfluxDB]"
    text = point["text"] or ""
    return float(text) if text in ("NaN", "inf", "-inf") else unescaped(text)


def _within(start_ns: int, end_ns: int) -> str:
    return f"time >= {start_ns} AND time <= {end_ns}"
