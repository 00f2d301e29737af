"""The box played by hand, at the other end of each kind of link: the same face over a socket, a pty, a port server."""

import asyncio
import os
import select
import socket
import tty

from drivers.link import Address, make_link
from tests.port_server import PortServer


class Peer:
    """A box and a link that is open to it.

    Attributes:
        link: the link.
        box: descriptor of the box's side, O_NONBLOCK.
    """

    def __init__(self):
        self.box = -1
        self.link = make_link(self.address())

    async def __aenter__(self):
        await self.link.open(10)
        self.box = self.accept()
        os.set_blocking(self.box, False)
        return self

    async def __aexit__(self, *exception):
        await self.link.close()
        self.end()

    def says(self, data):
        """Say all of `data`; whoever listens must have room for it."""
        while data:
            select.select([], [self.box], [], 10)
            data = data[os.write(self.box, data) :]

    def babbles(self, data):
        """Say `data` for as long as anybody has room for it, at most a megabyte."""
        for _ in range(1_000_000 // len(data)):
            if not select.select([], [self.box], [], 0.2)[1]:
                return
            try:
                os.write(self.box, data)
            except (BlockingIOError, ConnectionError):
                return

    def until_arrived(self):
        """Wait until what was said lies in the link's descriptor; the event loop has not seen it."""
        assert select.select([self.link._fd], [], [], 10)[0]

    async def hears(self, count):
        """Give what the link has sent, waiting for the first of it."""
        async with asyncio.timeout(10):
            while True:
                try:
                    return os.read(self.box, count)
                except BlockingIOError:
                    await asyncio.sleep(0.002)

    async def sees_it_closed(self):
        """Wait until the link has let go."""
        async with asyncio.timeout(10):
            while not self.is_closed():
                await asyncio.sleep(0.002)


class TcpPeer(Peer):
    def __init__(self):
        self.listening = socket.create_server(("127.0.0.1", 0))
        super().__init__()

    def address(self):
        return Address("tcp", "127.0.0.1", self.listening.getsockname()[1])

    def accept(self):
        self.connection, _ = self.listening.accept()
        return self.connection.fileno()

    def hangs_up(self):
        self.connection.close()

    def is_closed(self):
        return bool(select.select([self.box], [], [], 0)[0]) and os.read(self.box, 1) == b""

    def end(self):
        self.connection.close()
        self.listening.close()


class SerialPeer(Peer):
    def __init__(self):
        self.far_end, self.near_end = os.openpty()
        tty.setraw(self.near_end)
        super().__init__()

    def address(self):
        return Address("serial", path=os.ttyname(self.near_end))

    def accept(self):
        if self.near_end is not None:
            os.close(self.near_end)
            self.near_end = None
        return self.far_end

    def hangs_up(self):
        os.close(self.far_end)
        self.far_end = None

    def is_closed(self):
        look = select.poll()
        look.register(self.box, select.POLLIN)
        return any(event & select.POLLHUP for _, event in look.poll(0))

    def end(self):
        if self.far_end is not None:
            os.close(self.far_end)


class Rfc2217Peer(Peer):
    def __init__(self):
        self.server = PortServer()
        super().__init__()

    def address(self):
        return Address("rfc2217", "127.0.0.1", self.server.port)

    def accept(self):
        return self.server.box

    def hangs_up(self):
        self.server.close()

    def is_closed(self):
        return not self.server.connected

    def end(self):
        self.server.close()


PEERS = {"tcp": TcpPeer, "serial": SerialPeer, "rfc2217": Rfc2217Peer}
