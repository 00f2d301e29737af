"""The wire to one box: one address syntax, one owner, a deadline on every wait, and the back-off between attempts.

A `Link` is an exclusive byte connection. Its face fits every transport: what has a descriptor (sockets, serial ports)
is waited for in the event loop, what blocks (opening and closing a serial port, vendor libraries) has a thread of its
own behind the same five verbs.
"""

import importlib
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol
from urllib.parse import parse_qsl, urlencode

TRANSPORTS = {
    "tcp": ("drivers.tcp_link", "TcpLink"),
    "serial": ("drivers.serial_link", "SerialLink"),
    "rfc2217": ("drivers.rfc2217_link", "Rfc2217Link"),
    "udp": ("drivers.udp_link", "UdpLink"),
}

_FRAME = r"[5-8][NEOMS](1|1\.5|2)"
_LINE = {
    "baud": (r"[1-9]\d{0,7}", "bits per second, for example 9600"),
    "frame": (_FRAME, "data bits 5 to 8, parity N E O M S, stop bits 1 1.5 2, for example 8N1"),
    "xonxoff": (r"on|off", "on, off"),
}
OPTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "tcp": {},
    "serial": {**_LINE, "dtr": (r"keep|on|off|hupcl-off", "keep, on, off, hupcl-off")},
    "rfc2217": {**_LINE, "dtr": (r"keep|on|off", "keep, on, off")},
    "udp": {
        "commands": (r"on|off", "on (it is asked), off (it sends to this port of ours by itself)"),
        "interface": (r"\d+\.\d+\.\d+\.\d+", "the IPv4 address of ours at which to listen"),
    },
}
"""What may follow the `?` of each scheme: option -> pattern of its values, and the same in words."""


@dataclass(frozen=True)
class Address:
    """Where a box is: `tcp://host:port`, `serial:///dev/...`, with options as in a URL (`?key=value&key=value`).

    Attributes:
        scheme: transport, e.g. "tcp".
        host: name or IP address; empty where the scheme has a path instead.
        port: TCP port, or None where none was written.
        options: the `?key=value` part.
        path: absolute path of a serial port; else empty.
    """

    scheme: str
    host: str = ""
    port: int | None = None
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    path: str = ""

    def __str__(self) -> str:
        """Give the address back in the syntax it is written in."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        options = urlencode(self.options, safe="/:,@")
        return f"{self.scheme}://{host}{port}{self.path}" + (f"?{options}" if options else "")


_ADDRESS = re.compile(
    r"(?P<scheme>[a-z0-9]+)://"
    r"(?:\[(?P<v6>[0-9a-fA-F:.]+(?:%[\w.-]+)?)\]|(?P<host>[^\[\]:/?#\s]+))?"
    r"(?::(?P<port>\d+))?"
    r"(?P<path>/[^?#\s]*)?"
    r"(?:\?(?P<options>[^#\s]*))?"
)
_EXAMPLES = {
    "tcp": "tcp://192.168.0.20:4712",
    "serial": "serial:///dev/serial/by-id/usb-...?baud=115200",
    "rfc2217": "rfc2217://192.168.0.20:4001?baud=9600",
    "udp": "udp://192.168.0.20:4713",
}


def parse_address(text: str, default_port: int | None = None) -> Address:
    """Read an address such as `tcp://192.168.0.20:4712` or `serial:///dev/serial/by-id/usb-...?baud=115200`.

    Args:
        text: the address as written in the site file or on a command line.
        default_port: the port to use where none is written; a serial port has none.

    Raises:
        ValueError: the text is not an address, or its scheme, an option or an option's value is not known here; the
            message says what is.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an address: write scheme://host:port, for example {_EXAMPLES['tcp']}")
    scheme, host, path = match["scheme"], match["v6"] or match["host"] or "", match["path"] or ""
    if scheme not in TRANSPORTS:
        raise ValueError(f"{text!r}: links of the kind {scheme!r} are not known here; known: {', '.join(TRANSPORTS)}")
    on_host = scheme != "serial"
    if on_host != bool(host) or on_host == bool(path) or (match["port"] and not on_host):
        raise ValueError(f"{text!r} is not an address of the kind {scheme!r}: write for example {_EXAMPLES[scheme]}")
    port = None
    if on_host:
        port = int(match["port"]) if match["port"] else default_port
        if port is None:
            raise ValueError(f"{text!r} has no port: write {scheme}://host:port")
        if not 0 < port < 65536:
            raise ValueError(f"{text!r}: port {port} is not within 1..65535")
    return Address(scheme, host, port, _options(text, scheme, match["options"] or ""), path)


