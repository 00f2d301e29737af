"""The format of the spool's log (pure): records of bytes, each with a number, a count, its length and a checksum.

    crc32 (of all that follows)  u32 | number  u64 | count  u32 | length  u32 | payload

Little endian. Numbers grow, not always by one. What a torn or damaged log holds before its first bad byte is whole.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

_CRC = struct.Struct("<I")
_REST = struct.Struct("<QII")
HEAD = _CRC.size + _REST.size

Bytes = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the log.

    Attributes:
        number: place in the order of all records.
        count: how many events the payload holds.
        payload: the bytes.
    """

    number: int
    count: int
    payload: bytes

    @property
    def size(self) -> int:
        """Bytes in the log."""
        return HEAD + len(self.payload)


def frame(record: Record) -> bytes:
    """Give the bytes of a record."""
    rest = _REST.pack(record.number, record.count, len(record.payload))
    return _CRC.pack(zlib.crc32(record.payload, zlib.crc32(rest))) + rest + record.payload


def read_record(log: Bytes, offset: int) -> Record | None:
    """Give the record at an offset; None where there is no whole and undamaged one."""
    begin = offset + HEAD
    if begin > len(log):
        return None
    (crc,) = _CRC.unpack_from(log, offset)
    number, count, length = _REST.unpack_from(log, offset + _CRC.size)
    if begin + length > len(log):
        return None
    payload = bytes(log[begin : begin + length])
    if zlib.crc32(payload, zlib.crc32(log[offset + _CRC.size : begin])) != crc:
        return None
    return Record(number, count, payload)


def records(log: Bytes, offset: int = 0) -> Iterator[tuple[int, Record]]:
    """Give each record with the offset behind it, up to the end or to the first that is torn or damaged."""
    while (record := read_record(log, offset)) is not None:
        offset += record.size
        yield offset, record
