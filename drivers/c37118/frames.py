"""C37.118 frames as typed messages (pure: no wire, no clock).

`decode(bytes) -> Message` and `encode(Message) -> bytes` for data, header, configuration and command frames of editions
2005 (version nibble 1) and 2011 (2). A CFG-3 that needs several frames is cut by `fragments` and put together by
`Fragments`; `encode_whole` gives all bytes of a configuration, `decode_whole` reads them. A frame of the 2024 edition
is refused as unsupported, never decoded with the tables of the older ones.

All words are big-endian. Times are integer nanoseconds since 1970 (UTC, leap seconds not counted).
Source: IEEE C37.118-2005 and C37.118.2-2011, clause 6.
"""

from dataclasses import dataclass
from enum import IntEnum

from drivers.c37118.channels import (
    AnalogChannel,
    Configuration,
    DigitalWord,
    Installation,
    PhasorChannel,
    PmuConfiguration,
    ScaledAnalog,
    ScaledPhasor,
)
from drivers.c37118.configuration import decode_configuration, encode_configuration
from drivers.c37118.configuration3 import (
    BODY,
    Fragment,
    Fragments,
    decode_configuration3,
    encode_body,
    fragments,
)
from drivers.c37118.data import (
    DataFrame,
    NoConfiguration,
    Phasor,
    PmuData,
    Polar,
    Rect,
    StaleConfiguration,
    Stat,
    decode_data,
    encode_data,
    expected_size,
)
from drivers.c37118.envelope import (
    HEAD_SIZE,
    Envelope,
    FrameType,
    TimeQuality,
    UnsupportedEdition,
    excerpt,
    open_envelope,
    seal,
    soc_fracsec,
    time_ns,
)
from drivers.errors import ProtocolError

__all__ = [
    "AnalogChannel",
    "Command",
    "CommandFrame",
    "Configuration",
    "DataFrame",
    "DigitalWord",
    "Fragment",
    "Fragments",
    "FrameType",
    "HeaderFrame",
    "Installation",
    "Message",
    "NoConfiguration",
    "Phasor",
    "PhasorChannel",
    "PmuConfiguration",
    "PmuData",
    "Polar",
    "Rect",
    "ScaledAnalog",
    "ScaledPhasor",
    "StaleConfiguration",
    "Stat",
    "TimeQuality",
    "UnsupportedEdition",
    "command",
    "decode",
    "decode_whole",
    "encode",
    "encode_whole",
    "expected_size",
    "fragments",
    "soc_fracsec",
    "time_ns",
]


class Command(IntEnum):
    """What a client may ask of a PMU (C37.118.2-2011, table 15). There is no error reply to any of them."""

    DATA_OFF = 1
    DATA_ON = 2
    SEND_HEADER = 3
    SEND_CFG1 = 4
    SEND_CFG2 = 5
    SEND_CFG3 = 6
    EXTENDED = 8


@dataclass(frozen=True, slots=True)
class HeaderFrame:
    """A header frame: free text for people."""

    idcode: int
    soc: int
    tq: TimeQuality
    fracsec: int
    text: str
    version: int = 1


@dataclass(frozen=True, slots=True)
class CommandFrame:
    """A command frame. `extended`: user data of command 8 (even length)."""

    idcode: int
    soc: int
    tq: TimeQuality
    fracsec: int
    command: int
    extended: bytes = b""
    version: int = 1


Message = DataFrame | HeaderFrame | CommandFrame | Configuration | Fragment


