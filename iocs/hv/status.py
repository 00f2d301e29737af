"""What the status words of a supply mean to people (pure): the severity of a bit, and the words.

Ramping and a channel that is switched off are no alarms: a display that calls them faults is soon ignored.
"""

from dataclasses import dataclass

from drivers.caen_hv.parameters import STAT, Bit
from iocs.signals import Severity

SEVERITY = {"": Severity.NO_ALARM, "minor": Severity.MINOR, "major": Severity.MAJOR}
BIT = {bit.name: 1 << bit.number for bit in STAT}
KNOWN = sum(BIT.values())
RAMPING = BIT["RUP"] | BIT["RDW"]
WHILE_STEADY = ("OVV", "UNV")  # true, and no fault, while a channel ramps


def severity(bit: Bit, word: int) -> Severity:
    """Give the severity of one bit of STAT as it is in a word."""
    if not word >> bit.number & 1 or (bit.name in WHILE_STEADY and word & RAMPING):
        return Severity.NO_ALARM
    return SEVERITY[bit.severity]


def worst(word: int) -> Severity:
    """Give the severity of a whole STAT word."""
    return max(severity(bit, word) for bit in STAT)


@dataclass(frozen=True, slots=True)
class Words:
    """A channel's state in words, and how bad it is."""

    text: str
    severity: Severity


def in_words(word: int, vset: float, tripped: str = "", *, over: str = "") -> Words:
    """Say how a channel is: what STAT says, and what it does not.

    Args:
        word: STAT.
        vset: V; NaN if it could not be read.
        tripped: the cause of the latched trip, empty for none.
        over: what of its settings is beyond the limits in force, empty for nothing.
    """
    on = word & BIT["ON"]
    said = ["on" if on else "off"]
    said += [bit.doc for bit in STAT if bit.name != "ON" and word >> bit.number & 1]
    worse = worst(word)
    if on and vset == 0:
        said.append("live at zero")
    if word & BIT["DIS"] and vset > 0:
        said.append(f"VSET is {vset:g} V: it would ramp up when the front switch is turned")
        worse = max(worse, Severity.MINOR)
    if over:
        said.append(over)
        worse = max(worse, Severity.MINOR)
    if tripped:
        said.insert(0, f"TRIPPED ({tripped})")
        worse = Severity.MAJOR
    return Words(", ".join(said), worse)
