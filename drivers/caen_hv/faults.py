"""What can go wrong on the simulated wire, as attributes, and how each fault changes the bytes of a reply."""

import random
from dataclasses import dataclass, field


@dataclass
class Faults:
    """Faults of the simulator's wire. Counts run down by themselves, the others stay until they are taken back.

    Attributes:
        mute: True = take connections and bytes, do and send nothing at all (a half-open connection looks so).
        slow: s before each reply. Replies keep their order, as those of a real unit.
        late: so many replies come `late_by` s late; what was asked meanwhile is answered after them.
        late_by: s.
        ignored: so many requests are neither obeyed nor answered.
        lost: so many requests are obeyed, and the reply is lost.
        doubled: so many replies come twice, the second `doubled_by` s after the first.
        doubled_by: s.
        merged: so many replies leave together with the next one.
        split: True = each reply leaves in single bytes.
        garbled: so many replies have some bytes changed.
        non_ascii: so many replies have a byte above 127.
        truncated: so many replies end in mid-line, without a line end.
        cut: so many replies end in mid-line, and the connection with them.
        elements: so many replies with several values have one too few.
        another_board: so many replies carry another board number.
        flipped: so many STAT replies have one wrong bit in the first value.
        refused: so many SETs are answered VAL:ERR and not obeyed.
        swallowed: so many SETs are answered CMD:OK and not obeyed.
        sticky: True = a session that ends in a reset instead of in order stays taken until power is switched.
        noise: so many bytes nobody asked for go out before the next reply.
    """

    mute: bool = False
    slow: float = 0.0
    late: int = 0
    late_by: float = 0.0
    ignored: int = 0
    lost: int = 0
    doubled: int = 0
    doubled_by: float = 0.0
    merged: int = 0
    split: bool = False
    garbled: int = 0
    non_ascii: int = 0
    truncated: int = 0
    cut: int = 0
    elements: int = 0
    another_board: int = 0
    flipped: int = 0
    refused: int = 0
    swallowed: int = 0
    sticky: bool = False
    noise: int = 0
    _random: random.Random = field(default_factory=lambda: random.Random(1470), repr=False)

    def take(self, name: str) -> bool:
        """Tell whether a counted fault is due now, and count it down."""
        left = getattr(self, name)
        if left > 0:
            setattr(self, name, left - 1)
        return left > 0

    def reply(self, reply: bytes, par: str) -> bytes:
        """Give what leaves in place of a whole reply."""
        if b";" in reply and self.take("elements"):
            reply = reply[: reply.rindex(b";")] + b"\r\n"
        if self.take("another_board"):
            reply = b"#BD:%02d" % ((int(reply[4:6]) + 1) % 32) + reply[6:]
        if par == "STAT" and b"VAL:" in reply and self.take("flipped"):
            at = reply.index(b"VAL:") + 4
            reply = reply[:at] + b"%05d" % (int(reply[at : at + 5]) ^ 1 << self._random.randrange(14)) + reply[at + 5 :]
        if self.take("garbled"):
            reply = bytes(b if self._random.random() < 0.7 else self._random.randrange(33, 127) for b in reply[:-2])
            reply = b"%" + reply + b"\r\n"
        if self.take("non_ascii"):
            reply = reply[:6] + b"\xe9" + reply[7:]
        if self.take("truncated"):
            reply = reply[: len(reply) // 2]
        if self.noise:
            reply, self.noise = self._random.randbytes(self.noise).replace(b"#", b"%") + reply, 0
        return reply
