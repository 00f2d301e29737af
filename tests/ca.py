"""A server in the test's own process, and raw clients that say whatever a test wants: our own bytes, not caproto's."""

import asyncio
import json
import struct
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest

from iocs.ca.server import Server
from iocs.signals import Signal, acceptable
from tests.processes import DEADLINE, ca_environment, free_port, random_prefix

HEADER = struct.Struct(">HHHHII")
VALUE, LOG, ALARM, PROPERTY = 1, 2, 4, 8
TIME_DOUBLE, CTRL_DOUBLE, DOUBLE, STRING = 20, 34, 6, 0


class Message(NamedTuple):
    command: int
    dtype: int
    count: int
    first: int
    second: int
    body: bytes


class Raw:
    """A client that speaks Channel Access by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.seen: list[Message] = []

    def send(self, command: int, body: bytes = b"", dtype=0, count=0, first=0, second=0) -> None:
        body += bytes(-len(body) % 8)
        if len(body) < 0xFFF0:
            self.writer.write(HEADER.pack(command, len(body), dtype, count, first, second) + body)
        else:
            self.writer.write(struct.pack(">HHHHIIII", command, 0xFFFF, dtype, 0, first, second, len(body), count))
            self.writer.write(body)

    async def message(self, deadline: float = DEADLINE) -> Message:
        """Give the next message; fails with IncompleteReadError when the server has closed."""
        async with asyncio.timeout(deadline):
            command, size, dtype, count, first, second = HEADER.unpack(await self.reader.readexactly(16))
            if size == 0xFFFF and count == 0:
                size, count = struct.unpack(">II", await self.reader.readexactly(8))
            return Message(command, dtype, count, first, second, await self.reader.readexactly(size))

    async def until(self, command: int, deadline: float = DEADLINE) -> Message:
        """Give the next message of a kind; those before it are kept in `seen`."""
        while True:
            message = await self.message(deadline)
            if message.command == command:
                return message
            self.seen.append(message)

    async def synchronise(self) -> list[Message]:
        """Give all that the server has sent up to now."""
        self.send(23)
        await self.until(23)
        seen, self.seen = self.seen, []
        return seen

    async def closed(self, deadline: float = DEADLINE) -> bool:
        """Wait until the server closes the connection."""
        async with asyncio.timeout(deadline):
            try:
                while await self.reader.read(1 << 16):
                    pass
            except ConnectionError:
                pass
        return True

    async def create(self, name: str, cid: int = 1) -> int | None:
        """Open a channel; gives its number, None if the server refuses."""
        self.send(18, name.encode() + b"\0", first=cid, second=13)
        while True:
            message = await self.message()
            self.seen.append(message)
            if message.command == 18:
                return message.second
            if message.command == 26:
                return None

    def subscribe(self, sid: int, number: int, mask: int = VALUE | ALARM, dtype: int = TIME_DOUBLE, count=0) -> None:
        self.send(1, struct.pack(">fffHxx", 0, 0, 0, mask), dtype, count, sid, number)

    async def events(self, number: int | None = None) -> list[Message]:
        """Give the events that have come up to now."""
        messages = await self.synchronise()
        return [each for each in messages if each.command == 1 and number in (None, each.second)]

    async def get(self, sid: int, dtype: int = DOUBLE, count: int = 0) -> Message:
        self.send(15, b"", dtype, count, sid, 7)
        return await self.until(15)

    async def put(self, sid: int, body: bytes, dtype: int = DOUBLE, count: int = 1) -> tuple[int, str]:
        """Put and wait; gives the status and the reason of a refusal."""
        self.seen.clear()
        self.send(19, body, dtype, count, sid, 8)
        answer = await self.until(19)
        reasons = [each.body[16:].split(b"\0")[0].decode() for each in self.seen if each.command == 11]
        return answer.first, reasons[0] if reasons else ""


def number(message: Message) -> float:
    """The value of a TIME_DOUBLE."""
    return struct.unpack_from(">d", message.body, 16)[0]


def severity(message: Message) -> int:
    return struct.unpack_from(">H", message.body, 2)[0]


class House:
    """A server, its signals, and what was put to it."""

    def __init__(self, server: Server, prefix: str, port: int, signals: dict[str, Signal]) -> None:
        self.server, self.prefix, self.port, self.signals = server, prefix, port, signals
        self.puts: list[tuple[str, Any]] = []
        self.delay = 0.0
        self.environment = ca_environment(port)

    def post(self, time_ns: int | None = None, **values: Any) -> None:
        self.server.post(self.prefix, time.time_ns() if time_ns is None else time_ns, values)

    async def put(self, name: str, value: Any, by: str) -> None:
        signal = self.signals[name.removeprefix(self.prefix)]
        value = acceptable(signal, value)
        await asyncio.sleep(self.delay)
        self.puts.append((signal.name, value))
        self.post(**{signal.name: value})

    def add(self, *signals: Signal) -> None:
        self.signals |= {signal.name: signal for signal in signals}
        self.server.serve(self.prefix, signals, self.put)

    @asynccontextmanager
    async def raw(self, *, greet: bool = True, user: str = "tester", limit: int = 1 << 24) -> AsyncIterator[Raw]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port, limit=limit)
        client = Raw(reader, writer)
        if greet:
            client.send(0, count=13)
            client.send(20, user.encode() + b"\0")
            client.send(21, b"somewhere\0")
            await client.until(0)
        try:
            yield client
        finally:
            writer.transport.abort()

    async def python(self, code: str, *arguments: str, environment: dict[str, str] | None = None) -> list[Any]:
        """Run a program with libca at hand; gives what it prints, a JSON value a line, then its stderr."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            code,
            *arguments,
            env=self.environment if environment is None else environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return [*map(json.loads, out.decode().splitlines()), err.decode()]


@asynccontextmanager
async def house(monkeypatch: pytest.MonkeyPatch, signals: Iterable[Signal], **options: Any) -> AsyncIterator[House]:
    """Serve signals at a free port, under a random prefix."""
    port = free_port()
    for name, value in ca_environment(port).items():
        if name.startswith("EPICS_"):
            monkeypatch.setenv(name, value)
    it = House(Server(**options), random_prefix(), port, {})
    it.add(*signals)
    await it.server.start()
    try:
        yield it
    finally:
        await it.server.stop()


async def until(condition, what: str, deadline: float = DEADLINE) -> Any:
    """Wait in the event loop until a condition holds; gives its value."""
    end = time.monotonic() + deadline
    while not (value := condition()):
        assert time.monotonic() < end, f"within {deadline} s there was no {what}"
        await asyncio.sleep(0.01)
    return value
