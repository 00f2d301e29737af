"""A simulated LeCroy scope: settings, acquisition, status registers. What its commands are is in `simulated_commands`.

Time is the caller's: `catch_up(now)` lets triggers happen that are due. Not for two threads at once: whoever uses it
holds `changed`, and is told over it when something has happened.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from drivers.lecroy.simulated_signal import Acquisition, Pulse, points_for

CHANNELS = ("C1", "C2", "C3", "C4")
SOURCES = (*CHANNELS, "EX", "EX10", "LINE")
NEW, SEGMENT, DISK_FULL, READY = 1, 16, 64, 8192  # bits of INR
VAB = 4  # bit of STB: a value was adapted
MEMORY = (500, 1e3, 2.5e3, 5e3, 1e4, 2.5e4, 5e4, 1e5, 2.5e5, 5e5, 1e6, 2.5e6, 5e6, 1e7, 1.6e7, 3.2e7)
_DECADES = range(-12, 4)
TIMEBASES = tuple(float(f"{step}E{decade}") for decade in _DECADES for step in (1, 2, 5))
AUTO_AFTER = 0.1  # s without a trigger, after which AUTO forces one


@dataclass
class Channel:
    """Settings of an input, under their commands' names, and what lies at it."""

    VDIV: float = 0.1
    OFST: float = 0.0
    CPL: str = "D50"
    ATTN: float = 1.0
    BWL: str = "OFF"
    TRA: str = "ON"
    overload: bool = False
    pulse: Pulse = field(default_factory=Pulse)
    text: bytes = b""


@dataclass
class Source:
    """Settings of a trigger source."""

    TRLV: float = -0.1
    TRSL: str = "NEG"
    TRCP: str = "DC"


@dataclass
class Status:
    """The registers that reading clears, and the bits that are set in them."""

    STB: int = 0
    ESR: int = 128
    INR: int = 0
    DDR: int = 0
    CMR: int = 0
    EXR: int = 0
    URR: int = 0

    def take(self, name: str) -> int:
        """Read a register, which clears it."""
        value = getattr(self, name)
        setattr(self, name, 0)
        return value


