"""Write the generated pages of docs/reference: `python docs/generate.py` (a test checks that they are up to date)."""

import json
from pathlib import Path
from typing import Any

from archiver import status
from drivers.c37118.frames import FrameType
from drivers.c37118.simulated_pmu import SimulatedPmu
from drivers.c37118.simulated_stream import SimulatedStream
from drivers.caen_hv.simulated_unit import BOUNDS, FORMATS, LIMITS
from ingest.cr1000 import station_signals
from ingest.cr1000.tail import Job, looks
from iocs import config
from iocs.ca import statistics
from iocs.device import COMMON
from iocs.gas import Gas, GasSettings
from iocs.hv import HV
from iocs.hv.settings import HvSettings
from iocs.hv.shape import BoardShape, Range, to_plain
from iocs.pmu import PMU, PmuSettings
from iocs.pmu.device import shape_of
from iocs.pmu.signals import INSTALLATION
from iocs.scope import Oscilloscope
from iocs.scope_settings import ScopeSettings
from iocs.signals import Kind, Signal

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- made by docs/generate.py; do not edit -->\n\n"


def pages() -> dict[str, str]:
    """Give the text of each page by file name."""
    return {
        "archiver.md": archiver_page(),
        "gas.md": gas_page(),
        "hv.md": hv_page(),
        "met.md": met_page(),
        "pmu.md": pmu_page(),
        "scope.md": scope_page(),
        "server.md": server_page(),
        "site-file.md": site_page(),
    }


def gas_page() -> str:
    """PVs of a gas sensor."""
    settings = GasSettings(name="GAS", type="gas", link="tcp://192.168.0.21:4001")
    own = Gas.signals(settings, None)
    sketch = {signal.name for signal in own} - {signal.name for signal in Gas.signals(settings, "picosec")}
    parts = [
        NOTE + "# PVs of a gas sensor\n",
        "Names stand after the site's prefix and the device's name: `LAB:GAS:TEMP`.\n",
        table([signal for signal in own if signal.name not in sketch]),
        "## With our own sketch\n",
        "[It](../../drivers/bme680/firmware/README.md) numbers its lines and tells how long it has been running.\n",
        table([signal for signal in own if signal.name in sketch]),
        "A format of one's own has the PVs of the quantities that its lines tell; `PERIOD` where the board is asked.\n",
        "## What they mean\n",
        *(f"* {text}" for text in GAS_MEANINGS),
        "",
        "## What every device has\n",
        table(list(COMMON)),
        "`ROW` holds the columns marked so, one frame for each reading: see [explanation](../explanation/truth.md).\n",
    ]
    return "\n".join(parts)


GAS_MEANINGS = (
    "One reading is one frame with one time stamp: the arrival of its line.",
    "A line that is not exactly right is refused whole, counted by reason (`REFUSED:...`) and shown (`LASTBAD`).",
    "A field without a value (`nan`, `inf`, `ovf`), and a gas resistance of 0 (the heater was not stable), makes its "
    "own PV INVALID and those that follow from it. With a checksum so does a value beyond the range.",
    "A change of more than 2 K, 500 Pa, 5 % or a factor of 1.5 from one reading to the next waits for a second reading "
    "that agrees (two of three), which is asked for soon; until then the PV stays as it was, and NaN is in `ROW`. "
    "Lines without a checksum begin so, too.",
    "`GAS` and `GASRATIO` are MINOR while the sensor warms up (`WARMUP`): `warmup` seconds from the board's reset, as "
    "its uptime tells, without one from the opening of the line. Alarm limits of the site file count as ever.",
    "All values are MINOR when the digits stand still (`FROZEN`).",
    "All PVs are INVALID when three requests in a row had no usable answer, `lost_after` seconds after the last good "
    "reading (default: three periods), and at once when the cable is pulled.",
    "`DEWPOINT` and `PPMV` by Sonntag's formula of 1990, over liquid water, -100 to 100 degC; `PPMV` is the mole "
    "fraction in the moist gas; the gas is taken for ideal. 3 % of humidity, the sensor's error, are 0.9 K of dew "
    "point at 50 % and 4 K at 10 %.",
    "`DENSITY` is (P / P0) (T0 / T) with `reference_pressure` and `reference_temperature` of the site file.",
    "`BASELINE` is kept over restarts. `SETBASELINE` takes the present `GAS`: in clean gas, once the sensor is warm.",
    "`PERIOD` counts from the put to the end of the process; the site file's `period` is what it begins with.",
)


