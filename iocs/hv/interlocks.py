"""The interlocks of a supply at work: their sources are watched, their latches saved, what they do is carried out."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

from drivers.errors import DriverError
from iocs.ca.client import Client
from iocs.ca.server import Server
from iocs.hv.protection import InterlockTable
from iocs.hv.settings import HvSettings
from iocs.hv.unasked import Deed, deed
from iocs.interlock import LONGEST_BYPASS, Condition, Interlock, Source, State, signals_of
from iocs.signals import Reading, Refused, Signal

log = logging.getLogger(__name__)

PERIOD = 0.1  # s between two looks at the sources
RETRY = 2.0  # s between two attempts at an action that the unit did not confirm
SAVING = 0.1  # s for which what an interlock does waits for its latch to be on the disk
FIRST = 3.0  # s for which all else waits when the unit has come back
WATCHDOG = "WATCHDOG"  # the PV that a client keeps changing


@dataclass
class _Guard:
    """One interlock, what it protects (no places: all), and its attempts to act."""

    number: int
    it: Interlock
    server: str | None
    places: frozenset[str]
    unwatched: dict[str, Callable[[Reading], None]]
    names_states: bool
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    again_at: float = 0.0
    acting: asyncio.Task[None] | None = None
    saving: Future[None] | None = None
    was_bypassed: bool = False
    asking: asyncio.Task[None] | None = None  # for the names of its source's states


def own_signals(settings: HvSettings) -> list[Signal]:
    """Give the PVs of all interlocks; the watchdog is the last one."""
    longest = {interlock.name: interlock.longest_bypass for interlock in settings.interlock}
    return [
        signal
        for number, name in enumerate(_names(settings), 1)
        for signal in signals_of(number, name, longest.get(name, LONGEST_BYPASS))
    ]


def _names(settings: HvSettings) -> list[str]:
    return [interlock.name for interlock in settings.interlock] + (["watchdog"] if settings.watchdog else [])


class Interlocks:
    """All interlocks of one supply.

    Args:
        settings: of the supply.
        site: prefix of the site, e.g. "LAB:".
        prefix: what stands before the supply's own PVs.
        saved: as `plain` gave it before a restart.
        simulated: whether simulated sources are believed.
        server: where this process's PVs are watched and the interlocks' own are posted.
        save: saves `plain`; what it gives is done when that is on the disk.
        carry_out: does what an interlock does, with its name and cause; returns when that is confirmed.
        ready: tells whether the unit can be told anything.
    """

    def __init__(
        self,
        settings: HvSettings,
        site: str,
        prefix: str,
        saved: dict[str, Any],
        simulated: bool,
        server: Server,
        save: Callable[[], Future[None]],
        carry_out: Callable[[Deed, str], Awaitable[None]],
        ready: Callable[[], bool],
    ) -> None:
        self._prefix, self._server = prefix, server
        self._save, self._carry_out, self._ready = save, carry_out, ready
        self._told: dict[str, Any] = {}
        self._guards: list[_Guard] = []
        for table in settings.interlock:
            heartbeat = table.heartbeat or _heartbeat(site, table.pv)
            source = Source(table.pv, heartbeat, table.max_age, simulated)
            self._add(settings, table, source, table.condition, saved)
        if (dog := settings.watchdog) is not None:
            pv = dog.pv or f"{prefix}{WATCHDOG}"
            table = InterlockTable.model_construct(
                name="watchdog", pv=pv, server=dog.server, action=dog.action, max_age=dog.max_age
            )
            self._add(settings, table, Source(pv, pv, dog.max_age, simulated), Condition(), saved)
        for name in saved.keys() - set(_names(settings)):
            log.warning("the site file has no interlock %r any more: what it had latched is forgotten", name)
            if (latch := saved[name].get("latch")) and not latch["confirmed"]:
                log.error("what it does was not confirmed, and is not done: %s", latch["action"])

    def _add(
        self, settings: HvSettings, table: InterlockTable, source: Source, condition: Condition, saved: dict[str, Any]
    ) -> None:
        places = settings.places(table.channels)
        it = Interlock(
            table.name,
            source,
            condition,
            deed(settings, table.action, settings.kept_names(table.channels), table.to),
            delay=table.delay,
            startup_grace=table.startup_grace,
            longest_bypass=table.longest_bypass,
            saved=saved.get(table.name),
            now=time.monotonic(),
            now_ns=time.time_ns(),
        )
        if it.bypassed:
            log.warning("interlock %s is still bypassed by %s for %.0f s", it.name, it.bypass_by, it.bypassed)
        watched = {source.name: _taker(source.take)}
        if source.heartbeat not in ("", source.name):
            watched[source.heartbeat] = _taker(source.take_heartbeat)
        if source.heartbeat.endswith(":HEARTBEAT"):
            simulated = source.heartbeat.removesuffix("HEARTBEAT") + "SIM"
            watched[simulated] = source.take_simulated
        number = len(self._guards) + 1
        names_states = condition.names_states
        self._guards.append(_Guard(number, it, table.server, frozenset(places), watched, names_states))

    def plain(self) -> dict[str, Any]:
        """Give what must outlast a restart, as JSON can hold it."""
        return {guard.it.name: guard.it.plain() for guard in self._guards}

    def barred(self, place: str) -> str:
        """Say why a channel may not be switched on or raised, nothing if it may."""
        refusals = [guard.it.refusal for guard in self._guards if not guard.places or place in guard.places]
        return "; ".join(refusal for refusal in refusals if refusal)

    async def run(self, on_look: Callable[[], None]) -> None:
        """Watch, judge, act, until cancelled. `on_look` is called after each look."""
        async with AsyncExitStack() as held:
            clients: dict[str, Client] = {}
            unwatched = [(guard, dict(guard.unwatched)) for guard in self._guards]
            try:
                while True:
                    for guard, names in unwatched:
                        for name in list(names):
                            if await self._watch(held, clients, guard, name, names[name]):
                                del names[name]
                    self._look()
                    on_look()
                    await asyncio.sleep(PERIOD)
            finally:
                begun = [task for guard in self._guards for task in (guard.acting, guard.asking) if task is not None]
                for task in begun:
                    task.cancel()
                await asyncio.gather(*begun, return_exceptions=True)

    async def _watch(
        self,
        held: AsyncExitStack,
        clients: dict[str, Client],
        guard: _Guard,
        name: str,
        take: Callable[[Reading], None],
    ) -> bool:
        """Watch a PV here or at its one server; say whether that is possible."""
        is_source = name == guard.it.source.name
        if (states := self._server.states(name)) is not None:
            if is_source:
                guard.it.source.states = states
            held.callback(self._server.watch(name, take))
            return True
        if guard.server is None:
            if is_source:
                guard.it.source.say_away('is not served by this process; say server = "host:port" in the site file')
            return False
        if guard.server not in clients:
            clients[guard.server] = await held.enter_async_context(Client(guard.server))
        client = clients[guard.server]
        if is_source and guard.names_states:
            take = _asking(guard, client, take)
        held.callback(client.end, client.watch(name, take))
        return True

    def _look(self) -> None:
        now, now_ns = time.monotonic(), time.time_ns()
        for guard in self._guards:
            if guard.it.judge(now, now_ns):
                log.error("interlock %s has tripped: %s", guard.it.name, guard.it.cause)
                guard.saving = self._save()
            if guard.was_bypassed and not guard.it.bypassed:
                log.warning("interlock %s is in force again; it was bypassed by %s", guard.it.name, guard.it.bypass_by)
            guard.was_bypassed = bool(guard.it.bypassed)
            if guard.acting is not None and guard.acting.done():
                ended, guard.acting = guard.acting, None
                if not ended.cancelled():
                    ended.result()  # what is not a DriverError is a bug, and told as one
            if guard.it.state is State.ACTING and guard.acting is None and now >= guard.again_at and self._ready():
                guard.acting = asyncio.create_task(self._act(guard))
        self.tell()

    async def finish(self) -> None:
        """Carry out what has tripped and is not confirmed: before anything else when the unit has come back.

        What the unit refuses is tried again later, and what takes long goes on. It does not raise: a unit that is lost
        again is found to be soon.
        """
        guards = [guard for guard in self._guards if guard.it.state is State.ACTING]
        for guard in guards:
            if guard.acting is None or guard.acting.done():  # a bug in it is told when it is tried again
                guard.acting = asyncio.create_task(self._act(guard))
        if acting := [guard.acting for guard in guards if guard.acting is not None]:
            await asyncio.wait(acting, timeout=FIRST)

    async def _act(self, guard: _Guard) -> None:
        async with guard.turn:
            it, latch = guard.it, guard.it.latch
            if latch is None or latch.confirmed:
                return
            if (saving := guard.saving) is not None:  # what is begun is finished, whatever happens to us
                guard.saving = None
                with suppress(OSError, TimeoutError):  # the device has told that; neither holds up what protects
                    await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(saving)), SAVING)
            by = f"interlock {it.name}" if it.name != "watchdog" else it.name
            try:
                await self._carry_out(latch.action, f"{by}: {latch.cause}")
            except (DriverError, Refused) as error:
                if str(error) != it.trouble:
                    log.error("interlock %s: what it does is not confirmed: %s", it.name, error)
                it.trouble = str(error)
                guard.again_at = time.monotonic() + RETRY
            else:
                it.confirm()
                log.warning("interlock %s: what it does is confirmed", it.name)
                self._save()
            self.tell()

    def put(self, signal: Signal, value: Any, by: str) -> Any:
        """Reset or bypass an interlock; give the value of the PV then.

        Raises:
            Refused: it cannot be now.
        """
        head, name = signal.name.split(":")
        it = self._guards[int(head.removeprefix("ILK")) - 1].it
        if name == "BYPASS":
            it.bypass(value, by)
            if value:
                log.warning("interlock %s is bypassed for %g s by %s", it.name, value, by)
        elif value:
            it.reset()
            log.warning("interlock %s is reset by %s", it.name, by)
        self._save()
        self._told.pop(signal.name, None)
        return value if name == "BYPASS" else 0

    def tell(self, *, anew: bool = False) -> None:
        """Post what has changed of the interlocks' PVs; all of it where they have been made INVALID."""
        values = {name: value for guard in self._guards for name, value in guard.it.values(guard.number).items()}
        changed = {name: value for name, value in values.items() if anew or self._told.get(name) != value}
        self._told |= changed
        if changed:
            self._server.post(self._prefix, time.time_ns(), changed)


def _heartbeat(site: str, pv: str) -> str:
    """Give the HEARTBEAT of the device that a PV of this site belongs to; empty for all others."""
    device, colon, _ = pv.removeprefix(site).partition(":")
    return f"{site}{device}:HEARTBEAT" if pv.startswith(site) and colon else ""


def _taker(take: Callable[[Reading, float], None]) -> Callable[[Reading], None]:
    return lambda reading: take(reading, time.monotonic())


def _asking(guard: _Guard, client: Client, take: Callable[[Reading], None]) -> Callable[[Reading], None]:
    """Have the names of the source's states asked for whenever it is connected anew."""
    source, connected = guard.it.source, False

    async def ask() -> None:
        while True:
            with suppress(TimeoutError, PermissionError):
                source.states = (await client.metadata(source.name)).states
                return
            await asyncio.sleep(PERIOD)

    def on_reading(reading: Reading) -> None:
        nonlocal connected
        if reading.connected and not connected:
            if guard.asking is not None:
                guard.asking.cancel()
            guard.asking = asyncio.create_task(ask())
        connected = reading.connected
        take(reading)

    return on_reading
