"""A `Link` over UDP: questions to one port of one host, and what comes back from there."""

import asyncio
import contextlib
import logging
import socket

from drivers.errors import LinkError, LinkTimeout
from drivers.link import Address, Datagram, reason
from drivers.stream_link import StreamLink

log = logging.getLogger(__name__)

BUFFER = 1 << 21  # bytes that the kernel may hold for us, if it allows that


class UdpLink(StreamLink):
    """A `Link` over UDP. Each `read` gives one `Datagram`; each `write` sends one. Nothing tells that it arrived.

    Attributes:
        empty: datagrams without a byte that came; they are passed over.
    """

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self.empty = 0
        self._socket: socket.socket | None = None

    async def read(self, timeout: float) -> bytes:
        """Give the next datagram, waiting up to `timeout` seconds for it."""
        return Datagram(await super().read(timeout))

    async def _connect(self, timeout: float) -> int:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                found = await loop.getaddrinfo(self.address.host, self.address.port, type=socket.SOCK_DGRAM)
                family, kind, protocol, _, where = found[0]
                self._socket = socket.socket(family, kind, protocol)
                self._socket.setblocking(False)
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
                self._socket.connect(where)
        except TimeoutError:
            raise LinkTimeout(f"{self.address}: the name was not found within {timeout:g} s") from None
        except UnicodeError as error:
            raise LinkError(f"{self.address}: {self.address.host!r} is no host name: {error}") from error
        except OSError as error:
            await self._disconnect()
            raise LinkError(f"{self.address}: {reason(error)}") from error
        return self._socket.fileno()

    async def _disconnect(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None

    async def _nothing(self) -> None:
        self.empty += 1
        if self.empty == 1:
            log.warning("%s: an empty datagram came; it and further ones are passed over", self.address)
        await asyncio.sleep(0)  # who sends nothing else must not keep the loop for himself

    def _reason(self, error: OSError | None) -> str:
        return "closed" if error is None else reason(error)
