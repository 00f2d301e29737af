"""Waveform blocks of LeCroy scopes (pure): what `C1:WF? ALL` answers and .trc files hold, read and written.

A block is `#9`, nine digits (its length), WAVEDESC, USERTEXT, RES_DESC1, TRIGTIME, RISTIME, RES_ARRAY1, DATA1, DATA2,
RES_ARRAY2 and 3. The descriptor has the length of each part, 0 = absent. Files that were saved as the scope answered,
with `C1:WF ALL,` before and a line end after the block, are read too.

Source: X-Stream remote control manual WM-RCM-E Rev D, "Waveform structure", and the template LECROY_2_3.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from drivers.errors import ProtocolError
from drivers.lecroy import descriptor as wavedesc
from drivers.lecroy.descriptor import LO, Descriptor

Buffer = bytes | bytearray | memoryview

_BEFORE = 64  # bytes that may stand before the '#': `C1:WAVEFORM ALL,` and spaces
_PARTS = (
    "wave_descriptor",
    "user_text",
    "res_desc1",
    "trigtime_array",
    "ris_time_array",
    "res_array1",
    "wave_array_1",
    "wave_array_2",
    "res_array2",
    "res_array3",
)


@dataclass(frozen=True, eq=False)
class Waveform:
    """One trace: its descriptor and its arrays.

    Attributes:
        descriptor: as the scope gave it.
        codes: raw codes, shape (segments, points), int8 or int16 in the block's byte order; a view into the block.
        codes2: second array (imaginary part of an FFT, or lower edge of extrema), same shape; None where absent.
        trigger_times: s from the first trigger to that of each segment; NaN where the block does not tell.
        trigger_offsets: s from the trigger to the first point, for each segment.
        ris_offsets: s from the trigger to the first point of each sweep that a RIS trace is woven from; else None.
        user_text: as stored.
    """

    descriptor: Descriptor
    codes: NDArray[Any]
    trigger_times: NDArray[np.float64]
    trigger_offsets: NDArray[np.float64]
    codes2: NDArray[Any] | None = None
    ris_offsets: NDArray[np.float64] | None = None
    user_text: bytes = b""

    @property
    def segments(self) -> int:
        """Number of segments; 1 for a single sweep."""
        return self.codes.shape[0]

    @property
    def points(self) -> int:
        """Points of a segment."""
        return self.codes.shape[1]

    @property
    def dx(self) -> float:
        """Step of the time axis, in `descriptor.horunit` (s)."""
        return self.descriptor.horiz_interval * max(self.descriptor.sparsing_factor, 1)

    @property
    def x0(self) -> float:
        """Time of the first point after the (first) trigger, s."""
        return float(self.times()[0]) if self.ris_offsets is not None else float(self.trigger_offsets[0])

    @property
    def valid(self) -> slice:
        """The points of a segment that hold data: all, but for a single sweep that was broken off or rolls."""
        if self.segments > 1:
            return slice(0, self.points)
        return slice(self.descriptor.first_valid_pnt, min(self.descriptor.last_valid_pnt + 1, self.points))

    @property
    def triggered(self) -> np.datetime64 | None:
        """When the first trigger was, by the scope's clock, which knows no zone; None if it gave no date."""
        return self.descriptor.triggered

    def volts(
        self, dtype: DTypeLike = np.float64, out: NDArray[Any] | None = None, *, second: bool = False
    ) -> NDArray[Any]:
        """Give the values in `descriptor.vertunit` (V): gain x code - offset, shape (segments, points).

        Args:
            dtype: float64 or float32.
            out: an array of that shape to put them into; `dtype` is then its own.
            second: those of the second array.

        Raises:
            ValueError: a second array is asked for and there is none.
        """
        codes = self.codes2 if second else self.codes
        if codes is None:
            raise ValueError("this trace has no second array")
        if out is None:
            out = np.empty(codes.shape, dtype)
        gain, offset = (out.dtype.type(x) for x in (self.descriptor.vertical_gain, self.descriptor.vertical_offset))
        np.multiply(codes, gain, out=out, casting="unsafe", dtype=out.dtype)
        np.subtract(out, offset, out=out)
        return out

    def times(self, segment: int = 0) -> NDArray[np.float64]:
        """Give the time of each point after the trigger of its segment, in `descriptor.horunit` (s)."""
        index = np.arange(self.points)
        if self.ris_offsets is not None:
            sweep = index % len(self.ris_offsets)
            return self.descriptor.horiz_interval * (index - sweep) + self.ris_offsets[sweep]
        return np.asarray(float(self.trigger_offsets[segment]) + index * self.dx, np.float64)


