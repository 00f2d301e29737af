"""A web socket on a connection whose HTTP request has been read already.

The frames are the affair of the library `websockets` (BSD, no dependencies, its protocol free of IO): the standard
library has none, and masks, fragments and closing are no place for a first attempt.
"""

import logging
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any

log = logging.getLogger(__name__)
log.setLevel(logging.WARNING)  # the library tells of each that comes and goes

MOST_BYTES = 1 << 20  # of a message from the client


class Absent(Exception):
    """The library is not installed; the text says how it is."""


class NotAccepted(Exception):
    """The request is no handshake; the text says why, and the client has been told."""


class WebSocket:
    """The server's end of a web socket.

    Args:
        connection: of the client; blocking.
        path: of the request.
        headers: of the request.

    Raises:
        Absent: the library `websockets` is not installed.
        NotAccepted: the request is not what it should be; the client has been told.
        OSError: the client went away.
    """

    def __init__(self, connection: socket.socket, path: str, headers: Mapping[str, str]) -> None:
        try:
            from websockets.server import ServerProtocol  # an extra: whoever wants no screens in browsers needs it not
        except ImportError:
            raise Absent("web sockets need one package more: pip install 'countinghouse[web]'") from None
        self._connection = connection
        self._lock = threading.Lock()
        self._protocol: Any = ServerProtocol(max_size=MOST_BYTES, logger=log)
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        self._protocol.receive_data("\r\n".join(lines).encode("latin-1"))
        requests = self._protocol.events_received()
        if not requests:
            raise NotAccepted("the request cannot be read")
        answer = self._protocol.accept(requests[0])
        self._protocol.send_response(answer)
        self._flush()
        if answer.status_code != 101:
            raise NotAccepted(f"status {answer.status_code}")

    def messages(self) -> Iterator[bytes]:
        """Give what the client sends, message by message, until either side ends it.

        Raises:
            OSError: the connection broke.
        """
        from websockets.frames import Opcode

        whole = b""
        while data := self._connection.recv(65536):
            with self._lock:
                self._protocol.receive_data(data)
                events = self._protocol.events_received()
                self._flush()
                ended = self._protocol.close_expected()
            for frame in events:
                if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                    whole += bytes(frame.data)
                    if frame.fin:
                        yield whole
                        whole = b""
            if ended:
                return

    def send(self, text: bytes) -> None:
        """Send one message.

        Raises:
            OSError: the connection broke.
        """
        with self._lock:
            if self._protocol.state.name == "OPEN":
                self._protocol.send_text(text)
                self._flush()

    def close(self) -> None:
        """Say goodbye, if that can still be said."""
        with self._lock:
            if self._protocol.state.name == "OPEN":
                self._protocol.send_close(1001)
                self._flush()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._connection.sendall(data)
            else:
                self._connection.shutdown(socket.SHUT_WR)
