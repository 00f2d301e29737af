"""One connection to one server, and the channels on it.

The socket is always read, and what comes is handled in the same turn of the loop: updates by `iocs.ca.updates`, all
else, message by message, by caproto. Nothing is queued here: whoever is too slow lets the server's own buffer fill,
which keeps the newest value of each PV.

caproto's own asyncio client is not used, only its messages, types and status codes, which are public: of what that
client adds, a failed connect is never noticed, an unresponsive or withdrawn PV never searched again, searches
back off to minutes, and each message costs a task.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import caproto as ca

from iocs.ca.channel import Answer, Channel, Decode, Lost, Owner
from iocs.ca.search import VERSION, Address
from iocs.ca.updates import BadFrame, Frames, Subscriber

log = logging.getLogger(__name__)

CONNECT_WITHIN = 5.0  # s for the connection and the server's first word
ECHO_WITHIN = 5.0  # s for the answer to an echo; no longer than the silence that led to it
READ_BYTES = 1 << 17  # at most, in one turn of the loop
WRITE, WRITE_NOTIFY, READ_NOTIFY = 4, 19, 15  # commands


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that waits for its answer; `kind` and `decode` are those of a read."""

    channel: Channel
    answer: asyncio.Future[Answer]
    kind: int = -1
    decode: Decode | None = None


