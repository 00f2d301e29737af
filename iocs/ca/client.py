"""Watching and reading PVs over the network, whoever serves them.

First form, on caproto's own asyncio client: names, search, connection and reconnect are its own.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Self

import caproto as ca
from caproto import ChannelType
from caproto.asyncio.client import Context

from iocs.ca import EPICS_EPOCH, NS
from iocs.signals import Reading, Severity, Status

NOTHING = Reading(None, 0, Severity.INVALID, Status.UDF, connected=False, local=False)


class Watch:
    """One PV being watched; made by `Client.watch`.

    Attributes:
        name: the PV.
        reading: the newest reading; `connected` False until the first one has come.
    """

    def __init__(self, client: "Client", name: str, on_reading: Callable[[Reading], None]) -> None:
        self.name = name
        self.reading = NOTHING
        self._client = client
        self._on_reading = on_reading
        self._subscription: Any = None

    async def start(self, context: Context) -> None:
        """Search the PV and subscribe to it; it stays searched until it is found, and again whenever it is lost."""
        (pv,) = await context.get_pvs(self.name, connection_state_callback=self._on_connection)
        if self not in self._client.watches:
            return  # closed meanwhile
        self._subscription = pv.subscribe(data_type="time", data_count=0)
        self._subscription.add_callback(self._on_event)

    async def close(self) -> None:
        """End the subscription. No reading comes after this."""
        self._on_reading = lambda reading: None
        self._client.watches.discard(self)
        if self._subscription is not None:
            await self._subscription.clear()

    # Coroutines, though they never wait: caproto runs plain callbacks in threads, in no certain order.

    async def _on_event(self, subscription: Any, response: Any) -> None:
        self.reading = read_response(response)
        self._on_reading(self.reading)

    async def _on_connection(self, pv: Any, state: str) -> None:
        if state == "connected":
            return
        if self.reading.connected:
            old = self.reading
            self.reading = Reading(old.value, old.time_ns, Severity.INVALID, Status.COMM, connected=False, local=False)
            self._on_reading(self.reading)
        if not pv.circuit_manager.dead.is_set():  # withdrawn by a server that lives on: caproto would rest here
            pv.channel_ready.clear()
            pv.circuit_ready.clear()
            pv.context.broadcaster.results.mark_channel_disconnected(pv.name, pv.circuit_manager.circuit.address)
            await pv.context.reconnect([(pv.name, pv.priority)])


class Client:
    """A Channel Access client: `async with Client() as client`."""

    def __init__(self) -> None:
        self._context: Context | None = None  # caproto's, once it is needed: an unused one cannot be closed
        self.watches: set[Watch] = set()  # caproto keeps callbacks by weak reference only
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._context is None:
            return
        await _end([*self._context._tasks.tasks, *self._context.broadcaster._tasks.tasks])
        await self._context.disconnect()

    def watch(self, name: str, on_reading: Callable[[Reading], None]) -> Watch:
        """Call `on_reading` in the event loop for every event of a PV, and with `connected` False when it goes away.

        It comes back by itself; its first event then is the PV's present value, which may be one that was seen before.
        """
        watch = Watch(self, name, on_reading)
        self.watches.add(watch)
        self._begin(watch.start(self._used()))
        return watch

    def end(self, watch: Watch) -> None:
        """Close a watch without waiting for it."""
        self._begin(watch.close())

    def _used(self) -> Context:
        if self._context is None:
            self._context = Context()
        return self._context

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def get(self, name: str, timeout: float = 5.0) -> Reading:
        """Read a PV once.

        Raises:
            TimeoutError: it was not found, or did not answer, within `timeout` seconds.
        """
        (pv,) = await self._used().get_pvs(name)
        try:
            async with asyncio.timeout(timeout):
                return read_response(await pv.read(data_type="time", data_count=0, timeout=None))
        except TimeoutError:
            raise TimeoutError(f"PV {name} did not answer within {timeout:g} s") from None

    async def put(self, name: str, value: Any, timeout: float = 5.0) -> None:
        """Put a value and wait until it is confirmed.

        Raises:
            TimeoutError: no confirmation came.
            PermissionError: the put was refused; the text says why.
        """
        (pv,) = await self._used().get_pvs(name)
        try:
            async with asyncio.timeout(timeout):
                response = await pv.write([value], timeout=None)
        except TimeoutError:
            raise TimeoutError(f"put of {name} was not confirmed within {timeout:g} s") from None
        if not response.status.success:
            raise PermissionError(f"put of {name} was refused: {response.status.description}")

    async def answered(self, name: str, timeout: float = 0.5) -> str | None:
        """Say who answers a search for a PV ("host:port"), None if nobody does within `timeout` seconds."""
        (pv,) = await self._used().get_pvs(name)
        with contextlib.suppress(ca.CaprotoTimeoutError):
            await pv.wait_for_search(timeout=timeout)
            host, port = pv.circuit_manager.circuit.address
            return f"{host}:{port}"
        return None


async def _end(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they have ended: caproto uses `asyncio.wait_for`, which in Python 3.11 may lose a cancel."""
    while tasks := [task for task in tasks if not task.done()]:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=0.1)


def read_response(response: Any) -> Reading:
    """Give a caproto response of a TIME type as a Reading: text as str, one element as a scalar, else a numpy array."""
    metadata = response.metadata
    stamp = metadata.stamp
    never = stamp.secondsSinceEpoch == stamp.nanoSeconds == 0  # 1990: a PV that has had no value yet
    time_ns = 0 if never else (stamp.secondsSinceEpoch + EPICS_EPOCH) * NS + stamp.nanoSeconds
    return Reading(
        _value(response), time_ns, Severity(metadata.severity), Status(metadata.status), connected=True, local=False
    )


def _value(response: Any) -> Any:
    data, kind = response.data, ca.native_type(response.data_type)
    if kind == ChannelType.CHAR:
        return bytes(data).split(b"\0")[0].decode(errors="replace")
    if kind == ChannelType.STRING:
        return data[0].decode(errors="replace") if len(data) else ""
    return data[0].item() if len(data) == 1 else data
