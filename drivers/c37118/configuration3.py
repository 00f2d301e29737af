"""CFG-3: names of any length, scaling of each channel, place and service class; in fragments where it is large (pure).

Source: IEEE C37.118.2-2011, clause 6.4 and tables 10 to 12.
"""

import math
import struct
from dataclasses import dataclass

from drivers.c37118.channels import (
    Configuration,
    DigitalWord,
    Installation,
    PmuConfiguration,
    ScaledAnalog,
    ScaledPhasor,
)
from drivers.c37118.configuration import check_counts, check_encodable
from drivers.c37118.envelope import HEAD_SIZE, MAX_SIZE, Envelope, FrameType, TimeQuality, excerpt
from drivers.errors import ProtocolError

FIRST, LAST = 1, 0xFFFF  # CONT_IDX of the first and the last fragment; 0 = a configuration in one frame
LARGEST = 1 << 22  # bytes of all fragments of one configuration that are kept
BODY = MAX_SIZE - HEAD_SIZE - 4  # bytes of a fragment behind CONT_IDX, before CHK

_COUNTS = struct.Struct(">H16sHHHH")  # IDCODE, G_PMU_ID, FORMAT, PHNMR, ANNMR, DGNMR
_PHASOR = struct.Struct(">HBBff")
_ANALOG = struct.Struct(">ff")
_DIGITAL = struct.Struct(">HH")
_PLACE = struct.Struct(">fffcii")
_END = struct.Struct(">HH")  # FNOM, CFGCNT


@dataclass(frozen=True, slots=True)
class Fragment:
    """One frame of a CFG-3 in several. `index`: CONT_IDX, 1 = first, 2 ..., 0xFFFF = last; `body`: what follows it."""

    idcode: int
    soc: int
    tq: TimeQuality
    fracsec: int
    index: int
    body: bytes
    version: int = 2


