"""The PVs of groups of neighbours that are ramped together (pure)."""

from enum import IntEnum
from typing import Any

from iocs.hv.protection import RampTable
from iocs.hv.settings import HvSettings
from iocs.signals import MONITOR, Kind, Level, Severity, Signal, command, readback, setpoint

PRESETS = ("None", "Nominal", "Standby", "Off")


class State(IntEnum):
    """Where a ramp is: its PV `RAMPn:STATE`."""

    IDLE = 0
    RAMPING = 1
    DONE = 2
    ABORTED = 3
    FAILED = 4


_SEVERITIES = (*(Severity.NO_ALARM,) * 3, Severity.MINOR, Severity.MAJOR)


def own_signals(settings: HvSettings) -> list[Signal]:
    """Give the PVs of all groups, in the order of the site file."""
    return [signal for number, table in enumerate(settings.ramp, 1) for signal in _signals(number, table)]


def _signals(number: int, table: RampTable) -> list[Signal]:
    head, words = f"RAMP{number}:", f"Ramp {table.name}: "
    shared: dict[str, Any] = {"group": "Ramps"}
    return [
        setpoint(f"{head}PRESET", type=PRESETS, doc=words + "what to look at", **shared),
        readback(f"{head}PREVIEW", type=Kind.TEXT, doc=words + "what GO would do", **shared),
        command(f"{head}GO", level=Level.EXPERT, confirm=True, doc=words + "do what PREVIEW says", **shared),
        command(f"{head}ABORT", doc=words + "send nothing more", **shared),
        readback(
            f"{head}STATE",
            type=State,
            state_severities=_SEVERITIES,
            archive=MONITOR,
            doc=words + "where it is",
            **shared,
        ),
        readback(f"{head}STATUS", type=str, doc=words + "where it is, in words", **shared),
        readback(f"{head}PROGRESS", "%", precision=0, limits=(0.0, 100.0), doc=words + "part of the way", **shared),
        readback(
            f"{head}APART", "V", precision=1, archive=MONITOR, doc=words + "largest difference of neighbours", **shared
        ),
    ]
