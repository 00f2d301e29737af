"""What the archiver has recorded, read by the tests' own means: CSV files as they are, and what waits in a spool."""

import csv
import gzip
from collections import defaultdict
from pathlib import Path

from archiver.sinks.csv_batch import SAMPLES, sections
from archiver.spool_format import records

MARKS = ("CONNECTED", "DISCONNECTED", "GAP", "STOPPED")


def lines(path: Path) -> list[list[str]]:
    """Give the lines of a CSV file behind its header; each must be whole."""
    text = (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode()
    assert not text or text.endswith("\n"), path
    return list(csv.reader(text.splitlines()))[1:]


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
