"""A PMU's C37.118 stream as PVs: one PMU over TCP, its frames in `ROW`, its phasors as magnitude and angle."""

import logging
import math
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field, field_validator

from drivers.c37118 import frames
from drivers.c37118.client import Client, Configured, Connected, Counts, Data, Lost
from drivers.c37118.frames import Configuration, DataFrame, FrameType, PmuConfiguration, PmuData, Stat, TimeQuality
from drivers.c37118.recording import Recorder
from drivers.errors import DeviceError
from drivers.link import make_link, parse_address
from iocs.config import DeviceSettings, Finding, SitePath
from iocs.device import COMMON, Device, Place
from iocs.signals import Bad, Severity, Signal, Status, legal_name, readback, unique_names
from iocs.simulation import simulator

log = logging.getLogger(__name__)

PORT = 4712
MINOR = Severity.MINOR
GOOD = Severity.NO_ALARM

_ERRORS = ("Good", "PMU error (no data)", "Test mode", "PMU error")
_TRIGGERS = (
    "Manual",
    "Magnitude low",
    "Magnitude high",
    "Phase angle difference",
    "Frequency",
    "Rate of change of freq",
    "Reserved",
    "Digital",
    *(f"User {number}" for number in range(8, 16)),
)
_TIME_QUALITIES = (
    "Not used",
    "Below 100 ns",
    "Below 1 us",
    "Below 10 us",
    "Below 100 us",
    "Below 1 ms",
    "Below 10 ms",
    "Above 10 ms",
)
_UNLOCKED = ("Locked or below 10 s", "10 to 100 s", "100 to 1000 s", "Above 1000 s")
_TQ = (
    "Locked to UTC",
    "Within 1 ns",
    "Within 10 ns",
    "Within 100 ns",
    "Within 1 us",
    "Within 10 us",
    "Within 100 us",
    "Within 1 ms",
    "Within 10 ms",
    "Within 100 ms",
    "Within 1 s",
    "Within 10 s",
    "Undefined 12",
    "Undefined 13",
    "Undefined 14",
    "Clock failure",
)
_LEAP = ("None", "Pending (added)", "Pending (deleted)", "Occurred (added)", "Occurred (deleted)")

# Values with these make no statement about the network; see C37.118.2-2011, table 7.
_NOT_LOCKED = 0x0F
_TIME_UNKNOWN = 7

STREAM = (
    readback("FREQ", "Hz", precision=4, group="Frequency", row="ROW", doc="Frequency"),
    readback("ROCOF", "Hz/s", precision=3, group="Frequency", row="ROW", doc="Rate of change of frequency (DFREQ)"),
)
STATUS = (
    readback("STAT", type=int, group="Status", row="ROW", doc="STAT word of the frame"),
    readback(
        "TQ",
        type=_TQ,
        state_severities=(*(GOOD,) * 12, *(MINOR,) * 4),
        group="Status",
        row="ROW",
        doc="Time quality of the PMU's clock",
    ),
    readback("LEAP", type=_LEAP, group="Status", row="ROW", doc="Leap second"),
    readback(
        "STAT:ERROR",
        type=_ERRORS,
        state_severities=(GOOD, *(Severity.MAJOR,) * 3),
        group="Status",
        doc="STAT bits 15-14: may the data be used",
    ),
    readback(
        "STAT:SYNC",
        type=("In sync", "Not in sync"),
        state_severities=(GOOD, MINOR),
        group="Status",
        doc="STAT bit 13: in step with UTC",
    ),
    readback("STAT:TRIGGER", type=("No trigger", "Trigger"), group="Status", doc="STAT bit 11: trigger detected"),
    readback("STAT:TRIGREASON", type=_TRIGGERS, group="Status", doc="STAT bits 3-0: reason of the trigger"),
    readback(
        "STAT:CFGCHANGE", type=("Stable", "Will change"), group="Status", doc="STAT bit 10: configuration will change"
    ),
    readback(
        "STAT:MODIFIED",
        type=("As measured", "Modified"),
        group="Status",
        doc="STAT bit 9: data modified by post-processing",
    ),
    readback(
        "STAT:TIMEQ",
        type=_TIME_QUALITIES,
        state_severities=(*(GOOD,) * 7, MINOR),
        group="Status",
        doc="STAT bits 8-6: time error at the PMU",
    ),
    readback("STAT:UNLOCKED", type=_UNLOCKED, group="Status", doc="STAT bits 5-4: time since the clock was locked"),
)
LINK = (
    readback("LATE", "s", precision=3, group="Link", doc="Arrival minus the PMU's time"),
    readback("RATE", "Hz", precision=1, group="Link", doc="Frames a second that came"),
    readback("FRAMES", precision=0, group="Link", doc="Data frames since the process started"),
    readback("MISSED", precision=0, group="Link", doc="Frames missing against the data rate"),
    readback("DUPLICATES", precision=0, group="Link", doc="Frames sent twice, posted once"),
    readback("TIMEJUMPS", precision=0, group="Link", doc="Time stamps that went back or leapt ahead"),
    readback("BADCRC", precision=0, group="Link", doc="Frames with a wrong check sum"),
    readback("SKIPPED", precision=0, group="Link", doc="Bytes that belong to no frame"),
    readback("UNDECODED", precision=0, group="Link", doc="Good frames that no known configuration fits"),
)

