"""The signals of a C37.118 stream, and a frame's values under their names (pure).

A stream of one PMU has its signals as they are; in that of a concentrator each station's stand under its name, and it
has a row of its own: `NORTH:FREQ`, `NORTH:VA:MAG`, `NORTH:ROW`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from drivers.c37118.channels import AnunitRule
from drivers.c37118.frames import (
    AnalogChannel,
    Configuration,
    Installation,
    PhasorChannel,
    PmuConfiguration,
    PmuData,
    ScaledAnalog,
    ScaledPhasor,
    Stat,
    TimeQuality,
)
from drivers.c37118.timeline import Counts
from iocs.config import fitting
from iocs.device import COMMON
from iocs.signals import Bad, Kind, Severity, Signal, Status, legal_name, readback, unique_names

MINOR = Severity.MINOR
GOOD = Severity.NO_ALARM

ERRORS = ("Good", "PMU error (no data)", "Test mode", "PMU error")
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

ROW = "ROW"
RAW: Mapping[str, AnunitRule] = MappingProxyType({})
# Characters of names in a stream of several PMUs, with room for a number behind each that makes it unique. A signal's
# name has at most 32: station, ':', channel, ':MAG'; or station, ':DIG10:', bit.
STATION, CHANNEL, BIT = 10, 11, 8

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
        type=ERRORS,
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
    readback("REORDERED", precision=0, group="Link", doc="Datagrams overtaken by others, put in order"),
    readback("TOOLATE", precision=0, group="Link", doc="Datagrams waited for no longer, not posted"),
    readback("BADTIMES", precision=0, group="Link", doc="Frames of an impossible time, not posted"),
    readback("TIMEJUMPS", precision=0, group="Link", doc="Time stamps that went back or leapt ahead"),
    readback("BADCRC", precision=0, group="Link", doc="Frames with a wrong check sum"),
    readback("SKIPPED", precision=0, group="Link", doc="Bytes that belong to no frame"),
    readback("UNDECODED", precision=0, group="Link", doc="Good frames that no known configuration fits"),
)

_SERVICE = ("Unknown", "Measurement", "Protection")
INSTALLATION = (
    readback("LATITUDE", "deg", precision=6, group="Place", doc="Latitude (WGS84), by the CFG-3"),
    readback("LONGITUDE", "deg", precision=6, group="Place", doc="Longitude (WGS84), by the CFG-3"),
    readback("ELEVATION", "m", precision=1, group="Place", doc="Elevation (WGS84), by the CFG-3"),
    readback("SVC_CLASS", type=_SERVICE, group="Place", doc="Service class, by the CFG-3"),
    readback("WINDOW", "us", precision=0, group="Place", doc="Length of the measuring window"),
    readback("GRP_DLY", "us", precision=0, group="Place", doc="Group delay, already compensated"),
    readback("G_PMU_ID", type=str, group="Place", doc="Global id of the PMU, 16 bytes (hex)"),
)
HEADER = readback("HEADER", type=Kind.TEXT, group="Link", doc="The PMU's header frame (with header = true)")

_ALWAYS = (*COMMON, *STREAM, *STATUS, *LINK, *INSTALLATION, HEADER)
_RESERVED = {part for signal in _ALWAYS for part in (signal.name, signal.name.split(":")[0])} | {"ROW"}


STATUS_NAMES = frozenset(signal.name for signal in STATUS)


class Channels:
    """The channels of one PMU configuration: their signals, and a frame's values under the signals' names.

    Args:
        pmu: the configuration.
        angle: unit of the angles, "deg" or "rad".
        channel, bit: characters of names of channels, and of bits of digital words.
        anunit: what a count of an integer analog means, by signal; raw where it is not said.
        station: what will stand before the names, for `anunit`.
    """

    def __init__(
        self,
        pmu: PmuConfiguration,
        angle: str,
        channel: int = 24,
        bit: int = 24,
        anunit: Mapping[str, AnunitRule] = RAW,
        station: str = "",
    ) -> None:
        wanted = [legal_name(phasor.name, f"PHASOR{n}", channel) for n, phasor in enumerate(pmu.phasors, 1)]
        wanted += [legal_name(analog.name, f"ANALOG{n}", channel) for n, analog in enumerate(pmu.analogs, 1)]
        words = [f"DIG{n}" for n in range(1, len(pmu.digitals) + 1)]
        names = unique_names(wanted, {*_RESERVED, *words})
        self._phasors = [(f"{name}:MAG", f"{name}:ANG") for name in names[: len(pmu.phasors)]]
        self._analogs = names[len(pmu.phasors) :]
        rules: list[AnunitRule] = [anunit.get(fitting(anunit, station + name), "raw") for name in self._analogs]
        self._per_count = [_per_count(pmu, *each) for each in zip(pmu.analogs, rules, strict=True)]
        self._scaled = any(part != (1, 1) for part in self._per_count)
        self._words = words
        self._turn = math.degrees if angle == "deg" else float
        self.signals = [
            signal
            for pair, phasor in zip(self._phasors, pmu.phasors, strict=True)
            for signal in _phasor(pair, phasor, angle)
        ]
        self.signals += [
            readback(name, group="Analogs", row="ROW", doc=_analog(pmu, analog))
            for name, analog in zip(self._analogs, pmu.analogs, strict=True)
        ]
        self._bits: list[tuple[int, int, str]] = []
        for index, (word, digital) in enumerate(zip(words, pmu.digitals, strict=True)):
            self.signals.append(
                readback(word, type=int, group="Digital", row="ROW", doc=f"Digital status word {index + 1}")
            )
            named = [(number, name) for number, name in enumerate(digital.names) if name.strip(" \0")]
            for (number, text), name in zip(
                named, unique_names(legal_name(text, f"BIT{n}", bit) for n, text in named), strict=True
            ):
                self._bits.append((index, number, f"{word}:{name}"))
                doc = f"Bit {number} of word {index + 1}, {text!r}, normally {digital.normal >> number & 1}"
                self.signals.append(readback(f"{word}:{name}", type=("0", "1"), group="Digital", doc=doc))

    def values(self, data: PmuData) -> dict[str, Any]:
        """Give phasors, analogs and digital words: V or A, deg or rad."""
        turn = self._turn
        values: dict[str, Any] = {}
        for (magnitude, angle), phasor in zip(self._phasors, data.phasors, strict=True):
            values[magnitude] = phasor.magnitude
            values[angle] = turn(phasor.angle)
        analogs = data.analogs
        if self._scaled:  # dividing whole numbers rounds once
            analogs = [value * n / d for value, (n, d) in zip(analogs, self._per_count, strict=True)]
        values.update(zip(self._analogs, analogs, strict=True))
        values.update(zip(self._words, data.digitals, strict=True))
        return values

    def bits(self, data: PmuData) -> dict[str, Any]:
        """Give the named bits of the digital words."""
        return {name: data.digitals[word] >> bit & 1 for word, bit, name in self._bits}


def _per_count(pmu: PmuConfiguration, channel: AnalogChannel | ScaledAnalog, rule: AnunitRule) -> tuple[int, int]:
    """What to multiply with and to divide by: floats, and what a CFG-3 has scaled, are values already."""
    if pmu.analogs_float or isinstance(channel, ScaledAnalog):
        return 1, 1
    return channel.per_count(rule)


def _analog(pmu: PmuConfiguration, channel: AnalogChannel | ScaledAnalog) -> str:
    factor = ""
    if not pmu.analogs_float and isinstance(channel, AnalogChannel):
        factor = f", ANUNIT factor {channel.factor}"
    return f"Analog {channel.name!r}{factor}"


def _phasor(names: tuple[str, str], channel: PhasorChannel | ScaledPhasor, angle: str) -> list[Signal]:
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


def installation_values(place: Installation) -> dict[str, Any]:
    """Give what a CFG-3 says beside the channels; what it leaves open is INVALID."""
    unknown = Bad("the CFG-3 does not say", status=Status.UDF)
    angles = {"LATITUDE": place.latitude, "LONGITUDE": place.longitude, "ELEVATION": place.elevation}
    values: dict[str, Any] = {name: value if math.isfinite(value) else unknown for name, value in angles.items()}
    service = {"M": 1, "P": 2}.get(place.service_class, 0)
    return {
        **values,
        "SVC_CLASS": service,
        "WINDOW": float(place.window),
        "GRP_DLY": float(place.delay),
        "G_PMU_ID": place.global_id.hex(),
    }


def count_values(counts: Counts) -> dict[str, float]:
    """Give the counters of the link."""
    return {
        "FRAMES": counts.frames,
        "MISSED": counts.missed,
        "DUPLICATES": counts.duplicates,
        "REORDERED": counts.reordered,
        "TOOLATE": counts.too_late,
        "BADTIMES": counts.bad_times,
        "TIMEJUMPS": counts.time_jumps,
        "BADCRC": counts.bad_crc,
        "SKIPPED": counts.skipped_bytes,
        "UNDECODED": counts.stale + counts.undecodable + counts.strangers,
    }


class Station:
    """One PMU of a stream: its signals, and its part of a frame as values.

    Args:
        pmu: its configuration.
        angle: unit of the angles, "deg" or "rad".
        name: what stands before its signals, "" in a stream of one PMU.
        anunit: as for `Channels`.

    Attributes:
        pmu: as given.
        signals: its signals, the columns of its row among them.
    """

    def __init__(
        self, pmu: PmuConfiguration, angle: str, name: str = "", anunit: Mapping[str, AnunitRule] = RAW
    ) -> None:
        self.pmu = pmu
        if name:
            self._channels = Channels(pmu, angle, CHANNEL, BIT, anunit, f"{name}:")
        else:
            self._channels = Channels(pmu, angle, anunit=anunit)
        place = INSTALLATION if pmu.installation else ()
        signals = (*STREAM, *self._channels.signals, *STATUS, *place)
        self._names = {signal.name: f"{name}:{signal.name}" if name else signal.name for signal in signals}
        about = f" of {pmu.station!r} ({pmu.idcode})" if name else ""
        self.signals = [
            replace(
                signal,
                name=self._names[signal.name],
                row=self._names[signal.name][: -len(signal.name)] + signal.row if signal.row else signal.row,
                doc=signal.doc + about,
            )
            for signal in signals
        ]

    def values(self, data: PmuData, tq: TimeQuality, doubt: Bad | None, *, scalars: bool) -> dict[str, Any]:
        """Give the columns of the row and, with `scalars`, the rest; the values under the doubt that they are under."""
        values = self._channels.values(data) | stream_values(data, tq)
        if scalars:
            values |= self._channels.bits(data)
        if doubt is not None:
            values = {
                name: value if name in STATUS_NAMES else replace(doubt, value=value) for name, value in values.items()
            }
        if scalars:
            values |= stat_values(Stat(data.stat))
        return self._named(values)

    def installation(self) -> dict[str, Any]:
        """Give what does not change from frame to frame."""
        return self._named(installation_values(self.pmu.installation)) if self.pmu.installation else {}

    def _named(self, values: dict[str, Any]) -> dict[str, Any]:
        names = self._names
        return {names[name]: value for name, value in values.items()}


def stations(configuration: Configuration, angle: str, anunit: Mapping[str, AnunitRule] = RAW) -> Sequence[Station]:
    """Give the stations of a stream, in its order."""
    if len(configuration.pmus) == 1:
        return [Station(configuration.pmus[0], angle, anunit=anunit)]
    wanted = [legal_name(pmu.station, f"PMU{n}", STATION) for n, pmu in enumerate(configuration.pmus, 1)]
    names = unique_names(wanted, _RESERVED)
    return [Station(pmu, angle, name, anunit) for pmu, name in zip(configuration.pmus, names, strict=True)]
