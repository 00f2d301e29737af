"""Write the generated pages of docs/reference: `python docs/generate.py` (a test checks that they are up to date)."""

import json
from pathlib import Path
from typing import Any

from archiver import status
from drivers.c37118.simulated_stream import SimulatedStream
from iocs import config
from iocs.ca import statistics
from iocs.device import COMMON
from iocs.pmu import PMU, PmuSettings, shape_of
from iocs.signals import Kind, Signal

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- made by docs/generate.py; do not edit -->\n\n"


def pages() -> dict[str, str]:
    """Give the text of each page by file name."""
    return {
        "archiver.md": archiver_page(),
        "pmu.md": pmu_page(),
        "server.md": server_page(),
        "site-file.md": site_page(),
    }


def pmu_page() -> str:
    """PVs of a PMU, with the channels of the simulated one."""
    settings = PmuSettings(name="PMU", type="pmu", link="tcp://192.168.0.20", idcode=1)
    own = PMU.signals(settings, shape_of(SimulatedStream().configuration()))
    always = {signal.name for signal in PMU.signals(settings, None)}
    parts = [
        NOTE + "# PVs of a PMU\n",
        "Names stand after the site's prefix and the device's name: `LAB:PMU:FREQ`.\n",
        "## What every PMU has\n",
        table([signal for signal in own if signal.name in always]),
        "## Channels, as the example's PMU has them\n",
        "A phasor is two PVs, an analog one, a digital word one and one for each bit that has a name.\n",
        table([signal for signal in own if signal.name not in always]),
        "## What every device has\n",
        table(list(COMMON)),
        "`ROW` holds the columns marked so, every frame: see [explanation](../explanation/truth.md).\n",
    ]
    return "\n".join(parts)


def archiver_page() -> str:
    """PVs in which the archiver tells about itself."""
    parts = [
        NOTE + "# PVs of the archiver\n",
        "Names stand after the site's prefix and `ARC:`, e.g. `LAB:ARC:RATE`. They are posted once a second, `STATUS`",
        "every five seconds. Of each store holds at every moment: SEEN = WRITTEN + WAITING + DROPPED. `STATUS` has the",
        "same, and the counts of each PV, as JSON.\n",
        table(list(status.OWN)),
        "## Of each store\n",
        "Here those of the CSV files; those of an InfluxDB begin with `INFLUX:`.\n",
        table(list(status.signals_of("csv"))),
    ]
    return "\n".join(parts)


def server_page() -> str:
    """PVs in which a server tells about itself."""
    parts = [
        NOTE + "# PVs of the server itself\n",
        "Names stand after the site's prefix and `IOC:`, e.g. `LAB:IOC:HEARTBEAT`; for a process that runs part of the",
        "devices (`--only`, `--except`), or where another site has the same prefix, after `IOC:` and the names of its",
        "devices joined by `_`, e.g. `LAB:IOC:HV:HEARTBEAT`.",
        "They are posted once a second; texts longer than 39 bytes are whole as `NAME.VAL$`.\n",
        table(list(statistics.SIGNALS)),
        "There is no `SYSRESET`: [why](../explanation/for-epics-people.md).\n",
    ]
    return "\n".join(parts)


def table(signals: list[Signal]) -> str:
    """A table of signals."""
    lines = ["| PV | type | unit | in ROW | description |", "|---|---|---|---|---|"]
    for signal in signals:
        kind = signal.kind.value
        if signal.kind is Kind.ENUM:
            kind = ", ".join(f"{number} = {state}" for number, state in enumerate(signal.states))
        kind += " (put: " + signal.level.value + ")" if signal.writable else ""
        lines.append(f"| `{signal.name}` | {kind} | {signal.unit} | {'x' if signal.row else ''} | {signal.doc} |")
    return "\n".join(lines) + "\n"


def site_page() -> str:
    """All keys of the site file, from its schema."""
    schema = json.loads(config.schema())
    definitions = schema["$defs"]
    parts = [NOTE + "# The site file\n"]
    parts.append("One TOML file; unknown keys are refused. Relative paths count from its folder.\n")
    places = [("[site]", "SiteTable"), ("[access]", "AccessTable"), ("[archive]", "ArchiveTable")]
    places += [("[archive.csv]", "CsvTable"), ("[archive.influx]", "InfluxTable")]
    places += [('[archive.influx.point."PATTERN"]', "PointTable"), ("[serve]", "ServeTable")]
    places.append(("[notify]", "NotifyTable"))
    places += [(f'[[device]] with type = "{name}"', f"device.{name}") for name in sorted(config.installed_kinds())]
    places += [('alarms."NAME" of a device', "AlarmTable")]
    for heading, name in places:
        parts += [f"## `{heading}`\n", keys(definitions[name])]
    return "\n".join(parts)


def keys(definition: dict[str, Any]) -> str:
    """A table of the keys of one table."""
    required = definition.get("required", [])
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for key, about in definition["properties"].items():
        default = "needed" if key in required else f"`{json.dumps(about.get('default'))}`"
        lines.append(f"| `{key}` | {default} | {about.get('description', about.get('const', ''))} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")
