"""Waveform blocks of every kind, built part by part as a scope would send them."""

import struct
from dataclasses import replace

import numpy as np

from drivers.lecroy.descriptor import BYTE, LO, Descriptor

rng = np.random.default_rng(610)
WHEN = np.datetime64("2026-03-04T05:06:07.250000000", "ns")


def trace(
    points=1000, segments=1, *, order=LO, kind=1, text=b"", ris=0, second=False, reserved=(0, 0, 0, 0), **fields
) -> bytes:
    """A block as a scope would send it, built part by part."""
    ends = "><"[order]
    code = "i1" if kind == BYTE else ends + "i2"
    codes = rng.integers(-120, 120, (2, segments * points)) * (1 if kind == BYTE else 256)
    data = [codes[n].astype(code).tobytes() for n in range(2 if second else 1)]
    pairs = b"".join(
        struct.pack(ends + "dd", 1e-3 * n, -5e-8 - 1e-10 * n) for n in range(segments if segments > 1 else 0)
    )
    sweeps = b"".join(struct.pack(ends + "d", -5e-8 + 1e-9 * n / ris) for n in range(ris))
    pads = [bytes(size) for size in reserved]
    descriptor = Descriptor(
        comm_type=kind,
        comm_order=order,
        user_text=len(text),
        res_desc1=reserved[0],
        trigtime_array=len(pairs),
        ris_time_array=len(sweeps),
        res_array1=reserved[1],
        wave_array_1=len(data[0]),
        wave_array_2=len(data[1]) if second else 0,
        res_array2=reserved[2],
        res_array3=reserved[3],
        instrument_name="LECROYWR610Zi",
        instrument_number=12345,
        wave_array_count=segments * points,
        pnts_per_screen=points - 2,
        last_valid_pnt=segments * points - 1,
        subarray_count=segments,
        nom_subarray_count=segments,
        vertical_gain=0.1 / 8000.3 * (256 if kind == BYTE else 1),
        vertical_offset=0.05,
        horiz_interval=1e-9,
        horiz_offset=-5e-8,
        ris_sweeps=ris or 1,
        timebase=15,
    ).stamped(WHEN)
    descriptor = replace(descriptor, **fields)
    body = b"".join((descriptor.pack(), text, pads[0], pairs, sweeps, pads[1], *data, pads[2], pads[3]))
    return b"#9%09d" % len(body) + body
