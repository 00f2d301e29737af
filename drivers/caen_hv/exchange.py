"""One exchange with a supply: a request goes out, exactly one reply that can belong to it comes back, or an error."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from drivers.caen_hv.protocol import ErrorReply, Nonsense, Replies, Reply, Request, encode
from drivers.errors import LinkError, LinkTimeout, ProtocolError
from drivers.link import Link

QUIET = 0.2  # s without a byte after which the line counts as quiet
BABBLE = 2.0  # s that a line may take to become quiet


@dataclass(slots=True)
class Counts:
    """What happened on the line since the client was made.

    Attributes:
        exchanges: requests that were answered.
        timeouts: requests that were not answered within the deadline.
        desyncs: how often the line was out of step and had to be checked.
        stale_bytes: received bytes that belonged to no question.
        local_errors: LOC:ERR replies.
        latency: s from the last request to its reply.
    """

    exchanges: int = 0
    timeouts: int = 0
    desyncs: int = 0
    stale_bytes: int = 0
    local_errors: int = 0
    latency: float = 0.0


@dataclass(frozen=True, slots=True)
class Exchange:
    """What went over the wire: `time_ns` since 1970 of the request, and the bytes of both directions."""

    time_ns: int
    sent: bytes
    received: bytes


class Wire:
    """The bytes of one link, taken as exchanges. Not for use by two at once.

    Args:
        link: nobody else may use it.
        timeout: s that one exchange may take.

    Attributes:
        counts: see `Counts`. history: the last exchanges, newest last.
    """

    def __init__(self, link: Link, timeout: float) -> None:
        self.link = link
        self.timeout = timeout
        self.counts = Counts()
        self.history: deque[Exchange] = deque(maxlen=100)
        self._replies = Replies()

    async def exchange(self, request: Request) -> Reply:
        """Send one request, wait for one reply.

        Raises:
            LinkTimeout: none within the deadline. ProtocolError: one that cannot be it. ErrorReply: the unit's error.
        """
        data = encode(request)
        where = str(self.link.address)
        time_ns, begin = time.time_ns(), time.monotonic()
        await self.link.write(data, self.timeout)
        received = bytearray()
        found: list[Reply | Nonsense] = []
        try:
            while not found:
                left = begin + self.timeout - time.monotonic()
                if left <= 0 and received:  # it drips
                    raise LinkTimeout(where)
                chunk = await self.link.read(max(left, 0.02))  # however late we are, the kernel's bytes are looked at
                received += chunk
                found = self._replies.feed(chunk)
        except LinkTimeout:
            self.counts.timeouts += 1
            raise LinkTimeout(
                f"{where}: no reply to {request} within {self.timeout:g} s; got {bytes(received[:80])!r}"
            ) from None
        finally:
            self.history.append(Exchange(time_ns, data, bytes(received)))
        reply = found[0]
        if len(found) > 1 or self._replies.pending or isinstance(reply, Nonsense):
            raise self.wrong(request, f"{bytes(received[:80])!r} instead of one reply")
        if reply.board != request.board:
            raise self.wrong(request, f"a reply of board {reply.board}")
        if reply.error is not None and (request.setting or reply.error in ("CMD", "CH", "PAR")):
            self._took(begin)
            self.counts.local_errors += reply.error == "LOC"
            raise ErrorReply(where, request, reply.error)
        if reply.error is not None or bool(reply.values) == request.setting:
            raise self.wrong(request, f"{bytes(received[:80])!r}, which answers another request")
        self._took(begin)
        return reply

    async def send(self, request: Request) -> None:
        """Send a request whose reply nobody waits for; `drain` takes it."""
        data = encode(request)
        await self.link.write(data, self.timeout)
        self.history.append(Exchange(time.time_ns(), data, b""))

    def _took(self, begin: float) -> None:
        self.counts.exchanges += 1
        self.counts.latency = time.monotonic() - begin

    def wrong(self, request: Request, what: str) -> ProtocolError:
        """Give the error that says what cannot be the answer."""
        return ProtocolError(f"{self.link.address}: {request} was answered with {what}")

    async def drop(self) -> int:
        """Drop what lies unread; it answers nothing. Gives the number of bytes."""
        self._replies.reset()
        try:
            async with asyncio.timeout(BABBLE):
                dropped = await self.link.drop()
        except TimeoutError:
            raise self._babbles() from None
        self.counts.stale_bytes += dropped
        return dropped

    async def drain(self, enough: Callable[[], bool] = lambda: False) -> None:
        """Wait until the line is quiet, or until there is something else to do (`enough`).

        Raises:
            LinkError: it does not become so.
        """
        end = time.monotonic() + BABBLE
        with contextlib.suppress(LinkTimeout):
            while True:
                self.counts.stale_bytes += len(await self.link.read(QUIET))
                if enough():
                    break
                if time.monotonic() > end:
                    raise self._babbles()
        self._replies.reset()

    def _babbles(self) -> LinkError:
        return LinkError(f"{self.link.address}: bytes keep coming unasked; is another program on this line?")
