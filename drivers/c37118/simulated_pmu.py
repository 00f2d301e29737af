"""The behaviour of one simulated PMU: a power grid, and what a PMU measures in it (no wire, no clock)."""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from drivers.c37118.frames import (
    AnalogChannel,
    DigitalWord,
    Installation,
    Phasor,
    PhasorChannel,
    PmuConfiguration,
    PmuData,
    Polar,
    Rect,
    ScaledAnalog,
    ScaledPhasor,
)

TRIGGER, CONFIGURATION_CHANGE, ABSENT = 0x0800, 0x0400, 0x8000


@dataclass
class Grid:
    """A power grid whose frequency swings slowly about nominal; the angle is its integral, ROCOF its derivative.

    f(t) = nominal + offset + swing * sin(2 pi t / swing_period). Attributes may be changed at any time; the angle
    stays continuous.

    Attributes:
        nominal: 50 or 60 Hz.
        offset: constant deviation from nominal in Hz.
        swing: amplitude of the swing in Hz.
        swing_period: seconds.
        time: seconds since the start.
        angle: angle of phase A's voltage against a cosine of nominal frequency locked to UTC, rad, -pi..pi.
    """

    nominal: int = 50
    offset: float = 0.01
    swing: float = 0.02
    swing_period: float = 20.0
    time: float = 0.0
    angle: float = 0.0

    @property
    def _omega(self) -> float:
        return 2 * math.pi / self.swing_period

    @property
    def frequency(self) -> float:
        """Frequency now, Hz."""
        return self.nominal + self.offset + self.swing * math.sin(self._omega * self.time)

    @property
    def rocof(self) -> float:
        """Rate of change of frequency now, Hz/s."""
        return self.swing * self._omega * math.cos(self._omega * self.time)

    def step(self, dt: float) -> None:
        """Go on by `dt` seconds; the angle advances by the exact integral of 2 pi (f - nominal)."""
        before = math.cos(self._omega * self.time)
        self.time += dt
        after = math.cos(self._omega * self.time)
        self.angle = wrap(self.angle + 2 * math.pi * (self.offset * dt + self.swing / self._omega * (before - after)))


def wrap(angle: float) -> float:
    """Bring an angle in rad into -pi..pi."""
    return math.remainder(angle, 2 * math.pi)


