"""The waveform descriptor WAVEDESC of template LECROY_2_3: 346 bytes that say what a block holds and how to scale it.

Source: X-Stream remote control manual WM-RCM-E Rev D, and the template that the scope itself prints (`TMPL?`). Fields
have the template's names in small letters. Numbers outside the template's lists of states (newer firmware writes such)
stay numbers; `words` puts text to those that have one.
"""

import struct
from dataclasses import asdict, astuple, dataclass, fields, replace
from datetime import date
from typing import Any

import numpy as np

from drivers.errors import ProtocolError

TEMPLATE = "LECROY_2_3"
BYTE, WORD = 0, 1  # COMM_TYPE: bytes of a code less one
HI, LO = 0, 1  # COMM_ORDER

_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
RECORD_TYPES = (
    "single_sweep",
    "interleaved",
    "histogram",
    "graph",
    "filter_coefficient",
    "complex",
    "extrema",
    "sequence_obsolete",
    "centered_RIS",
    "peak_detect",
)
PROCESSING = (
    "no_processing",
    "fir_filter",
    "interpolated",
    "sparsed",
    "autoscaled",
    "no_result",
    "rolling",
    "cumulative",
)
COUPLINGS = ("DC50", "GND", "DC1M", "GND", "AC1M")
TIMEBASES = tuple(f"{step} {prefix}s/div" for prefix in ("p", "n", "u", "m", "", "k") for step in _STEPS)[:48]
GAINS = tuple(f"{step} {prefix}V/div" for prefix in ("u", "m", "", "k") for step in _STEPS)[:28]
SOURCES = ("C1", "C2", "C3", "C4")


@dataclass(frozen=True)
class Descriptor:
    """The fields of WAVEDESC, in their order on the wire, with the values of a plain single sweep as defaults.

    Lengths (`wave_descriptor` .. `res_array3`) are in bytes. `vertical_gain` (V a code, probe factor included) and
    `vertical_offset` (V): volts = gain x code - offset. `horiz_interval`, `horiz_offset` in `horunit` (s).
    `trigger_time`: seconds, minutes, hours, days, months, year, unused, by the scope's clock, which knows no zone.
    """

    descriptor_name: str = "WAVEDESC"
    template_name: str = TEMPLATE
    comm_type: int = WORD
    comm_order: int = LO
    wave_descriptor: int = 346
    user_text: int = 0
    res_desc1: int = 0
    trigtime_array: int = 0
    ris_time_array: int = 0
    res_array1: int = 0
    wave_array_1: int = 0
    wave_array_2: int = 0
    res_array2: int = 0
    res_array3: int = 0
    instrument_name: str = ""
    instrument_number: int = 0
    trace_label: str = ""
    reserved1: int = 0
    reserved2: int = 0
    wave_array_count: int = 0
    pnts_per_screen: int = 0
    first_valid_pnt: int = 0
    last_valid_pnt: int = 0
    first_point: int = 0
    sparsing_factor: int = 1
    segment_index: int = 0
    subarray_count: int = 1
    sweeps_per_acq: int = 1
    points_per_pair: int = 0
    pair_offset: int = 0
    vertical_gain: float = 1.0
    vertical_offset: float = 0.0
    max_value: float = 0.0
    min_value: float = 0.0
    nominal_bits: int = 8
    nom_subarray_count: int = 1
    horiz_interval: float = 1.0
    horiz_offset: float = 0.0
    pixel_offset: float = 0.0
    vertunit: str = "V"
    horunit: str = "S"
    horiz_uncertainty: float = 0.0
    trigger_time: tuple[float, int, int, int, int, int, int] = (0.0, 0, 0, 0, 0, 0, 0)
    acq_duration: float = 0.0
    record_type: int = 0
    processing_done: int = 0
    reserved5: int = 0
    ris_sweeps: int = 1
    timebase: int = 100
    vert_coupling: int = 0
    probe_att: float = 1.0
    fixed_vert_gain: int = 0
    bandwidth_limit: int = 0
    vertical_vernier: float = 1.0
    acq_vert_offset: float = 0.0
    wave_source: int = 0

    def pack(self) -> bytes:
        """Give the 346 bytes, in the byte order that `comm_order` says.

        Raises:
            ValueError: a field does not fit into its place; it says which.
        """
        flat: list[Any] = []
        for (name, format), value in zip(_LAYOUT, astuple(self), strict=True):
            values = value if isinstance(value, tuple) else (value.encode("latin-1") if format[-1] == "s" else value,)
            try:
                struct.pack("<" + format, *values)
            except struct.error as error:
                raise ValueError(f"{name} = {value!r} does not fit into its place in WAVEDESC: {error}") from None
            flat += values
        return _STRUCTS[self.comm_order].pack(*flat)

    def stamped(self, when: np.datetime64) -> "Descriptor":
        """Give a copy with the trigger time `when`."""
        day, rest = divmod(int(when.astype("datetime64[ns]").astype("int64")), 86_400 * 10**9)
        on = date.fromordinal(date(1970, 1, 1).toordinal() + day)
        hour, rest = divmod(rest, 3600 * 10**9)
        minute, rest = divmod(rest, 60 * 10**9)
        return replace(self, trigger_time=(rest / 1e9, minute, hour, on.day, on.month, on.year, 0))

    @property
    def triggered(self) -> np.datetime64 | None:
        """When it was triggered, by the scope's clock (ns; no time zone is known); None where the scope gave no date.

        Raises:
            ProtocolError: `trigger_time` is no time.
        """
        seconds, minute, hour, day, month, year, _ = self.trigger_time
        if (day, month, year) == (0, 0, 0):
            return None
        try:
            days = date(year, month, day).toordinal() - date(1970, 1, 1).toordinal()
        except ValueError:
            days = None
        if days is None or not (0 <= seconds < 61 and 0 <= minute < 60 and 0 <= hour < 24 and 1678 <= year < 2262):
            raise ProtocolError(f"waveform block: trigger_time = {self.trigger_time} is no time")
        return np.datetime64(((days * 24 + hour) * 60 + minute) * 60 * 10**9 + round(seconds * 1e9), "ns")

    @property
    def itemsize(self) -> int:
        """Bytes of a code."""
        return self.comm_type + 1

    def words(self) -> dict[str, Any]:
        """Give all fields, numbers with a meaning as the template's word for them where it has one."""
        said = asdict(self)
        for name, names in (
            ("comm_type", ("BYTE", "WORD")),
            ("comm_order", ("HI", "LO")),
            ("record_type", RECORD_TYPES),
            ("processing_done", PROCESSING),
            ("timebase", TIMEBASES),
            ("vert_coupling", COUPLINGS),
            ("fixed_vert_gain", GAINS),
            ("bandwidth_limit", ("off", "on")),
            ("wave_source", SOURCES),
        ):
            number = said[name]
            said[name] = names[number] if 0 <= number < len(names) else number
        said["timebase"] = "external" if self.timebase == 100 else said["timebase"]
        return said


