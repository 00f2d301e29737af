"""A Channel Access server that does what a test says: bytes out, bytes in, nothing else."""

import asyncio
import struct
from collections.abc import Callable
from typing import Self

from tests.raw_ca import HEADER, message


def double(subscription: int, value: float) -> bytes:
    """Encode an update of a TIME_DOUBLE."""
    return message(1, struct.pack(">HHII4xd", 0, 0, 1000, 0, value), 20, 1, 1, subscription)


class FakeServer:
    """Answers on 127.0.0.1; opens every channel as a double, gives its number as its value.

    Attributes:
        connections: how many there have been.
        heard: commands of all requests, in order.
        on_request: may take a request (command, type, count, first, second, payload) and give the whole answer.
        mute: says and reads nothing any more, on connections that are and on those to come.
    """

    def __init__(self) -> None:
        self.connections = 0
        self.heard: list[int] = []
        self.on_request: Callable[[tuple], bytes | None] = lambda request: None
        self.mute = False
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def say(self, data: bytes) -> None:
        """Send bytes on the newest connection."""
        self._writers[-1].write(data)

    def drop(self) -> None:
        """Close the newest connection, after what was said on it."""
        self._writers[-1].close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        if not self.mute:
            writer.write(message(0, count=13))
        try:
            while True:
                request = HEADER.unpack(await reader.readexactly(16))
                payload = await reader.readexactly(request[1])
                if not self.mute:
                    self.heard.append(request[0])
                    asked = (request[0], *request[2:], payload)
                    answer = self.on_request(asked)
                    writer.write(self.answer(asked) if answer is None else answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def answer(self, request: tuple) -> bytes:
        """Give what a good server says."""
        command, kind, count, first, second, _ = request
        if command == 18:
            return message(22, first=first, second=3) + message(18, b"", 6, 1, first, first)
        if command == 1:
            return double(second, float(second))
        if command == 2:
            return message(1, b"", kind, 0, first, second)
        if command == 15:
            payload = struct.pack(">HHII4xd", 0, 0, 1000, 0, 5.0)
            return message(15, payload, kind, 1, 1, second)
        if command == 19:
            return message(19, b"", kind, count, 1, second)
        if command == 23:
            return message(23)
        return b""
