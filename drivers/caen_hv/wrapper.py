"""The same supply through CAEN's own C library, for whoever has it: a link that answers the native protocol's requests.

    caen://N1470/TCPIP/10.0.0.5                        caen://N1470/USB_VCP/ttyACM0_9600_8_1_none_0
    caen://N1470/TCPIP/10.0.0.5?library=/opt/caen/libcaenhvwrapper.so

The first two words are the system and the link as the library names them, the rest is its argument. Everything above
the link (turns, read-back, what is believed, the PVs) is the same as over TCP. The library is neither shipped nor
required: it is loaded when the link is opened (`drivers.caen_hv.library`). All its calls are made in one thread.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from drivers.caen_hv.library import Library
from drivers.errors import LinkError, LinkTimeout
from drivers.link import Address

CALL = 5.0  # s that a call of the library may take before it counts as hanging
OPEN = 20.0  # s; the same for InitSystem and the crate map

T = TypeVar("T")


class _Caller:
    """The one thread in which the library is called, as it has no locks.

    It is a daemon: a call that never comes back does not hold up the end of the program.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._thread: Thread | None = None

    def submit(self, deed: Callable[[], T]) -> "Future[T]":
        """Have it done in its turn."""
        if self._thread is None:
            self._thread = Thread(target=self._work, name="caen library", daemon=True)
            self._thread.start()
        call: Future[T] = Future()
        self._calls.put((call, deed))
        return call

    def _work(self) -> None:
        while True:
            call, deed = self._calls.get()
            if not call.set_running_or_notify_cancel():
                continue
            try:
                call.set_result(deed())
            except BaseException as error:  # noqa: BLE001  # told to whoever waits for it
                call.set_exception(error)


_CALLER = _Caller()


class LibraryLink:
    """A link whose other end is the library; see `drivers.link.Link`."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._library: Library | None = None
        self._asked = b""
        self._hanging: asyncio.Future[Any] | None = None

    @property
    def doubts(self) -> Mapping[tuple[int, int], str]:
        """What is doubtful about IMON as it was read last, by board and channel; empty for nothing."""
        return {} if self._library is None else self._library.doubts

    async def open(self, timeout: float) -> None:
        """Load the library if that was not done, and begin a session.

        Raises:
            LinkError: there is no library, no binding, or no connection; the text says what to do.
        """
        if self._library is not None:
            raise LinkError(f"{self.address}: already open")
        system, link, argument = parts(self.address)
        path = self.address.options.get("library", "")
        self._library = await self._call(
            lambda: Library(str(self.address), path, system, link, argument), max(timeout, OPEN)
        )

    async def write(self, data: bytes, timeout: float) -> None:
        """Take a request; it is carried out when its answer is read."""
        self._asked = data

    async def read(self, timeout: float) -> bytes:
        """Carry the request out and give its answer; without one nothing will come.

        Raises:
            LinkTimeout: no answer. LinkError: the session has ended. ProtocolError: the library gives nonsense.
        """
        library, asked, self._asked = self._library, self._asked, b""
        if library is None:
            raise LinkError(f"{self.address}: not open")
        if not asked:
            raise LinkTimeout(f"{self.address}: nothing was asked")
        return await self._call(lambda: library.answer(asked), max(timeout, CALL))

    async def exchange(self, request: bytes, length: Callable[[bytes], int | None], timeout: float) -> bytes:
        """Send a request and give its answer."""
        await self.write(request, timeout)
        return await self.read(timeout)

    async def drop(self) -> int:
        """Forget a request that was not carried out; nothing ever lies unread."""
        self._asked = b""
        return 0

    async def close(self) -> None:
        """End the session; a library that hangs is left alone."""
        library, self._library = self._library, None
        if library is not None:
            try:
                await self._call(library.close, CALL)
            except LinkError:
                return

    async def _call(self, deed: Callable[[], T], timeout: float) -> T:
        if self._hanging is not None and not self._hanging.done():
            raise LinkError(
                f"{self.address}: a call of the library has not come back yet; if it never does, start anew"
            )
        running = asyncio.wrap_future(_CALLER.submit(deed))
        done, _ = await asyncio.wait({running}, timeout=timeout)
        if not done:
            self._hanging = running
            running.add_done_callback(lambda late: late.cancelled() or late.exception())  # told to nobody any more
            raise LinkError(f"{self.address}: the library has not come back for {timeout:g} s")
        return running.result()


def parts(address: Address) -> tuple[str, str, str]:
    """Give system, link and argument of an address.

    Raises:
        LinkError: it has not all three.
    """
    link, _, argument = address.path.removeprefix("/").partition("/")
    if not address.host or not link or not argument:
        raise LinkError(f"{address}: write caen://SYSTEM/LINK/ARGUMENT, for example caen://N1470/TCPIP/10.0.0.5")
    return address.host, link, argument
