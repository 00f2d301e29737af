"""A VXI-11 server on real TCP for the simulated scope: core channel, abort channel, port mapper if wanted.

Each connection has a thread, so that payloads leave from where they lie. Messages are executed in order by one thread,
as the scope's parser does: a WAIT in one link's message holds up those of all.

Source: VXI-11 revision 1.0, B.4 to B.6; RFC 1057 (RPC), A (port mapper).
"""

import contextlib
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from drivers.lecroy.faults import Faults
from drivers.lecroy.simulated_commands import Commands
from drivers.lecroy.simulated_scope import SimulatedScope

CORE, ABORT, MAPPER = 0x0607AF, 0x0607B0, 100000
_VERSIONS = {CORE: 1, ABORT: 1, MAPPER: 2}
_END, _WAITLOCK, _TERMCHR = 8, 1, 128
_MOST_LINKS = 16
_MAX_RECEIVE = 1 << 20
_MOST_CALL = _MAX_RECEIVE + 4096
QUERY_ERROR = 4  # bit of ESR


class _Garbage(Exception):
    """Arguments that cannot be read."""


class _Gone(Exception):
    """The connection is to end."""


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def uint(self) -> int:
        if self.at + 4 > len(self.data):
            raise _Garbage
        self.at += 4
        return int.from_bytes(self.data[self.at - 4 : self.at], "big")

    def opaque(self) -> bytes:
        size = self.uint()
        if self.at + size > len(self.data):
            raise _Garbage
        self.at += size + (-size & 3)
        return self.data[self.at - size - (-size & 3) :][:size]


@dataclass(eq=False)
class _Link:
    """One link: what was written to it and not yet ended, what it has to say, whether a call is to be broken off."""

    number: int
    connection: "_Connection"
    coming: bytearray = field(default_factory=bytearray)
    reply: memoryview = field(default_factory=lambda: memoryview(b""))
    pending: int = 0  # messages that are not executed yet
    aborted: bool = False
    clears: int = 0  # times that it was emptied: what was asked before has no answer any more


