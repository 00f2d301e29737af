"""ONC RPC calls to a VXI-11 box: python-vxi11's clients, with deadlines, whole-buffer reads and lock waits.

What python-vxi11 0.9 lacks is put in at its seams: `connect` has a deadline, `do_call` has one for the whole reply and
a limit to its length, payloads of `device_read` go straight into the caller's buffer, and WAITLOCK is sent wherever
there is time to wait for somebody else's lock.

Source: VXI-11 revision 1.0, appendix B; RFC 1057 (RPC), RFC 1014 (XDR).
"""

import socket
import struct
import time
from typing import Any

from vxi11 import rpc
from vxi11 import vxi11 as core

SLACK = 1.0  # s that a reply may come later than the box was given time for
_HEAD = struct.Struct(">8Ii")  # xid, reply, accepted, verifier (flavour, length), accept_stat; error, reason; length
_MARK = struct.Struct(">I")
_LAST = 0x80000000
_MOST = 1 << 16  # bytes of a reply beside its payload


class Closed(OSError):
    """The box closed the connection."""

    def __init__(self) -> None:
        super().__init__("the box closed the connection")


class _Patient:
    """A client whose every wait has a deadline; mixed into python-vxi11's clients, which it comes before.

    Attributes:
        deadline: `time.monotonic()` by which connecting, or the call under way, must be done.
    """

    host: str
    port: int
    lastxid: int
    packer: Any
    unpacker: Any
    deadline: float

    def connect(self) -> None:
        """Connect within the deadline."""
        self.sock = socket.create_connection((self.host, self.port), self.left())
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def left(self) -> float:
        """Give the seconds that are left.

        Raises:
            TimeoutError: none are.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def send(self) -> None:
        """Send the call that has been packed."""
        call = self.packer.get_buf()
        self.sock.settimeout(self.left())
        self.sock.sendall(_MARK.pack(_LAST | len(call)) + call)

    def fill(self, view: memoryview) -> None:
        """Receive until `view` is full.

        Raises:
            Closed: the peer closed the connection.
        """
        while view:
            self.sock.settimeout(self.left())
            count = self.sock.recv_into(view)
            if not count:
                raise Closed
            view = view[count:]

    def mark(self) -> tuple[bool, int]:
        """Receive a record mark: whether its fragment is the last, and the fragment's length."""
        data = bytearray(4)
        self.fill(memoryview(data))
        (mark,) = _MARK.unpack(data)
        return bool(mark & _LAST), mark & ~_LAST

    def rest_of_record(self, record: bytearray, last: bool, length: int, most: int) -> bytes:
        """Receive what is missing of a record of which a fragment of `length` bytes has begun with `record`."""
        missing = length - len(record)
        while True:
            if missing < 0 or len(record) + missing > most:
                raise rpc.RPCUnpackError(f"a reply of {len(record) + missing} bytes or more, at most {most} are due")
            piece = bytearray(missing)
            self.fill(memoryview(piece))
            record += piece
            if last:
                return bytes(record)
            last, missing = self.mark()

    def do_call(self) -> None:
        """Send the call that has been packed, and take its reply."""
        self.send()
        while True:
            last, length = self.mark()
            self.unpacker.reset(self.rest_of_record(bytearray(), last, length, _MOST))
            if self.is_ours(self.unpacker.unpack_replyheader()[0]):
                return

    def is_ours(self, xid: int) -> bool:
        """Tell a reply to the call under way from a late one to an earlier call, which is passed over."""
        if xid > self.lastxid:
            raise rpc.RPCUnpackError(f"a reply to call {xid}, which was not made yet; the last one was {self.lastxid}")
        return xid == self.lastxid


class PortMapper(_Patient, rpc.TCPPortMapperClient):
    """The port mapper of a host (port 111)."""

    def __init__(self, host: str, deadline: float) -> None:
        self.deadline = deadline
        super().__init__(host)


class AbortClient(_Patient, core.AbortClient):
    """The channel over which a call under way is broken off."""

    def __init__(self, host: str, port: int, deadline: float) -> None:
        self.deadline = deadline
        super().__init__(host, port)


