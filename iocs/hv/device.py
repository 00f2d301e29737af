"""A CAEN high-voltage supply as PVs: polled, put to, lost and healed.

Nothing is written unasked, at no start and at no reconnect: the unit is the truth, and is read. Only an interlock, the
watchdog, and a configured stop switch off or lower (`iocs.hv.unasked`).
"""

import asyncio
import logging
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from drivers.caen_hv.client import BoardSilent, Client, LostReply, Unit
from drivers.errors import DeviceError, DriverError, LinkError
from iocs.ca.server import ASKED
from iocs.config import Finding
from iocs.device import Device, Life, Place
from iocs.hv import signals as declared
from iocs.hv.apart import Apart
from iocs.hv.channel import ChannelState
from iocs.hv.expect import compare
from iocs.hv.interlocks import WATCHDOG, Interlocks, own_signals
from iocs.hv.polling import OF_CHANNELS, Polls
from iocs.hv.puts import Puts, spans
from iocs.hv.ramp_signals import own_signals as ramp_signals
from iocs.hv.ramps import Ramps
from iocs.hv.settings import HvSettings, kept, name_boards, of_kept
from iocs.hv.shape import BoardShape, from_plain, to_plain
from iocs.hv.unasked import Unasked, deed
from iocs.hv.unit import identity_values
from iocs.signals import Bad, Direction, Refused, Signal, Status
from iocs.simulation import simulator

log = logging.getLogger(__name__)

SEEK_PERIOD = 5.0  # s between attempts to find a board that is silent


