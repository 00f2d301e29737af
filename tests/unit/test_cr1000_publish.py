"""Publishing calibrated rows: CSV, InfluxDB, means, and runs that do only what is new."""

import csv
import io
import json
import math
import tempfile
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.cr1000 import csv_text, influx_text
from ingest.cr1000.average import Average
from ingest.cr1000.columns import Chunk, Column, joined
from ingest.cr1000.csv_output import CsvOutput
from ingest.cr1000.influx_output import InfluxOutput, NotWritten
from ingest.cr1000.plan import Wanted, look
from ingest.cr1000.publish import Publication
from ingest.cr1000.python_text import PythonText, iso
from ingest.cr1000.resume import mark, resume
from ingest.cr1000.sorting import Spool
from ingest.cr1000.tables import Reader, read
from iocs.archive_tables import InfluxTable
from iocs.state import StateError
from tests.influx import running

SECOND, MINUTE, HOUR = 10**9, 60 * 10**9, 3600 * 10**9
DAY0 = 1_472_688_000 * SECOND  # 2016-09-01
UNITS = {"T1": "degC", "WS1": "m s-1", "WD1": "degree", "WSx1": "m s-1", "U1": "%", "LOGGER": ""}


def column(name, values, covered=None, serials=(), serial=None):
    count = len(values)
    values = values if UNITS[name] == "" else np.array(values, float)
    covered = np.ones(count, bool) if covered is None else np.array(covered, bool)
    number = np.full(count, -1, np.int32) if serial is None else np.array(serial, np.int32)
    return Column(name, UNITS[name], values, covered, list(serials), number)


def chunk(seconds, **columns):
    return Chunk(
        DAY0 + np.array([round(s * SECOND) for s in seconds], np.int64), [column(n, v) for n, v in columns.items()]
    )


@pytest.fixture(params=["python", "pyarrow"])
def text(request):
    if request.param == "python":
        return PythonText()
    pytest.importorskip("pyarrow", reason="pyarrow is absent; pip install pyarrow")
    from ingest.cr1000.arrow_text import ArrowText

    return ArrowText()


def test_wide(text):
    rows = Chunk(
        DAY0 + np.array([0, SECOND, 90 * SECOND + 250_000_000]),
        [
            column("T1", [20.5 * 1.01 + 0.1, math.nan, -0.0]),
            column("WD1", [20, math.nan, 359.9], [True, False, True]),
            column("LOGGER", ["12345", 'a "b", c', ""]),
        ],
    )
    assert csv_text.header(rows.columns) == b"time,T1 [degC],WD1 [degree],LOGGER\n"
    assert csv_text.lines(rows, text=text).decode().splitlines() == [
        "2016-09-01T00:00:00Z,20.805,20,12345",
        '2016-09-01T00:00:01Z,,,"a ""b"", c"',
        "2016-09-01T00:01:30.25Z,0,359.9,",
    ]
    assert csv_text.lines(rows.take(slice(0, 0)), text=text) == b""


def test_long_leaves_out_what_no_line_covers_and_shows_what_is_missing(text):
    rows = Chunk(
        DAY0 + np.array([0, SECOND]),
        [
            column("T1", [20.5, math.nan], serials=["A,1", "B"], serial=[0, 1]),
            column("WD1", [math.nan, 7], [False, True]),
        ],
    )
    assert csv_text.header(rows.columns, long=True) == b"time,parameter,value,unit,serial\n"
    assert csv_text.lines(rows, long=True, text=text).decode().splitlines() == [
        '2016-09-01T00:00:00Z,T1,20.5,degC,"A,1"',
        "2016-09-01T00:00:01Z,T1,,degC,B",
        "2016-09-01T00:00:01Z,WD1,7,degree,",
    ]


NUMBERS = st.lists(st.floats(-2000, 2000) | st.floats(), min_size=1, max_size=8)


