"""One client's connection: what comes in, and what becomes of a client that speaks nonsense or wants too much.

Requests of a slow client are still read, since an operator's put must come in; only one who asks and does not read the
answers has to wait.
"""

import asyncio
import logging
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from caproto.asyncio import server

from iocs.ca.server import requests, wire
from iocs.ca.server.channel import READ, Channel, Subscription
from iocs.ca.server.fields import field
from iocs.ca.server.outgoing import Outgoing

if TYPE_CHECKING:
    from iocs.ca.server.context import Context

log = logging.getLogger(__name__)

SEND_BUFFER = 1 << 18  # bytes in the kernel; its own choice would be megabytes of old news
HIGH, LOW = 1 << 17, 1 << 14  # bytes in asyncio's buffer: from here on the client is slow, until there
SMALL = 1024  # bytes; nothing but a put is longer
LINGER = 2.0  # s; how long a client that was cut off may take to read the last words
PUTS_AT_ONCE = 200  # of one client; so many go on when it leaves
# s, s, times: a peer that died in silence goes within 2 minutes; one that data were under way to goes when the kernel
# gives up (tcp_retries2, a quarter of an hour): a shorter limit (TCP_USER_TIMEOUT) would end those that are only stuck
KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 20, "TCP_KEEPCNT": 3}


@dataclass(frozen=True, slots=True)
class Client:
    """A connected client. `user` and `host` are its own words; `backlog` counts events that wait for it."""

    address: str
    port: int
    user: str
    host: str
    channels: int
    subscriptions: int
    updates: int
    dropped: int
    backlog: int


