"""One board on a wire: its readings as a stream of events, until it is lost."""

import asyncio
import time
from collections.abc import AsyncGenerator

from drivers.bme680.formats import Format
from drivers.bme680.lines import Refusal
from drivers.bme680.protocol import Identity, Trouble
from drivers.bme680.session import Counts, Event, Measured, Phase, Session
from drivers.errors import DriverError, LinkTimeout
from drivers.link import Link

__all__ = ["Client", "Counts", "Event", "Identity", "Measured", "Phase", "Refusal", "Trouble"]

LONGEST_WAIT = 1.0  # s; a new period counts at once, or nearly so


class Client:
    """A board's readings as events: `Phase`, `Identity`, `Measured`, `Refusal`, `Trouble`.

    What it writes to the board, and nothing else ever: the format's request (`R`), once a period, sooner after an
    answer that was not usable or not yet confirmed; and, to a board that speaks our own format, `I` until it has said
    who it is. The arguments are those of `Session`.
    """

    def __init__(
        self,
        link: Link,
        formats: tuple[Format, ...],
        *,
        counts: Counts,
        period: float,
        timeout: float,
        boot: float,
        lost_after: float,
        frozen_after: int,
    ) -> None:
        self.link = link
        self._timeout = timeout
        self._session = Session(
            formats,
            counts,
            period=period,
            timeout=timeout,
            boot=boot,
            lost_after=lost_after,
            frozen_after=frozen_after,
        )

    @property
    def format(self) -> Format:
        """What the board speaks; before its first line, what it most probably does."""
        return self._session.formats[0]

    def pace(self, period: float, lost_after: float) -> None:
        """Ask once in `period` seconds from now on; the board is lost after `lost_after` without a reading."""
        self._session.period = period
        self._session.lost_after = lost_after

    async def events(self) -> AsyncGenerator[Event, None]:
        """Open the line and hand out what comes, once; to be closed with `contextlib.aclosing`.

        Raises:
            LinkError: the line cannot be opened, is pulled out, or nothing usable comes.
            DeviceError: the board says that its sensor does not work.
        """
        session = self._session
        clock = asyncio.get_running_loop().time
        yield Phase.OPENING
        try:
            await self.link.open(max(self._timeout, 2.0))
            for event in session.start(clock()):
                yield event
            while session.failure is None:
                while session.requests:
                    await self.link.write(session.requests.pop(0), self._timeout)
                data = await self._read(session.deadline - clock())
                for event in session.receive(data, clock(), time.time_ns()):
                    yield event
                for event in session.tick(clock()):
                    yield event
            raise type(session.failure)(f"{self.link.address}: {session.failure}")
        except DriverError:
            for event in session.end():
                yield event
            raise
        finally:
            await self.link.close()

    async def _read(self, wait: float) -> bytes:
        """Give what has come, nothing included; what already lies in the kernel is read however late we are."""
        try:
            return await self.link.read(min(max(wait, 0.01), LONGEST_WAIT))
        except LinkTimeout:
            return b""
