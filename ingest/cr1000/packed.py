"""Files that gzip has packed: all that can be unpacked of them, whatever comes behind."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path


class Damaged(Exception):
    """The rest of a file cannot be unpacked; the text says why."""


def is_packed(path: Path) -> bool:
    """Tell whether a file begins as one of gzip does.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def unpacked(path: Path, size: int) -> Iterator[bytes]:
    """Give what is in a file, so many bytes at once or a little more.

    Raises:
        Damaged: there is more, and it cannot be unpacked; what comes before has been given.
        OSError: it cannot be read.
    """
    parts: list[bytes] = []
    damage = ""
    with gzip.open(path) as file:
        while not damage:
            try:
                part = file.read1(1 << 16)  # what `read` has unpacked is lost when it comes upon damage
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                part, damage = b"", str(error)
            parts.append(part)
            if not part or sum(map(len, parts)) >= size:
                yield b"".join(parts)
                parts.clear()
            if not part:
                break
    if damage:
        raise Damaged(damage)