def block(data: Buffer) -> memoryview:
    """Give the `#9...` block out of a reply or a file, without copying: what a clean .trc holds.

    Raises:
        ProtocolError: there is none, or it has another length than it says.
    """
    view = memoryview(data).cast("B")
    start, head, length = _header(view)
    return view[start : start + head + length]


def read_descriptor(data: Buffer) -> Descriptor:
    """Read the descriptor alone, from a whole block or from the answer to `WF? DESC`.

    Raises:
        ProtocolError: as `decode`.
    """
    view = memoryview(data).cast("B")
    start, head, length = _header(view)
    descriptor = wavedesc.unpack(view[start + head : start + head + length])
    _check(descriptor)
    return descriptor


def decode(data: Buffer) -> Waveform:
    """Read a waveform block, either byte order, BYTE or WORD, single, sequence or RIS. Arrays of codes are views.

    Raises:
        ProtocolError: it is none, is cut short, or contradicts itself; the message has the field's name. Nothing is
            allocated before all lengths have been found to agree.
    """
    view = memoryview(data).cast("B")
    start, head, length = _header(view)
    body = view[start + head : start + head + length]
    descriptor = wavedesc.unpack(body)
    segments, points = _check(descriptor)
    told = sum(getattr(descriptor, part) for part in _PARTS)
    if told != length:
        lengths = ", ".join(f"{part} {getattr(descriptor, part)}" for part in _PARTS if getattr(descriptor, part))
        raise ProtocolError(f"waveform block: it has {length} bytes, its parts say {told} ({lengths})")
    parts: dict[str, memoryview] = {}
    at = 0
    for part in _PARTS:
        parts[part] = body[at : at + getattr(descriptor, part)]
        at += getattr(descriptor, part)
    order = ">" if descriptor.comm_order == wavedesc.HI else "<"
    double = np.dtype(order + "f8")
    pairs = np.frombuffer(parts["trigtime_array"], double).astype(np.float64).reshape(-1, 2)[:segments]
    if not np.isfinite(pairs).all():
        raise ProtocolError("waveform block: trigtime_array has values that are not numbers")
    ris = np.frombuffer(parts["ris_time_array"], double).astype(np.float64)
    if not np.isfinite(ris).all():
        raise ProtocolError("waveform block: ris_time_array has values that are not numbers")
    shift = descriptor.first_point * descriptor.horiz_interval
    if len(pairs):
        times, offsets = pairs[:, 0], pairs[:, 1]
    else:
        times = np.full(segments, np.nan if segments > 1 else 0.0)
        offsets = np.full(segments, descriptor.horiz_offset)
    code = np.dtype("i1") if descriptor.comm_type == wavedesc.BYTE else np.dtype(order + "i2")

    def codes(part: str) -> NDArray[Any]:
        # a sequence that was broken off is padded to its full length
        return np.frombuffer(parts[part], code, segments * points).reshape(segments, points)

    return Waveform(
        descriptor,
        codes("wave_array_1"),
        times,
        offsets + shift,
        codes("wave_array_2") if descriptor.wave_array_2 else None,
        ris + shift if descriptor.ris_time_array else None,
        bytes(parts["user_text"]),
    )


def encode(waveform: Waveform) -> bytes:
    """Write a trace as scopes save it: `#9`, LO, nothing before or after, no reserved parts. `decode` gives it back.

    Raises:
        ValueError: it is longer than nine digits can say, or a field does not fit into the descriptor.
    """
    old = waveform.descriptor
    code = np.dtype("i1") if old.comm_type == wavedesc.BYTE else np.dtype("<i2")
    arrays = [np.ascontiguousarray(codes, code) for codes in (waveform.codes, waveform.codes2) if codes is not None]
    shift = old.first_point * old.horiz_interval
    pairs = b""
    if old.trigtime_array:
        pairs = np.column_stack((waveform.trigger_times, waveform.trigger_offsets - shift)).astype("<f8").tobytes()
    ris = b"" if waveform.ris_offsets is None else (waveform.ris_offsets - shift).astype("<f8").tobytes()
    descriptor = replace(
        old,
        comm_order=LO,
        wave_descriptor=wavedesc.SIZE,
        user_text=len(waveform.user_text),
        res_desc1=0,
        trigtime_array=len(pairs),
        ris_time_array=len(ris),
        res_array1=0,
        wave_array_1=arrays[0].nbytes,
        wave_array_2=arrays[1].nbytes if len(arrays) > 1 else 0,
        res_array2=0,
        res_array3=0,
        wave_array_count=arrays[0].size,
        last_valid_pnt=min(old.last_valid_pnt, arrays[0].size - 1),
    )
    body = b"".join((descriptor.pack(), waveform.user_text, pairs, ris, *(array.tobytes() for array in arrays)))
    if len(body) > 999_999_999:
        raise ValueError(f"a block of {len(body)} bytes is too long: nine digits are all that #9 has")
    return b"#9%09d" % len(body) + body


