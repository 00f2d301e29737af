"""Streams that come by UDP without being asked for: a port of ours, shared by all streams that come to it.

Unicast, broadcast and multicast; who listens says from which host (or any) and for which IDCODE. Within one process any
number of links share a port: a second socket on it would get either all datagrams or none.
"""

import asyncio
import contextlib
import ipaddress
import logging
import socket
from collections import deque
from collections.abc import Callable

from drivers.errors import LinkError, LinkTimeout
from drivers.link import Address, Datagram, reason

log = logging.getLogger(__name__)

BUFFER = 1 << 22  # bytes that the kernel may hold for us, if it allows that
AT_ONCE = 64  # datagrams taken before others get their turn
QUEUE = 4096  # datagrams that a stream may have waiting

Place = tuple[str, int, str]  # multicast group or "", port, our own address


def by_stream(datagram: bytes) -> list[tuple[int, bytes]]:
    """Cut a datagram into what belongs to each IDCODE, in order; what is no frame stays with what is before it."""
    parts: list[tuple[int, bytes]] = []
    at = 0
    while at < len(datagram):
        size = int.from_bytes(datagram[at + 2 : at + 4])
        if datagram[at] != 0xAA or size < 16 or at + size > len(datagram):
            size = len(datagram) - at
        idcode, part = int.from_bytes(datagram[at + 4 : at + 6]), datagram[at : at + size]
        if parts and (parts[-1][0] == idcode or datagram[at] != 0xAA):
            parts[-1] = parts[-1][0], parts[-1][1] + part
        else:
            parts.append((idcode, part))
        at += size
    return parts


class _Port:
    """One socket, and the links that listen at it."""

    open: dict[tuple[int, Place], "_Port"] = {}  # noqa: RUF012  by event loop and place: that is the idea

    def __init__(self, key: tuple[int, Place], loop: asyncio.AbstractEventLoop) -> None:
        self.links: list[ListeningLink] = []
        self._key = key
        self._loop = loop
        self._socket = _socket(*key[1])
        loop.add_reader(self._socket, self._read)

    @classmethod
    def join(cls, place: Place, link: "ListeningLink") -> "_Port":
        """Give the port at a place, opened where nobody listened there yet.

        Raises:
            OSError: it cannot be opened.
        """
        loop = asyncio.get_running_loop()
        key = (id(loop), place)
        if key not in cls.open:
            cls.open[key] = cls(key, loop)
        port = cls.open[key]
        port.links.append(link)
        return port

    def leave(self, link: "ListeningLink") -> None:
        """Take a link away; the last one closes the port."""
        self.links.remove(link)
        if not self.links:
            del self.open[self._key]
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _read(self) -> None:
        for _turn in range(AT_ONCE):
            try:
                data, (host, *_) = self._socket.recvfrom(65536)
            except BlockingIOError:
                return
            except OSError as error:
                log.warning("UDP port %d: %s", self._key[1][1], reason(error))
                return
            near = [link for link in self.links if link.hears(host)]
            for idcode, part in by_stream(data):
                own = [link for link in near if link.idcode == idcode]
                for link in own or near:  # what is nobody's is told to all: a wrong IDCODE in the site file is seen so
                    link.take(Datagram(part), host)


def _socket(group: str, port: int, own: str) -> socket.socket:
    found = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        found.setblocking(False)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        if group:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            member = socket.inet_aton(group) + socket.inet_aton(own)
            found.bind((group, port))
            found.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        else:
            found.bind((own, port))
    except BaseException:
        found.close()
        raise
    return found


class ListeningLink:
    """A `Link` to a stream that comes by itself; nothing can be written to it.

    Args:
        address: `udp://HOST:PORT?commands=off`: HOST sends to our PORT (0.0.0.0: any host, of which the first one
            heard counts); `udp://GROUP:PORT`: a multicast group. `interface`: our own address to listen at.
        idcode: of the stream.
    """

    def __init__(self, address: Address, idcode: int) -> None:
        self.address = address
        self.idcode = idcode
        self.dropped = 0
        self._hosts: set[str] | None = None
        self._port: _Port | None = None
        self._queue: deque[Datagram] = deque()
        self._news = asyncio.Event()

    async def open(self, timeout: float) -> None:
        """Listen."""
        if self._port is not None:
            raise LinkError(f"{self.address}: already open")
        own = self.address.options.get("interface", "0.0.0.0")
        port = self.address.port or 0
        try:
            async with asyncio.timeout(timeout):
                group = is_group(self.address.host)
                self._hosts = None if group else await self._senders()
                self._port = _Port.join((self.address.host if group else "", port, own), self)
        except TimeoutError:
            raise LinkTimeout(f"{self.address}: the name was not found within {timeout:g} s") from None
        except OSError as error:
            hint = "; another program (or process of this site) listens at it" if error.errno == 98 else ""
            raise LinkError(f"{self.address}: cannot listen at port {port}: {reason(error)}{hint}") from error

    async def _senders(self) -> set[str] | None:
        if self.address.host == "0.0.0.0":
            return None
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self.address.host, None, family=socket.AF_INET, type=socket.SOCK_DGRAM)
        return {str(where[0]) for *_, where in found}

    def hears(self, host: str) -> bool:
        """Tell whether what `host` sends is meant."""
        return self._hosts is None or host in self._hosts

    def take(self, data: Datagram, host: str) -> None:
        """Take a datagram."""
        if self._hosts is None and int.from_bytes(data[4:6]) == self.idcode:
            self._hosts = {host}  # two hosts with one IDCODE are two streams
        if len(self._queue) >= QUEUE:
            self._queue.popleft()
            self.dropped += 1
            if self.dropped == 1:
                log.error("%s: datagrams come faster than they are read; the oldest are dropped", self.address)
        self._queue.append(data)
        self._news.set()

    async def read(self, timeout: float) -> bytes:
        """Give the next datagram, waiting up to `timeout` seconds for it."""
        if self._port is None:
            raise LinkError(f"{self.address}: not open")
        if not self._queue:
            self._news.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._news.wait()
            except TimeoutError:
                raise LinkTimeout(f"{self.address}: silent for {timeout:g} s") from None
        return self._queue.popleft()

    async def write(self, data: bytes, timeout: float) -> None:
        """Refuse: whoever sends by itself takes no commands."""
        raise LinkError(f"{self.address}: takes no commands; {len(data)} bytes were not sent")

    async def drop(self) -> int:
        """Drop what lies unread; give the number of bytes."""
        dropped = sum(map(len, self._queue))
        self._queue.clear()
        return dropped

    async def exchange(self, request: bytes, length: Callable[[bytes], int | None], timeout: float) -> bytes:
        """Refuse: nobody answers."""
        raise LinkError(f"{self.address}: takes no commands; {len(request)} bytes were not sent")

    async def close(self) -> None:
        """Listen no longer."""
        port, self._port = self._port, None
        self._queue.clear()
        if port is not None:
            port.leave(self)


def is_group(host: str) -> bool:
    """Tell whether a host is an IPv4 multicast group."""
    with contextlib.suppress(ValueError):
        return ipaddress.IPv4Address(host).is_multicast
    return False
