"""A `Link` over a serial port: RS232, RS485 behind a converter that turns itself, USB boards (CDC-ACM, FTDI, CH340).

The address is `serial:///dev/serial/by-id/usb-...?baud=115200`. The path is followed anew at every open, so a box that
comes back as ttyACM1 is found by its name. Options (all in `drivers.link.OPTIONS`): `baud` (default 9600; a CDC-ACM
board ignores it), `frame` (default 8N1), `xonxoff` (default off), `dtr`.

`dtr` is what happens to the line DTR, which resets many Arduinos when it rises: `keep` (default) leaves it to the
kernel, which raises it at open and drops it at close; `on` raises it (boards with USB of their own stay mute without);
`off` drops it at once after the kernel has raised it; `hupcl-off` clears HUPCL, so that DTR stays up from then on and
the next open resets nothing (termios(3), the same as `stty -hupcl`). The first open may reset a board with each of
them: its client waits until it has booted. What came before or during the open is dropped.

The port is exclusive in both ways there are: flock (pyserial, most programs of today) and TIOCEXCL (tty_ioctl(4): any
later open fails with EBUSY, except root's).

A wire that several boards share (RS485 with board numbers) is still one port with one owner: one client, which knows
all the boards on it, owns the link.

Reading and writing never block on a descriptor with O_NONBLOCK; opening and closing may (a USB request to a hung board
lasts 5 s, a close waits for bytes that a stopped line does not take) and have a thread.
"""

import _thread
import asyncio
import contextlib
import errno
import fcntl
import getpass
import grp
import os
import stat
import termios
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

import serial

from drivers.errors import LinkError, LinkTimeout
from drivers.link import Address
from drivers.stream_link import StreamLink

T = TypeVar("T")

BY_ID = Path("/dev/serial/by-id")
CLOSING = 0.5  # seconds for what is written and not yet sent when the port is closed
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENXIO, errno.ENODEV)
_BUSY = (errno.EBUSY, errno.EWOULDBLOCK)
_FRAME = termios.CSIZE | termios.PARENB | termios.PARODD | termios.CSTOPB
_NO_TTY = (errno.ENOTTY, errno.EISDIR)


class SerialLink(StreamLink):
    """A `Link` over a serial port of this computer."""

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._open_port: int | None = None
        self._leaving: Future[None] | None = None  # the port that we had before is being closed

    async def _connect(self, timeout: float) -> int:
        opening: Future[int] | None = None
        try:
            async with asyncio.timeout(timeout):
                if self._leaving is not None:
                    await asyncio.wrap_future(self._leaving)
                opening = _in_thread(lambda: open_port(self.address))
                self._open_port = await asyncio.wrap_future(opening)
        except (TimeoutError, asyncio.CancelledError) as error:
            if opening is not None:
                self._leaving = _in_thread(lambda: _close_once_open(opening))
            if isinstance(error, TimeoutError):
                raise LinkTimeout(
                    f"{self.address}: could not be opened within {timeout:g} s: the driver or the USB device hangs; "
                    "pull it out and put it in again"
                ) from None
            raise
        return self._open_port

    async def _disconnect(self) -> None:
        if self._open_port is not None:
            port, self._open_port = self._open_port, None
            self._leaving = _in_thread(lambda: close_port(port))
        if self._leaving is not None:
            await asyncio.wait({asyncio.wrap_future(self._leaving)}, timeout=2 * CLOSING)  # the next open waits on

    def _reason(self, error: OSError | None) -> str:
        if error is None or error.errno in (errno.EIO, errno.ENXIO, errno.ENODEV):
            return "the port is gone: the cable was pulled out, or the box has no power"
        return error.strerror or str(error)


def open_port(address: Address) -> int:
    """Open and set up a port as its address says; blocks.

    Returns:
        A descriptor with O_NONBLOCK, locked, its input empty.

    Raises:
        LinkError: absent, busy, forbidden, no serial port, or settings that it does not take; says what to do.
    """
    options = address.options
    frame = options.get("frame", "8N1")
    port = serial.Serial(
        baudrate=int(options.get("baud", "9600")),
        bytesize=int(frame[0]),
        parity=frame[1],
        stopbits=float(frame[2:]),
        xonxoff=options.get("xonxoff") == "on",
        dsrdtr=options.get("dtr", "keep") in ("keep", "hupcl-off"),  # pyserial's way to say: leave DTR alone
        exclusive=True,
    )
    port.port = address.path
    port.dtr = options.get("dtr") != "off"
    try:
        port.open()
        with contextlib.closing(port):
            fcntl.ioctl(port.fileno(), termios.TIOCEXCL)
            attributes = termios.tcgetattr(port.fileno())
            if attributes[2] & _FRAME != _frame_bits(frame):  # the kernel says nothing where a driver has its own will
                raise ValueError(f"frame={frame} was changed")
            attributes[6][termios.VMIN] = 1  # an empty port is EAGAIN; with pyserial's 0 it would look unplugged
            if options.get("dtr") == "hupcl-off":
                attributes[2] &= ~termios.HUPCL
            termios.tcsetattr(port.fileno(), termios.TCSANOW, attributes)
            return os.dup(port.fileno())  # pyserial closes its own and its pipes
    except (OSError, termios.error, ValueError) as error:
        raise LinkError(f"{address}: {_why_not(address.path, error)}") from error


