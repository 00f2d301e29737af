"""Asking the network who serves a PV, and asking again until somebody does.

A name is asked for five times within 1.5 s; after that, names take turns in probes: one datagram a second for each
server that was lost, one for the names that were never found (more, so that every name has its turn within 10 s). When
a probe is answered something is back, and all that are missing are asked for at once. So a thousand PVs come back
about a second after their IOC, however long it was away, for next to no traffic; beacons, and a repeater to hear them
by, are not needed.
"""

import asyncio
import ipaddress
import logging
import math
import socket
import struct
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import caproto as ca

log = logging.getLogger(__name__)

Address = tuple[str, int]

VERSION = ca.DEFAULT_PROTOCOL_VERSION
SEARCH, DO_NOT_REPLY = 6, 5  # command; who has not the PV says nothing
AGAIN = (0.03, 0.1, 0.3, 1.0)  # s between the first requests for a name
PROBE_EVERY = 1.0  # s
TURN_WITHIN = 10  # s; every missing name is asked for again
DATAGRAM = 1400  # bytes
RESOLVE_AGAIN = 10.0  # s
RECEIVE_BUFFER = 1 << 20  # bytes; thousands of answers come at once


class Sought:
    """A name that is searched, or was found.

    Attributes:
        name: the PV.
        last: server that had it when it was lost, None if it never was found.
        found_at: server that answered, None while it is searched.
    """

    def __init__(self, name: str, number: int, on_found: Callable[[Address], None]) -> None:
        self.name = name
        self.number = number
        self.on_found = on_found
        self.request = _request(name, number)
        self.last: Address | None = None
        self.found_at: Address | None = None
        self.tries = 0
        self.due = 0.0  # s, of the loop's clock; infinity: only probes ask for it


def _request(name: str, number: int) -> bytes:
    """Encode a search. (caproto's own refuses record names of more than 59 characters; ours may have 60.)"""
    payload = name.encode() + b"\0"
    payload += bytes(-len(payload) % 8)
    return struct.pack(">4H2I", SEARCH, len(payload), DO_NOT_REPLY, VERSION, number, number) + payload


def _addresses() -> list[Address]:
    """Give where to search. Broadcasts do not reach this very host when it has no network: its loopback is added."""
    addresses = ca.get_client_address_list()
    environment = ca.get_environment_variables()
    if environment["EPICS_CA_AUTO_ADDR_LIST"].lower() == "yes" or not environment["EPICS_CA_ADDR_LIST"].strip():
        addresses.append(("127.0.0.1", int(environment["EPICS_CA_SERVER_PORT"])))
    return list(dict.fromkeys(addresses))


