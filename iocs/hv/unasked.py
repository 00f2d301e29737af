"""What a supply is told that no person asked for: by an interlock, the watchdog, or the stop of the program.

It switches off and lowers; it never switches on and never raises. All of it is in the put log with its cause.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from drivers.errors import DeviceError, DriverError, LinkError, LinkTimeout
from iocs.hv.channel import ChannelState
from iocs.hv.protection import Kind
from iocs.hv.puts import Puts
from iocs.hv.ramps import Aborted, Key, Ramps
from iocs.hv.settings import HvSettings, kept, of_kept
from iocs.signals import Refused

log = logging.getLogger(__name__)

Deed = dict[str, Any]


def deed(settings: HvSettings, kind: Kind, channels: list[str], to: float | None = None) -> Deed:
    """Give what is to be done as plain data: it is kept with a latch, whatever the site file says later.

    Args:
        settings: of the supply.
        kind: off, standby, ramp.
        channels: names by which they are kept; none = all.
        to: V; for ramp.
    """
    standby = {settings.kept_names([key])[0]: table.standby for key, table in settings.channel.items()}
    return {
        "kind": kind,
        "channels": channels,
        "to": to,
        "standby": {name: volts for name, volts in standby.items() if volts is not None},
    }


class Unasked:
    """Carries deeds out.

    Args:
        settings: of the supply.
        orders: to the unit.
        ramps: of the groups that are only lowered together.
        channels: what is known of each channel, by board and number.
        turn: held while something else is put; what lowers waits for it, what switches off does not.
        overtake: called with the place of a channel before it is switched off: puts that wait for it are refused.
        note: notes in the put log (signal, value, old value, who and why, why not).
        permit: raises Refused while nothing may be written.
    """

    def __init__(
        self,
        settings: HvSettings,
        orders: Puts,
        ramps: Ramps,
        channels: Mapping[Key, ChannelState],
        turn: asyncio.Lock,
        overtake: Callable[[str], None],
        note: Callable[[str, Any, Any, str, str], None],
        permit: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._orders, self._ramps, self._channels, self._turn = orders, ramps, channels, turn
        self._overtake, self._note, self._permit = overtake, note, permit
        self._said: dict[tuple[str, str], str] = {}  # failures that are in the put log already

    async def carry_out(self, what: Deed, by: str, *, asked: bool = False) -> None:
        """Do it; return when the unit has confirmed all of it.

        What cannot be lowered is switched off: a channel without standby, and one that does not take the voltage.

        Args:
            what: see `deed`.
            by: who and why.
            asked: whether a person did; then another one may abort it, and nothing is switched off for that.

        Raises:
            DriverError: something is not confirmed; the text says what. LinkError: the unit is lost.
            Refused: nothing may be written.
        """
        self._permit()
        keys = {kept(*key): key for key in self._channels}
        if not keys:
            raise DeviceError("the unit has not told its channels yet")
        wanted = what["channels"] or list(keys)
        levels = {
            keys[name]: {"off": None, "ramp": what["to"]}.get(what["kind"], what["standby"].get(name))
            for name in wanted
            if name in keys
        }
        failed = await self._all_off([key for key, volts in levels.items() if volts is None], by)
        lowered = {self._channels[key].place: volts for key, volts in levels.items() if volts is not None}
        groups = self._ramps.grouped(lowered)
        together = {place for group in groups for place in group}
        for key, volts in levels.items():
            if volts is not None and self._channels[key].place not in together:
                failed += await self._lower(key, volts, by)
        for result in await asyncio.gather(*(self._lower_together(group, by, asked) for group in groups)):
            failed += result
        failed += [
            f"the unit has no {place[:-1]}" for place in self._missing(name for name in wanted if name not in keys)
        ]
        if failed:
            raise DeviceError("; ".join(failed))

    def _missing(self, names: Iterable[str]) -> list[str]:
        """Give the channels that are not there and should be; what nobody names any more cannot be waited for."""
        named = {name for table in self._settings.interlock for name in self._settings.kept_names(table.channels)}
        found = []
        for name in names:
            board, number = of_kept(name)
            told = any(of == board for of, _ in self._channels) or board not in self._settings.boards
            if told and name not in named:
                log.warning("neither unit nor site file has %s any more: nothing is done to it", name[:-1])
            else:
                found.append(self._settings.place(board, number))
        return found

    async def _all_off(self, keys: list[Key], by: str) -> list[str]:
        """Switch channels off, all at once; give what failed."""
        results = await asyncio.gather(*(self._off(key, by) for key in keys), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, DriverError | Refused):
                raise result
        return [str(result) for result in results if isinstance(result, DriverError | Refused)]

    async def _off(self, key: Key, by: str) -> None:
        channel = self._channels[key]
        old = None if channel.stat is None else channel.stat & 1
        try:
            self._permit()
            self._overtake(channel.place)
            await self._orders.off(*key)
        except (DriverError, Refused) as error:
            self._tell(f"{channel.place}ON", 0, old, by, str(error))
            raise
        self._tell(f"{channel.place}ON", 0, old, by)

    async def _lower(self, key: Key, volts: float, by: str) -> list[str]:
        name = f"{self._channels[key].place}VSET"
        try:
            async with self._turn:
                self._permit()
                lowered = await self._orders.lower(*key, volts)
        except LinkError as error:
            self._tell(name, volts, None, by, str(error))
            return _later(error)
        except (DriverError, Refused) as error:
            self._tell(name, volts, None, by, str(error))
            return await self._all_off([key], by)
        if lowered is not None:
            self._tell(name, lowered[1], lowered[0], by)
        return []

    async def _lower_together(self, group: Mapping[str, float], by: str, asked: bool) -> list[str]:
        try:
            await self._ramps.lower(group, by, abortable=asked)
        except LinkError as error:
            return _later(error)
        except (DriverError, Refused) as error:
            for place, volts in group.items():
                self._tell(f"{place}VSET", volts, None, by, str(error))
            if asked and isinstance(error, Aborted):
                return [str(error)]
            return await self._all_off([key for key, channel in self._channels.items() if channel.place in group], by)
        return []

    def _tell(self, name: str, value: Any, old: Any, by: str, why_not: str = "") -> None:
        """Note what was written, or once why not."""
        if why_not and self._said.get((name, by)) == why_not:
            return
        self._said[name, by] = why_not
        if not why_not:
            del self._said[name, by]
        self._note(name, value, old, by, why_not)


def _later(error: LinkError) -> list[str]:
    """Give what failed where one reply or one board is missing: the others go on, and this one is tried again."""
    if isinstance(error, LinkTimeout):
        return [str(error)]
    raise error
