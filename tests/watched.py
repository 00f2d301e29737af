"""PVs watched by the project's own client, for the tests of that client."""

import asyncio
import time
from collections.abc import Callable

from iocs.ca.client import Client, Mask
from iocs.signals import Reading
from tests.processes import DEADLINE


class Seen(list):
    """The readings of one watch."""

    async def until(self, condition: Callable[[Reading], object], what: str = "") -> Reading:
        """Wait until the newest reading fulfils the condition."""
        end = time.monotonic() + DEADLINE
        while not (self and condition(self[-1])):
            assert time.monotonic() < end, f"{what or 'it'} did not become so: {self[-3:]}"
            await asyncio.sleep(0.005)
        return self[-1]


def watch(client: Client, name: str, mask: Mask = Mask.VALUE | Mask.ALARM) -> Seen:
    seen = Seen()
    client.watch(name, seen.append, mask)
    return seen


async def until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"there was no {what}"
        await asyncio.sleep(0.005)


def connected(reading: Reading) -> bool:
    return reading.connected


def lost(reading: Reading) -> bool:
    return not reading.connected
