"""Many data frames at once: decoded with magnitude and angle, beside `binascii.crc_hqx` alone over the same frames; and
a recording of 1 GB to CSV: rows a second, and memory beside that for a tenth of it.

`python -m tests.benchmarks.c37118_batch [MEGABYTES]`. The frames are those of the simulated PMU: 8 phasors, 3 analogs,
1 digital word.
"""

import random
import subprocess
import sys
import tempfile
from binascii import crc_hqx
from itertools import islice
from pathlib import Path
from time import perf_counter

from drivers.c37118 import frames
from drivers.c37118.batch import Batch
from drivers.c37118.frames import Configuration
from drivers.c37118.simulated_pmu import SimulatedPmu
from drivers.c37118.simulated_stream import SimulatedStream

FORMATS = {15: "polar floats", 14: "rectangular floats", 1: "polar integers", 0: "rectangular integers"}
TIMES = 5  # of which the best counts
FRAMES = 4096  # decoded at a time, as `decoding` does

# The peak of the process itself: a child's peak as its parent is told it begins with the parent's.
CHILD = """
import sys
from drivers.c37118.__main__ import main
status = main(sys.argv[1:])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) / 1024, file=sys.stderr)
sys.exit(status)
"""


def stream(form: int, count: int) -> tuple[Configuration, list[bytes]]:
    source = SimulatedStream([SimulatedPmu(format=form)], clock=lambda: 1_790_000_000 * 10**9)
    return source.configuration(), [source.step()[0] for _ in range(count)]


def alone(wire: list[bytes]) -> float:
    begun = perf_counter()
    for frame in wire:
        if crc_hqx(frame, 0xFFFF):
            raise ValueError("a frame of ours is bad")
    return perf_counter() - begun


def batched(wire: list[bytes], configuration: Configuration) -> float:
    begun = perf_counter()
    for at in range(0, len(wire), FRAMES):
        batch = Batch(wire[at : at + FRAMES], configuration)
        if batch.bad_crc:
            raise ValueError("a frame of ours is bad")
        for column in (batch.polar, batch.frequency, batch.stat, batch.analogs, batch.digitals):
            column()
    return perf_counter() - begun


def speed(form: int, count: int) -> None:
    configuration, wire = stream(form, count)
    reference = min(alone(wire) for _ in range(TIMES)) / count
    ours = min(batched(wire, configuration) for _ in range(TIMES)) / count
    print(
        f"batch, {FORMATS[form]:20} {len(wire[0]):4} bytes: {1 / ours:12,.0f} frames/s, crc_hqx alone "
        f"{1 / reference:12,.0f} frames/s, ratio {reference / ours:.2f}"
    )


def recording(path: Path, megabytes: float) -> int:
    """Write a raw recording; give its frames."""
    source = SimulatedStream(clock=lambda: 1_790_000_000 * 10**9)
    first = frames.encode(source.configuration())
    rng, (pmu,) = random.Random(1), source.pmus
    parts = []
    for _ in range(20_000):  # the noise of a quiet network: no value is the same for long
        pmu.voltage, pmu.current = rng.gauss(63_500, 6), rng.gauss(400, 0.04)
        parts += source.step()
    block = b"".join(parts)
    blocks = round(megabytes * 1e6 / len(block))
    with path.open("wb") as file:
        file.write(first)
        for _ in islice(iter(int, 1), max(blocks, 1)):
            file.write(block)
    return 20_000 * max(blocks, 1)


def decode(megabytes: float, kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stream.raw"
        count = recording(path, megabytes)
        command = [sys.executable, "-c", CHILD, "decode", "--json", str(path), f"--{kind}", f"{folder}/out.{kind}"]
        begun = perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds = perf_counter() - begun
        said, peak = done.stderr.splitlines()
        if f": {count} rows" not in said:
            raise ValueError(f"{count} frames were recorded: {said}")
        print(
            f"decode to {kind}, {path.stat().st_size / 1e6:6.0f} MB: {count / seconds:9,.0f} rows/s, "
            f"peak memory {float(peak):.0f} MB"
        )


if __name__ == "__main__":
    most = float(sys.argv[1]) if len(sys.argv) > 1 else 1000
    for wire_format in FORMATS:
        speed(wire_format, 100_000)
    for size in (most / 10, most):
        decode(size, "csv")
    decode(most, "npz")
