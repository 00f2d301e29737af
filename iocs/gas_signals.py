"""The PVs of a gas sensor and how a reading becomes their values (pure)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from drivers.bme680 import moisture
from drivers.bme680.formats import MEASURED, Format, Quantity
from drivers.bme680.lines import Reason
from drivers.bme680.plausible import Judged
from drivers.bme680.session import Counts
from iocs.gas_settings import GasSettings
from iocs.signals import MONITOR, Bad, Level, Severity, Signal, Status, command, readback, setpoint

GOOD, MINOR, MAJOR = Severity.NO_ALARM, Severity.MINOR, Severity.MAJOR
ZERO = 273.15  # K
T, P, RH, GAS = MEASURED

_REASONS = {
    Reason.BYTES: "Lines with bytes that are no text",
    Reason.LENGTH: "Lines that were too long",
    Reason.UNFINISHED: "Lines whose end did not come",
    Reason.CHECKSUM: "Lines with a wrong check sum",
    Reason.FORM: "Lines of another form",
    Reason.FIELDS: "Lines with too few or too many fields",
    Reason.NUMBER: "Lines with a field that is no number",
    Reason.RANGE: "Lines with a value beyond the range",
    Reason.UNASKED: "Lines that came late or unasked",
}

SENSOR = {
    T: readback("TEMP", "degC", precision=2, group="Gas", row="ROW", doc="Temperature at the self-heated sensor"),
    P: readback("PRES", "hPa", precision=2, group="Gas", row="ROW", doc="Pressure"),
    RH: readback("RH", "%", precision=2, group="Gas", row="ROW", doc="Relative humidity"),
    GAS: readback("GAS", "Ohm", precision=0, group="Gas", row="ROW", doc="Gas resistance (VOC), falls with vapours"),
}
DERIVED = (
    ((T, RH), readback("DEWPOINT", "degC", precision=2, group="Gas", row="ROW", doc="Dew point, over liquid water")),
    ((T, P, RH), readback("PPMV", "ppmv", precision=0, group="Gas", row="ROW", doc="Water, parts of the moist gas")),
    ((T, P), readback("DENSITY", "1", precision=5, group="Gas", row="ROW", doc="P/T over that of the reference")),
    ((GAS,), readback("GASRATIO", "1", precision=4, group="Gas", row="ROW", doc="Gas resistance over BASELINE")),
    (
        (GAS,),
        readback(
            "WARMUP",
            type=("Warm", "Warming up"),
            state_severities=(GOOD, MINOR),
            group="Gas",
            row="ROW",
            doc="Whether the gas resistance has settled",
        ),
    ),
    (
        (GAS,),
        setpoint(
            "BASELINE",
            "Ohm",
            precision=0,
            limits=(1, 1e9),
            level=Level.EXPERT,
            archive=MONITOR,
            group="Gas",
            doc="Gas resistance that counts as 1, kept",
        ),
    ),
    (
        (GAS,),
        command("SETBASELINE", level=Level.EXPERT, group="Gas", doc="Takes GAS as BASELINE, in clean gas"),
    ),
)
FROZEN = readback(
    "FROZEN",
    type=("Flickers", "Stands still"),
    state_severities=(GOOD, MINOR),
    archive=MONITOR,
    group="Gas",
    doc="Whether the digits stand still",
)
PERIOD = setpoint(
    "PERIOD", "s", precision=1, limits=(1, 3600), archive=MONITOR, group="Gas", doc="Time from reading to reading"
)
LINK = (
    readback(
        "LINKSTATE",
        type=("Closed", "Opening", "Booting", "Running", "Silent", "Sensor trouble"),
        state_severities=(MAJOR, MINOR, MINOR, GOOD, MINOR, MAJOR),
        archive=MONITOR,
        group="Link",
        doc="Where the conversation is",
    ),
    readback(
        "SENSOR",
        type=("Works", "Not found", "Cannot begin", "Cannot complete"),
        state_severities=(GOOD, MAJOR, MAJOR, MAJOR),
        archive=MONITOR,
        group="Link",
        doc="What the board says of its sensor",
    ),
    readback("READINGS", type=int, group="Link", doc="Readings since the process started"),
    readback("TIMEOUTS", type=int, group="Link", doc="Requests without a usable answer"),
    readback("TROUBLES", type=int, group="Link", doc="Times that the sensor had trouble"),
    readback("SPIKES", type=int, group="Link", doc="Values held until a second confirmed"),
    readback("NOVALUES", type=int, group="Link", doc="Values that a reading lacked (nan ...)"),
    readback("REFUSED", type=int, group="Link", doc="Lines that were refused"),
    *(readback(f"REFUSED:{reason}", type=int, group="Link", doc=doc) for reason, doc in _REASONS.items()),
    readback("LASTBAD", type=str, group="Link", doc="Last line that was refused, and why"),
)
MISSED = readback("MISSED", type=int, group="Link", doc="Lines sent by the board that got lost")
UPTIME = readback("UPTIME", "s", precision=0, group="Link", doc="Time since the board was reset")
RESTARTS = readback("RESTARTS", type=int, group="Link", doc="Times that the board was reset")


def signals_of(format: Format) -> list[Signal]:
    """Give the signals that a format has values for."""
    known = set(format.quantities)
    signals = [SENSOR[quantity] for quantity in MEASURED if quantity in known]
    signals += [signal for needs, signal in DERIVED if known.issuperset(needs)]
    signals += [FROZEN, *([PERIOD] if format.request else []), *LINK]
    signals += [MISSED] if Quantity.SEQUENCE in known else []
    return signals + ([UPTIME, RESTARTS] if Quantity.UPTIME in known else [])


def counted(counts: Counts, format: Format) -> dict[str, Any]:
    """Give what was counted under the signals' names."""
    values: dict[str, Any] = {
        "READINGS": counts.readings,
        "TIMEOUTS": counts.timeouts,
        "TROUBLES": counts.troubles,
        "SPIKES": counts.spikes,
        "NOVALUES": counts.novalues,
        "REFUSED": counts.refused.total(),
        "LASTBAD": str(counts.last_bad or ""),
        **{f"REFUSED:{reason}": counts.refused[reason] for reason in Reason},
    }
    if Quantity.SEQUENCE in format.quantities:
        values["MISSED"] = counts.missed
    if Quantity.UPTIME in format.quantities:
        values["RESTARTS"] = counts.restarts
        values |= {} if counts.uptime is None else {"UPTIME": counts.uptime}
    return values


