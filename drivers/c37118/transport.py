"""How a stream reaches us: TCP, UDP, commands by TCP and data by UDP, or UDP by itself."""

import asyncio
from collections.abc import Callable

from drivers.c37118.listening import ListeningLink, is_group
from drivers.errors import LinkTimeout
from drivers.link import Address, Link, make_link

COMMAND_PORT = 4712
DATA_PORT = 4713


def comes_by_itself(address: Address) -> bool:
    """Tell whether nobody at an address is to be asked: a multicast group, or a sender without commands."""
    return address.scheme == "udp" and (is_group(address.host) or address.options.get("commands") == "off")


def link_of(address: Address, data: Address | None, idcode: int) -> Link:
    """Give the (closed) link of a stream.

    Args:
        address: where commands go; or, where `comes_by_itself`, what is listened to.
        data: where the data come from, when that is another way than the commands go.
        idcode: of the stream.
    """
    if comes_by_itself(address):
        return ListeningLink(address, idcode)
    return make_link(address) if data is None else TwoLinks(make_link(address), ListeningLink(data, idcode))


class TwoLinks:
    """A `Link` of which the commands (and configurations) go one way and the data come another one."""

    def __init__(self, commands: Link, data: Link) -> None:
        self.address = commands.address
        self._links = {"commands": commands, "data": data}
        self._reading: dict[str, asyncio.Task[bytes]] = {}

    async def open(self, timeout: float) -> None:
        """Listen for the data, then connect."""
        await self._links["data"].open(timeout)
        try:
            await self._links["commands"].open(timeout)
        except BaseException:
            await self._links["data"].close()
            raise

    async def read(self, timeout: float) -> bytes:
        """Give what comes first, on either way."""
        for name, link in self._links.items():
            if name not in self._reading:
                self._reading[name] = asyncio.create_task(link.read(3600.0))
        done, _ = await asyncio.wait(self._reading.values(), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            raise LinkTimeout(f"{self.address}: silent for {timeout:g} s")
        name = next(name for name, task in self._reading.items() if task in done)
        try:
            return self._reading.pop(name).result()
        except LinkTimeout:
            return b""  # an hour without a word on this way; the other one tells

    async def write(self, data: bytes, timeout: float) -> None:
        """Send a command."""
        await self._links["commands"].write(data, timeout)

    async def drop(self) -> int:
        """Drop what lies unread, on both ways; give the number of bytes."""
        done = [name for name, task in self._reading.items() if task.done()]
        dropped = sum(len(self._reading.pop(name).result()) for name in done)
        return dropped + sum([await link.drop() for link in self._links.values()])

    async def exchange(self, request: bytes, length: Callable[[bytes], int | None], timeout: float) -> bytes:
        """Ask, on the way of the commands."""
        return await self._links["commands"].exchange(request, length, timeout)

    async def close(self) -> None:
        """Let go of both."""
        reading, self._reading = list(self._reading.values()), {}
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        for link in self._links.values():
            await link.close()