@dataclass
class SimulatedPmu:
    """One PMU: what it is called, what it sends, and its state as plain attributes.

    A phasor's name says what it measures: I... is a current, anything else a voltage; a last letter A, B or C is that
    phase, anything else the positive sequence. The analogs P and Q are three-phase powers in MW and Mvar, others a
    constant 25.

    Attributes:
        station: name, at most 16 bytes.
        idcode: of this block; None = that of the stream.
        format: FORMAT word: bit 0 polar, 1 float phasors, 2 float analogs, 3 float FREQ and DFREQ.
        phasors: names. analogs: names. digitals: up to 16 names for each word, bit 0 first.
        nominal: 50 or 60 Hz.
        cfgcnt: configuration change count.
        voltage: line to neutral, V. current: A. lag: of the currents behind the voltages, rad.
        words: the digital words as sent.
        stat: STAT bits that are always set.
        trigger: None, or the trigger reason 0..15 (sets STAT bit 11).
        latitude, longitude: degrees. elevation: m. service_class: "M" or "P". delay: of the filters, us.
        absent: no measurement: values NaN and STAT 15-14 = 10.
    """

    station: str = "SIM PMU"
    idcode: int | None = None
    format: int = 0b1111
    phasors: tuple[str, ...] = ("VA", "VB", "VC", "V1", "IA", "IB", "IC", "I1")
    analogs: tuple[str, ...] = ("P", "Q", "TEMPERATURE")
    digitals: tuple[tuple[str, ...], ...] = (("BREAKER CLOSED", "ISOLATOR CLOSED", "PROTECTION TRIP", "DOOR OPEN"),)
    nominal: int = 50
    cfgcnt: int = 0
    voltage: float = 63_500.0
    current: float = 400.0
    lag: float = 0.3
    words: list[int] = field(default_factory=lambda: [0b0011])
    stat: int = 0
    trigger: int | None = None
    absent: bool = False
    latitude: float = 52.5
    longitude: float = 13.25
    elevation: float = 34.0
    service_class: str = "M"
    delay: int = 50_000

    def configuration3(self, stream_idcode: int) -> PmuConfiguration:
        """Give this PMU's block of a CFG-3: the same scaling in other words."""
        block = self.configuration(stream_idcode)
        return replace(
            block,
            phasors=tuple(
                ScaledPhasor(
                    phasor.name, 0, 8 * phasor.current + _component(phasor.name), 0, self._scale(phasor.name), 0.0
                )
                for phasor in block.phasors
            ),
            analogs=tuple(ScaledAnalog(analog.name, 1.0, 0.0) for analog in block.analogs),
            installation=Installation(
                block.idcode.to_bytes(16),
                self.latitude,
                self.longitude,
                self.elevation,
                self.service_class,
                2 * self.delay,
                self.delay,
            ),
        )

    def configuration(self, stream_idcode: int) -> PmuConfiguration:
        """Give this PMU's block of a configuration frame."""
        return PmuConfiguration(
            station=self.station,
            idcode=stream_idcode if self.idcode is None else self.idcode,
            format=self.format,
            phasors=tuple(PhasorChannel(name, _is_current(name), self._factor(name)) for name in self.phasors),
            analogs=tuple(AnalogChannel(name, 1, 1) for name in self.analogs),
            digitals=tuple(
                DigitalWord((names + ("",) * 16)[:16], normal=0b0011, valid=(1 << len(names)) - 1)
                for names in self.digitals
            ),
            fnom=int(self.nominal == 50),
            cfgcnt=self.cfgcnt,
        )

    def measure(self, grid: Grid, announcing: bool = False) -> PmuData:
        """Give what this PMU sees in `grid` now. `announcing`: STAT bit 10, the configuration will change."""
        stat = self.stat | (CONFIGURATION_CHANGE if announcing else 0)
        if self.trigger is not None:
            stat |= TRIGGER | self.trigger & 0x0F
        words = tuple((self.words + [0] * len(self.digitals))[: len(self.digitals)])
        if self.absent:
            nothing = Polar(math.nan, math.nan) if self.format & 1 else Rect(math.nan, math.nan)
            phasors = (nothing,) * len(self.phasors)
            return PmuData(stat | ABSENT, phasors, math.nan, math.nan, (math.nan,) * len(self.analogs), words)
        return PmuData(
            stat=stat,
            phasors=tuple(self._phasor(name, grid.angle) for name in self.phasors),
            freq=grid.frequency,
            rocof=grid.rocof,
            analogs=tuple(self._analog(name) for name in self.analogs),
            digitals=words,
        )

    def _phasor(self, name: str, angle: float) -> Phasor:
        shift = {"B": -2 * math.pi / 3, "C": 2 * math.pi / 3}.get(name[-1:], 0.0)
        magnitude = self.current if _is_current(name) else self.voltage
        polar = Polar(magnitude, wrap(angle + shift - (self.lag if _is_current(name) else 0.0)))
        return polar if self.format & 1 else Rect(polar.re, polar.im)

    def _analog(self, name: str) -> float:
        apparent = 3 * self.voltage * self.current / 1e6
        return {"P": apparent * math.cos(self.lag), "Q": apparent * math.sin(self.lag)}.get(name, 25.0)

    def _scale(self, name: str) -> float:
        """Give V or A per count as a single float; 1 for float phasors."""
        return 1.0 if self.format & 2 else float(np.float32(self._factor(name) * 1e-5))

    def _factor(self, name: str) -> int:
        """Give the 10^-5 V or A per count at which one and a half times the magnitude still fits an int16."""
        return math.ceil((self.current if _is_current(name) else self.voltage) * 1.5 / 32767 * 1e5)


def _is_current(name: str) -> bool:
    return name.startswith("I")


def _component(name: str) -> int:
    """Give bits 2-0 of PHSCALE's type: positive sequence, or phase A to C."""
    return {"A": 4, "B": 5, "C": 6}.get(name[-1:], 1)