def values_of(
    judged: Judged, format: Format, settings: GasSettings, baseline: float | None, warming: bool
) -> dict[str, Any]:
    """Give a reading under the signals' names (pure). What awaits confirmation is absent; so is what depends on it.

    Args:
        judged: the reading.
        format: of its line.
        settings: with the reference conditions of `DENSITY`.
        baseline: Ohm, None while nobody has set it.
        warming: the gas resistance has not settled.
    """
    reference = settings.reference_temperature + ZERO, settings.reference_pressure * 100
    formulas: tuple[tuple[str, Sequence[Quantity], Callable[..., Any]], ...] = (
        ("TEMP", (T,), lambda t: t - ZERO),
        ("PRES", (P,), lambda p: p / 100),
        ("RH", (RH,), lambda rh: rh),
        ("GAS", (GAS,), lambda gas: gas),
        ("DEWPOINT", (T, RH), lambda t, rh: moisture.dew_point(t, rh) - ZERO),
        ("PPMV", (T, P, RH), moisture.water_ppmv),
        ("DENSITY", (T, P), lambda t, p: moisture.density(t, p, *reference)),
        ("GASRATIO", (GAS,), lambda gas: _ratio(gas, baseline)),
    )
    values: dict[str, Any] = {}
    for name, needs, formula in formulas:
        if not set(format.quantities).issuperset(needs) or set(judged.held) & set(needs):
            continue
        bad = [judged.bad[need] for need in needs if need in judged.bad]
        try:
            values[name] = Bad("; ".join(bad)) if bad else formula(*(judged.values[need] for need in needs))
        except ValueError as error:
            values[name] = Bad(str(error), status=Status.CALC)
    if warming:
        doubt = Bad("the sensor is warming up", severity=MINOR, status=Status.SOFT)
        values |= {name: _doubted(values[name], doubt) for name in ("GAS", "GASRATIO") if name in values}
    if judged.frozen:
        doubt = Bad("the digits stand still", severity=MINOR, status=Status.SOFT)
        values = {name: _doubted(value, doubt) for name, value in values.items()}
    if GAS in format.quantities:
        values["WARMUP"] = warming
    return values


def _ratio(gas: float, baseline: float | None) -> Any:
    if baseline is None:
        return Bad("no baseline yet: put 1 to SETBASELINE in clean gas", status=Status.UDF)
    return gas / baseline


def _doubted(value: Any, doubt: Bad) -> Any:
    return value if isinstance(value, Bad) else replace(doubt, value=value)
