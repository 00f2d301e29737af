"""Signals of a scope, and what the scope's replies become under their names (pure)."""

from collections.abc import Mapping
from typing import Any

from drivers.lecroy.numbers import number
from iocs.signals import MONITOR, Bad, Kind, Level, Severity, Signal, Status, command, readback, setpoint

MODES = ("AUTO", "NORM", "SINGLE", "STOP")
TYPES = ("EDGE", "DROP", "GLIT", "INTV", "STD", "SNG", "SQ", "TEQ")
COUPLINGS = ("A1M", "D1M", "D50", "GND")
BANDWIDTHS = ("OFF", "ON", "20MHZ", "200MHZ", "1GHZ")
SLOPES = ("POS", "NEG")
TRIGGER_COUPLINGS = ("AC", "DC", "HFREJ", "LFREJ")
AUTOSTORE = ("OFF", "WRAP", "FILL")
RUN_STATES = ("Idle", "Running", "Paused", "Held", "Failed")
MEASURED = {
    "MEAN": "Mean",
    "PKPK": "Peak to peak",
    "MAX": "Highest value",
    "MIN": "Lowest value",
    "RMS": "Root mean square",
    "SDEV": "Standard deviation",
}
TRIGGERS = 20_000  # trigger times of a sequence
_OFF_ON = ("OFF", "ON")
_LARGE = 1_000_000_000


def _pair(name: str, unit: str = "", *, doc: str, group: str, **options: Any) -> list[Signal]:
    """A setpoint and what the scope reports of it."""
    told = {key: value for key, value in options.items() if key != "limits"}
    return [
        setpoint(name, unit, doc=doc, group=group, **options),
        readback(f"{name}_RBV", unit, doc=f"{doc}, as the scope has it", group=group, archive=MONITOR, **told),
    ]


def device_signals(channels: int) -> list[Signal]:
    """Give what there is once a scope."""
    sources = (*(f"C{n}" for n in range(1, channels + 1)), "EX", "EX10", "LINE")
    whole: dict[str, Any] = {"type": int, "limits": (0, _LARGE), "group": "Waveform setup"}
    return [
        *_pair("TDIV", "s", precision=12, limits=(1e-12, 5e3), group="Time base", doc="Time per division"),
        *_pair("TRDL", limits=(-1e4, 100.0), group="Time base", doc="Trigger delay: % of the screen, below 0: s after"),
        *_pair("MSIZ", precision=0, limits=(100, 1e9), group="Time base", doc="Points of a single sweep"),
        *_pair("TRMD", type=MODES, group="Trigger", doc="Trigger mode"),
        *_pair("TRTYPE", type=TYPES, group="Trigger", doc="Kind of trigger"),
        *_pair("TRSRC", type=sources, group="Trigger", doc="Trigger source"),
        *_pair("TRWI", "V", limits=(0.0, 25.0), group="Trigger", doc="Trigger window"),
        *_pair("SEQ:ON", type=_OFF_ON, group="Sequence", doc="Sequence mode"),
        *_pair("SEQ:N", type=int, limits=(2, 20_000), group="Sequence", doc="Segments of a sequence"),
        *_pair("WFSU:SP", doc="Read each n-th point, 0 = all", **whole),
        *_pair("WFSU:NP", doc="Read so many points, 0 = all", **whole),
        *_pair("WFSU:FP", doc="Read from this point of a segment", **whole),
        *_pair("WFSU:SN", doc="Read this segment, 0 = all", **whole),
        *_pair("AUTOSTORE", type=AUTOSTORE, group="Scope's disk", doc="AutoStore to the scope's own disk"),
        command("STORE", group="Scope's disk", doc="Store the displayed traces on the scope's own disk"),
        command("ARM", group="Acquisition", doc="Arm for one acquisition; armed already, force a trigger"),
        command("STOP", group="Acquisition", doc="Stop acquiring"),
        command("FORCE", group="Acquisition", doc="Force one trigger"),
        readback("ACQ:COUNT", precision=0, archive=MONITOR, group="Acquisition", doc="Events read since the start"),
        readback("ACQ:RATE", "Hz", precision=2, archive=MONITOR, group="Acquisition", doc="Events read a second"),
        readback("LOST", precision=0, archive=MONITOR, group="Acquisition", doc="Events that could not be read whole"),
        readback("EVENT", precision=0, group="Acquisition", doc="Number of the event that all waveforms are of"),
        readback("TRIGGERED", type=str, group="Acquisition", doc="Trigger time by the scope's clock (no time zone)"),
        readback("TROUBLE", type=str, archive=MONITOR, group="Acquisition", doc="What hurts the scope (DDR)"),
        command("CMD", type=str, level=Level.EXPERT, group="Expert", doc="Send a command or question as it is"),
        readback("REPLY", type=Kind.TEXT, group="Expert", doc="Answer to CMD"),
        *run_signals(),
    ]


