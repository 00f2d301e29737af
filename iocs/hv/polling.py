"""What is read of a supply, and when: outputs at every poll, settings in between, more often while something moves."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from drivers.caen_hv.client import BoardSilent, Client, LostReply, Priority
from drivers.errors import DriverError, LinkError
from iocs.hv.channel import ChannelState
from iocs.hv.settings import HvSettings
from iocs.hv.unit import board_values
from iocs.signals import Bad, Status

# STAT is the last one: a channel that is switched meanwhile must not be told back.
OUTPUTS = ("VMON", "IMON", "BDALARM", "STAT")
OFTEN = ("BDCTR", "BDILK", "VSET", "ISET", "IMRANGE")
SELDOM = ("MAXV", "RUP", "RDW", "TRIP", "PDWN", "POL", "BDILKM")
OF_CHANNELS = ("VSET", "ISET", "MAXV", "RUP", "RDW", "TRIP", "PDWN", "IMRANGE", "POL")
SELDOM_PERIOD = 60.0  # s
BUSY = 30.0  # s of faster polling after a put


@dataclass(frozen=True, slots=True)
class Outputs:
    """One reading of a board: when (ns since 1970), the values of its PVs, and the channels that have just tripped."""

    time_ns: int
    values: dict[str, Any]
    tripped: tuple[ChannelState, ...]


class Polls:
    """Reads the boards of one line.

    Args:
        settings: the supply's table.
        supply: the owner of the line.
        channels: what is known of each channel, by board and number.

    Attributes:
        cycle: s that the last reading of all boards took.
    """

    def __init__(self, settings: HvSettings, supply: Client, channels: Mapping[tuple[int, int], ChannelState]) -> None:
        self.cycle = 0.0
        self._settings, self._supply, self._channels = settings, supply, channels
        self._news: dict[str, Any] = {}  # values of settings that wait for the next reading of the outputs
        self._due: dict[tuple[int, str], float] = {}  # when a setting is to be read again
        self._busy_until = 0.0
        self._wake = asyncio.Event()

    def hurry(self) -> None:
        """Read soon, and often for a while: something has been put, or has tripped."""
        self._busy_until = time.monotonic() + BUSY
        self._wake.set()

    def forget(self, names: Iterable[str]) -> None:
        """Drop values that wait and have been overtaken by a put."""
        for name in names:
            self._news.pop(name, None)

    async def wait(self, begin: float) -> None:
        """Wait for the next poll after the one that began at `begin` (s, monotonic)."""
        busy = time.monotonic() < self._busy_until or any(channel.ramping for channel in self._channels.values())
        period = min(self._settings.poll, self._settings.poll_ramping) if busy else self._settings.poll
        left = max(begin + period - time.monotonic(), 0.0)
        try:
            async with asyncio.timeout(left):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    async def outputs(self, board: int, *, everything: bool) -> Outputs | Bad:
        """Read the outputs of a board; Bad if it gives nothing at all.

        Args:
            board: which.
            everything: read all settings too, as after a silence.

        Raises:
            LinkError: the link is lost.
        """
        time_ns = time.time_ns()
        read = {par: await self._group(board, par, Priority.FAST) for par in OUTPUTS}
        bad = [value for value in read.values() if isinstance(value, Bad)]
        if len(bad) == len(read):
            return bad[0]
        if everything:
            for par in (*OFTEN, *SELDOM):
                await self._setting(board, par)
        now = time.monotonic()
        values, self._news = self._news, {}
        tripped, doubts = [], self._supply.doubts
        for number, channel in self._of(board):
            stat, vmon, imon = (_one(read[par], number) for par in ("STAT", "VMON", "IMON"))
            told, new = channel.take(now, time_ns, stat, vmon, imon, doubts.get((board, number), ""))
            values |= told
            if new:
                tripped.append(channel)
        values |= self._of_board(board, "BDALARM", read["BDALARM"])
        counts = self._supply.counts
        values |= {"LATENCY": counts.latency * 1e3, "TIMEOUTS": counts.timeouts, "DESYNCS": counts.desyncs}
        return Outputs(time_ns, values, tuple(tripped))

    async def settings(self, begin: float) -> None:
        """Read of the settings what is due, as long as the next reading of the outputs need not wait; at least one."""
        end = begin + min(self._settings.poll, self._settings.poll_ramping)
        for board, par in sorted(self._due, key=self._due.__getitem__):
            if self._due[board, par] > time.monotonic():
                return
            await self._setting(board, par)
            if time.monotonic() >= end:
                return

    async def _setting(self, board: int, par: str) -> None:
        read = await self._group(board, par, Priority.SLOW)
        now = time.monotonic()
        self._due[board, par] = now + (self._settings.poll_settings if par in OFTEN else SELDOM_PERIOD)
        if par in OF_CHANNELS:
            for number, channel in self._of(board):
                self._news |= channel.take_settings({par: _one(read, number)}, now)
        else:
            self._news |= self._of_board(board, par, read)

    async def _group(self, board: int, par: str, priority: Priority) -> tuple[Any, ...] | Bad:
        """Read one parameter of a board; what was lost or made no sense is Bad, and the polling goes on."""
        try:
            return await self._supply.read(board, par, priority)
        except BoardSilent as error:
            return Bad(str(error), status=Status.COMM)
        except LostReply as error:
            return Bad(str(error), status=Status.TIMEOUT)
        except LinkError:
            raise
        except DriverError as error:
            return Bad(str(error))

    def _of(self, board: int) -> list[tuple[int, ChannelState]]:
        return [(number, channel) for (of, number), channel in self._channels.items() if of == board]

    def _of_board(self, board: int, par: str, read: tuple[Any, ...] | Bad) -> dict[str, Any]:
        return board_values(self._settings.head(board), len(self._of(board)), {par: _one(read, 0)})


def _one(read: tuple[Any, ...] | Bad, number: int) -> Any:
    return read if isinstance(read, Bad) else read[number]