class Simulator:
    """A scope on the network. Use it as `with Simulator() as simulator:`, connect to `simulator.address`.

    Args:
        scope: None = a new one.
        host, port: where it listens; port 0 = any free one.
        mapper_port: where its port mapper listens; None = it has none, 0 = any free one.

    Attributes:
        scope, faults: may be changed; hold `scope.changed` while doing so.
        messages: all that was executed, in order.
    """

    def __init__(
        self,
        scope: SimulatedScope | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        mapper_port: int | None = None,
    ) -> None:
        self.scope = scope or SimulatedScope()
        self.faults = Faults()
        self.host, self.port, self.mapper_port, self.abort_port = host, port, mapper_port, 0
        self.messages: list[str] = []
        self.commands = Commands(self.scope, self.faults)
        self.changed = self.scope.changed
        self.links: dict[int, _Link] = {}
        self.lock_holder: _Link | None = None
        self._next_link = 0
        self._listeners: list[socket.socket] = []
        self._connections: set[_Connection] = set()
        self._queue: queue.SimpleQueue[tuple[_Link, int, bytes] | None] = queue.SimpleQueue()
        self._parser: threading.Thread | None = None

    @property
    def address(self) -> str:
        """Where a client finds it."""
        return f"vxi11://{self.host}:{self.port}/inst0"

    def __enter__(self) -> Self:
        self.power_on()
        return self

    def __exit__(self, *_: object) -> None:
        self.power_off()

    def power_on(self) -> None:
        """Listen; the settings are what they were."""
        if self._parser is not None:
            return
        self.port = self._listen(self.port, CORE)
        self.abort_port = self._listen(self.abort_port, ABORT)
        if self.mapper_port is not None:
            self.mapper_port = self._listen(self.mapper_port, MAPPER)
        self._queue = queue.SimpleQueue()
        self._parser = threading.Thread(target=self._parse, args=(self._queue,), daemon=True)
        self._parser.start()

    def power_off(self) -> None:
        """Cut all connections and stop listening; what is in memory is gone."""
        if self._parser is None:
            return
        for listener in self._listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self._listeners.clear()
        self.drop()
        with self.changed:
            self.commands.cancelled = True
            self.changed.notify_all()
        self._queue.put(None)
        self._parser.join()
        self._parser = None
        with self.changed:
            self.scope.power_on()

    def drop(self) -> None:
        """Cut all connections."""
        with self.changed:
            connections = list(self._connections)
        for connection in connections:
            connection.cut()

    def _listen(self, port: int, program: int) -> int:
        listener = socket.create_server((self.host, port))
        self._listeners.append(listener)
        threading.Thread(target=self._accept, args=(listener, program), daemon=True).start()
        return listener.getsockname()[1]

    def _accept(self, listener: socket.socket, program: int) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return  # closed
            connection = _Connection(self, sock, program)
            with self.changed:
                self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: "_Connection") -> None:
        try:
            connection.serve()
        except (OSError, _Gone):
            pass  # the client, or power, has gone
        finally:
            with self.changed:
                self._connections.discard(connection)
                for link in [link for link in self.links.values() if link.connection is connection]:
                    self.end_link(link)
            connection.close()

    def make_link(self, connection: "_Connection") -> _Link | None:
        """Make a link; None = there are too many."""
        if self.faults.links_full or len(self.links) >= _MOST_LINKS:
            return None
        link = self.links[self._next_link] = _Link(self._next_link, connection)
        self._next_link += 1
        return link

    def end_link(self, link: _Link) -> None:
        """End a link; its lock goes with it."""
        self.links.pop(link.number, None)
        self.break_off(link)
        if self.lock_holder is link:
            self.lock_holder = None
        self.changed.notify_all()

    def break_off(self, link: _Link) -> None:
        """Forget what the link has said and was to hear, and wake whoever waits."""
        link.aborted = True
        link.clears += 1
        link.coming.clear()
        link.reply = memoryview(b"")
        if link.pending:
            self.commands.cancelled = True
        self.changed.notify_all()

    def take(self, link: _Link, message: bytes) -> None:
        """Have a message executed. A reply that was not read is lost, as the scope says by ESR's query error."""
        if link.reply:
            link.reply = memoryview(b"")
            self.scope.status.ESR |= QUERY_ERROR
        link.pending += 1
        self._queue.put((link, link.clears, message))

    def _parse(self, messages: "queue.SimpleQueue[tuple[_Link, int, bytes] | None]") -> None:
        while (item := messages.get()) is not None:
            link, clears, message = item
            with self.changed:
                if link.clears == clears:
                    self.messages.append(message.decode("latin-1").strip())
                    reply = self.commands.execute(message)
                    if link.clears == clears:
                        link.reply = memoryview(reply)
                link.pending -= 1
                self.changed.notify_all()


