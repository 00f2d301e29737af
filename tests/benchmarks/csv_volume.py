"""How large an hour of a PMU is as CSV, and how quickly rows are written: `python tests/benchmarks/csv_volume.py`.

8 phasors (4 voltages, 4 currents) in degrees at 50 frames/s, frequency, ROCOF, 3 analogs, digital word, STAT, time
quality and leap bits, with the noise of a quiet network; single precision on the wire, as most PMUs send.
"""

import random
import tempfile
import time
from pathlib import Path

import numpy as np

from archiver.batch import Batch, RowRecord, Source
from archiver.sinks.csv_files import CsvFiles
from iocs.archive_tables import CsvTable
from iocs.signals import Kind, Row, Signal

SOURCE = Source("LAB:PMU:ROW", "PMU", "ROW", "PMU:ROW")
START, STEP, ROWS = 1_790_000_000 // 3600 * 3600 * 10**9, 20_000_000, 180_000


def row() -> Row:
    signals = [Signal("FREQ", unit="Hz"), Signal("ROCOF", unit="Hz/s")]
    for name, unit in (*((f"V{n}", "V") for n in "ABC1"), *((f"I{n}", "A") for n in "ABC1")):
        signals += [Signal(f"{name}:MAG", unit=unit), Signal(f"{name}:ANG", unit="deg")]
    signals += [Signal(name) for name in ("P", "Q", "TEMPERATURE")]
    return Row("ROW", (*signals, *(Signal(name, kind=Kind.INT) for name in ("DIG1", "STAT", "TQ", "LEAP"))))


def hour(rng: random.Random) -> list[list[float]]:
    rows, frequency, angle = [], 50.0, 0.0
    for _ in range(ROWS):
        step = rng.gauss(0, 2e-4) - 0.01 * (frequency - 50)
        frequency += step
        angle = (angle + 360 * (frequency - 50) * 0.02 + 180) % 360 - 180
        phasors = []
        for magnitude in (63500.0, 400.0):
            for shift in (0, -120, 120, 0):
                phasors += [
                    rng.gauss(magnitude, 1e-4 * magnitude),
                    (angle + shift + rng.gauss(0, 0.01) + 180) % 360 - 180,
                ]
        analogs = [rng.gauss(72, 0.1), rng.gauss(22, 0.1), rng.gauss(25, 0.01)]
        rows.append([frequency, step / 0.02, *phasors, *analogs, 3.0, 0.0, 0.0, 0.0])
    return np.array(rows, np.float32).astype(float).tolist()


def main() -> None:
    rows, layout = hour(random.Random(1)), row()
    for rules in ({}, {"time_digits": 16}, {"time_format": "ns", "value_digits": "repr"}):
        with tempfile.TemporaryDirectory() as folder:
            files = CsvFiles(CsvTable.model_validate({"directory": folder, **rules}))
            files.claim()
            began = time.perf_counter()
            for start in range(0, ROWS, 250):
                batch = [
                    RowRecord(SOURCE, layout, START + STEP * number, rows[number])
                    for number in range(start, min(start + 250, ROWS))
                ]
                files.write(files.encode(Batch(START, [], batch)).data)
            files.close()
            seconds = time.perf_counter() - began
            size = sum(path.stat().st_size for path in Path(folder).glob("*.csv"))
        volume = f"{size / 1e6:.1f} MB an hour, {size / ROWS:.0f} bytes a row"
        print(f"{rules or 'defaults'}: {volume}, {ROWS / seconds:.0f} rows/s")


if __name__ == "__main__":
    main()
