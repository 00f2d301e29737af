"""A serial port behind a TCP port, as a raw serial server has it, for the simulated board: one client at a time."""

import asyncio
from collections.abc import Callable


class TcpPort:
    """The board's side. The face is that of `drivers.pty_port.PtyPort`: `read`, `write`, `unplug`, `replug`, `on_open`.

    Use it as `async with TcpPort(...) as port`.

    Attributes:
        address: where it listens.
        on_open: called when a client has come.
        opened: how many have come.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0, on_open: Callable[[], None] = lambda: None) -> None:
        self.host, self.port = host, port
        self.on_open = on_open
        self.opened = 0
        self._server: asyncio.Server | None = None
        self._client: asyncio.StreamWriter | None = None
        self._received: asyncio.Queue[bytes] = asyncio.Queue()

    async def __aenter__(self) -> "TcpPort":
        await self.replug()
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.unplug()

    @property
    def address(self) -> str:
        """The same as a link's address."""
        return f"tcp://{self.host}:{self.port}"

    def unplug(self) -> None:
        """Cut the client off and refuse others."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._client is not None:
            self._client.transport.abort()
            self._client = None

    async def replug(self) -> None:
        """Take a client again, at the same port."""
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, self.host, self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    def write(self, data: bytes) -> None:
        """Say bytes to the client; without one, to nobody."""
        if self._client is not None and not self._client.transport.is_closing():
            self._client.write(data)

    async def read(self) -> bytes:
        """Wait for what clients write."""
        return await self._received.get()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._client is not None:  # a serial line has one user
            writer.transport.abort()
            return
        self._client = writer
        self.opened += 1
        self.on_open()
        try:
            while data := await reader.read(4096):
                self._received.put_nowait(data)
        except (OSError, asyncio.CancelledError):
            pass  # the client went away, or we did
        finally:
            if self._client is writer:
                self._client = None
            writer.transport.abort()
