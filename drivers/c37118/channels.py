"""What a configuration says: stations, channels, their formats and scaling, data rate (pure).

`configuration` and `configuration3` read and write it as CFG-1 and CFG-2, and as CFG-3.
"""

import struct
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Literal

from drivers.c37118.envelope import HEAD_SIZE, FrameType, TimeQuality


@dataclass(frozen=True, slots=True)
class PhasorChannel:
    """One phasor of a configuration. `factor`: 10^-5 V or A per count (integer format only); `current`: A, else V."""

    name: str
    current: bool
    factor: int

    @property
    def per_count(self) -> tuple[int, int]:
        """V or A per count of the integer format, as numerator and denominator: dividing whole numbers rounds once."""
        return self.factor, 100_000

    @property
    def per_float(self) -> float:
        """V or A per unit of the float format."""
        return 1.0

    @property
    def offset(self) -> float:
        """Angle to be subtracted, rad."""
        return 0.0


AnunitRule = Literal["raw", "factor", "factor_1e-5"]


@dataclass(frozen=True, slots=True)
class AnalogChannel:
    """One analog value. `kind`: 0 point on wave, 1 rms, 2 peak, 65-255 user; `factor`: signed, user-defined scaling."""

    name: str
    kind: int
    factor: int

    def per_count(self, rule: AnunitRule) -> tuple[int, int]:
        """What a count of the integer format stands for, as numerator and denominator.

        The standard leaves it to the user, and the peers disagree: the count as it is ("raw"), times the factor, or
        times the factor in 10^-5 ("factor_1e-5", as with PHUNIT).
        """
        return {"raw": (1, 1), "factor": (self.factor, 1), "factor_1e-5": (self.factor, 100_000)}[rule]

    @property
    def scale(self) -> float:
        """What a sent number is to be multiplied with: the user's scaling is not applied."""
        return 1.0

    @property
    def offset(self) -> float:
        """What is to be added then."""
        return 0.0


@dataclass(frozen=True, slots=True)
class ScaledPhasor:
    """One phasor of a CFG-3 (PHSCALE): magnitude * `scale`, angle - `offset` (rad), in either format.

    `flags`: what was done to it (bit 1 upsampled .. 9 rotated, 10 pseudo-phasor); `kind`: bit 3 current, bits 2-0 zero,
    positive, negative sequence, 4 to 6 phase A to C; `user`: for the maker's use.
    """

    name: str
    flags: int
    kind: int
    user: int
    scale: float
    offset: float

    @property
    def current(self) -> bool:
        """A current (A), else a voltage (V)."""
        return bool(self.kind & 8)

    @property
    def per_count(self) -> tuple[float, int]:
        """V or A per count of the integer format, as numerator and denominator."""
        return self.scale, 1

    @property
    def per_float(self) -> float:
        """V or A per unit of the float format."""
        return self.scale


@dataclass(frozen=True, slots=True)
class ScaledAnalog:
    """One analog value of a CFG-3 (ANSCALE): `scale` * sent + `offset`, in either format."""

    name: str
    scale: float
    offset: float


@dataclass(frozen=True, slots=True)
class DigitalWord:
    """One 16-bit digital status word. `names`: of bit 0 .. bit 15; abnormal = (word ^ normal) & valid."""

    names: tuple[str, ...]
    normal: int
    valid: int


@dataclass(frozen=True, slots=True)
class Installation:
    """What a CFG-3 says of a PMU beside its channels.

    `global_id`: 16 bytes; `latitude`, `longitude`: degrees (WGS84), `elevation`: m, each infinite where not specified;
    `service_class`: "M" (measurement) or "P" (protection); `window`, `delay`: of the filters, us, information only.
    """

    global_id: bytes
    latitude: float
    longitude: float
    elevation: float
    service_class: str
    window: int
    delay: int


@dataclass(frozen=True, slots=True)
class PmuConfiguration:
    """One PMU block of a configuration frame (C37.118.2-2011, tables 9 and 10). Names as sent, without padding.

    `installation`: what a CFG-3 says beside the channels, else None.
    """

    station: str
    idcode: int
    format: int
    phasors: tuple[PhasorChannel | ScaledPhasor, ...]
    analogs: tuple[AnalogChannel | ScaledAnalog, ...]
    digitals: tuple[DigitalWord, ...]
    fnom: int
    cfgcnt: int
    installation: Installation | None = None

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

    @property
    def data_layout(self) -> str:
        """The part of a data frame that is this PMU's, in the words of `struct`: from STAT to the digital words."""
        phasor = "ff" if self.phasors_float else "Hh" if self.polar else "hh"
        freq = "ff" if self.freq_float else "hh"
        analog = "f" if self.analogs_float else "h"
        return "H" + phasor * len(self.phasors) + freq + analog * len(self.analogs) + "H" * len(self.digitals)


@dataclass(frozen=True)
class Configuration:
    """A CFG-1, CFG-2 or CFG-3 (`type` says which; that of a CFG-3 in fragments is the last one's head).

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

    @cached_property
    def data_struct(self) -> struct.Struct:
        """The body of this configuration's data frames, compiled once (hence no slots on this class)."""
        return struct.Struct(">" + "".join(pmu.data_layout for pmu in self.pmus))

    @cached_property
    def stat_at(self) -> tuple[int, ...]:
        """The byte at which each PMU's STAT word begins in a data frame."""
        sizes = [struct.calcsize(">" + pmu.data_layout) for pmu in self.pmus]
        return tuple(accumulate(sizes[:-1], initial=HEAD_SIZE))


def same_layout(one: Configuration | None, other: Configuration | None) -> bool:
    """Tell whether two configurations decode data alike and have the same CFGCNT; when they were sent does not
    matter.
    """
    if one is None or other is None:
        return one is other
    return _timeless(one) == _timeless(other)


def _timeless(configuration: Configuration) -> str:
    return repr(replace(configuration, soc=0, fracsec=0, tq=TimeQuality(0)))  # NaN is not equal to itself
