"""Many data frames of one configuration at once, as numpy arrays (pure).

    batch = Batch(frames, configuration)
    one = batch.array()                       # structured: time_ns, tq, stat, freq, rocof, phasors, analogs, digitals
    magnitude, angle = batch.polar()          # V or A, rad

The values are those that `frames.decode` gives for each frame. Source: IEEE C37.118.2-2011, clause 6.3.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.c37118.channels import Configuration, PmuConfiguration
from drivers.c37118.crc import intact
from drivers.c37118.data import ABSENT, StaleConfiguration, expected_size
from drivers.c37118.envelope import HEAD_SIZE, SYNC, FrameType, excerpt

SECOND = 10**9

Floats = NDArray[np.float64]


def array_type(pmu: PmuConfiguration) -> np.dtype:
    """Give the type of a PMU's structured array.

    Its fields: `time_ns` (ns since 1970, UTC), `tq` (time quality byte), `stat` (STAT word), `freq` (Hz), `rocof`
    (Hz/s), `phasors` (complex, V or A), `analogs`, `digitals` (16-bit words). What is absent is NaN.
    """
    return np.dtype(
        [
            ("time_ns", "i8"),
            ("tq", "u1"),
            ("stat", "u2"),
            ("freq", "f8"),
            ("rocof", "f8"),
            ("phasors", "c16", (len(pmu.phasors),)),
            ("analogs", "f8", (len(pmu.analogs),)),
            ("digitals", "u2", (len(pmu.digitals),)),
        ]
    )


class Batch:
    """Data frames of one configuration, decoded column by column.

    Args:
        frames: the bytes of the frames, one after the other or each by itself.
        configuration: theirs.
        checked: True = each frame's CHK was found right before (a `Stream` does).

    Attributes:
        configuration: as given.
        bad_crc: frames left out because their CHK is wrong.
        time_ns: of each frame, ns since 1970. tq: its time quality byte.

    Raises:
        StaleConfiguration: the bytes are not frames of the configuration's size.
        ValueError: an intact frame among them is no data frame of the configuration's stream.
    """

    def __init__(
        self,
        frames: bytes | bytearray | Sequence[bytes],
        configuration: Configuration,
        checked: bool = False,
    ) -> None:
        size = expected_size(configuration)
        data = frames if isinstance(frames, bytes | bytearray) else b"".join(frames)
        if len(data) % size:
            raise StaleConfiguration(
                f"{len(data)} bytes are not whole data frames of stream {configuration.idcode}, which have {size} "
                f"bytes: {excerpt(bytes(data[:size]))}"
            )
        rows = np.frombuffer(data, np.uint8).reshape(-1, size)
        good = np.ones(len(rows), bool) if checked else intact(rows)
        self.bad_crc = len(rows) - int(good.sum())
        if self.bad_crc:
            rows = rows[good]
        self.configuration = configuration
        self._raw = rows.view(_wire_type(configuration, size))[:, 0]
        self._check()
        seconds = self._raw["soc"].astype("i8") * SECOND
        word = self._raw["fraction"].astype("i8")
        base = configuration.time_base
        self.tq: NDArray[np.uint8] = (word >> 24).astype("u1")
        self.time_ns: NDArray[np.int64] = seconds + ((word & 0xFFFFFF) * SECOND + base // 2) // base

    def __len__(self) -> int:
        return len(self._raw)

    def stat(self, pmu: int = 0) -> NDArray[np.uint16]:
        """Give the STAT words of one PMU (from 0, in the order of the configuration)."""
        return self._raw[f"stat{pmu}"].astype("u2")

    def frequency(self, pmu: int = 0) -> tuple[Floats, Floats]:
        """Give FREQ in Hz and ROCOF in Hz/s."""
        about = self.configuration.pmus[pmu]
        freq, rocof = (_floats(self._raw[f"freq{pmu}"][:, index]) for index in range(2))
        if about.freq_float:
            return freq, rocof
        return (
            np.where(freq == ABSENT, np.nan, (about.nominal * 1000 + freq) / 1000),
            np.where(rocof == ABSENT, np.nan, rocof / 100),
        )

    def polar(self, pmu: int = 0) -> tuple[Floats, Floats]:
        """Give the phasors' magnitudes in V or A and angles in rad, each (frames, phasors)."""
        if self.configuration.pmus[pmu].polar:
            return self._pairs(pmu)
        phasors = self._complex(*self._pairs(pmu))
        return np.abs(phasors), np.arctan2(phasors.imag, phasors.real)

    def phasors(self, pmu: int = 0) -> NDArray[np.complex128]:
        """Give the phasors as complex numbers in V or A, (frames, phasors)."""
        first, second = self._pairs(pmu)
        if not self.configuration.pmus[pmu].polar:
            return self._complex(first, second)
        with np.errstate(invalid="ignore"):  # an angle that is not finite has no direction: NaN
            return self._complex(first * np.cos(second), first * np.sin(second))

    def analogs(self, pmu: int = 0) -> Floats:
        """Give the analog values, (frames, analogs): raw counts of the integer format where there is no CFG-3."""
        about = self.configuration.pmus[pmu]
        values = _floats(self._raw[f"analogs{pmu}"])
        if not about.analogs_float:
            values[values == ABSENT] = np.nan
        scale = np.array([channel.scale for channel in about.analogs], "f8")
        offset = np.array([channel.offset for channel in about.analogs], "f8")
        return values * scale + offset if (scale != 1).any() or offset.any() else values

    def digitals(self, pmu: int = 0) -> NDArray[np.uint16]:
        """Give the digital words, (frames, words)."""
        return self._raw[f"digitals{pmu}"].astype("u2")

    def array(self, pmu: int = 0) -> NDArray[np.void]:
        """Give all of one PMU as a structured array: see `array_type`."""
        result = np.empty(len(self), array_type(self.configuration.pmus[pmu]))
        result["time_ns"], result["tq"], result["stat"] = self.time_ns, self.tq, self.stat(pmu)
        result["freq"], result["rocof"] = self.frequency(pmu)
        result["phasors"], result["analogs"] = self.phasors(pmu), self.analogs(pmu)
        result["digitals"] = self.digitals(pmu)
        return result

    def _check(self) -> None:
        raw = self._raw
        wrong = (
            (raw["sync"] & 0xFFF0 != SYNC << 8 | FrameType.DATA << 4)
            | (raw["size"] != raw.dtype.itemsize)
            | (raw["idcode"] != self.configuration.idcode)
        )
        if wrong.any():
            at = int(wrong.argmax())
            raise ValueError(
                f"frame {at} is no data frame of stream {self.configuration.idcode}: {excerpt(raw[at].tobytes())}"
            )

    def _pairs(self, pmu: int) -> tuple[Floats, Floats]:
        """Give the two numbers of each phasor as the wire has them: magnitude and angle, or real and imaginary part."""
        about = self.configuration.pmus[pmu]
        first, second = (_floats(self._raw[f"phasors{pmu}"][name]) for name in "ab")
        if about.phasors_float:
            scale = np.array([channel.per_float for channel in about.phasors], "f8")
            if (scale != 1).any():
                first *= scale
                second *= 1 if about.polar else scale
        else:
            numerator, denominator = (np.array(part, "f8") for part in self._per_count(about))
            absent = second == ABSENT
            if about.polar:
                first[absent] = np.nan
                second = np.where(absent, np.nan, second / 10_000)
            else:
                first[first == ABSENT] = second[absent] = np.nan
                second = second * numerator / denominator
            first = first * numerator / denominator
        offset = np.array([channel.offset for channel in about.phasors], "f8")
        if not offset.any():
            return first, second
        if about.polar:
            turned = second - offset
            return first, np.where(offset == 0, second, turned - 2 * np.pi * np.rint(turned / (2 * np.pi)))
        with np.errstate(invalid="ignore"):
            cos, sin = np.cos(offset), np.sin(offset)
        return (
            np.where(offset == 0, first, first * cos + second * sin),
            np.where(offset == 0, second, second * cos - first * sin),
        )

    @staticmethod
    def _per_count(about: PmuConfiguration) -> tuple[list[float], list[int]]:
        pairs = [channel.per_count for channel in about.phasors]
        return [numerator for numerator, _ in pairs], [denominator for _, denominator in pairs]

    @staticmethod
    def _complex(re: Floats, im: Floats) -> NDArray[np.complex128]:
        result = np.empty(re.shape, "c16")  # re + 1j * im would turn a NaN in one part into two
        result.real, result.imag = re, im
        return result


