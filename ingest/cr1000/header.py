"""The header of a Campbell table (pure): four lines of TOA5, five of TOB1."""

from dataclasses import dataclass

from ingest.cr1000.quoting import split


@dataclass(frozen=True, slots=True)
class Header:
    """What a table says of itself. Texts that are absent are empty.

    Attributes:
        form: "TOA5" or "TOB1"; "" of a table without a header.
        station, model, serial, system, program, signature, table: of the environment line; serial is the logger's.
        names, units, processing: by column, the first is field 1.
        types: of TOB1, by column.
    """

    form: str = ""
    station: str = ""
    model: str = ""
    serial: str = ""
    system: str = ""
    program: str = ""
    signature: str = ""
    table: str = ""
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    processing: tuple[str, ...] = ()
    types: tuple[str, ...] = ()

    def name(self, field: int) -> str:
        """Give the name of a field, counted from 1; empty where the header tells none."""
        return self.names[field - 1] if 0 < field <= len(self.names) else ""

    def changes(self, other: "Header") -> list[str]:
        """Say what another header has changed, one text each; empty where it means the same."""
        words = ("station", "model", "serial", "system", "program", "signature", "table")
        said = [f"{word} {getattr(self, word)!r} -> {getattr(other, word)!r}" for word in words]
        said = [text for word, text in zip(words, said, strict=True) if getattr(self, word) != getattr(other, word)]
        for field in range(1, max(len(self.names), len(other.names)) + 1):
            if self.name(field) != other.name(field):
                said.append(f"field {field} {self.name(field)!r} -> {other.name(field)!r}")
        return said


def header(lines: list[str]) -> Header:
    """Read the lines of a header; those that are absent tell nothing."""
    rows = [tuple(text.strip() for text in split(line.removeprefix("\ufeff"))[0]) for line in lines]
    rows += [()] * (5 - len(rows))
    form, station, model, serial, system, program, signature, table = (*rows[0], *[""] * 8)[:8]
    names, units, processing, types = rows[1:5]
    return Header(form, station, model, serial, system, program, signature, table, names, units, processing, types)
