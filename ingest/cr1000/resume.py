"""Going on with a file where it was left: what a reader knew, and the proof that the file is still the same one."""

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ingest.cr1000.header import Header
from ingest.cr1000.packed import is_packed
from ingest.cr1000.rows import Layout
from ingest.cr1000.tables import Reader

PROOF = 4096  # bytes at the begin and before the place, by which the file is known again


def mark(reader: Reader, path: Path) -> dict[str, Any] | None:
    """Give what is needed to go on behind what the reader has taken, as plain data for JSON.

    Returns:
        None where a file is to be read from its begin again: packed, binary, or without a row so far.

    Raises:
        OSError: the file cannot be read.
    """
    if reader.binary or not reader.between_rows or is_packed(path):
        return None
    order, layout = reader.order, reader.layout or Layout()
    return {
        "taken": reader.taken,
        "proof": _proof(path, reader.taken),
        "line": reader.lines.line,
        "header": asdict(reader.header),
        "layout": [list(layout.time), layout.record, layout.width],
        "array": reader.array.decode("latin-1"),
        "skipping": reader.skipping,
        "last_ns": order.last_ns,
        "last_record": order.last_record,
        "last_line": order.last_line.decode("latin-1"),
    }


def resume(reader: Reader, path: Path, saved: dict[str, Any]) -> int | None:
    """Prepare a new reader to go on where another stood.

    Returns:
        The byte at which to begin; None where the file is not the one that was marked, grown or as it was.

    Raises:
        OSError: the file cannot be read.
    """
    taken = int(saved["taken"])
    if path.stat().st_size < taken or _proof(path, taken) != saved["proof"]:
        return None
    told: dict[str, Any] = {
        key: tuple(text) if isinstance(text, list) else text for key, text in saved["header"].items()
    }
    reader.header = Header(**told)
    time, record, width = saved["layout"]
    reader.take_layout(Layout(tuple(time), record, width))
    reader.array, reader.skipping = saved["array"].encode("latin-1"), saved["skipping"]
    reader.lines.line, reader.lines.taken = saved["line"], taken
    order = reader.order
    order.last_ns, order.last_record = saved["last_ns"], saved["last_record"]
    order.last_line = saved["last_line"].encode("latin-1")
    reader.begun()
    return taken


def _proof(path: Path, taken: int) -> str:
    """Give a digest of the begin of a file and of what lies before a place."""
    with path.open("rb") as file:
        begin = file.read(min(PROOF, taken))
        file.seek(max(taken - PROOF, 0))
        return hashlib.sha256(begin + b"|" + file.read(min(PROOF, taken))).hexdigest()