def _floats(numbers: NDArray[Any]) -> Floats:
    with np.errstate(invalid="ignore"):  # a signalling NaN is a NaN as any other
        return numbers.astype("f8")


def _wire_type(configuration: Configuration, size: int) -> np.dtype:
    """Give the layout of a whole data frame as numpy reads it."""
    fields: list[tuple[str, object, int]] = [
        ("sync", ">u2", 0),
        ("size", ">u2", 2),
        ("idcode", ">u2", 4),
        ("soc", ">u4", 6),
        ("fraction", ">u4", 10),
    ]
    at = HEAD_SIZE
    for number, pmu in enumerate(configuration.pmus):
        a, b = (">f4", ">f4") if pmu.phasors_float else (">u2" if pmu.polar else ">i2", ">i2")
        parts = (
            ("stat", np.dtype(">u2")),
            ("phasors", np.dtype((np.dtype([("a", a), ("b", b)]), (len(pmu.phasors),)))),
            ("freq", np.dtype((">f4" if pmu.freq_float else ">i2", (2,)))),
            ("analogs", np.dtype((">f4" if pmu.analogs_float else ">i2", (len(pmu.analogs),)))),
            ("digitals", np.dtype((">u2", (len(pmu.digitals),)))),
        )
        for name, kind in parts:
            fields.append((f"{name}{number}", kind, at))
            at += kind.itemsize
    names, formats, offsets = zip(*fields, strict=True)
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})
