"""What can go wrong on the simulated scope's wire, as attributes."""

from dataclasses import dataclass


@dataclass
class Faults:
    """Faults of the simulator's wire. Counts run down by themselves, the others stay until they are taken back.

    Attributes:
        mute: True = take connections and calls, answer nothing.
        slow: s before each reply.
        late: so many replies come `late_by` s late.
        late_by: s.
        fragments: bytes of a record's fragments; 0 = each record whole.
        short: most bytes of a read; 0 = what was asked for.
        stall: so many reads with data stop in mid-record and never go on.
        cut: so many reads with data end in a reset of the connection in mid-record.
        wrong_xid: so many replies carry the number of a call that was never made.
        garbage: so many replies are no RPC replies.
        endless: so many replies to reads announce far more than was asked for.
        error: so many writes and reads are answered with `error_code`.
        error_code: a VXI-11 error, e.g. 11, 15, 17, 23.
        links_full: True = no link is made (error 9).
        truncated: so many waveform blocks end in their middle.
        lying: so many waveform blocks have a descriptor that contradicts itself.
        unknown: True = descriptors have states that the template does not know.
    """

    mute: bool = False
    slow: float = 0.0
    late: int = 0
    late_by: float = 0.0
    fragments: int = 0
    short: int = 0
    stall: int = 0
    cut: int = 0
    wrong_xid: int = 0
    garbage: int = 0
    endless: int = 0
    error: int = 0
    error_code: int = 17
    links_full: bool = False
    truncated: int = 0
    lying: int = 0
    unknown: bool = False

    def take(self, name: str) -> bool:
        """Tell whether a counted fault is due now, and count it down."""
        left = getattr(self, name)
        if left > 0:
            setattr(self, name, left - 1)
        return left > 0

    @property
    def spoils_blocks(self) -> bool:
        """Whether a waveform block would leave changed."""
        return self.unknown or self.truncated > 0 or self.lying > 0

    def block(self, data: bytes) -> bytes:
        """Give what leaves in place of a waveform block `#9...`."""
        if len(data) > 400 and self.take("truncated"):
            data = data[: len(data) // 2]
        if len(data) > 400 and self.take("lying"):
            data = data[: 11 + 116] + b"\x7f\x00\x00\x7f" + data[11 + 120 :]
        if len(data) > 400 and self.unknown:
            data = data[: 11 + 324] + b"\x77\x77" + data[11 + 326 :]
        return data