class Circuit(asyncio.BufferedProtocol):
    """A connection to a server.

    Args:
        address: of the server.
        names: (user, host), as told to the server.
        silence: s without a word from the server before it is asked for an echo.
        most: bytes of the longest value that is accepted.
        on_lost: called once with the reason when the circuit has ended; also after `close`.
    """

    def __init__(
        self,
        address: Address,
        names: tuple[str, str],
        silence: float,
        most: int,
        on_lost: Callable[["Circuit", str], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self.address = address
        self.channels: dict[int, Channel] = {}
        self.subscribers: dict[int, Subscriber] = {}
        self.born = loop.time()
        self._names, self._silence, self._on_lost = names, silence, on_lost
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._closed: asyncio.Future[None] = loop.create_future()  # the socket is closed, or never was open
        self._alive = True
        self._open = False
        self._last_id = 0
        self._asked: dict[int, _Asked] = {}
        self._reason: tuple[int, str] | None = None  # of a refused put, sent before its reply: cid, text
        self._frames = Frames(self.subscribers, self._message, most)
        self._buffer = bytearray(READ_BYTES)
        self._codec = ca.VirtualCircuit(ca.CLIENT, address, priority=0)
        self._said: set[str] = set()  # errors that were logged
        self._outbox: list[bytes] = []
        self._heard = self.born
        self._echo_at = 0.0  # when an echo was asked for, 0 when none is awaited
        self._timer = loop.call_later(CONNECT_WITHIN, self._listen)
        self._connecting = asyncio.create_task(self._connect())

    def __str__(self) -> str:
        return f"{self.address[0]}:{self.address[1]}"

    # Requests. None of them waits; what is said in one turn of the loop goes out together.

    def open_channel(self, name: str, owner: Owner) -> Channel:
        """Open a channel; the owner is told when it is open."""
        channel = Channel(name, self._next_id(), owner, self)
        self.channels[channel.cid] = channel
        self._say(ca.CreateChanRequest(name, channel.cid, VERSION))
        return channel

    def close_channel(self, channel: Channel) -> None:
        """Close a channel; the owner is told nothing more."""
        if self.channels.pop(channel.cid, None) and channel.sid >= 0:
            self._say(ca.ClearChannelRequest(channel.sid, channel.cid))

    def subscribe(self, channel: Channel, kind: int, mask: int, subscriber: Subscriber) -> int:
        """Subscribe with as many elements as there are at each update; gives the subscription's id."""
        number = self._next_id()
        self.subscribers[number] = subscriber
        self._say(ca.EventAddRequest(ca.ChannelType(kind), 0, channel.sid, number, 0.0, 0.0, 0.0, mask))
        return number

    def unsubscribe(self, channel: Channel, kind: int, number: int) -> None:
        """End a subscription: its subscriber gets nothing more."""
        if self.subscribers.pop(number, None):
            self._say(ca.EventCancelRequest(ca.ChannelType(kind), channel.sid, number))

    async def read(self, channel: Channel, kind: int, decode: Decode, count: int = 0) -> Answer:
        """Read so many elements of a PV as a type; 0 = as many as there are. What `decode` gives is the value.

        Raises:
            Lost: the circuit or the channel ended meanwhile.
        """
        number = self._next_id()
        request = ca.ReadNotifyRequest(ca.ChannelType(kind), count, channel.sid, number)
        return await self._ask(number, _Asked(channel, self._loop.create_future(), kind, decode), request)

    async def write(self, channel: Channel, data: Any, kind: int, count: int) -> Answer:
        """Write and wait until the server has confirmed or refused.

        Raises:
            Lost: the circuit or the channel ended meanwhile; nobody knows whether it was written.
        """
        number = self._next_id()
        request = ca.WriteNotifyRequest(data, ca.ChannelType(kind), count, channel.sid, number)
        return await self._ask(number, _Asked(channel, self._loop.create_future()), request)

    async def close(self) -> None:
        """Say what is still to be said, end the circuit, wait until its socket is closed."""
        self._flush()
        self._end("closed by us")
        await asyncio.gather(self._connecting, self._closed, return_exceptions=True)

    async def _ask(self, number: int, asked: _Asked, request: Any) -> Answer:
        self._asked[number] = asked
        try:
            self._say(request)
            return await asked.answer
        finally:
            self._asked.pop(number, None)

    def _next_id(self) -> int:
        """Give a number for a channel, subscription or request; none is used twice: late answers find nobody."""
        self._last_id = (self._last_id + 1) & 0xFFFFFFFF
        return self._last_id

    def _say(self, request: Any) -> None:
        if not self._alive:
            return
        if not self._outbox and self._transport is not None:
            self._loop.call_soon(self._flush)
        self._outbox.append(bytes(request))

    def _flush(self) -> None:
        if self._transport is not None and self._outbox:
            self._transport.write(b"".join(self._outbox))
        self._outbox.clear()

    # Life

    async def _connect(self) -> None:
        try:
            await self._loop.create_connection(lambda: self, *self.address)
        except OSError as error:
            self._end(f"cannot connect: {error.strerror or error}")

    def connection_made(self, transport: Any) -> None:
        """Introduce ourselves and ask for the channels; the server need not have spoken for that."""
        self._transport = transport
        if not self._alive:
            transport.abort()
            return
        user, host = self._names
        hello = (ca.VersionRequest(0, VERSION), ca.HostNameRequest(host), ca.ClientNameRequest(user))
        self._outbox[:0] = [bytes(message) for message in hello]
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note that the socket is closed."""
        if not self._closed.done():
            self._closed.set_result(None)
        self._end(f"the connection broke: {exc}" if exc else "closed by the server")

    def _end(self, reason: str) -> None:
        if not self._alive:
            return
        self._alive = False
        self._timer.cancel()
        self._outbox.clear()
        self.subscribers.clear()
        if self._transport is not None:
            self._transport.abort()  # a server that does not read must not keep us
        else:
            self._connecting.cancel()
            self._closed.set_result(None)
        for asked in self._asked.values():
            if not asked.answer.done():
                asked.answer.set_exception(Lost(f"{self} {reason}"))
        self._asked.clear()
        self._on_lost(self, reason)

    def _listen(self) -> None:
        """Ask a silent server for an echo; end the circuit when it does not answer."""
        now = self._loop.time()
        patience = min(ECHO_WITHIN, self._silence)
        if not self._open:
            self._end(f"no answer within {CONNECT_WITHIN:g} s")
            return
        if self._echo_at and self._heard < self._echo_at:
            self._end(f"no sign of life for {now - self._heard:.1f} s")
            return
        self._echo_at = 0.0
        wait = self._heard + self._silence - now
        if wait <= 0:
            self._echo_at = now
            self._say(ca.EchoRequest())
            wait = patience
        self._timer = self._loop.call_later(wait, self._listen)

    # What comes

    def get_buffer(self, sizehint: int) -> bytearray:
        """Give the buffer that the socket is read into, again and again."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what the socket has."""
        self._heard = self._loop.time()
        if not self._alive:
            return
        try:
            self._frames.feed(memoryview(self._buffer)[:nbytes])
        except BadFrame as error:
            self._end(f"it does not speak Channel Access: {error}")

    def _message(self, frame: bytes) -> None:
        if not self._alive:
            return
        try:
            (message,) = self._codec.recv(frame)[0]
            handle = _HANDLERS.get(type(message))
            if handle is not None:
                handle(self, message, frame)
        except Exception as error:  # caproto meets nonsense with whatever its code runs into
            log.debug("a message from %s could not be handled", self, exc_info=True)
            raise BadFrame(f"{type(error).__name__}: {error} in {frame[:32].hex()}") from error

    def _version(self, message: Any, frame: bytes) -> None:
        if not self._open:
            self._open = True
            self._timer.cancel()
            self._timer = self._loop.call_later(self._silence, self._listen)
            log.debug("connected to %s", self)

    def _created(self, message: Any, frame: bytes) -> None:
        channel = self.channels.get(message.cid)
        if channel is None:  # closed while the answer was on its way
            self._say(ca.ClearChannelRequest(message.sid, message.cid))
            return
        if channel.sid >= 0:
            return  # told twice
        channel.sid, channel.kind, channel.count = message.sid, int(message.data_type), message.data_count
        if channel.kind > 6:
            raise BadFrame(f"{channel.name} is of type {channel.kind}")
        self._version(message, frame)  # servers older than 4.11 say no version
        channel.owner.opened(channel)

    def _rights(self, message: Any, frame: bytes) -> None:
        if channel := self.channels.get(message.cid):
            channel.writable = bool(message.access_rights & ca.AccessRights.WRITE)

    def _withdrawn(self, message: Any, frame: bytes) -> None:
        channel = self.channels.pop(message.cid, None)
        if channel is not None:
            for asked in self._asked.values():
                if asked.channel is channel and not asked.answer.done():
                    asked.answer.set_exception(Lost(f"{self} has closed {channel.name}"))
            channel.owner.gone(channel)

    def _was_read(self, message: Any, frame: bytes) -> None:
        if (asked := self._asked.get(message.ioid)) is None:
            return  # nobody waits any more
        if asked.decode is None:
            raise BadFrame(f"a value in answer to a put of {asked.channel.name}")
        if not message.status.success:
            self._answer(message.ioid, Answer(False, message.status.description))
            return
        if message.data_type != asked.kind:
            raise BadFrame(f"{asked.channel.name} as type {message.data_type:d}, asked as {asked.kind}")
        self._answer(message.ioid, Answer(True, value=asked.decode(message, frame)))

    def _was_written(self, message: Any, frame: bytes) -> None:
        if (asked := self._asked.get(message.ioid)) is None:
            return
        if asked.decode is not None:
            raise BadFrame(f"a confirmation in answer to a get of {asked.channel.name}")
        text = message.status.description
        if self._reason and self._reason[0] == asked.channel.cid:
            text, self._reason = self._reason[1], None
        self._answer(message.ioid, Answer(bool(message.status.success), text))

    def _error(self, message: Any, frame: bytes) -> None:
        text = message.error_message.split(b"\0", 1)[0].decode(errors="replace").strip() or message.status.description
        request = message.original_request
        if request.command in (READ_NOTIFY, WRITE_NOTIFY) and request.parameter2 in self._asked:
            self._answer(request.parameter2, Answer(False, text))
        elif request.command == WRITE:
            self._reason = message.cid, text
        elif text not in self._said and len(self._said) < 100:
            self._said.add(text)
            log.warning("%s answers message %d with: %s", self, request.command, text)

    def _answer(self, number: int, answer: Answer) -> None:
        waiting = self._asked[number].answer
        if not waiting.done():
            waiting.set_result(answer)


_HANDLERS: dict[type, Callable[[Circuit, Any, bytes], None]] = {
    ca.VersionResponse: Circuit._version,
    ca.CreateChanResponse: Circuit._created,
    ca.AccessRightsResponse: Circuit._rights,
    ca.ServerDisconnResponse: Circuit._withdrawn,
    ca.CreateChFailResponse: Circuit._withdrawn,
    ca.ReadNotifyResponse: Circuit._was_read,
    ca.WriteNotifyResponse: Circuit._was_written,
    ca.ErrorResponse: Circuit._error,
}
