"""A logger's file of 200 MB read and calibrated, beside pandas that only reads it and a loop over the rows of `csv`.

`python -m tests.benchmarks.cr1000 [MEGABYTES] [ROUNDS]`. Rows a second with ten calibrations (polynomials of degree 2,
by serial numbers in the rows, in two pieces of time), with pyarrow and without, to CSV and to InfluxDB's text. Each way
runs in a process of its own, one after the other and in turn; the best of the rounds counts. Time is that of the
processor, each way uses one; libraries are loaded before. Memory is the peak of the process.
"""

import csv
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import datetime
from importlib import import_module
from pathlib import Path
from time import process_time

import numpy as np

POOL = 200_000  # different rows
VALUES = 15
HEAD = [
    ["TOA5", "SUM", "CR1000", "12345", "CR1000.Std.28", "CPU:met.CR1", "51399", "Met_1s"],
    ["TIMESTAMP", "RECORD", *(f"V{n}" for n in range(1, VALUES + 1)), "SN_1", "SN_2", "SN_3"],
    ["TS", "RN", *[""] * (VALUES + 3)],
    ["", "", *["Smp"] * (VALUES + 3)],
]
NAMES = ("T1", "T2", "T3", "U1", "TD1", "P", "WS1", "WSx1", "Tx", "Vx")
FIRST = np.datetime64("2020-01-01T00:00:01")


def generate(path: Path, megabytes: float) -> int:
    """Write a table of 20 columns, a row a second, 0.5 % of the values NAN; give its rows."""
    rng = np.random.default_rng(1)
    columns = []
    for n in range(VALUES):
        value = 20 + 15 * np.sin(np.cumsum(rng.normal(0, 0.01, POOL)))
        texts = np.char.mod("%.7g" if n % 5 == 4 else "%.4g", value)
        columns.append(np.where(rng.random(POOL) < 0.005, '"NAN"', texts).tolist())
    tails = [",".join(row) + ",12345,67890,4711\r\n" for row in zip(*columns, strict=True)]
    rows = size = 0
    with path.open("w", newline="") as file:
        for line in HEAD:
            size += file.write(",".join(f'"{cell}"' for cell in line) + "\r\n")
        while size < megabytes * 1e6:
            stamps = np.char.replace(np.datetime_as_string(FIRST + np.arange(rows, rows + 50_000)), "T", " ").tolist()
            block = (f'"{stamp}",{rows + n},{tails[(rows + n) % POOL]}' for n, stamp in enumerate(stamps))
            size += file.write("".join(block))
            rows += 50_000
    return rows


def configure(folder: Path) -> None:
    """Write a configuration: ten parameters, each with a sensor, whose calibration changes once."""
    (folder / "sensors" / "probe").mkdir(parents=True)
    (folder / "sum.cfg").write_text("".join(f",,{name},probe,{18 + n % 3},{3 + n}\n" for n, name in enumerate(NAMES)))
    for serial in ("12345", "67890", "4711"):
        lines = ",2020-01-05,0.1:1.01:0.0001\n2020-01-05,,0.2:1.02:0.0002\n"
        (folder / "sensors" / "probe" / f"{serial}.cfg").write_text(lines)
    (folder / "sensors" / "probe" / "default.cfg").write_text(",,0:1\n")


def by_rows(path: Path, _: Path) -> int:
    rows, total = 0, 0.0
    with path.open(newline="") as file:
        reader = csv.reader(file)
        for _ in range(4):
            next(reader)
        for row in reader:
            datetime.fromisoformat(row[0])
            for cell in row[2:12]:
                value = float(cell)
                total += (1e-4 * value + 1.01) * value + 0.1
            rows += 1
    return rows


def pandas(path: Path, _: Path) -> int:
    import pandas

    return len(pandas.read_csv(path, skiprows=[0, 2, 3], na_values=["NAN"], parse_dates=["TIMESTAMP"]))


