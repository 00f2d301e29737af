"""What can go wrong on the simulator's wire, as attributes, and how each fault changes the bytes of a frame."""

import random
from dataclasses import dataclass, field

from drivers.c37118.envelope import FrameType


@dataclass
class Faults:
    """Faults of the simulator's wire. Counts run down by themselves, the others stay until they are taken back.

    Attributes:
        mute: True = take connections and bytes, send nothing at all.
        silence: True = no data frames; commands are still answered.
        slow: seconds before each answer to a command.
        garble: for so many frames, some bytes are replaced by others.
        bad_crc: for so many frames, CHK is wrong and all else right.
        garbage: so many bytes that are no frame go out before the next frame; 0xAA is often among them.
        gap: so many frames are left out.
        duplicate: so many frames are sent twice.
        swap: so many frames are sent behind the one that follows them.
        drop_after: after so many more frames every connection is cut; None = never.
        split: True = the second half of a frame only leaves together with the first half of the next.
        merge: frames leave in bundles of so many.
        ignore_off: True = command 1 is not obeyed (seen in the field).
        unasked: True = data is on from the connection on (seen in the field).
        shy: True = configurations are sent only while data is off (seen in the field).
        stranger: True = obey and answer whatever IDCODE a command carries.
    """

    mute: bool = False
    silence: bool = False
    slow: float = 0.0
    garble: int = 0
    bad_crc: int = 0
    garbage: int = 0
    gap: int = 0
    duplicate: int = 0
    swap: int = 0
    drop_after: int | None = None
    split: bool = False
    merge: int = 1
    ignore_off: bool = False
    unasked: bool = False
    shy: bool = False
    stranger: bool = False
    _overtaken: list[bytes] = field(default_factory=list, repr=False)
    _random: random.Random = field(default_factory=lambda: random.Random(37118), repr=False)

    def frames(self, frame: bytes) -> list[bytes]:
        """Give what leaves in place of one data frame: nothing, the frame, or several pieces, each a whole.

        A configuration that is sent in between leaves as it is, and is not counted.
        """
        if frame[1] >> 4 != FrameType.DATA:
            return [frame]
        if self.gap > 0:
            self.gap -= 1
            return []
        if self.swap > 0 and not self._overtaken:
            self.swap -= 1
            self._overtaken.append(frame)
            return []
        sent = []
        if self.garbage > 0:
            sent.append(
                bytes(self._random.choice((0xAA, 0x01, self._random.randrange(256))) for _ in range(self.garbage))
            )
            self.garbage = 0
        if self.bad_crc > 0:
            self.bad_crc -= 1
            frame = frame[:-1] + bytes([frame[-1] ^ 0x5A])
        elif self.garble > 0:
            self.garble -= 1
            frame = self._garbled(frame)
        sent.append(frame)
        if self.duplicate > 0:
            self.duplicate -= 1
            sent.append(frame)
        sent += self._overtaken
        self._overtaken.clear()
        return sent

    def _garbled(self, frame: bytes) -> bytes:
        """Change a burst of up to 16 bits: no such burst escapes a CRC of 16 bits."""
        at = self._random.randrange(len(frame) - 1)
        burst = self._random.randrange(1, 65536).to_bytes(2, "big")
        return frame[:at] + bytes(a ^ b for a, b in zip(frame[at : at + 2], burst, strict=True)) + frame[at + 2 :]
