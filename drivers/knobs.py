"""How a running simulator is told of faults: a line of JSON on stdin, `{"bad_crc": 3}`, is `set(bad_crc=3)`.

The end of stdin changes nothing; a line that makes no sense is reported on stderr and the next one obeyed.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable

log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def until_stopped(set_: Callable[..., Awaitable[None]]) -> AsyncIterator[asyncio.Event]:
    """Obey stdin while the context lasts; yields what SIGINT and SIGTERM set."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    signal.signal(signal.SIGTTIN, signal.SIG_IGN)  # in the background of a terminal: go on without stdin
    lines: asyncio.Queue[bytes] = asyncio.Queue()
    threading.Thread(target=_read_stdin, args=(loop, lines), daemon=True).start()
    changes = asyncio.create_task(_follow(set_, lines))
    try:
        yield stop
    finally:
        changes.cancel()


async def _follow(set_: Callable[..., Awaitable[None]], lines: "asyncio.Queue[bytes]") -> None:
    while True:
        line = await lines.get()
        try:
            await set_(**json.loads(line))
        except (ValueError, TypeError, OSError) as error:
            log.error("not understood: %s: %s", line.decode(errors="replace"), error)


def _read_stdin(loop: asyncio.AbstractEventLoop, lines: "asyncio.Queue[bytes]") -> None:
    """Hand on the lines of stdin, in a thread: a file, a pipe and a terminal cannot all be waited for in the event
    loop.
    """
    rest = b""
    with contextlib.suppress(OSError, RuntimeError):  # no stdin; the loop is closed: nobody listens any more
        while data := os.read(0, 4096):
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                if line.strip():
                    loop.call_soon_threadsafe(lines.put_nowait, line)


def fits(default: object, value: object) -> bool:
    """Tell whether a fault or state may be set to `value`: of its default's type, or None where that is its default."""
    kinds = {type(None): int | None, float: float | int}
    return isinstance(value, kinds.get(type(default), type(default))) and isinstance(value, bool) == isinstance(
        default, bool
    )
