"""A VXI-11 box at `vxi11://host[:port]/inst0`: python-vxi11's instrument with its defects cured. It blocks.

Messages go out whole and come in whole (END). A question that the box does not answer ends in `Vxi11Error` 15 and a
device clear, and the link lives on. When it is we who have waited too long, or the wire fails, the link has dropped
itself: what comes late must never be taken for the answer to the next question.
"""

import contextlib
import mmap
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import vxi11
from vxi11 import rpc as oncrpc
from vxi11 import vxi11 as core

from drivers.errors import DeviceError, DriverError, LinkError, LinkTimeout, ProtocolError
from drivers.lecroy.rpc import AbortClient, CoreClient, PortMapper
from drivers.link import Address, reason

XdrError = oncrpc.xdrlib.Error

READ = 1 << 20  # bytes asked for at once: between 256 KiB and 1 MiB is the fast range
LONGEST = 1_000_000_100  # bytes of a message: #9, nine digits, and what stands around
_MAP_NORESERVE = 0x4000  # of Linux; Python's mmap has it from 3.13 on
NO_REPLY, ABORTED = 15, 23  # VXI-11 errors that a caller may expect

_CURES = {
    3: "is the name after the host right? It is inst0 on scopes",
    4: "the box has forgotten this link: was it switched off?",
    9: "it has no link left: another program keeps some open, or switch the box off and on",
    11: "another program holds the lock",
    15: "nothing was to be read: a question that the box does not know stays without answer",
    23: "broken off over the abort channel",
}


class Vxi11Error(DeviceError):
    """The box answered a call with an error.

    Attributes:
        code: its number, VXI-11 B.5.2 (15 = I/O timeout, 11 = locked by another link, 23 = abort ...).
    """

    def __init__(self, where: object, what: str, code: int) -> None:
        word = vxi11.vxi11.Vxi11Exception.em.get(code, "unknown error").lower()
        cure = f"; {_CURES[code]}" if code in _CURES else ""
        super().__init__(f"{where}: {what}: VXI-11 error {code}, {word}{cure}")
        self.code = code


_ADDRESS = re.compile(r"vxi11://(?:\[([0-9a-fA-F:.]+)\]|([^\[\]:/?#\s]+))(?::(\d+))?(/[^/?#\s]+)?/?")