def met_page() -> str:
    """PVs of a met station, with the variables of the shipped one."""
    station = Path(__file__).parent / "examples" / "station"
    job = Job([str(station / "ridge_TenMin.dat")], str(station / "config"), "ridge")
    told = next(told for told in looks(job) if not told.reading)
    own = station_signals.signals_of(station_signals.shape_of(told.variables))
    fixed = {signal.name for signal in station_signals.OWN}
    parts = [
        NOTE + "# PVs of a met station\n",
        "Names stand after the site's prefix and the device's name: `LAB:MET:T1`.\n",
        "## What every station has\n",
        table([signal for signal in own if signal.name in fixed]),
        "## Variables, as the example's station has them\n",
        "Each parameter that the [configuration](cr1000.md) declares for the newest row, in capitals, and the serial",
        "number of its sensor where one is declared.\n",
        table([signal for signal in own if signal.name not in fixed]),
        "## What they mean\n",
        *(f"* {text}" for text in MET_MEANINGS),
        "",
        "## What every device has\n",
        table(list(COMMON)),
    ]
    return "\n".join(parts)


MET_MEANINGS = (
    "Values are those of the newest row; their time stamp is the row's, in UTC (`utc_offset` of the site file).",
    "A value that is missing in that row is INVALID. `missing` of the site file names other numbers that mean so.",
    "When the newest row is too old, all values are INVALID with the status TIMEOUT, and `STALE` is MAJOR: three times "
    "the usual time from row to row and two looks, or `stale_after`. The station is still `ONLINE`: its file can be "
    "read, or its logger answers. A logger of which files come once a day needs a `stale_after` of its own.",
    "The station is lost when a logger does not answer or answers nonsense, and as long as there is no row at all.",
    "A file is followed over a roll (another file gets the name), a new header and a truncation; its last line counts "
    "once its end is written. A process of its own reads it, so that years of rows hold up nobody; `CATCHUP` tells.",
    "`ODD` counts what was odd in the rows, `NOTE` tells the last or the most frequent of it: repeated or late rows, "
    "record numbers that jump, cells that are no numbers, lines that are none, a header that changes.",
    "A changed configuration counts at the next look. `FAULTS` is MINOR while it has faults; its good parameters stay.",
    "With `link`, the logger is asked for its table by HTTP (`dataquery`). What comes is TOA5, and with `keep` every "
    "record goes into that file, once, over restarts of either side; without it only the newest is asked for.",
    "The files are the station's record: `python -m ingest.cr1000` writes them out, calibrated, as CSV or to InfluxDB. "
    "So the archiver records of a station that it is online, and none of its values a second time.",
)


def pmu_page() -> str:
    """PVs of a PMU, with the channels of the simulated one."""
    settings = PmuSettings(name="PMU", type="pmu", link="tcp://192.168.0.20", idcode=1, header=True)
    stream = SimulatedStream([SimulatedPmu("NORTH"), SimulatedPmu("SOUTH")], cfg3=True)
    two = PMU.signals(settings, shape_of(stream.configuration(FrameType.CFG3)))
    stream.pmus = [SimulatedPmu()]
    own = PMU.signals(settings, shape_of(stream.configuration(FrameType.CFG3)))
    place = {signal.name for signal in INSTALLATION}
    always = {signal.name for signal in PMU.signals(settings, None)}
    parts = [
        NOTE + "# PVs of a PMU\n",
        "Names stand after the site's prefix and the device's name: `LAB:PMU:FREQ`.\n",
        "## What every PMU has\n",
        table([signal for signal in own if signal.name in always]),
        "## Channels, as the example's PMU has them\n",
        "A phasor is two PVs, an analog one, a digital word one and one for each bit that has a name.\n",
        table([signal for signal in own if signal.name not in {*always, *place}]),
        "## What a PMU tells that knows CFG-3\n",
        table([signal for signal in own if signal.name in place]),
        "## The stations of a concentrator\n",
        "In a stream of several PMUs, the PVs of each stand under its name (at most 10 characters of it), and each has",
        "a row of its own; those of the link stand as they are. Two stations NORTH and SOUTH:\n",
        _names(two),
        "## What every device has\n",
        table(list(COMMON)),
        "`ROW` holds the columns marked so, every frame: see [explanation](../explanation/truth.md).\n",
    ]
    return "\n".join(parts)


