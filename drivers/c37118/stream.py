"""A byte stream in, whole C37.118 frames out (pure: no wire, no clock).

Frames follow each other with no delimiter, and SYNC occurs inside data, so only a good CRC proves a frame. Until then
what looks like a head is a *claim*, and any number of claims may overlap. The claim that proves itself first, byte by
byte, is the frame. So a good frame is handed out with its last byte, however long a false head before it pretends to
be; no timeout is needed, and the result cannot depend on how the bytes were cut into chunks.

One claim is believed before it is proven: a head that stands where a frame is due and equals (type, size, stream) that
of a data frame proven before. What lies inside is not looked at unless its CRC is bad. This keeps a chance pattern
inside good data from being taken for a frame, waits no longer than a real frame took, and makes the splitter fast.
"""

from binascii import crc_hqx
from collections import Counter
from heapq import heapify, heappop, heappush

from drivers.c37118.envelope import CRC_START, MIN_SIZE, SYNC, FrameType

CLAIM_SIZE = 4  # SYNC and FRAMESIZE make a claim
HEAD_SIZE = 6  # SYNC, FRAMESIZE and IDCODE tell the frames of one stream from others
CLAIMS = 64  # followed at one time; random bytes make about 15
BELIEVED = 64  # heads remembered: a concentrator's streams and their sizes, with room

_SYNC = bytes([SYNC])
_NEWER = frozenset(range(0x03, 0x100, 0x10))  # second SYNC byte in the 2024 edition: version nibble 3
_KINDS = frozenset(kind << 4 | version for kind in FrameType for version in (1, 2)) | _NEWER
_DATA = frozenset((FrameType.DATA << 4 | 1, FrameType.DATA << 4 | 2))


class Stream:
    """Splits one direction of one connection. Memory stays below the largest frame (65535 bytes) and one chunk.

    A frame whose size belies its configuration is a good frame here; whoever decodes it counts stale configurations.

    Attributes:
        bad_crc: heads whose frame did not prove itself, those that overlap counted once.
        skipped_bytes: bytes that belong to no good frame, as far as they are given up.
        unsupported: good frames of the 2024 edition; they are taken out and not handed out.
        newer: their bytes, by IDCODE.
    """

    def __init__(self) -> None:
        self.bad_crc = 0
        self.skipped_bytes = 0
        self.unsupported = 0
        self.newer: Counter[int] = Counter()
        self._data = b""  # received, neither handed out nor given up; all positions count from its begin
        self._in_step = True  # a frame is due at 0, nothing behind it has been looked at
        self._sizes: dict[bytes, int] = {}  # proven heads of data frames -> size
        self._claims: list[tuple[int, int]] = []  # heap of (end, start), complete or not
        self._scanned = 0  # up to here every claim is known
        self._doubted = 0  # up to here bad claims are counted

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes of the stream and give the frames that they complete, in order."""
        return self._split(data, final=False)

    def flush(self) -> list[bytes]:
        """Give up what is incomplete: the stream has ended, was torn, or is silent. Give the frames this sets free.

        The next bytes are taken for the begin of a frame, as in a new stream.
        """
        frames = self._split(b"", final=True)
        self.skipped_bytes += len(self._data)
        self._data, self._in_step = b"", True
        self._forget()
        return frames

    def _split(self, new: bytes, final: bool) -> list[bytes]:
        data = self._data = self._data + new
        available = len(data)
        frames: list[bytes] = []
        at = 0  # everything before is dealt with
        while True:
            if self._in_step:
                size = 0
                while size := self._sizes.get(data[at : at + HEAD_SIZE], 0):
                    frame = data[at : at + size]
                    if len(frame) < size or crc_hqx(frame, CRC_START):
                        break
                    frames.append(frame)
                    at += size
                if not final and (at + size > available if size else at + HEAD_SIZE > available):
                    break
                self._in_step = False
                self._scanned = self._doubted = at
            found = self._search()
            if found is None:
                break
            start, end = found
            self.skipped_bytes += start - at
            kind = data[start + 1]
            if kind in _NEWER:
                self.unsupported += 1
                self.newer[int.from_bytes(data[start + 4 : start + 6])] += end - start
            else:
                frames.append(data[start:end])
            if kind in _DATA:
                if len(self._sizes) == BELIEVED:
                    self._sizes.clear()
                self._sizes[data[start : start + HEAD_SIZE]] = end - start
            at = end
            self._in_step = True
            self._forget()
        if not self._in_step:
            dead = min((start for _, start in self._claims), default=self._scanned) - at
            self.skipped_bytes += dead
            at += dead
            self._claims = [(end - at, start - at) for end, start in self._claims]
            self._scanned -= at
            self._doubted -= at
        self._data = data[at:]
        return frames

    def _search(self) -> tuple[int, int] | None:
        """Give begin and end of the claim that proves itself first (of two with one end, the longer), or None yet."""
        data, claims = self._data, self._claims
        available = len(data)
        stop = max(available - CLAIM_SIZE + 1, 0)  # from here on heads are incomplete
        while True:
            head = data.find(_SYNC, self._scanned, stop)
            # Claims are judged in the order of their ends, and before a head that is not known when they end.
            horizon = available if head < 0 else head + CLAIM_SIZE
            while claims and claims[0][0] <= horizon:
                end, start = heappop(claims)
                if not crc_hqx(data[start:end], CRC_START):
                    if any(self._doubted <= other < start for _, other in claims):
                        self.bad_crc += 1
                    return start, end
                if start >= self._doubted:
                    self.bad_crc += 1
                    self._doubted = end
            if head < 0:
                self._scanned = max(self._scanned, stop)
                return None
            self._scanned = head + 1
            size = data[head + 2] << 8 | data[head + 3]
            if data[head + 1] in _KINDS and size >= MIN_SIZE:
                heappush(claims, (head + size, head))
                if len(claims) > CLAIMS:
                    # A pattern made of heads: give up the claim that would take longest, lest each byte cost a CRC.
                    claims.remove(max(claims))
                    heapify(claims)

    def _forget(self) -> None:
        self._claims.clear()
        self._scanned = self._doubted = 0
