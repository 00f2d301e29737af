"""A `Link` over TCP."""

import asyncio
import contextlib
import socket

from drivers.errors import LinkError, LinkTimeout
from drivers.link import Address, reason
from drivers.stream_link import READ_SIZE, StreamLink


class TcpLink(StreamLink):
    """A `Link` over TCP, with TCP_NODELAY: questions are small and wait for nothing."""

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._socket: socket.socket | None = None

    async def _connect(self, timeout: float) -> int:
        try:
            async with asyncio.timeout(timeout):
                self._socket = await self._first_that_answers()
        except TimeoutError:
            raise LinkTimeout(
                f"{self.address}: no connection within {timeout:g} s; "
                "is the box switched on, the cable in, a firewall between?"
            ) from None
        except UnicodeError as error:
            raise LinkError(f"{self.address}: {self.address.host!r} is no host name: {error}") from error
        except socket.gaierror as error:
            raise LinkError(f"{self.address}: {error.strerror}: is the name of the host spelled right?") from error
        except OSError as error:
            raise LinkError(f"{self.address}: {reason(error)}") from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._socket.fileno()

    async def _first_that_answers(self) -> socket.socket:
        """Try the addresses of the host one after the other; the last one's error stands for all."""
        loop = asyncio.get_running_loop()
        failed: OSError = OSError("the name has no address")
        for family, kind, protocol, _, where in await loop.getaddrinfo(
            self.address.host, self.address.port, type=socket.SOCK_STREAM
        ):
            found = socket.socket(family, kind, protocol)
            try:
                found.setblocking(False)
                await loop.sock_connect(found, where)
            except OSError as error:
                found.close()
                failed = error
            except BaseException:
                found.close()
                raise
            else:
                return found
        raise failed

    async def _disconnect(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # what lies unread would turn the orderly end into a reset
                for _chunk in range(64):
                    if not self._socket.recv(READ_SIZE):
                        break
            self._socket.close()
            self._socket = None

    def _reason(self, error: OSError | None) -> str:
        return "the peer closed the connection" if error is None else reason(error)
