"""Watching, reading and putting PVs over the network, whoever serves them.

`Client` is for whoever uses PVs; `iocs.ca.search` finds who serves them, `iocs.ca.circuit` speaks with a server.
"""

import asyncio
import getpass
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

import caproto as ca

from iocs.ca.channel import Channel, Lost
from iocs.ca.circuit import Circuit
from iocs.ca.metadata import Metadata, read_metadata, wire_value
from iocs.ca.pv import NOTHING, Mask, Pv, Watch
from iocs.ca.search import Address, Search
from iocs.ca.updates import CTRL, LARGE, STRING, TIME, read_value
from iocs.signals import Reading

__all__ = ["NOTHING", "Client", "Mask", "Watch"]

log = logging.getLogger(__name__)

LONGEST_NAME = 1000  # bytes; a search must fit into a datagram
STEADY = 10.0  # s; a server that keeps a circuit as long is not made to wait when it is back
PAUSE = 0.1  # s, doubled at each failure in a row up to
LONGEST_PAUSE = 2.0
REMEMBERED = 1000  # servers
REASONS = 5  # of failures, logged of a server until it is steady again


@dataclass(slots=True)
class _Past:
    """What a server has done to us: failures in a row, and what was logged of them."""

    failures: int = 0
    not_before: float = 0.0  # s, of the loop's clock: when it may be connected to again
    said: set[str] = field(default_factory=set)


