"""Telling systemd how we are: sd_notify(3), datagrams to the socket in $NOTIFY_SOCKET; nothing where there is none.

Whoever starts us without systemd but with such a socket (podman --sdnotify=container) hears the same.
"""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

log = logging.getLogger(__name__)


def ready(status: str) -> None:
    """Say that we serve; `systemctl status` shows the text."""
    _tell(f"READY=1\nSTATUS={' '.join(status.split())}")


def stopping() -> None:
    """Say that we end by ourselves or by a signal."""
    _tell("STOPPING=1")


def alive() -> None:
    """Say that what says this still turns."""
    _tell("WATCHDOG=1")


def alive_every() -> float | None:
    """Give how often `alive` is to be said, s: four times in what the watchdog waits (sd_watchdog_enabled(3)).

    Returns:
        None where nobody waits for it.
    """
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 4e6 if microseconds.isdecimal() and int(microseconds) else None


@asynccontextmanager
async def watchdog() -> AsyncIterator[None]:
    """Say `alive` from the running event loop, and so only while it turns."""
    task = asyncio.create_task(_go_on())
    try:
        yield
    finally:
        task.cancel()


async def _go_on() -> None:
    if every := alive_every():
        while True:
            alive()
            await asyncio.sleep(every)


def _tell(state: str) -> None:
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    if path.startswith("@"):
        path = "\0" + path[1:]  # an abstract socket
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.setblocking(False)  # a service manager that hangs must not stop an event loop
            end.sendto(state.encode(), path)
    except OSError as error:
        log.warning("NOTIFY_SOCKET takes no %s: %s", state.split("\n")[0], error.strerror)