_FORMATS = {str: "16s", int: "i", float: "f"}
_OTHERWISE = {
    "vertunit": "48s",
    "horunit": "48s",
    "horiz_offset": "d",
    "pixel_offset": "d",
    "trigger_time": "dBBBBhh",
} | dict.fromkeys(
    (
        "comm_type comm_order reserved1 reserved2 points_per_pair pair_offset nominal_bits nom_subarray_count "
        "record_type processing_done reserved5 ris_sweeps timebase vert_coupling fixed_vert_gain bandwidth_limit "
        "wave_source"
    ).split(),
    "h",
)
_LAYOUT = [(field.name, _OTHERWISE.get(field.name) or _FORMATS[field.type]) for field in fields(Descriptor)]  # type: ignore[index]
_STRUCTS = tuple(struct.Struct(order + "".join(format for _, format in _LAYOUT)) for order in "><")
SIZE = _STRUCTS[LO].size
_ORDERS = {b"\0\0": HI, b"\1\0": LO, b"\0\1": LO}  # COMM_ORDER at byte 34: a 16-bit 1 in either order means LO


def unpack(data: bytes | memoryview) -> Descriptor:
    """Read WAVEDESC from its first 346 bytes.

    Raises:
        ProtocolError: it is none, or of another template, or its code type or byte order are not known.
    """
    head = bytes(data[:SIZE])
    if len(head) < SIZE:
        raise ProtocolError(f"waveform block: {len(head)} bytes are too few for WAVEDESC, which has {SIZE}")
    order = _ORDERS.get(head[34:36])
    if order is None:
        raise ProtocolError(f"waveform block: comm_order = {head[34:36].hex(' ')} is neither HI nor LO")
    flat = iter(_STRUCTS[order].unpack(head))
    values: dict[str, Any] = {}
    for name, format in _LAYOUT:
        match format:
            case "dBBBBhh":
                values[name] = tuple(next(flat) for _ in range(7))
            case "16s" | "48s":
                values[name] = next(flat).split(b"\0")[0].decode("latin-1").strip()
            case _:
                values[name] = next(flat)
    descriptor = Descriptor(**{**values, "comm_order": order})
    if descriptor.descriptor_name != "WAVEDESC":
        raise ProtocolError(f"waveform block: descriptor_name = {descriptor.descriptor_name!r}, not 'WAVEDESC'")
    if descriptor.template_name != TEMPLATE:
        raise ProtocolError(
            f"waveform block: template_name = {descriptor.template_name!r}; only {TEMPLATE} can be read, "
            "its fields lie elsewhere in other templates"
        )
    if descriptor.comm_type not in (BYTE, WORD):
        raise ProtocolError(f"waveform block: comm_type = {descriptor.comm_type} is neither 0 (BYTE) nor 1 (WORD)")
    return descriptor
