"""What the PVs of a board as such say (pure): identity, control, interlock, alarms."""

from typing import Any

from drivers.caen_hv.parameters import alarm_bits, names
from iocs.hv.shape import BoardShape
from iocs.hv.status import SEVERITY
from iocs.signals import Bad, Severity, Status

WORDS = {
    "BDCTR": ("CTRLMODE", ("LOCAL", "REMOTE")),
    "BDILK": ("INTERLOCK", ("NO", "YES")),
    "BDILKM": ("ILKMODE", ("OPEN", "CLOSED")),
}


def board_values(head: str, channels: int, read: dict[str, Any]) -> dict[str, Any]:
    """Give the values of a board's PVs for what was read: BDCTR, BDILK, BDILKM (words), BDALARM (number), or Bad."""
    told: dict[str, Any] = {}
    for par, value in read.items():
        if par == "BDALARM":
            told |= _alarm(head, channels, value)
        else:
            name, states = WORDS[par]
            told[f"{head}{name}"] = value if isinstance(value, Bad) else states.index(value)
    return told


def _alarm(head: str, channels: int, word: int | Bad) -> dict[str, Any]:
    bits = alarm_bits(channels)
    if isinstance(word, Bad):
        return {f"{head}ALARM": word} | {f"{head}ALARM:{bit.name}": word for bit in bits}
    told: dict[str, Any] = {f"{head}ALARM:{bit.name}": word >> bit.number & 1 for bit in bits}
    told[f"{head}ALARM"] = word
    if word:
        known = [SEVERITY[bit.severity] for bit in bits if word >> bit.number & 1]
        severity = max(known) if known else Severity.MAJOR  # more than four channels: the layout is not known
        told[f"{head}ALARM"] = Bad(", ".join(names(word, bits)), word, severity, Status.STATE)
    return told


def identity_values(head: str, board: BoardShape, before: BoardShape | None) -> dict[str, Any]:
    """Give what a board says it is; MINOR where serial number or firmware are not those of the last start."""
    told: dict[str, Any] = {f"{head}MODEL": board.model, f"{head}NCH": len(board.channels)}
    for name, value, old in (
        ("SERIAL", board.serial, before and before.serial),
        ("FIRMWARE", board.firmware, before and before.firmware),
    ):
        changed = old is not None and old != value
        told[f"{head}{name}"] = Bad(f"was {old}", value, Severity.MINOR, Status.STATE) if changed else value
    return told | {f"{head}CLEARALARM": 0}
