"""What clients may ask of the server."""

import os
from dataclasses import dataclass, field


def _message() -> int:
    """Bytes that a put may have: EPICS_CA_MAX_ARRAY_BYTES where it is set, as EPICS servers take it, else 16 MiB."""
    given = os.environ.get("EPICS_CA_MAX_ARRAY_BYTES", "")
    return max(int(given), 16384) + 24 if given.isdigit() else (1 << 24) + 24


@dataclass(frozen=True, slots=True)
class Limits:
    """Attributes:
    circuits: connections at a time, of all clients.
    share: connections at a time from one address.
    greeting: s that a connection may take until it has said its version.
    channels: of one client.
    subscriptions: of one client.
    message: bytes of a put.
    puts: of one client that wait or are being carried out; further ones are refused.
    replies: bytes of replies that a client has not read; the next request is read when it has.
    queue: bytes of queued events that wait for a slow client.
    memory: bytes that all clients together may make the server hold: half of it for puts that wait or are being
        carried out, half for what is not read or has come in part.
    """

    circuits: int = 500
    share: int = 250
    greeting: float = 10.0
    channels: int = 50_000
    subscriptions: int = 50_000
    message: int = field(default_factory=_message)
    puts: int = 1000
    replies: int = 1 << 20
    queue: int = 1 << 22
    memory: int = 1 << 28
