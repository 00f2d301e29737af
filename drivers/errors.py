"""What a driver may raise: one family, told apart by whose fault it is.

Every message says what happened, where (address, bytes) and what to try.
"""


class DriverError(Exception):
    """Anything that went wrong between us and a box."""


class LinkError(DriverError):
    """The wire: cannot connect, closed by the peer, cable pulled."""


class LinkTimeout(LinkError):
    """The wire: the deadline passed and nothing (or not enough) came."""


class ProtocolError(DriverError):
    """The peer spoke nonsense: bytes that the protocol does not allow."""


class DeviceError(DriverError):
    """The box understood and refused, or reported a fault of its own."""
