"""Reading back: what the CSV store has written, in every form and compressed; times as people say them; means, bins."""

import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver import __main__ as command
from archiver.batch import Batch, Event, Mark, RowRecord, Source
from archiver.history import History
from archiver.series import Point, series_of, span_of, stamp, time_of
from archiver.sinks.closed_files import compress
from archiver.sinks.csv_files import CsvFiles
from archiver.sinks.csv_text import time_text
from archiver.sinks.influx import Influx
from iocs.archive_tables import InfluxTable
from iocs.config import Site, load
from iocs.signals import MONITOR, Catalogue, Reading, Row, Severity, Signal, Status
from iocs.state import open_state
from tests.influx import running

S = 1_000_000_000
HOUR = 3600 * S
T = 497_222 * HOUR
VOLT = Source("LAB:HV:CH0:VMON", "HV", "CH0:VMON", "HV:CH0:VMON")
ROW = Source("LAB:HV:ROW", "HV", "ROW", "HV:ROW")
SIGNALS = (Signal("CH0:VMON", unit="V", archive=MONITOR), Signal("CH0:IMON", unit="uA", row="ROW"))
ROOT = Path(__file__).resolve().parents[2]


def site(folder: Path, csv: str = 'time_format = "ns"\nvalue_digits = "repr"', more: str = "") -> Site:
    path = folder / "site.toml"
    path.write_text(
        f'[site]\nname = "lab"\nprefix = "LAB:"\n[[device]]\nname = "HV"\ntype = "hv"\n[archive.csv]\n{csv}\n{more}'
    )
    here = load(path)
    with open_state(here.state_dir, "archiver") as state:
        state.save({"catalogues": {"HV": Catalogue("HV", "hv", "LAB:HV:", 1, False, SIGNALS).to_json()}})
    return here


def reading(value, time_ns: int, severity=Severity.NO_ALARM, status=Status.NO_ALARM) -> Reading:
    return Reading(value, time_ns, severity, status)


def batches() -> list[Batch]:
    """Three hours: a number each minute, a row each half minute; then a loss; a value that arrives a day late."""
    layout = Row("ROW", (SIGNALS[1],))
    made = []
    for minute in range(180):
        at = T + minute * 60 * S
        rows = [RowRecord(ROW, layout, at + half * 30 * S, [minute + half / 2], 2 * minute + half) for half in (0, 1)]
        made.append(Batch(at + S, [(VOLT, reading(minute / 7, at))], rows))
    made.append(Batch(T + 3 * HOUR, [(VOLT, Mark(Event.DISCONNECTED, T + 3 * HOUR - 1))]))
    late = reading("a text,\nof \\two lines", T + HOUR + 5)
    made.append(Batch(T + 27 * HOUR, [(VOLT, late)]))
    return made


def written(here: Site) -> None:
    sink = CsvFiles(here.archive.csv)
    sink.claim()
    for batch in batches():
        sink.write(sink.encode(batch).data)
    sink.close()


@pytest.mark.parametrize("packed", [False, True])
def test_what_was_recorded_comes_back(tmp_path: Path, packed: bool) -> None:
    here = site(tmp_path)
    written(here)
    if packed:
        for path in list((tmp_path / "data").glob("*.csv")):
            compress(path)
    history = History.of_site(here.path)
    whole = history.get("LAB:HV:CH0:VMON", T, T + 30 * HOUR)
    assert len(whole) == 182 and whole.time_ns.dtype == np.int64
    late = int(np.flatnonzero(whole.time_ns == T + HOUR + 5)[0])
    assert whole.value[late] == "a text,\nof \\two lines"
    minutes = np.delete(whole.value, late)[:-1]
    assert minutes.tolist() == [minute / 7 for minute in range(180)]
    assert whole.status[-1] == "DISCONNECTED" and whole.severity[-1] == 3 and math.isnan(whole.value[-1])
    part = history.get("HV:CH0:VMON", T + 2 * HOUR + 30 * S, T + 2 * HOUR + 90 * S)
    assert part.time_ns.tolist() == [T + 2 * HOUR, T + 2 * HOUR + 60 * S]  # the first one held when the time began
    assert history.names() == ["LAB:HV:CH0:IMON", "LAB:HV:CH0:VMON"]


