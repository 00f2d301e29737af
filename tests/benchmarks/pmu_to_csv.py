"""A minute of a PMU through IOC and archiver to CSV, at 50 and 240 frames/s: rows missing, processor time, memory.

`python -m tests.benchmarks.pmu_to_csv [SECONDS]`
"""

import sys
import tempfile
from pathlib import Path

from tests.lab import Lab
from tests.processes import wait_for

EXACT = '[archive.csv]\ntime_format = "ns"\n'


def measure(rate: int, seconds: float) -> None:
    """Run one rate and print a line."""
    with tempfile.TemporaryDirectory() as directory, Lab(Path(directory), "--rate", str(rate), rest=EXACT) as lab:
        lab.start_simulator()
        ioc, archiver = lab.start_ioc(), lab.start_archiver()
        before = ioc.cpu_seconds, archiver.cpu_seconds
        wait_for(lambda: len(lab.rows()) >= rate * seconds, "rows", deadline=2 * seconds + 60)
        used = ioc.cpu_seconds - before[0], archiver.cpu_seconds - before[1]
        memory = round(ioc.peak_memory), round(archiver.peak_memory)
        archiver.stop()
        index = [round(int(row[0]) * rate / 1e9) for row in lab.rows()]
    missing = index[-1] - index[0] + 1 - len(set(index))
    twice = len(index) - len(set(index))
    print(
        f"{rate:4} frames/s, 8 phasors: {len(index)} rows, {missing} missing, {twice} twice; "
        f"IOC {used[0] / len(index) * 1e6:.0f} us a frame, {memory[0]} MB; "
        f"archiver {used[1] / len(index) * 1e6:.0f} us a row, {memory[1]} MB"
    )


if __name__ == "__main__":
    for frames_per_second in (50, 240):
        measure(frames_per_second, float(sys.argv[1]) if len(sys.argv) > 1 else 60)
