"""What every C37.118 frame has: SYNC, FRAMESIZE, IDCODE, SOC, time quality and FRACSEC before its body, CHK after it.

Source: IEEE C37.118.2-2011, clause 6.2 and table 2; CHK is CRC-CCITT (polynomial 0x1021, begun with 0xFFFF), annex B.
"""

import struct
from binascii import crc_hqx
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from drivers.errors import ProtocolError

SYNC = 0xAA
HEAD_SIZE = 14  # bytes before the body
MIN_SIZE = 16  # a frame without a body
MAX_SIZE = 0xFFFF
CRC_START = 0xFFFF  # the CRC of an intact frame, CHK included, is 0

_HEAD = struct.Struct(">BBHHII")  # SYNC (2 bytes), FRAMESIZE, IDCODE, SOC, time quality and FRACSEC as one word


class FrameType(IntEnum):
    """Bits 6-4 of the second SYNC byte (C37.118.2-2011, table 2). Command is 4, CFG-3 is 5."""

    DATA = 0
    HEADER = 1
    CFG1 = 2
    CFG2 = 3
    COMMAND = 4
    CFG3 = 5


class UnsupportedEdition(ProtocolError):
    """An intact frame of the 2024 edition, whose tables are others: refused, never decoded with the older ones."""


@dataclass(frozen=True, slots=True)
class TimeQuality:
    """Byte 10 of every frame (C37.118.2-2011, table 3)."""

    raw: int

    @property
    def code(self) -> int:
        """MSG_TQ: 0 locked to UTC, 1..9 within 10^(n-10) s, 10 within 1 s, 11 within 10 s, 15 failed or never set."""
        return self.raw & 0x0F

    @property
    def leap_pending(self) -> bool:
        """A leap second comes within the next minute."""
        return bool(self.raw & 0x10)

    @property
    def leap_occurred(self) -> bool:
        """A leap second was within the last 24 h."""
        return bool(self.raw & 0x20)

    @property
    def leap_deleted(self) -> bool:
        """Direction of that leap second; meaningful only while pending or occurred."""
        return bool(self.raw & 0x40)


def time_ns(soc: int, fracsec: int, time_base: int) -> int:
    """Give a frame's time as integer ns since 1970, to the nearest; a FRACSEC of a second or more is carried into it.

    Args:
        soc: whole seconds since 1970 (UTC, leap seconds not counted).
        fracsec: all 24 bits of FRACSEC, in units of 1/`time_base` s.
        time_base: TIME_BASE of the configuration, without its flags, above 0.
    """
    return soc * 10**9 + (fracsec * 10**9 + time_base // 2) // time_base


def soc_fracsec(time_ns: int, time_base: int) -> tuple[int, int]:
    """Give SOC and FRACSEC (units of 1/`time_base` s, always below `time_base`) nearest to a time in ns since 1970."""
    soc, rest = divmod(time_ns, 10**9)
    carry, fracsec = divmod((rest * time_base + 5 * 10**8) // 10**9, time_base)
    return soc + carry, fracsec


class Envelope(NamedTuple):
    """The head of a frame, without its size. `fracsec`: 24 bits."""

    type: FrameType
    version: int
    idcode: int
    soc: int
    tq: int
    fracsec: int


def excerpt(frame: bytes, limit: int = 32) -> str:
    """Give the first bytes of a frame in hexadecimal, for a message."""
    rest = len(frame) - limit
    return frame[:limit].hex() + (f"... and {rest} bytes more" if rest > 0 else "")


def open_envelope(frame: bytes) -> Envelope:
    """Check CRC, SYNC, edition and FRAMESIZE of exactly one frame, and read its head.

    Raises:
        UnsupportedEdition: intact, but of the 2024 edition.
        ProtocolError: too short, CHK wrong, or a head that no edition allows.
    """
    if len(frame) < MIN_SIZE:
        raise ProtocolError(f"a frame has at least {MIN_SIZE} bytes, this one {len(frame)}: {excerpt(frame)}")
    if crc_hqx(frame, CRC_START):
        sent, right = int.from_bytes(frame[-2:]), crc_hqx(frame[:-2], CRC_START)
        raise ProtocolError(f"CHK at byte {len(frame) - 2} is {sent:04x} and should be {right:04x}: {excerpt(frame)}")
    sync, kind, size, idcode, soc, fraction = _HEAD.unpack_from(frame)
    version = kind & 0x0F
    if sync != SYNC:
        raise ProtocolError(f"SYNC at byte 0 is {sync:02x} and should be {SYNC:02x}: {excerpt(frame)}")
    if kind & 0x80 or version == 3:
        raise UnsupportedEdition(
            f"SYNC at byte 1 is {kind:02x}: a frame of the 2024 edition, unsupported: {excerpt(frame)}"
        )
    if version not in (1, 2):
        raise ProtocolError(f"version at byte 1 is {version}; known are 1 (2005) and 2 (2011): {excerpt(frame)}")
    if kind >> 4 > FrameType.CFG3:
        raise ProtocolError(f"frame type at byte 1 is {kind >> 4}; known are 0 to 5: {excerpt(frame)}")
    if size != len(frame):
        raise ProtocolError(f"FRAMESIZE at byte 2 says {size}, the frame has {len(frame)} bytes: {excerpt(frame)}")
    return Envelope(FrameType(kind >> 4), version, idcode, soc, fraction >> 24, fraction & 0xFFFFFF)


def seal(envelope: Envelope, body: bytes) -> bytes:
    """Put a head before a body and CHK after it.

    Raises:
        ValueError: a field does not fit its width, or the frame would be larger than FRAMESIZE can say.
    """
    kind, version, idcode, soc, tq, fracsec = envelope
    size = HEAD_SIZE + len(body) + 2
    if size > MAX_SIZE:
        raise ValueError(f"a {kind.name} frame of {size} bytes is too large: FRAMESIZE has 16 bits")
    if version not in (1, 2):
        raise ValueError(f"version {version} cannot be encoded: 1 (2005) or 2 (2011)")
    if not (0 <= tq <= 0xFF and 0 <= fracsec <= 0xFFFFFF):
        raise ValueError(f"time quality {tq} has 8 bits and FRACSEC {fracsec} has 24")
    try:
        head = _HEAD.pack(SYNC, kind << 4 | version, size, idcode, soc, tq << 24 | fracsec)
    except struct.error as error:
        raise ValueError(f"IDCODE {idcode} or SOC {soc} does not fit: {error}") from error
    frame = head + body
    return frame + crc_hqx(frame, CRC_START).to_bytes(2)