def _options(text: str, scheme: str, written: str) -> Mapping[str, str]:
    known = OPTIONS[scheme]
    options: dict[str, str] = {}
    for name, value in parse_qsl(written, keep_blank_values=True):
        if name not in known:
            which = f"known: {', '.join(known)}" if known else f"{scheme}:// has none"
            raise ValueError(f"{text!r}: there is no option {name!r}; {which}")
        pattern, words = known[name]
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{text!r}: option {name} cannot be {value!r}; it may be: {words}")
        if name in options:
            raise ValueError(f"{text!r}: option {name} is given twice")
        options[name] = value
    return MappingProxyType(options)


class Datagram(bytes):
    """Bytes that came as one datagram: what is in it does not go on in the next one."""


class Link(Protocol):
    """An exclusive connection to one box. Every wait has a deadline in seconds; every failure is a LinkError.

    After a LinkTimeout from `exchange` or `write` the link has closed itself: a late answer must never be taken for the
    answer to the next question. A LinkTimeout from `read` leaves the link as it was: nothing came, nothing was lost.
    """

    address: Address

    async def open(self, timeout: float) -> None:
        """Connect. Opening an open link is an error of the caller."""
        ...

    async def read(self, timeout: float) -> bytes:
        """Wait for bytes; give all that are there, at least one (or one `Datagram`)."""
        ...

    async def write(self, data: bytes, timeout: float) -> None:
        """Send all of `data`."""
        ...

    async def drop(self) -> int:
        """Drop what lies unread; give the number of bytes. Waits for nothing."""
        ...

    async def exchange(self, request: bytes, length: Callable[[bytes], int | None], timeout: float) -> bytes:
        """Send `request` and wait for its reply.

        Bytes that lie unread before the request belong to no question and are dropped.

        Args:
            request: the bytes to send.
            length: given what has come so far, the length of the complete reply, or None while it is not complete.
            timeout: seconds for the whole exchange.
        """
        ...

    async def close(self) -> None:
        """Let go of the box. Never raises; closing a closed link does nothing."""
        ...


def make_link(address: Address) -> Link:
    """Give the (closed) link for an address. What a transport needs is imported with its first link."""
    module, name = TRANSPORTS[address.scheme]
    return getattr(importlib.import_module(module), name)(address)


def reason(error: OSError) -> str:
    """Say an OSError the way a person wants to read it, with what to try."""
    cures = {
        ConnectionRefusedError: "connection refused: the host is there, but nothing listens on that port",
        ConnectionResetError: "connection reset by the peer",
        BrokenPipeError: "connection closed by the peer",
    }
    for kind, text in cures.items():
        if isinstance(error, kind):
            return text
    return error.strerror or str(error) or type(error).__name__


class Backoff:
    """How long to wait before the next attempt: doubling from `first` to `longest`, spread by a fifth at random.

    Attributes:
        first: seconds before the second attempt.
        longest: seconds that the wait never exceeds.
    """

    def __init__(self, first: float = 0.1, longest: float = 15.0) -> None:
        self.first = first
        self.longest = longest
        self._next = first

    def next(self) -> float:
        """Give the seconds to wait now, and make the next wait longer."""
        wait, self._next = self._next, min(self._next * 2, self.longest)
        return wait * random.uniform(0.8, 1.0)

    def reset(self) -> None:
        """Start again with the shortest wait: the box has answered."""
        self._next = self.first
