"""A batch as CSV (pure): a section of whole lines for each file, with what is needed to choose the file.

A section is a line of JSON and, behind it, as many bytes of CSV as it says. Sections can be joined.

Rows go to files of their own, by the time of the row. Single samples go to one file together, `samples_`, by the time
of their arrival: a value that was set last week and is seen first today belongs to today's file.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from archiver.batch import Batch, Event, Mark, Source
from archiver.sinks.csv_text import SECOND, RowText, Timer, ValueDigits, value_text
from archiver.sinks.sink import Encoded
from iocs.archive_tables import CsvFilesTable
from iocs.signals import Reading, Row, Severity, Status

SAMPLES = "samples"  # the stream of single samples; those of rows are named as their PV
SAMPLES_HEADER = b"time,pv,value,severity,status\n"


@dataclass(frozen=True, slots=True)
class Section:
    """Lines for one file.

    Attributes:
        stream: "samples", or the row PV without the site's prefix.
        period: number of the file's period since 1970.
        second: UTC seconds of the first line, for the file's name.
        columns: the header line without its end.
        whole: which columns are whole numbers ("1") and which not ("0").
        count: lines.
        size: bytes of the lines.
    """

    stream: str
    period: int
    second: int
    columns: str
    whole: str
    count: int
    size: int

    @property
    def header(self) -> bytes:
        """The header line."""
        return self.columns.encode() + b"\n"

    def same_file(self, other: "Section") -> bool:
        """Whether both may lie in one file.

        A clock that steps back into the period before (a leap second) stays in its file.
        """
        return self.period - 1 <= other.period <= self.period and (self.columns, self.whole) == (
            other.columns,
            other.whole,
        )


def sections(data: bytes) -> Iterator[tuple[Section, bytes]]:
    """Give each section with its lines.

    Raises:
        ValueError: the bytes are no sections.
    """
    offset = 0
    while offset < len(data):
        end = data.index(b"\n", offset)
        section = Section(**json.loads(data[offset:end]))
        offset = end + 1 + section.size
        yield section, data[end + 1 : offset]


@dataclass(slots=True)
class _Lines:
    period: int
    second: int
    text: RowText | None
    lines: list[bytes]


class CsvEncoder:
    """Makes sections of batches.

    Args:
        for_stream: gives the rules for a stream's files.
    """

    def __init__(self, for_stream: Callable[[str], CsvFilesTable]) -> None:
        self._for_stream = for_stream
        rules = for_stream(SAMPLES)
        self._samples = SampleText(rules)
        self._samples_period_ns = round(rules.new_file_every * SECOND)
        self._texts: dict[Source, tuple[Row, RowText, int]] = {}

    def encode(self, batch: Batch) -> Encoded:
        """Give the batch as sections."""
        parts: list[bytes] = []
        if batch.samples:
            lines = self._samples.encode(batch.samples)
            period, second = batch.arrived_ns // self._samples_period_ns, batch.arrived_ns // SECOND
            parts += _section(SAMPLES, period, second, SAMPLES_HEADER, "", len(batch.samples), lines)
        streams: dict[str, list[_Lines]] = {}
        for row in batch.rows:
            text, period_ns = self._text(row.source, row.layout)
            groups = streams.setdefault(row.source.site_name, [])
            period = row.time_ns // period_ns
            if not groups or groups[-1].period != period or groups[-1].text is not text:
                groups.append(_Lines(period, row.time_ns // SECOND, text, []))
            groups[-1].lines.append(text.encode(row.time_ns, row.values))
        for stream, groups in streams.items():
            for group in groups:
                text = group.text
                if text is not None:
                    lines = b"".join(group.lines)
                    head = group.period, group.second, text.header, text.kinds
                    parts += _section(stream, *head, len(group.lines), lines)
        return Encoded(b"".join(parts), len(batch))

    def _text(self, source: Source, layout: Row) -> tuple[RowText, int]:
        known = self._texts.get(source)
        if known is None or known[0] is not layout:
            rules = self._for_stream(source.site_name)
            text = RowText(layout.signals, rules.time_format, rules.time_digits, rules.value_digits)
            known = self._texts[source] = layout, text, round(rules.new_file_every * SECOND)
        return known[1], known[2]


def _section(
    stream: str, period: int, second: int, header: bytes, whole: str, count: int, lines: bytes
) -> tuple[bytes, bytes]:
    columns = header.decode().rstrip("\n")
    section = Section(stream, period, second, columns, whole, count, len(lines))
    return json.dumps(asdict(section)).encode() + b"\n", lines


class SampleText:
    r"""Single samples as lines `time,pv,value,severity,status`.

    Numbers follow the rule for values, those of an enum are its state's number; NaN is an empty cell. Text stands as it
    is, with backslash, line feed and carriage return as `\\`, `\n` and `\r`; an array is `[1.5,2.5]`. A mark has no
    value, is INVALID, and its status is the mark: CONNECTED (no alarm), DISCONNECTED, STOPPED, GAP, or `GAP 7` where
    the number of missing events is known.
    """

    def __init__(self, rules: CsvFilesTable) -> None:
        self._time = Timer(rules.time_format, rules.time_digits)
        self._digits: ValueDigits = rules.value_digits
        self._format = "%r" if rules.value_digits == "repr" else f"%.{rules.value_digits}g"
        self._names: dict[Source, str] = {}
        self._tails = [[f",{severity.name},{status.name}\n" for status in Status] for severity in Severity]

    def encode(self, samples: list[tuple[Source, Reading | Mark]]) -> bytes:
        """Write one line for each sample."""
        names, tails, when, form = self._names, self._tails, self._time.text, self._format
        lines: list[str] = []
        add = lines.append
        for source, what in samples:
            name = names.get(source)
            if name is None:
                name = names[source] = "," + quoted(source.pv) + ","
            value = what.value
            if isinstance(what, Mark):
                add(f"{when(what.time_ns)}{name}{mark_tail(what)}")
                continue
            if type(value) is float:
                text = form % value
                if "e" in text or "n" in text:
                    text = value_text(value, self._digits)
            else:
                text = self._other(value)
            add(f"{when(what.time_ns)}{name}{text}{tails[what.severity][what.status]}")
        return "".join(lines).encode()

    def _other(self, value: object) -> str:
        if isinstance(value, int):
            return str(value)
        if isinstance(value, str):
            return quoted(escaped(value))
        items = value.tolist() if hasattr(value, "tolist") else list(value)  # type: ignore[attr-defined, call-overload]
        cells = (escaped(item) if isinstance(item, str) else repr(item) for item in items)
        return quoted(f"[{','.join(cells)}]")


def mark_tail(mark: Mark) -> str:
    """Write the cells of a mark behind the PV's name."""
    severity = Severity.NO_ALARM if mark.event is Event.CONNECTED else Severity.INVALID
    return f",{severity.name},{mark.event.value}{f' {mark.missing}' if mark.missing else ''}\n"


def escaped(text: str) -> str:
    """Write a text in one line."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def quoted(text: str) -> str:
    """Write a cell."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([text])
    return line.getvalue() if text else ""
