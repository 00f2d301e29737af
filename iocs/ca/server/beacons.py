"""Beacons: "I am here", by UDP to the repeaters, so that clients search at once when a server comes up.

They go where the server can be reached, each from the address that it is reached by: on loopback to this host's own
repeater, on another interface to its broadcast address. That nobody listens is no fault and is not told.
"""

import asyncio
import fcntl
import logging
import socket
import struct
from collections.abc import Iterable, Mapping
from typing import Any

from caproto._utils import get_address_and_port_from_string

from iocs.ca.server import wire
from iocs.ca.server.search import ANY, LOOPBACK

log = logging.getLogger(__name__)

FIRST_PERIOD = 0.02  # s, doubled each time (Channel Access protocol specification, "Server beacons")
SIOCGIFADDR, SIOCGIFBRDADDR = 0x8915, 0x8919  # Linux, netdevice(7)


class Beacons:
    """Sends beacons with growing pauses; `restart` makes them frequent again, which clients take as news."""

    def __init__(self, interfaces: Iterable[str], environment: Mapping[str, Any]) -> None:
        self._interfaces = list(interfaces)
        self._port: int = environment["EPICS_CAS_BEACON_PORT"]
        self._longest = float(environment["EPICS_CAS_BEACON_PERIOD"])
        self._listed = str(environment["EPICS_CAS_BEACON_ADDR_LIST"]).split()
        self._automatic = str(environment["EPICS_CAS_AUTO_BEACON_ADDR_LIST"]).upper() != "NO"
        self._again = asyncio.Event()

    def restart(self) -> None:
        """PVs have appeared: say so."""
        self._again.set()

    async def send(self, port: int) -> None:
        """Send beacons of the server at a TCP port until cancelled."""
        period, number = FIRST_PERIOD, 0
        while True:
            # The address is left to the receiver: it is the one that the datagram comes from.
            beacon = wire.HEADER.pack(wire.BEACON, 0, wire.MINOR, port, number, 0)
            try:
                for source, target in self.targets():
                    _send(source, target, beacon)
            except OSError as error:  # no descriptor left, for now
                log.debug("no beacons: %s", error)
            number = (number + 1) & 0xFFFFFFFF
            try:
                async with asyncio.timeout(period):
                    await self._again.wait()
                self._again.clear()
                period = FIRST_PERIOD
            except TimeoutError:
                period = min(period * 2, self._longest)

    def targets(self) -> list[tuple[str, tuple[str, int]]]:
        """Give where beacons go now, as (own address, (address, port)); interfaces may come and go."""
        targets = [(ANY, get_address_and_port_from_string(address, self._port)) for address in self._listed]
        if self._automatic:
            broadcast = broadcasts()
            reached = broadcast if ANY in self._interfaces else self._interfaces
            targets += [(own, (broadcast.get(own, own), self._port)) for own in reached]
        return targets


def broadcasts() -> dict[str, str]:
    """Give this host's own addresses with the broadcast address of each (of loopback: itself)."""
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode())
            try:
                own = socket.inet_ntoa(fcntl.ioctl(sock, SIOCGIFADDR, request)[20:24])
                broadcast = socket.inet_ntoa(fcntl.ioctl(sock, SIOCGIFBRDADDR, request)[20:24])
            except OSError:  # has no IPv4 address
                continue
            found[own] = own if own == LOOPBACK or broadcast == ANY else broadcast
    return found


def _send(source: str, target: tuple[str, int], beacon: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        try:
            sock.bind((source, 0))
            sock.sendto(beacon, target)
        except OSError as error:
            log.debug("beacon to %s:%d: %s", *target, error)