def _names(signals: list[Signal]) -> str:
    """Signals in short: each group's under its station."""
    rows = {signal.row for signal in signals if signal.row}
    lines = []
    for row in sorted(rows):
        columns = [signal.name for signal in signals if signal.row == row]
        lines.append(f"* `{row}`: `{columns[0]}`, `{columns[1]}`, `{columns[2]}` ... `{columns[-1]}`")
    return "\n".join(lines) + "\n"


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


def hv_page() -> str:
    """PVs of a high-voltage supply, with the limits of a simulated one."""
    interlock = {"name": "gas", "pv": "LAB:GAS:HUMIDITY", "high": 5.0}
    given: dict[str, Any] = {"name": "HV", "type": "hv", "link": "tcp://192.168.0.10", "interlock": [interlock]}
    ramp = {"name": "stack", "channels": [0, 1, 2], "apart": 100.0}
    settings = HvSettings.model_validate(given | {"watchdog": {}, "ramp": [ramp]})
    spans = {name: Range(LIMITS[low], LIMITS[high], FORMATS[name][1]) for name, (low, high) in BOUNDS.items()}
    board = BoardShape(0, "R1470ET", "174", "1.08", (spans,) * 4)
    own = HV.signals(settings, to_plain((board,)))
    headings = ("CH0", "Supply", "Line", "Interlocks", "Ramps")
    groups = {group: [signal for signal in own if signal.group == group] for group in headings}
    groups["Interlocks"] = [signal for signal in groups["Interlocks"] if not signal.name.startswith("ILK2")]
    parts = [
        NOTE + "# PVs of a high-voltage supply\n",
        "Names stand after the site's prefix and the device's name: `LAB:HV:CH0:VSET`. With several boards on one line",
        "each has `B0:`, `B1:` ... before its own: `LAB:HV:B1:CH0:VSET`.\n",
        "Units are V, uA, V/s and s; precision and limits are what the unit tells of itself. What may be put (`DRVL`,",
        "`DRVH`) is the tightest of unit, MAXV, site file and VSOFTMAX or ISOFTMAX.\n",
        "## Each channel\n",
        table(groups["CH0"]),
        "A put is complete when the unit has confirmed it and reads it back; `ATTARGET` tells when the ramp is done.",
        "What is refused, and why: [safety](../explanation/high-voltage.md).\n",
        "## Each board\n",
        table(groups["Supply"]),
        "The bits of ALARM are those of boards with up to four channels; of larger ones their layout is not known.\n",
        "## The line\n",
        table(groups["Line"]),
        "## Interlocks\n",
        "`ILK1:`, `ILK2:` ... in the order of the site file, the [watchdog](../how-to/interlocks.md) last; here one",
        "that is called gas. `WATCHDOG` is there if the site file has a `[device.watchdog]` without a PV of its own.\n",
        table(groups["Interlocks"]),
        "## Ramps\n",
        "`RAMP1:`, `RAMP2:` ... in the order of the site file; here one that is called stack.",
        "See [neighbours that are ramped together](../how-to/ramps.md).\n",
        table(groups["Ramps"]),
        "## What every device has\n",
        table(list(COMMON)),
        "`ROW` holds the columns marked so, every reading: see [explanation](../explanation/truth.md).\n",
    ]
    return "\n".join(parts)


