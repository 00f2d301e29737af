"""Data frames: phasors, frequency, analogs and digital words, by the configuration they were sent under (pure).

Absent values are NaN in messages and 0x8000 in integer fields; an integer polar phasor is absent by its angle, since
every magnitude is legal. Source: IEEE C37.118.2-2011, clause 6.3 and tables 5 to 7.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from drivers.c37118.channels import (
    Configuration,
    PhasorChannel,
    PmuConfiguration,
    ScaledAnalog,
    ScaledPhasor,
)
from drivers.c37118.envelope import HEAD_SIZE, Envelope, TimeQuality, excerpt, time_ns
from drivers.errors import ProtocolError

ABSENT = -0x8000  # 0x8000, read as a signed integer


class NoConfiguration(ProtocolError):
    """A data frame of a stream whose configuration is not known: ask the PMU for CFG-2."""


class StaleConfiguration(ProtocolError):
    """A data frame of another size than its configuration says: ask the PMU for CFG-2 again."""


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
        """Real part in V or A; NaN where the angle is not a finite number."""
        return self.magnitude * math.cos(self.angle) if math.isfinite(self.angle) else math.nan

    @property
    def im(self) -> float:
        """Imaginary part in V or A; NaN where the angle is not a finite number."""
        return self.magnitude * math.sin(self.angle) if math.isfinite(self.angle) else math.nan


Phasor = Rect | Polar


@dataclass(frozen=True, slots=True)
class Stat:
    """The STAT word of one PMU (C37.118.2-2011, table 7). Every 16-bit value is legal."""

    raw: int

    @property
    def error(self) -> int:
        """Bits 15-14: 0 good, 1 PMU error, 2 test mode or absent data filled in, 3 PMU error; use no data unless 0."""
        return self.raw >> 14 & 3

    @property
    def unsynced(self) -> bool:
        """Bit 13: not in step with a UTC source."""
        return bool(self.raw & 0x2000)

    @property
    def sorted_by_arrival(self) -> bool:
        """Bit 12: sorted by arrival, else by time stamp."""
        return bool(self.raw & 0x1000)

    @property
    def trigger(self) -> bool:
        """Bit 11: trigger detected."""
        return bool(self.raw & 0x0800)

    @property
    def configuration_change(self) -> bool:
        """Bit 10: the configuration will change; the new one counts from the first frame with this bit back at 0."""
        return bool(self.raw & 0x0400)

    @property
    def modified(self) -> bool:
        """Bit 9: data modified by post-processing (edition 2011)."""
        return bool(self.raw & 0x0200)

    @property
    def time_quality(self) -> int:
        """Bits 8-6, PMU_TQ: 0 not used, 1 below 100 ns, then ten times more a step, 7 above 10 ms or unknown (2011)."""
        return self.raw >> 6 & 7

    @property
    def unlocked(self) -> int:
        """Bits 5-4: 0 locked or unlocked for less than 10 s, 1 less than 100 s, 2 less than 1000 s, 3 longer."""
        return self.raw >> 4 & 3

    @property
    def trigger_reason(self) -> int:
        """Bits 3-0: 0 manual, 1 magnitude low, 2 high, 3 phase difference, 4 FREQ, 5 ROCOF, 7 digital, 8-15 user."""
        return self.raw & 0x0F


@dataclass(frozen=True, slots=True)
class PmuData:
    """One PMU's part of a data frame: STAT, phasors in V or A and rad, FREQ in Hz, ROCOF in Hz/s, analogs, digitals.

    Integer analogs are raw counts where there is no CFG-3 (what ANUNIT means is the user's own), absent values NaN.
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


def expected_size(configuration: Configuration) -> int:
    """Give the size in bytes of a configuration's data frames."""
    return HEAD_SIZE + configuration.data_struct.size + 2


def stale(frame: bytes, configuration: Configuration) -> StaleConfiguration:
    """Say that a data frame has another size than its configuration's."""
    return StaleConfiguration(
        f"data frame of stream {configuration.idcode} has {len(frame)} bytes (FRAMESIZE at byte 2), by the "
        f"configuration {expected_size(configuration)}: {excerpt(frame)}"
    )


def announces_change(frame: bytes, configuration: Configuration) -> bool:
    """Tell whether STAT bit 10 of any PMU is set in a data frame of the configuration's size."""
    return any(frame[at] & 0x04 for at in configuration.stat_at)


def decode_data(envelope: Envelope, frame: bytes, configuration: Configuration | None) -> DataFrame:
    """Read a whole data frame whose envelope is good.

    Raises:
        NoConfiguration: none given, or that of another stream.
        StaleConfiguration: the frame has another size than the configuration's.
    """
    idcode = envelope.idcode
    if configuration is None:
        raise NoConfiguration(f"data frame of stream {idcode}: no configuration is known: {excerpt(frame)}")
    if configuration.idcode != idcode:
        raise NoConfiguration(
            f"data frame of stream {idcode} (IDCODE at byte 4), the configuration is that of stream "
            f"{configuration.idcode}: {excerpt(frame)}"
        )
    if len(frame) != expected_size(configuration):
        raise stale(frame, configuration)
    words = configuration.data_struct.unpack_from(frame, HEAD_SIZE)
    pmus, at = [], 0
    for pmu in configuration.pmus:
        freq = at + 1 + 2 * len(pmu.phasors)
        analogs = freq + 2
        digitals = analogs + len(pmu.analogs)
        end = digitals + len(pmu.digitals)
        hz, hz_per_s = words[freq:analogs] if pmu.freq_float else _frequency(pmu, *words[freq:analogs])
        pmus.append(
            PmuData(
                words[at],
                _phasors(pmu, words[at + 1 : freq]),
                hz,
                hz_per_s,
                _analogs(pmu, words[analogs:digitals]),
                words[digitals:end],
            )
        )
        at = end
    return DataFrame(
        idcode,
        envelope.soc,
        TimeQuality(envelope.tq),
        envelope.fracsec,
        time_ns(envelope.soc, envelope.fracsec, configuration.time_base),
        tuple(pmus),
        envelope.version,
    )


def _phasors(pmu: PmuConfiguration, words: Sequence[float]) -> tuple[Phasor, ...]:
    pairs = zip(words[::2], words[1::2], strict=True)
    scaled = any(isinstance(channel, ScaledPhasor) for channel in pmu.phasors)
    if pmu.phasors_float and not scaled:
        return tuple(map(Polar._make if pmu.polar else Rect._make, pairs))
    read = _polar if pmu.polar else _rect
    return tuple(read(pmu, channel, *pair) for channel, pair in zip(pmu.phasors, pairs, strict=True))


def _rect(pmu: PmuConfiguration, channel: PhasorChannel | ScaledPhasor, re: float, im: float) -> Rect:
    if pmu.phasors_float:
        re, im = re * channel.per_float, im * channel.per_float
    else:
        re, im = _scaled(re, *channel.per_count), _scaled(im, *channel.per_count)
    if not channel.offset:
        return Rect(re, im)
    cos, sin = _direction(channel)
    return Rect(re * cos + im * sin, im * cos - re * sin)


def _polar(pmu: PmuConfiguration, channel: PhasorChannel | ScaledPhasor, magnitude: float, angle: float) -> Polar:
    if pmu.phasors_float:
        return Polar(magnitude * channel.per_float, _turned(angle, channel.offset))
    if angle == ABSENT:
        return Polar(math.nan, math.nan)
    return Polar(_scaled(magnitude, *channel.per_count, None), _turned(angle / 10_000, channel.offset))


def _turned(angle: float, offset: float) -> float:
    """Subtract an offset, within half a turn; an angle without one stays as it was sent."""
    if not offset:
        return angle
    return math.remainder(angle - offset, math.tau) if math.isfinite(angle - offset) else math.nan


def _direction(channel: PhasorChannel | ScaledPhasor) -> tuple[float, float]:
    """Give cosine and sine of the angle that is to be subtracted."""
    if not math.isfinite(channel.offset):
        return math.nan, math.nan
    return math.cos(channel.offset), math.sin(channel.offset)


def _scaled(count: float, numerator: float, denominator: int, absent: int | None = ABSENT) -> float:
    # Dividing whole numbers rounds once; a factor of 1e-5 would round twice.
    return math.nan if count == absent else count * numerator / denominator


def _analogs(pmu: PmuConfiguration, words: Sequence[float]) -> tuple[float, ...]:
    if not pmu.analogs_float:
        words = tuple(math.nan if word == ABSENT else float(word) for word in words)
    if any(isinstance(channel, ScaledAnalog) for channel in pmu.analogs):
        return tuple(c.scale * word + c.offset for c, word in zip(pmu.analogs, words, strict=True))
    return tuple(words)


def _frequency(pmu: PmuConfiguration, freq: int, rocof: int) -> tuple[float, float]:
    """Hz from mHz off nominal, and Hz/s from hundredths."""
    return (
        math.nan if freq == ABSENT else (pmu.nominal * 1000 + freq) / 1000,
        math.nan if rocof == ABSENT else rocof / 100,
    )


def encode_data(data: DataFrame, configuration: Configuration | None) -> bytes:
    """Give the body of a data frame. A phasor may be given in either form, whatever FORMAT says.

    Raises:
        ValueError: no configuration, one that does not fit the data, or a value that its field cannot hold.
    """
    if configuration is None:
        raise ValueError("a data frame is encoded by its configuration: give it")
    if configuration.idcode != data.idcode or len(configuration.pmus) != len(data.pmus):
        raise ValueError(
            f"data of stream {data.idcode} with {len(data.pmus)} PMUs do not fit the configuration of stream "
            f"{configuration.idcode} with {len(configuration.pmus)}"
        )
    words: list[float] = []
    for pmu, values in zip(configuration.pmus, data.pmus, strict=True):
        if (len(pmu.phasors), len(pmu.analogs), len(pmu.digitals)) != (
            len(values.phasors),
            len(values.analogs),
            len(values.digitals),
        ):
            raise ValueError(
                f"PMU {pmu.idcode} has {len(pmu.phasors)} phasors, {len(pmu.analogs)} analogs and {len(pmu.digitals)} "
                f"digital words, the data {len(values.phasors)}, {len(values.analogs)} and {len(values.digitals)}"
            )
        words.append(values.stat)
        for channel, phasor in zip(pmu.phasors, values.phasors, strict=True):
            words += _phasor_words(pmu, channel, phasor)
        if pmu.freq_float:
            words += values.freq, values.rocof
        else:
            words.append(_integer("FREQ", (values.freq - pmu.nominal) * 1000))
            words.append(_integer("DFREQ", values.rocof * 100))
        for channel, value in zip(pmu.analogs, values.analogs, strict=True):
            sent = value
            if isinstance(channel, ScaledAnalog):
                sent = _divided(channel.name, value - channel.offset, channel.scale)
            words.append(sent if pmu.analogs_float else _integer(channel.name, sent))
        words += values.digitals
    try:
        return configuration.data_struct.pack(*words)
    except (struct.error, OverflowError) as error:
        raise ValueError(f"data of stream {data.idcode}: {error}") from error


def _phasor_words(pmu: PmuConfiguration, channel: PhasorChannel | ScaledPhasor, phasor: Phasor) -> tuple[float, float]:
    if pmu.polar:
        magnitude, angle = phasor.magnitude, phasor.angle
        if channel.offset:  # adding 0 would make 0 of -0
            angle = _turned(angle, -channel.offset)
        if pmu.phasors_float:
            return _divided(channel.name, magnitude, channel.per_float), angle
        if math.isnan(magnitude) or math.isnan(angle):
            return 0x8000, ABSENT
        return _counted(channel, magnitude, 0, 0xFFFF), _integer(channel.name, angle * 10_000)
    re, im = phasor.re, phasor.im
    if channel.offset:
        cos, sin = _direction(channel)
        re, im = re * cos - im * sin, im * cos + re * sin
    if pmu.phasors_float:
        return _divided(channel.name, re, channel.per_float), _divided(channel.name, im, channel.per_float)
    return _counted(channel, re), _counted(channel, im)


def _counted(channel: PhasorChannel | ScaledPhasor, value: float, least: int = -0x7FFF, most: int = 0x7FFF) -> int:
    numerator, denominator = channel.per_count
    return _integer(channel.name, _divided(channel.name, value * denominator, numerator), least, most)


def _divided(name: str, value: float, by: float) -> float:
    if by:
        return value / by
    if value and not math.isnan(value):
        raise ValueError(f"{name}: {value} cannot be sent with a scale of 0")
    return value


def _integer(name: str, count: float, least: int = -0x7FFF, most: int = 0x7FFF) -> int:
    """Round to the nearest count; NaN is the code for absent data, which no value may take."""
    if math.isnan(count):
        return ABSENT
    if not least - 0.5 <= count <= most + 0.5 or not least <= round(count) <= most:
        raise ValueError(f"{name}: {count:g} counts are not within {least}..{most}")
    return round(count)
