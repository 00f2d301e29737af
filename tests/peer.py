"""A Channel Access client of bytes, from any address of this host: what a server does with it is seen as it is."""

import itertools
import socket
import struct
import time
from dataclasses import dataclass

from tests.processes import DEADLINE

HEADER = struct.Struct(">HHHHII")
EVENT, READ_NOTIFY, CREATE, WRITE_NOTIFY, USER, HOST, RIGHTS = 1, 15, 18, 19, 20, 21, 22
DOUBLE = 6
NORMAL, NO_READ, NO_WRITE = 1, 368, 376  # ECA_NORMAL, ECA_NORDACCESS, ECA_NOWTACCESS (caerr.h)


@dataclass(frozen=True)
class Message:
    command: int
    dtype: int
    count: int
    first: int
    second: int
    body: bytes

    @property
    def double(self) -> float:
        return struct.unpack(">d", self.body[:8])[0]


class RawClient:
    """A circuit to the server at `port` of 127.0.0.1, from `address`, claiming to be `user`."""

    def __init__(self, port: int, address: str = "127.0.0.1", user: str = "anna") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE, source_address=(address, 0))
        self.peer = "{}:{}".format(*self.socket.getsockname())
        self._unread = b""
        self._messages: list[Message] = []
        self._numbers = itertools.count(1)
        try:
            self.send(0, b"", count=13)
            self.claim(user)
        except OSError:
            self.socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()

    def send(self, command: int, body: bytes = b"", dtype: int = 0, count: int = 0, first: int = 0, second: int = 0):
        body += bytes(-len(body) % 8)
        self.socket.sendall(HEADER.pack(command, len(body), dtype, count, first, second) + body)

    def claim(self, user: str) -> None:
        """Say (again) who and where one is."""
        self.send(HOST, b"somewhere-else\0")
        self.send(USER, user.encode() + b"\0")

    def open(self, name: str) -> tuple[int, int]:
        """Open a channel; give its number on the server's side and the rights told (1 read, 2 write)."""
        cid = next(self._numbers)
        self.send(CREATE, name.encode() + b"\0", first=cid, second=13)
        rights = self.rights(cid)
        return self.until(lambda m: m.command == CREATE and m.first == cid).second, rights

    def rights(self, cid: int) -> int:
        """Wait for rights being told for a channel."""
        return self.until(lambda m: m.command == RIGHTS and m.first == cid).second

    def get(self, sid: int) -> Message:
        """Give the reply to a get; the status is `first`."""
        number = next(self._numbers)
        self.send(READ_NOTIFY, dtype=DOUBLE, count=1, first=sid, second=number)
        return self.until(lambda m: m.command == READ_NOTIFY and m.second == number)

    def put(self, sid: int, value: float) -> int:
        """Give the status of a put."""
        return self.put_status(self.begin_put(sid, value))

    def begin_put(self, sid: int, value: float) -> int:
        """Ask for a put; give its number."""
        number = next(self._numbers)
        self.send(WRITE_NOTIFY, struct.pack(">d", value), DOUBLE, 1, sid, number)
        return number

    def put_status(self, number: int) -> int:
        """Wait for the end of a put; give its status."""
        return self.until(lambda m: m.command == WRITE_NOTIFY and m.second == number).first

    def monitor(self, sid: int) -> int:
        """Subscribe to all events of a channel; give the number of the subscription."""
        number = next(self._numbers)
        self.send(EVENT, struct.pack(">fffHH", 0, 0, 0, 7, 0), DOUBLE, 1, sid, number)
        return number

    def event(self, number: int) -> Message:
        """Wait for an event; the status is `first`."""
        return self.until(lambda m: m.command == EVENT and m.second == number)

    def until(self, condition) -> Message:
        """Wait for a message; what came before it and did not fit stays for others."""
        end = time.monotonic() + DEADLINE
        while True:
            for message in self._messages:
                if condition(message):
                    self._messages.remove(message)
                    return message
            if time.monotonic() > end:
                raise AssertionError(f"no such message within {DEADLINE} s; there were {self._messages}")
            self._receive()

    def _receive(self) -> None:
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionError("the server closed the circuit")
        self._unread += data
        while len(self._unread) >= 16:
            command, size, dtype, count, first, second = HEADER.unpack(self._unread[:16])
            if len(self._unread) < 16 + size:
                return
            body, self._unread = self._unread[16 : 16 + size], self._unread[16 + size :]
            self._messages.append(Message(command, dtype, count, first, second, body))