def run_signals() -> list[Signal]:
    """Give what belongs to runs."""
    group = "Run"
    return [
        command("RUN:START", group=group, doc="Begin a run"),
        command("RUN:STOP", group=group, doc="End the run in order"),
        setpoint("RUN:PAUSE", type=("Go", "Pause"), group=group, doc="Hold the run between two events"),
        setpoint("RUN:N", type=int, limits=(0, 99_999), group=group, doc="Events wanted, 0 = no limit"),
        setpoint("RUN:SECONDS", "s", precision=0, limits=(0, 1e7), group=group, doc="Time wanted, 0 = no limit"),
        setpoint("RUN:DIR", type=str, group=group, doc="Folder within the folder of runs; empty = that one"),
        setpoint("RUN:NAME", type=str, group=group, doc="Name of the run, in the names of its files"),
        setpoint("RUN:FORMAT", type=("trc", "npz"), group=group, doc="A file an event and channel, or one in columns"),
        readback(
            "RUN:STATE",
            type=RUN_STATES,
            state_severities=(Severity.NO_ALARM,) * 3 + (Severity.MAJOR,) * 2,
            archive=MONITOR,
            group=group,
            doc="What the run does; Held: the disk refuses",
        ),
        readback("RUN:ERROR", type=str, archive=MONITOR, group=group, doc="What holds or ended the run"),
        readback("RUN:TITLE", type=str, archive=MONITOR, group=group, doc="Name and number of the run"),
        readback("RUN:EVENTS", precision=0, archive=MONITOR, group=group, doc="Events that are on disk"),
        readback("RUN:PROGRESS", "%", precision=1, group=group, doc="How far the run is"),
        readback("RUN:ETA", "s", precision=0, group=group, doc="Time that it will still take"),
        readback("RUN:FILES", precision=0, group=group, doc="Files of the run"),
    ]


def channel_signals(name: str, points: int, full: int) -> list[Signal]:
    """Give what there is for each input."""
    g = name
    return [
        *_pair(f"{name}:VDIV", "V", limits=(1e-3, 10.0), group=g, doc="Volts per division, without the probe's factor"),
        *_pair(f"{name}:OFST", "V", limits=(-100.0, 100.0), group=g, doc="Offset, without the probe's factor"),
        *_pair(f"{name}:CPL", type=COUPLINGS, group=g, doc="Input coupling"),
        *_pair(f"{name}:BWL", type=BANDWIDTHS, group=g, doc="Bandwidth limit"),
        *_pair(f"{name}:ATTN", precision=0, limits=(1, 10_000), group=g, doc="Factor of the probe"),
        *_pair(f"{name}:TRLV", "V", limits=(-100.0, 100.0), group=g, doc="Trigger level"),
        *_pair(f"{name}:TRSL", type=SLOPES, group=g, doc="Trigger slope"),
        *_pair(f"{name}:TRCP", type=TRIGGER_COUPLINGS, group=g, doc="Trigger coupling"),
        *_pair(f"{name}:ON", type=_OFF_ON, group=g, doc="Whether the channel is shown, and read"),
        readback(
            f"{name}:OVERLOAD",
            type=("No", "Overload"),
            state_severities=(Severity.NO_ALARM, Severity.MAJOR),
            archive=MONITOR,
            group=g,
            doc="Input overloaded and disconnected",
        ),
        readback(f"{name}:WF", "V", count=points, group=g, doc="Last event, thinned to lows and highs"),
        readback(f"{name}:TIME", "s", precision=12, count=points, group=g, doc="Time of WF from the first trigger"),
        command(f"{name}:WF:GET", group=g, doc="Serve all points of the next event in WF:FULL"),
        readback(f"{name}:WF:FULL", "V", count=full, group=g, doc="All points of the event when WF:GET was put"),
        readback(f"{name}:X0", "s", precision=12, group=g, doc="Time of the first point from the trigger"),
        readback(f"{name}:DX", "s", precision=12, group=g, doc="Step between two points"),
        readback(f"{name}:NSEG", type=int, group=g, doc="Segments of the event"),
        readback(f"{name}:TRIGTIMES", "s", precision=9, count=TRIGGERS, group=g, doc="Triggers from the first one"),
        *(
            readback(f"{name}:{word}", "V", precision=4, archive=MONITOR, group=g, doc=f"{text}, as the scope measures")
            for word, text in MEASURED.items()
        ),
    ]


def signals_of(channels: int, points: int, full: int) -> list[Signal]:
    """Give all signals of a scope.

    Args:
        channels: how many inputs.
        points: most elements of `WF`.
        full: most elements of `WF:FULL`.
    """
    inputs = [f"C{n}" for n in range(1, channels + 1)]
    return device_signals(channels) + [each for name in inputs for each in channel_signals(name, points, full)]


def values_of(settings: Mapping[str, str], signals: Mapping[str, Signal]) -> dict[str, Any]:
    """Give the values of the setpoints, under their names, from the scope's settings (`TDIV` -> `100E-9 S`).

    What the scope does not tell is missing; what is not understood is Bad.
    """
    words = dict(settings)
    trigger = words.pop("TRSE", "").split(",")
    if len(trigger) > 2 and trigger[1] == "SR":
        words["TRTYPE"], words["TRSRC"] = trigger[0], trigger[2]
    sequence = words.pop("SEQ", "").split(",")
    if len(sequence) > 1:
        words["SEQ:ON"], words["SEQ:N"] = sequence[:2]
    setup = words.pop("WFSU", "").split(",")
    words |= {f"WFSU:{key}": value for key, value in zip(setup[::2], setup[1::2], strict=False)}
    store = words.pop("STST", "").split(",")
    if "AUTO" in store[:-1]:
        words["AUTOSTORE"] = store[store.index("AUTO") + 1]
    return {
        name: _value(signals[name], text)
        for key, text in words.items()
        if (name := key.replace(":TRA", ":ON")) in signals
    }


def _value(signal: Signal, text: str) -> Any:
    if signal.states:
        if text in signal.states:
            return signal.states.index(text)
        if text == "OVL":
            return Bad("input overloaded and disconnected", severity=Severity.MAJOR, status=Status.HWLIMIT)
        return Bad(f"the scope says {text!r}")
    try:
        value = number(text)
    except ValueError as error:
        return Bad(str(error))
    return round(value) if signal.kind is Kind.INT else value