class Search(asyncio.DatagramProtocol):
    """All searches of one client, over one UDP socket.

    Use: `await open()`, `seek` names, `close()`.
    """

    def __init__(self) -> None:
        _addresses()  # a mistake in the environment is told here
        self._addresses: list[Address] = []
        self._codec = ca.Broadcaster(our_role=ca.CLIENT)
        self._known: dict[int, Sought] = {}
        self._missing: dict[int, Sought] = {}
        self._last_number = 0
        self._turns: dict[Address | None, int] = defaultdict(int)
        self._elsewhere: set[tuple[str, Address]] = set()  # names told by two servers, already logged
        self._failure = ""
        self._wake = asyncio.Event()
        self._transport: asyncio.DatagramTransport | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Open the socket.

        Raises:
            OSError: there is no socket to be had.
        """
        loop = asyncio.get_running_loop()
        sock = ca.bcast_socket()
        sock.bind(("", 0))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, sock=sock)
        self._codec.client_address = sock.getsockname()
        self._tasks = [asyncio.create_task(self._ask())]
        for host, port in _addresses():
            if _is_number(host):
                self._addresses.append((host, port))
            else:
                self._tasks.append(asyncio.create_task(self._resolve(host, port)))

    async def close(self) -> None:
        """End all searches."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._transport is not None:
            self._transport.close()

    def seek(self, name: str, on_found: Callable[[Address], None]) -> Sought:
        """Search a name until it is found or dropped; `on_found` gets the server that answered first."""
        self._last_number = (self._last_number + 1) & 0xFFFFFFFF
        sought = Sought(name, self._last_number, on_found)
        self._known[sought.number] = self._missing[sought.number] = sought
        self._wake.set()
        return sought

    def seek_again(self, sought: Sought) -> None:
        """Search a name again that has been lost."""
        if sought.number in self._known:
            sought.last, sought.found_at = sought.found_at or sought.last, None
            sought.tries, sought.due = 0, 0.0
            self._missing[sought.number] = sought
            self._wake.set()

    def drop(self, sought: Sought) -> None:
        """End a search; answers that still come are nobody's."""
        self._known.pop(sought.number, None)
        self._missing.pop(sought.number, None)

    # Asking

    async def _resolve(self, host: str, port: int) -> None:
        """Take a host into the list once its name has an address; the network may come later than we."""
        said = False
        while True:
            try:
                found = await asyncio.get_running_loop().getaddrinfo(
                    host, port, family=socket.AF_INET, type=socket.SOCK_DGRAM
                )
            except OSError as error:
                if not said:
                    log.warning("%s in EPICS_CA_ADDR_LIST has no address yet: %s", host, error)
                said = True
                await asyncio.sleep(RESOLVE_AGAIN)
                continue
            self._addresses.append((str(found[0][4][0]), port))
            self._ask_all()
            return

    async def _ask(self) -> None:
        loop = asyncio.get_running_loop()
        probe_at = 0.0
        while True:
            self._wake.clear()
            now = loop.time()
            asked = [sought for sought in self._missing.values() if sought.due <= now]
            for sought in asked:
                sought.due = now + AGAIN[sought.tries] if sought.tries < len(AGAIN) else math.inf
                sought.tries += 1
            if now >= probe_at:
                probe_at = now + PROBE_EVERY
                asked += self._probes()
            self._send(asked)
            if self._missing:
                next_at = min(probe_at, min(sought.due for sought in self._missing.values()))
            else:
                next_at = math.inf
            try:
                async with asyncio.timeout_at(None if next_at == math.inf else next_at):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _ask_all(self) -> None:
        for sought in self._missing.values():
            sought.tries, sought.due = 0, 0.0
        self._wake.set()

    def _probes(self) -> list[Sought]:
        """Give the names whose turn it is."""
        groups: dict[Address | None, list[Sought]] = defaultdict(list)
        for sought in self._missing.values():
            if sought.due == math.inf:
                groups[sought.last].append(sought)
        probes: list[Sought] = []
        for server, group in groups.items():
            count = max(DATAGRAM // 48, math.ceil(len(group) / TURN_WITHIN))
            start = self._turns[server] % len(group)
            self._turns[server] = start + count
            probes += (group + group)[start : start + min(count, len(group))]
        for server in self._turns.keys() - groups.keys():
            del self._turns[server]
        return probes

    def _send(self, asked: list[Sought]) -> None:
        version = bytes(ca.VersionRequest(0, VERSION))
        datagram = version
        for sought in asked:
            if len(datagram) + len(sought.request) > DATAGRAM:
                self._send_datagram(datagram)
                datagram = version
            datagram += sought.request
        if datagram != version:
            self._send_datagram(datagram)

    def _send_datagram(self, datagram: bytes) -> None:
        if self._transport is not None:
            for address in self._addresses:
                self._transport.sendto(datagram, address)

    def error_received(self, exc: Exception) -> None:
        """Log what keeps datagrams from going out, once; asking goes on."""
        if str(exc) != self._failure:
            self._failure = str(exc)
            log.warning("searches cannot be sent (EPICS_CA_ADDR_LIST: %s): %s", self._addresses, exc)

    # Answers

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Take a datagram of answers."""
        try:
            answers = [message for message in self._codec.recv(data, addr) if isinstance(message, ca.SearchResponse)]
            found = [(message.cid, ca.extract_address(message)) for message in answers]
        except (ca.CaprotoError, ValueError) as error:
            log.debug("a datagram from %s:%d that is not Channel Access: %s", *addr[:2], error)
            return
        for number, address in found:
            self._found(number, address)

    def _found(self, number: int, address: Address) -> None:
        sought = self._known.get(number)
        if sought is None:
            return
        if sought.found_at is None:
            self._missing.pop(number, None)
            if sought.due == math.inf:
                self._ask_all()
            sought.found_at = address
            sought.on_found(address)
        elif _other(sought.found_at, address) and (sought.name, address) not in self._elsewhere:
            if len(self._elsewhere) < 1000:
                self._elsewhere.add((sought.name, address))
            log.warning("%s is served by %s:%d and also by %s:%d", sought.name, *sought.found_at, *address)


def _is_number(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def _other(one: Address, other: Address) -> bool:
    """Tell whether two addresses are of two servers; a host has its loopback address besides its others."""
    loopback = one[0].startswith("127.") or other[0].startswith("127.")
    return one != other and not (loopback and one[1] == other[1])
