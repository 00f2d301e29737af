"""What a simulated scope measures: pulses with noise, as waveform blocks that look as a WaveRunner's do.

Codes are those of an 8-bit model: left-aligned in a WORD, 8 divisions = 64,002 codes, gain = V/div / 8000.3 (probe
included), two points more than the screen shows, HORIZ_OFFSET up to one sample before the screen's left edge.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from drivers.lecroy.descriptor import BYTE, HI, Descriptor

CODES_PER_DIV = 8000.3
_NOISE = np.random.default_rng(0).standard_normal(1 << 20).astype(np.float32)
_POINTS = (*(int(n * 10**decade) for decade in range(2, 7) for n in (1, 2.5, 5)), 10_000_000, 16_000_000)


@dataclass
class Pulse:
    """What lies at an input.

    Attributes:
        amplitude: V; negative as a detector's pulses are.
        spread: relative spread of the amplitude from trigger to trigger.
        rise, decay: s, time constants.
        noise: V rms.
        baseline: V.
    """

    amplitude: float = -0.3
    spread: float = 0.1
    rise: float = 2e-9
    decay: float = 4e-8
    noise: float = 0.004
    baseline: float = 0.0


@dataclass(frozen=True)
class Acquisition:
    """One acquisition that the scope has in its memory.

    Attributes:
        number: counts from 1.
        when: of the first trigger, by the scope's clock.
        triggers: s from the first trigger to each segment's.
        asked: segments that were asked for.
        tdiv: s/div. delay: s from the trigger to the screen's left edge. points: a segment on the screen.
        vertical: of each channel: V/div, offset (V), coupling, probe factor.
    """

    number: int
    when: np.datetime64
    triggers: tuple[float, ...]
    asked: int
    tdiv: float
    delay: float
    points: int
    vertical: dict[str, tuple[float, float, int, float]] = field(default_factory=dict)

    @property
    def dx(self) -> float:
        """Sampling interval, s."""
        return float(np.float32(self.tdiv * 10 / self.points))


def points_for(msiz: float, segments: int) -> int:
    """Give the points of a segment on the screen: the greatest legal number that fits."""
    return max((n for n in _POINTS if n <= msiz / segments), default=_POINTS[0])


def codes(taken: Acquisition, channel: str, pulse: Pulse) -> NDArray[np.int8]:
    """Digitise a channel's input, shape (segments, points + 2); the same acquisition gives the same codes."""
    vdiv, offset, _, probe = taken.vertical[channel]
    gain = vdiv * probe / CODES_PER_DIV * 256  # of a byte
    random = np.random.default_rng([taken.number, ord(channel[1])])
    points = taken.points + 2
    result = np.empty((len(taken.triggers), points), np.int8)
    start = int(np.clip(-taken.delay / taken.dx - 1, 0, points))
    stop = int(np.clip(start + 12 * pulse.decay / taken.dx + 2, 0, points))
    times = (np.arange(start, stop) * taken.dx + taken.delay).clip(0).astype(np.float32)
    shape = np.exp(-times / pulse.decay) - np.exp(-times / pulse.rise)
    top = np.log(pulse.decay / pulse.rise) * pulse.decay * pulse.rise / (pulse.decay - pulse.rise)
    peak = np.exp(-top / pulse.decay) - np.exp(-top / pulse.rise)
    for segment in result:
        at, height = int(random.integers(len(_NOISE))), pulse.amplitude * (1 + pulse.spread * random.standard_normal())
        volts = np.resize(np.roll(_NOISE, at)[: min(points, len(_NOISE))], points) * np.float32(pulse.noise / gain)
        volts += np.float32((pulse.baseline + offset) / gain)
        volts[start:stop] += shape * np.float32(height / peak / gain)
        segment[:] = np.rint(volts).clip(-125, 124)
    return result


def block(
    taken: Acquisition,
    channel: str,
    values: NDArray[np.int8],
    *,
    kind: int,
    order: int,
    setup: tuple[int, int, int, int] = (0, 0, 0, 0),
    text: bytes = b"",
    what: str = "ALL",
) -> bytes:
    """Give `#9` and the block, or the part of it that is asked for.

    Args:
        taken: the acquisition.
        channel: "C1".
        values: its codes.
        kind: BYTE or WORD.
        order: HI or LO.
        setup: WFSU's sparsing, number of points, first point, segment (0 = all).
        text: user text.
        what: DESC, TEXT, TIME, DAT1, DAT2 or ALL.
    """
    sparsing, number, first, segment = setup
    triggers = taken.triggers
    if segment:
        values, triggers = values[segment - 1 : segment], triggers[segment - 1 : segment]
    values = values[:, first :: max(sparsing, 1)]
    if number:
        values = values[:, :number]
    segments = len(values)
    vdiv, offset, coupling, probe = taken.vertical[channel]
    ends = "><"[order]
    if kind == BYTE:
        data = values.tobytes()
    else:
        words = np.zeros((*values.shape, 2), np.int8)
        words[..., 0 if order == HI else 1] = values
        data = words.tobytes()
    left = taken.delay - taken.dx * 0.37
    pairs = b""
    if len(taken.triggers) > 1 or taken.asked > 1:
        times = np.array([(when, left) for when in triggers])
        pairs = times.astype(ends + "f8").tobytes()
    count = values.size
    unit = 256 if kind == BYTE else 1
    whole = taken.points + 2
    descriptor = Descriptor(
        comm_type=kind,
        comm_order=order,
        user_text=len(text),
        trigtime_array=len(pairs),
        wave_array_1=len(data),
        instrument_name="LECROYWR610Zi",
        instrument_number=12345,
        wave_array_count=count,
        pnts_per_screen=taken.points,
        last_valid_pnt=count - 1,
        first_point=first,
        sparsing_factor=max(sparsing, 1),
        segment_index=segment,
        subarray_count=segments,
        vertical_gain=vdiv * probe / CODES_PER_DIV * unit,
        vertical_offset=offset,
        max_value=31745.0 / unit,
        min_value=-32001.0 / unit,
        nom_subarray_count=1 if segment else taken.asked,
        horiz_interval=taken.dx,
        horiz_offset=left,
        pixel_offset=taken.delay,
        horiz_uncertainty=1e-12,
        acq_duration=max(taken.triggers),
        timebase=_step(taken.tdiv, 1e-12, 47),
        vert_coupling=coupling,
        probe_att=probe,
        fixed_vert_gain=_step(vdiv, 1e-6, 27),
        acq_vert_offset=offset,
        wave_source=int(channel[1]) - 1,
    ).stamped(taken.when)
    low = count & 0xFFFF
    descriptor = replace(descriptor, reserved1=low - (1 << 16 if low > 0x7FFF else 0), reserved2=count >> 16 & 0x7FFF)
    if whole <= first:
        data = b""
    parts = {"DESC": descriptor.pack(), "TEXT": text, "TIME": pairs, "DAT1": data, "DAT2": b""}
    body = b"".join(parts.values()) if what == "ALL" else parts[what]
    return b"#9%09d" % len(body) + body


def _step(value: float, unit: float, most: int) -> int:
    """Give the number of a 1-2-5 step, the first being 1 `unit`."""
    decade = np.log10(value / unit)
    number = int(decade // 1 * 3 + np.searchsorted([1.4, 3.2, 7.0], 10 ** (decade % 1)))
    return int(np.clip(number, 0, most))
