"""Puts to a supply: checked against what the unit says at that moment, sent, read back.

A put that could raise the output reads first what it is checked against; the unit's panel may have changed it since
the last poll. Switching off asks nothing and waits for nobody.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from drivers.caen_hv.client import Client, ErrorReply, NotConfirmed, Priority
from drivers.errors import DeviceError, DriverError
from iocs.hv.channel import STATES, ChannelState
from iocs.hv.limits import check_number, check_on
from iocs.hv.shape import Range
from iocs.hv.status import BIT
from iocs.signals import Bad, Refused

NEEDED = {  # what is read before a put of it
    "VSET": ("VSET", "MAXV", "POL"),
    "ISET": ("ISET",),
    "MAXV": ("VSET", "MAXV"),
    "ON": ("VSET", "ISET", "MAXV", "POL"),
}


class Puts:
    """What may be asked of the channels of a supply.

    Args:
        supply: the unit, or the boards on one line.
        channels: what is known of each channel, by board and number.
        tell: posts values of PVs that the unit has just said.
    """

    def __init__(
        self,
        supply: Client,
        channels: Mapping[tuple[int, int], ChannelState],
        tell: Callable[[dict[str, Any]], None],
    ) -> None:
        self._supply = supply
        self._channels = channels
        self._tell = tell

    async def number(self, board: int, number: int, name: str, value: float) -> float:
        """Set VSET, ISET, MAXV, RUP, RDW or TRIP of a channel; give what reads back.

        Raises:
            Refused: nothing was sent. DriverError: the unit refused, or does not show it.
        """
        channel = self._channels[board, number]
        await self._freshen(board, name)
        told = check_number(channel.known, name, value)
        return self._shown(channel, name, await self._supply.set(board, number, name, told))

    async def choice(self, board: int, number: int, name: str, state: int) -> int:
        """Set PDWN or IMRANGE of a channel; give the state that reads back.

        Raises:
            Refused, DriverError: as `number`.
        """
        channel = self._channels[board, number]
        await self._freshen(board, name)
        if channel.known.tripped:
            raise Refused(f"the channel has tripped ({channel.known.tripped}); put 1 to {channel.place}TRIPCLEAR first")
        shown = await self._supply.set(board, number, name, STATES[name][state])
        if name == "IMRANGE":
            self.take_spans(board)
        self._shown(channel, name, shown)
        return STATES[name].index(shown)

    async def on(self, board: int, number: int) -> int:
        """Switch a channel on; one that is on is not told again. An OFF that comes while this asks and checks wins.

        Raises:
            Refused, DriverError: as `number`.
        """
        channel, offs = self._channels[board, number], self._supply.offs(board, number)
        await self._freshen(board, "ON")
        stat = (await self._supply.read(board, "STAT", Priority.PUT))[number]
        channel.stat = int(stat)
        if channel.stat & BIT["ON"] and not channel.stat & BIT["RDW"] and not channel.known.tripped:
            return self._switched(channel, "On")
        check_on(channel.known)
        try:
            await self._supply.on(board, number, offs=offs)
        except NotConfirmed:
            channel.latch.told_on()  # it may have tripped before it was seen to be on
            raise
        channel.latch.told_on()
        return self._switched(channel, "On")

    async def off(self, board: int, number: int) -> int:
        """Switch a channel off, before everything else.

        Raises:
            DriverError: the unit did not confirm.
        """
        await self._supply.off(board, number)
        return self._switched(self._channels[board, number], "Off")

    async def lower(self, board: int, number: int, volts: float) -> tuple[float, float] | None:
        """Bring VSET of a channel down to so many V; give what it was and what reads back, None if it was not above.

        Raises:
            Refused, DriverError: as `number`.
        """
        channel = self._channels[board, number]
        await self._freshen(board, "VSET")
        before = channel.known.number("VSET")
        if before <= volts:
            return None
        told = check_number(channel.known, "VSET", volts)
        return before, self._shown(channel, "VSET", await self._supply.set(board, number, "VSET", told))

    async def all_off(self) -> None:
        """Switch all channels of all boards off, before everything else. A board that does not is told, the others too.

        Raises:
            DriverError: some channel is not confirmed to be off; the text says which.
        """
        boards = sorted({board for board, _ in self._channels})
        results = await asyncio.gather(*(self._supply.off(board) for board in boards), return_exceptions=True)
        failed = []
        for board, result in zip(boards, results, strict=True):
            if isinstance(result, DriverError):
                failed.append(str(result))
            elif isinstance(result, BaseException):
                raise result
            else:
                for (of, _), channel in self._channels.items():
                    if of == board:
                        self._switched(channel, "Off")
        if failed:
            raise DeviceError("; ".join(failed))

    async def clear_trip(self, board: int, number: int) -> None:
        """Clear a trip: VSET 0, OFF, BDCLR, and read again. The latch goes only when all of it was confirmed.

        Raises:
            Refused: the channel has not tripped. DriverError: the unit did not confirm.
        """
        channel = self._channels[board, number]
        if channel.latch.trip is None:
            raise Refused("no trip is latched, so there is nothing to clear; nothing was sent")
        await self._freshen(board, "TRIPCLEAR")
        self._shown(channel, "VSET", await self._supply.set(board, number, "VSET", 0.0))
        await self.off(board, number)
        await self._supply.clear(board)
        stat = (await self._supply.read(board, "STAT", Priority.PUT))[number]
        channel.latch.clear(int(stat))
        self._tell(channel.own())

    async def clear_alarm(self, board: int) -> None:
        """Clear the latched alarms of a board (BDCLR).

        Raises:
            Refused, DriverError: as `number`.
        """
        await self._freshen(board, "CLEARALARM")
        await self._supply.clear(board)

    def take_spans(self, board: int) -> None:
        """Take over what a board takes for its settings."""
        for number, limits in enumerate(self._supply.units[board].limits):
            self._channels[board, number].spans = spans(limits)

    async def _freshen(self, board: int, name: str) -> None:
        """Read what a put is checked against, and whether the unit may be set at all."""
        control = ""
        try:
            (control,) = await self._supply.read(board, "BDCTR", Priority.PUT)
        except ErrorReply as error:
            if error.kind != "PAR":
                raise  # what does not tell it (a library) refuses by itself
        if control == "LOCAL":
            raise Refused("the unit is in LOCAL: turn it to REMOTE at its front panel; nothing was sent")
        for par in NEEDED.get(name, ()):
            values: Any = None
            try:
                values = await self._supply.read(board, par, Priority.PUT)
            except DriverError as error:
                self._unread(board, par, error)
                raise
            now = time.monotonic()
            for (of, number), channel in self._channels.items():
                if of == board:
                    channel.take_settings({par: values[number]}, now)

    def _unread(self, board: int, par: str, error: DriverError) -> None:
        for (of, _), channel in self._channels.items():
            if of == board:
                channel.take_settings({par: Bad(str(error))}, time.monotonic())

    def _shown(self, channel: ChannelState, name: str, value: Any) -> Any:
        self._tell(channel.confirmed(name, value, time.monotonic()))
        return value

    def _switched(self, channel: ChannelState, state: str) -> int:
        self._tell(channel.confirmed("ON", state, time.monotonic()))
        return STATES["ON"].index(state)


def spans(limits: Mapping[str, Any]) -> dict[str, Range]:
    """Give what a unit takes for the settings of one channel."""
    return {name: Range(each.minimum, each.maximum, each.decimals) for name, each in limits.items()}
