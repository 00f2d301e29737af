"""Waveform blocks as the arrays that are posted: thinned for people, whole on request, encoded as they are served.

It is meant for a thread: what takes long here (numpy) leaves the event loop alone.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.lecroy.wavedesc import Buffer, Waveform, decode
from iocs.signals import Bad, Severity, Status

_SERVED = np.dtype(">f8")  # as Channel Access sends it, so that posting copies and converts nothing


def prepared(
    event: Mapping[str, Buffer], points: int, full: Collection[str], most: int, triggers: int
) -> dict[str, Any]:
    """Give the values of one event under the signals' names.

    Args:
        event: each channel's block.
        points: most elements of `WF`.
        full: channels of which all points are wanted.
        most: how many those may be.
        triggers: most elements of `TRIGTIMES`.

    Raises:
        ProtocolError: a block is none.
    """
    values: dict[str, Any] = {}
    for channel, data in event.items():
        waveform = decode(data)
        times, volts = thinned(waveform, points)
        values |= {
            "TRIGGERED": str(waveform.triggered or ""),
            f"{channel}:WF": volts,
            f"{channel}:TIME": times,
            f"{channel}:X0": waveform.x0,
            f"{channel}:DX": waveform.dx,
            f"{channel}:NSEG": waveform.segments,
            f"{channel}:TRIGTIMES": waveform.trigger_times[:triggers].astype(_SERVED),
        }
        if channel in full:
            values[f"{channel}:WF:FULL"] = whole(waveform, most)
    return values


def whole(waveform: Waveform, most: int) -> Any:
    """Give all points, segments in order; what is beyond `most` is cut off, and the value MINOR for it."""
    codes = waveform.codes[:, waveform.valid].reshape(-1)
    volts = _volts(waveform, codes[:most])
    if codes.size > most:
        return Bad(f"{codes.size} points, of which {most} fit", volts, Severity.MINOR, Status.HWLIMIT)
    return volts


def thinned(waveform: Waveform, most: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Give times (s from the first trigger) and volts of at most `most` points, segments in order.

    Where there are more, stretches of points become two each: the lowest at its beginning, the highest at its middle.
    """
    valid = waveform.valid
    codes = waveform.codes[:, valid]
    segments, points = codes.shape
    each = max(most // segments, 2)
    if segments * 2 > most:
        codes, segments = codes[: most // 2], most // 2  # of very long sequences the first segments
    stretch = 1 if points <= each else -(-points // (each // 2))
    if stretch == 1:
        index, shown = np.arange(points), codes
    else:
        starts = np.arange(0, points, stretch)
        lows, highs = np.minimum.reduceat(codes, starts, axis=1), np.maximum.reduceat(codes, starts, axis=1)
        shown = np.stack((lows, highs), axis=2).reshape(segments, -1)
        index = np.stack((starts, np.minimum(starts + stretch // 2, points - 1)), axis=1).reshape(-1)
    index = index + valid.start
    within = waveform.times()[index] - waveform.x0 if waveform.ris_offsets is not None else index * waveform.dx
    starts_at = np.nan_to_num(waveform.trigger_times[:segments]) + waveform.trigger_offsets[:segments]
    times = (starts_at[:, None] + within).reshape(-1).astype(_SERVED)
    return times, _volts(waveform, shown.reshape(-1))


def _volts(waveform: Waveform, codes: NDArray[Any]) -> Any:
    volts = np.multiply(codes, waveform.descriptor.vertical_gain, dtype=np.float64)
    volts -= waveform.descriptor.vertical_offset
    return volts.astype(_SERVED)
