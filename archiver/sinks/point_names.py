"""Which measurement, tags and field a value has in InfluxDB (pure): our own names, or those that the site file gives.

`picosec` are the names and units that the gas and HV scripts of that experiment wrote, so that its panels go on.
"""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from iocs.archive_tables import PointTable

PICOSEC: dict[str, PointTable] = {
    pattern: PointTable.model_validate(table)
    for pattern, table in {
        "*:TEMP": {
            "bucket": "testbucket",
            "measurement": "Temperature [K]",
            "tags": {"location": "Picosec gas"},
            "field": "val",
            "offset": 273.15,
        },
        "*:PRES": {
            "bucket": "testbucket",
            "measurement": "Pressure [Pa]",
            "tags": {"location": "Picosec gas"},
            "field": "val",
            "scale": 100.0,
        },
        "*:RH": {
            "bucket": "testbucket",
            "measurement": "Humidity [RH]",
            "tags": {"location": "Picosec gas"},
            "field": "val",
        },
        "*:GAS": {
            "bucket": "testbucket",
            "measurement": "VOC [Ohm]",
            "tags": {"location": "Picosec gas"},
            "field": "val",
        },
        **{
            f"*:CH*:{signal}": {
                "bucket": "HV",
                "measurement": "HV",
                "tags": {"Board": "{board}", "Channel": "{channel}"},
                "field": field,
            }
            for signal, field in (("IMON", "IMon"), ("VMON", "VMon"), ("ISET", "ISet"), ("VSET", "VSet"))
        },
    }.items()
}


@dataclass(frozen=True, slots=True)
class Name:
    """Where one quantity goes.

    Attributes:
        bucket: empty for the site's own.
        head: measurement and tags, escaped.
        field: escaped.
        scale, offset: value in the store = value x scale + offset.
    """

    bucket: str
    head: str
    field: str
    scale: float
    offset: float


class Names:
    """The names that a site file gives; the last pattern that fits counts."""

    def __init__(self, preset: str, points: dict[str, PointTable]) -> None:
        self._points = {**(PICOSEC if preset == "picosec" else {}), **points}

    def __bool__(self) -> bool:
        return bool(self._points)

    def table(self, name: str) -> tuple[PointTable, dict[str, str]] | None:
        """Give what the site file says of a PV (its name without the site's prefix), and its tags; None if nothing."""
        fits = [table for pattern, table in self._points.items() if fnmatchcase(name, pattern)]
        if not fits:
            return None
        table = fits[-1]
        channel = re.search(r":CH(\d+):", name)
        board = re.search(r":B(?:OARD)?(\d+):", name)
        words = {"channel": channel[1] if channel else "", "board": board[1] if board else "0"}
        return table, {key: value.format_map(words) for key, value in table.tags.items()}

    def find(self, name: str) -> Name | None:
        """Give the name that is given to a PV (its name without the site's prefix), None where it has our own."""
        found = self.table(name)
        if found is None:
            return None
        table, tags = found
        return Name(table.bucket, head(table.measurement, tags), key(table.field), table.scale, table.offset)


def head(measurement: str, tags: dict[str, str]) -> str:
    """Write measurement and tags; empty tags are left out, as line protocol has none."""
    return measurement_text(measurement) + "".join(
        f",{key(name)}={key(value)}" for name, value in sorted(tags.items()) if value
    )


def measurement_text(text: str) -> str:
    """Escape a measurement. One that begins with # gets a backslash before it: such a line would be a comment."""
    return ("\\" if text.startswith("#") else "") + text.replace(",", "\\,").replace(" ", "\\ ")


def key(text: str) -> str:
    """Escape a tag, its value, or a field's name."""
    return text.replace(",", "\\,").replace("=", "\\=").replace(" ", "\\ ")
