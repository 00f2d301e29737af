"""Channel Access messages: numbers and headers (EPICS Base, caProto.h)."""

import struct
from typing import NamedTuple

import caproto as ca

VERSION, EVENT, EVENT_CANCEL, READ, WRITE, SEARCH = 0, 1, 2, 3, 4, 6
EVENTS_OFF, EVENTS_ON, READ_SYNC, ERROR, CLEAR, BEACON, NOT_FOUND, READ_NOTIFY = 8, 9, 10, 11, 12, 13, 14, 15
CREATE, WRITE_NOTIFY, USER, HOST, ACCESS_RIGHTS, ECHO, CREATE_FAILED, SERVER_DISCONNECT = 18, 19, 20, 21, 22, 23, 26, 27

MINOR = 13  # protocol version 4.13
ANY_ADDRESS = 0xFFFFFFFF  # in a search reply: the address that it comes from
REPLY_WANTED = 10  # in a search: say so too if the name is not found
HEADER = struct.Struct(">HHHHII")  # command, size of the body, DBR type, count, two parameters
LONG_HEADER = struct.Struct(">HHHHIIII")
LONG_SIZES = struct.Struct(">II")
REPLIES_A_DATAGRAM = 50  # search replies of 24 bytes that fit in an Ethernet frame


class Request(NamedTuple):
    """A client's message; what the two parameters are depends on the command."""

    command: int
    dtype: int
    elements: int
    first: int
    second: int
    body: bytes = b""

    @property
    def head(self) -> bytes:
        """The header, as an error message repeats it."""
        size, elements = min(len(self.body), 0xFFFF), min(self.elements, 0xFFFF)
        return HEADER.pack(self.command, size, self.dtype, elements, self.first, self.second)


class Late(Exception):
    """A request for a channel that is closed already; it is passed over."""


class Malformed(Exception):
    """A client broke the protocol; its circuit is closed."""


def code(status: ca.CAStatus) -> int:
    """Give a status as it stands in a message."""
    return status.value.code_with_severity


NORMAL = code(ca.CAStatus.ECA_NORMAL)
NO_READ = code(ca.CAStatus.ECA_NORDACCESS)
NO_WRITE = code(ca.CAStatus.ECA_NOWTACCESS)
NO_MEMORY = code(ca.CAStatus.ECA_ALLOCMEM)
TOO_LARGE = code(ca.CAStatus.ECA_TOLARGE)
BAD_COUNT = code(ca.CAStatus.ECA_BADCOUNT)
GET_FAILED = code(ca.CAStatus.ECA_GETFAIL)  # never ECA_BADTYPE: its severity makes libca's tools abort
PUT_FAILED = code(ca.CAStatus.ECA_PUTFAIL)


def message(command: int, size: int, dtype: int, count: int, first: int, second: int) -> bytes:
    """Make a header, a long one where size or count ask for it."""
    if size < 0xFFF0 and count < 0xFFFF:
        return HEADER.pack(command, size, dtype, count, first, second)
    return LONG_HEADER.pack(command, 0xFFFF, dtype, 0, first, second, size, count)


def padded(text: bytes) -> bytes:
    """End text with NUL and fill it up to 8 bytes."""
    return text + bytes(8 - len(text) % 8)


def text(body: bytes) -> str:
    """Give the text of a body (UTF-8, as in the site file), up to its NUL."""
    return body.split(b"\0", 1)[0].decode(errors="replace")


def found(port: int, address: int, cid: int) -> bytes:
    """Make a search reply."""
    return HEADER.pack(SEARCH, 8, port, 0, address, cid) + b"\0" + bytes([MINOR]) + bytes(6)


def version(sequence: int | None = None) -> bytes:
    """Make a version message, with the number of the datagram that is answered."""
    return HEADER.pack(VERSION, 0, sequence is not None, MINOR, sequence or 0, 0)