def parse_address(text: str) -> Address:
    """Read `vxi11://host[:port]/inst0`. Without a port the host's port mapper (port 111) is asked for it.

    Raises:
        ValueError: the text is no such address.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not the address of a VXI-11 box: write vxi11://192.168.0.30/inst0")
    port = int(match[3]) if match[3] else None
    if port is not None and not 0 < port < 65536:
        raise ValueError(f"{text!r}: port {port} is not within 1..65535")
    return Address("vxi11", match[1] or match[2], port, path=match[4] or "/inst0")


def room() -> mmap.mmap:
    """Give memory for a message of any length. It takes pages as they are filled, and holds up no other thread by that.

    (A bytearray that grows is zeroed and moved under Python's lock: 32 MB stop every thread for a tenth of a second.)
    """
    return mmap.mmap(-1, LONGEST, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE)


_Theirs: Any = vxi11.Instrument  # it has no types; what pyright makes of its bodies is not what they do


class Instrument(_Theirs):
    """python-vxi11's instrument with its defects cured: all waits end, all failures are DriverErrors, `close` closes.

    Not for two threads at once, but for `abort`, which is for another thread. `term_char` is not offered: messages end
    with END.

    Args:
        address: see `parse_address`.
        lock_timeout: s to wait while another link holds the lock; 0 = not at all.
    """

    client: Any

    def __init__(self, address: Address, lock_timeout: float = 0.0) -> None:
        super().__init__(address.host, address.path.removeprefix("/"))
        self.address = address
        self.lock_timeout = lock_timeout
        self._room: mmap.mmap | None = None  # for `read_raw`

    @property
    def timeout(self) -> float:
        """Seconds that the box is given for a call."""
        return self._timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._timeout = seconds
        self._timeout_ms = int(seconds * 1000)

    def open(self) -> None:
        """Connect and make a link, within `timeout`.

        Raises:
            DriverError: it could not be done.
        """
        if self.link is not None:
            return
        deadline = time.monotonic() + self.timeout
        with self._guarded("connect"):
            self.client = CoreClient(self.host, self.address.port or self._ask_port(deadline), deadline)
            error, link, self.abort_port, most = self.client.create_link(
                self.client_id, 0, self._lock_timeout_ms, self.name.encode()
            )
            if error:
                self.drop()
                raise Vxi11Error(self.address, f"no link to {self.name}", error)
            self.link, self.max_recv_size = link, max(most, 1024)

    def close(self) -> None:
        """End the link and let go of the connection. Never raises."""
        if self.link is not None and self.client is not None:
            with contextlib.suppress(
                OSError, EOFError, oncrpc.RPCError, XdrError, ValueError
            ):  # it is let go of anyway
                self.client.destroy_link(self.link)
        self.drop()

    def drop(self) -> None:
        """Let go of the connection without a word. Never raises."""
        client, self.client, self.link, self.locked = self.client, None, None, False
        if client is not None:
            with contextlib.suppress(OSError):
                client.close()

    def hang_up(self) -> None:
        """End a call that another thread has under way: it fails at once."""
        client = self.client
        if client is not None:
            with contextlib.suppress(OSError):
                client.sock.shutdown(socket.SHUT_RDWR)

    def abort(self) -> None:
        """Have the box break off the call that another thread has under way: that ends with `Vxi11Error` 23.

        Raises:
            DriverError: it could not be asked to; the call goes on.
        """
        link, port = self.link, self.abort_port
        if link is None:
            return
        if not port:
            raise LinkError(f"{self.address}: the box has no abort channel")
        client = None
        try:
            client = AbortClient(self.host, port, time.monotonic() + 2.0)
            error = client.device_abort(link)
        except (OSError, EOFError, oncrpc.RPCError, XdrError) as problem:
            raise LinkError(f"{self.address}: abort over port {port}: {problem or type(problem).__name__}") from problem
        finally:
            if client is not None:
                client.close()
        if error:
            raise Vxi11Error(self.address, "abort", error)

    def write_raw(self, data: bytes) -> None:
        """Send a message.

        Raises:
            DriverError: it was not taken.
        """
        self.open()
        with self._guarded("write"):
            try:
                super().write_raw(data)
            except core.Vxi11Exception as error:
                if not isinstance(error.err, int):
                    raise ProtocolError(f"{self.address}: write: {error}") from error
                raise Vxi11Error(self.address, f"write {data[:40]!r}", error.err) from error

    def read_raw(self, num: int = -1) -> bytes:
        """Receive a message.

        Raises:
            DriverError: none came.
        """
        if num > 0:
            raise ValueError("messages are read whole")
        if self._room is None:
            self._room = room()
        return self._room[: self.read_into(self._room)]

    def read_into(self, buffer: mmap.mmap | bytearray) -> int:
        """Receive a message into `buffer` (see `room`); give the message's length.

        Raises:
            DriverError: none came, or not to its end, or it is longer than `buffer`.
        """
        self.open()
        at = 0
        with self._guarded("read"), memoryview(buffer) as whole:
            while True:
                if at >= len(whole):
                    raise ProtocolError(f"{self.address}: a message has no end after {at} bytes")
                with whole[at : at + READ] as view:
                    error, reason, count = self.client.read_into(
                        self.link, view, self._timeout_ms, self._lock_timeout_ms
                    )
                if error:
                    self._settle(error, at)
                    raise Vxi11Error(self.address, "read" if not at else f"read, after {at} bytes", error)
                at += count
                if reason & core.RX_END:
                    return at
                if not count:
                    raise ProtocolError(f"{self.address}: a read after {at} bytes gave none, and no END")

    def _settle(self, error: int, at: int) -> None:
        """See to it that what the box may still have to say is not taken for the answer to the next question."""
        if at:
            self.drop()
        elif error == NO_REPLY:
            self.clear()

    def clear(self) -> None:
        """Empty the box's buffers in both directions (device clear)."""
        self._generic("device_clear")

    def trigger(self) -> None:
        """Send a trigger."""
        self._generic("device_trigger")

    def lock(self) -> None:
        """Keep other links from the box until `unlock`, waiting `lock_timeout` for one that does so itself."""
        self.open()
        with self._guarded("lock"):
            error = self.client.device_lock(self.link, 0, self._lock_timeout_ms)
        if error:
            raise Vxi11Error(self.address, "lock", error)
        self.locked = True

    def unlock(self) -> None:
        """Let other links at the box again."""
        self.open()
        with self._guarded("unlock"):
            error = self.client.device_unlock(self.link)
        if error:
            raise Vxi11Error(self.address, "unlock", error)
        self.locked = False

    def _generic(self, what: str) -> None:
        self.open()
        with self._guarded(what):
            error = self.client.device_generic(what, self.link, self._lock_timeout_ms, self._timeout_ms)
        if error:
            raise Vxi11Error(self.address, what, error)

    def _ask_port(self, deadline: float) -> int:
        try:
            mapper = PortMapper(self.host, deadline)
        except ConnectionRefusedError:
            raise LinkError(
                f"{self.address}: the host has no port mapper (port 111): is its remote interface set to LXI (VXI-11)? "
                "Or write the port into the address"
            ) from None
        try:
            port = mapper.get_port((core.DEVICE_CORE_PROG, core.DEVICE_CORE_VERS, oncrpc.IPPROTO_TCP, 0))
        finally:
            mapper.close()
        if not port:
            raise LinkError(
                f"{self.address}: the host's port mapper knows of no VXI-11; set the scope's remote interface to LXI"
            )
        return port

    @contextlib.contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        """Drop the link on whatever leaves it in doubt, and say it as a DriverError."""
        try:
            yield
        except Vxi11Error:
            raise  # the box answered: the link is as good as before
        except DriverError:
            self.drop()
            raise
        except TimeoutError as error:
            self.drop()
            cure = "is the box switched on, the cable in, a firewall between?" if what == "connect" else "link dropped"
            raise LinkTimeout(f"{self.address}: {what}: no answer in time ({self.timeout:g} s); {cure}") from error
        except OSError as error:
            self.drop()
            raise LinkError(f"{self.address}: {what}: {reason(error)}") from error
        except (oncrpc.RPCError, XdrError, EOFError, ValueError) as error:
            self.drop()
            told = str(error) or "a reply ends too early"
            raise ProtocolError(f"{self.address}: {what}: nonsense on the wire: {told}") from error
        except BaseException:
            self.drop()
            raise
