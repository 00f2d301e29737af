"""C37.118 frames as typed messages (pure: no wire, no clock).

`decode(bytes) -> Message` and `encode(Message) -> bytes` for data, header, CFG-1, CFG-2 and command frames of editions
2005 (version nibble 1) and 2011 (2). CFG-3 is recognised, not decoded. A frame of the 2024 edition is refused as
unsupported, never decoded with the tables of the older ones.

All words are big-endian. Times are integer nanoseconds since 1970 (UTC, leap seconds not counted).
Source: IEEE C37.118-2005 and C37.118.2-2011, clause 6.
"""

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple


class FrameType(IntEnum):
    """Bits 6-4 of the second SYNC byte (C37.118.2-2011, table 2). Command is 4, CFG-3 is 5."""

    DATA = 0
    HEADER = 1
    CFG1 = 2
    CFG2 = 3
    COMMAND = 4
    CFG3 = 5


class Command(IntEnum):
    """What a client may ask of a PMU (C37.118.2-2011, table 15). There is no error reply to any of them."""

    DATA_OFF = 1
    DATA_ON = 2
    SEND_HEADER = 3
    SEND_CFG1 = 4
    SEND_CFG2 = 5
    SEND_CFG3 = 6
    EXTENDED = 8


class Rect(NamedTuple):
    """A phasor sent as real and imaginary part, in V or A."""

    re: float
    im: float

    @property
    def magnitude(self) -> float:
        """Magnitude in V or A."""
        return math.hypot(self.re, self.im)

    @property
    def angle(self) -> float:
        """Angle in rad, -pi..pi."""
        return math.atan2(self.im, self.re)


class Polar(NamedTuple):
    """A phasor sent as magnitude in V or A and angle in rad."""

    magnitude: float
    angle: float

    @property
    def re(self) -> float:
        """Real part in V or A."""
        return self.magnitude * math.cos(self.angle)

    @property
    def im(self) -> float:
        """Imaginary part in V or A."""
        return self.magnitude * math.sin(self.angle)


Phasor = Rect | Polar


@dataclass(frozen=True, slots=True)
class TimeQuality:
    """Byte 10 of every frame (C37.118.2-2011, table 3)."""

    raw: int

    @property
    def code(self) -> int:
        """MSG_TQ: 0 locked to UTC, 1..9 within 10^(n-10) s, 10 within 1 s, 11 within 10 s, 15 clock failure or never set."""
        return self.raw & 0x0F

    @property
    def leap_pending(self) -> bool:
        """A leap second comes within the next minute."""
        return bool(self.raw & 0x10)

    @property
    def leap_occurred(self) -> bool:
        """A leap second was within the last 24 h."""
        return bool(self.raw & 0x20)

    @property
    def leap_deleted(self) -> bool:
        """Direction of that leap second; meaningful only while pending or occurred."""
        return bool(self.raw & 0x40)


@dataclass(frozen=True, slots=True)
class PhasorChannel:
    """One phasor of a configuration. `factor`: 10^-5 V or A per count (integer format only); `current`: A, else V."""

    name: str
    current: bool
    factor: int


@dataclass(frozen=True, slots=True)
class AnalogChannel:
    """One analog value. `kind`: 0 point on wave, 1 rms, 2 peak, 65-255 user; `factor`: signed, user-defined scaling."""

    name: str
    kind: int
    factor: int


@dataclass(frozen=True, slots=True)
class DigitalWord:
    """One 16-bit digital status word. `names`: of bit 0 .. bit 15; abnormal = (word ^ normal) & valid."""

    names: tuple[str, ...]
    normal: int
    valid: int


@dataclass(frozen=True, slots=True)
class PmuConfiguration:
    """One PMU block of a CFG-1 or CFG-2 frame (C37.118.2-2011, table 9). Names as sent, without padding."""

    station: str
    idcode: int
    format: int
    phasors: tuple[PhasorChannel, ...]
    analogs: tuple[AnalogChannel, ...]
    digitals: tuple[DigitalWord, ...]
    fnom: int
    cfgcnt: int

    @property
    def polar(self) -> bool:
        """FORMAT bit 0: phasors as magnitude and angle, else real and imaginary."""
        return bool(self.format & 1)

    @property
    def phasors_float(self) -> bool:
        """FORMAT bit 1: phasors as IEEE floats, else 16-bit integers."""
        return bool(self.format & 2)

    @property
    def analogs_float(self) -> bool:
        """FORMAT bit 2: analogs as IEEE floats, else 16-bit integers."""
        return bool(self.format & 4)

    @property
    def freq_float(self) -> bool:
        """FORMAT bit 3: FREQ and DFREQ as IEEE floats, else 16-bit integers."""
        return bool(self.format & 8)

    @property
    def nominal(self) -> int:
        """Nominal frequency in Hz: 50 or 60 (FNOM bit 0)."""
        return 50 if self.fnom & 1 else 60


@dataclass(frozen=True, slots=True)
class Configuration:
    """A CFG-1 or CFG-2 frame (`type` says which).

    `data_rate`: above 0 frames per second, below 0 seconds per frame; `time_base`: FRACSEC units per second;
    `time_base_flags`: the reserved top byte, kept as sent; `version`: 1 (2005) or 2 (2011).
    """

    type: FrameType
    idcode: int
    soc: int
    tq: TimeQuality
    fracsec: int
    time_base: int
    pmus: tuple[PmuConfiguration, ...]
    data_rate: int
    version: int = 1
    time_base_flags: int = 0

    @property
    def period(self) -> float:
        """Seconds from one data frame to the next."""
        return 1 / self.data_rate if self.data_rate > 0 else float(-self.data_rate or 1)


@dataclass(frozen=True, slots=True)
class PmuData:
    """One PMU's part of a data frame: STAT, phasors in V or A and rad, FREQ in Hz, ROCOF in Hz/s, analogs, digital words.

    Integer analogs are raw counts (what ANUNIT means is the user's own), absent values NaN.
    """

    stat: int
    phasors: tuple[Phasor, ...]
    freq: float
    rocof: float
    analogs: tuple[float, ...]
    digitals: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DataFrame:
    """A data frame, decoded with its configuration. `time_ns`: SOC and FRACSEC as integer ns since 1970."""

    idcode: int
    soc: int
    tq: TimeQuality
    fracsec: int
    time_ns: int
    pmus: tuple[PmuData, ...]
    version: int = 1


@dataclass(frozen=True, slots=True)
class HeaderFrame:
    """A header frame: free text for people."""

    idcode: int
    soc: int
    tq: TimeQuality
    fracsec: int
    text: str
    version: int = 1


@dataclass(frozen=True, slots=True)
class CommandFrame:
    """A command frame. `extended`: user data of command 8 (even length)."""

    idcode: int
    soc: int
    tq: TimeQuality
    fracsec: int
    command: int
    extended: bytes = b""
    version: int = 1


@dataclass(frozen=True, slots=True)
class Configuration3:
    """A CFG-3 frame, recognised and kept as bytes; its content is not decoded."""

    idcode: int
    soc: int
    tq: TimeQuality
    fracsec: int
    raw: bytes
    version: int = 2


Message = DataFrame | HeaderFrame | CommandFrame | Configuration | Configuration3
