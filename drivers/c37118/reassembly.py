"""One direction of a recorded TCP connection: segments as captured -> bytes in the order of sending (pure).

Source: RFC 9293; sequence numbers are taken modulo 2^32.
"""

BREAK = None  # stands between bytes that did not follow each other

WINDOW = 1 << 22  # bytes; a segment further away than this belongs to another connection
HELD_BYTES = 1 << 20  # held back for a missing segment before it is given up
HELD_SEGMENTS = 1024

_MODULUS = 1 << 32


class Reassembly:
    """Puts segments in order. Repeated and overlapping bytes count once, the first copy wins.

    What is still missing when more than HELD_BYTES or HELD_SEGMENTS came behind it is a hole. A recording may begin in
    the middle of a connection, and one connection may follow another between the same two ports.

    Attributes:
        holes: places where bytes are missing.
        connections: how many connections there were.
    """

    def __init__(self) -> None:
        self.holes = 0
        self.connections = 0
        self._begin: int | None = None  # sequence number of the first byte, where its SYN was recorded
        self._next = 0  # sequence number that is due
        self._held: dict[int, bytes] = {}
        self._held_bytes = 0

    def add(self, seq: int, syn: bool, data: bytes) -> list[bytes | None]:
        """Take a segment; give the bytes that are now in order, with BREAK wherever something is missing between."""
        pieces: list[bytes | None] = []
        if syn:
            seq = (seq + 1) % _MODULUS
            if not self.connections or seq != self._begin:  # else the SYN itself was sent twice
                self._begin = seq
                pieces += self._connect(seq)
        if not data:
            return pieces
        if not self.connections or abs(self._ahead(seq)) > WINDOW:
            self._begin = None
            pieces += self._connect(seq)
        ahead = self._ahead(seq)
        if ahead <= 0:
            pieces += self._take(data[-ahead:]) + self._follow()
        elif len(data) > len(self._held.get(seq, b"")):
            self._held_bytes += len(data) - len(self._held.get(seq, b""))
            self._held[seq] = data
            if self._held_bytes > HELD_BYTES or len(self._held) > HELD_SEGMENTS:
                pieces += self._skip_hole()
        return pieces

    def end(self) -> list[bytes | None]:
        """Give what is still held back: nothing more will come."""
        pieces: list[bytes | None] = []
        while self._held:
            pieces += self._skip_hole()
        return pieces

    def _connect(self, seq: int) -> list[bytes | None]:
        pieces = self.end()
        if self.connections:
            pieces.append(BREAK)
        self.connections += 1
        self._next = seq
        return pieces

    def _ahead(self, seq: int) -> int:
        """How far `seq` is ahead of what is due, in bytes; negative for what was seen before."""
        return (seq - self._next + _MODULUS // 2) % _MODULUS - _MODULUS // 2

    def _take(self, data: bytes) -> list[bytes | None]:
        self._next = (self._next + len(data)) % _MODULUS
        return [data] if data else []

    def _follow(self) -> list[bytes | None]:
        """Take from what is held back as far as nothing is missing."""
        pieces: list[bytes | None] = []
        for seq in sorted(self._held, key=self._ahead):
            ahead = self._ahead(seq)
            if ahead > 0:
                break
            data = self._held.pop(seq)
            self._held_bytes -= len(data)
            pieces += self._take(data[-ahead:])
        return pieces

    def _skip_hole(self) -> list[bytes | None]:
        self.holes += 1
        self._next = min(self._held, key=self._ahead)
        return [BREAK, *self._follow()]