def _frame_bits(frame: str) -> int:
    """Give a frame such as 8N1 in the bits of termios(3)."""
    return (
        {"5": termios.CS5, "6": termios.CS6, "7": termios.CS7, "8": termios.CS8}[frame[0]]
        | (termios.PARENB if frame[1] != "N" else 0)
        | (termios.PARODD if frame[1] in "OM" else 0)
        | (termios.CSTOPB if frame[2:] != "1" else 0)
    )


def close_port(port: int) -> None:
    """Close a port; blocks for as long as `CLOSING` while what was written goes out. What is left then is dropped."""
    with contextlib.suppress(OSError, termios.error):  # an unplugged port has nothing left to set
        fcntl.ioctl(port, termios.TIOCNXCL)
        until = time.monotonic() + CLOSING
        while unsent := any(fcntl.ioctl(port, termios.TIOCOUTQ, bytes(4))):
            if time.monotonic() > until:
                break
            time.sleep(0.01)
        if unsent:  # else the kernel's own close waits for it, 30 s in most drivers
            termios.tcflush(port, termios.TCOFLUSH)
    with contextlib.suppress(OSError):
        os.close(port)


def why_shut(address: Address) -> str:
    """Say why a port could not be opened, with what to do, without opening it; empty where nothing is seen."""
    try:
        if not stat.S_ISCHR(os.stat(address.path).st_mode):
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        if not os.access(address.path, os.R_OK | os.W_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        return f"{address}: {_why_not(address.path, error)}"
    return ""


def _why_not(path: str, error: Exception) -> str:
    number = _errno(error)
    if number in _ABSENT:
        there = ", ".join(sorted(str(found) for found in BY_ID.glob("*"))) or "none"
        return f"absent: no such port; is the box plugged in and switched on? Named ports that are there: {there}"
    if number in _BUSY:
        return f"busy: {_holder(path)}"
    if number in (errno.EACCES, errno.EPERM):
        return f"permission denied: {_who_may(path)}"
    if number in _NO_TTY:
        return "not a serial port; ls /dev/serial/by-id shows the names of those that there are"
    if number == errno.EINVAL or isinstance(error, ValueError):
        return f"the port does not take these settings (baud, frame): {error}"
    if number == errno.EIO:
        return "the port does not answer: no hardware behind it, or it is just being pulled out"
    return f"cannot be opened: {error}"


def _errno(error: BaseException | None) -> int | None:
    """Give the number that the kernel gave; pyserial keeps some of them only in the cause."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        if isinstance(error, termios.error):
            return error.args[0]
        error = error.__context__
    return None


def _holder(path: str) -> str:
    """Say which process has the port open, as far as this user may see."""
    real = os.path.realpath(path)
    if any(os.path.realpath(held) == real for held in Path("/proc/self/fd").iterdir()):
        return "this program has it open already: one port, one device"
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # another user's, or just ended
            if any(os.path.realpath(held) == real for held in (process / "fd").iterdir()):
                name = (process / "comm").read_text().strip()
                return f"process {process.name} ({name}) has it open: end it first"
    return f"another program has it open that is not to be seen from here; as root: fuser -v {real}"


def _who_may(path: str) -> str:
    with contextlib.suppress(OSError, KeyError):
        found = os.stat(path)
        group = grp.getgrgid(found.st_gid).gr_name
        if found.st_mode & stat.S_IWGRP:
            return (
                f"the port belongs to the group {group}: sudo usermod -aG {group} {getpass.getuser()}, "
                "then log out and in again"
            )
    return "only root may open it: a udev rule gives it to a group (GROUP=dialout, MODE=0660)"


def _in_thread(work: Callable[[], T]) -> Future[T]:
    """Do what blocks in a thread of its own, which keeps no program from ending."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # from here on nobody who stops waiting can cancel it

    def run() -> None:
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001  raised again where it is awaited
            future.set_exception(error)

    _thread.start_new_thread(run, ())  # Thread.start() would wait until it runs, which a busy machine may put off
    return future


def _close_once_open(opening: Future[int]) -> None:
    with contextlib.suppress(LinkError):
        close_port(opening.result())