def test_a_column_of_a_row_is_a_pv_like_any_other(tmp_path: Path) -> None:
    here = site(tmp_path)
    written(here)
    series = History.of_site(here).get("LAB:HV:CH0:IMON", T + HOUR + 1, T + HOUR + 61 * S)
    assert series.value.tolist() == [60.0, 60.5, 61.0]
    assert series.time_ns.tolist() == [T + HOUR, T + HOUR + 30 * S, T + HOUR + 60 * S]
    assert len(History.of_site(here).get("LAB:HV:CH0:IMON", T, T + 9 * HOUR)) == 360


@pytest.mark.parametrize("form", ["seconds", "iso", "ns"])
def test_every_form_of_time_is_read(tmp_path: Path, form: str) -> None:
    here = site(tmp_path, f'time_format = "{form}"\ntime_digits = 19\nvalue_digits = "repr"')
    sink = CsvFiles(here.archive.csv)
    sink.write(sink.encode(Batch(T, [(VOLT, reading(1.5, T + 123_456_789))])).data)
    sink.close()
    assert History.of_site(here).get(VOLT.pv, T, T + S).time_ns.tolist() == [T + 123_456_789]


@given(st.integers(10**18, 4 * 10**18), st.sampled_from(["seconds", "iso", "ns"]))
def test_a_time_reads_back_exactly(time_ns: int, form) -> None:
    assert stamp(time_text(time_ns, form, 19)) == time_ns


