"""One live PMU (or concentrator) over TCP as a stream of events that heals by itself."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from drivers.c37118 import frames
from drivers.c37118.events import Awaiting, Configured, Data, Header, Told
from drivers.c37118.frames import Command, Configuration
from drivers.c37118.recording import Recorder
from drivers.c37118.session import Session
from drivers.c37118.timeline import Counts, Timeline
from drivers.errors import DriverError, LinkTimeout
from drivers.link import Address, Backoff, Link

__all__ = ["Awaiting", "Client", "Configured", "Connected", "Counts", "Data", "Event", "Header", "Lost"]

log = logging.getLogger(__name__)

EARLIEST_NS = 946_684_800 * 10**9  # 2000-01-01: no PMU of the standard is older
AT_ONCE = 100  # events handed out without a pause
LISTEN_AGAIN = 0.1  # seconds; to listen disturbs nobody
AHEAD = 86_400.0  # seconds
LEAVE_TIMEOUT = 0.5  # seconds that command 1 may take when we leave


@dataclass(frozen=True, slots=True)
class Connected:
    """The connection stands; nothing has been said yet."""

    address: Address


@dataclass(frozen=True, slots=True)
class Lost:
    """There is no (more) data, for `reason`; the next attempt follows. Not repeated while the reason stays the same."""

    reason: str


Event = Connected | Told | Lost


class Client:
    """A PMU's stream as events: `Connected`, `Configured`, `Data`, `Lost`, and so on again, until closed or cancelled.

    What it writes to the PMU, and nothing else ever (C37.118.2-2011, table 15):
        at each connection: command 1 (data off), 6 (send CFG-3) and, where no CFG-3 comes within a second, 1 and 5
        (send CFG-2; before it 1 and 6 again for a PMU that has sent a CFG-3 before), and when a configuration came 2
        (data on), before it 3 (send header) if that is wanted;
        when the configuration has changed or is announced to (STAT bit 10): 6 or 5; without an answer 1 and 5, then 2;
        on leaving: 1;
        nothing at all where `asks` is False; and what `extended` is given.
    A PMU that answered with a CFG-2 is not asked for a CFG-3 again by the same client.

    Use it as
        async with aclosing(client.events()) as events:
            async for event in events: ...
    so that leaving the block sends command 1 and closes the link at once.

    Args:
        link: to the PMU, closed.
        idcode: of the stream.
        configuration: the last one known, against which `Configured.changed` is told; it decodes nothing.
        lost_after: seconds without a good data frame after which the PMU is lost; None = three periods and at least 2
            s.
        record: where the received bytes are kept, or None.
        backoff: waits between attempts; None = 0.1 to 15 s. It begins anew with the first data frame.
        counts: those of an earlier client, to be gone on with; None = new ones.
        asks, cfg3, header, reorder_wait, ahead: as for a `Session`.
        connect_timeout, answer_timeout: seconds. tries: requests for a configuration before the link is given up.

    Attributes:
        counts: what happened since the client (or the counts given to it) was made.
        configuration: in use, or the last one that was.
    """

    def __init__(
        self,
        link: Link,
        idcode: int,
        configuration: Configuration | None = None,
        *,
        lost_after: float | None = None,
        record: Recorder | None = None,
        backoff: Backoff | None = None,
        counts: Counts | None = None,
        connect_timeout: float = 5.0,
        answer_timeout: float = 2.0,
        tries: int = 3,
        asks: bool = True,
        cfg3: bool = True,
        header: bool = False,
        reorder_wait: float = 0.1,
        ahead: float = AHEAD,
    ) -> None:
        self.link = link
        self._asks = asks
        self._cfg3 = cfg3
        self._header = header
        self._reorder_wait = reorder_wait
        self._ahead = ahead
        self.idcode = idcode
        self.configuration = configuration
        self.counts = Counts() if counts is None else counts
        self._timeline = Timeline(self.counts)
        self._lost_after = lost_after
        self._record = record
        self._backoff = Backoff() if backoff is None else backoff
        self._connect_timeout = connect_timeout
        self._answer_timeout = answer_timeout
        self._tries = tries
        self._closed = asyncio.Event()

    async def events(self) -> AsyncGenerator[Event, None]:
        """Connect, start the stream, hand out what comes, and begin again when the PMU is lost.

        One at a time; it ends after `close`. No exception is expected: what goes wrong is a `Lost` event.
        """
        connections = 0
        last_reason = ""
        while not self._closed.is_set():
            reason = ""
            try:
                await self.link.open(self._connect_timeout)
                self.counts.reconnects += connections > 0
                connections += 1
                yield Connected(self.link.address)
                async with aclosing(self._session()) as session:
                    async for event in session:
                        last_reason = ""
                        yield event
            except DriverError as error:
                reason = str(error)
            finally:
                await self._leave()
            if self._closed.is_set():
                return
            if reason != last_reason:
                last_reason = reason
                yield Lost(reason)
            await self._wait(self._backoff.next() if self._asks else LISTEN_AGAIN)

    async def extended(self, data: bytes) -> None:
        """Send an extended frame (command 8); there is no answer to it.

        Args:
            data: of an even length, as the PMU's maker defines them.

        Raises:
            DriverError: there is no link, or it failed. ValueError: an odd length.
        """
        soc, fracsec = frames.soc_fracsec(time.time_ns(), 1_000_000)
        message = frames.CommandFrame(self.idcode, soc, frames.TimeQuality(0x0F), fracsec, Command.EXTENDED, data)
        await self.link.write(frames.encode(message), self._answer_timeout)

    async def close(self) -> None:
        """Send command 1 (if there is a link) and let go of the PMU; `events` ends. Takes a second at most."""
        self._closed.set()
        await self._leave()

    async def _session(self) -> AsyncGenerator[Told, None]:
        """Talk over the open link until it fails.

        Raises:
            DriverError: closed, silent, no configuration, or an edition that we cannot read.
        """
        clock = asyncio.get_running_loop().time
        session = Session(
            self.idcode,
            self.configuration,
            self.counts,
            self._timeline,
            lost_after=self._lost_after,
            answer_timeout=self._answer_timeout,
            tries=self._tries,
            asks=self._asks,
            cfg3=self._cfg3,
            header=self._header,
            reorder_wait=self._reorder_wait,
            earliest_ns=EARLIEST_NS,
            ahead=self._ahead,
        )
        session.start(clock())
        try:
            while True:
                await self._send(session)
                data = await self._read(session.deadline - clock())
                events = session.receive(data, clock(), time.time_ns())
                await self._send(session)  # before the events: who takes them may be slow
                self._cfg3 = session.asking.cfg3
                for number, event in enumerate(events, 1):
                    self._note(event)
                    yield event
                    if number % AT_ONCE == 0:  # many had waited for their configuration: others get their turn
                        await asyncio.sleep(0)
                if data and self._record is not None:
                    self._record.write(data, session.whole)
                    self._record.configuration = session.configuration_frame or self._record.configuration
                session.tick(clock())
        except DriverError:
            for event in session.end(clock(), time.time_ns()):
                self._note(event)
                yield event
            raise

    async def _read(self, timeout: float) -> bytes:
        """Give what has come within `timeout` seconds, nothing included.

        However late we are, the loop gets its turn to read what already lies in the kernel.
        """
        try:
            return await self.link.read(max(timeout, 0.02))
        except LinkTimeout:
            return b""

    def _note(self, event: Told) -> None:
        if isinstance(event, Configured):
            self.configuration = event.configuration
        elif isinstance(event, Data):
            self._backoff.reset()

    async def _send(self, session: Session) -> None:
        while session.commands:
            command = frames.command(session.commands.pop(0), self.idcode, time.time_ns())
            await self.link.write(frames.encode(command), self._answer_timeout)

    async def _leave(self) -> None:
        """Send command 1 where there still is a link (and somebody who listens), and close it."""
        command = frames.command(Command.DATA_OFF, self.idcode, time.time_ns())
        try:
            if self._asks:
                await self.link.write(frames.encode(command), LEAVE_TIMEOUT)
        except DriverError as error:
            log.debug("leaving %s: %s", self.link.address, error)
        finally:
            await self.link.close()
            if self._record is not None:
                self._record.close()

    async def _wait(self, seconds: float) -> None:
        """Wait before the next attempt; not longer than until `close`."""
        try:
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        except TimeoutError:
            return
