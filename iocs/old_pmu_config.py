"""The old PMU logger's configuration file (`PMU2CSV_config.txt`): recognised, and said in the words of a site file."""

import json
from pathlib import Path

KEYS = (
    "pmu ip",
    "pmu number",
    "pmu port",
    "csv name",
    "csv directory",
    "time significant figures",
    "values significant figures",
    "write every x seconds",
    "new file every x seconds",
)
"""Its nine keys; its own documentation spells some of them differently, so case and one plural do not matter."""


def translate(path: Path) -> str | None:
    """Give what to write into a site file in place of an old configuration: itself a whole, valid site file.

    None if the file is not an old configuration, or cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    values = {}
    for line in text.splitlines():
        key, comma, value = line.partition(",")
        key = " ".join(key.lower().split()).replace("value significant", "values significant")
        if comma and key in KEYS:
            values[key] = value.strip()
    if "pmu ip" not in values or "pmu number" not in values:
        return None
    return _site_file(path, values)


def _site_file(path: Path, values: dict[str, str]) -> str:
    def number(key: str, default: int, least: int, most: int) -> str:
        text = values.get(key, str(default))
        if text.isascii() and text.isdigit() and least <= int(text) <= most:
            return str(int(text))
        return f"{default}  # the old file has {json.dumps(text)}; a number from {least} to {most} is needed"

    # The old program took all blanks out of these two. JSON's strings are TOML's, too.
    address, name = (values.get(key, "").replace(" ", "") for key in ("pmu ip", "csv name"))
    directory = values.get("csv directory", "").replace("\\", "/").rstrip("/")
    return f"""# {json.dumps(str(path))} is a configuration of the old PMU logger.
# In its place, write this into site.toml, and check it: python -m iocs check site.toml

[site]
name = "lab"
prefix = "LAB:"

[[device]]
name = "PMU"
type = "pmu"
link = {json.dumps(f"tcp://{address}:" + number("pmu port", 4712, 1, 65535).split()[0])}
idcode = {number("pmu number", 1, 1, 65534)}
angle = "rad"  # as the old files have it; "deg" is the default here

[archive.csv]
name = {json.dumps(name or "PMU_")}
directory = {json.dumps(directory or "OutputData")}
time_digits = {number("time significant figures", 13, 10, 19)}
value_digits = {number("values significant figures", 7, 1, 17)}
write_every = {number("write every x seconds", 5, 1, 3600)}
new_file_every = {number("new file every x seconds", 3600, 1, 10**9)}
"""
