"""One channel of a supply: what was read of it, and what its PVs say then (pure)."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from drivers.caen_hv.parameters import STAT
from iocs.hv.limits import Bound, Channel
from iocs.hv.settings import ChannelTable, HvSettings
from iocs.hv.shape import Range
from iocs.hv.signals import CHOICES, IMRANGE, POL
from iocs.hv.status import BIT, KNOWN, RAMPING, WHILE_STEADY, in_words, severity, worst
from iocs.hv.trip import Reading, TripLatch
from iocs.signals import Bad, Refused, Severity, Status

STATES = {name: states for name, states, _, _ in CHOICES} | {"POL": POL}
UNREAD = Bad("not read yet", status=Status.UDF)

Told = dict[str, Any]


class ChannelState:
    """What is known of one channel, and its PVs' values under their names.

    Args:
        settings: of the supply.
        table: of this channel, in the site file.
        place: "CH3:", what stands before its PVs' names.
        saved: as `plain` gave it before a restart.

    Attributes:
        latch: its trip.
        read: what the unit was set to when it was read last, by the parameter's name.
        stat: the STAT word as it was read last, None before.
        spans: what the unit takes for each setting; that of ISET may change with IMRANGE.
        site: what may be put at most by unit and site file together, for each setting.
        barred: why an interlock lets nothing be switched on or raised, empty if it does.
    """

    def __init__(
        self,
        settings: HvSettings,
        table: ChannelTable,
        place: str,
        saved: Mapping[str, Any],
    ) -> None:
        self.place = place
        self.latch = TripLatch(saved.get("trip"))
        self.read: dict[str, float | str] = {}
        self.stat: int | None = None
        self.spans: Mapping[str, Range] = {}
        self.site: Mapping[str, tuple[float, float]] = {}
        self.barred = ""
        self._settings, self._table = settings, table
        self._soft: dict[str, float] = dict(saved.get("soft", {}))
        self._asked: dict[str, Any] = {}  # what the setpoints' PVs say
        self._said: dict[str, Any] = {}  # what the unit said last
        self._moved_at = -math.inf  # when it ramped last, or was told something new

    def plain(self) -> dict[str, Any]:
        """Give what must outlast a restart, as JSON can hold it."""
        return {"trip": self.latch.plain(), "soft": self._soft}

    @property
    def ramping(self) -> bool:
        """Whether the output was ramping when it was read last."""
        return bool((self.stat or 0) & RAMPING)

    @property
    def known(self) -> Channel:
        """What puts are checked against."""
        return Channel(
            self.place,
            self.read,
            self.stat,
            self.spans,
            self.site,
            self.soft("VSET"),
            self.soft("ISET"),
            self._table.max_step,
            self._table.polarity,
            self.latch.trip.cause if self.latch.trip else "",
            self.latch.stale_flag,
            self.barred,
        )

    def soft(self, name: str) -> float:
        """Give the experts' ceiling of VSET (V) or ISET (uA): never above what unit and site file allow."""
        return min(self._soft.get(name, math.inf), self.site.get(name, (0.0, 0.0))[1])

    def set_soft(self, name: str, value: float) -> None:
        """Take an experts' ceiling that is within unit and site file."""
        self._soft[name] = value

    def bounds(self) -> dict[str, Bound]:
        """Give what may be put now, for each setting of which that is known."""
        found = {}
        for name in self.spans:
            try:
                found[name] = self.known.bound(name)
            except Refused:  # MAXV is not known: nothing can be put, and nothing narrower be shown
                continue
        return found

    def confirmed(self, name: str, value: float | str, now: float) -> Told:
        """Take over what the unit has confirmed of a put; give the values of the PVs."""
        if name != "ON":
            self.read[name] = value
        self._said[name] = self._asked[name] = _state(name, value)
        self._moved_at = now
        return self._setting(name, value, now)

    def interrupted(self) -> None:
        """The unit was away: what comes next does not follow on what came before."""
        self.latch.interrupted()
        self.stat = None
        self.read.clear()

    # Values of the PVs

    def take_settings(self, read: Mapping[str, float | str | Bad], now: float) -> Told:
        """Take what the unit is set to; give the values of the PVs."""
        told: Told = {}
        for name, value in read.items():
            if isinstance(value, Bad):
                self.read.pop(name, None)
                told[self._rbv(name)] = value
                continue
            self.read[name] = value
            told |= self._setting(name, value, now)
        return told

    def _setting(self, name: str, value: Any, now: float) -> Told:
        state = _state(name, value)
        doubt = self._differs(name, value)
        told = {self._rbv(name): state if doubt is None else Bad(doubt[0], state, doubt[1], Status.SOFT)}
        if name == "POL":
            return told
        if state != self._said.get(name):  # changed at the panel, or read for the first time
            if name in ("VSET", "ON") and name in self._said:
                self._moved_at = now
            self._said[name] = self._asked[name] = state
        if name in self.spans or name in STATES:
            told[f"{self.place}{name}"] = self._asked[name]
        return told

    def _rbv(self, name: str) -> str:
        return f"{self.place}{name}" + ("" if name == "POL" else "_RBV")

    def _differs(self, name: str, value: Any) -> tuple[str, Severity] | None:
        """Say how a setting differs from what the site file expects, and how bad that is; None where it does not."""
        if name == "POL" and self._table.polarity not in (None, value):
            return f"the site file says polarity = {self._table.polarity!r}", Severity.MAJOR
        wanted = self._table.expect.given.get(name)
        if wanted is None or same(wanted, value, self.spans.get(name)):
            return None
        return f"the site file expects {wanted}", Severity.MINOR

    def take(
        self, now: float, time_ns: int, stat: int | Bad, vmon: float | Bad, imon: float | Bad, doubt: str = ""
    ) -> tuple[Told, bool]:
        """Take a reading; give the values of the PVs, and whether the channel has just tripped.

        Args:
            now: s, a clock that only goes on.
            time_ns: when it was read, ns since 1970.
            stat: the STAT word.
            vmon: V.
            imon: uA.
            doubt: what is doubtful about it; empty for nothing.
        """
        if isinstance(stat, int) and stat & ~KNOWN:
            stat = Bad(f"STAT = {stat} has bits that the unit does not have")
        told = {f"{self.place}IMON": self._current(imon, doubt), **self._ranges(imon)}
        for name in ("VSET", "ISET"):  # columns of the row, as known at this instant
            if name in self.spans:
                told[f"{self.place}{name}"] = self._asked.get(name, UNREAD)
        if isinstance(stat, Bad):
            self.stat = None
            derived = ("STAT", "STATUS", "RAMPING", "ATTARGET", "RAMPETA", "LIVE", "ON_RBV")
            told |= {f"{self.place}{name}": stat for name in derived}
            told |= {f"{self.place}STAT:{bit.name}": stat for bit in STAT}
            return told | {f"{self.place}VMON": vmon} | self._trip(), False
        self.stat = stat
        if stat & RAMPING:
            self._moved_at = now
        reading = Reading(now, stat, _plain(vmon), _plain(imon), _plain(self.read.get("VSET")))
        tripped = self.latch.take(reading, time_ns)
        told |= self._setting("ON", "On" if stat & BIT["ON"] else "Off", now)
        told |= self._status(stat) | self._ramp(stat, vmon)
        told[f"{self.place}VMON"] = self._voltage(stat, vmon, now)
        return told | self._trip(), tripped

    def _current(self, imon: float | Bad, doubt: str) -> float | Bad:
        span = self.spans.get("ISET")
        full = self._settings.low_full_scale if self.read.get("IMRANGE") == "LOW" else span and span.high
        if isinstance(imon, Bad):
            return imon
        if full is None or imon < full:
            return Bad(doubt, imon, Severity.MINOR, Status.SOFT) if doubt else imon
        return Bad(f"at the end of its range, {full:g} uA", imon, Severity.MINOR, Status.HIGH)

    def _ranges(self, imon: float | Bad) -> Told:
        now = self.read.get("IMRANGE")
        told: Told = {}
        for name, state in zip(("IMONH", "IMONL"), IMRANGE, strict=True):
            reason = f"the range is {now}" if now else "the range is not known"
            told[f"{self.place}{name}"] = imon if now == state else Bad(reason)
        return told

    def _status(self, stat: int) -> Told:
        told: Told = {f"{self.place}STAT": stat}
        if worst(stat):
            told[f"{self.place}STAT"] = Bad("a fault", stat, worst(stat), Status.STATE)
        for bit in STAT:
            is_set = stat >> bit.number & 1
            alarmed = bit.name in WHILE_STEADY and severity(bit, stat)
            value = Bad(bit.doc, is_set, severity(bit, stat), Status.STATE) if alarmed else is_set
            told[f"{self.place}STAT:{bit.name}"] = value
        words = in_words(stat, _plain(self.read.get("VSET")), self.known.tripped, over=self._over())
        text = f"{self.place}STATUS"
        told[text] = Bad(words.text, words.text, words.severity, Status.STATE) if words.severity else words.text
        return told

    def _over(self) -> str:
        said = []
        for name, bound in self.bounds().items():
            value = self.read.get(name)
            if isinstance(value, float) and not bound.low <= value <= bound.high:
                said.append(f"{name} = {value:g} is beyond the limits {bound.low:g} .. {bound.high:g}")
        return ", ".join(said)

    def _ramp(self, stat: int, vmon: float | Bad) -> Told:
        on, ramping = bool(stat & BIT["ON"]), bool(stat & RAMPING)
        vset = self.read.get("VSET")
        told: Told = {f"{self.place}RAMPING": ramping, f"{self.place}LIVE": on}
        if isinstance(vmon, Bad):
            told |= {f"{self.place}{name}": vmon for name in ("ATTARGET", "RAMPETA")}
            return told | ({} if on else {f"{self.place}LIVE": vmon})
        told[f"{self.place}LIVE"] = on or vmon > self._settings.live_above
        if not isinstance(vset, float):
            return told | {f"{self.place}{name}": Bad("VSET is not known") for name in ("ATTARGET", "RAMPETA")}
        told[f"{self.place}ATTARGET"] = on and not ramping and abs(vmon - vset) <= self._settings.tolerance
        rate = self.read.get("RUP" if stat & BIT["RUP"] else "RDW")
        way = abs((vset if on else 0.0) - vmon)
        if not ramping:
            told[f"{self.place}RAMPETA"] = 0.0
        elif isinstance(rate, float) and rate > 0:
            told[f"{self.place}RAMPETA"] = way / rate
        else:
            told[f"{self.place}RAMPETA"] = Bad("the rate is not known")
        return told

    def _voltage(self, stat: int, vmon: float | Bad, now: float) -> float | Bad:
        vset = self.read.get("VSET")
        if isinstance(vmon, Bad) or not isinstance(vset, float) or not stat & BIT["ON"]:
            return vmon
        if abs(vmon - vset) <= self._settings.tolerance or now - self._moved_at <= self._settings.settle:
            return vmon
        status = Status.HIGH if vmon > vset else Status.LOW
        return Bad(f"{vmon - vset:+.1f} V from VSET", vmon, Severity.MINOR, status)

    def _trip(self) -> Told:
        latch, place = self.latch, self.place
        told: Told = {f"{place}TRIPPED": latch.trip is not None, f"{place}TRIPCOUNT": latch.count}
        told |= {f"{place}TRIPCAUSE": "", f"{place}TRIPTIME": ""}
        if latch.last is not None:
            told[f"{place}TRIPCAUSE"] = latch.last.cause
            at = datetime.fromtimestamp(latch.last.time_ns / 1e9, UTC)
            told[f"{place}TRIPTIME"] = at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
            told[f"{place}IHIST"] = list(latch.last.history)
        return told

    def own(self) -> Told:
        """Give the values of the PVs that are ours and not the unit's."""
        told = {f"{self.place}{name[0]}SOFTMAX": self.soft(name) for name in ("VSET", "ISET")}
        return told | {f"{self.place}TRIPCLEAR": 0} | self._trip()


def _state(name: str, value: Any) -> Any:
    """Give a value as its PV has it: a word as the number of its state."""
    return STATES[name].index(value) if name in STATES else value


def _plain(value: Any) -> float:
    return float(value) if isinstance(value, float | int) else math.nan


def same(wanted: float | str, value: Any, span: Range | None) -> bool:
    """Whether the unit says what is expected: words exactly, numbers to half of their last decimal."""
    if isinstance(wanted, str) or not isinstance(value, float | int):
        return wanted == value
    return abs(value - wanted) <= 0.5 * 10.0 ** -(span.decimals if span else 0) * (1 + 1e-9)