@settings(deadline=None)
@given(NUMBERS)
def test_numbers_read_back_as_they_are_to_nine_decimals(values):
    pytest.importorskip("pyarrow", reason="pyarrow is absent; pip install pyarrow")
    from ingest.cr1000.arrow_text import ArrowText

    values = [math.nan if math.isinf(value) else value for value in values]
    rows = chunk(range(len(values)), T1=values)
    for way in (PythonText(), ArrowText()):
        read_back = [row[1] for row in csv.reader(io.StringIO(csv_text.lines(rows, text=way).decode()))]
        for cell, value in zip(read_back, values, strict=True):
            if math.isnan(value):
                assert cell == ""
            else:
                assert abs(float(cell) - value) <= max(0.6e-9, 0 if abs(value) >= 1e6 else 1e-15 * abs(value))


@settings(deadline=None)
@given(st.lists(st.integers(-(2**62), 2**62) | st.integers(0, 2**31).map(lambda s: s * SECOND), min_size=1))
def test_times_are_those_of_numpy(times):
    theirs = np.datetime_as_string(np.array(times).astype("datetime64[ns]")).tolist()
    ours = [line.removesuffix("Z") for line in iso(np.array(times))]
    assert [t.rstrip("0").removesuffix(".") if "." in t else t for t in theirs] == ours


def test_line_protocol(text):
    rows = Chunk(
        DAY0 + np.array([0, SECOND, 2 * SECOND]),
        [
            column("T1", [20.5, math.nan, 1], serials=['A "1"', "B"], serial=[0, 0, 1]),
            column("LOGGER", ["12\\3", "", ""]),
        ],
    )
    start = influx_text.start_of("sum mit")
    assert influx_text.lines(rows, start, text).decode().splitlines() == [
        f'met,instrument=XM1,station=sum\\ mit T1=20.5,T1_serial="A \\"1\\"",LOGGER="12\\\\3" {DAY0}',
        f'met,instrument=XM1,station=sum\\ mit T1=1,T1_serial="B" {DAY0 + 2 * SECOND}',
    ]
    assert influx_text.lines(rows.take(slice(1, 2)), start, text) == b""


def test_late_rows_are_put_in_their_place(tmp_path: Path):
    path = tmp_path / "out.csv"
    for long in (False, True):
        output = CsvOutput(path, long)
        for seconds, values in (([10, 20], [1, 2]), ([30, 40], [3, 4]), ([15, 30], [1.5, 33]), ([5, 15], [0.5, 15])):
            output.take(chunk(seconds, T1=values))
        output.take(chunk([50], T1=[5]))
        output.finish()
        rows = list(csv.reader(path.read_text().splitlines()))[1:]
        assert [row[0][17:19] for row in rows] == ["05", "10", "15", "20", "30", "40", "50"]
        assert [float(row[2 if long else 1]) for row in rows] == [0.5, 1, 15, 2, 33, 4, 5]
        assert output.replaced == 2
    assert list(tmp_path.iterdir()) == [path]


@given(st.lists(st.sets(st.integers(0, 20), min_size=1, max_size=5), max_size=8))
def test_in_whatever_order_rows_come_the_last_of_a_stamp_counts(chunks):
    with tempfile.TemporaryDirectory() as folder:
        output, wanted = CsvOutput(Path(folder, "out.csv")), {}
        output.take(chunk([], T1=[]))
        for number, seconds in enumerate(map(sorted, chunks)):
            output.take(chunk(seconds, T1=[number] * len(seconds)))
            wanted |= {f"{second:02}": str(number) for second in seconds}
        output.finish()
        rows = [line.split(",") for line in Path(folder, "out.csv").read_text().splitlines()[1:]]
        assert [(row[0][17:19], row[1]) for row in rows] == sorted(wanted.items())
        assert output.last_ns == (DAY0 + int(max(wanted)) * SECOND if wanted else None)
        assert output.replaced == sum(map(len, chunks)) - len(wanted)


