"""Channel Access by hand: a client of bare sockets that can say anything, also what no client should.

Numbers and layouts are those of the Channel Access protocol specification (EPICS Base, caProto.h and db_access.h).
"""

import itertools
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import IntEnum
from typing import NamedTuple

from tests.processes import DEADLINE

HEADER = struct.Struct(">4H2I")
MINOR_VERSION = 13
NORMAL, TOLARGE, PUTFAIL, NORDACCESS, NOWTACCESS = 1, 72, 160, 368, 376  # ECA_..., caerr.h
DBE_VALUE, DBE_LOG, DBE_ALARM, DBE_PROPERTY = 1, 2, 4, 8


class Command(IntEnum):
    VERSION = 0
    EVENT_ADD = 1
    EVENT_CANCEL = 2
    WRITE = 4
    SEARCH = 6
    EVENTS_OFF = 8
    EVENTS_ON = 9
    ERROR = 11
    CLEAR_CHANNEL = 12
    NOT_FOUND = 14
    READ_NOTIFY = 15
    CREATE_CHAN = 18
    WRITE_NOTIFY = 19
    CLIENT_NAME = 20
    HOST_NAME = 21
    ACCESS_RIGHTS = 22
    ECHO = 23
    CREATE_CH_FAIL = 26
    SERVER_DISCONN = 27


class Type(IntEnum):
    STRING = 0
    DOUBLE = 6
    TIME_CHAR = 18
    TIME_DOUBLE = 20
    CTRL_DOUBLE = 34


class Message(NamedTuple):
    command: int
    dtype: int
    count: int
    first: int
    second: int
    body: bytes

    @property
    def double(self) -> float:
        """The first value of a DOUBLE or TIME_DOUBLE."""
        return struct.unpack_from(">d", self.body, 16 if self.dtype == Type.TIME_DOUBLE else 0)[0]

    @property
    def severity(self) -> int:
        """Of any TIME type."""
        return struct.unpack_from(">H", self.body, 2)[0]


def padded(data: bytes) -> bytes:
    """Fill up to a multiple of 8 bytes."""
    return data + bytes(-len(data) % 8)


def text(characters: str | bytes) -> bytes:
    """Give a text as a body: ended by NUL, filled up."""
    return padded((characters.encode() if isinstance(characters, str) else characters) + b"\0")


def header(command: int, size: int, dtype: int = 0, count: int = 0, first: int = 0, second: int = 0) -> bytes:
    """Give a header alone, in its long form where size or count need that."""
    if size < 0xFFFF and count < 0xFFFF:
        return HEADER.pack(command, size, dtype, count, first, second)
    return HEADER.pack(command, 0xFFFF, dtype, 0, first, second) + struct.pack(">2I", size, count)


def message(command: int, body: bytes = b"", dtype: int = 0, count: int = 0, first: int = 0, second: int = 0) -> bytes:
    """Give a whole message."""
    body = padded(body)
    return header(command, len(body), dtype, count, first, second) + body


def claim(user: str) -> bytes:
    """Say (again) who and where one is."""
    return message(Command.HOST_NAME, text("nowhere")) + message(Command.CLIENT_NAME, text(user))


VERSION = message(Command.VERSION, count=MINOR_VERSION)
GREETING = VERSION + claim("nobody")
ECHO = message(Command.ECHO)
EVENTS_OFF = message(Command.EVENTS_OFF)
EVENTS_ON = message(Command.EVENTS_ON)


def create(name: str | bytes, cid: int = 0) -> bytes:
    return message(Command.CREATE_CHAN, text(name), first=cid, second=MINOR_VERSION)


def clear(sid: int, cid: int = 0) -> bytes:
    return message(Command.CLEAR_CHANNEL, first=sid, second=cid)


def subscribe(
    sid: int, number: int, mask: int = DBE_VALUE | DBE_ALARM, dtype: int = Type.TIME_DOUBLE, count: int = 1
) -> bytes:
    return message(Command.EVENT_ADD, struct.pack(">3fHH", 0, 0, 0, mask, 0), dtype, count, sid, number)


def unsubscribe(sid: int, number: int) -> bytes:
    return message(Command.EVENT_CANCEL, b"", Type.TIME_DOUBLE, 1, sid, number)


def get(sid: int, ioid: int = 0, dtype: int = Type.TIME_DOUBLE, count: int = 1) -> bytes:
    return message(Command.READ_NOTIFY, b"", dtype, count, sid, ioid)


