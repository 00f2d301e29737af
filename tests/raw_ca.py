"""Channel Access by hand: a client of bare sockets that can say anything, also what no client should.

Numbers and layouts are those of the Channel Access protocol specification (EPICS Base, caProto.h and db_access.h).
"""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from enum import IntEnum
from typing import NamedTuple

REPLY = 10.0  # s: deadline of an answer; far more than any takes
MINOR_VERSION = 13
NORMAL, PUTFAIL = 1, 160  # ECA_NORMAL; ECA_PUTFAIL
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
    data_type: int
    count: int
    parameter1: int
    parameter2: int
    payload: bytes

    @property
    def double(self) -> float:
        """The first value of a TIME_DOUBLE payload."""
        return struct.unpack_from(">d", self.payload, 16)[0]


def padded(data: bytes) -> bytes:
    """Fill up to a multiple of 8 bytes."""
    return data + b"\0" * (-len(data) % 8)


def text(characters: str | bytes) -> bytes:
    """Give a text as a payload: ended by NUL, filled up."""
    return padded((characters.encode() if isinstance(characters, str) else characters) + b"\0")


def header(command: int, size: int, data_type: int = 0, count: int = 0, parameter1: int = 0, parameter2: int = 0):
    """Give a header alone, in its long form where size or count need that."""
    if size < 0xFFFF and count < 0xFFFF:
        return struct.pack(">4H2I", command, size, data_type, count, parameter1, parameter2)
    return struct.pack(">4H4I", command, 0xFFFF, data_type, 0, parameter1, parameter2, size, count)


def message(command: int, payload: bytes = b"", **fields: int) -> bytes:
    """Give a whole message; `fields` as of `header`."""
    return header(command, len(payload), **fields) + payload


GREETING = (
    message(Command.VERSION, count=MINOR_VERSION)
    + message(Command.HOST_NAME, text("nowhere"))
    + message(Command.CLIENT_NAME, text("nobody"))
)
ECHO = message(Command.ECHO)
EVENTS_OFF = message(Command.EVENTS_OFF)
EVENTS_ON = message(Command.EVENTS_ON)


def create(name: str | bytes, cid: int = 0) -> bytes:
    return message(Command.CREATE_CHAN, text(name), parameter1=cid, parameter2=MINOR_VERSION)


def clear(sid: int, cid: int = 0) -> bytes:
    return message(Command.CLEAR_CHANNEL, parameter1=sid, parameter2=cid)


def subscribe(sid: int, subscription: int, *, mask: int = DBE_VALUE | DBE_ALARM, count: int = 1) -> bytes:
    payload = struct.pack(">3fHH", 0, 0, 0, mask, 0)
    return message(
        Command.EVENT_ADD, payload, data_type=Type.TIME_DOUBLE, count=count, parameter1=sid, parameter2=subscription
    )


def unsubscribe(sid: int, subscription: int) -> bytes:
    return message(Command.EVENT_CANCEL, data_type=Type.TIME_DOUBLE, count=1, parameter1=sid, parameter2=subscription)


def get(sid: int, ioid: int = 0, *, data_type: int = Type.TIME_DOUBLE, count: int = 1) -> bytes:
    return message(Command.READ_NOTIFY, data_type=data_type, count=count, parameter1=sid, parameter2=ioid)


def put(sid: int, *values: float | str, ioid: int = 0, command: int = Command.WRITE_NOTIFY) -> bytes:
    """Put doubles, or texts as DBR_STRING."""
    if isinstance(values[0], str):
        data_type, payload = Type.STRING, b"".join(value.encode().ljust(40, b"\0") for value in values)
    else:
        data_type, payload = Type.DOUBLE, struct.pack(f">{len(values)}d", *values)
    return message(command, padded(payload), data_type=data_type, count=len(values), parameter1=sid, parameter2=ioid)


def search(name: str | bytes, cid: int, *, reply: int = 5) -> bytes:
    return message(Command.SEARCH, text(name), data_type=reply, count=MINOR_VERSION, parameter1=cid, parameter2=cid)


def messages(buffer: bytearray) -> Iterator[Message]:
    """Take all whole messages from the front of a buffer."""
    offset = 0
    while len(buffer) - offset >= 16:
        command, size, data_type, count, parameter1, parameter2 = struct.unpack_from(">4H2I", buffer, offset)
        start = offset + 16
        if size == 0xFFFF:
            if len(buffer) - offset < 24:
                break
            size, count = struct.unpack_from(">2I", buffer, start)
            start += 8
        if len(buffer) < start + size:
            break
        yield Message(command, data_type, count, parameter1, parameter2, bytes(buffer[start : start + size]))
        offset = start + size
    del buffer[:offset]


