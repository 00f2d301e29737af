"""A PV as a client knows it: searched, opened, watched, lost, and searched again."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from enum import IntFlag
from typing import Protocol

from iocs.ca.channel import Channel
from iocs.ca.search import Sought
from iocs.ca.updates import TIME
from iocs.signals import Reading, Severity, Status

log = logging.getLogger(__name__)

NOTHING = Reading(None, 0, Severity.INVALID, Status.UDF, connected=False, local=False)

REFUSED_AGAIN = 1.0  # s until a server that did not open a channel is asked for it again
WITHDRAWN_AGAIN = 0.1  # s until a PV is searched again that its server has closed


class Mask(IntFlag):
    """What a watch is told of."""

    VALUE = 1
    LOG = 2
    ALARM = 4
    PROPERTY = 8


class Watch:
    """One PV being watched; made by `Client.watch`.

    Attributes:
        name: the PV.
        reading: the newest reading; `connected` False until the first one has come.
        array: whether the PV is an array.
    """

    def __init__(self, pv: "Pv", on_reading: Callable[[Reading], None], mask: Mask) -> None:
        self.name = pv.name
        self.reading = NOTHING
        self.array = False
        self._pv = pv
        self._on_reading = on_reading
        self._mask = mask
        self._closed = False
        self._failed = False
        self._subscription: tuple[Channel, int, int] | None = None

    async def close(self) -> None:
        """End the subscription. No reading comes after this."""
        self.end()

    def end(self) -> None:
        """`close`, for whoever cannot wait."""
        if not self._closed:
            self._closed = True
            if self._subscription is not None:
                channel, kind, number = self._subscription
                channel.circuit.unsubscribe(channel, kind, number)
            self._pv.unwatch(self)

    def subscribe(self, channel: Channel) -> None:
        """Subscribe on a channel that has just been opened."""
        self.array = channel.count != 1
        kind = TIME + channel.kind
        self._subscription = channel, kind, channel.circuit.subscribe(channel, kind, self._mask, self)

    def lost(self) -> None:
        """Tell that the PV is not being served: the last value and its stamp stay."""
        if self._subscription is not None:
            channel, _, number = self._subscription
            channel.circuit.subscribers.pop(number, None)  # the circuit may live on without the PV
            self._subscription = None
        if self.reading.connected:
            self.take(replace(self.reading, severity=Severity.INVALID, status=Status.COMM, connected=False))

    def take(self, reading: Reading) -> None:
        """Hand on a reading."""
        if self._closed:
            return
        self.reading = reading
        try:
            self._on_reading(reading)
        except Exception:  # a bug in one watcher is not felt by the others on its circuit
            if not self._failed:
                log.exception("%s: taking a reading failed; further failures are not logged", self.name)
            self._failed = True

    def refuse(self, status: int) -> None:
        """Tell that the server gives no value: nearly always, that we may not read."""
        if self.reading.status is not Status.READ_ACCESS:
            log.warning("%s: the server gives no value (ECA code %d)", self.name, status)
        self.take(replace(self.reading, severity=Severity.INVALID, status=Status.READ_ACCESS, connected=True))


class Finder(Protocol):
    """Whoever brings PVs to their servers: the client."""

    watches: set[Watch]

    def seek(self, pv: "Pv") -> None:
        """Find who serves a PV, and open it there."""

    def drop(self, pv: "Pv") -> None:
        """Forget a PV that nobody uses."""


class Pv:
    """A PV that somebody uses: it is searched until it is found, and again whenever it is lost.

    Attributes:
        channel: where it is open, or being opened; None while it is searched.
        users: gets and puts that are under way.
    """

    def __init__(self, client: Finder, name: str) -> None:
        self.name = name
        self.sought: Sought | None = None
        self.channel: Channel | None = None
        self.users = 0
        self._client = client
        self._watches: list[Watch] = []
        self._waiting: list[asyncio.Future[Channel]] = []
        self._seeking = False
        self._forgotten = False

    def watch(self, watch: Watch) -> None:
        """Begin to feed a watch."""
        self._watches.append(watch)
        if self.channel is not None and self.channel.sid >= 0:
            watch.subscribe(self.channel)
        self.seek()

    def unwatch(self, watch: Watch) -> None:
        """Forget a watch, and the PV with the last one."""
        self._watches.remove(watch)
        self._client.watches.discard(watch)
        if not self._watches and not self.users:
            if self.channel is not None:
                self.channel.circuit.close_channel(self.channel)
            self._client.drop(self)

    def seek(self) -> None:
        """Search it, if that is not being done."""
        if self.channel is None and not self._seeking:
            self._seeking = True
            self._client.seek(self)

    def rest(self) -> None:
        """Stop searching what nobody uses. A channel that was opened stays open for the next get."""
        if not self._watches and not self.users and self.channel is None:
            self._client.drop(self)

    async def opened_channel(self) -> Channel:
        """Wait until it can be used.

        Raises:
            ConnectionError: the client is closed.
        """
        if self._forgotten:
            raise ConnectionError("the client is closed")
        if self.channel is not None and self.channel.sid >= 0:
            return self.channel
        waiting: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            return await waiting
        finally:
            self._waiting.remove(waiting)

    def opened(self, channel: Channel) -> None:
        """Subscribe, and wake those that wait."""
        self._seeking = False
        for watch in list(self._watches):
            watch.subscribe(channel)
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(channel)

    def gone(self, channel: Channel) -> None:
        """Tell the watches, and search again."""
        if self.channel is not channel:
            return
        opened = channel.sid >= 0
        self.channel, self._seeking = None, False
        for watch in list(self._watches):
            watch.lost()
        if self._watches or self.users:
            self._seeking = True
            if channel.cid in channel.circuit.channels:  # the circuit went, not the PV
                self._client.seek(self)
            else:
                pause = WITHDRAWN_AGAIN if opened else REFUSED_AGAIN
                asyncio.get_running_loop().call_later(pause, self._client.seek, self)
        else:
            self._client.drop(self)

    def forget(self) -> None:
        """End with the client."""
        self.channel, self._forgotten = None, True
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(ConnectionError("the client is closed"))