def test_times_as_people_write_them() -> None:
    assert time_of("2026-09-21T14:00:00Z") == time_of("2026-09-21 14:00") == time_of("2026-09-21T16:00+02:00") == T
    assert time_of(str(T // S)) == time_of(str(T)) == T and time_of("now", 5) == 5
    assert time_of("2h", T) == time_of("-2h", T) == T - 2 * HOUR and time_of("1.5min", T) == T - 90 * S
    assert span_of("10s") == 10 and span_of("0.5h") == 1800
    for wrong in ("yesterday", "12:00", "-5", "2026-13-01", ""):
        with pytest.raises(ValueError, match="is not a"):
            time_of(wrong)
    with pytest.raises(ValueError, match="10s"):
        span_of("ten")


def test_means_leave_out_what_nobody_vouches_for() -> None:
    good, bad = Severity.NO_ALARM, Severity.INVALID
    values = [(0, 1.0, good), (4, 3.0, good), (5, 100.0, bad), (6, math.nan, good), (11, 8.0, Severity.MAJOR)]
    points = [Point(second * S, value, severity, "NO_ALARM") for second, value, severity in values]
    series = series_of("X", points, 0, 20 * S)
    assert series.mean() == 4.0
    bins = series.every(5)
    assert bins.time_ns.tolist() == [0, 10 * S] and bins.mean.tolist() == [2.0, 8.0]
    assert (bins.least.tolist(), bins.greatest.tolist(), bins.count.tolist()) == ([1.0, 8.0], [3.0, 8.0], [2, 1])
    empty = series_of("X", [], 0, 1)
    assert math.isnan(empty.mean()) and len(empty.every(1).mean) == 0


def get(capsys: pytest.CaptureFixture, *arguments: str) -> tuple[int, list[str], str]:
    code = command.main(["get", *arguments])
    out, errors = capsys.readouterr()
    return code, out.splitlines(), errors


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    here = site(tmp_path)
    written(here)
    where = ["--site", str(here.path), "--from", "2026-09-21T14:01", "--to", "2026-09-21T14:02"]
    code, lines, _ = get(capsys, "HV:CH0:VMON", *where, "--csv")
    assert (code, lines) == (
        0,
        [
            "time,pv,value,severity,status",
            "2026-09-21T14:00:00.000000000Z,LAB:HV:CH0:VMON,0.0,NO_ALARM,NO_ALARM",
            "2026-09-21T14:01:00.000000000Z,LAB:HV:CH0:VMON,0.14285714285714285,NO_ALARM,NO_ALARM",
            "2026-09-21T14:02:00.000000000Z,LAB:HV:CH0:VMON,0.2857142857142857,NO_ALARM,NO_ALARM",
        ],
    )
    code, lines, _ = get(capsys, "HV:CH0:IMON", *where, "--mean", "--csv")
    assert (code, lines) == (0, ["pv,mean,count", "LAB:HV:CH0:IMON,1.5,3"])
    code, lines, _ = get(capsys, "HV:CH0:IMON", *where, "--every", "1min", "--csv")
    assert lines[1:] == [
        "2026-09-21T14:01:00.000000000Z,LAB:HV:CH0:IMON,1.25,1.0,1.5,2",
        "2026-09-21T14:02:00.000000000Z,LAB:HV:CH0:IMON,2.0,2.0,2.0,1",
    ]
    code, lines, _ = get(capsys, "HV:CH0:VMON", "--folder", str(tmp_path / "data"), *where[2:])
    assert code == 1 and lines == ["time  pv  value  severity  status"]  # without a site names are whole
    code, lines, _ = get(capsys, "LAB:HV:CH0:VMON", "--folder", str(tmp_path / "data"), *where[2:])
    assert code == 0 and len(lines) == 4
    code, lines, errors = get(capsys, "NONE", "LAB:HV:CH0:VMON", *where)
    assert code == 1 and "nothing is recorded of NONE" in errors and len(lines) == 4
    assert get(capsys, "X", *where[:4], "--to", "2020-01-01")[0] == 2
    assert get(capsys, "X", "--site", str(tmp_path / "none.toml"))[0] == 2
    code, _, errors = get(capsys, "X", "--site", str(here.path), "--influx")
    assert code == 2 and "[archive.influx]" in errors


def test_influx_gives_what_the_files_give(tmp_path: Path) -> None:
    with running(tmp_path / "influx", "lab") as server:
        keys = {"url": server.url, "version": 1, "bucket": "lab"}
        table = "\n".join(f"{key} = {value!r}".replace("'", '"') for key, value in keys.items())
        here = site(tmp_path, more=f"[archive.influx]\n{table}\n")
        written(here)
        sink = Influx(InfluxTable.model_validate(keys))
        for batch in batches():
            sink.write(sink.encode(batch).data)
        sink.close()
        files, database = History.of_site(here), History.of_site(here, influx=True)
        for pv in (VOLT.pv, "LAB:HV:CH0:IMON"):
            for start, end in ((T, T + 9 * HOUR), (T + HOUR + 1, T + 2 * HOUR), (T + 20 * HOUR, T + 21 * HOUR)):
                one, other = files.get(pv, start, end), database.get(pv, start, end)
                assert one.time_ns.tolist() == other.time_ns.tolist()
                assert [repr(value) for value in one.value.tolist()] == [repr(value) for value in other.value.tolist()]
                assert one.status == other.status and one.severity.tolist() == other.severity.tolist()


def test_the_examples(tmp_path: Path) -> None:
    here = site(tmp_path)
    now = time.time_ns()
    sink = CsvFiles(here.archive.csv)
    layout = Row("ROW", (SIGNALS[1],))
    currents = [1.0, 2.0, 50.0, 2.0]
    rows = [RowRecord(ROW, layout, now - (10 - n) * S, [value], n) for n, value in enumerate(currents)]
    samples = [(VOLT, reading(volts, now - back * S)) for volts, back in ((800.0, 20), (750.0, 9), (10.0, 1))]
    sink.write(sink.encode(Batch(now, samples, rows)).data)
    sink.close()

    def example(name: str, *arguments: str) -> str:
        run = [sys.executable, str(ROOT / "docs/examples" / name), str(here.path), *arguments]
        done = subprocess.run(run, capture_output=True, text=True, timeout=60, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        return done.stdout

    told = example("spark.py", "LAB:HV:CH0:IMON", "LAB:HV:CH0:VMON")
    assert "LAB:HV:CH0:IMON 50" in told and "LAB:HV:CH0:VMON 750, severity 0" in told
    assert "LAB:HV:CH0:IMON: 4 values, mean 13.75 uA" in example("gas_query.py", "HV:CH0:IMON")
