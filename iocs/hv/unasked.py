"""What a supply is told that no person asked for: by an interlock, the watchdog, or the stop of the program.

It switches off and lowers; it never switches on and never raises. All of it is in the put log with its cause.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from drivers.errors import DeviceError, DriverError, LinkError, LinkTimeout
from iocs.hv.channel import ChannelState
from iocs.hv.protection import Kind
from iocs.hv.puts import Puts
from iocs.hv.ramps import Ramps
from iocs.hv.settings import HvSettings
from iocs.signals import Refused

Deed = dict[str, Any]


def deed(settings: HvSettings, kind: Kind, channels: list[str], to: float | None = None) -> Deed:
    """Give what is to be done as plain data: it is kept with a latch, whatever the site file says later.

    Args:
        settings: of the supply.
        kind: off, standby, ramp.
        channels: "CH3:" ...; none = all.
        to: V; for ramp.
    """
    standby = {settings.places([key])[0]: table.standby for key, table in settings.channel.items()}
    return {
        "kind": kind,
        "channels": channels,
        "to": to,
        "standby": {place: volts for place, volts in standby.items() if volts is not None},
    }


class Unasked:
    """Carries deeds out.

    Args:
        orders: to the unit.
        ramps: of the groups that are only lowered together.
        channels: what is known of each channel, by board and number.
        turn: held while something else is put; what lowers waits for it, what switches off does not.
        overtake: called with the place of a channel before it is switched off: puts that wait for it are refused.
        note: notes in the put log (signal, value, old value, who and why, why not).
    """

    def __init__(
        self,
        orders: Puts,
        ramps: Ramps,
        channels: Mapping[tuple[int, int], ChannelState],
        turn: asyncio.Lock,
        overtake: Callable[[str], None],
        note: Callable[[str, Any, Any, str, str], None],
    ) -> None:
        self._orders, self._ramps, self._channels, self._turn = orders, ramps, channels, turn
        self._overtake, self._note = overtake, note
        self._said: dict[tuple[str, str], str] = {}  # failures that are in the put log already

    async def carry_out(self, what: Deed, by: str) -> None:
        """Do it; return when the unit has confirmed all of it.

        What cannot be lowered is switched off: a channel without standby, and one that does not take the voltage.

        Raises:
            DriverError: something is not confirmed; the text says what. LinkError: the unit is lost.
        """
        keys = {channel.place: key for key, channel in self._channels.items()}
        if not keys:
            raise DeviceError("the unit has not told its channels yet")
        wanted = what["channels"] or list(keys)
        places = [place for place in wanted if place in keys]
        levels = {place: what["standby"].get(place) if what["kind"] == "standby" else what["to"] for place in places}
        if what["kind"] == "off":
            levels = dict.fromkeys(places)
        failed = await self._all_off([keys[place] for place, volts in levels.items() if volts is None], by)
        lowered = {place: volts for place, volts in levels.items() if volts is not None}
        groups = self._ramps.grouped(lowered)
        for place in lowered.keys() - {place for group in groups for place in group}:
            failed += await self._lower(keys[place], lowered[place], by)
        for result in await asyncio.gather(*(self._lower_together(group, keys, by) for group in groups)):
            failed += result
        failed += [f"the unit has no {place[:-1]}" for place in wanted if place not in keys]
        if failed:
            raise DeviceError("; ".join(failed))

    async def _all_off(self, keys: list[tuple[int, int]], by: str) -> list[str]:
        """Switch channels off, all at once; give what failed."""
        results = await asyncio.gather(*(self._off(key, by) for key in keys), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, DriverError):
                raise result
        return [str(result) for result in results if isinstance(result, DriverError)]

    async def _off(self, key: tuple[int, int], by: str) -> None:
        channel = self._channels[key]
        old = None if channel.stat is None else channel.stat & 1
        self._overtake(channel.place)
        try:
            await self._orders.off(*key)
        except DriverError as error:
            self._tell(f"{channel.place}ON", 0, old, by, str(error))
            raise
        self._tell(f"{channel.place}ON", 0, old, by)

    async def _lower(self, key: tuple[int, int], volts: float, by: str) -> list[str]:
        name = f"{self._channels[key].place}VSET"
        try:
            async with self._turn:
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

    async def _lower_together(
        self, group: Mapping[str, float], keys: Mapping[str, tuple[int, int]], by: str
    ) -> list[str]:
        try:
            await self._ramps.lower(group, by)
        except LinkError as error:
            return _later(error)
        except (DriverError, Refused) as error:
            for place, volts in group.items():
                self._tell(f"{place}VSET", volts, None, by, str(error))
            return await self._all_off([keys[place] for place in group], by)
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