class RawClient:
    """One TCP connection to a server at 127.0.0.1.

    Args:
        port: of the server.
        greet: begin as a client should; without, the first message is the caller's.
        receive_buffer: bytes that the kernel takes while nobody reads; None for its own default.
    """

    def __init__(self, port: int, *, greet: bool = True, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(REPLY)
        self._buffer = bytearray()
        self._received: Iterator[Message] = iter(())
        try:
            self.socket.connect(("127.0.0.1", port))
            self.port = self.socket.getsockname()[1]
            if greet:
                self.send(GREETING)
        except OSError:
            self.socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()

    def send(self, *parts: bytes) -> None:
        self.socket.sendall(b"".join(parts))

    def send_as_much_as_goes(self, data: bytes) -> int:
        """Send until the server takes no more or closes; give the number of bytes that it took."""
        sent = 0
        view = memoryview(data)
        self.socket.settimeout(1)
        with suppress(OSError):
            while sent < len(data):
                sent += self.socket.send(view[sent:])
        return sent

    def receive(self, deadline: float = REPLY) -> Message | None:
        """Give the next message, None if the server has closed the connection.

        Raises:
            TimeoutError: nothing came.
        """
        end = time.monotonic() + deadline
        while True:
            for received in self._received:
                return received
            self.socket.settimeout(max(end - time.monotonic(), 1e-3))
            try:
                data = self.socket.recv(1 << 18)
            except ConnectionError:
                return None
            if not data:
                return None
            self._buffer += data
            self._received = messages(self._buffer)

    def until(self, *commands: int, deadline: float = REPLY) -> Message:
        """Give the next message of one of the commands, passing over all others."""
        end = time.monotonic() + deadline
        while True:
            received = self.receive(max(end - time.monotonic(), 1e-3))
            assert received is not None, f"closed by the server while waiting for {commands}"
            if received.command in commands:
                return received

    def channel(self, name: str, cid: int = 0) -> int:
        """Open a channel; give the server's id of it."""
        self.send(create(name, cid))
        while (reply := self.until(Command.CREATE_CHAN, Command.CREATE_CH_FAIL)).parameter1 != cid:
            pass
        assert reply.command == Command.CREATE_CHAN, f"{name} was not created"
        return reply.parameter2

    def channels(self, names: list[str]) -> list[int]:
        """Open many channels at once; give the server's ids of them."""
        self.send(*(create(name, cid) for cid, name in enumerate(names)))
        sids = dict(self.until(Command.CREATE_CHAN)[3:5] for _ in names)
        return [sids[cid] for cid in range(len(names))]

    def echoes(self) -> bool:
        """Whether the server answers an echo; False if it has closed the connection. Silence is an error."""
        with suppress(ConnectionError):
            self.send(ECHO)
        return self._ends_in(Command.ECHO)

    def closed(self, deadline: float = REPLY) -> bool:
        """Wait until the server closes the connection; False if it has not within the deadline."""
        try:
            return not self._ends_in(None, deadline)
        except TimeoutError:
            return False

    def _ends_in(self, command: int | None, deadline: float = REPLY) -> bool:
        end = time.monotonic() + deadline
        while (received := self.receive(max(end - time.monotonic(), 1e-3))) is not None:
            if received.command == command:
                return True
        return False

    def vanish(self) -> None:
        """End without a goodbye: the kernel sends a reset, not a FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class Witness(threading.Thread):
    """A client that behaves, in a thread: it watches counting PVs and reads one again and again.

    Attributes:
        updates: events received, all PVs together.
        lost: values that were jumped over.
        slowest_get: s.
    """

    def __init__(self, port: int, names: list[str]) -> None:
        super().__init__(daemon=True)
        self.updates = self.lost = 0
        self.slowest_get = 0.0
        self._client = RawClient(port)
        sids = self._client.channels(names)
        self._client.send(*(subscribe(sid, number) for number, sid in enumerate(sids)))
        self._sid = sids[0]
        self._last: dict[int, float] = {}
        self._failure: BaseException | None = None
        self._stopping = threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopping.set()
        self.join()
        self._client.socket.close()

    def run(self) -> None:
        try:
            self._watch()
        except BaseException as error:  # noqa: BLE001  (told by `check`)
            self._failure = error

    def _watch(self) -> None:
        asked: float | None = None
        pause_until = 0.0
        while not self._stopping.is_set():
            now = time.monotonic()
            if asked is None and now >= pause_until:
                self._client.send(get(self._sid))
                asked = now
            try:
                received = self._client.receive(0.05)
            except TimeoutError:
                continue
            assert received is not None, "the server closed the connection of a client that behaved"
            if received.command == Command.READ_NOTIFY and asked is not None:
                now = time.monotonic()
                self.slowest_get = max(self.slowest_get, now - asked)
                asked, pause_until = None, now + 0.02
            elif received.command == Command.EVENT_ADD:
                value = received.double
                self.lost += round(value - self._last.get(received.parameter2, value - 1) - 1)
                self._last[received.parameter2] = value
                self.updates += 1
            if asked is not None:
                self.slowest_get = max(self.slowest_get, time.monotonic() - asked)

    def more(self, updates: int, deadline: float = REPLY) -> None:
        """Wait for so many more updates."""
        wanted, end = self.updates + updates, time.monotonic() + deadline
        while self.updates < wanted:
            if self._failure is not None:
                raise AssertionError("the witness was hurt") from self._failure
            assert time.monotonic() < end, f"{updates} more updates did not come within {deadline} s"
            time.sleep(0.005)

    def check(self, slowest_get: float = 1.0) -> None:
        """Fail if it lost an update, or had to wait."""
        if self._failure is not None:
            raise AssertionError("the witness was hurt") from self._failure
        assert self.lost == 0, f"a client that behaved lost {self.lost} of {self.updates} updates"
        assert self.slowest_get < slowest_get, f"a client that behaved waited {self.slowest_get:.2f} s for a get"