def calibrated(path: Path, folder: Path, engine: str, take: Callable[..., None]) -> int:
    from ingest.cr1000.configuration import load
    from ingest.cr1000.overlay import Overlay
    from ingest.cr1000.tables import Reader, read
    from ingest.cr1000.tally import Tally

    overlay, rows = Overlay(load(folder, "sum"), Tally()), 0
    for block in read(path, Reader(path.name, engine=engine)):  # type: ignore[arg-type]
        take(block.time_ns, overlay.columns(block))
        rows += len(block)
    return rows


def ours(path: Path, folder: Path, engine: str = "pyarrow") -> int:
    return calibrated(path, folder, engine, lambda *_: None)


def ours_numpy(path: Path, folder: Path) -> int:
    return ours(path, folder, "numpy")


def to_csv(path: Path, folder: Path) -> int:
    from ingest.cr1000.publish import Publication, Wanted

    with Publication(Wanted("sum", "", folder / "out.csv"), []) as publication:
        rows = calibrated(path, folder, "pyarrow", publication.take)
        publication.finish()
    return rows


def to_influx(path: Path, folder: Path, engine: str = "pyarrow") -> int:
    from ingest.cr1000 import influx_text
    from ingest.cr1000.columns import Chunk
    from ingest.cr1000.python_text import PythonText
    from ingest.cr1000.text import TEXT

    start, text = influx_text.start_of("sum"), PythonText() if engine == "numpy" else TEXT
    return calibrated(path, folder, engine, lambda *rows: len(influx_text.lines(Chunk(*rows), start, text)))


def to_influx_numpy(path: Path, folder: Path) -> int:
    return to_influx(path, folder, "numpy")


WAYS = (by_rows, pandas, ours, ours_numpy, to_csv, to_influx, to_influx_numpy)
SAID = {
    by_rows: "csv, row by row, 10 polynomials",
    pandas: "pandas, reading alone",
    ours: "calibrated, with pyarrow",
    ours_numpy: "calibrated, without",
    to_csv: "to CSV, with pyarrow",
    to_influx: "to Influx text, with pyarrow",
    to_influx_numpy: "to Influx text, without",
}


def alone(name: str, path: Path, folder: Path) -> None:
    """Run one way in this process."""
    way = next(way for way in WAYS if way.__name__ == name)
    for module in {by_rows: (), pandas: ("pandas",)}.get(way, ("ingest.cr1000.overlay", "ingest.cr1000.publish")):
        import_module(module)
    begun = process_time()
    rows = way(path, folder)
    seconds = process_time() - begun
    peak = next(line for line in io.StringIO(Path("/proc/self/status").read_text()) if line.startswith("VmHWM"))
    print(json.dumps({"rows": rows, "seconds": seconds, "peak": int(peak.split()[1]) / 1024}))


def main(megabytes: float = 200, rounds: int = 3) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "met.dat"
        rows = generate(path, megabytes)
        configure(folder)
        best = {way: {"seconds": float("inf"), "peak": 0.0} for way in WAYS}
        for _ in range(rounds):
            for way in WAYS:
                command = [sys.executable, "-m", __spec__.name, "--alone", way.__name__, str(path), str(folder)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                told = json.loads(done.stdout)
                if told["rows"] != rows:
                    raise ValueError(f"{way.__name__}: {told['rows']} rows of {rows}")
                best[way]["seconds"] = min(best[way]["seconds"], told["seconds"])
                best[way]["peak"] = max(best[way]["peak"], told["peak"])
        print(f"{path.stat().st_size / 1e6:.0f} MB, {rows} rows of 20 columns")
        loop, reading = best[by_rows]["seconds"], best[pandas]["seconds"]
        for way, told in best.items():
            seconds = told["seconds"]
            ratios = f"{loop / seconds:5.2f} x the loop, {reading / seconds:5.2f} x pandas"
            print(f"{SAID[way]:32} {rows / seconds / 1e6:5.2f} M rows/s, {ratios}, peak memory {told['peak']:4.0f} MB")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--alone"]:
        alone(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        main(*(float(word) for word in sys.argv[1:2]), *(int(word) for word in sys.argv[2:3]))
