"""Interlocks (pure): when a source is believed, when its value is bad, what trips, and what stays latched.

    WAITING  the condition has not been good yet: nothing is written, however long, and nothing may be switched on
    ARMED    the condition is good
    DELAY    it is bad, and not yet for as long as the delay
    ACTING   latched; the action is not confirmed yet
    TRIPPED  latched; the action is confirmed, and what is protected stays as it is until an expert resets
    BYPASSED by an expert, for a time; the latch, if there is one, stays below it

`now` is s of a clock that only goes on; `now_ns` is ns since 1970.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

from iocs.signals import MONITOR, Bad, Level, Reading, Refused, Severity, Signal, Status, command, readback, setpoint

NS = 1_000_000_000
LONGEST_CAUSE = 400  # characters that its PV holds
LONGEST_BYPASS = 7 * 86400.0  # s


class State(IntEnum):
    """Where an interlock is: its PV `ILKn:STATE`."""

    WAITING = 0
    ARMED = 1
    DELAY = 2
    ACTING = 3
    TRIPPED = 4
    BYPASSED = 5


_SEVERITIES = (
    Severity.MINOR,
    Severity.NO_ALARM,
    Severity.MINOR,
    Severity.MAJOR,
    Severity.MAJOR,
    Severity.MINOR,
)


@dataclass(frozen=True, slots=True)
class Condition:
    """What value is good.

    Attributes:
        low, high: a number below `low` or above `high` is bad; None for no bound.
        values: where there are any, only these are good: numbers, texts, of an enum numbers or names of its states.
        hysteresis: by how much a number must be inside the bounds to be good again.
    """

    low: float | None = None
    high: float | None = None
    values: tuple[float | str, ...] = ()
    hysteresis: float = 0.0

    @property
    def names_states(self) -> bool:
        """Whether a text is good, which may be the name of a state."""
        return any(isinstance(value, str) for value in self.values)

    def fault(self, value: Any, was_bad: bool, states: Sequence[str] = ()) -> str:
        """Say what is bad about a value, nothing if it is good.

        Args:
            value: of the source.
            was_bad: whether the last one was.
            states: the names of an enum's states.
        """
        if not isinstance(value, int | float | str):
            return "is not a single value"
        named = states[value] if isinstance(value, int) and 0 <= value < len(states) else value
        if self.values and value not in self.values and named not in self.values:
            unknown = states and any(isinstance(each, str) and each not in states for each in self.values)
            known = f"; its states are {', '.join(states)}" if unknown else ""
            return f"is {named!r}, not {' or '.join(map(repr, self.values))}{known}"
        if self.low is None and self.high is None:
            return ""
        if isinstance(value, str) or not math.isfinite(value):
            return f"is {value!r}, which is not a number"
        if self.low is not None and value < self.low:
            return f"is {value:.6g}, below {self.low:g}"
        if self.high is not None and value > self.high:
            return f"is {value:.6g}, above {self.high:g}"
        if was_bad and self.low is not None and value < self.low + self.hysteresis:
            return f"is {value:.6g}; good again from {self.low + self.hysteresis:g}"
        if was_bad and self.high is not None and value > self.high - self.hysteresis:
            return f"is {value:.6g}; good again down to {self.high - self.hysteresis:g}"
        return ""


class Source:
    """The PV that a condition is on. Its value is believed while it is not INVALID and was seen alive of late.

    Alive is a source whose heartbeat has changed, or, where it has none, which sent an update with another value or
    another stamp. When it goes away (a restart), and while it then has no value yet, the last value is held until the
    last sign of life is `max_age` old.

    Args:
        name: the PV.
        heartbeat: the PV that must change; empty = its own updates.
        max_age: s.
        simulated: whether values from simulators are believed.

    Attributes:
        states: names of its states, if it is an enum; they are told beside the values.
    """

    def __init__(self, name: str, heartbeat: str, max_age: float, simulated: bool) -> None:
        self.name, self.heartbeat, self.max_age = name, heartbeat, max_age
        self.states: tuple[str, ...] = ()
        self._believes_simulated = simulated
        self._simulated = False
        self._reading: Reading | None = None  # the last one with a value
        self._away = "is not connected"
        self._beat: Any = None
        self._alive_at = -math.inf

    def take(self, reading: Reading, now: float) -> None:
        """Take what the PV says."""
        if not reading.connected:
            self._away = "is not connected"
            return
        if reading.status is Status.UDF and reading.severity is Severity.INVALID:
            self._away = "has no value yet"
            return
        self._away = ""
        if self.heartbeat == self.name:
            self.take_heartbeat(reading, now)
        elif not self.heartbeat and self._reading is not None and _differs(self._reading, reading):
            self._alive_at = now
        self._reading = reading

    def say_away(self, why: str) -> None:
        """Say why the PV cannot be watched at all."""
        self._away = why

    def take_heartbeat(self, reading: Reading, now: float) -> None:
        """Take what its heartbeat says; only that of a source with a value tells that it is alive."""
        if not reading.connected or reading.severity is Severity.INVALID:
            return
        if self._beat is not None and reading.value != self._beat and not self._away:
            self._alive_at = now
        self._beat = reading.value

    def take_simulated(self, reading: Reading) -> None:
        """Take what the PV `SIM` beside the heartbeat says."""
        if reading.connected:
            self._simulated = bool(reading.value)

    def value(self, now: float) -> tuple[Any, str]:
        """Give the value, and why it is not to be believed; nothing if it is."""
        age = now - self._alive_at
        if self._reading is None:
            return None, self._away or "has no value yet"
        if self._simulated and not self._believes_simulated:
            return None, "comes from a simulator, and [site] simulated is not true"
        if self._reading.severity is Severity.INVALID:
            return None, f"is INVALID ({self._reading.status.name})"
        if age <= self.max_age:
            return self._reading.value, ""
        if self._away:
            return None, self._away
        who = f"is not to be trusted: {self.heartbeat}" if self.heartbeat not in ("", self.name) else ""
        since = "yet" if math.isinf(age) else f"for {age:.1f} s"
        return None, f"{who} has not changed {since}".strip()


def _differs(one: Reading, other: Reading) -> bool:
    same_value = one.value is other.value or bool(one.value == other.value)
    return one.time_ns != other.time_ns or not same_value


@dataclass(frozen=True, slots=True)
class Latch:
    """What tripped: why, when (ns since 1970), what is to be done (plain data), and whether that is confirmed."""

    cause: str
    time_ns: int
    action: Any
    confirmed: bool = False


class Interlock:
    """One interlock: source and condition in, a latch out.

    Args:
        name: for people and for what is saved.
        source: where the value comes from.
        condition: what is good.
        action: what to do when it trips; plain data, kept with the latch.
        delay: s that it must be bad before it trips.
        startup_grace: s after which it arms, good or not; None = only when it has been good once.
        longest_bypass: s for which it may be bypassed.
        saved: as `plain` gave it before a restart.
        now, now_ns: of the start.

    Attributes:
        latch: what has tripped, None for nothing.
        fault: what is bad at the moment, empty when good.
        trouble: why the action is not confirmed yet.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        condition: Condition,
        action: Any,
        *,
        delay: float,
        startup_grace: float | None,
        longest_bypass: float = LONGEST_BYPASS,
        saved: Mapping[str, Any] | None,
        now: float,
        now_ns: int,
    ) -> None:
        self.name, self.source = name, source
        self.fault = "not judged yet"
        self.trouble = ""
        self._condition, self._action = condition, action
        self._delay = delay
        self._arms_at = math.inf if startup_grace is None else now + startup_grace
        self._armed = False
        self._out_of_bounds = False
        self._bad_at: float | None = None
        saved = saved or {}
        self.latch = Latch(**saved["latch"]) if saved.get("latch") else None
        # the clock may have been set meanwhile: it is never bypassed for longer than was left when it was saved
        left = (saved.get("bypass_until_ns", 0) - now_ns) / NS
        left = min(left, saved.get("bypass_left_s", LONGEST_BYPASS), longest_bypass)
        self._bypass_until = now + left if left > 0 else -math.inf
        self._bypass_by: str = saved.get("bypass_by", "")
        self._now, self._now_ns = now, now_ns
        self._told = self.state
        self._since_ns = self.latch.time_ns if self.latch else now_ns

    def plain(self) -> dict[str, Any]:
        """Give what must outlast a restart, as JSON can hold it: the latch with its action, the bypass."""
        latch = self.latch and {name: getattr(self.latch, name) for name in ("cause", "time_ns", "action", "confirmed")}
        until = self._now_ns + round(self.bypassed * NS) if self.bypassed else 0
        return {
            "latch": latch,
            "bypass_until_ns": until,
            "bypass_left_s": self.bypassed,
            "bypass_by": self._bypass_by,
        }

    @property
    def state(self) -> State:
        """Where it is."""
        if self.bypassed:
            return State.BYPASSED
        if self.latch is not None:
            return State.TRIPPED if self.latch.confirmed else State.ACTING
        if not self._armed:
            return State.WAITING
        return State.ARMED if self._bad_at is None else State.DELAY

    @property
    def since_ns(self) -> int:
        """Since when it is in this state, ns since 1970; of a latch, when it tripped."""
        return self._since_ns

    @property
    def bypassed(self) -> float:
        """How long it is still bypassed, s; 0 if it is not."""
        return max(self._bypass_until - self._now, 0.0)

    @property
    def bypass_by(self) -> str:
        """Who bypassed it last, empty for nobody."""
        return self._bypass_by

    @property
    def cause(self) -> str:
        """Why it is where it is, in words; empty while it is armed and good."""
        if self.latch is not None:
            words = self.latch.cause + (f"; not confirmed: {self.trouble or 'under way'}" * (not self.latch.confirmed))
        else:
            words = self.fault
        return f"bypassed by {self._bypass_by}; {words or 'good'}" if self.bypassed else words

    @property
    def refusal(self) -> str:
        """Why nothing may be switched on or raised; empty if it may."""
        match self.state:
            case State.ARMED | State.BYPASSED:
                return ""
            case State.WAITING:
                return f"the interlock {self.name} is not armed: {self.fault}"
            case State.DELAY:
                return f"the interlock {self.name} is about to trip: {self.fault}"
        return f"the interlock {self.name} has tripped: {self.cause}; an expert resets it"

    def judge(self, now: float, now_ns: int) -> bool:
        """Look at the source; say whether it has just tripped: save it then, and carry the action out."""
        self._now, self._now_ns = now, now_ns
        value, fault = self.source.value(now)
        if not fault:
            fault = self._condition.fault(value, self._out_of_bounds, self.source.states)
            self._out_of_bounds = bool(fault)
        self.fault = f"{self.source.name} {fault}" if fault else ""
        tripped = False
        if self.latch is None:
            self._armed = self._armed or not fault or now >= self._arms_at
            if not fault or self.bypassed:
                self._bad_at = None
            elif self._armed:
                self._bad_at = now if self._bad_at is None else self._bad_at
                tripped = now - self._bad_at >= self._delay
        if tripped:
            self.latch = Latch(self.fault, now_ns, self._action)
            self.trouble = ""
        self._note_change()
        return tripped

    def confirm(self) -> None:
        """Take note that the action has been carried out: from now on it only refuses."""
        if self.latch is not None:
            self.latch = replace(self.latch, confirmed=True)
        self.trouble = ""
        self._note_change()

    def reset(self) -> None:
        """Let go of the latch.

        Raises:
            Refused: there is none, its action is not confirmed, or the condition is still bad.
        """
        if self.latch is None:
            raise Refused(f"the interlock {self.name} has not tripped")
        if not self.latch.confirmed:
            raise Refused(f"what the interlock {self.name} does is not confirmed yet: {self.trouble or 'under way'}")
        if self.fault:
            raise Refused(f"the condition is still bad: {self.fault}")
        self.latch, self._armed, self._bad_at = None, True, None
        self._note_change()

    def bypass(self, seconds: float, by: str) -> None:
        """Do nothing and refuse nothing for so many seconds; 0 ends it.

        Raises:
            Refused: it has tripped, and what it does is not confirmed yet.
        """
        if seconds and self.latch is not None and not self.latch.confirmed:
            raise Refused(f"what the interlock {self.name} does is not confirmed yet; it goes first")
        self._bypass_until = self._now + seconds if seconds else -math.inf
        self._bypass_by, self._bad_at = by, None
        self._note_change()

    def _note_change(self) -> None:
        if self.state is not self._told:
            self._told = self.state
            latched = self.latch is not None and self.state is not State.BYPASSED
            self._since_ns = self.latch.time_ns if latched and self.latch else self._now_ns

    def values(self, number: int) -> dict[str, Any]:
        """Give the values of its PVs."""
        head = f"ILK{number}:"
        at = datetime.fromtimestamp(self._since_ns // NS, UTC).strftime("%Y-%m-%d %H:%M:%S")
        left = float(math.ceil(self.bypassed))
        cause = self.cause[:LONGEST_CAUSE]
        words = Bad(cause, cause, _SEVERITIES[self.state], Status.STATE) if cause else ""
        told = {"STATE": self.state, "CAUSE": words, "SINCE": at, "RESET": 0}
        told["BYPASS"] = Bad("bypassed", left, Severity.MINOR, Status.STATE) if left else 0.0
        return {f"{head}{name}": value for name, value in told.items()}


def signals_of(number: int, name: str, longest_bypass: float) -> list[Signal]:
    """Give the PVs of the interlock that is the `number`th in the site file, counted from 1."""
    head, group = f"ILK{number}:", "Interlocks"
    return [
        readback(
            f"{head}STATE",
            type=State,
            state_severities=_SEVERITIES,
            archive=MONITOR,
            group=group,
            doc=f"Interlock {name}: where it is",
        ),
        readback(f"{head}CAUSE", type=str, archive=MONITOR, group=group, doc=f"Interlock {name}: why"),
        readback(f"{head}SINCE", type=str, group=group, doc=f"Interlock {name}: since when (UTC)"),
        command(f"{head}RESET", level=Level.EXPERT, group=group, doc=f"Interlock {name}: let go of the latch"),
        setpoint(
            f"{head}BYPASS",
            "s",
            precision=0,
            limits=(0.0, longest_bypass),
            level=Level.EXPERT,
            archive=MONITOR,
            group=group,
            doc=f"Interlock {name}: bypassed for so long",
        ),
    ]
