"""The procedures of VXI-11's core and abort channels, and of a port mapper, as the simulated scope carries them out.

Source: VXI-11 revision 1.0, B.4 to B.6; RFC 1057, A (port mapper).
"""

import contextlib
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from drivers.lecroy.simulated_rpc import MOST_SENT, Gone, Reader, RpcConnection

if TYPE_CHECKING:
    from drivers.lecroy.simulated_wire import Simulator

CORE, ABORT, MAPPER = 0x0607AF, 0x0607B0, 100000
_VERSIONS = {CORE: 1, ABORT: 1, MAPPER: 2}
_DEVICE_READ = 12
_END, _WAITLOCK, _TERMCHR = 8, 1, 128


@dataclass(eq=False)
class Link:
    """One link: what was written to it and not yet ended, what it has to say, whether a call is to be broken off."""

    number: int
    connection: "Connection"
    coming: bytearray = field(default_factory=bytearray)
    reply: memoryview = field(default_factory=lambda: memoryview(b""))
    pending: int = 0  # messages that are not executed yet
    aborted: bool = False
    clears: int = 0  # times that it was emptied: what was asked before has no answer any more


class Connection(RpcConnection):
    """One TCP connection to one of the programs of a simulator."""

    def __init__(self, simulator: "Simulator", sock: socket.socket, program: int) -> None:
        super().__init__(sock, program, _VERSIONS[program], simulator.faults)
        self.simulator, self.changed = simulator, simulator.changed

    def answer(self, procedure: int, call: Reader) -> tuple[bytes, memoryview] | None:
        """Carry out a call; see `RpcConnection`."""
        if (self.program, procedure) == (CORE, _DEVICE_READ):
            return self._read(call)
        method = _PROCEDURES.get((self.program, procedure))
        if method is None:
            return None
        values = method(self, call)
        return struct.pack(f">{len(values)}I", *values), memoryview(b"")

    # Procedures: each reads its arguments, and gives the unsigned integers of its results. They hold `changed`.

    def _link(self, number: int) -> Link | None:
        return self.simulator.links.get(number)

    def _create_link(self, call: Reader) -> tuple[int, ...]:
        call.uint()  # client's number
        lock, lock_timeout, device = call.uint(), call.uint(), call.opaque()
        if device != b"inst0":
            return 3, 0, 0, 0
        with self.changed:
            link = self.simulator.make_link(self)
            if link is None:
                return 9, 0, 0, 0
            if lock and self._lock(link, lock_timeout, lock_timeout > 0):
                self.simulator.end_link(link)
                return 11, 0, 0, 0
            return 0, link.number, self.simulator.abort_port, MOST_SENT

    def _destroy_link(self, call: Reader) -> tuple[int, ...]:
        with self.changed:
            link = self._link(call.uint())
            if link is None:
                return (4,)
            self.simulator.end_link(link)
            return (0,)

    def _wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait for a condition, and for the client to go.

        Raises:
            Gone: it went.
        """
        end = time.monotonic() + seconds
        while not self.changed.wait_for(condition, max(min(end - time.monotonic(), 0.1), 0)):
            with contextlib.suppress(BlockingIOError):
                if not self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                    raise Gone
            if time.monotonic() >= end:
                return False
        return True

    def _free(self, link: Link, timeout: int, wait: bool) -> bool:
        """Wait while another link holds the lock; tell whether it does not any more."""
        simulator = self.simulator
        return self._wait_for(lambda: simulator.lock_holder in (None, link), timeout / 1000 if wait else 0)

    def _lock(self, link: Link, timeout: int, wait: bool) -> int:
        if not self._free(link, timeout, wait):
            return 11
        self.simulator.lock_holder = link
        return 0

    def _enter(self, number: int, flags: int, lock_timeout: int) -> tuple[int, Link | None]:
        """Give the error of a call on a link, 0 = none."""
        link = self._link(number)
        if link is None:
            return 4, None
        link.aborted = False
        return (0 if self._free(link, lock_timeout, bool(flags & _WAITLOCK)) else 11), link

    def _write(self, call: Reader) -> tuple[int, ...]:
        number, _, lock_timeout, flags, data = call.uint(), call.uint(), call.uint(), call.uint(), call.opaque()
        with self.changed:
            error, link = self._enter(number, flags, lock_timeout)
            if not error and self.faults.take("error"):
                error = self.faults.error_code
            if error or link is None:
                return error, 0
            link.coming += data
            if flags & _END:
                message, link.coming = bytes(link.coming), bytearray()
                self.simulator.take(link, message)
            return 0, len(data)

    def _read(self, call: Reader) -> tuple[bytes, memoryview]:
        """Give error, reason, length; and the data."""
        number, size, timeout, lock_timeout, flags, char = (call.uint() for _ in range(6))
        nothing = memoryview(b"")
        with self.changed:
            error, link = self._enter(number, flags, lock_timeout)
            if not error and self.faults.take("error"):
                error = self.faults.error_code
            if error or link is None:
                return struct.pack(">3I", error, 0, 0), nothing
            if not self._wait_for(lambda: len(link.reply) > 0 or link.aborted, timeout / 1000):
                return struct.pack(">3I", 15, 0, 0), nothing
            if link.aborted:
                return struct.pack(">3I", 23, 0, 0), nothing
            size = min(size, self.faults.short or size)
            data = link.reply[:size]
            if flags & _TERMCHR and bytes([char & 255]) in bytes(data):
                data = data[: bytes(data).index(char & 255) + 1]
            link.reply = link.reply[len(data) :]
            reason = (1 if len(data) == size else 0) | (0 if len(link.reply) else 4)
            announced = len(data) + (1 << 24 if self.faults.take("endless") else 0)
            return struct.pack(">3I", 0, reason, announced), data

    def _generic(self, call: Reader) -> tuple[Link | None, int]:
        number, flags, lock_timeout, _ = (call.uint() for _ in range(4))
        error, link = self._enter(number, flags, lock_timeout)
        return link, error

    def _read_stb(self, call: Reader) -> tuple[int, ...]:
        with self.changed:
            link, error = self._generic(call)
            status = self.simulator.scope.status
            return error, 0 if link is None or error else status.STB | (16 if len(link.reply) else 0)

    def _trigger(self, call: Reader) -> tuple[int, ...]:
        with self.changed:
            link, error = self._generic(call)
            if link is not None and not error:
                self.simulator.take(link, b"*TRG")
            return (error,)

    def _clear(self, call: Reader) -> tuple[int, ...]:
        with self.changed:
            link, error = self._generic(call)
            if link is not None and not error:
                self.simulator.break_off(link)
                link.aborted = False
            return (error,)

    def _local(self, call: Reader) -> tuple[int, ...]:
        with self.changed:
            return (self._generic(call)[1],)

    def _device_lock(self, call: Reader) -> tuple[int, ...]:
        number, flags, timeout = call.uint(), call.uint(), call.uint()
        with self.changed:
            link = self._link(number)
            return (4 if link is None else self._lock(link, timeout, bool(flags & _WAITLOCK)),)

    def _device_unlock(self, call: Reader) -> tuple[int, ...]:
        with self.changed:
            link = self._link(call.uint())
            if link is None or self.simulator.lock_holder is not link:
                return (4 if link is None else 12,)
            self.simulator.lock_holder = None
            self.changed.notify_all()
            return (0,)

    def _unsupported(self, call: Reader) -> tuple[int, ...]:
        return (8,)

    def _docmd(self, call: Reader) -> tuple[int, ...]:
        return 8, 0

    def _abort(self, call: Reader) -> tuple[int, ...]:
        with self.changed:
            link = self._link(call.uint())
            if link is None:
                return (4,)
            self.simulator.break_off(link)
            return (0,)

    def _get_port(self, call: Reader) -> tuple[int, ...]:
        program, version, protocol, _ = (call.uint() for _ in range(4))
        ports = {(CORE, 1, 6): self.simulator.port, (ABORT, 1, 6): self.simulator.abort_port}
        return (ports.get((program, version, protocol), 0),)


_PROCEDURES = {
    (CORE, 10): Connection._create_link,
    (CORE, 11): Connection._write,
    (CORE, 13): Connection._read_stb,
    (CORE, 14): Connection._trigger,
    (CORE, 15): Connection._clear,
    (CORE, 16): Connection._local,
    (CORE, 17): Connection._local,
    (CORE, 18): Connection._device_lock,
    (CORE, 19): Connection._device_unlock,
    (CORE, 20): Connection._unsupported,
    (CORE, 22): Connection._docmd,
    (CORE, 23): Connection._destroy_link,
    (CORE, 25): Connection._unsupported,
    (CORE, 26): Connection._unsupported,
    (ABORT, 1): Connection._abort,
    (MAPPER, 3): Connection._get_port,
}
