"""One client's connection: bytes in, bytes out, and what happens when the client is slow or speaks nonsense.

Replies and events share one order. Nothing waits for a client: what its socket does not take is kept as the newest
value of each subscription (or, for signals that ask for it, in a short queue) until it does. Requests of a slow client
are still read, since an operator's put must come in; only one who asks and does not read the answers has to wait.
"""

import asyncio
import contextlib
import logging
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING, Any

import caproto as ca
from caproto.asyncio import server

from iocs.ca.server import requests, wire
from iocs.ca.server.channel import Channel, Subscription
from iocs.ca.server.limits import Limits

if TYPE_CHECKING:
    from iocs.ca.server.context import Context

log = logging.getLogger(__name__)

SEND_BUFFER = 1 << 18  # bytes in the kernel; its own choice would be megabytes of old news
HIGH, LOW = 1 << 17, 1 << 14  # bytes in asyncio's buffer: from here on the client is slow, until there
OVERHEAD = 64  # bytes that a reply costs besides its own while it waits
SLICE = 1 << 17  # bytes written at a time of what is large
SMALL = 1024  # bytes; nothing but a put is longer
LINGER = 2.0  # s; how long a client that was cut off may take to read the last words
TOO_LARGE = wire.code(ca.CAStatus.ECA_TOLARGE)
KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 20, "TCP_KEEPCNT": 3}  # s, s, times: dead peers go within 2 minutes


