"""Signals served as PVs over Channel Access. Whoever serves says `serve`, `post`, `withdraw`; caproto stays behind it.

First form, on caproto's own asyncio server: clients must be told where to look (EPICS_CA_ADDR_LIST=127.0.0.1).
"""

import asyncio
import contextlib
import logging
import os
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any

import caproto as ca
from caproto.asyncio.server import Context
from caproto.server.common import DisconnectedCircuit

from iocs.ca.pvs import Pv, tell, wire_value
from iocs.signals import Reading, Signal, Status

log = logging.getLogger(__name__)

# (name of the PV, value, who) -> nothing, or Refused
Put = Callable[[str, Any, str], Awaitable[None]]


class Server:
    """The PVs of one process.

    Attributes:
        interfaces: addresses to listen on.
        port: TCP port in use, once started (EPICS_CAS_SERVER_PORT or EPICS_CA_SERVER_PORT if free, else another).
    """

    def __init__(self, interfaces: Iterable[str] = ("127.0.0.1",)) -> None:
        self.interfaces = list(interfaces)
        self._pvs: dict[str, Pv] = {}
        self._watchers: dict[str, list[Callable[[Reading], None]]] = {}  # they stay when a PV is served anew
        self._context = _Context(self.interfaces)
        self._news: deque[Coroutine[Any, Any, None]] = deque()
        self._awake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def port(self) -> int | None:
        """TCP port in use, None before the start."""
        return None if self._context.port is None else int(self._context.port)

    @property
    def names(self) -> list[str]:
        """Names of all PVs served now."""
        return list(self._pvs)

    def serve(self, prefix: str, signals: Iterable[Signal], put: Put | None = None) -> None:
        """Add PVs, UDF and INVALID until the first post.

        Args:
            prefix: what stands before each signal's name.
            signals: what to serve.
            put: called for every put of a setpoint or command.

        Raises:
            ValueError: a name is served already.
        """
        for signal in signals:
            name = prefix + signal.name
            if name in self._pvs:
                raise ValueError(f"PV {name} is served already")
            pv = Pv(name, signal, None if put is None else self._handler(put, name))
            pv.watchers = self._watchers.setdefault(name, [])
            self._pvs[name] = pv
            self._context.pvdb[name] = pv.channel

    def withdraw(self, names: Iterable[str]) -> None:
        """Take PVs out of service. Whoever watches in this process gets a last reading with `connected` False."""
        gone = set(names)
        for name in gone:
            pv = self._pvs.pop(name)
            pv.invalidate(Status.COMM)
            self._send(pv, True)
            pv.disconnect()
        for key in [
            key for key in self._context.pvdb if key.split(".")[0] in gone
        ]:  # caproto keeps NAME.FIELD there too
            del self._context.pvdb[key]
        self._later(self._context.disconnect(gone))

    def post(self, prefix: str, time_ns: int, values: Mapping[str, Any]) -> None:
        """Post a batch of values that were taken together. To be called in the event loop; it does not wait.

        Args:
            prefix: what stands before each name.
            time_ns: when the values were taken, ns since 1970.
            values: by signal name; a value or `Bad`. What is not of its kind makes that PV INVALID, logged once.

        Raises:
            KeyError: a name is not served; nothing after it is posted.
        """
        for name, value in values.items():
            pv = self._pvs[prefix + name]
            self._send(pv, pv.take(value, time_ns))

    def invalidate(self, names: Iterable[str], status: Status) -> None:
        """Make PVs INVALID with the given status, keeping their last value and stamp."""
        for name in names:
            pv = self._pvs[name]
            if pv.invalidate(status):
                self._send(pv, True)

    def reading(self, name: str) -> Reading | None:
        """Give the newest reading of a PV, None if it is not served here."""
        pv = self._pvs.get(name)
        return pv.reading if pv else None

    def watch(self, name: str, on_reading: Callable[[Reading], None]) -> Callable[[], None]:
        """Call `on_reading` now and at every event of a PV served here; gives the function that ends it.

        When the PV is withdrawn and served anew, the watcher hears of both.

        Raises:
            KeyError: the PV is not served here.
        """
        pv = self._pvs[name]
        pv.watchers.append(on_reading)
        tell(on_reading, name, pv.reading)

        def close() -> None:
            with contextlib.suppress(ValueError):
                pv.watchers.remove(on_reading)

        return close

    async def start(self) -> None:
        """Open the sockets and begin to serve.

        Raises:
            OSError: an address cannot be used; the text says which.
        """
        serving = asyncio.create_task(self._context.run(startup_hook=self._context.started))
        ready = asyncio.create_task(self._context.ready.wait())
        self._tasks = [serving, asyncio.create_task(self._pump())]
        await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if serving.done():
            await self.stop()
            raise OSError(
                f"cannot serve on {', '.join(self.interfaces)}: {serving.exception()}"
            ) from serving.exception()

    async def wait(self) -> None:
        """Wait until serving ends; it should not, so this ends with the reason as an exception."""
        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in self._tasks:
            if task.done():
                task.result()

    async def stop(self) -> None:
        """Send what is still to be sent, then close all connections."""
        if self._tasks and not any(task.done() for task in self._tasks):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._sent()
        await self._context.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while self._news:  # what nobody could be told any more
            self._news.popleft().close()

    def _handler(self, put: Put, name: str) -> Callable[[Any, str], Awaitable[None]]:
        async def on_put(value: Any, by: str) -> None:
            await put(name, value, by)
            await self._sent()  # whoever gets the confirmation and reads again finds the new value

        return on_put

    def _send(self, pv: Pv, event: bool) -> None:
        reading = pv.reading
        value = wire_value(pv.signal, reading.value)
        self._later(pv.channel.store(value, reading.time_ns, reading.severity, reading.status, send=event))

    async def _sent(self) -> None:
        """Wait until all that has been posted so far has gone into caproto."""
        sent = asyncio.Event()
        self._later(_set(sent))
        await sent.wait()

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        self._news.append(work)
        self._awake.set()

    async def _pump(self) -> None:
        """Bring what was posted into caproto, in order; its writing is a coroutine, our posting is not."""
        done = 0
        while True:
            while self._news:
                try:
                    await self._news.popleft()
                except Exception:  # one PV that cannot be sent must not end all others
                    log.exception("internal error while sending")
                done += 1
                if done % 100 == 0:
                    await asyncio.sleep(0)
            self._awake.clear()
            await self._awake.wait()