def _header(view: memoryview) -> tuple[int, int, int]:
    """Give where the `#` is, the length of `#9` and its digits, and the length of the block."""
    first = bytes(view[: _BEFORE + 11])
    start = first.find(b"#", 0, _BEFORE)
    if start < 0:
        raise ProtocolError(f"waveform block: there is no '#' among the first {_BEFORE} bytes: {first[:32]!r}")
    digits = first[start + 1 : start + 2]
    if digits not in [b"%d" % n for n in range(1, 10)]:
        raise ProtocolError(f"waveform block: '#' is followed by {digits!r}, not by a number of digits from 1 to 9")
    head = 2 + int(digits)
    number = first[start + 2 : start + head]
    if len(number) < head - 2 or not number.isdigit():
        raise ProtocolError(f"waveform block: its length is {number!r}, not {head - 2} digits")
    length = int(number)
    there = len(view) - start - head
    if there < length:
        raise ProtocolError(f"waveform block: cut short, {there} of {length} bytes are there")
    after = bytes(view[start + head + length : start + head + length + 3])
    if after not in (b"", b"\n", b"\r\n"):
        raise ProtocolError(
            f"waveform block: {there - length} bytes follow its {length} bytes, beginning with {after!r}"
        )
    return start, head, length


def _check(d: Descriptor) -> tuple[int, int]:
    """Refuse a descriptor that contradicts itself; give the number of segments, and the points of one.

    Raises:
        ProtocolError: it does; the message has the field's name.
    """

    def need(good: bool, text: str) -> None:
        if not good:
            raise ProtocolError(f"waveform block: {text}")

    for part in _PARTS:
        need(getattr(d, part) >= 0, f"{part} = {getattr(d, part)} is below 0")
    need(d.wave_descriptor >= wavedesc.SIZE, f"wave_descriptor = {d.wave_descriptor} is below {wavedesc.SIZE}")
    need(d.wave_array_count > 0, f"wave_array_count = {d.wave_array_count}: the block holds no point")
    size = d.wave_array_count * d.itemsize
    need(d.wave_array_1 == size, f"wave_array_1 = {d.wave_array_1} bytes, but {d.wave_array_count} points have {size}")
    need(
        d.wave_array_2 in (0, size),
        f"wave_array_2 = {d.wave_array_2} bytes, but {d.wave_array_count} points have {size}",
    )
    for name in ("vertical_gain", "vertical_offset", "horiz_interval", "horiz_offset"):
        need(math.isfinite(getattr(d, name)), f"{name} = {getattr(d, name)} is not a number")
    need(d.horiz_interval > 0, f"horiz_interval = {d.horiz_interval} is not above 0")
    need(d.sparsing_factor >= 0, f"sparsing_factor = {d.sparsing_factor} is below 0")
    need(d.first_point >= 0, f"first_point = {d.first_point} is below 0")
    need(
        0 <= d.first_valid_pnt <= d.last_valid_pnt + 1 <= d.wave_array_count,
        f"first_valid_pnt {d.first_valid_pnt} .. last_valid_pnt {d.last_valid_pnt} is no range "
        f"of {d.wave_array_count} points",
    )
    need(
        1 <= d.subarray_count <= d.wave_array_count,
        f"subarray_count = {d.subarray_count} is not 1 .. {d.wave_array_count}",
    )
    pieces = d.subarray_count
    if d.subarray_count < d.nom_subarray_count and d.last_valid_pnt < d.wave_array_count - 1:
        broken_off = d.wave_array_count % d.nom_subarray_count == 0
        each = d.wave_array_count // d.nom_subarray_count
        if broken_off and d.last_valid_pnt + 1 == each * d.subarray_count:
            pieces = d.nom_subarray_count
    need(
        d.wave_array_count % pieces == 0,
        f"subarray_count = {d.subarray_count} does not divide {d.wave_array_count} points evenly",
    )
    need(d.trigtime_array % 16 == 0, f"trigtime_array = {d.trigtime_array} is not pairs of 16 bytes")
    pairs = d.trigtime_array // 16
    need(
        pairs in (0, d.subarray_count, pieces),
        f"trigtime_array has {pairs} pairs, subarray_count = {d.subarray_count}",
    )
    if d.ris_time_array:
        need(
            d.ris_time_array == 8 * d.ris_sweeps,
            f"ris_time_array = {d.ris_time_array} bytes, but ris_sweeps = {d.ris_sweeps} need {8 * d.ris_sweeps}",
        )
        need(d.subarray_count == 1, f"ris_time_array and subarray_count = {d.subarray_count}: RIS has one segment")
    _ = d.triggered  # which refuses what is no time
    return d.subarray_count, d.wave_array_count // pieces
