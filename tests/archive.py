"""What the archiver has recorded, read by the tests' own means: CSV files as they are, and what waits in a spool."""

import csv
import gzip
from collections import defaultdict
from pathlib import Path

from archiver.sinks.csv_batch import SAMPLES, sections
from archiver.spool_format import records
from tests.processes import wait_for

MARKS = ("CONNECTED", "DISCONNECTED", "GAP", "STOPPED")


def text_of(path: Path) -> str:
    """Give the text of a CSV file; its last line must be whole, but for the instant of a write."""

    def whole() -> tuple[str] | None:
        text = (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode()
        return None if text and not text.endswith("\n") else (text,)

    return wait_for(whole, f"whole last line in {path}", 5.0)[0]


def lines(path: Path) -> list[list[str]]:
    """Give the lines of a CSV file behind its header; each must be whole."""
    return list(csv.reader(text_of(path).splitlines()))[1:]


def samples(folder: Path) -> list[list[str]]:
    """Give the single samples and marks of a folder of CSV files."""
    return [line for path in folder.glob("samples_*.csv*") if ".part" not in path.name for line in lines(path)]


def values(rows: list[list[str]]) -> dict[str, list[str]]:
    """Give the values by PV, in the order of their times; marks are left out."""
    found = defaultdict(list)
    for row in sorted(rows, key=lambda row: int(row[0])):
        if row[4].split()[0] not in MARKS:
            found[row[1]].append(row[2])
    return found


def spooled(folder: Path) -> list[list[str]]:
    """Give the samples in the log of a CSV spool, acknowledged or not."""
    found = []
    for path in folder.glob("*.log"):
        for _, record in records(path.read_bytes()):
            for section, text in sections(record.payload):
                if section.stream == SAMPLES:
                    found += csv.reader(text.decode().splitlines())
    return found