class HV(Device):
    """One supply, or several boards on one line. `shape`: boards, channels, and what each setting takes."""

    Settings = HvSettings
    alone = True
    later = declared.OF_A_CHANNEL
    settings: HvSettings

    @staticmethod
    def signals(settings: HvSettings, shape: Any) -> list[Signal]:
        """What each channel has, each board, and the line."""
        return declared.signals(settings, shape) + own_signals(settings) + ramp_signals(settings)

    @staticmethod
    @contextmanager
    def simulate(settings: HvSettings) -> Iterator[HvSettings]:
        """Run a simulated supply with as many boards."""
        with simulator(
            "drivers.caen_hv.simulator", ["--port", "0", "--boards", str(max(settings.boards) + 1)]
        ) as address:
            yield settings.model_copy(update={"link": address})

    @staticmethod
    async def check(settings: HvSettings) -> tuple[list[Finding], Any]:
        """Compare what the site file expects with what the unit says."""
        supply = Client(settings.address, tuple(settings.boards), settings.timeout)
        units = await supply.open()
        try:
            found = [Finding(False, f"board {n} does not answer") for n in settings.boards if n not in units]
            for board, unit in units.items():
                read = {par: await supply.read(board, par) for par in OF_CHANNELS}
                found += compare(settings, _shape_of(unit), read)
            return found, to_plain(tuple(_shape_of(unit) for unit in units.values()))
        finally:
            await supply.close()

    def __init__(self, settings: HvSettings, place: Place) -> None:
        self._supply = Client(settings.address, tuple(settings.boards), settings.timeout)
        self._channels: dict[tuple[int, int], ChannelState] = {}
        self._places: dict[str, tuple[int, int | None, str]] = {}
        self._off_at: dict[str, float] = {}  # when each channel was switched off last; "" = all of them
        self._sought = 0  # attempts to find a silent board
        self._nonsense: dict[int, str] = {}  # what a board said last that made no sense
        self._session_at = 0.0  # when the unit was found last
        self._unread: set[int] = set()  # boards whose settings are to be read before anything is posted
        self._shown: dict[str, tuple[float, float]] = {}  # limits that PVs show, where they are not the signals' own
        self._polls = Polls(settings, self._supply, self._channels)
        self._apart = Apart(settings)
        super().__init__(settings, place)
        self._orders = Puts(self._supply, self._channels, self._news_at_once)
        self._before = {board.board: board for board in from_plain(self.shape)}
        name_boards(self.memory, min(self._before, default=settings.boards[0]))
        self._tell_left_over()
        self._build(from_plain(self.shape))
        shared = self._orders, self._channels, self._putting
        self._ramps = Ramps(settings, self._supply, *shared, self._note, self._polls.hurry, place.server, self.prefix)
        self._unasked = Unasked(
            settings, self._orders, self._ramps, *shared[1:], self._overtake, self._note, self._refuse_readonly
        )
        self._ramp_puts = {signal.name for signal in ramp_signals(settings)}
        self._own_puts = {signal.name for signal in own_signals(settings)}
        self._interlocks = Interlocks(
            settings,
            place.prefix,
            self.prefix,
            self.memory.get("interlocks", {}),
            place.believes_simulated,
            place.server,
            self._remember,
            self._protect,
            lambda: self._supply.is_open and self._enabled.is_set(),
        )
        self._bar()

    @property
    def lost_after(self) -> float:
        """Two polls, and as long as one board of several may hold up the line by its silence."""
        silence = 4 * self.settings.timeout if len(self.settings.boards) > 1 else 0.0
        return self.settings.lost_after or 2 * max(self.settings.poll, self._polls.cycle) + silence

    @property
    def readonly(self) -> bool:
        """Whether nothing may be written."""
        return self.settings.readonly or bool(self.memory.get("readonly"))

    # Polling

    async def run(self) -> None:
        """Open the one session, identify, then poll. Only MON is sent."""
        units = await self._supply.open()
        try:
            self._session_at = time.monotonic()
            self._identify(units)
            for channel in self._channels.values():
                channel.interrupted()
            self._unread = set(units)
            await self._interlocks.finish()
            seek_at = time.monotonic() + SEEK_PERIOD
            while True:
                begin = time.monotonic()
                await self._read_outputs()
                self._polls.cycle = time.monotonic() - begin
                if begin >= seek_at and len(self._supply.units) < len(self.settings.boards):
                    await self._seek()
                    seek_at = time.monotonic() + SEEK_PERIOD
                await self._polls.settings(begin)
                self._show_limits()
                await self._polls.wait(begin)
        finally:
            await self._supply.close()

    async def _read_outputs(self) -> None:
        """Read and post the outputs of every board that answers."""
        for board in tuple(self._supply.units):
            posted = False
            while not posted:
                if not self.online:  # it was silent and answers again
                    self._unread.update(self._supply.units)
                anew, stale = board in self._unread, self._stale_flags()
                read = await self._polls.outputs(board, everything=anew)
                if isinstance(read, Bad):
                    self._board_lost(board, read.reason)
                    break
                for channel in read.tripped:
                    self._tripped(channel)
                if self._stale_flags() != stale:
                    self._remember()  # a trip that comes while nobody looks is a new one
                posted = anew or self.online  # else it was lost while this was read: everything again
                if posted:
                    self._unread.discard(board)
                    values = read.values | self._apart.take(read.values)
                    self.post(read.time_ns, (self._standing(board) if anew else {}) | values)
        if not self._supply.units:
            raise LinkError(f"{self.settings.link}: no board answers")

    # Identity and shape

    def _identify(self, units: dict[int, Unit]) -> None:
        for place, board in enumerate(self.settings.boards):
            wanted = self.settings.serials[place] if self.settings.serials else None
            if board in units and wanted not in (None, units[board].serial):
                raise DeviceError(
                    f"{self.settings.link}: board {board} has the serial number {units[board].serial}, and the site "
                    f"file says {wanted}: another unit answers; it is left alone"
                )
        known = {board.board: board for board in from_plain(self.shape)}
        known |= {board: _shape_of(unit) for board, unit in units.items()}
        boards = tuple(known[board] for board in self.settings.boards if board in known)
        self.identify("; ".join(str(_shape_of(unit)) for unit in units.values()))
        self.reshape(to_plain(boards))
        self._shown.clear()
        self._build(boards)
        for board in units:
            self._orders.take_spans(board)
        for board in self.settings.boards:
            if board not in units:
                self._board_lost(board, f"{self.settings.link}: board {board} does not answer")

    def _tell_left_over(self) -> None:
        """Tell of boards for which something is kept and which the site file has no more."""
        kept_for = {of_kept(name)[0] for name in self.memory["channels"]}
        for board in sorted(kept_for - set(self.settings.boards)):
            log.warning(
                "the site file has no board %d any more: what was latched or limited there is kept, idle", board
            )

    def _build(self, boards: tuple[BoardShape, ...]) -> None:
        """Make what is known of each channel, unless that was done; places of all signals."""
        saved = self.memory.setdefault("channels", {})
        found = {}
        for board in boards:
            for number, channel_spans in enumerate(board.channels):
                key, place = (board.board, number), self.settings.place(board.board, number)
                limits = {name: self._signals[f"{place}{name}"].limits for name in channel_spans}
                site = {name: pair for name, pair in limits.items() if pair is not None}
                table = self.settings.table(*key)
                found[key] = self._channels.get(key) or ChannelState(
                    self.settings, table, place, saved.get(kept(*key), {})
                )
                found[key].spans, found[key].site = channel_spans, site
        self._channels.clear()
        self._channels.update(found)
        self._places = {}
        for board in self.settings.boards:
            head = self.settings.head(board)
            self._places[f"{head}CLEARALARM"] = (board, None, "CLEARALARM")
        for (board, number), channel in self._channels.items():
            for name in self._signals:
                if name.startswith(channel.place):
                    self._places[name] = (board, number, name.removeprefix(channel.place))
        told: dict[str, Any] = {"READONLY": self.readonly, "ALLOFF": 0}
        for board in boards:
            told |= self._standing(board.board)
        self._server.post(self.prefix, time.time_ns(), told)

    def _standing(self, board: int) -> dict[str, Any]:
        """Give what is told once a session: who the board is, and what is ours and not the unit's."""
        told: dict[str, Any] = {"READONLY": self.readonly, "ALLOFF": 0, "ALLSTANDBY": 0}
        for (of, _), channel in self._channels.items():
            if of == board:
                told |= channel.own()
        if board in self._supply.units:
            unit = _shape_of(self._supply.units[board])
            told |= identity_values(self.settings.head(board), unit, self._before.get(board))
        return told

    def _show_limits(self) -> None:
        """Have DRVL and DRVH say what may be put now: MAXV and the experts' ceilings move it."""
        changed = []
        for channel in self._channels.values():
            for name, bound in channel.bounds().items():
                signal = self._signals[f"{channel.place}{name}"]
                limits = bound.low, max(bound.low, bound.high)
                if limits != self._shown.get(signal.name, signal.limits):
                    self._shown[signal.name] = limits
                    changed.append(replace(signal, limits=limits))
        self._server.describe(self.prefix, changed)

    async def _seek(self) -> None:
        """Ask the next board that is silent who it is; one at a time, as its silence holds up the others."""
        silent = [board for board in self.settings.boards if board not in self._supply.units]
        board = silent[self._sought % len(silent)]
        self._sought += 1
        try:
            await self._supply.identify(board)
        except (BoardSilent, LostReply):
            return
        except LinkError:
            raise
        except DriverError as error:  # nonsense of one board takes no other with it
            if self._nonsense.get(board) != str(error):
                log.warning("board %d: %s", board, error)
            self._nonsense[board] = str(error)
            return
        self._nonsense.pop(board, None)
        log.info("board %d answers again", board)
        self._identify(dict(self._supply.units))
        self._unread.add(board)

    def _board_lost(self, board: int, reason: str) -> None:
        """Say that one board is lost; where there are several the others go on."""
        head = self.settings.head(board)
        if not head:
            self.lost(reason)
            return
        silent: dict[str, Any] = {}
        for (of, _), channel in self._channels.items():
            if of == board:
                channel.interrupted()
                silent[f"{channel.place}VMON"] = Bad(reason, status=Status.COMM)
        self._server.post(self.prefix, time.time_ns(), self._apart.take(silent))
        names = [name for name in (*self._signals, *self._rows) if name.startswith(head)]
        self._server.invalidate([self.prefix + name for name in names], Status.COMM)
        log.warning("%s", reason)

    # Trips and puts

    def _tripped(self, channel: ChannelState) -> None:
        trip = channel.latch.trip
        log.error("%s has tripped: %s", channel.place[:-1], trip.cause if trip else "")
        self._polls.hurry()
        self._remember()

    # What protects

    async def guard(self) -> None:
        """Run the interlocks."""
        await self._interlocks.run(self._bar)

    def lost(self, reason: str, *, life: Life = Life.LOST) -> None:
        """Say that the unit is lost; the interlocks are not, nor is what the watchdog's client has put."""
        dog = self._server.reading(f"{self.prefix}{WATCHDOG}")
        super().lost(reason, life=life)
        self._interlocks.tell(anew=True)
        self._apart.interrupted()
        self._ramps.tell(anew=True)
        if dog is not None and dog.time_ns:
            self._server.post(self.prefix, dog.time_ns, {WATCHDOG: dog.value})

    async def at_stop(self) -> None:
        """Go to standby, or off, if the site file says so and the unit answers."""
        kind = self.settings.at_stop
        if kind == "leave":
            return
        if not self.online:
            log.error("at_stop = %r was not carried out: the unit does not answer", kind)
            return
        try:
            async with asyncio.timeout(self.settings.at_stop_within):
                await self._protect(deed(self.settings, kind, []), "stop of the program")
        except TimeoutError:
            log.error("at_stop = %r was not confirmed within %g s", kind, self.settings.at_stop_within)
        except (DriverError, Refused) as error:
            log.error("at_stop = %r was not carried out: %s", kind, error)

    async def _protect(self, what: dict[str, Any], by: str, *, asked: bool = False) -> None:
        try:
            await self._unasked.carry_out(what, by, asked=asked)
        finally:
            self._polls.hurry()

    def _refuse_readonly(self) -> None:
        if self.readonly:
            raise Refused("READONLY is set: nothing is written to the unit")

    def _bar(self) -> None:
        """Have puts know what the interlocks refuse."""
        for channel in self._channels.values():
            channel.barred = self._interlocks.barred(channel.place)

    def _overtake(self, place: str) -> None:
        """Have puts that wait for their turn refused: the channel is being switched off."""
        self._off_at[place] = time.monotonic()
        self._ramps.abort("an OFF", place)

    def _note(self, name: str, value: Any, old: Any, by: str, reason: str) -> None:
        self.note_unasked(name, value, by, reason, old=old)

    def _stale_flags(self) -> list[ChannelState]:
        return [channel for channel in self._channels.values() if channel.latch.stale_flag]

    def _remember(self) -> Future[None]:
        self.memory["interlocks"] = self._interlocks.plain()
        self.memory["channels"] |= {kept(*key): channel.plain() for key, channel in self._channels.items()}
        return self.save()

    def urgent(self, signal: Signal, value: Any) -> bool:
        """Switching off waits for no other put."""
        if signal.name == "ALLOFF" or signal.name.endswith(":ABORT"):
            return bool(value)
        return signal.name.endswith(":ON") and not value

    async def in_turn(self, signal: Signal, value: Any, by: str) -> Any:
        """Puts are serial, but switching off waits for none; what waited for its turn meanwhile is refused."""
        if signal.name == WATCHDOG:
            return value  # our own, whether the unit answers or not; so are the interlocks
        if signal.name in self._own_puts:
            return self._interlocks.put(signal, value, by)
        if signal.name in self._ramp_puts or signal.name == "ALLSTANDBY":
            return await self.carry_out(signal, value, by)  # its steps take turns with other puts
        place = self._place(signal.name)
        if self.urgent(signal, value):
            self._overtake(place)
            if self._supply.is_open and self._enabled.is_set():  # also to a unit that is late and counts as lost
                return await self.put(signal, value, by)
            return await self.carry_out(signal, value, by)
        if signal.name == "ENABLE":
            return await super().in_turn(signal, value, by)
        asked = ASKED.get(time.monotonic())
        async with self._putting:
            if max(self._off_at.get(place, 0.0), self._off_at.get("", 0.0)) >= asked:
                raise Refused("switched off while this put waited for its turn; put it again if it is still wanted")
            if self._session_at >= asked:
                raise Refused("the unit was lost while this put waited; put it again if it is still wanted")
            return await self.carry_out(signal, value, by)

    def _place(self, name: str) -> str:
        """Give the channel that a signal is of, "CH3:"; empty for none."""
        board, number, _ = self._places.get(name, (0, None, name))
        return "" if number is None else self.settings.place(board, number)

    async def put(self, signal: Signal, value: Any, by: str) -> Any:
        """Check, send, read back; see `iocs.hv.puts` and `iocs.hv.limits`."""
        if signal.direction is Direction.COMMAND and not value:
            return value
        board, number, name = self._places.get(signal.name, (0, None, signal.name))
        if name == "READONLY":
            return self._set_readonly(bool(value))
        if name in ("VSOFTMAX", "ISOFTMAX") and number is not None:
            self._channels[board, number].set_soft(f"{name[0]}SET", value)
            self._remember()
            self._show_limits()
            return self._channels[board, number].soft(f"{name[0]}SET")
        if signal.name in self._ramp_puts and not name.endswith(":GO"):
            return await self._ramps.put(signal, value, by)
        self._refuse_readonly()
        if signal.name in self._ramp_puts:
            return await self._ramps.put(signal, value, by)
        if name == "ALLSTANDBY":
            await self._protect(deed(self.settings, "standby", []), f"ALLSTANDBY by {by}", asked=True)
            return 0
        if (name == "VSET" or (name == "ON" and value)) and (head := self._ramps.ramping(self._place(signal.name))):
            raise Refused(f"the channel is being ramped with its neighbours; put 1 to {head}ABORT first")
        try:
            return await self._send(board, number, name, value)
        finally:
            self._show_limits()
            self._polls.hurry()

    async def _send(self, board: int, number: int | None, name: str, value: Any) -> Any:
        if name == "ALLOFF":
            await self._orders.all_off()
            return 0
        off = name == "ON" and not value
        if board not in self._supply.units and not off:
            raise Refused(f"board {board} does not answer")
        if number is None:
            await self._orders.clear_alarm(board)
            return 0
        match name:
            case "ON":
                return await (self._orders.on if value else self._orders.off)(board, number)
            case "TRIPCLEAR":
                await self._orders.clear_trip(board, number)
                self._remember()
                return 0
            case "PDWN" | "IMRANGE":
                return await self._orders.choice(board, number, name, value)
        return await self._orders.number(board, number, name, value)

    def _set_readonly(self, wanted: bool) -> bool:
        if self.settings.readonly and not wanted:
            raise Refused("the site file says readonly = true")
        if wanted:
            self._ramps.abort("READONLY")
        self.memory["readonly"] = wanted
        self.save()
        return wanted

    def _news_at_once(self, told: dict[str, Any]) -> None:
        """Post what the unit has just confirmed. Columns of the row wait for the next reading."""
        self._polls.forget(told)
        columns = {name for name, signal in self._signals.items() if signal.row}
        self.post(time.time_ns(), {name: value for name, value in told.items() if name not in columns})


def _shape_of(unit: Unit) -> BoardShape:
    return BoardShape(unit.board, unit.model, unit.serial, unit.firmware, tuple(spans(each) for each in unit.limits))
