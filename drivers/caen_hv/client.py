"""One supply (or several boards on one line) as verbs: identify, read, set, on, off, clear.

What it writes, and only when asked for: `set`, `on`, `off`, `clear`. Opening, identifying and reading send MON alone.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from drivers.caen_hv.exchange import Counts, Exchange
from drivers.caen_hv.line import BoardSilent, Line, LostReply, Priority
from drivers.caen_hv.parameters import N1470, Parameter, in_words
from drivers.caen_hv.protocol import ErrorReply, Request, decode
from drivers.caen_hv.readings import Readings, Value
from drivers.caen_hv.unit import (
    Limits,
    NotSent,
    Unit,
    check_channel,
    identify,
    read_imon_decimals,
    read_limits,
    text_of,
)
from drivers.caen_hv.wrapper import LibraryLink
from drivers.errors import DeviceError, LinkError
from drivers.link import Link, make_link, parse_address

__all__ = [
    "BoardSilent",
    "Client",
    "Counts",
    "ErrorReply",
    "Exchange",
    "Limits",
    "LostReply",
    "NotConfirmed",
    "NotSent",
    "Priority",
    "SessionStuck",
    "Unit",
]

PORT = 1470
SETTLE = 1.0  # s within which a unit must show what it was told


class NotConfirmed(DeviceError):
    """What reads back is not what was asked for; the message says what the unit shows. Nothing is sent again."""


class SessionStuck(LinkError):
    """The address can be reached, but the unit does not talk: its one session is probably taken."""


class Client:
    """The one owner of the line to a supply. All verbs may be called at the same time; they take turns.

    A fast cycle that asks its four questions at once (`asyncio.gather` over VMON, IMON, STAT, BDALARM) is four
    exchanges; asked one after the other, some cost one more after a slow poll (see `Line.ask`, `form`).

    After a LinkError that is no LinkTimeout the link is closed: `open` it again. Every verb raises DriverErrors only:
    LostReply (asked again, lost again; the line is in step), BoardSilent (this board; `identify` it again), ErrorReply
    (the unit's own), ProtocolError, LinkError.

    Args:
        link: closed link, or its address such as `tcp://10.0.0.5:1470` (the port may be left out).
        boards: numbers of the boards on the line.
        timeout: s that one exchange may take.
        connect_timeout: s that connecting may take.

    Attributes:
        line: the wire, for questions that have no verb here.
        units: the boards that answer.
        local: for each board whether it is in LOCAL, as far as BDCTR or LOC:ERR told.
        counts: see `Counts`; they last as long as the client.
    """

    def __init__(
        self, link: Link | str, boards: tuple[int, ...] = (0,), timeout: float = 1.0, connect_timeout: float = 5.0
    ) -> None:
        self.link = make_link(parse_address(link, PORT)) if isinstance(link, str) else link
        self.boards = boards
        self.units: dict[int, Unit] = {}
        self.local: dict[int, bool] = {}
        self._connect_timeout = connect_timeout
        self.line = Line(self.link, timeout)
        self._readings = Readings(self.line)
        self._known: dict[int, Unit] = {}  # every board that ever answered
        self._offs: dict[tuple[int, int | None], int] = {}
        self._setting = asyncio.Lock()

    @property
    def counts(self) -> Counts:
        """What happened on the line."""
        return self.line.wire.counts

    @property
    def history(self) -> tuple[Exchange, ...]:
        """The last hundred exchanges as bytes, newest last."""
        return tuple(self.line.wire.history)

    @property
    def doubts(self) -> Mapping[tuple[int, int], str]:
        """What is doubtful about IMON as it was read last, by board and channel: CAEN's library has two of them."""
        return self.link.doubts if isinstance(self.link, LibraryLink) else {}

    @property
    def is_open(self) -> bool:
        """Tell whether requests are taken."""
        return self.line.is_open

    async def open(self) -> dict[int, Unit]:
        """Connect and identify every board; give those that answer. Only MON is sent.

        Raises:
            SessionStuck: connected, but nothing answers (TCP). LinkError: no connection; a serial line without a board.
            DriverError: what answers is no supply of this family.
        """
        if self.is_open:
            raise LinkError(f"{self.link.address}: already open")
        self.units.clear()
        self.local.clear()
        self.line.identities.clear()
        connected, heard = False, self.counts.exchanges
        try:
            await self.line.open(self._connect_timeout)
            connected = True
            for board in self.boards:
                try:
                    await self.identify(board)
                except BoardSilent:
                    continue
            if not self.units:
                raise LinkError(f"{self.link.address}: no answer from board {', '.join(map(str, self.boards))}")
        except LinkError as error:
            await self.close()
            if self.counts.exchanges == heard and (connected or isinstance(error.__cause__, ConnectionRefusedError)):
                raise self._stuck(error, connected) from error
            raise
        except BaseException:
            await self.close()
            raise
        return dict(self.units)

    def _stuck(self, error: LinkError, connected: bool) -> LinkError:
        if self.link.address.scheme != "tcp":
            return LinkError(f"{error}; is the supply on, are baud rate and board number as on its panel?")
        how = "connected, but the unit does not answer" if connected else "the unit refuses the connection"
        return SessionStuck(
            f"{error}; {how}. It has one session: close the program that holds it (the vendor's, another IOC). If "
            "there is none, a session was left open, and switching the unit off and on frees it"
        )

    async def identify(self, board: int) -> Unit:
        """Ask a board who it is and what it takes; also for a board that was silent. About 25 exchanges, all MON.

        Raises:
            BoardSilent: it does not answer. ProtocolError: it is no supply of this family.
        """
        self.units.pop(board, None)
        unit = await identify(self.line, board)
        before = self._known.get(board)
        if before is not None and before.serial != unit.serial:
            unit = replace(unit, replaced=before.serial)
        self._keep(unit)
        return unit

    async def read(self, board: int, par: str, priority: Priority = Priority.FAST) -> tuple[Value, ...]:
        """Read a parameter: one value for each channel, in order, in one exchange; one value for a board parameter.

        Numbers come as float, bit fields (STAT, BDALARM) as int, words as str. A bit field is believed when two reads
        in a row agree: one that differs from the last one is read again at once, so a change costs one exchange more.

        Raises:
            NotSent: no such parameter. DriverError: as the class says; there is no value then.
        """
        unit = self._unit(board)
        parameter = self._parameter(par)
        if parameter.kind == "order":
            raise NotSent(f"{self.link.address}: {par} is an order and cannot be read")
        values = await self._read(unit, parameter, priority)
        if par == "BDCTR":
            self.local[board] = values[0] == "LOCAL"
        return values

    async def set(
        self, board: int, channel: int | None, par: str, value: Value, priority: Priority = Priority.PUT
    ) -> Value:
        """Set a parameter of one channel (of the board: channel None); give what the unit then shows.

        Numbers are rounded to the unit's decimals and refused outside its limits; nothing is clipped. A SET whose reply
        was lost is never sent again: what reads back decides. After IMRANGE the limits of ISET are read again.

        Raises:
            NotSent: not a value, channel or parameter of this unit, or the unit is in LOCAL.
            ErrorReply: the unit refused. NotConfirmed: it shows something else.
            LinkError: whether the unit has taken it over is not known.
        """
        unit = self._unit(board)
        parameter = self._parameter(par)
        text = text_of(self._where(board, channel), unit, channel, parameter, value)
        async with self._setting:
            await self._refuse_in_local(board)
            lost = await self._order(Request(board, par, channel, text, setting=True), priority)
            wanted = decode(parameter, text)
            step = unit.limits[channel][par].step if channel is not None and parameter.kind == "number" else 0.0
            shown = await self._until_shown(unit, channel, parameter, wanted, step, priority, lost)
            if par == "IMRANGE":
                await self._new_range(unit)
            return shown

    def offs(self, board: int, channel: int) -> int:
        """Count how often a channel was told to switch off, alone or with all others."""
        return self._offs.get((board, channel), 0) + self._offs.get((board, None), 0)

    async def on(self, board: int, channel: int, priority: Priority = Priority.PUT, *, offs: int | None = None) -> int:
        """Switch one channel on; give its STAT, in which ON is set. ON is sent once and never again.

        An `off` for this channel that comes while this waits for its turn wins: nothing is sent.

        Args:
            board: as everywhere.
            channel: counted from 0.
            priority: its urgency.
            offs: what `offs` gave when ON was decided on, where something was asked of the unit since; an `off` that
                came in between wins too.

        Raises:
            As `set`.
        """
        unit = self._unit(board)
        check_channel(self._where(board, channel), unit, channel)
        known = self.offs(board, channel) if offs is None else offs

        def still() -> None:
            if self.offs(board, channel) != known:
                raise NotSent(f"{self._where(board, channel)}: ON was overtaken by an OFF; nothing was sent")

        async with self._setting:
            await self._refuse_in_local(board)
            lost = await self._order(Request(board, "ON", channel, setting=True), priority, still)
            end = time.monotonic() + SETTLE
            while True:
                stat = (await self._stat(unit, priority))[channel]
                if stat & 1:
                    return stat
                if time.monotonic() > end or lost:
                    break
                await asyncio.sleep(0.1)
        raise NotConfirmed(
            f"{self._where(board, channel)}: was told to switch on and says: {in_words(stat)}{_but(lost)}"
        )

    async def off(self, board: int, channel: int | None = None) -> tuple[int, ...]:
        """Switch one channel off, or all of a board; give STAT of all channels. It goes before everything else.

        Confirmed is a channel that is not ON, or that ramps down after an OFF that was answered. An OFF whose reply was
        lost is sent once more when the channel still shows ON: unlike ON it can do no harm. With channel None the unit
        is told once for all; a channel that is on after that is told by itself.

        Raises:
            As `set`; a LOCAL unit is told nevertheless, and refuses.
        """
        unit = self.units.get(board) or self._known.get(board)
        if unit is None:
            raise NotSent(f"{self.link.address}: board {board} has never answered; nothing was sent")
        if channel is not None:
            check_channel(self._where(board, channel), unit, channel)
        self._offs[board, channel] = self._offs.get((board, channel), 0) + 1
        wanted = range(unit.channels) if channel is None else (channel,)
        lost = None
        try:
            lost = await self._off(unit, unit.channels if channel is None else channel)
        except ErrorReply as error:
            if channel is not None or error.kind != "CH":
                raise  # a unit that knows no order for all is told channel by channel
        stat = await self._off_shown(unit, wanted, lost)
        left = [each for each in wanted if not _is_off(stat[each], lost)]
        for each in left if lost or channel is None else ():
            stat = await self._off_shown(unit, (each,), await self._off(unit, each))
        left = [each for each in wanted if not _is_off(stat[each], None)]
        if left:
            said = "; ".join(f"CH{each}: {in_words(stat[each])}" for each in left)
            raise NotConfirmed(
                f"{self.link.address}: board {board} was told to switch off and says: {said}{_but(lost)}"
            )
        return stat

    async def off_all(self, board: int) -> tuple[int, ...]:
        """Switch all channels of a board off: `off` without a channel."""
        return await self.off(board)

    async def clear(self, board: int, priority: Priority = Priority.PUT) -> int:
        """Clear the latched alarms of the whole board (BDCLR); give BDALARM as it is then, which the caller judges.

        Raises:
            As `set`. LostReply: the reply was lost and BDALARM is not 0.
        """
        unit = self._unit(board)
        async with self._setting:
            await self._refuse_in_local(board)
            lost = await self._order(Request(board, "BDCLR", setting=True), priority)
            (alarm,) = await self.read(unit.board, "BDALARM", priority)
        if lost is not None and alarm:
            raise lost
        return int(alarm)

    async def close(self) -> None:
        """End the session in order: the outstanding exchange, what is queued to switch off, then the link."""
        await self.line.close()

    async def _new_range(self, unit: Unit) -> None:
        """Read again what changes with IMRANGE."""
        bounds = await read_limits(self.line, unit.board, unit.channels, "ISET")
        limits = [dict(each) for each in unit.limits]
        for channel, each in enumerate(bounds):
            limits[channel]["ISET"] = each
        digits = await read_imon_decimals(self.line, unit.board, unit.channels)
        self._keep(replace(unit, limits=tuple(MappingProxyType(each) for each in limits), imon_decimals=digits))

    async def _read(self, unit: Unit, parameter: Parameter, priority: Priority) -> tuple[Value, ...]:
        try:
            return await self._readings.read(unit, parameter, priority)
        except BoardSilent:
            self._lose(unit.board)
            raise

    async def _stat(self, unit: Unit, priority: Priority) -> tuple[int, ...]:
        return tuple(map(int, await self._read(unit, N1470["STAT"], priority)))

    async def _order(
        self, request: Request, priority: Priority, still: Callable[[], None] = lambda: None
    ) -> LostReply | None:
        """Send a SET once. Gives None when it was answered, the loss when it was not."""
        try:
            await self.line.ask(request, priority, still=still)
        except LostReply as lost:
            return lost
        except BoardSilent:
            self._lose(request.board)
            raise
        except ErrorReply as error:
            if error.kind == "LOC":
                self.local[request.board] = True
            raise
        return None

    async def _off(self, unit: Unit, channel: int) -> LostReply | None:
        return await self._order(Request(unit.board, "OFF", channel, setting=True), Priority.OFF)

    async def _off_shown(self, unit: Unit, channels: Iterable[int], lost: LostReply | None) -> tuple[int, ...]:
        """Give STAT when these channels are off, or what it is after SETTLE."""
        end = time.monotonic() + SETTLE
        while True:
            stat = await self._stat(unit, Priority.OFF)
            if all(_is_off(stat[each], lost) for each in channels) or lost or time.monotonic() > end:
                return stat
            await asyncio.sleep(0.1)

    async def _until_shown(
        self,
        unit: Unit,
        channel: int | None,
        parameter: Parameter,
        wanted: Value,
        step: float,
        priority: Priority,
        lost: LostReply | None,
    ) -> Value:
        end = time.monotonic() + SETTLE
        while True:
            shown = (await self._read(unit, parameter, priority))[channel or 0]
            if isinstance(wanted, str) or isinstance(shown, str):
                agrees = wanted == shown
            else:
                agrees = abs(wanted - shown) <= step * 1.001
            if agrees:
                return shown
            if time.monotonic() > end:
                raise NotConfirmed(
                    f"{self._where(unit.board, channel)}: {parameter.name} was set to {wanted} and reads back "
                    f"{shown} {parameter.unit}".rstrip()
                    + _but(lost)
                )
            await asyncio.sleep(0.1)

    async def _refuse_in_local(self, board: int) -> None:
        if self.local.get(board):
            await self.read(board, "BDCTR", Priority.PUT)
            if self.local[board]:
                raise NotSent(
                    f"{self._where(board, None)} is in LOCAL; turn it to REMOTE at its front; nothing was sent"
                )

    def _unit(self, board: int) -> Unit:
        if board in self.units:
            return self.units[board]
        if not self.is_open:
            raise LinkError(f"{self.link.address}: not open")
        raise BoardSilent(f"{self.link.address}: board {board} does not answer; it must be identified again")

    def _keep(self, unit: Unit) -> None:
        self.units[unit.board] = self._known[unit.board] = unit
        self._readings.expect(unit)

    def _lose(self, board: int) -> None:
        self.units.pop(board, None)
        self.line.identities.pop(board, None)

    def _parameter(self, par: str) -> Parameter:
        if par not in N1470:
            raise NotSent(f"{self.link.address}: no parameter {par!r}; known: {', '.join(N1470)}")
        return N1470[par]

    def _where(self, board: int, channel: int | None) -> str:
        return f"{self.link.address}: board {board}" + ("" if channel is None else f" CH{channel}")


def _is_off(stat: int, lost: LostReply | None) -> bool:
    """Tell whether a channel is off: not ON, or ramping down after an OFF that was answered."""
    return not stat & 1 or (lost is None and bool(stat & 4))


def _but(lost: LostReply | None) -> str:
    return " (a reply was lost)" if lost is not None else ""