def test_an_output_that_is_not_finished_leaves_the_file_as_it_was(tmp_path: Path):
    path = tmp_path / "out.csv"
    path.write_text("as it was")
    output = CsvOutput(path)
    output.take(chunk([1], T1=[1]))
    output.abandon()
    assert path.read_text() == "as it was" and list(tmp_path.iterdir()) == [path]


ROWS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 99)), max_size=40)


@settings(deadline=None)
@given(ROWS, st.lists(st.integers(1, 6), min_size=1))
def test_the_spool_gives_what_a_table_by_stamp_gives(rows, sizes):
    spool, expected, at = Spool(), {}, 0
    for n in range(len(rows)):
        part = dict(rows[at : at + sizes[n % len(sizes)]])
        at += sizes[n % len(sizes)]
        seconds = sorted(part)
        spool.add(chunk(seconds, T1=[part[s] for s in seconds], LOGGER=[str(part[s]) for s in seconds]))
        expected.update(part)
    found = list(spool)
    spool.close()
    times = [int(ns - DAY0) // SECOND for part in found for ns in part.time_ns]
    assert times == sorted(expected)
    assert [v for part in found for v in part.columns[0].values] == [expected[s] for s in sorted(expected)]
    assert [v for part in found for v in part.columns[1].values] == [str(expected[s]) for s in sorted(expected)]


def averaged(rows, span_ns, cut=7, interval_ns=0):
    average, parts = Average(span_ns, interval_ns), []
    for at in range(0, len(rows), cut):
        parts += average.feed(rows.take(slice(at, at + cut)))
    parts += average.end()
    whole = joined(parts)
    return {c.name: c.values for c in whole.columns} | {"time": whole.time_ns}


@settings(deadline=None)
@given(
    st.lists(st.floats(-50, 50) | st.just(math.nan), min_size=1, max_size=60), st.integers(1, 60), st.integers(0, 70)
)
def test_means_are_those_of_pandas(values, cut, first):
    pandas = pytest.importorskip("pandas", reason="pandas is absent; pip install pandas")
    rows = chunk([10 * (first + n) for n in range(len(values))], T1=values)
    found = averaged(rows, MINUTE, cut)
    series = pandas.Series(values, pandas.to_datetime(rows.time_ns))
    theirs = series.resample("1min", closed="right", label="right")
    assert found["time"].tolist() == theirs.mean().index.as_unit("ns").astype("int64").tolist()
    for name, wanted in (("T1", theirs.mean()), ("T1_count", theirs.count()), ("T1_sd", theirs.std())):
        assert np.allclose(found[name], wanted.to_numpy(float), rtol=1e-9, atol=1e-9, equal_nan=True), name
    if len(values) > 1:
        assert np.allclose(found["T1_coverage"], theirs.count().to_numpy() / 6)


def test_winds_are_averaged_as_vectors():
    rows = chunk(
        [10, 20, 30, 40, 50, 60, 70, 80],
        WS1=[1, 1, math.nan, 3, 5, 5, 2, 2],
        WD1=[350, 10, 90, math.nan, 350, 10, 90, 270],
        WSx1=[2, 9, 3, 3, math.nan, 3, 4, 4],
        LOGGER=["a", "a", "a", "a", "a", "b", "", ""],
    )
    found = averaged(rows, MINUTE)
    assert found["time"].tolist() == [DAY0 + MINUTE, DAY0 + 2 * MINUTE]
    assert found["WS1"][0] == pytest.approx(3 * math.cos(math.radians(10))) and found["WS1"][1] == pytest.approx(0)
    assert found["WD1"][0] == 0 and math.isnan(found["WD1"][1])  # two winds that cancel have no direction
    assert found["WS1_count"].tolist() == found["WD1_count"].tolist() == [4, 2]
    assert found["WS1_coverage"].tolist() == [4 / 6, 2 / 6]
    assert found["WS1_sd"][0] == pytest.approx(np.std([1, 1, 5, 5], ddof=1))
    assert found["WD1_sd"][0] == pytest.approx(10, abs=0.1)  # Yamartino of +-10 degrees
    assert found["WSx1"].tolist() == [9, 4]
    assert found["LOGGER"] == ["b", ""]


HEAD = '"TOA5","SUM","CR1000","1","o","p","s","Met"\r\n"TIMESTAMP","RECORD","T"\r\n"","",""\r\n"","",""\r\n'


class Station:
    """Files of a station, and runs over them: what the program does, with a calibration of our own."""

    def __init__(self, folder: Path, **words):
        self.folder = folder
        self.wanted = Wanted("sum", "1", folder / "out.csv", **words)
        self.gain = 1.0

    def add(self, name: str, seconds, head=False, values=None):
        with (self.folder / name).open("a", newline="") as file:
            file.write(HEAD if head else "")
            for n, second in enumerate(seconds):
                value = second if values is None else values[n]
                file.write(f'"2016-09-01 00:{second // 60:02}:{second % 60:02}",{second},{value}\r\n')

    def run(self, *names: str):
        """Give what was published, and how many rows were read."""
        paths = [self.folder / name for name in names]
        count = 0
        with Publication(self.wanted, paths, self.folder / "state" / "sum.json") as publication:
            for path in paths:
                start = publication.starts[path]
                if start.unchanged:
                    continue
                seen, reader = look(path), Reader(path.name)
                if start.saved:
                    assert resume(reader, path, start.saved) == start.offset
                for block in read(path, reader, start=start.offset):
                    count += len(block)
                    publication.take(block.time_ns, [column("T1", block.number(3) * self.gain)])
                publication.done(path, seen, mark(reader, path), reader.order.last_ns)
            return publication.finish(), count

    def rows(self):
        lines = list(csv.reader((self.folder / "out.csv").read_text().splitlines()))
        return {line[0][14:19]: line[1] and float(line[1]) for line in lines[1:]}


def test_a_second_run_does_only_what_is_new(tmp_path: Path):
    station = Station(tmp_path)
    station.add("a.dat", [10, 20], head=True)
    assert station.run("a.dat")[1] == 2
    inode = look(station.folder / "out.csv")
    told, count = station.run("a.dat")
    assert told.up_to_date and count == 0 and look(station.folder / "out.csv") == inode
    station.add("a.dat", [30])
    assert station.run("a.dat")[1] == 1
    station.add("b.dat", [5, 25], head=True)  # also a file with older rows
    assert station.run("a.dat", "b.dat")[1] == 2
    assert station.rows() == {"00:05": 5, "00:10": 10, "00:20": 20, "00:25": 25, "00:30": 30}
    station.add("a.dat", [])
    with (tmp_path / "a.dat").open("a") as file:
        file.write('"2016-09-01 00:00:50",5')  # a line that is being written
    assert station.run("a.dat", "b.dat")[1] == 0
    with (tmp_path / "a.dat").open("a") as file:
        file.write("0,50\r\n")
    assert station.run("a.dat", "b.dat")[1] == 1 and station.rows()["00:50"] == 50


GROWTH = st.lists(st.tuples(st.sampled_from("abc"), st.lists(st.integers(0, 3), min_size=1, max_size=4)), max_size=6)


@settings(max_examples=20)
@given(GROWTH)
def test_however_files_grow_the_result_is_that_of_one_run(growth):
    with tempfile.TemporaryDirectory() as folder:
        station, lines = Station(Path(folder)), {name: [] for name in "abc"}
        for name in lines:
            station.add(name, [], head=True)
        for step, (name, steps) in enumerate(growth):
            first = lines[name][-1][0] if lines[name] else 0
            seconds = [first + second for second in accumulate(steps)]  # clocks that go on, or stand
            values = [10 * step + n for n in range(len(steps))]
            station.add(name, seconds, values=values)
            lines[name] += zip(seconds, values, strict=True)
            station.run("a", "c", "b")
            wanted = {f"00:{second:02}": value for each in "acb" for second, value in lines[each]}
            assert list(station.rows().items()) == sorted(wanted.items())


def test_files_in_another_order_are_another_result(tmp_path: Path):
    station = Station(tmp_path)
    station.add("a.dat", [10], head=True, values=[1])
    station.add("b.dat", [10], head=True, values=[2])
    assert station.run("a.dat", "b.dat")[0].anew == ""
    assert station.run("a.dat", "b.dat")[0].up_to_date
    assert station.run("b.dat", "a.dat")[0].anew == "the files come in another order"
    assert station.rows() == {"00:10": 1} and station.run("b.dat", "a.dat")[0].up_to_date


def test_a_file_that_was_rolled_is_told(tmp_path: Path):
    station = Station(tmp_path)
    station.add("a.dat", [10], head=True)
    station.run("a.dat")
    (tmp_path / "a.dat").rename(tmp_path / "a.dat.backup")
    (tmp_path / "aa.dat.bak1").touch()
    station.add("a.dat", [20], head=True)
    told = station.run("a.dat")[0].anew
    assert told.endswith(
        "a.dat: more than rows were added; what it was is lost to the outputs unless a.dat.backup is named before it"
    )
    station.run("a.dat.backup", "a.dat")
    assert station.rows() == {"00:10": 10, "00:20": 20}


def test_whatever_else_is_different_computes_all_anew(tmp_path: Path):
    station = Station(tmp_path)
    station.add("a.dat", [10, 20], head=True)
    station.run("a.dat")
    station.gain, station.wanted = 2.0, replace(station.wanted, digest="2")
    assert station.run("a.dat")[1] == 2 and station.rows() == {"00:10": 20, "00:20": 40}
    (tmp_path / "out.csv").write_text("somebody wrote here")
    assert station.run("a.dat")[0].anew.endswith("out.csv: not as it was left") and station.rows() == {
        "00:10": 20,
        "00:20": 40,
    }
    (tmp_path / "a.dat").write_bytes(b"")
    station.add("a.dat", [10], head=True)  # shorter
    assert station.run("a.dat")[1] == 1 and station.rows() == {"00:10": 20}
    (tmp_path / "a.dat").write_bytes(b"")
    station.add("a.dat", [15, 25], head=True)  # longer, and another
    assert station.run("a.dat")[1] == 2 and station.rows() == {"00:15": 30, "00:25": 50}
    station.add("b.dat", [40], head=True)
    assert station.run("b.dat")[1] == 1 and station.rows() == {"00:40": 80}  # a.dat is no longer named


def test_means_are_computed_anew_when_something_has_come(tmp_path: Path):
    station = Station(tmp_path, average_ns=MINUTE)
    station.add("a.dat", [20, 40, 60, 80], head=True)
    assert station.run("a.dat")[1] == 4 and station.rows() == {"01:00": 40, "02:00": 80}
    assert station.run("a.dat")[1] == 0
    station.add("a.dat", [100])
    assert station.run("a.dat")[1] == 5 and station.rows() == {"01:00": 40, "02:00": 90}
    header = (tmp_path / "out.csv").read_text().splitlines()[0]
    assert header == "time,T1 [degC],T1_count,T1_coverage,T1_sd [degC]"


def test_only_the_span_that_is_wanted(tmp_path: Path):
    station = Station(tmp_path, from_ns=DAY0 + 20 * SECOND, to_ns=DAY0 + 40 * SECOND)
    station.add("a.dat", [10, 20, 30, 40], head=True)
    told, _ = station.run("a.dat")
    assert told.rows == told.values == 2 and station.rows() == {"00:20": 20, "00:30": 30}


def test_one_run_at_a_time(tmp_path: Path):
    station = Station(tmp_path)
    with Publication(station.wanted, [], tmp_path / "state" / "sum.json"):
        with pytest.raises(StateError, match="already run"):
            station.run()


def test_a_run_that_fails_leaves_all_as_it_was(tmp_path: Path):
    station = Station(tmp_path)
    station.add("a.dat", [10], head=True)
    station.run("a.dat")
    station.add("a.dat", [20])
    with pytest.raises(ZeroDivisionError):
        with Publication(station.wanted, [tmp_path / "a.dat"], tmp_path / "state" / "sum.json") as publication:
            publication.take(DAY0 + np.array([20 * SECOND]), [column("T1", [7])])
            raise ZeroDivisionError
    assert station.rows() == {"00:10": 10} and not list(tmp_path.glob(".*"))
    assert station.run("a.dat")[1] == 1 and station.rows() == {"00:10": 10, "00:20": 20}


def test_influxdb_has_each_row_once_and_nothing_that_is_gone(tmp_path: Path):
    with running(tmp_path / "influxd", "met") as server:
        table = InfluxTable(url=server.url, version=1, bucket="met")
        station = Station(tmp_path, influx=table)
        station.wanted = replace(station.wanted, csv=None)
        other = InfluxOutput(table, "mlo")
        other.take(chunk([10], T1=[5]))
        other.finish()
        station.add("a.dat", [10, 20], head=True)
        assert station.run("a.dat")[0].points == 2
        (tmp_path / "state" / "sum.json").unlink()  # a repeat is harmless
        assert station.run("a.dat")[0].points == 2
        station.add("a.dat", [30])
        assert station.run("a.dat")[0].points == 1

        def points():
            return {
                (point["station"], (point["time"] - DAY0) // SECOND): point["T1"]
                for point in server.points("met", "met")
            }

        assert points() == {("sum", 10): 10, ("sum", 20): 20, ("sum", 30): 30, ("mlo", 10): 5}
        station.gain = 2.0  # and a row is gone
        station.wanted = replace(station.wanted, digest="2", from_ns=DAY0 + 15 * SECOND)
        assert station.run("a.dat")[0].points == 2
        assert points() == {("sum", 20): 40, ("sum", 30): 60, ("mlo", 10): 5}
        refused = InfluxOutput(table, "sum")
        refused._write(b"met T1=1 5\nmet T1= 6\nmet T1=3 7\n")
        assert (refused.points, refused.refused) == (2, 1)
        refused.finish()


def test_version_2_is_asked_to_delete_by_its_own_words():
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, self.headers["Authorization"], json.loads(body)))
            self.send_response(204 if len(asked) == 1 else 401)
            self.end_headers()

        def log_message(self, *words):
            pass

    pytest.importorskip("influxdb_client", reason="influxdb-client is absent; pip install influxdb-client")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            table = InfluxTable(
                url=f"http://127.0.0.1:{server.server_port}", org="o", bucket="b", token_env="CR1000_TOKEN"
            )
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("CR1000_TOKEN", "secret")
                output = InfluxOutput(table, "sum")
                output.remove(DAY0, DAY0 + 1)
                with pytest.raises(NotWritten, match="answers 401: old points cannot be removed"):
                    output.remove()
                output.abandon()
        finally:
            server.shutdown()
            thread.join()
    path, allowed, body = asked[0]
    assert (path, allowed) == ("/api/v2/delete?org=o&bucket=b", "Token secret")
    assert body == {
        "start": "2016-09-01T00:00:00.000000000Z",
        "stop": "2016-09-01T00:00:00.000000001Z",
        "predicate": '_measurement="met" AND station="sum" AND instrument="XM1"',
    }
    assert asked[1][2]["start"] < "1970" and asked[1][2]["stop"] > "2200"


def test_a_server_that_is_away_ends_the_run(tmp_path: Path):
    table = InfluxTable(url="http://127.0.0.1:9", version=1, bucket="met")
    output = InfluxOutput(table, "sum", patience=0.3)
    output.take(chunk([10], T1=[5]))
    with pytest.raises(NotWritten, match="takes nothing: no answer"):
        output.finish()
    output.abandon()
    with pytest.raises(NotWritten, match="cannot be removed"):
        output.remove()
