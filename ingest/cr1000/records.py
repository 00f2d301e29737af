"""One configuration file as records, and what was found wrong with its lines."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ingest.cr1000.quoting import Rule, split

T = TypeVar("T")

LARGEST = 1 << 24  # bytes; a configuration is written by people
LINE_END = re.compile(r"\r\n|\n|\r")
_COMMENT = re.compile(r'[\s\ufeff"]*#')
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A line of a file, counted from 1; 0 is the file as a whole."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to be told about a place; field is counted from 1, 0 is the line as a whole."""

    place: Place
    field: int
    text: str

    def __str__(self) -> str:
        return f"{self.place}:{self.field}: {self.text}" if self.field else f"{self.place}: {self.text}"


@dataclass
class Findings:
    """All that was found: faults, which keep something from being published, and warnings."""

    faults: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)


class Record:
    """One line; faults of its fields are collected, so that all of them are told at once."""

    def __init__(self, place: Place, fields: list[str], findings: Findings) -> None:
        self.place = place
        self.fields = [text.strip() for text in fields]
        self.good = True
        self._findings = findings

    def text(self, number: int) -> str:
        """Give a field, counted from 1, trimmed; empty when the line is too short."""
        return self.fields[number - 1] if number <= len(self.fields) else ""

    def read(self, number: int, reader: Callable[[str], T]) -> T | None:
        """Read a field; what the reader refuses with a ValueError is a fault, and gives None."""
        try:
            return reader(self.text(number))
        except ValueError as error:
            self.fault(number, str(error))
            return None

    def fault(self, number: int, text: str) -> None:
        """Tell of a fault; the line will not be used."""
        self.good = False
        self._findings.faults.append(Finding(self.place, number, text))

    def warn(self, number: int, text: str) -> None:
        """Tell of something that is allowed, and is often a mistake."""
        self._findings.warnings.append(Finding(self.place, number, text))


def records(path: Path, name: str, findings: Findings) -> Iterator[Record]:
    """Give the lines of a file that are neither comments nor empty.

    Args:
        path: the file.
        name: what it is called in messages.
        findings: is told what is wrong. A file that cannot be read at all is one fault of the file as a whole.
    """
    try:
        data = path.read_bytes()
        if len(data) > LARGEST:
            raise ValueError(f"{len(data)} bytes are no configuration")
        text = _decoded(data, Place(name), findings)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        findings.faults.append(Finding(Place(name), 0, f"the file cannot be read: {reason}"))
        return
    for number, line in enumerate(LINE_END.split(text), start=1):
        if _COMMENT.match(line) or not line.strip(' \t\ufeff,"'):
            continue
        fields, rule = split(line.removeprefix("\ufeff"))
        record = Record(Place(name, number), fields, findings)
        if control := _CONTROL.search(line):
            record.fault(0, f"the line holds the control character {control[0]!r}: is this a text file?")
        elif rule is Rule.LENIENT:
            record.warn(0, f"the quotes do not match; the line was read as {record.fields}")
        yield record


def _decoded(data: bytes, place: Place, findings: Findings) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("it is UTF-16: save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        findings.warnings.append(Finding(place, 0, f"byte {error.start} is not UTF-8; the file was read as Latin-1"))
        return data.decode("latin-1")
