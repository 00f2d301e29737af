"""Who has this PV? Searches by UDP, answered for this process; its siblings on the same host get their share.

One socket hears all interfaces. It answers whoever can reach the PVs: this host's own addresses while the server
listens on loopback alone, and then the reply names 127.0.0.1, whatever way the search came.

A broadcast reaches every process that listens on the port; a datagram sent to one address reaches only one of them, of
the kernel's choice. So each process also has a datagram socket in Linux' abstract namespace,
`countinghouse:ca:<port>:<process>:...`: searches that came to one address and are not for us go there, together with
the client's address, and the sibling that has the PV answers the client itself. /proc/net/unix tells who is there now;
the kernel takes a name away with its process, however that ends.

A search for a name of ours that is not (yet) served is remembered, and answered when the PV appears.
"""

import asyncio
import contextlib
import errno
import ipaddress
import logging
import os
import socket
import time
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from caproto.asyncio import server

from iocs.ca.hosts import is_own
from iocs.ca.server import wire
from iocs.ca.server.names import LONGEST

if TYPE_CHECKING:
    from iocs.ca.server.context import Context

log = logging.getLogger(__name__)

IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8)  # Linux, ip(7); named by Python from 3.14 on
ANY, LOOPBACK = "0.0.0.0", "127.0.0.1"
DATAGRAMS_A_TURN = 100
LONGEST_DATAGRAM = 65536
BUFFER = 1 << 21  # bytes; ten thousand searches come at once
NAMES_REMEMBERED, ASKERS_REMEMBERED = 5000, 50
FRESH = 1.0  # s; how long the list of siblings holds
ADDRESSES_FRESH = 60.0  # s; the same of what is known about clients' addresses
SIBLINGS = "countinghouse:ca:"

Peer = tuple[str, int]


