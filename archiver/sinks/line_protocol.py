"""A batch as line protocol (pure).

A row is one point: measurement = device, tag `pv`, a field for each column, and its `sequence` number. A sample is one
point: measurement = device, tags `pv` and `channel` (CH0 of CH0:VMON), fields by a rule that never gives a field two
types, whatever a PV turns into:

* number: `value`, a float, written so that it reads back as the same one; whole numbers too
* enum: `value`, the state's number, and `label`, escaped as text is; a label that is told later is written to the same
  point by itself
* NaN, infinity: `text` NaN, inf, -inf, as InfluxDB has no word for them; in a row such a column is absent
* text: `text`, with backslash, line feed and carriage return as in the CSV files
* array: `array` as `[0.1,2.5]`, if that is no longer than 60,000 bytes (InfluxDB's limit is 64 kB), and `length`
* with each of them `severity` and `status`, the numbers of EPICS
* a mark: `event`, for a gap `missing`, and `severity`

Two events of a series with one time stamp would be one point: the later one gets 1 ns more.

Lines of one record that has several (names given by the site file) begin with `,+`, all but the last; lines for another
bucket with `,@`, its name and a tabulator. A line of line protocol never begins with a comma, whatever a PV is named.
"""

from collections.abc import Mapping
from types import MappingProxyType

from archiver.batch import Batch, Event, Mark, RowRecord, Source
from archiver.sinks.csv_batch import escaped
from archiver.sinks.point_names import Name, Names, head, key
from archiver.sinks.sink import Encoded
from archiver.sinks.stamps import Stamps
from iocs.signals import Reading, Row, Severity, Status

LONGEST_TEXT = 60_000  # bytes


class LineEncoder:
    """Makes lines of batches.

    Args:
        names: those that the site file gives.
        taken: the last time of each PV in the run before, ns.

    Attributes:
        moved: events that got another time stamp, as theirs was taken.
    """

    def __init__(self, names: Names, taken: Mapping[str, int] = MappingProxyType({})) -> None:
        self.moved = 0
        self._taken = taken
        self._names = names
        self._heads: dict[Source, str] = {}
        self._given: dict[str, Name | None] = {}
        self._stamps: dict[Source, Stamps] = {}
        self._stamps_of_pv: dict[str, Stamps] = {}
        self._layouts: dict[Source, tuple[Row, str, list[str]]] = {}
        self._tails = [[f",severity={severity:d},status={status:d} " for status in Status] for severity in Severity]

    def encode(self, batch: Batch) -> Encoded:
        """Give the batch as lines."""
        lines: list[str] = []
        told = len(batch)
        add, heads, tails, stamps, names = lines.append, self._heads, self._tails, self._stamps, self._names
        for source, what in batch.samples:
            time_ns = (stamps.get(source) or self._begin(source)).free(what.time_ns)
            if isinstance(what, Mark):
                add(self._mark(source, what, time_ns))
                continue
            if time_ns != what.time_ns:
                self.moved += 1
            value = what.value
            if type(value) is float and not names and value - value == 0.0:
                start = heads.get(source) or self._head(source)
                add(f"{start}{value!r}{tails[what.severity][what.status]}{time_ns}\n")
            else:
                add(self._other(source, what, time_ns))
        for row in batch.rows:
            add(self._row(row))
        for source, label in batch.labels:
            if not names or self._given_name(source.site_name) is None:
                start = (heads.get(source) or self._head(source)).removesuffix("value=")
                add(f'{start}label="{_quoted(escaped(label.text))}" {label.time_ns}\n')
                told += 1
        return Encoded("".join(lines).encode(), told)

    def _begin(self, source: Source) -> Stamps:
        """Give the times that a PV has; they stay its own when something else of its source changes."""
        stamps = self._stamps_of_pv.get(source.pv)
        if stamps is None:
            stamps = self._stamps_of_pv[source.pv] = Stamps(self._taken.get(source.pv))
        self._stamps[source] = stamps
        return stamps

    def _head(self, source: Source) -> str:
        """Give what stands before the value of a number."""
        start = head(source.device, {"pv": source.pv, "channel": source.channel})
        self._heads[source] = text = f"{start} value="
        return text

    def _mark(self, source: Source, mark: Mark, time_ns: int) -> str:
        start = (self._heads.get(source) or self._head(source)).removesuffix("value=")
        missing = f",missing={mark.missing}" if mark.missing else ""
        severity = Severity.NO_ALARM if mark.event is Event.CONNECTED else Severity.INVALID
        return f'{start}event="{mark.event.value}"{missing},severity={severity:d} {time_ns}\n'

    def _other(self, source: Source, what: Reading, time_ns: int) -> str:
        start = (self._heads.get(source) or self._head(source)).removesuffix("value=")
        given = self._given_name(source.site_name) if self._names else None
        number = isinstance(what.value, int | float) and what.value - what.value == 0
        if given is not None and number and what.severity is not Severity.INVALID:
            return _given_line(given, what.value, time_ns)
        return f"{start}{_fields(what.value, source.states)}{self._tails[what.severity][what.status]}{time_ns}\n"

    def _given_name(self, name: str) -> Name | None:
        if name not in self._given:
            self._given[name] = self._names.find(name)
        return self._given[name]

    def _row(self, row: RowRecord) -> str:
        source = row.source
        time_ns = (self._stamps.get(source) or self._begin(source)).free(row.time_ns)
        self.moved += time_ns != row.time_ns
        known = self._layouts.get(source)
        if known is None or known[0] is not row.layout:
            fields = [key(signal.name) for signal in row.layout.signals]
            form = "".join(f"{field.replace('%', '%%')}=%r," for field in fields)
            known = self._layouts[source] = row.layout, form, fields
        text = known[1] % tuple(row.values)
        if "n" in text:  # nan or inf: names of columns are capitals
            cells = zip(known[2], row.values, strict=True)
            text = "".join(f"{field}={value!r}," for field, value in cells if value - value == 0.0)
        start = head(source.device, {"pv": source.pv})
        own = f"{start} {text}sequence={row.sequence} {time_ns}\n"
        return "".join(self._given_columns(row, time_ns)) + own if self._names else own

    def _given_columns(self, row: RowRecord, time_ns: int) -> list[str]:
        device = row.source.site_name.removesuffix(row.source.name)
        lines = []
        for signal, value in zip(row.layout.signals, row.values, strict=True):
            given = self._given_name(device + signal.name)
            if given is not None and value - value == 0.0:
                lines.append(",+" + _given_line(given, value, time_ns))
        return lines