class Fragments:
    """Puts the fragments of one stream's CFG-3 together.

    Attributes:
        dropped: fragments that were of no use: without a first, out of order, or too large together.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._bodies: list[bytes] = []
        self._size = 0

    def add(self, fragment: Fragment) -> Configuration | None:
        """Take the next fragment; give the configuration that it completes, or None.

        Raises:
            ProtocolError: all fragments are there, and what they hold is no configuration.
        """
        if fragment.index == FIRST:
            self._forget()
        elif not self._bodies or fragment.index not in (len(self._bodies) + 1, LAST):
            self.dropped += 1
            self._forget()
            return None
        self._bodies.append(fragment.body)
        self._size += len(fragment.body)
        if self._size > LARGEST:
            self._forget()
            return None
        if fragment.index != LAST:
            return None
        body, self._bodies, self._size = b"".join(self._bodies), [], 0
        head = Envelope(
            FrameType.CFG3, fragment.version, fragment.idcode, fragment.soc, fragment.tq.raw, fragment.fracsec
        )
        return decode_body(head, body)

    def _forget(self) -> None:
        self.dropped += len(self._bodies)
        self._bodies, self._size = [], 0


def decode_configuration3(envelope: Envelope, frame: bytes) -> Configuration | Fragment:
    """Read a whole CFG-3 frame whose envelope is good.

    Raises:
        ProtocolError: it is too short, or as by `decode_body`.
    """
    if len(frame) < HEAD_SIZE + 4:
        raise ProtocolError(f"CFG3 of {len(frame)} bytes has no CONT_IDX: {excerpt(frame)}")
    index, body = int.from_bytes(frame[HEAD_SIZE : HEAD_SIZE + 2]), frame[HEAD_SIZE + 2 : -2]
    if index:
        tq = TimeQuality(envelope.tq)
        return Fragment(envelope.idcode, envelope.soc, tq, envelope.fracsec, index, body, envelope.version)
    return decode_body(envelope, body)


def decode_body(envelope: Envelope, body: bytes) -> Configuration:
    """Read what the fragments of a CFG-3 hold together: all behind CONT_IDX, from TIME_BASE to DATA_RATE.

    Raises:
        ProtocolError: TIME_BASE, NUM_PMU or DATA_RATE is 0, a block is cut short, or bytes are left over.
    """
    reader = _Reader(body)
    flags_and_base, count = reader.take(struct.Struct(">IH"), "TIME_BASE and NUM_PMU")
    pmus = []
    check_counts("CFG3", flags_and_base & 0xFFFFFF, count, body)
    for number in range(1, count + 1):
        pmus.append(reader.pmu(f"PMU block {number} of {count}"))
    (data_rate,) = reader.take(struct.Struct(">h"), "DATA_RATE")
    if not data_rate:
        raise ProtocolError(f"CFG3: DATA_RATE at byte {reader.at - 2} behind CONT_IDX is 0: {excerpt(body)}")
    if reader.at != len(body):
        raise ProtocolError(
            f"CFG3: {len(body) - reader.at} bytes left over behind {count} PMU blocks and DATA_RATE: {excerpt(body)}"
        )
    return Configuration(
        type=FrameType.CFG3,
        idcode=envelope.idcode,
        soc=envelope.soc,
        tq=TimeQuality(envelope.tq),
        fracsec=envelope.fracsec,
        time_base=flags_and_base & 0xFFFFFF,
        pmus=tuple(pmus),
        data_rate=data_rate,
        version=envelope.version,
        time_base_flags=flags_and_base >> 24,
    )


class _Reader:
    """Reads the body of a CFG-3 from its begin; `at`: the next byte."""

    def __init__(self, body: bytes) -> None:
        self.at = 0
        self._body = body

    def take(self, layout: struct.Struct, what: str) -> tuple:
        at, self.at = self.at, self.at + layout.size
        if self.at > len(self._body):
            raise ProtocolError(
                f"CFG3: {what} at byte {at} behind CONT_IDX is cut short by the end of {len(self._body)} bytes: "
                f"{excerpt(self._body[at:])}"
            )
        return layout.unpack_from(self._body, at)

    def name(self, what: str) -> str:
        (size,) = self.take(struct.Struct(">B"), what)
        (raw,) = self.take(struct.Struct(f">{size}s"), what)
        return raw.decode(errors="replace")

    def pmu(self, where: str) -> PmuConfiguration:
        station = self.name(f"{where}: STN")
        idcode, global_id, form, phnmr, annmr, dgnmr = self.take(_COUNTS, where)
        words = f"{where} with {phnmr} phasors, {annmr} analogs and {dgnmr} digital words"
        left = len(self._body) - self.at
        if (1 + _PHASOR.size) * phnmr + (1 + _ANALOG.size) * annmr + (16 + _DIGITAL.size) * dgnmr > left:
            raise ProtocolError(f"CFG3: {words} at byte {self.at} behind CONT_IDX has {left} bytes left")
        names = [self.name(f"{words}: CHNAM") for _ in range(phnmr + annmr + 16 * dgnmr)]
        phasors = []
        for name in names[:phnmr]:
            flags, kind, user, scale, offset = self.take(_PHASOR, f"{words}: PHSCALE")
            phasors.append(ScaledPhasor(name, flags, kind, user, scale, offset))
        analogs = [
            ScaledAnalog(name, *self.take(_ANALOG, f"{words}: ANSCALE")) for name in names[phnmr : phnmr + annmr]
        ]
        bits = names[phnmr + annmr :]
        digitals = [
            DigitalWord(tuple(bits[16 * word : 16 * word + 16]), *self.take(_DIGITAL, f"{words}: DIGUNIT"))
            for word in range(dgnmr)
        ]
        latitude, longitude, elevation, letter, window, delay = self.take(_PLACE, words)
        fnom, cfgcnt = self.take(_END, words)
        return PmuConfiguration(
            station=station,
            idcode=idcode,
            format=form,
            phasors=tuple(phasors),
            analogs=tuple(analogs),
            digitals=tuple(digitals),
            fnom=fnom,
            cfgcnt=cfgcnt,
            installation=Installation(
                global_id, latitude, longitude, elevation, letter.decode("latin-1"), window, delay
            ),
        )


NOWHERE = Installation(bytes(16), math.inf, math.inf, math.inf, "M", 0, 0)


def encode_body(configuration: Configuration) -> bytes:
    """Give what stands behind CONT_IDX, however long.

    Raises:
        ValueError: a name longer than 255 bytes, a number too large for its field, channels of a CFG-2, or TIME_BASE,
            NUM_PMU or DATA_RATE 0.
    """
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
    except (struct.error, OverflowError) as error:
        raise ValueError(f"configuration of stream {configuration.idcode}: {error}") from error


def _encode_pmu(pmu: PmuConfiguration) -> bytes:
    place = pmu.installation or NOWHERE
    if len(place.global_id) != 16:
        raise ValueError(f"the global id of PMU {pmu.idcode} has 16 bytes, not {len(place.global_id)}")
    counts = len(pmu.phasors), len(pmu.analogs), len(pmu.digitals)
    names = [channel.name for channel in (*pmu.phasors, *pmu.analogs)]
    names += [name for word in pmu.digitals for name in word.names]
    parts = [_named(pmu.station), _COUNTS.pack(pmu.idcode, place.global_id, pmu.format, *counts), *map(_named, names)]
    for phasor in pmu.phasors:
        if not isinstance(phasor, ScaledPhasor):
            raise ValueError(f"phasor {phasor.name!r} has no PHSCALE: a CFG-3 is made of ScaledPhasor")
        parts.append(_PHASOR.pack(phasor.flags, phasor.kind, phasor.user, phasor.scale, phasor.offset))
    for analog in pmu.analogs:
        if not isinstance(analog, ScaledAnalog):
            raise ValueError(f"analog {analog.name!r} has no ANSCALE: a CFG-3 is made of ScaledAnalog")
        parts.append(_ANALOG.pack(analog.scale, analog.offset))
    parts += [_DIGITAL.pack(word.normal, word.valid) for word in pmu.digitals]
    letter = place.service_class.encode("latin-1", "replace")
    parts.append(
        _PLACE.pack(place.latitude, place.longitude, place.elevation, letter, place.window, place.delay)
        + _END.pack(pmu.fnom, pmu.cfgcnt)
    )
    return b"".join(parts)


def _named(name: str) -> bytes:
    raw = name.encode()
    if len(raw) > 255:
        raise ValueError(f"name {name[:40]!r}... has {len(raw)} bytes, a CFG-3 holds 255")
    return bytes([len(raw)]) + raw


def fragments(configuration: Configuration, size: int = BODY) -> list[Fragment]:
    """Cut a CFG-3 into fragments of at most `size` bytes each (of the body); at least two.

    Raises:
        ValueError: as by `encode_body`, or there would be more than CONT_IDX can count.
    """
    body = encode_body(configuration)
    size = min(size, BODY, max(len(body) // 2, 1))
    bodies = [body[at : at + size] for at in range(0, len(body), size)]
    if len(bodies) >= LAST:
        raise ValueError(f"a configuration of {len(body)} bytes in fragments of {size} has too many of them")
    head = configuration.idcode, configuration.soc, configuration.tq, configuration.fracsec
    indices = [*range(1, len(bodies)), LAST]
    return [Fragment(*head, index, part, configuration.version) for index, part in zip(indices, bodies, strict=True)]
