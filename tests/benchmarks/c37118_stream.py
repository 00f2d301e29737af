"""Frames per second through the splitter, beside `binascii.crc_hqx` alone over the same frames.

Run as `python tests/benchmarks/c37118_stream.py [FRAMES]`. The frames are those of 8 float rectangular phasors, 4
analogs and 1 digital word: 108 bytes each. The splitter's time includes taking each frame's bytes out.
"""

import random
import sys
import tracemalloc
from binascii import crc_hqx
from time import perf_counter

from drivers.c37118.envelope import Envelope, FrameType, seal
from drivers.c37118.stream import Stream


def make(count: int) -> list[bytes]:
    rng = random.Random(1)
    return [
        seal(Envelope(FrameType.DATA, 1, 7, 1_700_000_000 + n // 50, 0, n % 50), rng.randbytes(92))
        for n in range(count)
    ]


def alone(frames: list[bytes]) -> float:
    begin = perf_counter()
    for frame in frames:
        if crc_hqx(frame, 0xFFFF):
            raise ValueError("a frame of ours is bad")
    return perf_counter() - begin


def through(wire: bytes, chunk: int, count: int) -> float:
    stream, found = Stream(), 0
    begin = perf_counter()
    for at in range(0, len(wire), chunk):
        found += len(stream.feed(wire[at : at + chunk]))
    seconds = perf_counter() - begin
    if (found, stream.bad_crc, stream.skipped_bytes) != (count, 0, 0):
        raise ValueError(f"{found} of {count} frames, {stream.bad_crc} bad CRC, {stream.skipped_bytes} bytes skipped")
    return seconds


def main(count: int) -> None:
    frames = make(count)
    wire = b"".join(frames)
    print(f"{count} frames of {len(frames[0])} bytes; best of 5")
    reference = count / min(alone(frames) for _ in range(5))
    print(f"crc_hqx alone          {reference:12,.0f} frames/s")
    for chunk in (108, 1460, 65536):
        rate = count / min(through(wire, chunk, count) for _ in range(5))
        tracemalloc.start()
        through(wire, chunk, count)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        print(
            f"stream, {chunk:5} B chunks {rate:12,.0f} frames/s ratio {rate / reference:.2f}  peak {peak / 1024:.0f} kB"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
