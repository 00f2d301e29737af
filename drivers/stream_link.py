"""The verbs of a `Link` over any non-blocking descriptor: a socket, a serial port.

Nothing is kept in between: bytes that nobody has read lie in the kernel, so what is stale before a question can be
dropped exactly, and a cancelled wait loses nothing.
"""

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Callable

from drivers.errors import LinkError, LinkTimeout
from drivers.link import Address

READ_SIZE = 65536


class StreamLink(ABC):
    """A `Link` whose kind says how its descriptor is opened and closed.

    Attributes:
        address: where the box is.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._fd: int | None = None
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._exchanging = asyncio.Lock()

    @abstractmethod
    async def _connect(self, timeout: float) -> int:
        """Give the open, non-blocking descriptor within `timeout` seconds; raise LinkError with the reason."""

    @abstractmethod
    async def _disconnect(self) -> None:
        """Close what `_connect` has opened. Never raises."""

    @abstractmethod
    def _reason(self, error: OSError | None) -> str:
        """Say why the wire is gone: an error of the kernel, or None where it read the end of the stream."""

    async def open(self, timeout: float) -> None:
        """Connect within `timeout` seconds."""
        if self._fd is not None:
            raise LinkError(f"{self.address}: already open")
        self._fd = await self._connect(timeout)

    async def read(self, timeout: float) -> bytes:
        """Give the bytes that are there, waiting up to `timeout` seconds for the first."""
        try:
            async with asyncio.timeout(timeout):
                await asyncio.sleep(0)  # a peer that never pauses must not keep the loop for itself
                while not (data := await self._receive()):
                    await self._wait("read")
                return data
        except TimeoutError:
            raise LinkTimeout(f"{self.address}: silent for {timeout:g} s") from None

    async def write(self, data: bytes, timeout: float) -> None:
        """Hand `data` to the kernel within `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._send(data)
        except TimeoutError:
            await self.close()
            raise LinkTimeout(f"{self.address}: could not send {len(data)} bytes within {timeout:g} s") from None
        except asyncio.CancelledError:  # half a message may be out
            await self.close()
            raise

    async def exchange(self, request: bytes, length: Callable[[bytes], int | None], timeout: float) -> bytes:
        """Send `request`, give back its complete reply. Exchanges that are asked for at the same time take turns."""
        async with self._exchanging:
            return await self._exchange(request, length, timeout)

    async def _exchange(self, request: bytes, length: Callable[[bytes], int | None], timeout: float) -> bytes:
        reply = bytearray()
        try:
            async with asyncio.timeout(timeout):
                await self.drop()
                await self._send(request)
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

    async def drop(self) -> int:
        """Drop what lies unread; give the number of bytes. The caller has the deadline for a peer that never pauses."""
        dropped = 0
        while data := await self._receive():
            dropped += len(data)
            await asyncio.sleep(0)
        return dropped

    async def close(self) -> None:
        """Let go of the box; whoever waits is told."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            loop = asyncio.get_running_loop()
            loop.remove_reader(fd)
            loop.remove_writer(fd)
            waiting, self._waiting = self._waiting, {}
            for future in waiting.values():
                if not future.done():
                    future.set_exception(LinkError(f"{self.address}: closed while waiting"))
        await self._disconnect()

    async def _receive(self) -> bytes:
        """Give what lies in the kernel, or nothing."""
        while True:
            try:
                data = os.read(self._open_fd(), READ_SIZE)
            except BlockingIOError:
                return b""
            except OSError as error:
                await self.close()
                raise LinkError(f"{self.address}: {self._reason(error)}") from error
            if data:
                return data
            await self._nothing()

    async def _nothing(self) -> None:
        """Take a read without a byte: the end of the stream."""
        await self.close()
        raise LinkError(f"{self.address}: {self._reason(None)}")

    async def _send(self, data: bytes) -> None:
        """Hand all of `data` to the kernel, waiting for as long as it has no room."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._open_fd(), rest[:READ_SIZE]) :]
            except BlockingIOError:
                await self._wait("write")
            except OSError as error:
                await self.close()
                raise LinkError(f"{self.address}: {self._reason(error)}") from error

    async def _wait(self, what: str) -> None:
        """Wait until the descriptor can be read or written, or the link is closed."""
        if what in self._waiting:
            raise RuntimeError(f"{self.address}: two tasks {what} at the same time")
        fd = self._open_fd()
        loop = asyncio.get_running_loop()
        future = self._waiting[what] = loop.create_future()
        watch, forget = (
            (loop.add_reader, loop.remove_reader) if what == "read" else (loop.add_writer, loop.remove_writer)
        )
        watch(fd, lambda: future.done() or future.set_result(None))
        try:
            await future
        finally:
            if self._waiting.get(what) is future:  # else the link was closed, and the number may be another's by now
                del self._waiting[what]
                forget(fd)

    def _open_fd(self) -> int:
        if self._fd is None:
            raise LinkError(f"{self.address}: not open")
        return self._fd