async def _set(event: asyncio.Event) -> None:
    event.set()


class _Context(Context):
    """caproto's server, with withdrawal told to clients, quiet beacons and an orderly end."""

    def __init__(self, interfaces: list[str]) -> None:
        super().__init__({}, interfaces)
        self.ca_server_port = int(os.environ.get("EPICS_CAS_SERVER_PORT") or self.ca_server_port)
        self.ready = asyncio.Event()

    async def started(self, async_layer: Any) -> None:
        """Say that the sockets are open (caproto's start-up hook)."""
        self.ready.set()

    async def disconnect(self, names: set[str]) -> None:
        """Close every client's channel on withdrawn PVs, so that the clients know and search again."""
        for circuit in list(self.circuits):
            for cid, channel in list(circuit.circuit.channels.items()):
                if channel.name.split(".")[0] not in names:
                    continue
                await circuit._cull_subscriptions(None, lambda sub, channel=channel: sub.channel is channel)
                with contextlib.suppress(DisconnectedCircuit):
                    await circuit.send(ca.ServerDisconnResponse(cid=cid))

    async def broadcast_beacon_loop(self) -> Any:
        """Send beacons with growing pauses. Nobody may be listening: that is no fault of ours."""
        period = 0.02
        while True:
            for interface, sock in self.beacon_socks.values():
                beacon = self.broadcaster.send(ca.Beacon(13, self.port, self.beacon_count, interface))
                with contextlib.suppress(OSError):
                    await sock.send(beacon)
            self.beacon_count += 1
            await asyncio.sleep(period)
            period = min(period * 2, float(self.environ["EPICS_CAS_BEACON_PERIOD"]))

    async def close(self) -> None:
        """Close the connections of all clients."""
        for circuit in list(self.circuits):
            await circuit._on_disconnect()
