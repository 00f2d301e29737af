"""A logger's table as blocks of rows: TOA5, bare CSV, array CSV and TOB1 through one interface.

`Reader` is fed with bytes, wherever they come from; `read` feeds it with a file. Nothing in the data ends it: what
cannot be taken is counted, per reason, and told in `notes`. Memory does not grow with the file.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ingest.cr1000 import missing
from ingest.cr1000.blocks import Block
from ingest.cr1000.header import Header, header
from ingest.cr1000.lines import LONGEST, LineBlocks, ends
from ingest.cr1000.numpy_cells import Irregular, decoded
from ingest.cr1000.order import Order
from ingest.cr1000.packed import Damaged, is_packed, unpacked
from ingest.cr1000.quoting import split
from ingest.cr1000.regular import ENGINE, Engine, RegularCells, plan_for
from ingest.cr1000.rows import Layout, RowCells
from ingest.cr1000.tob1 import Tob1, Tob1Cells

PIECE = 1 << 20  # bytes read at once: some thousand rows
MOST_NOTES = 100
_HEADER = re.compile(rb'(?:^|(?<=[\r\n]))(?:\xef\xbb\xbf)?[ \t]*"?TOA5"?,')
_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)")
_OTHERS = {
    b'"TOB2"': "a TOB2 table",
    b'"TOB3"': "a TOB3 table, as memory cards have them",
    b"<?xml": "an XML table (CSIXML)",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
_TIME_NAMES, _RECORD_NAMES = ("TIMESTAMP", "TMSTAMP"), ("RECORD", "RECNBR")


class Unreadable(Exception):
    """What was read is no table that we know; the text says why and what to do."""


class Reader:
    """Makes blocks of the bytes of one table.

    Args:
        source: what to call it in messages: the file.
        table: which table to take where there are several (of arrays, the id); empty = the first one. Rows of others
            are counted.
        utc_offset_ns: what the logger's clock is ahead of UTC.
        engine: "pyarrow", "numpy" (both give the same) or "rows", the tolerant way for all lines; by default pyarrow
            where it is installed.

    Attributes:
        header: the newest one.
        counts: rows dropped and things noted, per reason.
        notes: what people want to read: changed headers, and where.
        order: what was seen of stamps and record numbers.
        lines: cuts the bytes at line ends.
        layout: where rows have their time; None until that is known.
        array: how the rows of the wanted array begin; empty where there are none.
        skipping: whether the rows that come are of a table that is not wanted.
        binary: reads TOB1; None for text.
    """

    def __init__(self, source: str, table: str = "", utc_offset_ns: int = 0, engine: Engine = ENGINE) -> None:
        self.source, self.header = source, Header()
        self.counts: Counter[str] = Counter()
        self.notes: list[str] = []
        self.order = Order(self.counts)
        self.table, self._offset_ns = table, utc_offset_ns
        self._engine: Engine = engine
        self.lines = LineBlocks(self.counts)
        self.layout: Layout | None = None
        self._plan = None
        self._collected: list[bytes] | None = None  # lines of a header that is not yet whole
        self.array = b""
        self._head: bytes | None = b""  # the first bytes, until they tell the form
        self.binary: Tob1 | None = None
        self._before = 0  # bytes that came before anything was known
        self.skipping = False

    @property
    def between_rows(self) -> bool:
        """Whether a form is known and no header is half read: what follows can be read by another reader."""
        return self._head is None and self._collected is None and (self.layout is not None or self.skipping)

    def begun(self) -> None:
        """Take what comes as rows of the form that is known: the begin of the file was read by another reader."""
        self._head = None

    @property
    def taken(self) -> int:
        """Bytes that are done with; behind them is only what may still be being written."""
        if self._head is not None:
            return 0
        return self.binary.taken if self.binary else self.lines.taken

    def feed(self, data: bytes) -> Iterator[Block]:
        """Give the blocks that data completes.

        Raises:
            Unreadable: it is no table.
        """
        if self._head is not None:
            data = self._head + data
            if len(data) < 6:
                self._head = data
                return
            self._head = None
            self._recognise(data)
        if self.binary:
            yield from self.binary.feed(data)
            return
        for block, first in self.lines.feed(data):
            yield from self._section(block, first)

    def end(self, final: bool = False) -> Iterator[Block]:
        """Give what was held back, where nothing is written to the table any more.

        Args:
            final: a last line without an end is whole; otherwise it is counted as cut.

        Raises:
            Unreadable: there was something, and not one row or header in it.
        """
        if self._head:
            yield from self.feed(b"\n" * 6)
        if self.binary:
            if self.binary.cut:
                self.counts["cut last row"] += 1
            return
        if self.lines.rest.strip(b"\0 \t\r\n"):
            if final:
                block, first = self.lines.release()
                yield from self._section(block.rstrip(b"\r") + b"\n", first)
            else:
                self.counts["cut last line"] += 1
        if self._before and self.layout is None and self._collected is None and not self.skipping:
            raise self._no_table()

    def _recognise(self, data: bytes) -> None:
        for mark, form in _OTHERS.items():
            if data.startswith(mark):
                raise Unreadable(f"{self.source}: this is {form}; convert it to TOA5 (LoggerNet's CardConvert does)")
        if data.startswith((b'"TOB1"', b"TOB1,")):
            self.binary = Tob1(self)

    def _no_table(self) -> Unreadable:
        cure = "TOA5, TOB1, CSV that begins with a time stamp, or arrays (id, year, day, hhmm)"
        return Unreadable(f"{self.source}: no row with a time stamp and no header in it; it must be {cure}")

    def _section(self, block: bytes, first: int) -> Iterator[Block]:
        """Part a block at the headers in it."""
        while block:
            if self._collected is not None:
                used = self._collect(block, first)
            else:
                found = _HEADER.search(block) if b"T" in block and b"TOA5" in block else None
                used = found.start() if found else len(block)
                if used:
                    yield from self._rows(block[:used], first)
                else:
                    self._collected = []
            if used == len(block):
                return
            first += ends(block[:used])
            block = block[used:]

    def _collect(self, block: bytes, first: int) -> int:
        """Take lines of a header, up to four; one that begins with a stamp is none."""
        collected, used = self._collected or [], 0
        while len(collected) < 4 and (found := _LINE.match(block, used)):
            cells = split(decoded(found[0].rstrip(b"\r\n")))[0]
            if collected and Layout().stamp(cells):
                break
            collected.append(found[0].rstrip(b"\r\n"))
            used = found.end()
        self._collected = collected
        if len(collected) == 4 or used < len(block):
            self._collected = None
            self.take_header(header([decoded(line) for line in collected]), first)
        return used

    def take_header(self, new: Header, line: int) -> bool:
        """Take note of a header; tells whether its rows are of the table that is wanted."""
        wanted = self.table or self.header.table or new.table
        self.skipping = new.table != wanted
        if self.skipping:
            self.note(
                f"line {line}: the header of table {new.table!r}; rows of {wanted!r} are taken", "headers of others"
            )
            return False
        if self.header.form and (changes := self.header.changes(new)):
            self.note(f"line {line}: the header changes: {'; '.join(changes)}", "header changes")
        self.header = new
        names = [name.upper() for name in new.names]
        time = next((names.index(name) for name in _TIME_NAMES if name in names), 0)
        record = next((names.index(name) for name in _RECORD_NAMES if name in names), -1)
        self.take_layout(Layout((time,), record, len(names)))
        return True

    def take_layout(self, layout: Layout) -> None:
        """Take note of where rows have their time."""
        self.layout = layout
        self._plan = plan_for(layout, self.header.names, self._engine)

    def note(self, text: str, reason: str) -> None:
        """Count something, and keep its text for people."""
        self.counts[reason] += 1
        if len(self.notes) < MOST_NOTES:
            self.notes.append(f"{self.source}: {text}")

    def _rows(self, block: bytes, first: int) -> Iterator[Block]:
        if self.skipping:
            self.counts["rows of another table"] += ends(block)
            return
        if self.layout is None:
            self._guess(block)
        layout = self.layout
        if layout is None:
            self._before += len(block)
            self.counts["no time stamp"] += ends(block)
            if self._before > LONGEST:
                raise self._no_table()
            return
        if self.array:
            whole = ends(block)
            block = b"".join(line for line in _LINE.findall(block) if line.startswith(self.array))
            if whole > ends(block):
                self.counts["rows of other arrays"] += whole - ends(block)
        yield from self._block(block, first, layout)

    def _block(self, block: bytes, first: int, layout: Layout) -> Iterator[Block]:
        try:
            if self._engine == "rows" or not block:
                raise Irregular
            cells = RegularCells(block, first, layout, self._plan)
        except Irregular:
            cells = RowCells(block, first, layout, self.counts)
        if cells.count:
            record = cells.number(layout.record)[0] if 0 <= layout.record < cells.width else None
            yield from self.block(cells, record)

    def block(self, cells: RegularCells | RowCells | Tob1Cells, record: np.ndarray | None) -> Iterator[Block]:
        """Put rows in order and give them as a block."""
        rows, clock = self.order.sort(cells.time_ns, record, cells.line)
        if rows is None or len(rows):
            time_ns = cells.time_ns - self._offset_ns if self._offset_ns else cells.time_ns
            yield Block(self.source, self.header, cells, time_ns, cells.lines, self.counts, rows, clock)

    def _guess(self, block: bytes) -> None:
        """Find out the form of a table without a header, from the first row that has a stamp."""
        above: list[str] = []
        for line in re.split(rb"\r\n|\r|\n", block):
            cells = split(decoded(line).removeprefix("\ufeff"))[0]
            if Layout().stamp(cells):
                names = tuple(name.strip() for name in above) if len(above) == len(cells) else ()
                self.header = Header(names=names)
                record = next((n for n, name in enumerate(names) if name.upper() in _RECORD_NAMES), -1)
                self.take_layout(Layout((0,), record))
                return
            if len(cells) > 3 and Layout((1, 2, 3)).stamp(cells) and 0 < missing.number(cells[0])[0] < 32768:
                number = self.table or cells[0].strip()
                self.header = Header(table=number)
                self.array = number.encode() + b","
                self.take_layout(Layout((1, 2, 3)))
                return
            above = cells


def read(path: Path, reader: Reader, final: bool = False, start: int = 0) -> Iterator[Block]:
    """Give the blocks of a file, compressed by gzip or not.

    Args:
        path: the file.
        reader: of this file alone.
        final: nothing is written to the file any more; see `Reader.end`.
        start: byte at which to begin; for a reader that `resume` has prepared.

    Raises:
        Unreadable: it is no table, or is damaged: what comes before the damage has been given.
        OSError: it cannot be read.
    """
    damage = ""
    try:
        for data in unpacked(path, PIECE) if is_packed(path) else _pieces(path, start):
            yield from reader.feed(data)
    except Damaged as error:
        damage = str(error)
    yield from reader.end(final)
    if damage:
        raise Unreadable(f"{path}: the rest of it cannot be unpacked: {damage}")


def _pieces(path: Path, start: int) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while data := file.read(PIECE):
            yield data