class Client:
    """A Channel Access client: `async with Client() as client`.

    EPICS_CA_ADDR_LIST, EPICS_CA_AUTO_ADDR_LIST, EPICS_CA_SERVER_PORT say where to search, EPICS_CA_CONN_TMO (s) how
    long a server may be silent before it is asked for a sign of life, EPICS_CA_MAX_ARRAY_BYTES the longest value, where
    that is above 64 MiB.

    Args:
        server: "host:port" (TCP) of the only server to use, for whoever must not be fooled by another host: nothing is
            searched on the network then. None: whoever answers first.

    Attributes:
        watches: all that are open.

    Raises:
        ValueError: `server` or the environment is not what it should be.
    """

    def __init__(self, server: str | None = None) -> None:
        environment = ca.get_environment_variables()
        self.watches: set[Watch] = set()
        self._silence = float(environment["EPICS_CA_CONN_TMO"])
        self._most = max(LARGE, int(environment["EPICS_CA_MAX_ARRAY_BYTES"]))
        self._pinned = None if server is None else _address(server, int(environment["EPICS_CA_SERVER_PORT"]))
        self._search = Search() if server is None else None
        self._names = _user(), socket.gethostname()
        self._pvs: dict[str, Pv] = {}
        self._circuits: dict[Address, Circuit] = {}
        self._past: dict[Address, _Past] = {}
        self._closed = False

    async def __aenter__(self) -> Self:
        if self._search is not None:
            await self._search.open()
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._closed = True
        if self._search is not None:
            await self._search.close()
        for pv in self._pvs.values():
            pv.forget()
        await asyncio.gather(*(circuit.close() for circuit in list(self._circuits.values())))

    def watch(self, name: str, on_reading: Callable[[Reading], None], mask: Mask = Mask.VALUE | Mask.ALARM) -> Watch:
        """Call `on_reading` in the event loop for every event of a PV, and with `connected` False when it goes away.

        It comes back by itself; its first event then is the PV's present value, which may be one that was seen before.
        Where the server gives no value because we may not read, the status is READ_ACCESS.

        Args:
            name: the PV.
            on_reading: must not wait; what it raises is logged.
            mask: which events.

        Raises:
            ValueError: the name cannot be one.
        """
        pv = self._pv(name)
        watch = Watch(pv, on_reading, mask)
        self.watches.add(watch)
        pv.watch(watch)
        return watch

    def end(self, watch: Watch) -> None:
        """Close a watch without waiting for it."""
        watch.end()

    async def get(self, name: str, timeout: float = 5.0) -> Reading:
        """Read a PV once.

        Raises:
            TimeoutError: it was not found, or did not answer, within `timeout` seconds.
            PermissionError: the server does not let us read; the text says why.
        """

        def decode(channel: Channel, message: Any, frame: bytes) -> Reading:
            size = message.payload_size
            kind, array = TIME + channel.kind, channel.count != 1
            return read_value(kind, message.data_count, frame, len(frame) - size, size, array=array)

        return await self._read(name, TIME, decode, timeout)

    async def metadata(self, name: str, timeout: float = 5.0) -> Metadata:
        """Read what the server tells about a PV: unit, precision, limits, labels of states.

        Raises:
            TimeoutError: it was not found, or did not answer, within `timeout` seconds.
            PermissionError: the server does not let us read; the text says why.
        """

        def decode(channel: Channel, message: Any, frame: bytes) -> Metadata:
            told = None if channel.kind == STRING else message.metadata
            return read_metadata(channel.kind, channel.count, channel.writable, told)

        return await self._read(name, CTRL, decode, timeout, count=1)

    async def put(self, name: str, value: Any, timeout: float = 5.0) -> None:
        """Put a value and wait until it is confirmed.

        Args:
            name: the PV.
            value: a number, text (also the label of a state), or a sequence of numbers.
            timeout: s.

        Raises:
            TimeoutError: no confirmation came; whether it was carried out is not known.
            PermissionError: the put was refused; the text says why.
            ValueError: the value is none that can be put.
        """
        async with self._within(timeout, f"put of {name} was not confirmed"), self._open(name) as pv:
            channel = await pv.opened_channel()
            try:
                answer = await channel.circuit.write(channel, *wire_value(value, channel.kind))
            except Lost as lost:
                raise TimeoutError(f"put of {name} was not confirmed: {lost}") from None
        if not answer.good:
            raise PermissionError(f"put of {name} was refused: {answer.text}")

    async def answered(self, name: str, timeout: float = 0.5) -> str | None:
        """Say who answers a search for a PV ("host:port"), None if nobody does within `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                if self._search is None:
                    async with self._open(name) as pv:
                        return str((await pv.opened_channel()).circuit)
                found: asyncio.Future[Address] = asyncio.get_running_loop().create_future()
                sought = self._search.seek(name, lambda at: None if found.done() else found.set_result(at))
                try:
                    host, port = await found
                finally:
                    self._search.drop(sought)
                return f"{host}:{port}"
        except TimeoutError:
            return None

    # Within

    def _pv(self, name: str) -> Pv:
        if self._closed:
            raise RuntimeError("the client is closed")
        if not name.isprintable() or not 0 < len(name.encode()) <= LONGEST_NAME:
            raise ValueError(f"{name!r} is not the name of a PV")
        if name not in self._pvs:
            self._pvs[name] = Pv(self, name)
        return self._pvs[name]

    @asynccontextmanager
    async def _open(self, name: str) -> AsyncIterator[Pv]:
        pv = self._pv(name)
        pv.users += 1
        try:
            pv.seek()
            yield pv
        finally:
            pv.users -= 1
            pv.rest()

    @asynccontextmanager
    async def _within(self, timeout: float, what: str) -> AsyncIterator[None]:
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            raise TimeoutError(f"{what} within {timeout:g} s") from None

    async def _read(
        self, name: str, family: int, decode: Callable[[Channel, Any, bytes], Any], timeout: float, count: int = 0
    ) -> Any:
        async with self._within(timeout, f"PV {name} did not answer"), self._open(name) as pv:
            while True:
                channel = await pv.opened_channel()
                try:
                    answer = await channel.circuit.read(channel, family + channel.kind, partial(decode, channel), count)
                except Lost:
                    continue  # it is searched again
                break
        if not answer.good:
            raise PermissionError(f"PV {name} cannot be read: {answer.text}")
        return answer.value

    def seek(self, pv: Pv) -> None:
        """Find who serves a PV, and open it there."""
        if self._closed or self._pvs.get(pv.name) is not pv or pv.channel is not None:
            return
        if self._search is None:
            self.found(pv, self._pinned)
        elif pv.sought is None:
            pv.sought = self._search.seek(pv.name, lambda address: self.found(pv, address))
        else:
            self._search.seek_again(pv.sought)

    def drop(self, pv: Pv) -> None:
        """Forget a PV that nobody uses."""
        if self._search is not None and pv.sought is not None:
            self._search.drop(pv.sought)
        if self._pvs.get(pv.name) is pv:  # it may have been watched anew meanwhile
            del self._pvs[pv.name]

    def found(self, pv: Pv, address: Address | None) -> None:
        """Open a PV at a server: at once, or after the pause that a server gets which loses its circuits."""
        if self._closed or address is None or self._pvs.get(pv.name) is not pv or pv.channel is not None:
            return
        circuit = self._circuits.get(address)
        if circuit is None:
            loop = asyncio.get_running_loop()
            past = self._past.get(address)
            pause = past.not_before - loop.time() if past else 0.0
            if pause > 0:
                loop.call_later(pause, self.found, pv, address)
                return
            circuit = Circuit(address, self._names, self._silence, self._most, self._circuit_lost)
            self._circuits[address] = circuit
        pv.channel = circuit.open_channel(pv.name, pv)

    def _circuit_lost(self, circuit: Circuit, reason: str) -> None:
        address = circuit.address
        self._circuits.pop(address, None)
        if self._closed:
            return
        now = asyncio.get_running_loop().time()
        past = self._past.pop(address, None) or _Past()
        if now - circuit.born >= STEADY:
            past = _Past()
        else:
            past.failures += 1
            past.not_before = now + min(PAUSE * 2 ** min(past.failures, 10), LONGEST_PAUSE)
        self._past[address] = past  # the newest last
        if len(self._past) > REMEMBERED:
            del self._past[next(iter(self._past))]
        channels = list(circuit.channels.values())
        if reason not in past.said and len(past.said) < REASONS:
            past.said.add(reason)
            log.warning("%s: %s; %d PVs are searched again", circuit, reason, len(channels))
        for channel in channels:
            channel.owner.gone(channel)


def _address(server: str, default_port: int) -> Address:
    host, _, port = server.partition(":")
    if not host or (port and not port.isdigit()):
        raise ValueError(f"{server!r} is not host:port")
    return host, int(port or default_port)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in containers
        return str(os.getuid())
