"""caproto's server context with our circuits, searches and beacons: sockets and tasks stay its own."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Protocol

import caproto as ca
from caproto.asyncio import server

from iocs.ca.server import names
from iocs.ca.server.beacons import Beacons
from iocs.ca.server.channel import READ, WRITE
from iocs.ca.server.circuit import Circuit
from iocs.ca.server.fields import FIELDS, field, has_field
from iocs.ca.server.limits import Limits
from iocs.ca.server.names import Address
from iocs.ca.server.pv import Pv
from iocs.ca.server.search import Search
from iocs.signals import Kind, Signal

log = logging.getLogger(__name__)

TESTED = ("1.3.0",)  # versions of caproto whose inner names are known to be as we use them
ACCEPTED_A_TURN = 64
BACKLOG = 1024  # connections that the kernel may keep for us
RETRY = 0.2  # s; until we look again for a free descriptor


class Access(Protocol):
    """Who may do what: `[access]` of the site file."""

    def rights(self, address: str, user: str, signal: Signal) -> tuple[bool, bool, Any]:
        """Give (may read, may write, level) of a client, by its address and the user name that it claims."""
        ...

    def admits(self, address: str) -> bool:
        """Tell whether an address may connect at all."""
        ...


class PutLog(Protocol):
    """Where every put is written down."""

    def note(
        self,
        time_ns: int,
        peer: str,
        user: str,
        pv: str,
        old: Any,
        new: Any,
        accepted: bool,
        reason: str,
        *,
        readback: Any = None,
    ) -> None:
        """Write a put down, without waiting."""
        ...


@dataclass(slots=True)
class Counts:
    """What the server counts.

    Attributes:
        clients, channels, subscriptions: open now.
        updates: events, since the start.
        dropped: events that gave way to newer ones because a client was slow.
        puts, refused_puts: of clients.
        refused: connections and subscriptions over a limit, for which no descriptor was left, or not allowed.
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


