"""A serial port over Telnet, the client's half without a wire: bytes in, data and answers out.

Sources: RFC 854 and 855 (Telnet, its options and subnegotiations), RFC 856 (binary transmission), RFC 858 (suppress go
ahead), RFC 2217 (com port control). Of the server's own notices (line and modem state, flow control) none is used.
"""

import re

from drivers.errors import ProtocolError

IAC = 255
SE, SB, WILL, WONT, DO, DONT = 240, 250, 251, 252, 253, 254
BINARY, SUPPRESS_GO_AHEAD, COM_PORT = 0, 3, 44
SET_BAUDRATE, SET_DATASIZE, SET_PARITY, SET_STOPSIZE, SET_CONTROL, PURGE_DATA = 1, 2, 3, 4, 5, 12
SERVER = 100  # the server answers command n with n + 100
LONGEST = 1024  # bytes of a subnegotiation; those of RFC 2217 have a few, but for a server's signature

_PARITIES = {"N": 1, "O": 2, "E": 3, "M": 4, "S": 5}
_STOP_BITS = {"1": 1, "2": 2, "1.5": 3}
_XONXOFF = {"off": 1, "on": 2}
_DTR = {"on": 8, "off": 9}
_SUBNEGOTIATION = re.compile(rb"\xff\xfa((?:[^\xff]|\xff\xff)*)\xff\xf0", re.DOTALL)
_ACCEPTED = {(DO, BINARY), (WILL, BINARY), (DO, SUPPRESS_GO_AHEAD), (WILL, SUPPRESS_GO_AHEAD), (DO, COM_PORT)}
_YES = {DO: WILL, WILL: DO, DONT: WONT, WONT: DONT}
_NO = {DO: WONT, WILL: DONT}


class Telnet:
    """The client's end of one connection.

    Attributes:
        answers: bytes that must be sent to the server; whoever sends them empties it.
        serves_ports: the server has agreed to be told about its port; None while it has said nothing.
        said: (command of RFC 2217, value) that the server has confirmed, in their order.
    """

    def __init__(self) -> None:
        self.answers = bytearray()
        self.serves_ports: bool | None = None
        self.said: list[tuple[int, bytes]] = []
        self._rest = b""
        self._agreed: set[tuple[int, int]] = set()  # what we have said yes to, or asked for

    def begin(self) -> bytes:
        """Give the bytes that ask the server for a transparent line and for its port."""
        asked = [(WILL, COM_PORT), (WILL, BINARY), (DO, BINARY), (WILL, SUPPRESS_GO_AHEAD), (DO, SUPPRESS_GO_AHEAD)]
        self._agreed = set(asked)
        return b"".join(bytes((IAC, verb, option)) for verb, option in asked)

    def feed(self, raw: bytes) -> bytes:
        """Take what has come, in any pieces; give the data in it.

        Raises:
            ProtocolError: a subnegotiation that does not end: no Telnet.
        """
        self._rest += raw
        data = bytearray()
        while True:
            plain, mark, rest = self._rest.partition(b"\xff")
            data += plain
            self._rest = mark + rest
            length = self._command(data)
            if length == 0:
                return bytes(data)
            self._rest = self._rest[length:]

    def _command(self, data: bytearray) -> int:
        """Obey the command at the head of what is left; give its length, 0 while it is not complete."""
        head = self._rest
        if len(head) < 2:
            return 0
        if head[1] == IAC:
            data.append(IAC)
            return 2
        if head[1] in _YES:
            if len(head) < 3:
                return 0
            self._negotiate(head[1], head[2])
            return 3
        if head[1] != SB:
            return 2  # no operation, go ahead, ...: nothing to a serial line
        match = _SUBNEGOTIATION.match(head)
        if match is None:
            if len(head) > LONGEST:
                raise ProtocolError(f"a Telnet subnegotiation does not end: {head[:80]!r}")
            return 0
        body = match[1].replace(b"\xff\xff", b"\xff")
        if len(body) >= 2 and body[0] == COM_PORT and body[1] >= SERVER:
            self.said.append((body[1] - SERVER, body[2:]))
        return match.end()

    def _negotiate(self, verb: int, option: int) -> None:
        """Answer what is new and nothing else (RFC 854: an acknowledgement is never acknowledged)."""
        answer = (_YES[verb], option)
        if option == COM_PORT and verb in (DO, DONT):
            self.serves_ports = verb == DO
        if verb in _NO:
            if answer in self._agreed:
                return
            if (verb, option) in _ACCEPTED:
                self._agreed.add(answer)
            else:
                answer = (_NO[verb], option)
        else:
            agreed = (WILL if verb == DONT else DO, option)
            if agreed not in self._agreed:
                return
            self._agreed.remove(agreed)
        self.answers += bytes((IAC, *answer))


def escape(data: bytes) -> bytes:
    """Give `data` as it travels: a byte 255 twice."""
    return data.replace(b"\xff", b"\xff\xff")


def settings(baud: int, frame: str, xonxoff: str, dtr: str) -> list[tuple[int, bytes]]:
    """Give the commands (number, value) that set a port up and empty it.

    Args:
        baud: bits per second.
        frame: data bits, parity, stop bits, e.g. "8N1".
        xonxoff: "on" or "off".
        dtr: "on", "off", or "keep" for no command.
    """
    return [
        (SET_BAUDRATE, baud.to_bytes(4, "big")),
        (SET_DATASIZE, bytes([int(frame[0])])),
        (SET_PARITY, bytes([_PARITIES[frame[1]]])),
        (SET_STOPSIZE, bytes([_STOP_BITS[frame[2:]]])),
        (SET_CONTROL, bytes([_XONXOFF[xonxoff]])),
        *([(SET_CONTROL, bytes([_DTR[dtr]]))] if dtr in _DTR else []),
        (PURGE_DATA, b"\x01"),  # what the server has received from the box and not sent on
    ]


def command(number: int, value: bytes) -> bytes:
    """Give one command of RFC 2217 as it travels."""
    return bytes((IAC, SB, COM_PORT, number)) + escape(value) + bytes((IAC, SE))