class Search:
    """The search sockets of one server.

    Attributes:
        count: searches seen.
    """

    def __init__(self, context: "Context") -> None:
        self.count = 0
        self._context = context
        self._udp: socket.socket | None = None
        self._own: socket.socket | None = None  # what siblings send to
        self._wanted: OrderedDict[str, dict[Peer, int]] = OrderedDict()
        self._prefixes: tuple[str, ...] = ()
        self._siblings: list[str] = []
        self._siblings_at = self._addresses_at = -ADDRESSES_FRESH
        self._addresses: dict[str, int | None] = {}

    def open(self) -> None:
        """Begin to listen, on the context's search port.

        Raises:
            OSError: the port cannot be had.
        """
        port = self._context.ca_server_port
        self._udp = udp = server._create_udp_socket()
        udp.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        try:
            udp.bind((ANY, port))
        except OSError as error:
            udp.close()
            raise OSError(error.errno, f"search port {port}: {error.strerror}") from error
        self._own = own = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        own.setblocking(False)
        own.bind(f"\0{SIBLINGS}{port}:{os.getpid()}:{id(self):x}")
        loop = asyncio.get_running_loop()
        for sock in (udp, own):
            loop.add_reader(sock, self._hear, sock)

    def close(self) -> None:
        """Stop listening."""
        for sock in (self._udp, self._own):
            if sock is not None and sock.fileno() >= 0:
                asyncio.get_running_loop().remove_reader(sock)
                sock.close()

    def address_for(self, client: str) -> int | None:
        """Give the address that a search reply to a client must name, None if the client cannot reach us."""
        now = time.monotonic()
        if now - self._addresses_at > ADDRESSES_FRESH or len(self._addresses) > 1000:
            self._addresses.clear()
            self._addresses_at = now
        if client not in self._addresses:
            try:
                self._addresses[client] = self._find_address(client)
            except OSError as error:  # no descriptor left, for now; the client searches again
                log.debug("search of %s: %s", client, error)
                return None
        return self._addresses[client]

    def prefix(self, prefix: str) -> None:
        """Remember from now on who searches names that begin so."""
        if not prefix.startswith(self._prefixes or ("\0",)):
            self._prefixes += (prefix,)

    def appeared(self) -> None:
        """Answer those who searched for what is served now."""
        for name in [name for name in self._wanted if self._context.find(name)]:
            for client, cid in self._wanted.pop(name).items():
                self._reply(client, None, [cid])

    # Within

    def _hear(self, sock: socket.socket) -> None:
        for _ in range(DATAGRAMS_A_TURN):
            try:
                data, control, _, client = sock.recvmsg(LONGEST_DATAGRAM, 64)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:  # of an earlier reply that did not arrive
                log.debug("search socket: %s", error)
                return
            if sock is self._own:  # a sibling hands on a search, the client's address before it
                if len(data) > 6:
                    self._answer(data[6:], (socket.inet_ntoa(data[:4]), int.from_bytes(data[4:6], "big")))
            elif (others := self._answer(data, client)) and _to_one_address(control):
                self._ask_siblings(others, client)

    def _answer(self, data: bytes, client: Peer) -> bytes:
        """Answer the searches of a datagram that are for us; gives a datagram of the others."""
        sequence, ours, others, at = None, [], b"", 0
        while len(data) - at >= 16:
            command, size, dtype, _, first, _ = wire.HEADER.unpack_from(data, at)
            end = at + 16 + size
            if command == wire.VERSION:
                sequence = first if dtype & 1 else None
            elif command != wire.SEARCH or end > len(data):
                break  # not for us, or cut short
            else:
                self.count += 1
                name = wire.text(data[at + 16 : end])
                if self._context.find(name):
                    ours.append(first)
                else:
                    others += data[at:end]
                    if len(name) <= LONGEST and self._prefixes and name.startswith(self._prefixes):
                        self._remember(name, client, first)
            at = end
        if ours:
            self._reply(client, sequence, ours)
        return wire.version(sequence) + others if others else b""

    def _reply(self, client: Peer, sequence: int | None, cids: list[int]) -> None:
        address = self.address_for(client[0])
        if address is None or self._udp is None or not self._context.admits(client[0]):
            return
        for first in range(0, len(cids), wire.REPLIES_A_DATAGRAM):
            found = (
                wire.found(self._context.tcp_port, address, c) for c in cids[first : first + wire.REPLIES_A_DATAGRAM]
            )
            try:
                self._udp.sendto(wire.version(sequence) + b"".join(found), client)
            except OSError as error:  # it searches again
                log.debug("search reply to %s:%d: %s", *client, error)

    def _remember(self, name: str, client: Peer, cid: int) -> None:
        clients = self._wanted.setdefault(name, {})
        if client in clients or len(clients) < ASKERS_REMEMBERED:
            clients[client] = cid
        self._wanted.move_to_end(name)
        if len(self._wanted) > NAMES_REMEMBERED:
            self._wanted.popitem(last=False)

    def _ask_siblings(self, searches: bytes, client: Peer) -> None:
        if self._own is None:
            return
        now = time.monotonic()
        if now - self._siblings_at > FRESH:
            self._siblings_at = now
            self._siblings = siblings(self._context.ca_server_port, self._own.getsockname())
        told = socket.inet_aton(client[0]) + client[1].to_bytes(2, "big") + searches
        for sibling in self._siblings:
            with contextlib.suppress(OSError):  # it has just ended, or is too busy; the client searches again
                self._own.sendto(told, sibling)

    def _find_address(self, client: str) -> int | None:
        interfaces = self._context.interfaces
        if ANY in interfaces:
            return wire.ANY_ADDRESS
        if is_own(client):
            return _number(LOOPBACK if LOOPBACK in interfaces else interfaces[0])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
            sock.connect((client, 1))  # sends nothing; tells by which of our addresses the client is reached
            if sock.getsockname()[0] in interfaces:
                return _number(sock.getsockname()[0])
        return None


def siblings(port: int, own: bytes) -> list[str]:
    """Give the sockets of this host's other servers that hear searches on the same port."""
    try:
        lines = Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        if error.errno != errno.EMFILE:  # at the limit of descriptors the server stays silent
            log.warning("other IOCs of this host may stay hidden: %s", error)
        return []
    mark = f"@{SIBLINGS}{port}:"
    names: Iterable[str] = (line.split()[-1] for line in lines if mark in line)
    return [f"\0{name[1:]}" for name in names if name.startswith(mark) and name[1:].encode() != own[1:]]


def _to_one_address(control: list[tuple[int, int, bytes]]) -> bool:
    """Whether a datagram came to one address, not as a broadcast (struct in_pktinfo: interface, local address, to)."""
    return any(level == socket.IPPROTO_IP and data[4:8] == data[8:12] for level, _, data in control)


def _number(address: str) -> int:
    return int(ipaddress.IPv4Address(address))
