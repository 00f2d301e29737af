"""CFG-1 and CFG-2: what a PMU can send and what it sends (pure).

Source: IEEE C37.118.2-2011, clause 6.4 and tables 8 and 9.
"""

import struct

from drivers.c37118.channels import (
    AnalogChannel,
    Configuration,
    DigitalWord,
    PhasorChannel,
    PmuConfiguration,
    ScaledAnalog,
    ScaledPhasor,
)
from drivers.c37118.envelope import HEAD_SIZE, Envelope, FrameType, TimeQuality, excerpt
from drivers.errors import ProtocolError

NAME_SIZE = 16

_PMU = struct.Struct(">16sHHHHH")  # STN, IDCODE, FORMAT, PHNMR, ANNMR, DGNMR
_SMALLEST = 24  # a frame without a PMU block


def decode_configuration(envelope: Envelope, frame: bytes) -> Configuration:
    """Read a whole CFG-1 or CFG-2 frame whose envelope is good.

    Raises:
        ProtocolError: TIME_BASE, NUM_PMU or DATA_RATE is 0, a block is cut short, or bytes are left over.
    """
    kind = envelope.type.name
    if len(frame) < _SMALLEST:
        raise ProtocolError(f"{kind} of {len(frame)} bytes is too short, the least is {_SMALLEST}: {excerpt(frame)}")
    flags_and_base, count = struct.unpack_from(">IH", frame, HEAD_SIZE)
    time_base = flags_and_base & 0xFFFFFF
    check_counts(kind, time_base, count, frame, HEAD_SIZE)
    at, end = HEAD_SIZE + 6, len(frame) - 4  # DATA_RATE and CHK stand behind the blocks
    pmus = []
    for number in range(1, count + 1):
        pmu, size = _decode_pmu(frame, at, end, f"{kind}: PMU block {number} of {count} at byte {at}")
        pmus.append(pmu)
        at += size
    if at != end:
        raise ProtocolError(
            f"{kind}: {end - at} bytes left over at byte {at}, behind {count} PMU blocks: {excerpt(frame)}"
        )
    (data_rate,) = struct.unpack_from(">h", frame, end)
    if not data_rate:
        raise ProtocolError(f"{kind}: DATA_RATE at byte {end} is 0: {excerpt(frame)}")
    return Configuration(
        type=envelope.type,
        idcode=envelope.idcode,
        soc=envelope.soc,
        tq=TimeQuality(envelope.tq),
        fracsec=envelope.fracsec,
        time_base=time_base,
        pmus=tuple(pmus),
        data_rate=data_rate,
        version=envelope.version,
        time_base_flags=flags_and_base >> 24,
    )


def check_counts(kind: str, time_base: int, count: int, data: bytes, at: int = 0) -> None:
    """Refuse a TIME_BASE (at byte `at` of `data`) or NUM_PMU of 0.

    Raises:
        ProtocolError: one of them is 0.
    """
    if not time_base:
        raise ProtocolError(f"{kind}: TIME_BASE at byte {at} is 0: {excerpt(data)}")
    if not count:
        raise ProtocolError(f"{kind}: NUM_PMU at byte {at + 4} is 0: {excerpt(data)}")


def _decode_pmu(frame: bytes, at: int, end: int, where: str) -> tuple[PmuConfiguration, int]:
    """Read the block at byte `at`; give it and its size."""
    if at + _PMU.size > end:
        raise ProtocolError(f"{where} is cut short by the end of the frame: {excerpt(frame[at:])}")
    station, idcode, form, phnmr, annmr, dgnmr = _PMU.unpack_from(frame, at)
    name_count = phnmr + annmr + 16 * dgnmr
    size = _PMU.size + NAME_SIZE * name_count + 4 * (phnmr + annmr + dgnmr) + 4
    if at + size > end:
        raise ProtocolError(
            f"{where} with {phnmr} phasors, {annmr} analogs and {dgnmr} digital words takes {size} bytes, "
            f"{end - at} are there: {excerpt(frame[at:])}"
        )
    units_at = at + _PMU.size + NAME_SIZE * name_count
    names = [_name(frame[i : i + NAME_SIZE]) for i in range(at + _PMU.size, units_at, NAME_SIZE)]
    phunit = struct.unpack_from(f">{phnmr}I", frame, units_at)
    anunit = struct.unpack_from(f">{annmr}I", frame, units_at + 4 * phnmr)
    digunit = struct.unpack_from(f">{2 * dgnmr}H", frame, units_at + 4 * (phnmr + annmr))
    fnom, cfgcnt = struct.unpack_from(">HH", frame, at + size - 4)
    bits = phnmr + annmr  # index of the first digital name
    pmu = PmuConfiguration(
        station=_name(station),
        idcode=idcode,
        format=form,
        phasors=tuple(
            PhasorChannel(name, unit >> 24 != 0, unit & 0xFFFFFF) for name, unit in zip(names, phunit, strict=False)
        ),
        analogs=tuple(
            AnalogChannel(name, unit >> 24, (unit & 0xFFFFFF ^ 0x800000) - 0x800000)
            for name, unit in zip(names[phnmr:], anunit, strict=False)
        ),
        digitals=tuple(
            DigitalWord(
                tuple(names[bits + 16 * word : bits + 16 * word + 16]), digunit[2 * word], digunit[2 * word + 1]
            )
            for word in range(dgnmr)
        ),
        fnom=fnom,
        cfgcnt=cfgcnt,
    )
    return pmu, size


