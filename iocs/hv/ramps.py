"""Groups of neighbours at work: a preset is looked at, confirmed, and followed step by step; see `iocs.hv.ramp`."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from drivers.caen_hv.client import Client, Priority
from drivers.errors import DriverError, LinkError
from iocs.ca.server import Server
from iocs.hv.channel import ChannelState
from iocs.hv.protection import RampTable
from iocs.hv.puts import Puts
from iocs.hv.ramp import Course, Output, farthest
from iocs.hv.ramp_signals import PRESETS, State
from iocs.hv.settings import HvSettings
from iocs.hv.status import BIT
from iocs.signals import Refused, Signal

log = logging.getLogger(__name__)

PERIOD = 0.1  # s between a step and the next look
PATIENCE = 30.0  # s in which something must move
AHEAD = 2.0  # s by which VSET may be ahead of VMON
Key = tuple[int, int]


class Aborted(Refused):
    """A lowering was broken off: by a person, an OFF, READONLY; where all is then is safe."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A channel as it was read: V, V, and whether it is on."""

    vmon: float
    vset: float
    on: bool

    @property
    def output(self) -> Output:
        """Where it is and where it goes."""
        return Output(self.vmon, self.vset if self.on else 0.0)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be done: the goal of each channel (V), whether to switch on before, off after, and what was seen."""

    goal: tuple[float, ...]
    on: bool
    off: bool
    seen: tuple[tuple[float, bool], ...]


@dataclass
class _Group:
    number: int
    table: RampTable
    places: tuple[str, ...]
    state: State = State.IDLE
    status: str = ""
    done: float = 0.0
    preset: int = 0
    preview: str = ""
    plan: _Plan | None = None
    task: "asyncio.Task[None] | None" = None
    stopped_by: str = ""
    lost: LinkError | None = None
    lowering: asyncio.Lock = field(default_factory=asyncio.Lock)
    held_by: str = ""  # who lowers it and may not be stopped

    @property
    def busy(self) -> bool:
        """Whether something is being ramped."""
        return self.task is not None and not self.task.done()


class Ramps:
    """All groups of one supply.

    Args:
        settings: of the supply.
        supply: to read from. orders: to the unit.
        channels: what is known of each channel, by board and number.
        turn: held while one voltage is put.
        note: notes in the put log what was written (signal, value, old value, who, why not).
        hurry: has the unit read often for a while.
        server, prefix: where the PVs are posted.
    """

    def __init__(
        self,
        settings: HvSettings,
        supply: Client,
        orders: Puts,
        channels: Mapping[Key, ChannelState],
        turn: asyncio.Lock,
        note: Callable[[str, Any, Any, str, str], None],
        hurry: Callable[[], None],
        server: Server,
        prefix: str,
    ) -> None:
        self._settings, self._supply, self._orders, self._channels = settings, supply, orders, channels
        self._turn, self._note, self._hurry = turn, note, hurry
        self._server, self._prefix = server, prefix
        self._told: dict[str, Any] = {}
        self._groups = [
            _Group(number, table, tuple(settings.places(table.channels)))
            for number, table in enumerate(settings.ramp, 1)
        ]
        self.tell()

    def ramping(self, place: str) -> str:
        """Give the head of the PVs of the group that is ramping a channel, empty for none."""
        group = self._group_of(place)
        return f"RAMP{group.number}:" if group is not None and group.busy else ""

    def abort(self, by: str, place: str = "") -> None:
        """Send nothing more to the group of a channel (no place: to any). Where all is then is safe: see `Course`."""
        for group in self._groups:
            if group.task is not None and group.busy and (not place or place in group.places):
                group.stopped_by = by
                group.task.cancel()

    async def put(self, signal: Signal, value: Any, by: str) -> Any:
        """Select, go, or abort; give the value of the PV then.

        Raises:
            Refused, DriverError: it is not done.
        """
        head, name = signal.name.split(":")
        group = self._groups[int(head.removeprefix("RAMP")) - 1]
        if name == "ABORT":
            if not group.busy:
                raise Refused("nothing is ramping")
            if group.held_by:
                raise Refused(f"{group.held_by} lowers these channels; they can be switched off")
            self.abort(by, group.places[0])
            return 0
        self._refuse_busy(group)
        if name == "PRESET":
            plan, preview = self._plan(group, PRESETS[value], await self._look(group)) if value else (None, "")
            self._refuse_busy(group)
            group.preset, group.plan, group.preview = value, plan, preview
            self.tell()
            return value
        plan = group.plan
        if plan is None:
            raise Refused(f"put a preset to {head}:PRESET first, and read {head}:PREVIEW")
        seen = await self._look(group)
        self._refuse_busy(group)
        if group.plan is not plan:
            raise Refused(f"another preset was put meanwhile; read {head}:PREVIEW again")
        group.plan, group.preview = self._plan(group, PRESETS[group.preset], seen)
        self.tell()
        if plan.seen != group.plan.seen:
            raise Refused(f"the channels have changed since {head}:PREVIEW was made; read it again")
        self._refuse_barred(group, group.plan)
        self._start(group, group.plan, f"ramp {group.table.name} by {by}")
        return 0

    async def lower(self, levels: Mapping[str, float], by: str, *, abortable: bool) -> None:
        """Lower channels of one group to voltages (by place), together; what is lower already stays, and so do others.

        Two that want it at the same moment do it one after the other.

        Args:
            levels: V, by place.
            by: who and why.
            abortable: whether a person may abort it.

        Raises:
            Refused, DriverError: it was not brought to its end; Aborted, where somebody ended it.
        """
        group = self._group_of(next(iter(levels)))
        if group is None:
            raise Refused(f"{', '.join(levels)}: in no group")
        async with group.lowering:
            self.abort(by, group.places[0])
            if group.task is not None:
                await asyncio.wait([group.task])
            seen = await self._look(group)
            start = tuple(each.output.vset for each in seen)
            goal = tuple(min(volts, levels.get(place, volts)) for place, volts in zip(group.places, start, strict=True))
            for (one, was), (other, had) in pairwise(zip(goal, start, strict=True)):
                if abs(one - other) > max(group.table.apart, abs(was - had)):
                    raise Refused(f"neighbours would be {abs(one - other):g} V apart, as not all of them are lowered")
            group.held_by = "" if abortable else by
            task = self._start(group, _Plan(goal, False, False, ()), by)
            try:
                await asyncio.wait([task])
            finally:
                group.held_by = ""
                task.cancel()  # who wanted it has gone
        if group.lost is not None:
            raise group.lost
        if group.state is State.ABORTED:
            raise Aborted(f"RAMP{group.number}: {group.status}")
        if group.state is not State.DONE:
            raise Refused(f"RAMP{group.number}: {group.status}")

    def grouped(self, levels: Mapping[str, float]) -> list[dict[str, float]]:
        """Give those of the channels that are in groups, by group."""
        found = [{place: levels[place] for place in group.places if place in levels} for group in self._groups]
        return [each for each in found if each]

    def tell(self, *, anew: bool = False) -> None:
        """Post what has changed of the groups' PVs; all of it where they have been made INVALID."""
        values: dict[str, Any] = {}
        for group in self._groups:
            told = {"PRESET": group.preset, "PREVIEW": group.preview, "GO": 0, "ABORT": 0}
            told |= {"STATE": group.state, "STATUS": group.status, "PROGRESS": round(100 * group.done)}
            values |= {f"RAMP{group.number}:{name}": value for name, value in told.items()}
        changed = {name: value for name, value in values.items() if anew or self._told.get(name) != value}
        self._told |= changed
        if changed:
            self._server.post(self._prefix, time.time_ns(), changed)

    # Within

    def _group_of(self, place: str) -> _Group | None:
        return next((group for group in self._groups if place in group.places), None)

    def _keys(self, group: _Group) -> tuple[Key, ...]:
        keys = {channel.place: key for key, channel in self._channels.items()}
        if missing := [place[:-1] for place in group.places if place not in keys]:
            raise Refused(f"the unit has no {', '.join(missing)}")
        return tuple(keys[place] for place in group.places)

    async def _look(self, group: _Group) -> tuple[_Seen, ...]:
        """Read where the channels of a group are."""
        keys = self._keys(group)
        read = {
            (board, par): await self._supply.read(board, par, Priority.PUT)
            for board in dict.fromkeys(board for board, _ in keys)
            for par in ("STAT", "VSET", "VMON")
        }
        return tuple(
            _Seen(
                float(read[board, "VMON"][number]),
                float(read[board, "VSET"][number]),
                bool(int(read[board, "STAT"][number]) & BIT["ON"]),
            )
            for board, number in keys
        )

    def _plan(self, group: _Group, preset: str, seen: tuple[_Seen, ...]) -> tuple[_Plan, str]:
        keys = self._keys(group)
        match preset:
            case "Nominal":
                goal = tuple(group.table.nominal)
                if not goal:
                    raise Refused("the site file has no nominal voltages for this group")
            case "Standby":
                standby = [self._settings.table(*key).standby for key in keys]
                if None in standby:
                    place = group.places[standby.index(None)]
                    raise Refused(f"the site file has no standby voltage for {place[:-1]}")
                goal = tuple(volts for volts in standby if volts is not None)
            case _:
                goal = (0.0,) * len(keys)
        off = preset == "Off"
        plan = _Plan(goal, not off, off, tuple((each.vset, each.on) for each in seen))
        words = []
        for place, key, each, volts in zip(group.places, keys, seen, goal, strict=True):
            bound = self._channels[key].known.bound("VSET")
            if volts > max(bound.high, each.output.vset):
                raise Refused(f"{place}VSET: {volts:g} V is beyond {bound.high:g} V ({bound.high_by})")
            words.append(_words(place, each, volts, plan))
        course = self._course(group, seen, goal)
        words.append(f"{course.seconds:.0f} s at {course.rate:g} V/s")
        words.append(f"then neighbours are {farthest(goal):g} V apart at most ({group.table.apart:g} V allowed)")
        return plan, "; ".join(words)

    @staticmethod
    def _refuse_busy(group: _Group) -> None:
        if group.busy or group.lowering.locked():
            raise Refused(f"it is ramping; wait, or put 1 to RAMP{group.number}:ABORT")

    def _refuse_barred(self, group: _Group, plan: _Plan) -> None:
        for key, volts, (vset, on) in zip(self._keys(group), plan.goal, plan.seen, strict=True):
            barred = self._channels[key].barred
            if barred and plan.on and (not on or volts > vset):
                raise Refused(barred)

    def _course(self, group: _Group, seen: tuple[_Seen, ...], goal: tuple[float, ...]) -> Course:
        keys = self._keys(group)
        steps = [step for key in keys if (step := self._settings.table(*key).max_step) is not None]
        decimals = tuple(self._channels[key].spans["VSET"].decimals for key in keys)
        lead = min([AHEAD * group.table.rate, *steps])
        start = tuple(each.output.vset for each in seen)
        return Course(start, goal, group.table.apart, group.table.rate, lead, decimals)

    def _start(self, group: _Group, plan: _Plan, by: str) -> "asyncio.Task[None]":
        group.state, group.status, group.done = State.RAMPING, by, 0.0
        group.stopped_by, group.lost = "", None
        group.task = asyncio.create_task(self._ramp(group, plan, by))
        group.task.add_done_callback(lambda task: self._not_begun(group) if task.cancelled() else None)
        self.tell()
        return group.task

    def _not_begun(self, group: _Group) -> None:
        group.state, group.status = State.ABORTED, f"aborted by {group.stopped_by}"
        self.tell()

    async def _ramp(self, group: _Group, plan: _Plan, by: str) -> None:
        try:
            await self._follow(group, plan, by)
        except (DriverError, Refused) as error:
            group.state, group.status = State.FAILED, str(error)
            group.lost = error if isinstance(error, LinkError) else None
            log.error("ramp %s: %s", group.table.name, error)
        except asyncio.CancelledError:
            group.state, group.status = State.ABORTED, f"aborted by {group.stopped_by or 'the end of the program'}"
            log.warning("ramp %s: %s", group.table.name, group.status)
        except Exception as error:
            group.state, group.status = State.FAILED, f"internal error: {type(error).__name__}: {error}"
            log.exception("internal error in the ramp %s", group.table.name)
        else:
            group.state, group.status, group.done = State.DONE, "done", 1.0
        group.plan, group.preset, group.preview = None, 0, ""
        self.tell()

    async def _follow(self, group: _Group, plan: _Plan, by: str) -> None:
        """Bring a group to its goal."""
        keys = self._keys(group)
        before = await self._look(group)
        try:
            for key, each in zip(keys, before, strict=True):
                if plan.on and not each.on:
                    async with self._turn:
                        await self._orders.lower(*key, 0.0)
                        await self._orders.on(*key)
                    self._note(f"{self._channels[key].place}ON", 1, 0, by, "")
            seen = await self._look(group)
            await self._walk(group, self._course(group, seen, plan.goal), seen)
            for key, each in zip(keys, before, strict=True):
                if plan.off and each.on:
                    await self._orders.off(*key)
                    self._note(f"{self._channels[key].place}ON", 0, 1, by, "")
        finally:
            for key, each in zip(keys, before, strict=True):
                channel = self._channels[key]
                if (now := channel.read.get("VSET")) is not None and now != each.vset:
                    self._note(f"{channel.place}VSET", now, each.vset, by, "")

    async def _walk(self, group: _Group, course: Course, at_first: tuple[_Seen, ...]) -> None:
        keys = self._keys(group)
        began = moved_at = time.monotonic()
        done, seen = -1.0, at_first
        while True:
            for place, first, each in zip(group.places, at_first, seen, strict=True):
                if first.on and not each.on:
                    raise Refused(f"{place[:-1]} is no longer on; the others stay where they are")
            outputs = tuple(each.output for each in seen)
            if all(self._is_there(each, volts) for each, volts in zip(outputs, course.goal, strict=True)):
                return
            steps = course.steps(outputs, time.monotonic() - began)
            for number, volts in steps.items():
                async with self._turn:
                    await self._orders.number(*keys[number], "VSET", volts)
            self._hurry()
            group.done = course.done(outputs)
            self.tell()
            if steps or group.done > done:
                done, moved_at = max(done, group.done), time.monotonic()
            elif time.monotonic() - moved_at > PATIENCE:
                late = [
                    f"{place}VMON is {each.vmon:g} V and VSET {each.vset:g} V"
                    for place, each in zip(group.places, outputs, strict=True)
                    if not self._is_there(each, each.vset)
                ]
                raise Refused(f"nothing moves any more: {', '.join(late) or 'neighbours hold each other'}")
            await asyncio.sleep(PERIOD)
            seen = await self._look(group)

    def _is_there(self, output: Output, volts: float) -> bool:
        return output.vset == volts and abs(output.vmon - volts) <= self._settings.tolerance


def _words(place: str, seen: _Seen, volts: float, plan: _Plan) -> str:
    now = seen.output.vset
    way = f"{now:g} -> {volts:g} V" if now != volts else f"stays at {now:g} V"
    switch = "switched on, " if plan.on and not seen.on else ", switched off" if plan.off and seen.on else ""
    if plan.off and not seen.on:
        return f"{place[:-1]} stays off"
    return f"{place[:-1]} {switch}{way}" if plan.on else f"{place[:-1]} {way}{switch}"