class CoreClient(_Patient, core.CoreClient):
    """The channel of all other calls. Times are in ms, as on the wire."""

    def __init__(self, host: str, port: int, deadline: float) -> None:
        self.deadline = deadline
        super().__init__(host, port)

    def _allow(self, *times: int) -> None:
        self.deadline = time.monotonic() + sum(times) / 1000 + SLACK

    def device_write(self, link: int, timeout: int, lock_timeout: int, flags: int, data: bytes) -> Any:
        """Send (a part of) a message."""
        self._allow(timeout, lock_timeout)
        return super().device_write(link, timeout, lock_timeout, flags | _waiting(lock_timeout), data)

    def device_generic(self, what: str, link: int, lock_timeout: int, timeout: int) -> Any:
        """Call `device_clear`, `device_trigger`, `device_read_stb`, `device_remote` or `device_local`."""
        self._allow(timeout, lock_timeout)
        return getattr(super(), what)(link, _waiting(lock_timeout), lock_timeout, timeout)

    def device_lock(self, link: int, flags: int, lock_timeout: int) -> Any:
        """Take the lock."""
        self._allow(lock_timeout)
        return super().device_lock(link, flags | _waiting(lock_timeout), lock_timeout)

    def device_unlock(self, link: int) -> Any:
        """Give the lock back."""
        self._allow(1000)
        return super().device_unlock(link)

    def create_link(self, id: int, lock_device: int, lock_timeout: int, name: bytes) -> Any:
        """Make a link, within what is left of the time for connecting."""
        self.deadline = max(self.deadline, time.monotonic() + SLACK)
        return super().create_link(id, lock_device, lock_timeout, name)

    def destroy_link(self, link: int) -> Any:
        """End a link."""
        self._allow()
        return super().destroy_link(link)

    def read_into(self, link: int, view: memoryview, timeout: int, lock_timeout: int) -> tuple[int, int, int]:
        """Call `device_read` for as much as `view` holds, which is filled from its beginning.

        Returns:
            error, reason, number of bytes.
        """
        self._allow(timeout, lock_timeout)
        self.start_call(core.DEVICE_READ)
        params = (link, len(view), timeout, lock_timeout, _waiting(lock_timeout), 0)
        self.packer.pack_device_read_parms(params)
        self.send()
        head = bytearray(_HEAD.size)
        while True:
            last, length = self.mark()
            if not last or length < _HEAD.size:
                error, reason, data = self._read_slowly(bytearray(), last, length, len(view))
                if error is None:
                    continue
                view[: len(data)] = data
                return error, reason, len(data)
            self.fill(memoryview(head))
            xid, kind, denied, _flavour, verifier, status, error, reason, size = _HEAD.unpack(head)
            whole = (kind, denied, verifier, status) == (1, 0, 0, 0)
            padded = length - _HEAD.size
            if not whole or xid != self.lastxid or not 0 <= size <= len(view) or padded != size + (-size & 3):
                error, reason, data = self._read_slowly(head, last, length, len(view))
                if error is None:
                    continue
                view[: len(data)] = data
                return error, reason, len(data)
            self.fill(view[:size])
            self.fill(memoryview(bytearray(padded - size)))
            return error, reason, size

    def _read_slowly(self, begun: bytearray, last: bool, length: int, most: int) -> tuple[int | None, int, bytes]:
        """Take a reply to `device_read` that came in fragments, or that is unusual; None = a late one."""
        self.unpacker.reset(self.rest_of_record(begun, last, length, most + _MOST))
        if not self.is_ours(self.unpacker.unpack_replyheader()[0]):
            return None, 0, b""
        error, reason, data = self.unpacker.unpack_device_read_resp()
        if len(data) > most:
            raise rpc.RPCUnpackError(f"{len(data)} bytes came where at most {most} were asked for")
        return error, reason, data


def _waiting(lock_timeout: int) -> int:
    return core.OP_FLAG_WAIT_BLOCK if lock_timeout else 0
