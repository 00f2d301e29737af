"""The PVs of a met station, and how its newest row becomes their values (pure)."""

from typing import Any

from ingest.cr1000.newest import Told, Variable
from ingest.cr1000.parameters import quantity
from iocs.signals import Alarms, Bad, Severity, Signal, Status, readback

_PRECISION = {"WD": 1, "U": 1}  # decimals, where not two

LATER = frozenset(
    f"{name}{number or ''}"
    for name in ("LOGGER", "TX", "VX", "WS", "WD", "WSX", "P", "T", "TD", "U", "WI")
    for number in range(100)
)
"""Parameters that a configuration may declare."""

OWN = (
    readback(
        "STALE",
        type=("Fresh", "Stale"),
        state_severities=(Severity.NO_ALARM, Severity.MAJOR),
        group="Rows",
        doc="Whether the newest row is too old",
    ),
    readback("DATAAGE", "s", precision=0, group="Rows", doc="Age of the newest row, by its stamp"),
    readback(
        "CATCHUP",
        type=("Following", "Catching up"),
        group="Rows",
        doc="Whether older rows are being read",
    ),
    readback("ROWS", type=int, group="Rows", doc="Rows since the source was opened"),
    readback("ODD", type=int, group="Rows", doc="What was odd in them, dropped or not"),
    readback("NOTE", type=str, group="Rows", doc="Last thing that was odd in them"),
    readback("FAULTS", type=int, alarms=Alarms(high=1), group="Configuration", doc="Faults in the configuration"),
    readback("FAULT", type=str, group="Configuration", doc="First of them, with file, line and field"),
)


def shape_of(variables: tuple[Variable, ...]) -> list[list[Any]]:
    """Give what PVs follow from, as plain data: name, unit, description, text, sensor of each variable."""
    return [[each.name, each.unit, each.description, each.text, each.serial is not None] for each in variables]


def signals_of(shape: list[list[Any]] | None) -> list[Signal]:
    """Give the signals of a station whose newest row has the variables of a shape; none is archived: see the docs."""
    found = []
    for name, unit, description, text, sensor in shape or ():
        pv = name.upper()
        if text:
            found.append(readback(pv, type=str, group="Met", doc=description))
        else:
            precision = _PRECISION.get(quantity(name), 2)
            found.append(readback(pv, unit, precision=precision, group="Met", doc=description))
        if sensor:
            found.append(readback(f"{pv}:SERIAL", type=str, group="Sensors", doc=f"Sensor of {pv}, its serial number"))
    return [*found, *OWN]


def values_of(variables: tuple[Variable, ...], stale: bool) -> dict[str, Any]:
    """Give a row's values under the signals' names; those of a row that is too old are INVALID."""
    values: dict[str, Any] = {}
    for each in variables:
        pv = each.name.upper()
        value: Any = each.value
        if stale:
            value = Bad("the newest row is too old", value, status=Status.TIMEOUT)
        elif value is None:
            value = Bad("missing in the newest row")
        values[pv] = value
        if each.serial is not None:
            values[f"{pv}:SERIAL"] = each.serial or Bad("no serial number in the row", "")
    return values


def counted(told: Told) -> dict[str, Any]:
    """Give what was counted under the signals' names; of a source that is caught up with."""
    return {
        "CATCHUP": 0,
        "ROWS": told.rows % (1 << 31),
        "ODD": told.odd % (1 << 31),
        "NOTE": told.note,
        "FAULTS": told.faults,
        "FAULT": told.fault,
    }