class Circuit(server.VirtualCircuit, asyncio.Protocol):
    """caproto's circuit as far as its Context looks at it; bytes and messages are handled here.

    Attributes:
        peer: address and port of the client.
        user, host: what the client says of itself.
        updates: events sent or held for sending.
        dropped: events that gave way to newer ones.
        slow: the client does not take events at the moment.
    """

    context: "Context"

    def __init__(self, context: "Context", limits: Limits) -> None:
        # caproto's own __init__ makes queues that nothing would use
        self.context = context  # type: ignore[reportIncompatibleVariableOverride]
        self.limits = limits
        self.tasks = server._TaskHandler()
        self.loop = asyncio.get_running_loop()
        self.peer = ("", 0)
        self.user = self.host = ""
        self.greeted = False
        self.channels: dict[int, Channel] = {}
        self.subscriptions: dict[int, Subscription] = {}
        self.out: list[Any] = []
        self.scheduled = self.slow = False
        self.updates = self.dropped = self.puts = 0
        self.unread = 0  # bytes of replies that wait
        self._transport: asyncio.Transport
        self._sid = 0
        self._withdrawn: dict[int, None] = {}  # numbers of channels to withdrawn PVs, the oldest first
        self._buffer = bytearray()
        self._renamed = False
        self._skip = 0  # bytes of a refused put that are still to come
        self._full = self._off = self._paused = self._closing = False
        self._late: dict[int, tuple[bytes, Any]] = {}
        self._queue: deque[tuple[Subscription, bytes, Any]] = deque()
        self._queued = 0  # bytes

    # The connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the socket up and be counted."""
        self._transport = transport  # type: ignore[assignment]
        self.peer = transport.get_extra_info("peername") or ("", 0)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE.items():
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        self._transport.set_write_buffer_limits(HIGH, LOW)
        self.context.circuits.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget everything that the client had open. Puts under way go on."""
        self._forget()
        self.context.ended(self)

    @property
    def connected(self) -> bool:
        """Whether anything can still be sent."""
        return not self._closing

    @property
    def backlog(self) -> int:
        """Events that wait until the client takes them."""
        return len(self._late) + len(self._queue)

    @property
    def idle(self) -> bool:
        """Whether all has been handed to the kernel."""
        return not self.out and not self._transport.get_write_buffer_size()

    def close(self) -> None:
        """End the connection, with what was said last."""
        if not self._closing:
            self.flush()
            self._forget()
            if self._full:  # it would wait for a client that does not read
                self._transport.abort()
                return
            self._transport.close()
            if self._transport.get_write_buffer_size():
                self.loop.call_later(LINGER, self._transport.abort)

    def _forget(self) -> None:
        """End all that the client has open; nothing more is kept for it."""
        self._closing = True
        for channel in tuple(self.channels.values()):
            channel.close()
        for kept in (self.out, self._late, self._queue, self._buffer):
            kept.clear()

    # Bytes out

    def say(self, *parts: Any) -> None:
        """Send a reply, in order with everything else; who does not read it has to wait with the next question."""
        self.out.extend(parts)
        self.unread += sum(map(len, parts)) + OVERHEAD
        if not self.scheduled:
            self.schedule()

    def schedule(self) -> None:
        """Send what there is at the end of the loop's turn."""
        self.scheduled = True
        self.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Hand over to the kernel what it takes, large bodies in slices, so that they are not copied per client."""
        self.scheduled = False
        out = self.out
        if self._closing or not out:
            return
        if not self._full and sum(map(len, out)) <= SLICE:
            self._transport.write(b"".join(out))
            out.clear()
        else:
            self._write_slices()
        if not out:
            self.unread = 0

    def _write_slices(self) -> None:
        out, done = self.out, 0
        while done < len(out) and not self._full:
            first, size = done, 0
            while done < len(out) and size + len(out[done]) <= SLICE:
                size += len(out[done])
                done += 1
            if done > first:
                self._transport.write(b"".join(out[first:done]))
            else:
                view = memoryview(out[done])
                self._transport.write(view[:SLICE])
                out[done] = view[SLICE:]
        del out[:done]

    def pause_writing(self) -> None:
        """The client is slow: events wait; requests are still read."""
        self._full = self.slow = True

    def resume_writing(self) -> None:
        """The client reads again."""
        self._full = False
        self.flush()
        self._catch_up()
        self._go_on()

    def events(self, on: bool) -> None:
        """The client wants events, or none for now (EVENTS_ON, EVENTS_OFF)."""
        self._off = not on
        self.slow = self.slow or self._off
        self._catch_up()

    def hold(self, subscription: Subscription, head: bytes, body: Any) -> None:
        """Keep an event for later: in the queue where the signal asks for it, else as the newest one."""
        if subscription.queued and body:
            self._queue.append((subscription, head, body))
            self._queued += len(body)
            while self._queued > self.limits.queue and len(self._queue) > 1:
                self._queued -= len(self._queue.popleft()[2])
                self.dropped += 1
            return
        if self._late.pop(subscription.number, None) is not None:
            self.dropped += 1
        self._late[subscription.number] = head, body

    def withhold(self, subscription: Subscription) -> None:
        """Forget what waits of a subscription."""
        self._late.pop(subscription.number, None)
        if subscription.queued and self._queue:
            self._queue = deque(event for event in self._queue if event[0] is not subscription)
            self._queued = sum(len(event[2]) for event in self._queue)

    def _catch_up(self) -> None:
        """Send what waited, the queue first, for as long as the client takes it."""
        out, late = self.out, list(self._late.items())
        late.reverse()
        while (self._queue or late) and not self._off and not self._full and not self._closing:
            size = 0
            while size < SLICE and (self._queue or late):
                if self._queue:
                    _, head, body = self._queue.popleft()
                    self._queued -= len(body)
                else:
                    number, (head, body) = late.pop()
                    del self._late[number]
                out += (head, body)
                size += len(body)
            self.flush()
        self.slow = self._off or self._full or bool(self._queue or self._late)

    # Bytes in

    def data_received(self, data: bytes) -> None:
        """Answer requests as far as they are complete. What goes wrong here reaches no further than this circuit."""
        if self._closing:
            return
        self._buffer += data
        try:
            done = self._requests(self._buffer)
        except (wire.Malformed, struct.error) as error:
            self.context.counts.malformed += 1
            log.warning("%s:%d sends what is not Channel Access and is cut off: %s", *self.peer[:2], error)
            self.close()
            return
        except Exception:
            self.context.counts.malformed += 1
            log.exception("a request of %s:%d failed; its connection is closed", *self.peer[:2])
            self.close()
            return
        if not self._closing:
            del self._buffer[:done]
            if self.out:
                self.flush()

    def _requests(self, buffer: bytearray) -> int:
        """Go through the requests that lie in the buffer; gives how much of it is done with."""
        done, end = 0, len(buffer)
        if self._skip:
            done = min(self._skip, end)
            self._skip -= done
        while end - done >= 16:
            if self.unread > self.limits.replies or self.puts >= self.limits.puts:
                self.flush()
                if self._must_wait():
                    self._paused = True
                    self._transport.pause_reading()
                    break
            command, size, dtype, count, first, second = wire.HEADER.unpack_from(buffer, done)
            body = done + 16
            if size == 0xFFFF and count == 0:
                if end - done < 24:
                    break
                size, count = wire.LONG_SIZES.unpack_from(buffer, body)
                body += 8
            if first in self._withdrawn and command in requests.OF_CHANNEL and size <= self.limits.message:
                done = min(body + size, end)
                self._skip = body + size - done
                continue
            if command == wire.READ_NOTIFY and not size and self.greeted:  # the short path
                requests.read(self, command, dtype, count, first, second)
                done = body
                continue
            request = wire.Request(command, dtype, count, first, second)
            if size > SMALL or command not in requests.HANDLERS or not self.greeted:
                self._check(request, size)
                if size > SMALL and requests.refuse_oversize(self, request, size):
                    done = min(body + size, end)
                    self._skip = body + size - done
                    continue
            if end - body < size:
                break
            done = body + size
            with memoryview(buffer) as view:
                requests.HANDLERS[command](self, request._replace(body=bytes(view[body:done])))
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
            self.error(request.head, channel.cid if channel else 0, TOO_LARGE, "the put is too large")
            raise wire.Malformed(f"a put of {size} bytes; EPICS_CA_MAX_ARRAY_BYTES allows {self.limits.message}")

    def _must_wait(self) -> bool:
        return self.puts >= self.limits.puts or (self._full and self.unread > self.limits.replies)

    def _go_on(self) -> None:
        """Take up requests again that had to wait."""
        if self._paused and not self._must_wait() and not self._closing:
            self._paused = False
            self._transport.resume_reading()
            self.loop.call_soon(self.data_received, b"")

    def put_ended(self, channel: Channel) -> None:
        """Count a put as done."""
        channel.puts -= 1
        self.puts -= 1
        self._go_on()

    # What requests need

    def new_channel(self, cid: int, name: str) -> Channel | None:
        """Open a channel; None if there is no such PV or the client has too many."""
        found = self.context.find(name) if len(self.channels) < self.limits.channels else None
        if found is None:
            return None
        self._sid = self._sid % 0xFFFFFFFF + 1
        channel = self.channels[self._sid] = Channel(self, cid, self._sid, name, *found)
        channel.rights = self.context.rights(self, channel.pv)
        return channel

    def withdraw(self, channel: Channel) -> None:
        """Tell the client that a PV is gone; what it asks of the channel before it hears that is passed over."""
        self.say(wire.message(wire.SERVER_DISCONNECT, 0, 0, 0, channel.cid, 0))
        self._withdrawn[channel.sid] = None
        if len(self._withdrawn) > self.limits.channels:
            del self._withdrawn[next(iter(self._withdrawn))]
        channel.close()

    def channel(self, sid: int) -> Channel:
        """Give an open channel.

        Raises:
            Malformed: there is none of this number.
        """
        channel = self.channels.get(sid)
        if channel is None:
            raise wire.Malformed(f"there is no channel {sid}")
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
            rights = self.context.rights(self, channel.pv)
            if rights == channel.rights:
                continue
            changed = rights ^ channel.rights
            channel.rights = rights
            self.say(wire.message(wire.ACCESS_RIGHTS, 0, 0, 0, channel.cid, rights))
            if changed & requests.MAY_READ:
                for subscription in tuple(channel.subscriptions):
                    subscription.rights_changed()

    async def _on_disconnect(self) -> None:
        with contextlib.suppress(OSError):
            self.close()
