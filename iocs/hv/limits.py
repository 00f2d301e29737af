"""What may be put to a channel (pure): the tightest of unit, MAXV, site file and soft limit; step; sign; trip; switch.

Nothing is clipped and nothing is guessed: a value that does not pass is refused, with the reason.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from drivers.caen_hv import parameters
from iocs.hv.shape import Range
from iocs.signals import Refused

_BIT = {bit.name: 1 << bit.number for bit in parameters.STAT}
SLACK = 1e-6  # of a last decimal: floats that mean the same decimal


@dataclass(frozen=True, slots=True)
class Bound:
    """From `low` to `high`, and what sets each: "the unit", "MAXV", "the site file", "VSOFTMAX"."""

    low: float
    high: float
    low_by: str = "the unit"
    high_by: str = "the unit"

    def within(self, low: float, high: float, by: str) -> "Bound":
        """Give the tighter one of this bound and another."""
        return Bound(
            max(low, self.low),
            min(high, self.high),
            by if low > self.low else self.low_by,
            by if high < self.high else self.high_by,
        )


@dataclass(frozen=True, slots=True)
class Channel:
    """What is known of a channel at the moment of a put, freshly read.

    Attributes:
        place: "CH3:", as in its PVs' names.
        read: what the unit is set to, by the parameter's name (VSET in V, ISET in uA, POL "+" or "-" ...).
        stat: the STAT word, None if it could not be read.
        spans: what the unit takes for each setting.
        site: limits of the site file, by the parameter's name.
        vsoftmax, isoftmax: the experts' own ceilings (V, uA).
        max_step: V by which one put may raise VSET, None for any.
        polarity: what the site file says that POL must be, None for either.
        tripped: the cause of the trip that is latched, empty for none.
        stale_flag: the TRIP bit is one that stood when the latch was cleared.
        barred: why an interlock lets nothing be switched on or raised, empty if it does.
    """

    place: str
    read: Mapping[str, float | str]
    stat: int | None
    spans: Mapping[str, Range]
    site: Mapping[str, tuple[float, float]]
    vsoftmax: float
    isoftmax: float
    max_step: float | None = None
    polarity: str | None = None
    tripped: str = ""
    stale_flag: bool = False
    barred: str = ""

    def number(self, name: str) -> float:
        """Give what is read of a numeric setting.

        Raises:
            Refused: it has not been read; nothing is guessed.
        """
        value = self.read.get(name)
        if not isinstance(value, float | int) or not math.isfinite(value):
            raise Refused(f"{self.place}{name} could not be read from the unit, so nothing is sent to it")
        return float(value)

    def bound(self, name: str) -> Bound:
        """Give what may be set now: what DRVL and DRVH show. Both ends are values that the unit can be told.

        Raises:
            Refused: the unit does not tell its limits, or MAXV is needed and has not been read.
        """
        span = self.spans.get(name)
        if span is None:
            raise Refused(f"the unit does not tell the limits of {self.place}{name}, so nothing is sent to it")
        bound = Bound(span.low, span.high)
        if name in self.site:
            bound = bound.within(*self.site[name], "the site file")
        if name == "VSET":
            bound = bound.within(-math.inf, self.number("MAXV"), "MAXV").within(-math.inf, self.vsoftmax, "VSOFTMAX")
        if name == "ISET":
            bound = bound.within(-math.inf, self.isoftmax, "ISOFTMAX")
        return Bound(
            _rounded(bound.low, span.decimals, up=True),
            _rounded(bound.high, span.decimals, up=False),
            bound.low_by,
            bound.high_by,
        )


def _rounded(value: float, decimals: int, *, up: bool) -> float:
    """Round to what the unit can be told, inwards."""
    if not math.isfinite(value):
        return value
    steps = value * 10**decimals
    whole = round(steps)
    if abs(steps - whole) > SLACK:
        whole = math.ceil(steps) if up else math.floor(steps)
    return round(whole / 10**decimals, decimals)


UNITS = {"VSET": "V", "ISET": "uA", "MAXV": "V", "RUP": "V/s", "RDW": "V/s", "TRIP": "s"}


def check_number(channel: Channel, name: str, value: float) -> float:
    """Check a put of VSET, ISET, MAXV, RUP, RDW or TRIP; give the value as the unit will be told, in its decimals.

    Raises:
        Refused: it is not sent; the text says why.
    """
    unit = UNITS[name]
    if not math.isfinite(value):
        raise Refused(f"{value} is not a value that can be set")
    if value < 0:
        raise Refused(
            f"{value:g} {unit} has a sign: {name} is a magnitude, and the sign is that of the polarity switch (POL)"
        )
    bound = channel.bound(name)
    told = round(value, channel.spans[name].decimals)
    if not bound.low <= told <= bound.high:
        by = bound.low_by if told < bound.low else bound.high_by
        raise Refused(f"{value:g} {unit} is beyond the limits {bound.low:g} .. {bound.high:g} {unit} ({by})")
    raised = name in ("VSET", "ISET") and told > channel.number(name)
    if channel.tripped and not (name in ("VSET", "ISET") and told <= channel.number(name)):
        raise Refused(
            f"the channel has tripped ({channel.tripped}); find out why, then put 1 to {channel.place}TRIPCLEAR"
        )
    if name == "VSET" and raised:
        if channel.barred and (channel.stat is None or channel.stat & (_BIT["ON"] | _BIT["DIS"])):
            raise Refused(channel.barred)
        _check_polarity(channel)
        step = told - channel.number("VSET")
        if channel.max_step is not None and step > channel.max_step + SLACK:
            raise Refused(
                f"{step:g} V is a larger step than the {channel.max_step:g} V that one put may raise VSET "
                f"(max_step; VSET is {channel.number('VSET'):g} V)"
            )
    if name == "MAXV" and told < channel.number("VSET"):
        raise Refused(f"MAXV = {value:g} V would be below VSET = {channel.number('VSET'):g} V; lower VSET first")
    if name == "MAXV" and channel.number("VSET") > channel.number("MAXV"):
        raise Refused(
            f"VSET = {channel.number('VSET'):g} V is above MAXV = {channel.number('MAXV'):g} V, which holds the "
            "output; raising MAXV would raise it past every other limit; lower VSET first"
        )
    return told


_BARS = {
    "TRIP": "the unit says that it has tripped",
    "DIS": "the channel's front switch is off; ON would ramp it up unannounced when somebody turns the switch",
    "KILL": "the channel is killed from the front panel or outside",
    "ILK": "the unit's interlock is active",
}


def check_on(channel: Channel) -> None:
    """Check that a channel may be switched on, as it is set now.

    Raises:
        Refused: it is not switched on; the text says why.
    """
    if channel.tripped:
        raise Refused(
            f"the channel has tripped ({channel.tripped}); find out why, then put 1 to {channel.place}TRIPCLEAR"
        )
    if channel.barred:
        raise Refused(channel.barred)
    if channel.stat is None:
        raise Refused(f"{channel.place}STAT could not be read from the unit, so nothing is switched on")
    for name, reason in _BARS.items():
        if name == "TRIP" and channel.stale_flag:
            continue  # the latch has been cleared, and a unit may keep the flag until the next ON
        if channel.stat & _BIT[name]:
            raise Refused(f"{reason} (STAT {channel.stat})")
    _check_polarity(channel)
    for name in ("VSET", "ISET"):
        bound, value = channel.bound(name), channel.number(name)
        if not bound.low <= value <= bound.high:
            by = bound.low_by if value < bound.low else bound.high_by
            raise Refused(
                f"{name} of the unit is {value:g} {UNITS[name]}, beyond the limits "
                f"{bound.low:g} .. {bound.high:g} {UNITS[name]} ({by}); put {name} first"
            )


def _check_polarity(channel: Channel) -> None:
    said = channel.read.get("POL")
    if channel.polarity is not None and said != channel.polarity:
        raise Refused(
            f"the polarity is {said or 'not known'}, and the site file says {channel.polarity}; "
            "look at the polarity switch of this channel"
        )
