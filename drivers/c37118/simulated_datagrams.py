"""The simulator's UDP: who sends it datagrams, and whom it sends some."""

import asyncio
import socket
from collections.abc import Callable
from typing import Self


class Peer:
    """Somebody at a UDP address. Frames go out in datagrams of `merge` frames; none is cut in two."""

    def __init__(self, sender: socket.socket, address: tuple) -> None:
        self.address = address
        self.data_on = False
        self.dropped = 0
        self._sender = sender
        self._held: list[bytes] = []

    def send(self, frame: bytes, split: bool = False, merge: int = 1) -> None:
        """Send a frame, or hold it back for the next call. `split` is for streams and changes nothing here."""
        self._held.append(frame)
        if len(self._held) < merge:
            return
        data, self._held = b"".join(self._held), []
        try:
            self._sender.sendto(data, self.address)
        except OSError:  # nobody listens there, or its buffer is full: that is UDP
            self.dropped += 1

    def abort(self) -> None:
        """Forget it: data go on only when they are asked for again."""
        self.data_on = False

    def close(self) -> None:
        """Close the socket that sends to it."""
        self._sender.close()


async def send_to(where: tuple[str, int], own: str) -> Peer:
    """Give whom data are sent to at a place agreed upon: a host or a multicast group."""
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.setblocking(False)
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own))
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sender.bind((own, 0))
    return Peer(sender, where)


class Datagrams(asyncio.DatagramProtocol):
    """A UDP port that takes commands."""

    def __init__(self, own: socket.socket, take: Callable[[Peer, bytes], None]) -> None:
        self.port: int = own.getsockname()[1]
        self._socket = own
        self._take = take
        self._transport: asyncio.BaseTransport | None = None

    @classmethod
    async def open(cls, host: str, port: int, take: Callable[[Peer, bytes], None]) -> Self:
        """Listen; `take` gets each datagram with who sent it."""
        own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        own.setblocking(False)
        try:
            own.bind((host, port))
        except OSError:
            own.close()
            raise
        protocol = cls(own, take)
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: protocol, sock=own)
        return protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what closes it."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple) -> None:
        """Hand a datagram on."""
        self._take(Peer(self._socket, addr), data)

    def close(self) -> None:
        """Listen no longer."""
        if self._transport is not None:
            self._transport.close()