class Circuit(Outgoing):
    """A connection.

    Attributes:
        peer: address and port of the client.
        user, host: what the client says of itself.
        greeted: it has said its version.
        puts: that wait or are being carried out; `turns`: those being carried out.
        put_bytes: what all these puts hold.
    """

    tasks = server._TaskHandler()  # for caproto's context; it stays empty

    def __init__(self, context: "Context", peer: tuple[str, int]) -> None:
        super().__init__(context.limits.queue)
        self.context, self.peer, self.limits = context, peer, context.limits
        self.user = self.host = ""
        self.greeted = False
        self.channels: dict[int, Channel] = {}
        self.subscriptions: dict[int, Subscription] = {}
        self.puts = self.put_bytes = 0
        self.turns = asyncio.Semaphore(PUTS_AT_ONCE)
        self._sid = 0
        self._buffer = bytearray()
        self._renamed = False
        self._skip = 0  # bytes of a refused put that are still to come
        self._paused = False

    # The connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the socket up."""
        self._transport = made = cast(asyncio.Transport, transport)
        made.set_write_buffer_limits(HIGH, LOW)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE.items():
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        why = f"it does not say its version within {self.limits.greeting:g} s"
        self._deadline = self.loop.call_later(self.limits.greeting, self._cut_off, why)

    def greet(self) -> None:
        """The client has said its version."""
        self.greeted = True
        self._deadline.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget everything that the client had open. Puts that are being carried out go on."""
        self._forget()
        self.context.ended(self)

    @property
    def connected(self) -> bool:
        """Whether anything can still be sent."""
        return not self._closing

    @property
    def who(self) -> str:
        """Who asks, in a put."""
        return f"{self.user or '?'}@{self.peer[0]}"

    @property
    def client(self) -> Client:
        """What people are told of the connection."""
        sizes = len(self.channels), len(self.subscriptions)
        return Client(*self.peer, self.user, self.host, *sizes, self.updates, self.dropped, self.backlog)

    @property
    def weight(self) -> int:
        """Bytes that the client alone makes us hold."""
        return 0 if self._closing else self._unsent + self._queued + len(self._buffer)

    def pay(self) -> None:
        """Give memory back, as the client makes us hold too much: what is queued, or the connection."""
        if len(self._queue) > 1:
            self.shorten(0)
            return
        self.context.counts.refused += 1
        log.warning("%s:%d is cut off: it makes the server hold more than there is for all clients", *self.peer)
        self.close()

    def close(self) -> None:
        """End the connection, with what was said last."""
        if self._closing or self._transport is None:
            return
        self.flush()
        self._forget()
        if self._full:  # it would wait for a client that does not read
            self._transport.abort()
            return
        self._transport.close()
        if self._unsent:
            self.loop.call_later(LINGER, self._transport.abort)

    def _cut_off(self, why: str, *, bug: bool = False) -> None:
        self.context.counts.malformed += 1
        log.warning("%s:%d is cut off: %s", *self.peer, why, exc_info=bug)
        self.close()

    def _forget(self) -> None:
        """End all that the client has open; nothing more is kept for it."""
        self._closing = True
        self._deadline.cancel()
        for channel in tuple(self.channels.values()):
            channel.close()
        for kept in (self.out, self._late, self._queue, self._buffer):
            kept.clear()
        self._queued = 0
        for _ in range(self.puts):  # those that wait for a turn hear that there is none
            self.turns.release()

    # Bytes in

    def data_received(self, data: bytes) -> None:
        """Answer requests as far as they are complete. What goes wrong here reaches no further than this circuit."""
        if self._closing:
            return
        self._buffer += data
        done = 0
        try:
            done = self._requests(self._buffer)
        except (wire.Malformed, struct.error) as error:
            self._cut_off(f"it sends what is not Channel Access: {error}")
        except Exception:  # noqa: BLE001  # told with its traceback
            self._cut_off("its request failed", bug=True)
        if not self._closing:
            del self._buffer[:done]
            if self.out:
                self.flush()

    def _requests(self, buffer: bytearray) -> int:
        """Go through the requests that lie in the buffer; gives how much of it is done with."""
        end = len(buffer)
        done = min(self._skip, end)
        self._skip -= done
        while end - done >= 16:
            if self._unread > self.limits.replies:
                self.flush()
                if self._must_wait() and self._transport:
                    self._paused = True
                    self._transport.pause_reading()
                    break
            command, size, dtype, count, first, second = wire.HEADER.unpack_from(buffer, done)
            body = done + 16
            if command == wire.READ_NOTIFY and not size and first in self.channels:  # the short way of most
                requests.read(self, command, dtype, count, first, second)
                done = body
                continue
            if size == 0xFFFF and count == 0:
                if end - done < 24:
                    break
                size, count = wire.LONG_SIZES.unpack_from(buffer, body)
                body += 8
            request = wire.Request(command, dtype, count, first, second)
            if size > SMALL or command not in requests.HANDLERS or not self.greeted:
                self._check(request, size)
                if size > SMALL and requests.refused_early(self, request, size):
                    done = min(body + size, end)
                    self._skip = body + size - done
                    continue
            if end - body < size:
                break
            done = body + size
            if size:
                with memoryview(buffer) as view:
                    request = request._replace(body=bytes(view[body:done]))
            try:
                requests.HANDLERS[command](self, request)
            except wire.Late:
                pass
        return done

    def _check(self, request: wire.Request, size: int) -> None:
        """Refuse at its header what must not be waited for."""
        command = request.command
        if command not in requests.HANDLERS:
            raise wire.Malformed(f"there is no command {command}")
        if not self.greeted and command != wire.VERSION:
            raise wire.Malformed(f"command {command} before the version")
        if command not in (wire.WRITE, wire.WRITE_NOTIFY) and size > SMALL:
            raise wire.Malformed(f"command {command} with {size} bytes")
        if size > self.limits.message:
            self.context.counts.too_large += 1
            channel = self.channels.get(request.first)
            self.error(request.head, channel.cid if channel else 0, wire.TOO_LARGE, "the put is too large")
            raise wire.Malformed(f"a put of {size} bytes; EPICS_CA_MAX_ARRAY_BYTES allows {self.limits.message}")

    def _must_wait(self) -> bool:
        return self._full and self._unread > self.limits.replies

    def resume_writing(self) -> None:
        """The client reads again: requests that had to wait are taken up, too."""
        super().resume_writing()
        if self._paused and not self._must_wait() and not self._closing and self._transport:
            self._paused = False
            self._transport.resume_reading()
            self.loop.call_soon(self.data_received, b"")

    # What requests need

    def new_channel(self, cid: int, name: str) -> Channel | None:
        """Open a channel; None if there is no such PV or the client has too many."""
        if len(self.channels) >= self.limits.channels:
            self.context.counts.refused += 1
            return None
        found = self.context.find(name)
        if found is None:
            return None
        self._sid = self._sid % 0xFFFFFFFF + 1
        address, record = found
        pv = record if address.field == "VAL" else field(record, address.field)
        channel = self.channels[self._sid] = Channel(self, cid, self._sid, name, address, pv)
        channel.rights = self.context.rights(self, channel.pv)
        return channel

    def withdraw(self, channel: Channel) -> None:
        """Tell the client that a PV is gone."""
        self.say(wire.message(wire.SERVER_DISCONNECT, 0, 0, 0, channel.cid, 0))
        channel.close()

    def channel(self, sid: int) -> Channel:
        """Give an open channel.

        Raises:
            Late: it was closed; the client had not heard yet that its PV is gone.
            Malformed: there never was one of this number.
        """
        channel = self.channels.get(sid)
        if channel is None:
            raise wire.Late() if 0 < sid <= self._sid else wire.Malformed(f"there is no channel {sid}")
        return channel

    def error(self, head: bytes, cid: int, status: int, reason: str) -> None:
        """Send an error about a request, with words that the client's tools print."""
        text = wire.padded(reason.encode(errors="replace")[:400])
        self.say(wire.HEADER.pack(wire.ERROR, 16 + len(text), 0, 0, cid, status) + head + text)

    def named(self) -> None:
        """The client says anew who it is: see at the end of the turn what it may now do, however often it said so."""
        if not self._renamed and self.channels:
            self._renamed = True
            self.loop.call_soon(self.rights_changed)

    def rights_changed(self) -> None:
        """Tell the client its rights anew where they have changed."""
        self._renamed = False
        for channel in tuple(self.channels.values()):
            before, channel.rights = channel.rights, self.context.rights(self, channel.pv)
            if before != channel.rights:
                self.say(wire.message(wire.ACCESS_RIGHTS, 0, 0, 0, channel.cid, channel.rights))
            if (before ^ channel.rights) & READ:
                for subscription in tuple(channel.subscriptions):
                    subscription.rights_changed()
