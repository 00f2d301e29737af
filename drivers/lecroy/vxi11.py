"""The link to a VXI-11 box for the event loop: an `Instrument` in one thread behind an async face."""

import asyncio
import mmap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from drivers.errors import LinkError
from drivers.lecroy.instrument import Instrument
from drivers.link import Address

T = TypeVar("T")


class Vxi11Link:
    """An `Instrument` for the event loop: calls are serial, in a thread of their own; every wait has a deadline.

    Unlike an `Instrument` it does not open by itself: whoever has a session to set up must know of a new link.

    A task that is cancelled in a call hangs up at once: the box forgets the link, and the next call needs `open`.
    """

    def __init__(self, address: Address, lock_timeout: float = 0.0) -> None:
        self.address = address
        self._instrument = Instrument(address, lock_timeout)
        self._lock = asyncio.Lock()
        self._thread: ThreadPoolExecutor | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a link."""
        return self._instrument.link is not None

    async def open(self, timeout: float) -> None:
        """Connect and make a link within `timeout` seconds."""
        await self._call(self._instrument.open, timeout)

    async def write(self, message: str | bytes, timeout: float) -> None:
        """Send a message; text as Latin-1."""
        data = message.encode("latin-1") if isinstance(message, str) else message
        await self._call(lambda: self._instrument.write_raw(data), timeout)

    async def ask(self, message: str, timeout: float) -> str:
        """Send a question; give the answer without its line end."""

        def ask() -> bytes:
            self._instrument.write_raw(message.encode("latin-1"))
            return self._instrument.read_raw()

        return (await self._call(ask, timeout)).decode("latin-1").rstrip("\r\n")

    async def ask_into(self, message: str, buffer: mmap.mmap | bytearray, timeout: float) -> int:
        """Send a question, receive the answer into `buffer` (see `room`); give its length."""

        def ask() -> int:
            self._instrument.write_raw(message.encode("latin-1"))
            return self._instrument.read_into(buffer)

        return await self._call(ask, timeout)

    async def clear(self, timeout: float) -> None:
        """Empty the box's buffers in both directions."""
        await self._call(self._instrument.clear, timeout)

    async def abort(self) -> None:
        """Break off the call under way, if there is one: it ends with `Vxi11Error` 23."""
        await asyncio.to_thread(self._instrument.abort)

    async def close(self) -> None:
        """End the link. Never raises; closing a closed link does nothing."""
        if self._thread is not None:
            await self._call(self._instrument.close, 1.0)
            self._thread.shutdown(wait=False)
            self._thread = None

    async def _call(self, function: Callable[[], T], timeout: float) -> T:
        async with self._lock:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="vxi11")
            instrument = self._instrument

            def run() -> T:
                instrument.timeout = timeout
                if instrument.link is None and function not in (instrument.open, instrument.close):
                    raise LinkError(f"{self.address}: the link is closed; an error has dropped it")
                return function()

            future = asyncio.get_running_loop().run_in_executor(self._thread, run)
            try:
                return await asyncio.shield(future)
            except asyncio.CancelledError:
                instrument.hang_up()
                await asyncio.wait({future})
                future.exception()
                instrument.drop()
                raise