class Quiet(logging.Filter):
    """Lets so many lines through in each period; says how many it kept back with the first line of the next one."""

    def __init__(self, lines: int = 20, period: float = 10.0) -> None:
        super().__init__()
        self.lines, self.period = lines, period
        self._began, self._said, self._kept = 0.0, 0, 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a line may be written."""
        if record.created - self._began >= self.period or record.created < self._began:
            if self._kept:
                record.msg = f"{record.getMessage()} ({self._kept} lines before this were kept back)"
                record.args = ()
            self._began, self._said, self._kept = record.created, 0, 0
        self._said += 1
        self._kept += self._said > self.lines
        return self._said <= self.lines


def quieten(name: str) -> logging.Logger:
    """Give a logger whose lines are bounded in rate, as clients can bring them about."""
    logger = logging.getLogger(name)
    if not any(isinstance(each, Quiet) for each in logger.filters):
        logger.addFilter(Quiet())
    return logger


class Context(server.Context):
    """caproto's context; PVs stand in `pvs`, by name."""

    def __init__(
        self, pvs: dict[str, Pv], interfaces: list[str], limits: Limits, access: Access | None, put_log: PutLog | None
    ) -> None:
        super().__init__({}, interfaces)
        self.pvs = pvs
        self.limits = limits
        self.access = access
        self.put_log = put_log
        self.counts = Counts()
        self.ca_server_port = int(os.environ.get("EPICS_CAS_SERVER_PORT") or self.ca_server_port)
        self.search = Search(self)
        self.beacons = Beacons(interfaces, self.environ)
        self.ready = asyncio.Event()
        for name in ("iocs.ca.server.circuit", "iocs.ca.server.requests", "iocs.ca.server.search"):
            quieten(name)

    @property
    def tcp_port(self) -> int:
        """TCP port in use, 0 before the start."""
        return int(self.port or 0)

    # PVs and rights

    def exists(self, name: str) -> bool:
        """Whether a name is served, fields and filters included; makes nothing."""
        if name in self.pvs:
            return True
        address = names.parse(name) if "." in name else None
        return address is not None and self._fits(address)

    def find(self, name: str) -> tuple[Address, Pv] | None:
        """Give what a name means, None if it is not served."""
        if (pv := self.pvs.get(name)) is not None:
            return Address(name), pv
        address = names.parse(name)
        if address is None or not self._fits(address):
            return None
        pv = self.pvs[address.record]
        return address, pv if address.field == "VAL" else field(pv, address.field)

    def _fits(self, address: Address) -> bool:
        pv = self.pvs.get(address.record)
        if pv is None or (address.field != "VAL" and not has_field(pv, address.field)):
            return False
        kind = pv.signal.kind if address.field == "VAL" else FIELDS[address.field][0]
        return not address.long or kind in (Kind.STR, Kind.TEXT)

    def rights(self, circuit: Circuit, pv: Pv) -> int:
        """Give what a client may do with a PV."""
        read, write = True, True
        if self.access is not None:
            read, write, _ = self.access.rights(circuit.peer[0], circuit.user, pv.signal)
        return (READ if read else 0) | (WRITE if write and pv.writable else 0)

    def admits(self, address: str) -> bool:
        """Whether a client at this address may connect; who may not gets no answer to its searches either."""
        return self.access is None or self.access.admits(address)

    def ended(self, circuit: Circuit) -> None:
        """Keep what an ended circuit has counted."""
        self.circuits.discard(circuit)
        self.counts.updates += circuit.updates
        self.counts.dropped += circuit.dropped

    def counted(self) -> Counts:
        """Give all counts as they stand."""
        now = Counts(**{each.name: getattr(self.counts, each.name) for each in fields(Counts)})
        now.clients = len(self.circuits)
        now.searches = self.search.count
        for circuit in self.circuits:
            now.channels += len(circuit.channels)
            now.subscriptions += len(circuit.subscriptions)
            now.updates += circuit.updates
            now.dropped += circuit.dropped
        return now

    # What caproto's context calls

    async def started(self, async_layer: Any) -> None:
        """Say that the sockets are open (caproto's start-up hook)."""
        self.ready.set()

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

        return await super()._bind_tcp_sockets_with_consistent_port_number(make)

    async def server_accept_loop(self, sock: socket.socket) -> None:
        """Accept connections, many a turn; without free descriptors look again later and say nothing."""
        loop = asyncio.get_running_loop()
        arriving: set[Circuit] = set()  # some of them in `circuits` already

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
                full = len(self.circuits) + len(arriving - self.circuits) >= self.limits.circuits
                if full or not self.admits(peer[0]):
                    self.counts.refused += 1
                    connection.close()
                    continue
                connection.setblocking(False)
                circuit = Circuit(self, self.limits)
                arriving.add(circuit)
                made = loop.connect_accepted_socket(partial(_same, circuit), connection)  # type: ignore[arg-type]
                self.server_tasks.create(made).add_done_callback(partial(_discard, arriving, circuit))

        def resume() -> None:
            if sock.fileno() >= 0:
                loop.add_reader(sock, accept)

        resume()
        try:
            await asyncio.Event().wait()
        finally:
            if sock.fileno() >= 0:
                loop.remove_reader(sock)

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


def _same(circuit: Circuit) -> Circuit:
    return circuit


def _discard(circuits: set[Circuit], circuit: Circuit, _: Any) -> None:
    circuits.discard(circuit)


def check_version() -> None:
    """Say plainly when caproto is one that this server was not tested with."""
    if ca.__version__ not in TESTED:
        log.warning(
            "caproto %s is installed; this server was tested with %s only: if anything misbehaves, install that",
            ca.__version__,
            ", ".join(TESTED),
        )


def describe(circuits: Iterable[Circuit]) -> list[Client]:
    """Give what is known of each client."""
    return [
        Client(
            circuit.peer[0],
            circuit.peer[1],
            circuit.user,
            circuit.host,
            len(circuit.channels),
            len(circuit.subscriptions),
            circuit.updates,
            circuit.dropped,
            circuit.backlog,
        )
        for circuit in circuits
    ]
