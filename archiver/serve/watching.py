"""The loop in which PVs are watched, in a thread beside those that answer requests; each PV once for all viewers."""

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Callable
from typing import Any

from iocs.ca.client import Client

log = logging.getLogger(__name__)

EVERY = 0.2  # s between updates of a value to a viewer


class Watching:
    """The thread, its loop, and the client in it. Whatever is given to `call` runs in the loop.

    Attributes:
        client: of Channel Access.
        tellers: what tells viewers what has changed; called in the loop a few times a second with the loop's time, s.
    """

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="watching", daemon=True)
        self._failure: Exception | None = None
        self.client: Client
        self.tellers: list[Callable[[float], None]] = []

    def start(self) -> None:
        """Begin.

        Raises:
            OSError, ValueError: the network, or what the environment says of it, cannot be used.
        """
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End the watches."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._end.set)
            self._thread.join()

    def call(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Have something done in the loop, from another thread, and wait for what it gives.

        Raises:
            ConnectionAbortedError: the loop has ended: the program stops.
        """
        done: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def run() -> None:
            try:
                done.set_result(work(*arguments))
            except Exception as error:  # noqa: BLE001  # it is the caller's
                done.set_exception(error)

        try:
            self.loop.call_soon_threadsafe(run)
        except RuntimeError:
            raise ConnectionAbortedError("the program stops") from None
        return done.result()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
                runner.run(self._live())
        except (OSError, ValueError) as error:
            self._failure = error
        finally:
            self._ready.set()

    async def _live(self) -> None:
        async with Client() as self.client:
            self._ready.set()
            while not self._end.is_set():
                await asyncio.sleep(EVERY)
                for tell in list(self.tellers):
                    try:
                        tell(self.loop.time())
                    except Exception:  # a fault in what is told to one must not end it for all
                        log.exception("a viewer could not be told what has changed")
