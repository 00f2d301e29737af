"""What is in .trc files: a report, CSV, a plot, and clean copies of files with a scope's reply around the block."""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from drivers.errors import ProtocolError
from drivers.lecroy.wavedesc import Waveform, block, decode

_LINES = 65536  # of CSV at a time


def load(path: Path) -> Waveform:
    """Read a .trc file.

    Raises:
        OSError: it cannot be read.
        ProtocolError: it is no waveform; the message begins with the file's name.
    """
    try:
        return decode(path.read_bytes())
    except ProtocolError as error:
        raise ProtocolError(f"{path}: {error}") from error


def report(waveform: Waveform) -> str:
    """Say in a few lines what a trace is."""
    d, words = waveform.descriptor, waveform.descriptor.words()
    volts = waveform.volts(np.float32)[:, waveform.valid]
    unit, across = d.vertunit, d.horunit.lower()
    kind = f"{waveform.segments} segments of {waveform.points} points"
    if waveform.segments == 1:
        kind = f"{waveform.points} points"
    if d.subarray_count < d.nom_subarray_count:
        kind += f" (stopped early: {d.nom_subarray_count} were asked for)"
    ranges = f"{volts.min():.6g} .. {volts.max():.6g} {unit}, mean {volts.mean(dtype=float):.6g} {unit}"
    lines = [
        ("instrument", f"{d.instrument_name} {d.instrument_number}"),
        ("trace", f"{words['wave_source']}, {words['record_type']}, {words['processing_done']}"),
        ("triggered", f"{waveform.triggered} by the scope's clock" if waveform.triggered is not None else "unknown"),
        ("points", f"{kind}, {words['comm_type']} {words['comm_order']}"),
        ("time", f"from {waveform.x0:.9g} {across} in steps of {waveform.dx:.6g} {across}, {words['timebase']}"),
        ("values", ranges if volts.size else "none of the points is valid"),
        ("scale", f"{d.vertical_gain:.7g} {unit} a code, offset {d.vertical_offset:.7g} {unit}, {d.nominal_bits} bits"),
        ("input", f"{words['vert_coupling']}, probe x {d.probe_att:g}, bandwidth limit {words['bandwidth_limit']}"),
    ]
    if waveform.segments > 1:
        lines.append(("segments", f"last trigger {waveform.trigger_times[-1]:.9g} s after the first"))
    if waveform.codes2 is not None:
        lines.append(("second array", f"{waveform.codes2.size} points"))
    if waveform.user_text:
        lines.append(("text", waveform.user_text.split(b"\0")[0].decode("latin-1")))
    return "\n".join(f"{name:<13}{text}" for name, text in lines)


def write_csv(waveform: Waveform, out: IO[str]) -> None:
    """Write a header, then a line a valid point, segments in order: (segment,) time after its trigger, value."""
    many, unit = waveform.segments > 1, waveform.descriptor.vertunit
    out.write(("segment," if many else "") + f"time ({waveform.descriptor.horunit.lower()}),value ({unit})\n")
    all_volts = waveform.volts()[:, waveform.valid]
    for segment, volts in enumerate(all_volts):
        lead = f"{segment + 1}," if many else ""
        times = waveform.times(segment)[waveform.valid]
        for part in _parts(len(times)):
            lines = zip(times[part].tolist(), volts[part].tolist(), strict=True)
            out.write("".join(f"{lead}{time:.12g},{volt:.9g}\n" for time, volt in lines))


def _parts(count: int) -> Iterator[slice]:
    for start in range(0, count, _LINES):
        yield slice(start, start + _LINES)


def plot(waveforms: Iterable[tuple[str, Waveform]], path: Path) -> None:
    """Draw traces over time into an image file; the segments of a sequence lie over each other.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: its name ends in no kind of image that matplotlib knows.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.add_subplot()
    for number, (name, waveform) in enumerate(waveforms):
        volts = waveform.volts(np.float32)
        for segment in range(waveform.segments):
            label = name if segment == 0 else None
            times = waveform.times(segment)[waveform.valid]
            axes.plot(times, volts[segment, waveform.valid], color=f"C{number}", linewidth=0.8, label=label)
        axes.set_xlabel(f"time after trigger ({waveform.descriptor.horunit.lower()})")
        axes.set_ylabel(waveform.descriptor.vertunit)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path)


def clean(source: Path, target: Path) -> None:
    """Copy the block alone, without what the scope's reply had around it. Never over an existing file.

    Raises:
        OSError: `source` cannot be read, or `target` not be made.
        ProtocolError: `source` is no waveform.
    """
    data = source.read_bytes()
    try:
        decode(data)
    except ProtocolError as error:
        raise ProtocolError(f"{source}: {error}") from error
    with open(target, "xb") as file:
        file.write(block(data))
        file.flush()
        os.fsync(file.fileno())
    print(f"{target}", file=sys.stderr)