def decode(frame: bytes, configuration: Configuration | None = None) -> Message:
    """Read exactly one whole frame; its CRC is checked before anything else.

    Args:
        frame: from SYNC to CHK, nothing before or behind.
        configuration: that of the frame's stream; needed for data frames only.

    Raises:
        NoConfiguration: a data frame, and the configuration is missing or that of another IDCODE.
        StaleConfiguration: a data frame of another size than the configuration says.
        UnsupportedEdition: a frame of the 2024 edition.
        ProtocolError: anything else the standard does not allow; the message says what, at which byte, and the bytes.
    """
    envelope = open_envelope(frame)
    if envelope.type is FrameType.DATA:
        return decode_data(envelope, frame, configuration)
    if envelope.type in (FrameType.CFG1, FrameType.CFG2):
        return decode_configuration(envelope, frame)
    head = envelope.idcode, envelope.soc, TimeQuality(envelope.tq), envelope.fracsec
    body = frame[HEAD_SIZE:-2]
    if envelope.type is FrameType.HEADER:
        return HeaderFrame(*head, body.decode(errors="replace"), envelope.version)
    if envelope.type is FrameType.CFG3:
        return decode_configuration3(envelope, frame)
    if len(body) < 2 or len(body) % 2:
        raise ProtocolError(f"the body of a command at byte {HEAD_SIZE} has {len(body)} bytes: {excerpt(frame)}")
    return CommandFrame(*head, int.from_bytes(body[:2]), body[2:], envelope.version)


def encode(message: Message, configuration: Configuration | None = None) -> bytes:
    """Give the bytes of a message, from SYNC to CHK.

    Args:
        message: what to send. Of a data frame's time SOC and FRACSEC are sent, `time_ns` is not looked at.
        configuration: that of the stream; needed for data frames only. Integer formats round to the nearest count.

    Raises:
        ValueError: the message cannot be sent: it does not fit its configuration, or a value does not fit its field.
    """
    match message:
        case DataFrame():
            kind, body = FrameType.DATA, encode_data(message, configuration)
        case Configuration() if message.type is FrameType.CFG3:
            kind, body = FrameType.CFG3, bytes(2) + encode_body(message)
        case Configuration():
            kind, body = message.type, encode_configuration(message)
        case Fragment():
            kind, body = FrameType.CFG3, message.index.to_bytes(2) + message.body
        case HeaderFrame():
            kind, body = FrameType.HEADER, message.text.encode()
        case CommandFrame():
            if not 0 <= message.command <= 0xFFFF or len(message.extended) % 2:
                raise ValueError(f"command {message.command} has 16 bits, its data an even number of bytes: {message}")
            kind, body = FrameType.COMMAND, message.command.to_bytes(2) + message.extended
    head = Envelope(kind, message.version, message.idcode, message.soc, message.tq.raw, message.fracsec)
    return seal(head, body)


def command(command: int, idcode: int, time_ns: int, time_base: int = 1_000_000) -> CommandFrame:
    """Make a command to stream `idcode`, stamped with our own time and time quality 0x0F (a clock nobody vouches for).

    Args:
        command: one of `Command`, or a user-defined one.
        idcode: the stream that shall obey.
        time_ns: now, ns since 1970.
        time_base: units of FRACSEC; the stream's own where it is known.
    """
    soc, fracsec = soc_fracsec(time_ns, time_base)
    return CommandFrame(idcode, soc, TimeQuality(0x0F), fracsec, command)


def encode_whole(configuration: Configuration) -> bytes:
    """Give a configuration as one frame or, where it is too large for one, as fragments one after the other.

    Raises:
        ValueError: it cannot be sent.
    """
    if configuration.type is FrameType.CFG3 and len(encode_body(configuration)) > BODY:
        return b"".join(encode(fragment) for fragment in fragments(configuration))
    return encode(configuration)


def decode_whole(data: bytes) -> Configuration:
    """Read what `encode_whole` gave.

    Raises:
        ProtocolError: that is no configuration.
    """
    parts, at = Fragments(), 0
    while at < len(data):
        size = int.from_bytes(data[at + 2 : at + 4]) or len(data)
        message = decode(data[at : at + size])
        at += size
        whole = parts.add(message) if isinstance(message, Fragment) else message
        if isinstance(whole, Configuration):
            return whole
    raise ProtocolError(f"no whole configuration: {excerpt(data)}")
