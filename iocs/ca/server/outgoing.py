"""What goes to one client: replies and events in one order, and what is owed to a client that is slow.

Nothing waits for a client. While its socket is full it is remembered which of its subscriptions have news, and their
values are sent as they are when it reads again; signals that ask for it have a short queue instead.
"""

import asyncio
from collections import deque
from typing import Any

from iocs.ca.server.channel import Subscription

OVERHEAD = 64  # bytes that a reply costs besides its own while it waits
SLICE = 1 << 17  # bytes written at a time of what is large


class Outgoing(asyncio.Protocol):
    """A connection's way out.

    Attributes:
        out: what waits for the end of the loop's turn, or for the client.
        fresh: bytes of events among it since it was last written.
        updates: events sent.
        dropped: events that gave way to newer ones.
        slow: the client does not take events at the moment.
    """

    def __init__(self, most_queued: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.out: list[Any] = []
        self.scheduled = self.slow = False
        self.updates = self.dropped = self.fresh = 0
        self._transport: asyncio.Transport | None = None
        self._unread = 0  # bytes of replies that wait
        self._full = self._off = self._closing = False
        self._late: dict[Subscription, None] = {}
        self._queue: deque[tuple[Subscription, bytes, Any]] = deque()
        self._queued = 0  # bytes
        self._most_queued = most_queued

    @property
    def backlog(self) -> int:
        """Events that wait until the client takes them."""
        return len(self._late) + len(self._queue)

    @property
    def _unsent(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport else 0

    @property
    def idle(self) -> bool:
        """Whether all has been handed to the kernel."""
        return not self.out and not self._unsent

    @property
    def bodies(self) -> list[Any]:
        """What waits to be sent; other clients may wait for the same."""
        return [part.obj if isinstance(part, memoryview) else part for part in self.out]

    def say(self, *parts: Any) -> None:
        """Send a reply, in order with everything else; who does not read it has to wait with the next question."""
        self.out.extend(parts)
        self._unread += sum(map(len, parts)) + OVERHEAD
        if not self.scheduled:
            self.schedule()

    def schedule(self) -> None:
        """Send what there is at the end of the loop's turn."""
        self.scheduled = True
        self.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Hand over to the kernel what it takes, large bodies in slices, so that they are not copied per client."""
        self.scheduled = False
        self.fresh = 0
        out = self.out
        if self._closing or not out or self._transport is None:
            return
        if not self._full and sum(map(len, out)) <= SLICE:
            self._transport.write(b"".join(out))
            out.clear()
        else:
            self._write_slices(self._transport)
        if not out:
            self._unread = 0

    def _write_slices(self, transport: asyncio.Transport) -> None:
        out, done = self.out, 0
        while done < len(out) and not self._full:
            first, size = done, 0
            while done < len(out) and size + len(out[done]) <= SLICE:
                size += len(out[done])
                done += 1
            if done > first:
                transport.write(b"".join(out[first:done]))
            else:
                view = memoryview(out[done])
                transport.write(view[:SLICE])
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

    def events(self, on: bool) -> None:
        """The client wants events, or none for now (EVENTS_ON, EVENTS_OFF)."""
        self._off = not on
        self.slow = self.slow or self._off
        self._catch_up()

    def hold(self, subscription: Subscription) -> None:
        """Remember that a subscription has news."""
        if subscription in self._late:
            self.dropped += 1
            del self._late[subscription]
        self._late[subscription] = None  # the newest last

    def queue(self, subscription: Subscription, head: bytes, body: Any) -> None:
        """Keep an event of a signal that asks for all of them."""
        self._queue.append((subscription, head, body))
        self._queued += len(body)
        self.shorten(self._most_queued)

    def shorten(self, most: int) -> None:
        """Drop the oldest of the queue beyond so many bytes; the newest stays."""
        while self._queued > most and len(self._queue) > 1:
            self._queued -= len(self._queue.popleft()[2])
            self.dropped += 1

    def forget(self, subscription: Subscription) -> None:
        """Send nothing more of what waits of a subscription."""
        self._late.pop(subscription, None)
        if subscription.queued and self._queue:
            self._queue = deque(event for event in self._queue if event[0] is not subscription)
            self._queued = sum(len(event[2]) for event in self._queue)

    def _catch_up(self) -> None:
        """Send what waited, the queue first, for as long as the client takes it."""
        while (self._queue or self._late) and not (self._off or self._full or self._closing):
            if self._queue:
                _, head, body = self._queue.popleft()
                self._queued -= len(body)
                self.updates += 1
                self.out += (head, body)
                self.fresh += len(body)
            else:
                subscription = next(iter(self._late))
                del self._late[subscription]
                subscription.send()
            if self.fresh > SLICE or not (self._queue or self._late):
                self.flush()
        self.slow = self._off or self._full or bool(self._queue or self._late)
