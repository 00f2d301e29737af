"""PVs watched from a test, over the network, by the project's own client."""

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from iocs.ca.client import NOTHING, Client
from iocs.signals import Reading
from tests.processes import DEADLINE, ca_environment


class Pvs:
    """Every reading of every watched PV, in order of arrival.

    Attributes:
        seen: by PV name without prefix, all readings so far.
    """

    def __init__(self, client: Client, prefix: str) -> None:
        self.client = client
        self.prefix = prefix
        self.seen: dict[str, list[Reading]] = defaultdict(list)
        self._watched: set[str] = set()

    def watch(self, *names: str) -> None:
        """Watch PVs from now on."""
        for name in names:
            if name not in self._watched:
                self._watched.add(name)
                self.client.watch(self.prefix + name, lambda reading, name=name: self.seen[name].append(reading))

    def __getitem__(self, name: str) -> Reading:
        """Give the newest reading of a watched PV."""
        return self.seen[name][-1] if self.seen[name] else NOTHING

    async def until(self, name: str, condition: Callable[[Reading], object], deadline: float = DEADLINE) -> Reading:
        """Wait until a PV's newest reading fulfils the condition; give it."""
        self.watch(name)
        try:
            async with asyncio.timeout(deadline):
                while not condition(self[name]):
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"{self.prefix}{name} did not become so within {deadline} s: {self[name]}") from None
        return self[name]

    async def value(self, name: str, value: object, deadline: float = DEADLINE) -> Reading:
        """Wait until a PV has a value."""
        return await self.until(name, lambda reading: reading.connected and reading.value == value, deadline)


@asynccontextmanager
async def pvs(port: int, prefix: str) -> AsyncIterator[Pvs]:
    """Watch PVs of the server at `port` of 127.0.0.1."""
    before = dict(os.environ)
    os.environ.update({key: value for key, value in ca_environment(port).items() if key.startswith("EPICS_")})
    try:
        async with Client() as client:
            yield Pvs(client, prefix)
    finally:
        os.environ.clear()
        os.environ.update(before)
