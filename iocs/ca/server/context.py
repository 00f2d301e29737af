"""caproto's server context with our circuits, searches and beacons: sockets and tasks stay its own."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import caproto as ca
from caproto.asyncio import server

from iocs.ca.access import Access
from iocs.ca.putlog import PutLog
from iocs.ca.server import fields, names
from iocs.ca.server.beacons import Beacons
from iocs.ca.server.channel import READ, WRITE
from iocs.ca.server.circuit import Circuit
from iocs.ca.server.limits import Limits
from iocs.ca.server.names import Address
from iocs.ca.server.pv import Pv
from iocs.ca.server.search import Search
from iocs.log import quieten
from iocs.signals import Kind

log = logging.getLogger(__name__)

TESTED = ("1.3.0",)  # versions of caproto whose inner names are known to be as we use them
ACCEPTED_A_TURN = 64
BACKLOG = 1024  # connections that the kernel may keep for us
RETRY = 0.2  # s; until we look again for a free descriptor
WEIGHED = 0.2  # s; how often it is seen what all clients make us hold


@dataclass(slots=True)
class Counts:
    """What the server counts.

    Attributes:
        clients, channels, subscriptions: open now.
        updates: events, since the start.
        dropped: events that gave way to newer ones because a client was slow.
        puts, refused_puts: of clients.
        refused: connections, channels and subscriptions over a limit, for which no descriptor was left, or not allowed.
        malformed: connections that were closed because the client broke the protocol.
        too_large: messages over EPICS_CA_MAX_ARRAY_BYTES.
        searches: names that were searched for.
    """

    clients: int = 0
    channels: int = 0
    subscriptions: int = 0
    updates: int = 0
    dropped: int = 0
    puts: int = 0
    refused_puts: int = 0
    refused: int = 0
    malformed: int = 0
    too_large: int = 0
    searches: int = 0


class Context(server.Context):
    """caproto's context.

    Attributes:
        pvs: what is served, by name.
        fixed_port: TCP port to listen on and no other; None = the usual one if it is free, else any.
        put_bytes: what the puts of all clients hold that wait or are being carried out.
    """

    def __init__(
        self, pvs: dict[str, Pv], interfaces: list[str], limits: Limits, access: Access | None, put_log: PutLog | None
    ) -> None:
        super().__init__({}, interfaces)
        self.pvs, self.limits, self.access, self.put_log = pvs, limits, access, put_log
        self.fixed_port: int | None = None
        self.put_bytes = 0
        self.counts = Counts()
        self.ca_server_port = int(os.environ.get("EPICS_CAS_SERVER_PORT") or self.ca_server_port)
        self.search = Search(self)
        self.beacons = Beacons(interfaces, self.environ)
        self.ready = asyncio.Event()
        for name in ("circuit", "requests", "search"):
            quieten(f"iocs.ca.server.{name}")

    @property
    def tcp_port(self) -> int:
        """TCP port in use, 0 before the start."""
        return int(self.port or 0)

    # PVs and rights

    def find(self, name: str) -> tuple[Address, Pv] | None:
        """Give what a name means and the PV whose record it is of; None if it is not served. Makes nothing."""
        if (pv := self.pvs.get(name)) is not None:
            return Address(name), pv
        address = names.parse(name) if "." in name else None
        pv = self.pvs.get(address.record) if address else None
        if address is None or pv is None:
            return None
        kind: Kind | None = pv.signal.kind
        if address.field != "VAL":
            found = fields.find(pv, address.field)
            kind = found.kind if found else None
        if kind is None or (address.long and kind not in (Kind.STR, Kind.TEXT)):
            return None
        return address, pv

    def rights(self, circuit: Circuit, pv: Pv) -> int:
        """Give what a client may do with a PV."""
        read, write = True, True
        if self.access is not None:
            read, write, _ = self.access.rights(circuit.peer[0], circuit.user, pv.signal)
        return (READ if read else 0) | (WRITE if write and pv.writable else 0)

    def admits(self, address: str) -> bool:
        """Whether a client at this address may connect; who may not gets no answer to its searches either."""
        try:
            return self.access is None or self.access.admits(address)
        except OSError as error:  # no descriptor left to see whose address it is; the client comes again
            log.debug("%s: %s", address, error)
            return False

    def _has_room(self, address: str) -> bool:
        """Whether one more connection fits: of all clients, and of those at this address."""
        mine = sum(circuit.peer[0] == address for circuit in self.circuits)
        return len(self.circuits) < self.limits.circuits and mine < self.limits.share

    def ended(self, circuit: Circuit) -> None:
        """Keep what an ended circuit has counted."""
        self.circuits.discard(circuit)
        self.counts.updates += circuit.updates
        self.counts.dropped += circuit.dropped

    def counted(self) -> Counts:
        """Give all counts as they stand."""
        circuits, counts = self.circuits, self.counts
        return replace(
            counts,
            clients=len(circuits),
            channels=sum(len(circuit.channels) for circuit in circuits),
            subscriptions=sum(len(circuit.subscriptions) for circuit in circuits),
            updates=counts.updates + sum(circuit.updates for circuit in circuits),
            dropped=counts.dropped + sum(circuit.dropped for circuit in circuits),
            searches=self.search.count,
        )

    def weigh(self) -> None:
        """See what all clients make us hold; where it is too much, who holds most pays first."""
        while True:
            shared = {id(body): len(body) for circuit in self.circuits for body in circuit.bodies}
            if sum(shared.values()) + sum(circuit.weight for circuit in self.circuits) <= self.limits.memory // 2:
                return
            max(self.circuits, key=lambda circuit: circuit.weight + sum(map(len, circuit.bodies))).pay()

    # What caproto's context calls

    async def started(self, async_layer: Any) -> None:
        """Say that the sockets are open, and keep an eye on the clients (caproto's start-up hook)."""
        self.ready.set()
        while True:
            await asyncio.sleep(WEIGHED)
            self.weigh()

    async def _bind_tcp_sockets_with_consistent_port_number(self, make_socket: Callable[..., Any]) -> Any:
        """Listen at once: of two processes that start together only one then has the port."""

        async def make(address: str, port: int) -> socket.socket:
            sock = await make_socket(address, port)
            try:
                sock.listen(BACKLOG)
            except OSError:
                sock.close()
                raise
            return sock

        if (port := self.fixed_port) is not None:
            return port, {interface: await make(interface, port) for interface in self.interfaces}
        return await super()._bind_tcp_sockets_with_consistent_port_number(make)

    async def server_accept_loop(self, sock: socket.socket) -> None:
        """Accept connections, many a turn; without free descriptors look again later and say nothing."""
        loop = asyncio.get_running_loop()

        def accept() -> None:
            for _ in range(ACCEPTED_A_TURN):
                try:
                    connection, peer = sock.accept()
                except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                    return
                except OSError:
                    self.counts.refused += 1
                    loop.remove_reader(sock)
                    loop.call_later(RETRY, resume)
                    return
                if not self._has_room(peer[0]) or not self.admits(peer[0]):
                    self.counts.refused += 1
                    connection.close()
                    continue
                connection.setblocking(False)
                circuit = Circuit(self, peer)
                self.circuits.add(circuit)
                connecting = self.server_tasks.create(self._connect(circuit, connection))
                connecting.add_done_callback(partial(_close_if_cancelled, connection))

        def resume() -> None:
            if sock.fileno() >= 0:
                loop.add_reader(sock, accept)

        resume()
        try:
            await asyncio.Event().wait()
        finally:
            if sock.fileno() >= 0:
                loop.remove_reader(sock)

    async def _connect(self, circuit: Circuit, connection: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: circuit, connection)
        except OSError as error:  # it has gone already
            log.debug("%s:%d: %s", *circuit.peer, error)
            connection.close()
            self.circuits.discard(circuit)

    async def _create_broadcaster_transport(self, interface: str) -> None:
        """Open the search socket; one hears all interfaces."""
        if not self.udp_socks:
            self.search.open()
            self.udp_socks[interface] = self.search

    async def broadcast_beacon_loop(self) -> Any:
        """Send beacons."""
        await self.beacons.send(self.tcp_port)

    async def _nothing(self) -> Any:
        """Ours needs no such loop."""

    broadcaster_receive_loop = broadcaster_queue_loop = subscription_queue_loop = _nothing


def _close_if_cancelled(connection: socket.socket, connecting: asyncio.Task[None]) -> None:
    """Close a connection that came while the server was being stopped: nobody else has it yet."""
    if connecting.cancelled():
        connection.close()


def check_version() -> None:
    """Say plainly when caproto is one that this server was not tested with."""
    if ca.__version__ not in TESTED:
        log.warning(
            "caproto %s is installed; this server was tested with %s only: if anything misbehaves, install that",
            ca.__version__,
            ", ".join(TESTED),
        )