def _given_line(given: Name, value: float, time_ns: int) -> str:
    bucket = f",@{given.bucket}\t" if given.bucket else ""
    return f"{bucket}{given.head} {given.field}={value * given.scale + given.offset!r} {time_ns}\n"


def _fields(value: object, states: tuple[str, ...]) -> str:
    if isinstance(value, float):
        return f"value={value!r}" if value - value == 0.0 else f'text="{"NaN" if value != value else value}"'
    if isinstance(value, int):
        label = f',label="{_quoted(escaped(states[value]))}"' if 0 <= value < len(states) else ""
        return f"value={value}{label}"
    if isinstance(value, str):
        return f'text="{_quoted(escaped(value))}"'
    items = value.tolist() if hasattr(value, "tolist") else list(value)  # type: ignore[attr-defined, call-overload]
    text = ",".join(escaped(item) if isinstance(item, str) else repr(item) for item in items)
    array = f'array="[{_quoted(text)}]",' if len(text.encode()) <= LONGEST_TEXT else ""
    return f"{array}length={len(items)}"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def count(lines: bytes) -> int:
    """Count the records in lines."""
    return lines.count(b"\n") - lines.count(b"\n,+") - lines.startswith(b",+")


def halves(lines: bytes) -> list[Encoded]:
    """Part lines into two halves, each of whole records; or give them in one part where they are one record."""
    middle = len(lines) // 2
    place = lines.rfind(b"\n", 0, middle) + 1
    while place and _within_record(lines, place):
        place = lines.rfind(b"\n", 0, place - 1) + 1
    if not place:
        place = lines.find(b"\n", middle) + 1
        while place < len(lines) and _within_record(lines, place):
            place = lines.find(b"\n", place) + 1
    if not 0 < place < len(lines):
        return [Encoded(lines, count(lines))]
    return [Encoded(part, count(part)) for part in (lines[:place], lines[place:])]


def _within_record(lines: bytes, place: int) -> bool:
    """Tell whether the line before a place belongs to the same record as the one behind it."""
    before = lines.rfind(b"\n", 0, place - 1) + 1
    return lines[before : before + 2] == b",+"


def by_bucket(lines: bytes, own: str) -> dict[str, bytes]:
    """Give the lines for each bucket, as a server understands them."""
    if b"\n," not in lines and lines[:1] != b",":
        return {own: lines}
    buckets: dict[str, list[bytes]] = {}
    for line in lines.splitlines(keepends=True):
        line = line.removeprefix(b",+")
        bucket = own
        if line.startswith(b",@"):
            name, _, line = line[2:].partition(b"\t")
            bucket = name.decode()
        buckets.setdefault(bucket, []).append(line)
    return {bucket: b"".join(parts) for bucket, parts in buckets.items()}
