"""TOB1, Campbell's binary table: the header of TOA5 with a line of types, then packed rows (LoggerNet
manual, appendix B).

Its columns get the field numbers that the same table has as TOA5: SECONDS and NANOSECONDS (since 1990) together are
field 1, as TIMESTAMP is there.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ingest.cr1000.header import Header, header
from ingest.cr1000.numpy_cells import coded, decoded

if TYPE_CHECKING:
    from ingest.cr1000.blocks import Block
    from ingest.cr1000.tables import Reader

_1990 = 631_152_000  # s between 1970 and 1990
_TYPES = {
    "FP2": ">u2",
    "IEEE4": "<f4",
    "IEEE4L": "<f4",
    "IEEE4B": ">f4",
    "IEEE8": "<f8",
    "IEEE8L": "<f8",
    "IEEE8B": ">f8",
    "LONG": "<i4",
    "ULONG": "<u4",
    "SHORT": "<i2",
    "USHORT": "<u2",
    "INT2": ">i2",
    "UINT2": ">u2",
    "INT4": ">i4",
    "UINT4": ">u4",
    "SECNANO": "<u8",
    "NSEC": ">u8",
    "BOOL": "i1",
    "BOOL2": ">i2",
    "BOOL4": ">i4",
}
_NONE = {"UINT2": 65535.0, "USHORT": 65535.0, "LONG": -2147483648.0}
_PIECE = 1 << 20
_LONGEST_HEADER = 1 << 20
_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)")


class Tob1:
    """Makes blocks of the bytes of a TOB1 file.

    Attributes:
        taken: bytes that are done with.
    """

    def __init__(self, reader: "Reader") -> None:
        self._reader = reader
        self._rest = b""
        self._type: np.dtype | None = None
        self._header = Header()
        self._skipping = False
        self._row = 1
        self.taken = 0

    @property
    def cut(self) -> bool:
        """Whether the last row is not whole."""
        return bool(self._rest)

    def feed(self, data: bytes) -> Iterator["Block"]:
        """Give the blocks that data completes."""
        self._rest += data
        if self._type is None and not self._begin():
            return
        kind = self._type
        assert kind is not None  # noqa: S101
        size = max(_PIECE // kind.itemsize, 1) * kind.itemsize
        whole = len(self._rest) // kind.itemsize * kind.itemsize
        block, self._rest = self._rest[:whole], self._rest[whole:]
        self.taken += whole
        for at in range(0, whole, size):
            yield from self._block(np.frombuffer(block[at : at + size], kind))

    def _begin(self) -> bool:
        """Read the header as soon as it is whole."""
        from ingest.cr1000.tables import Unreadable

        lines, at = [], 0
        while len(lines) < 5 and (found := _LINE.match(self._rest, at)):
            if found[0].endswith(b"\r") and found.end() == len(self._rest):
                break  # its line feed may follow
            lines.append(decoded(found[0].rstrip(b"\r\n")))
            at = found.end()
        if len(lines) < 5:
            if len(self._rest) > _LONGEST_HEADER:
                raise Unreadable(f"{self._reader.source}: a TOB1 table whose header has no five lines")
            return False
        self._type, self._header = self._columns(header(lines))
        self._skipping = not self._reader.take_header(self._header, 1)
        self.taken, self._rest = at, self._rest[at:]
        return True

    def _columns(self, told: Header) -> tuple[np.dtype, Header]:
        from ingest.cr1000.tables import Unreadable

        source = self._reader.source
        if len(told.types) != len(told.names) or not told.types:
            raise Unreadable(
                f"{source}: a TOB1 table with {len(told.names)} names and {len(told.types)} types of columns"
            )
        kinds = []
        for field, (name, word) in enumerate(zip(told.names, told.types, strict=True), 1):
            text = re.fullmatch(r"ASCII\((\d+)\)", word.upper())
            kind = f"S{text[1]}" if text else _TYPES.get(word.upper())
            if kind is None:
                raise Unreadable(
                    f"{source}: column {field} ({name}) of type {word!r}, which is not known; convert it to TOA5"
                )
            kinds.append((str(field), kind))
        if [name.upper() for name in told.names[:2]] != ["SECONDS", "NANOSECONDS"]:
            raise Unreadable(f"{source}: a TOB1 table without SECONDS and NANOSECONDS has no time; convert it to TOA5")

        def joined(texts: tuple[str, ...], first: str) -> tuple[str, ...]:
            return (first, *texts[2:])

        return np.dtype(kinds), replace(
            told,
            names=joined(told.names, "TIMESTAMP"),
            units=joined(told.units, "TS"),
            processing=joined(told.processing, ""),
            types=joined(told.types, "SECNANO"),
        )

    def _block(self, rows: np.ndarray) -> Iterator["Block"]:
        first, self._row = self._row, self._row + len(rows)
        if self._skipping:
            self._reader.counts["rows of another table"] += len(rows)
            return
        lines = np.arange(first, self._row)
        good = (rows["1"] < 2**32 - 1) & (rows["1"] > 0) & (rows["2"] < 10**9)
        if not good.all():
            self._reader.counts["no time stamp"] += int((~good).sum())
            rows, lines = rows[good], lines[good]
        if not len(rows):
            return
        cells = Tob1Cells(rows, lines, self._header)
        names = [name.upper() for name in self._header.names]
        record = cells.number(names.index("RECORD"))[0] if "RECORD" in names else None
        yield from self._reader.block(cells, record)


class Tob1Cells:
    """The cells of binary rows, by the column that they have in TOA5."""

    def __init__(self, rows: np.ndarray, lines: np.ndarray, told: Header) -> None:
        self._rows, self.lines, self._header = rows, lines, told
        self.count, self.width = len(rows), len(told.names)
        seconds, nanoseconds = rows["1"].astype(np.int64), rows["2"].astype(np.int64)
        self.time_ns = (seconds + _1990) * 10**9 + nanoseconds

    def line(self, row: int) -> bytes:
        """Give the bytes of a row."""
        return self._rows[row].tobytes()

    def number(self, column: int) -> tuple[np.ndarray, int]:
        """Give float64[n], NaN for what is none, and how many cells are no numbers."""
        if not column:
            return np.full(self.count, np.nan), self.count
        word = self._header.types[column].upper()
        raw = self._rows[str(column + 2)]
        if raw.dtype.kind == "S":
            return np.full(self.count, np.nan), self.count
        values = fp2(raw) if word == "FP2" else raw.astype(float)
        if word in _NONE:
            values[values == _NONE[word]] = np.nan
        return values, 0

    def coded(self, column: int) -> tuple[np.ndarray, list[str]]:
        """Give int[n], numbers of texts, and the texts."""
        if not column:
            stamps = np.datetime_as_string(self.time_ns.astype("datetime64[ns]")).astype(bytes)
            return coded(stamps.tolist())
        raw = self._rows[str(column + 2)]
        if raw.dtype.kind == "S":
            return coded([text.split(b"\0")[0] for text in raw.tolist()])
        return coded(
            [
                f"{value:.7g}".encode() if raw.dtype.kind == "f" else str(value).encode()
                for value in (fp2(raw) if self._header.types[column].upper() == "FP2" else raw).tolist()
            ]
        )


def fp2(raw: np.ndarray) -> np.ndarray:
    """Decode FP2: a sign, two bits for the power of ten below 1, 13 bits of value; NaN and infinity as NaN.

    Args:
        raw: uint16[n], in the machine's order.
    """
    size = (raw & 0x1FFF).astype(float)
    values = size / 10.0 ** ((raw >> 13) & 3)
    values = np.where(raw & 0x8000, -values, values)
    values[((raw & 0x7FFF) == 0x1FFF) | ((raw & 0x7FFF) == 0x1FFE)] = np.nan
    return values
