"""A server in the test's own process, and raw clients beside it in the same event loop."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from iocs.ca.server import Server
from iocs.signals import Signal, acceptable
from tests.processes import DEADLINE, ca_environment, free_port, random_prefix
from tests.raw_ca import Command, Message, RawClient


class Beside:
    """A raw client in the server's event loop: sending does not wait, all else waits in a thread (so is awaited)."""

    def __init__(self, client: RawClient) -> None:
        self.client = client
        self.send, self.say, self.subscribe = client.send, client.say, client.subscribe

    @property
    def seen(self) -> list[Message]:
        return self.client.seen

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.client, name)

        async def aside(*arguments: Any, **options: Any) -> Any:
            return await asyncio.to_thread(method, *arguments, **options)

        return aside


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
    async def raw(self, **options: Any) -> AsyncIterator[Beside]:
        """Connect a raw client; options as of RawClient."""
        client = await asyncio.to_thread(RawClient, self.server.port, **options)
        beside = Beside(client)
        try:
            if options.get("greet", True):
                await beside.until(Command.VERSION)
            yield beside
        finally:
            client.vanish()

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