_RESERVED = {
    part for signal in (*COMMON, *STREAM, *STATUS, *LINK) for part in (signal.name, signal.name.split(":")[0])
} | {"ROW"}


class PmuSettings(DeviceSettings):
    """The table of a PMU."""

    link: str = Field(description=f"tcp://host:port of the PMU (port {PORT} unless given).")
    idcode: int = Field(strict=True, ge=1, le=65534, description="The stream's IDCODE, as set in the PMU.")
    angle: Literal["deg", "rad"] = Field("deg", description="Unit of the phasors' angles.")
    scalar_rate: float = Field(10.0, gt=0, description="Most updates a second of the single PVs; ROW has every frame.")
    record: SitePath | None = Field(None, description="Keep the raw stream in this file (and FILE.1), 100 MB each.")

    @field_validator("link")
    @classmethod
    def _link(cls, link: str) -> str:
        return str(parse_address(link, PORT))


class PMU(Device):
    """One PMU. `shape` is its last CFG-2 frame (hex, time stamp cleared), so that its PVs exist while it is away."""

    Settings = PmuSettings
    settings: PmuSettings

    def __init__(self, settings: PmuSettings, place: Place) -> None:
        super().__init__(settings, place)
        self._counts = Counts()  # since the process started: they outlive ENABLE and every session

    @staticmethod
    def signals(settings: PmuSettings, shape: str | None) -> list[Signal]:
        """FREQ, ROCOF, the channels of the configuration, status, and the state of the link."""
        configuration = _configuration(shape)
        channels = Channels(configuration.pmus[0], settings.angle).signals if configuration else []
        return [*STREAM, *channels, *STATUS, *LINK]

    @staticmethod
    @contextmanager
    def simulate(settings: PmuSettings) -> Iterator[PmuSettings]:
        """Run a simulated PMU of the same IDCODE."""
        with simulator("drivers.c37118.simulator", ["--port", "0", "--idcode", str(settings.idcode)]) as address:
            yield settings.model_copy(update={"link": address})

    @staticmethod
    async def check(settings: PmuSettings) -> tuple[list[Finding], str | None]:
        """Take one configuration of the stream."""
        client = Client(make_link(parse_address(settings.link, PORT)), settings.idcode, lost_after=settings.lost_after)
        async with aclosing(client.events()) as events:
            async for event in events:
                if isinstance(event, Lost):
                    return [Finding(False, event.reason)], None
                if isinstance(event, Configured):
                    stations = ", ".join(pmu.station for pmu in event.configuration.pmus)
                    found = Finding(True, f"IDCODE {event.configuration.idcode} sends {stations}")
                    return [found], shape_of(event.configuration)
        return [Finding(False, f"{settings.link}: the stream ended")], None

    async def run(self) -> None:
        """Follow the stream; the client reconnects by itself."""
        configuration = _configuration(self.shape)
        client = Client(
            make_link(parse_address(self.settings.link, PORT)),
            self.settings.idcode,
            configuration,
            lost_after=self.settings.lost_after,
            record=Recorder(self.settings.record) if self.settings.record else None,
            backoff=self.backoff,
            counts=self._counts,
        )
        self._channels = Channels(configuration.pmus[0], self.settings.angle) if configuration else None
        self._scalars_at = 0
        self._shown: tuple[int, int] | None = None
        self._period = configuration.period if configuration else 1.0
        self._counted = (time.monotonic(), self._counts.frames)
        async with aclosing(client.events()) as events:
            async for event in events:
                match event:
                    case Data():
                        self._take(event.frame, event.arrival_ns, client)
                    case Configured():
                        self._configure(event.configuration)
                    case Lost():
                        if self.online:
                            self._count(client, time.monotonic())
                        self.lost(event.reason)
                    case Connected():
                        log.info("connected to %s", event.address)

    @property
    def lost_after(self) -> float:
        """Three periods, at least 2 s: the client watches it; this is the net below."""
        return self.settings.lost_after or max(3 * getattr(self, "_period", 1.0), 2.0) + 0.5

    def _configure(self, configuration: Configuration) -> None:
        if len(configuration.pmus) != 1:
            raise DeviceError(
                f"{self.settings.link}: the stream {configuration.idcode} carries {len(configuration.pmus)} PMUs; "
                "only single-PMU streams can be served, ask the concentrator for one"
            )
        pmu = configuration.pmus[0]
        self._channels = Channels(pmu, self.settings.angle)
        self._period = configuration.period
        rate = (
            f"{configuration.data_rate}/s" if configuration.data_rate > 0 else f"one each {-configuration.data_rate} s"
        )
        self.identify(f"{pmu.station} (IDCODE {pmu.idcode}), {len(pmu.phasors)} phasors, {rate}, {pmu.nominal} Hz")
        self.reshape(shape_of(configuration))

    def _take(self, frame: DataFrame, arrival_ns: int, client: Client) -> None:
        """Post a frame: all of it as ROW, and as single values as often as `scalar_rate` allows or status asks."""
        if self._channels is None:
            return
        data = frame.pmus[0]
        status = (data.stat, frame.tq.raw)
        values = {**self._channels.values(data), **stream_values(data, frame.tq)}
        doubt = doubted(data.stat, frame.tq)
        if doubt is not None:
            values = {
                name: value if name in _STATUS_NAMES else doubt_value(doubt, value) for name, value in values.items()
            }
        due = not 0 <= frame.time_ns - self._scalars_at < 0.999e9 / self.settings.scalar_rate or status != self._shown
        if due:
            self._scalars_at, self._shown = frame.time_ns, status
            values |= self._channels.bits(data, doubt)
            values |= stat_values(Stat(data.stat))
            values["LATE"] = (arrival_ns - frame.time_ns) / 1e9
        self.post(frame.time_ns, values, scalars=due)
        now = time.monotonic()
        if now - self._counted[0] >= 1:
            self._count(client, now)

    def _count(self, client: Client, now: float) -> None:
        counts = client.counts
        since, frames_then = self._counted
        if now == since:
            return
        self._counted = (now, counts.frames)
        self.post(
            time.time_ns(),
            {
                "RATE": (counts.frames - frames_then) / (now - since),
                "FRAMES": counts.frames,
                "MISSED": counts.missed,
                "DUPLICATES": counts.duplicates,
                "TIMEJUMPS": counts.time_jumps,
                "BADCRC": counts.bad_crc,
                "SKIPPED": counts.skipped_bytes,
                "UNDECODED": counts.stale + counts.undecodable + counts.strangers,
            },
        )


