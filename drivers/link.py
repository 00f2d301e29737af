"""The wire to one box: one address syntax, one owner, a deadline on every wait, and the back-off between attempts.

A `Link` is an exclusive byte connection. Its face fits every transport: those with sockets wait in the event loop,
those that block (serial lines, vendor libraries) keep one thread of their own behind the same five verbs.
"""

import asyncio
import contextlib
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol
from urllib.parse import parse_qsl, urlencode

from drivers.errors import LinkError, LinkTimeout

READ_SIZE = 65536


@dataclass(frozen=True)
class Address:
    """Where a box is: `tcp://host:port`, with options as in a URL (`?key=value`).

    Attributes:
        scheme: transport, e.g. "tcp".
        host: name or IP address.
        port: TCP port, or None where none was written.
        options: the `?key=value` part.
    """

    scheme: str
    host: str
    port: int | None = None
    options: MappingProxyType[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)

    def __str__(self) -> str:
        """Give the address back in the syntax it is written in."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        options = urlencode(self.options, safe="/:,@")
        return f"{self.scheme}://{host}{port}" + (f"?{options}" if options else "")


_ADDRESS = re.compile(
    r"(?P<scheme>[a-z0-9]+)://"
    r"(?:\[(?P<v6>[0-9a-fA-F:.]+(?:%[\w.-]+)?)\]|(?P<host>[^\[\]:/?#\s]+))"
    r"(?::(?P<port>\d+))?"
    r"(?:\?(?P<options>[^#\s]*))?"
)


def parse_address(text: str, default_port: int | None = None) -> Address:
    """Read an address such as `tcp://192.168.0.20:4712`.

    Args:
        text: the address as written in the site file or on a command line.
        default_port: the port to use where none is written.

    Raises:
        ValueError: the text is not an address, or its scheme is not supported; the message says what is.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an address: write scheme://host:port, for example tcp://192.168.0.20:4712")
    if match["scheme"] not in TRANSPORTS:
        raise ValueError(
            f"{text!r}: links of the kind {match['scheme']!r} are not known here; known: {', '.join(TRANSPORTS)}"
        )
    port = int(match["port"]) if match["port"] else default_port
    if port is None:
        raise ValueError(f"{text!r} has no port: write {match['scheme']}://host:port")
    if not 0 < port < 65536:
        raise ValueError(f"{text!r}: port {port} is not within 1..65535")
    options = MappingProxyType(dict(parse_qsl(match["options"] or "", keep_blank_values=True)))
    return Address(match["scheme"], match["v6"] or match["host"], port, options)


class Link(Protocol):
    """An exclusive connection to one box. Every wait has a deadline in seconds; every failure is a LinkError.

    After a LinkTimeout from `exchange` or `write` the link has closed itself: a late answer must never be taken for the
    answer to the next question. A LinkTimeout from `read` leaves the link as it was: nothing came, nothing was lost.
    """

    address: Address

    async def open(self, timeout: float) -> None:
        """Connect. Opening an open link is an error of the caller."""
        ...

    async def read(self, timeout: float) -> bytes:
        """Wait for bytes; give all that are there, at least one."""
        ...

    async def write(self, data: bytes, timeout: float) -> None:
        """Send all of `data`."""
        ...

    async def exchange(self, request: bytes, length: Callable[[bytes], int | None], timeout: float) -> bytes:
        """Send `request` and wait for its reply.

        Bytes that lie unread before the request belong to no question and are dropped.

        Args:
            request: the bytes to send.
            length: given what has come so far, the length of the complete reply, or None while it is not complete.
            timeout: seconds for the whole exchange.
        """
        ...

    async def close(self) -> None:
        """Let go of the box. Never raises; closing a closed link does nothing."""
        ...