def scope_page() -> str:
    """PVs of a scope."""
    settings = ScopeSettings(name="SCOPE", type="scope", link="vxi11://192.168.0.30/inst0", channels=1)
    own = Oscilloscope.signals(settings, None)
    parts = [
        NOTE + "# PVs of a scope\n",
        "Names stand after the site's prefix and the device's name: `LAB:SCOPE:TDIV`.\n",
        table([signal for signal in own if not signal.name.startswith("C1:")]),
        "## Each channel, C1 to C4\n",
        table([signal for signal in own if signal.name.startswith("C1:")]),
        "## What they mean\n",
        *(f"* {text}" for text in SCOPE_MEANINGS),
        "",
        "## What every device has\n",
        table(list(COMMON)),
    ]
    return "\n".join(parts)


SCOPE_MEANINGS = (
    "A setting is written, read back, and counts as the scope has it: a put of 2.4 us to `TDIV` ends with 2 us. "
    "`_RBV` is what the scope reports; what somebody changes at its front panel is in both within a second.",
    "`VDIV`, `OFST` and `TRLV` are without the probe's factor (`ATTN`); waveforms are with it.",
    "All values of one event have one time stamp, of this computer's clock, and one number, `EVENT`. `TRIGGERED` is "
    "the scope's own time. Channels that are not shown (`ON`) are not read.",
    "While the scope runs free it may trigger again between the reading of two channels: such an event is left out "
    "and counted in `LOST`: where that grows and nothing is shown, the scope triggers faster than all its channels are "
    "read; put fewer of them `ON`, or `TRMD` SINGLE and `ARM`. With SINGLE, and in a run, it cannot happen.",
    "`WF` and `TIME` are thinned to the lowest and highest value of each stretch; the segments of a sequence follow "
    "each other in `TIME`. `WF:GET` has all points of the next event served in `WF:FULL`.",
    "`TROUBLE` and `OVERLOAD` are MAJOR alarms, at least for as long as it takes to read all settings again.",
    "`MEAN` and its like are measured by the scope (PAVA), INVALID where it finds no value.",
    "A run arms the scope for one event at a time, and again when that is on disk, so a slow disk costs time and no "
    "data. `RUN:STATE` is Held while the disk refuses, or takes more than 1 s over an event, and goes on by itself; "
    "`RUN:ERROR` says why, and all else goes on meanwhile. A pause stays one whatever the disk does. Settings cannot "
    "be put while a run takes events, and `CMD` takes only questions; `RUN:PAUSE` lets them. What changes all the "
    "same, at the front panel or in a pause, is noted in the run's JSON; STOP at the front panel pauses the run. A "
    "scope that was off comes back into the run, unless its settings have changed: then the run ends, Failed, because "
    "nothing is ever set unasked. The time in a pause counts for `RUN:SECONDS`.",
    "`RUN:DIR` is a folder within `runs` of the site file. Files are `C2-NAME-0007-00001.trc` (run 7, event 1), or "
    "`NAME-0007.npz`; `NAME-0007.json` has the settings and the PVs of `run_pvs` at start and end, how many events "
    "were left out because they were not whole, and what happened meanwhile. A run has 99,999 events at most.",
    "`AUTOSTORE` puts the mode alone: which trace the scope keeps, as what and where, stays (`CMD STST`).",
    "Waveforms are not archived; the scope's measurements, read-backs and the state of runs are.",
)


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
    places += [('alarms."NAME" of a device', "AlarmTable"), ("[device.line] of a gas sensor", "LineTable")]
    places += [("fields = [{ ... }] of [device.line]", "FieldTable")]
    places += [("[device.channel.N] of a supply", "ChannelTable"), ("[device.channel.N.expect]", "ExpectTable")]
    places += [("[[device.interlock]] of a supply", "InterlockTable"), ("[device.watchdog]", "WatchdogTable")]
    places += [("[[device.ramp]] of a supply", "RampTable")]
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