_STATUS_NAMES = {signal.name for signal in STATUS}


class Channels:
    """The channels of one PMU configuration: their signals, and a frame's values under the signals' names.

    Args:
        pmu: the configuration.
        angle: unit of the angles, "deg" or "rad".
    """

    def __init__(self, pmu: PmuConfiguration, angle: str) -> None:
        wanted = [legal_name(channel.name, f"PHASOR{n}") for n, channel in enumerate(pmu.phasors, 1)]
        wanted += [legal_name(channel.name, f"ANALOG{n}") for n, channel in enumerate(pmu.analogs, 1)]
        words = [f"DIG{n}" for n in range(1, len(pmu.digitals) + 1)]
        names = unique_names(wanted, {*_RESERVED, *words})
        self._phasors = [(f"{name}:MAG", f"{name}:ANG") for name in names[: len(pmu.phasors)]]
        self._analogs = names[len(pmu.phasors) :]
        self._words = words
        self._turn = math.degrees if angle == "deg" else float
        self.signals = [
            signal
            for pair, channel in zip(self._phasors, pmu.phasors, strict=True)
            for signal in _phasor(pair, channel, angle)
        ]
        self.signals += [
            readback(name, group="Analogs", row="ROW", doc=f"Analog {channel.name!r}")
            for name, channel in zip(self._analogs, pmu.analogs, strict=True)
        ]
        self._bits: list[tuple[int, int, str]] = []
        for index, (word, digital) in enumerate(zip(words, pmu.digitals, strict=True)):
            self.signals.append(
                readback(word, type=int, group="Digital", row="ROW", doc=f"Digital status word {index + 1}")
            )
            named = [(bit, name) for bit, name in enumerate(digital.names) if name.strip()]
            for (bit, text), name in zip(
                named, unique_names(legal_name(text, f"BIT{bit}") for bit, text in named), strict=True
            ):
                self._bits.append((index, bit, f"{word}:{name}"))
                doc = f"Bit {bit} of word {index + 1}, {text!r}, normally {digital.normal >> bit & 1}"
                self.signals.append(readback(f"{word}:{name}", type=("0", "1"), group="Digital", doc=doc))

    def values(self, data: PmuData) -> dict[str, Any]:
        """Give phasors, analogs and digital words: V or A, deg or rad."""
        turn = self._turn
        values: dict[str, Any] = {}
        for (magnitude, angle), phasor in zip(self._phasors, data.phasors, strict=True):
            values[magnitude] = phasor.magnitude
            values[angle] = turn(phasor.angle)
        values.update(zip(self._analogs, data.analogs, strict=True))
        values.update(zip(self._words, data.digitals, strict=True))
        return values

    def bits(self, data: PmuData, doubt: Bad | None) -> dict[str, Any]:
        """Give the named bits of the digital words."""
        bits = {name: data.digitals[word] >> bit & 1 for word, bit, name in self._bits}
        return bits if doubt is None else {name: doubt_value(doubt, value) for name, value in bits.items()}