def encode_configuration(configuration: Configuration) -> bytes:
    """Give the body of a CFG-1 or CFG-2 frame.

    Raises:
        ValueError: a name longer than 16 bytes, a number too large for its field, or TIME_BASE, NUM_PMU or DATA_RATE 0.
    """
    if configuration.type not in (FrameType.CFG1, FrameType.CFG2):
        raise ValueError(f"a configuration frame is CFG1 or CFG2, not {configuration.type!r}")
    check_encodable(configuration)
    flags_and_base = configuration.time_base_flags << 24 | configuration.time_base
    try:
        return b"".join(
            (
                struct.pack(">IH", flags_and_base, len(configuration.pmus)),
                *map(_encode_pmu, configuration.pmus),
                struct.pack(">h", configuration.data_rate),
            )
        )
    except struct.error as error:
        raise ValueError(f"configuration of stream {configuration.idcode}: {error}") from error


def check_encodable(configuration: Configuration) -> None:
    """Refuse what no configuration frame may say.

    Raises:
        ValueError: TIME_BASE, NUM_PMU or DATA_RATE is 0, or a digital word has other than 16 names.
    """
    if not 0 < configuration.time_base <= 0xFFFFFF:
        raise ValueError(f"TIME_BASE {configuration.time_base} is not within 1..16777215")
    if not configuration.pmus or not configuration.data_rate:
        raise ValueError("a configuration has at least one PMU and a DATA_RATE that is not 0")
    for word in (word for pmu in configuration.pmus for word in pmu.digitals):
        if len(word.names) != 16:
            raise ValueError(f"a digital word has 16 names, not {len(word.names)}: {word.names}")


def _encode_pmu(pmu: PmuConfiguration) -> bytes:
    channels = (*pmu.phasors, *pmu.analogs)
    names = [channel.name for channel in channels] + [name for word in pmu.digitals for name in word.names]
    counts = len(pmu.phasors), len(pmu.analogs), len(pmu.digitals)
    return b"".join(
        (
            _PMU.pack(_padded(pmu.station), pmu.idcode, pmu.format, *counts),
            *map(_padded, names),
            *map(_unit, channels),
            *(struct.pack(">HH", word.normal, word.valid) for word in pmu.digitals),
            struct.pack(">HH", pmu.fnom, pmu.cfgcnt),
        )
    )


def _unit(channel: PhasorChannel | AnalogChannel | ScaledPhasor | ScaledAnalog) -> bytes:
    """Give PHUNIT or ANUNIT."""
    match channel:
        case PhasorChannel():
            if not 0 <= channel.factor <= 0xFFFFFF:
                raise ValueError(f"phasor {channel.name!r}: factor {channel.factor} is not within 0..16777215")
            return struct.pack(">I", channel.current << 24 | channel.factor)
        case AnalogChannel():
            if not -0x800000 <= channel.factor <= 0x7FFFFF:
                raise ValueError(f"analog {channel.name!r}: factor {channel.factor} is not within -8388608..8388607")
            return struct.pack(">I", channel.kind << 24 | channel.factor & 0xFFFFFF)
    raise ValueError(f"channel {channel.name!r} is scaled as in a CFG-3 and does not fit a CFG-1 or CFG-2")


def _name(raw: bytes) -> str:
    """Read a name padded with blanks, or with NULs as some devices do."""
    return raw.rstrip(b" \0").decode(errors="replace")


def _padded(name: str) -> bytes:
    raw = name.encode()
    if len(raw) > NAME_SIZE:
        raise ValueError(f"name {name!r} has {len(raw)} bytes, a frame holds {NAME_SIZE}")
    return raw.ljust(NAME_SIZE)
