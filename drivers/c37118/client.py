"""One live PMU (or concentrator) over TCP as a stream of events that heals by itself."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from drivers.c37118 import frames
from drivers.c37118.frames import Command, Configuration
from drivers.c37118.recording import Recorder
from drivers.c37118.session import Configured, Data, Session
from drivers.c37118.timeline import Counts, Timeline
from drivers.errors import DriverError, LinkTimeout
from drivers.link import Address, Backoff, Link

__all__ = ["Client", "Configured", "Connected", "Counts", "Data", "Event", "Lost"]

log = logging.getLogger(__name__)

LEAVE_TIMEOUT = 0.5  # seconds that command 1 may take when we leave


@dataclass(frozen=True, slots=True)
class Connected:
    """The connection stands; nothing has been said yet."""

    address: Address


@dataclass(frozen=True, slots=True)
class Lost:
    """There is no (more) data, for `reason`; the next attempt follows. Not repeated while the reason stays the same."""

    reason: str


Event = Connected | Configured | Data | Lost


class Client:
    """A PMU's stream as events: `Connected`, `Configured`, `Data`, `Lost`, and so on again, until closed or cancelled.

    What it writes to the PMU, and nothing else ever (C37.118.2-2011, table 15):
        at each connection: command 1 (data off), 5 (send CFG-2), and when that came 2 (data on);
        when the configuration has changed or is announced to (STAT bit 10): 5; without an answer 1 and 5, then 2;
        on leaving: 1.

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
    ) -> None:
        self.link = link
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
            await self._wait(self._backoff.next())

    async def close(self) -> None:
        """Send command 1 (if there is a link) and let go of the PMU; `events` ends. Takes a second at most."""
        self._closed.set()
        await self._leave()

    async def _session(self) -> AsyncGenerator[Configured | Data, None]:
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
        )
        session.start(clock())
        try:
            while True:
                await self._send(session)
                data = await self._read(session.deadline - clock())
                events = session.receive(data, clock(), time.time_ns())
                await self._send(session)  # before the events: who takes them may be slow
                for event in events:
                    self._note(event)
                    yield event
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

    def _note(self, event: Configured | Data) -> None:
        if isinstance(event, Configured):
            self.configuration = event.configuration
        else:
            self._backoff.reset()

    async def _send(self, session: Session) -> None:
        while session.commands:
            command = frames.command(session.commands.pop(0), self.idcode, time.time_ns())
            await self.link.write(frames.encode(command), self._answer_timeout)

    async def _leave(self) -> None:
        """Send command 1 where there still is a link, and close it."""
        command = frames.command(Command.DATA_OFF, self.idcode, time.time_ns())
        try:
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