def _phasor(names: tuple[str, str], channel: frames.PhasorChannel, angle: str) -> list[Signal]:
    unit = "A" if channel.current else "V"
    return [
        readback(names[0], unit, precision=3, group="Phasors", row="ROW", doc=f"Phasor {channel.name!r}, magnitude"),
        readback(names[1], angle, precision=3, group="Phasors", row="ROW", doc=f"Phasor {channel.name!r}, angle"),
    ]


def stream_values(data: PmuData, tq: TimeQuality) -> dict[str, Any]:
    """Give what every frame has: frequency, ROCOF, status word, time quality, leap second."""
    leap = 0
    if tq.leap_pending or tq.leap_occurred:
        leap = (1 if tq.leap_pending else 3) + tq.leap_deleted
    return {"FREQ": data.freq, "ROCOF": data.rocof, "STAT": data.stat, "TQ": tq.code, "LEAP": leap}


def stat_values(stat: Stat) -> dict[str, int]:
    """Give the parts of the STAT word (C37.118.2-2011, table 7)."""
    return {
        "STAT:ERROR": stat.error,
        "STAT:SYNC": stat.unsynced,
        "STAT:TRIGGER": stat.trigger,
        "STAT:TRIGREASON": stat.trigger_reason,
        "STAT:CFGCHANGE": stat.configuration_change,
        "STAT:MODIFIED": stat.modified,
        "STAT:TIMEQ": stat.time_quality,
        "STAT:UNLOCKED": stat.unlocked,
    }


def doubted(stat: int, tq: TimeQuality) -> Bad | None:
    """Say whether a frame's values may be taken at their word: INVALID by STAT bits 15-14, MINOR by the clock."""
    word = Stat(stat)
    if word.error:
        return Bad(f"STAT says: {_ERRORS[word.error]}")
    if word.unsynced or word.time_quality == _TIME_UNKNOWN or tq.code == _NOT_LOCKED:
        return Bad("the PMU's clock is not in step with UTC", severity=Severity.MINOR, status=Status.SOFT)
    return None


def doubt_value(doubt: Bad, value: Any) -> Bad:
    """Give a value with the doubt that its frame is under."""
    return replace(doubt, value=value)


def _configuration(shape: str | None) -> Configuration | None:
    if shape is None:
        return None
    message = frames.decode(bytes.fromhex(shape))
    return message if isinstance(message, Configuration) else None


def shape_of(configuration: Configuration) -> str:
    """Give a configuration as what is kept: the CFG-2 frame without the instant at which it was sent."""
    timeless = replace(configuration, type=FrameType.CFG2, soc=0, fracsec=0, tq=TimeQuality(0))
    return frames.encode(timeless).hex()