class _Connection:
    """One TCP connection to one of the programs."""

    def __init__(self, simulator: Simulator, sock: socket.socket, program: int) -> None:
        self.simulator, self.sock, self.program = simulator, sock, program
        self.changed, self.faults = simulator.changed, simulator.faults
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def cut(self) -> None:
        """End it at once; its thread will find out."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the socket."""
        self.sock.close()

    def serve(self) -> None:
        """Answer calls until the client goes."""
        while True:
            self._call(_Reader(self._record()))

    def _exactly(self, size: int) -> bytes:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            count = self.sock.recv_into(view)
            if not count:
                raise _Gone
            view = view[count:]
        return bytes(data)

    def _record(self) -> bytes:
        record, last = b"", False
        while not last:
            mark = int.from_bytes(self._exactly(4), "big")
            last, size = bool(mark >> 31), mark & 0x7FFFFFFF
            if len(record) + size > _MOST_CALL:
                raise _Gone
            record += self._exactly(size)
        return record

    def _call(self, call: _Reader) -> None:
        try:
            xid, kind, version, program, edition, procedure = (call.uint() for _ in range(6))
            for _ in range(2):  # credentials, verifier
                call.uint()
                call.opaque()
        except _Garbage:
            raise _Gone from None
        if kind != 0:
            raise _Gone
        if version != 2:
            self._send(struct.pack(">6I", xid, 1, 1, 0, 2, 2))
            return
        head = [xid, 1, 0, 0, 0]
        if program != self.program:
            self._send(struct.pack(">6I", *head, 1))
            return
        if edition != _VERSIONS[program]:
            self._send(struct.pack(">8I", *head, 2, _VERSIONS[program], _VERSIONS[program]))
            return
        payload = memoryview(b"")
        try:
            if procedure == 0:
                results = b""
            elif program == CORE and procedure == 12:
                results, payload = self._read(call)
            else:
                method = _PROCEDURES.get((program, procedure))
                if method is None:
                    self._send(struct.pack(">6I", *head, 3))
                    return
                results = struct.pack(f">{len(values)}I", *values) if (values := method(self, call)) else b""
        except _Garbage:
            self._send(struct.pack(">6I", *head, 4))
            return
        if self.faults.take("wrong_xid"):
            head[0] = (head[0] + 1000) & 0xFFFFFFFF
        self._send(struct.pack(">6I", *head, 0) + results, payload)

    def _send(self, head: bytes, payload: memoryview | None = None) -> None:
        faults = self.faults
        payload = memoryview(b"") if payload is None else payload
        if faults.mute:
            return
        wait = faults.slow + (faults.late_by if faults.take("late") else 0.0)
        if wait:
            time.sleep(wait)
        if faults.take("garbage"):
            head = bytes(255 - byte for byte in head)
        pad = bytes(-len(payload) & 3)
        size = len(head) + len(payload) + len(pad)
        half = [struct.pack(">I", size | 1 << 31), head, payload[: len(payload) // 2]]
        if payload and faults.take("cut"):
            self._send_all(half)
            self.cut()
            raise _Gone
        if payload and faults.take("stall"):
            self._send_all(half)
            while self.sock.recv(4096):
                pass  # until the client goes
            raise _Gone
        if faults.fragments:
            record = head + bytes(payload) + pad
            pieces = [record[n : n + faults.fragments] for n in range(0, len(record), faults.fragments)]
            for number, piece in enumerate(pieces, 1):
                self._send_all([struct.pack(">I", len(piece) | (number == len(pieces)) << 31), piece])
            return
        self._send_all([struct.pack(">I", size | 1 << 31), head, payload, pad])

    def _send_all(self, parts: "list[bytes | memoryview]") -> None:
        views = [memoryview(part) for part in parts if len(part)]
        while views:
            sent = self.sock.sendmsg(views)
            while views and sent >= len(views[0]):
                sent -= len(views.pop(0))
            if views and sent:
                views[0] = views[0][sent:]

    # Procedures: each reads its arguments, and gives the unsigned integers of its results. They hold `changed`.

    def _link(self, number: int) -> _Link | None:
        return self.simulator.links.get(number)

    def _create_link(self, call: _Reader) -> tuple[int, ...]:
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
            return 0, link.number, self.simulator.abort_port, _MAX_RECEIVE

    def _destroy_link(self, call: _Reader) -> tuple[int, ...]:
        with self.changed:
            link = self._link(call.uint())
            if link is None:
                return (4,)
            self.simulator.end_link(link)
            return (0,)

    def _wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait for a condition, and for the client to go.

        Raises:
            _Gone: it went.
        """
        end = time.monotonic() + seconds
        while not self.changed.wait_for(condition, max(min(end - time.monotonic(), 0.1), 0)):
            with contextlib.suppress(BlockingIOError):
                if not self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                    raise _Gone
            if time.monotonic() >= end:
                return False
        return True

    def _free(self, link: _Link, timeout: int, wait: bool) -> bool:
        """Wait while another link holds the lock; tell whether it does not any more."""
        simulator = self.simulator
        return self._wait_for(lambda: simulator.lock_holder in (None, link), timeout / 1000 if wait else 0)

    def _lock(self, link: _Link, timeout: int, wait: bool) -> int:
        if not self._free(link, timeout, wait):
            return 11
        self.simulator.lock_holder = link
        return 0

    def _enter(self, number: int, flags: int, lock_timeout: int) -> tuple[int, _Link | None]:
        """Give the error of a call on a link, 0 = none."""
        link = self._link(number)
        if link is None:
            return 4, None
        link.aborted = False
        return (0 if self._free(link, lock_timeout, bool(flags & _WAITLOCK)) else 11), link

    def _write(self, call: _Reader) -> tuple[int, ...]:
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

    def _read(self, call: _Reader) -> tuple[bytes, memoryview]:
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

    def _generic(self, call: _Reader) -> tuple[_Link | None, int]:
        number, flags, lock_timeout, _ = (call.uint() for _ in range(4))
        error, link = self._enter(number, flags, lock_timeout)
        return link, error

    def _read_stb(self, call: _Reader) -> tuple[int, ...]:
        with self.changed:
            link, error = self._generic(call)
            status = self.simulator.scope.status
            return error, 0 if link is None or error else status.STB | (16 if len(link.reply) else 0)

    def _trigger(self, call: _Reader) -> tuple[int, ...]:
        with self.changed:
            link, error = self._generic(call)
            if link is not None and not error:
                self.simulator.take(link, b"*TRG")
            return (error,)

    def _clear(self, call: _Reader) -> tuple[int, ...]:
        with self.changed:
            link, error = self._generic(call)
            if link is not None and not error:
                self.simulator.break_off(link)
                link.aborted = False
            return (error,)

    def _local(self, call: _Reader) -> tuple[int, ...]:
        with self.changed:
            return (self._generic(call)[1],)

    def _device_lock(self, call: _Reader) -> tuple[int, ...]:
        number, flags, timeout = call.uint(), call.uint(), call.uint()
        with self.changed:
            link = self._link(number)
            return (4 if link is None else self._lock(link, timeout, bool(flags & _WAITLOCK)),)

    def _device_unlock(self, call: _Reader) -> tuple[int, ...]:
        with self.changed:
            link = self._link(call.uint())
            if link is None or self.simulator.lock_holder is not link:
                return (4 if link is None else 12,)
            self.simulator.lock_holder = None
            self.changed.notify_all()
            return (0,)

    def _unsupported(self, call: _Reader) -> tuple[int, ...]:
        return (8,)

    def _docmd(self, call: _Reader) -> tuple[int, ...]:
        return 8, 0

    def _abort(self, call: _Reader) -> tuple[int, ...]:
        with self.changed:
            link = self._link(call.uint())
            if link is None:
                return (4,)
            self.simulator.break_off(link)
            return (0,)

    def _get_port(self, call: _Reader) -> tuple[int, ...]:
        program, version, protocol, _ = (call.uint() for _ in range(4))
        ports = {(CORE, 1, 6): self.simulator.port, (ABORT, 1, 6): self.simulator.abort_port}
        return (ports.get((program, version, protocol), 0),)


_PROCEDURES = {
    (CORE, 10): _Connection._create_link,
    (CORE, 11): _Connection._write,
    (CORE, 13): _Connection._read_stb,
    (CORE, 14): _Connection._trigger,
    (CORE, 15): _Connection._clear,
    (CORE, 16): _Connection._local,
    (CORE, 17): _Connection._local,
    (CORE, 18): _Connection._device_lock,
    (CORE, 19): _Connection._device_unlock,
    (CORE, 20): _Connection._unsupported,
    (CORE, 22): _Connection._docmd,
    (CORE, 23): _Connection._destroy_link,
    (CORE, 25): _Connection._unsupported,
    (CORE, 26): _Connection._unsupported,
    (ABORT, 1): _Connection._abort,
    (MAPPER, 3): _Connection._get_port,
}
