"""Bytes to frames (pure): a frame is a line, or all lines until an empty one.

Whatever the chunks, the same bytes give the same frames. Memory is bounded: a frame that grows beyond the limit is
given up, and the next one begins after the next end of a line.
"""

import re
from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why something that came was refused; the second part of the PV that counts it."""

    BYTES = "BYTES"  # bytes that are not printable ASCII
    LENGTH = "LENGTH"  # longer than a frame can be
    UNFINISHED = "UNFINISHED"  # its end did not come in time
    CHECKSUM = "CHECKSUM"  # absent or wrong
    FORM = "FORM"  # not what the format says
    FIELDS = "FIELDS"  # too few or too many
    NUMBER = "NUMBER"  # a field that is no number
    RANGE = "RANGE"  # a number that the sensor cannot give
    UNASKED = "UNASKED"  # nobody asked: late, sent twice, or from before the connection


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something came and was refused, all of it.

    Attributes:
        reason: for counting.
        line: the bytes, at most `KEPT` of them.
        why: for people.
    """

    reason: Reason
    line: bytes
    why: str

    def __str__(self) -> str:
        return f"{self.why}: {escaped(self.line)}"


KEPT = 120  # bytes of a refused frame that are shown

_LINE = re.compile(rb"\r?\n")
_EMPTY_LINE = re.compile(rb"\r?\n\r?\n")


class Lines:
    """Cuts a byte stream into frames: `feed` what came, `discard` what has lain unfinished for too long.

    Args:
        limit: most bytes of a frame.
        empty_line: frames end with an empty line, not with each line.
    """

    def __init__(self, limit: int = 256, *, empty_line: bool = False) -> None:
        self._limit = limit
        self._end = _EMPTY_LINE if empty_line else _LINE
        self._held = bytearray()
        self._too_long = b""  # the beginning of a frame that is too long, while its end is awaited

    @property
    def unfinished(self) -> bool:
        """Whether a part of a frame lies here."""
        return bool(self._held or self._too_long)

    def feed(self, data: bytes) -> list[bytes | Refusal]:
        """Take what came; give the frames that it ends, without their ends. Empty frames say nothing and are left out.

        A frame with bytes other than printable ASCII (and, between its lines, CR LF) is refused whole.
        """
        self._held += data
        found: list[bytes | Refusal] = []
        start = 0
        while (end := self._end.search(self._held, start)) is not None:
            frame = self._too_long + bytes(self._held[start : end.start()])
            start, self._too_long = end.end(), b""
            if self._end is _EMPTY_LINE:
                frame = frame.lstrip(b"\r\n")  # more than one empty line between two frames
            if frame:
                found.append(self._checked(frame))
        del self._held[:start]
        if len(self._too_long) + len(self._held) > self._limit + 4:  # the 4 may be a half-read end
            self._too_long = (self._too_long + bytes(self._held[:-4]))[: self._limit + 1]
            del self._held[:-4]
        return found

    def discard(self) -> Refusal | None:
        """Give up the unfinished frame, if there is one: it must not be joined with what comes later."""
        frame = self._too_long + bytes(self._held)
        self._held.clear()
        self._too_long = b""
        if not frame:
            return None
        if len(frame) > self._limit:
            return self._long(frame)
        return Refusal(Reason.UNFINISHED, frame[:KEPT], "the end of the line did not come")

    def _checked(self, frame: bytes) -> bytes | Refusal:
        if len(frame) > self._limit:
            return self._long(frame)
        strange = next((byte for byte in frame.replace(b"\r\n", b"").replace(b"\n", b"") if not 32 <= byte < 127), None)
        if strange is not None and strange != 9:  # a tab may be a separator
            return Refusal(Reason.BYTES, frame[:KEPT], f"the byte {strange:#04x} is no text")
        return frame

    def _long(self, frame: bytes) -> Refusal:
        return Refusal(Reason.LENGTH, frame[:KEPT], f"longer than {self._limit} bytes")


def escaped(line: bytes) -> str:
    """Give bytes as text that can be shown and read back, as Python writes them, without the quotes."""
    return repr(line)[2:-1]
