"""A serial port for simulators: a pty whose far end we hold, under a name that stays, with a cable that can be pulled.

A client opens `PtyPort.path` (a symlink, as udev makes them in /dev/serial/by-id) and finds a serial port in raw mode.
What a pty does not have: speed, parity, control lines. That a client opens it is seen all the same, which is when DTR
would rise and reset a board.

Sources: pty(7), tty_ioctl(4). While no client has the port open the kernel answers a read of the far end with EIO and
a poll with POLLHUP.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import select
import shutil
import tempfile
import termios
import tty
from collections.abc import Callable
from pathlib import Path

LOOK_EVERY = 0.02  # seconds from look to look whether a client has come; there is no event for it


class PtyPort:
    """The box's side of a serial port. `with` closes it; `read` must be waiting for `on_open` to be called.

    Attributes:
        path: the port's name, a symlink that is away while the cable is.
        address: the same as a link's address, without options.
        on_open: called when a client has opened the port, before anything that it wrote is given out.
        opened: how many times a client was seen to open it.
        lost: bytes for which the client, which did not read, left no room.
    """

    def __init__(self, path: str | Path | None = None, on_open: Callable[[], None] = lambda: None) -> None:
        """Plug the port in, under `path` or in a new temporary directory.

        Raises:
            OSError: `path` cannot be written or is something else already, or there are no ptys left.
        """
        self._directory = tempfile.mkdtemp(prefix="serial-") if path is None else None
        self.path = Path(path or f"{self._directory}/port").absolute()
        self.address = f"serial://{self.path}"
        self.on_open = on_open
        self.opened = 0
        self.lost = 0
        self._far_end: int | None = None
        self._terminal = ""  # what the name stands for
        self._client = False
        self._readable: asyncio.Future[None] | None = None
        self._plugged = asyncio.Event()
        self.replug()

    def __enter__(self) -> "PtyPort":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Unplug for good."""
        self.unplug()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)

    def unplug(self) -> None:
        """Pull the cable: the name goes, whoever has the port open reads its end."""
        if self._far_end is None:
            return
        if _target(self.path) == self._terminal:  # else it is another's by now
            self.path.unlink()
        fd, self._far_end, self._client = self._far_end, None, False
        self._plugged.clear()
        if self._readable is not None:
            asyncio.get_running_loop().remove_reader(fd)
            self._wake()
        os.close(fd)

    def replug(self) -> None:
        """Put the cable in: a new port, under the same name."""
        if self._far_end is not None:
            return
        if os.path.lexists(self.path) and not _target(self.path).startswith("/dev/pts/"):
            raise FileExistsError(
                errno.EEXIST,
                "there is something else of that name, which is left alone; choose another",
                str(self.path),
            )
        far_end, near_end = os.openpty()
        try:
            self._terminal = os.ttyname(near_end)
            tty.setraw(near_end)
            os.set_blocking(far_end, False)
            fresh = self.path.with_name(f".{self.path.name}.new")
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(self._terminal)
            fresh.replace(self.path)
        except OSError:
            os.close(far_end)
            raise
        finally:
            os.close(near_end)
        self._far_end = far_end
        self._plugged.set()

    def write(self, data: bytes) -> None:
        """Say `data` to the client; nobody hears it while the port is not open."""
        if self._far_end is None or not _in_use(self._far_end):
            return
        sent = 0
        with contextlib.suppress(BlockingIOError):
            sent = os.write(self._far_end, data)
        self.lost += len(data) - sent

    async def read(self) -> bytes:
        """Wait for what a client writes, through any number of opens, closes and pulled cables."""
        while True:
            await self._plugged.wait()
            if self._far_end is None:
                continue
            if not _in_use(self._far_end):
                if self._client:
                    self._client = False
                    self._unlock()
                await asyncio.sleep(LOOK_EVERY)
                continue
            if not self._client:
                self._client = True
                self.opened += 1
                self.on_open()
            try:
                return os.read(self._far_end, 4096)
            except BlockingIOError:
                await self._wait(self._far_end)
            except OSError as error:
                if error.errno != errno.EIO:  # EIO: the client has just closed it
                    raise

    def _unlock(self) -> None:
        """Undo the TIOCEXCL of a client that was killed: other than a real port a pty keeps it (non-root only)."""
        try:
            near_end = os.open(self.path, os.O_RDWR | os.O_NOCTTY)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            if self._far_end is not None and not _in_use(self._far_end):  # else the next client has come already
                self.unplug()
                self.replug()
        else:
            fcntl.ioctl(near_end, termios.TIOCNXCL)
            os.close(near_end)

    async def _wait(self, fd: int) -> None:
        loop = asyncio.get_running_loop()
        future = self._readable = loop.create_future()
        loop.add_reader(fd, self._wake)
        try:
            await future
        finally:
            if self._far_end == fd and self._readable is future:
                loop.remove_reader(fd)
            self._readable = None

    def _wake(self) -> None:
        if self._readable is not None and not self._readable.done():
            self._readable.set_result(None)


def _target(path: Path) -> str:
    """Say what a symlink stands for; empty where there is none."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _in_use(far_end: int) -> bool:
    """Say whether a client has the port open, or has left something to be read."""
    look = select.poll()
    look.register(far_end, select.POLLIN)
    events = look.poll(0)
    return not events or bool(events[0][1] & select.POLLIN)