class TcpLink:
    """A `Link` over TCP, with TCP_NODELAY and keep-alive left to asyncio's defaults."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._exchanging = asyncio.Lock()

    async def open(self, timeout: float) -> None:
        """Connect within `timeout` seconds."""
        if self._writer is not None:
            raise LinkError(f"{self.address}: already open")
        try:
            async with asyncio.timeout(timeout):
                self._reader, self._writer = await asyncio.open_connection(self.address.host, self.address.port)
        except TimeoutError:
            raise LinkTimeout(
                f"{self.address}: no connection within {timeout:g} s; "
                "is the box switched on, the cable in, a firewall between?"
            ) from None
        except UnicodeError as error:
            raise LinkError(f"{self.address}: {self.address.host!r} is no host name: {error}") from error
        except OSError as error:
            raise LinkError(f"{self.address}: {reason(error)}") from error

    async def read(self, timeout: float) -> bytes:
        """Give the bytes that are there, waiting up to `timeout` seconds for the first."""
        reader, _ = self._streams()
        try:
            async with asyncio.timeout(timeout):
                data = await reader.read(READ_SIZE)
        except TimeoutError:
            raise LinkTimeout(f"{self.address}: silent for {timeout:g} s") from None
        except OSError as error:
            await self.close()
            raise LinkError(f"{self.address}: {reason(error)}") from error
        if not data:
            await self.close()
            raise LinkError(f"{self.address}: the peer closed the connection")
        return data

    async def write(self, data: bytes, timeout: float) -> None:
        """Hand `data` to the kernel within `timeout` seconds."""
        _, writer = self._streams()
        try:
            async with asyncio.timeout(timeout):
                writer.write(data)
                await writer.drain()
        except TimeoutError:
            await self.close()
            raise LinkTimeout(f"{self.address}: could not send {len(data)} bytes within {timeout:g} s") from None
        except OSError as error:
            await self.close()
            raise LinkError(f"{self.address}: {reason(error)}") from error

    async def exchange(self, request: bytes, length: Callable[[bytes], int | None], timeout: float) -> bytes:
        """Send `request`, give back its complete reply. Exchanges that are asked for at the same time take turns."""
        async with self._exchanging:
            return await self._exchange(request, length, timeout)

    async def _exchange(self, request: bytes, length: Callable[[bytes], int | None], timeout: float) -> bytes:
        reply = bytearray()
        try:
            async with asyncio.timeout(timeout):
                await self._drop_stale()
                await self.write(request, timeout)
                while (size := length(bytes(reply))) is None:
                    reply += await self.read(timeout)
        except (TimeoutError, LinkTimeout):
            await self.close()
            raise LinkTimeout(
                f"{self.address}: no complete answer to {request!r} within {timeout:g} s; got {bytes(reply[:80])!r}"
            ) from None
        except BaseException:  # cancelled, or not understood: the rest of the answer would be taken for the next one
            await self.close()
            raise
        return bytes(reply[:size])

    async def _drop_stale(self) -> None:
        """Drop what lies unread. StreamReader cannot be looked into: a read that may not wait does it."""
        reader, _ = self._streams()
        for _turn in range(2):  # in the first turn of the loop the socket is looked at, in the second it is read
            await asyncio.sleep(0)
        while True:
            try:
                async with asyncio.timeout(0):
                    data = await reader.read(READ_SIZE)
            except TimeoutError:
                return
            except OSError as error:
                raise LinkError(f"{self.address}: {reason(error)}") from error
            if not data:
                raise LinkError(f"{self.address}: the peer closed the connection")

    async def close(self) -> None:
        """Close at once; what is still unsent gets half a second."""
        writer, self._reader, self._writer = self._writer, None, None
        if writer is None:
            return
        writer.close()
        try:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(0.5):
                    await writer.wait_closed()
        finally:
            if writer.transport.get_write_buffer_size():  # the peer does not read, or we are cancelled
                writer.transport.abort()

    def _streams(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None:
            raise LinkError(f"{self.address}: not open")
        return self._reader, self._writer


TRANSPORTS: dict[str, Callable[[Address], Link]] = {"tcp": TcpLink}


def make_link(address: Address) -> Link:
    """Give the (closed) link for an address."""
    return TRANSPORTS[address.scheme](address)


def reason(error: OSError) -> str:
    """Say an OSError the way a person wants to read it, with what to try."""
    cures = {
        ConnectionRefusedError: "connection refused: the host is there, but nothing listens on that port",
        ConnectionResetError: "connection reset by the peer",
        BrokenPipeError: "connection closed by the peer",
    }
    for kind, text in cures.items():
        if isinstance(error, kind):
            return text
    return error.strerror or str(error) or type(error).__name__


class Backoff:
    """How long to wait before the next attempt: doubling from `first` to `longest`, spread by a fifth at random.

    Attributes:
        first: seconds before the second attempt.
        longest: seconds that the wait never exceeds.
    """

    def __init__(self, first: float = 0.1, longest: float = 15.0) -> None:
        self.first = first
        self.longest = longest
        self._next = first

    def next(self) -> float:
        """Give the seconds to wait now, and make the next wait longer."""
        wait, self._next = self._next, min(self._next * 2, self.longest)
        return wait * random.uniform(0.8, 1.0)

    def reset(self) -> None:
        """Start again with the shortest wait: the box has answered."""
        self._next = self.first
