"""The old PMU logger's configuration file (`PMU2CSV_config.txt`): recognised, and said in the words of a site file."""

import re
from pathlib import Path

# old key -> (table, our key); the two that its own documentation spells differently are matched without regard to case
KEYS = {
    "pmu ip": ("device", "link"),
    "pmu number": ("device", "idcode"),
    "pmu port": ("device", "link"),
    "csv name": ("archive.csv", "name"),
    "csv directory": ("archive.csv", "directory"),
    "time significant figures": ("archive.csv", "time_digits"),
    "values significant figures": ("archive.csv", "value_digits"),
    "value significant figures": ("archive.csv", "value_digits"),
    "write every x seconds": ("archive.csv", "write_every"),
    "new file every x seconds": ("archive.csv", "new_file_every"),
}


def translate(path: Path) -> str | None:
    """Give what to write into a site file in place of an old configuration, None if the file is not one.

    Raises:
        OSError is not raised: a file that cannot be read is not an old configuration.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    values = {}
    for line in text.splitlines():
        key, comma, value = line.partition(",")
        if comma and key.strip().lower() in KEYS:
            values[key.strip().lower()] = value.strip()
    if "pmu ip" not in values or "pmu number" not in values:
        return None
    return _site_file(
        path, {key.replace("value significant", "values significant"): value for key, value in values.items()}
    )


def _site_file(path: Path, values: dict[str, str]) -> str:
    def number(key: str, default: str) -> str:
        text = values.get(key, default)
        return text if re.fullmatch(r"\d+(\.\d+)?", text) else f"{default}  # the old file says {text!r}"

    name, directory = values.get("csv name", "PMU_"), values.get("csv directory", "OutputData/")
    return f"""{path} is a configuration of the old PMU logger. In its place, write into site.toml:

[site]
name = "lab"
prefix = "LAB:"

[[device]]
name = "PMU"
type = "pmu"
link = "tcp://{values["pmu ip"]}:{number("pmu port", "4712")}"
idcode = {number("pmu number", "1")}
angle = "rad"                     # as the old files have it; "deg" is the default here

[archive.csv]
name = "{name}"
directory = "{directory.rstrip("/") or "."}"
time_digits = {number("time significant figures", "13")}
value_digits = {number("values significant figures", "7")}
write_every = {number("write every x seconds", "5")}
new_file_every = {number("new file every x seconds", "3600")}
"""