@dataclass
class SimulatedScope:
    """A WaveRunner 610Zi. Settings have their commands' names; `rate` is how many triggers a second there are.

    Attributes:
        rate: triggers a second at the inputs; 0 = none ever.
        vicp: its remote interface is set to TCPIP: every query but *IDN? gets a warning.
        disk_full: its disk takes nothing more.
        acquired: acquisitions since power-on.
        taken: the last one.
        stored: files on its disk, by name.
    """

    model: str = "WR610ZI"
    serial: str = "LCRY2801N12345"
    firmware: str = "6.5.0"
    rate: float = 20.0
    vicp: bool = False
    disk_full: bool = False
    CHDR: str = "SHORT"
    CFMT: str = "DEF9,WORD,BIN"
    CORD: str = "HI"
    TDIV: float = 1e-7
    TRDL: float = 10.0
    TRMD: str = "AUTO"
    TRWI: float = 0.0
    MSIZ: float = 1000.0
    SEQ: str = "OFF"
    segments: int = 10
    segment_size: float = 1000.0
    WFSU: tuple[int, int, int, int] = (0, 0, 0, 0)
    trigger: dict[str, str] = field(default_factory=lambda: {"TYPE": "EDGE", "SR": "C2", "HT": "OFF"})
    STST: tuple[str, str, str, str] = ("C1", "HDD", "OFF", "BINARY")
    file_names: dict[str, str] = field(default_factory=dict)
    folder: str = "\\"
    channels: dict[str, Channel] = field(default_factory=lambda: {name: Channel() for name in CHANNELS})
    sources: dict[str, Source] = field(default_factory=lambda: {name: Source() for name in SOURCES})
    status: Status = field(default_factory=Status)
    stored: dict[str, int] = field(default_factory=dict)
    acquired: int = 0
    taken: Acquisition | None = None
    changed: threading.Condition = field(default_factory=threading.Condition, repr=False)
    wall: Callable[[], np.datetime64] = field(default=lambda: np.datetime64(time.time_ns(), "ns"), repr=False)
    _started: float | None = None  # when the acquisition under way began
    _now: float = 0.0
    _forced: bool = False

    def __post_init__(self) -> None:
        """Begin with the trigger mode it has."""
        self.set_mode(self.TRMD)

    @property
    def wanted(self) -> int:
        """Segments of an acquisition."""
        return self.segments if self.SEQ == "ON" else 1

    @property
    def armed(self) -> bool:
        """Whether an acquisition is under way."""
        return self._started is not None

    def set_mode(self, mode: str) -> None:
        """Take a trigger mode; STOP ends what is under way, as STOP does."""
        if mode == "STOP":
            self.stop()
        else:
            self.TRMD = mode
            self._begin(self._now)

    def arm(self) -> None:
        """ARM: from STOP it is SINGLE; when armed already it forces a trigger."""
        if self.armed:
            self._forced = True
        else:
            self.TRMD = "SINGLE" if self.TRMD == "STOP" else self.TRMD
            self._begin(self._now)

    def force(self) -> None:
        """FRTR: one trigger, whether there is one at the input or not."""
        if not self.armed:
            self.arm()
        self._forced = True

    def stop(self) -> None:
        """End what is under way; the segments of a sequence that came are kept."""
        if self._started is not None and self.SEQ == "ON" and self.rate > 0:
            came = min(int((self._now - self._started) * self.rate), self.wanted)
            if came:
                self._complete(came)
        self.TRMD, self._started, self._forced = "STOP", None, False

    def catch_up(self, now: float) -> None:
        """Let the triggers happen that were due until `now` (s, any monotonic clock)."""
        if self._started is not None and self._now == 0.0:
            self._started = now  # the first look at the clock
        self._now = now
        while self._started is not None:
            due = self._due()
            if due is None or due > now:
                return
            self._complete(self.wanted)
            if self.TRMD == "SINGLE":
                self.TRMD, self._started = "STOP", None
            else:
                length = max(due - self._started, 1e-9)
                skipped = int((now - due) / length)  # nobody has seen those
                self.acquired += skipped
                self._begin(due + skipped * length)

    def next_due(self) -> float | None:
        """Give when the next acquisition will be complete; None = never by itself."""
        return self._due() if self.armed else None

    def _due(self) -> float | None:
        if self._started is None:
            return None
        if self._forced:
            return self._now
        if self.rate > 0 and not (self.TRMD == "AUTO" and self.SEQ == "OFF" and 1 / self.rate > AUTO_AFTER):
            return self._started + self.wanted / self.rate
        return self._started + AUTO_AFTER if self.TRMD == "AUTO" else None

    def _begin(self, when: float) -> None:
        self._started, self._forced = when, False
        self.status.INR |= READY

    def _complete(self, segments: int) -> None:
        self.acquired += 1
        self._forced = False
        step = 1 / self.rate if self.rate > 0 else 1e-3
        points = points_for(self.segment_size if self.SEQ == "ON" else self.MSIZ, 1)
        vertical = {
            name: (each.VDIV, each.OFST, ("D50", "GND", "D1M", "", "A1M").index(each.CPL), each.ATTN)
            for name, each in self.channels.items()
        }
        self.taken = Acquisition(
            self.acquired,
            self.wall(),
            tuple(step * n for n in range(segments)),
            self.wanted,
            self.TDIV,
            -self.TDIV * 10 * self.TRDL / 100 if self.TRDL >= 0 else -self.TRDL,
            points,
            vertical,
        )
        self.status.INR |= NEW | (SEGMENT if self.SEQ == "ON" else 0)
        self._autostore()
        self.changed.notify_all()

    def _autostore(self) -> None:
        trace, _, mode, _ = self.STST
        if mode != "OFF":
            self.store(trace)

    def store(self, trace: str) -> None:
        """Write a file on its own disk."""
        if self.disk_full:
            self.status.EXR, self.status.INR = 54, self.status.INR | DISK_FULL
            return
        for name in CHANNELS if trace == "ALL_DISPLAYED" else (trace,):
            self.stored[f"{name}{self.file_names.get(name, 'Trace')}{len(self.stored):05d}.trc"] = self.acquired

    def power_on(self) -> None:
        """Come up with the settings it had, the session's ones as they are at power-on."""
        self.CHDR, self.CFMT, self.CORD, self.WFSU = "SHORT", "DEF9,WORD,BIN", "HI", (0, 0, 0, 0)
        self.status, self.taken, self.acquired = Status(), None, 0
        self.TRMD, self._started, self._now = "STOP", None, 0.0