def put(sid: int, *values: float | str, ioid: int = 0, command: int = Command.WRITE_NOTIFY) -> bytes:
    """Put doubles, or texts as DBR_STRING."""
    if isinstance(values[0], str):
        dtype, body = Type.STRING, b"".join(value.encode().ljust(40, b"\0") for value in values)
    else:
        dtype, body = Type.DOUBLE, struct.pack(f">{len(values)}d", *values)
    return message(command, body, dtype, len(values), sid, ioid)


def search(name: str | bytes, cid: int, *, reply: int = 5) -> bytes:
    return message(Command.SEARCH, text(name), reply, MINOR_VERSION, cid, cid)


def messages(buffer: bytearray) -> Iterator[Message]:
    """Take all whole messages from the front of a buffer."""
    offset = 0
    while len(buffer) - offset >= 16:
        command, size, dtype, count, first, second = HEADER.unpack_from(buffer, offset)
        start = offset + 16
        if size == 0xFFFF:
            if len(buffer) - offset < 24:
                break
            size, count = struct.unpack_from(">2I", buffer, start)
            start += 8
        if len(buffer) < start + size:
            break
        yield Message(command, dtype, count, first, second, bytes(buffer[start : start + size]))
        offset = start + size
    del buffer[:offset]


class RawClient:
    """One TCP connection to a server. Whatever waits fails with TimeoutError after the deadline.

    Args:
        port: of the server.
        address: this host's, from which to come.
        user: whom to claim to be.
        server: its address.
        greet: begin as a client should; without, the first message is the caller's.
        receive_buffer: bytes that the kernel takes while nobody reads; None for its own default.

    Attributes:
        seen: messages that were passed over while others were waited for.
    """

    def __init__(
        self,
        port: int,
        address: str = "127.0.0.1",
        user: str = "nobody",
        *,
        server: str = "127.0.0.1",
        greet: bool = True,
        receive_buffer: int | None = None,
    ) -> None:
        self.seen: list[Message] = []
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(DEADLINE)
        self._buffer = bytearray()
        self._received: deque[Message] = deque()
        self._numbers = itertools.count(1)
        try:
            self.socket.bind((address, 0))
            self.socket.connect((server, port))
            self.port = self.socket.getsockname()[1]
            self.peer = f"{address}:{self.port}"
            if greet:
                self.send(VERSION, claim(user))
        except OSError:
            self.socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()

    def send(self, *parts: bytes) -> None:
        self.socket.sendall(b"".join(parts))

    def say(self, command: int, body: bytes = b"", dtype=0, count=0, first=0, second=0) -> None:
        """Send one message."""
        self.send(message(command, body, dtype, count, first, second))

    def send_as_much_as_goes(self, data: bytes) -> int:
        """Send until the server takes no more or closes; give the number of bytes that it took."""
        sent = 0
        view = memoryview(data)
        self.socket.settimeout(1)
        with suppress(OSError):
            while sent < len(data):
                sent += self.socket.send(view[sent:])
        return sent

    # What comes

    def receive(self, deadline: float = DEADLINE) -> Message | None:
        """Give the next message, None if the server has closed the connection."""
        end = time.monotonic() + deadline
        while not self._received:
            self.socket.settimeout(max(end - time.monotonic(), 1e-3))
            if not self._read():
                return None
        return self._received.popleft()

    def receive_once(self) -> list[Message]:
        """Give the messages that one read of the socket brings."""
        self._read()
        received = list(self._received)
        self._received.clear()
        return received

    def _read(self) -> bool:
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionError:
            return False
        self._buffer += data
        self._received.extend(messages(self._buffer))
        return bool(data)

    def until(
        self, *commands: int, where: Callable[[Message], object] = lambda _: True, deadline: float = DEADLINE
    ) -> Message:
        """Give the next message of one of the commands; those before it are kept in `seen`."""
        end = time.monotonic() + deadline
        while True:
            received = self.receive(max(end - time.monotonic(), 1e-3))
            if received is None:
                raise ConnectionError(f"closed by the server while waiting for {commands}")
            if received.command in commands and where(received):
                return received
            self.seen.append(received)

    def synchronise(self) -> list[Message]:
        """Give all that the server has sent up to now and that was not waited for."""
        self.send(ECHO)
        self.until(Command.ECHO)
        seen, self.seen = self.seen, []
        return seen

    def echoes(self) -> bool:
        """Whether the server answers an echo; False if it has closed the connection. Silence is an error."""
        with suppress(ConnectionError):
            self.send(ECHO)
        return self._ends_in(Command.ECHO)

    def closed(self, deadline: float = DEADLINE) -> bool:
        """Wait until the server closes the connection; False if it has not within the deadline."""
        try:
            return not self._ends_in(None, deadline)
        except TimeoutError:
            return False

    def _ends_in(self, command: int | None, deadline: float = DEADLINE) -> bool:
        end = time.monotonic() + deadline
        while (received := self.receive(max(end - time.monotonic(), 1e-3))) is not None:
            if received.command == command:
                return True
        return False

    # What a client does

    def create(self, name: str, cid: int | None = None) -> int | None:
        """Open a channel; give the server's id of it, None if the server refuses."""
        cid = next(self._numbers) if cid is None else cid
        self.send(create(name, cid))
        reply = self.until(Command.CREATE_CHAN, Command.CREATE_CH_FAIL, where=lambda each: each.first == cid)
        return reply.second if reply.command == Command.CREATE_CHAN else None

    def channel(self, name: str, cid: int | None = None) -> int:
        """Open a channel that there is; give the server's id of it."""
        sid = self.create(name, cid)
        assert sid is not None, f"{name} was not created"
        return sid

    def channels(self, names: list[str]) -> list[int]:
        """Open many channels at once; give the server's ids of them."""
        self.send(*(create(name, cid) for cid, name in enumerate(names)))
        sids = dict(self.until(Command.CREATE_CHAN)[3:5] for _ in names)
        return [sids[cid] for cid in range(len(names))]

    def open(self, name: str) -> tuple[int, int]:
        """Open a channel; give the server's id of it and the rights told (1 read, 2 write)."""
        cid = next(self._numbers)
        sid = self.channel(name, cid)
        told = ((each.command, each.first, each.second) for each in reversed(self.seen))
        return sid, next(rights for command, of, rights in told if (command, of) == (Command.ACCESS_RIGHTS, cid))

    def rights(self, cid: int) -> int:
        """Wait for rights being told for a channel."""
        return self.until(Command.ACCESS_RIGHTS, where=lambda each: each.first == cid).second

    def subscribe(
        self,
        sid: int,
        number: int | None = None,
        mask: int = DBE_VALUE | DBE_ALARM,
        dtype: int = Type.TIME_DOUBLE,
        count: int = 0,
    ) -> int:
        """Subscribe; give the number of the subscription."""
        number = next(self._numbers) if number is None else number
        self.send(subscribe(sid, number, mask, dtype, count))
        return number

    def event(self, number: int) -> Message:
        """Wait for an event; the status is `first`."""
        return self.until(Command.EVENT_ADD, where=lambda each: each.second == number)

    def events(self) -> list[Message]:
        """Give the events that have come up to now."""
        return [each for each in self.synchronise() if each.command == Command.EVENT_ADD]

    def get(self, sid: int, dtype: int = Type.DOUBLE, count: int = 0) -> Message:
        """Give the reply to a get; the status is `first`."""
        ioid = next(self._numbers)
        self.send(get(sid, ioid, dtype, count))
        return self.until(Command.READ_NOTIFY, where=lambda each: each.second == ioid)

    def begin_put(self, sid: int, value: float | bytes, dtype: int = Type.DOUBLE, count: int = 1) -> int:
        """Ask for a put of a double, or of bytes; give its number."""
        ioid = next(self._numbers)
        body = value if isinstance(value, bytes) else struct.pack(">d", value)
        self.say(Command.WRITE_NOTIFY, body, dtype, count, sid, ioid)
        return ioid

    def put_status(self, ioid: int) -> int:
        """Wait for the end of a put; give its status."""
        return self.until(Command.WRITE_NOTIFY, where=lambda each: each.second == ioid).first

    def put(self, sid: int, value: float | bytes, dtype: int = Type.DOUBLE, count: int = 1) -> tuple[int, str]:
        """Put and wait; give the status and the reason of a refusal."""
        self.seen.clear()
        status = self.put_status(self.begin_put(sid, value, dtype, count))
        reasons = [each.body[16:].split(b"\0")[0].decode() for each in self.seen if each.command == Command.ERROR]
        return status, reasons[0] if reasons else ""

    def vanish(self) -> None:
        """End without a goodbye, if it has not ended: the kernel sends a reset, not a FIN."""
        if self.socket.fileno() < 0:
            return
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()
