import gzip
import json
import os
import re
import signal
import time
from concurrent.futures import ProcessPoolExecutor

import pytest

from ingest.cr1000 import jobs
from ingest.cr1000.__main__ import main
from ingest.cr1000.publish import Publication
from tests.cr1000 import write
from tests.processes import DEADLINE

HEAD = '"TOA5","sum","CR1000","1","OS","PROG","2","Met"\n"TIMESTAMP","RECORD","A","B"\n"TS","RN","",""\n"","","",""\n'
GOOD = HEAD + "".join(f'"2016-09-01 00:0{n}:00",{n},{n},{n * 10}\n' for n in range(5))
FILES = {"conf/sum.cfg": ",,T,calibration,3,1:2\n,,P,calibration,4\n", "sum.dat": GOOD}


@pytest.fixture
def ingest(tmp_path, capfd):
    """Run the command on files of a folder: its exit status, the lines of stdout, and stderr without the folder."""

    def run(files, *options, data=("sum.dat",), station="sum"):
        write(tmp_path, {name: text for name, text in files.items() if isinstance(text, str)})
        for name, content in files.items():
            if isinstance(content, bytes):
                (tmp_path / name).write_bytes(content)
        where = ["--config", str(tmp_path / "conf"), "--station", station] if station else []
        status = main([*(str(tmp_path / name) for name in data), *where, *map(str, options)])
        out, err = capfd.readouterr()
        return status, out.splitlines(), err.replace(f"{tmp_path}/", "")

    return run


def test_a_table_to_stdout_with_a_summary(ingest):
    status, out, err = ingest(FILES)
    assert status == 0 and out[:2] == ["time,T1 [degC],P [hPa]", "2016-09-01T00:00:00Z,1,0"] and len(out) == 6
    assert err.splitlines() == ["sum: 5 rows, 10 values, 0 missing", "  sum.dat: 5 rows"]


def test_from_to_and_a_stamp_at_the_start_of_the_interval(ingest):
    _, out, _ = ingest(FILES, "--from", "2016-09-01T00:01", "--to", "2016-09-01 00:03", "--long")
    assert out[1:] == [
        "2016-09-01T00:01:00Z,T1,3,degC,",
        "2016-09-01T00:01:00Z,P,10,hPa,",
        "2016-09-01T00:02:00Z,T1,5,degC,",
        "2016-09-01T00:02:00Z,P,20,hPa,",
    ]
    options = "--from", "2016-09-01T00:01", "--to", "2016-09-01T00:03", "--interval", "1min", "--stamp", "start"
    _, out, err = ingest({**FILES, "sum.dat": GOOD.replace(",10\n", ",NAN\n").replace(",20\n", ",NAN\n")}, *options)
    assert [line[:19] for line in out[1:]] == ["2016-09-01T00:01:00", "2016-09-01T00:02:00"]
    assert "sum: 2 rows, 3 values, 1 missing" in err  # what lies outside the span is not counted
    _, out, _ = ingest(FILES, "--interval", "1min", "--stamp", "start")
    assert out[1] == "2016-08-31T23:59:00Z,1,0"
    _, out, _ = ingest(FILES, "--utc-offset=-01:30")
    assert out[1] == "2016-09-01T01:30:00Z,1,0"


def test_the_time_zone_of_the_host_does_not_matter(ingest, monkeypatch):
    try:
        monkeypatch.setenv("TZ", "America/New_York")
        time.tzset()
        assert ingest(FILES, "--from", "2016-09-01")[1][1] == "2016-09-01T00:00:00Z,1,0"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_means_and_numbers_that_mean_missing(ingest):
    _, out, _ = ingest(FILES, "--average", "2min", "--missing", "P=20", "--missing", "T=")
    assert out[0].startswith("time,T1 [degC],T1_count,T1_coverage,T1_sd [degC],P [hPa],P_count")
    assert out[2].startswith("2016-09-01T00:02:00Z,4,2,1,") and ",10,1,0.5," in out[2]


def test_a_run_again_does_only_what_is_new(ingest, tmp_path):
    assert ingest(FILES, "--csv", tmp_path / "o.csv")[0] == 0
    first = (tmp_path / "o.csv").read_bytes()
    assert "sum: all is up to date" in ingest({}, "--csv", tmp_path / "o.csv")[2]
    assert "sum: 0 rows" in ingest(FILES, "--csv", tmp_path / "o.csv")[2]  # written anew, with what was in it
    status, _, err = ingest({"sum.dat": GOOD + '"2016-09-01 00:05:00",5,5,50\n'}, "--csv", tmp_path / "o.csv")
    assert status == 0 and "sum: 1 rows, 2 values" in err
    assert (tmp_path / "o.csv").read_bytes() == first + b"2016-09-01T00:05:00Z,11,50\n"
    ingest({"conf/sum.cfg": ",,T,calibration,3,1:3\n"}, "--csv", tmp_path / "o.csv")
    assert (tmp_path / "o.csv").read_text().splitlines()[::6] == ["time,T1 [degC]", "2016-09-01T00:05:00Z,16"]


def test_an_output_that_cannot_be_put_in_its_place_is_told_by_its_name(ingest, tmp_path):
    (tmp_path / "o.csv").mkdir()
    status, _, err = ingest(FILES, "--csv", tmp_path / "o.csv")
    assert status == 1 and err.splitlines()[0] == "sum: nothing was published" and "  o.csv: Is a directory" in err
    assert not list(tmp_path.glob(".*.part"))


def test_rows_of_a_file_that_cannot_be_read_to_its_end_do_not_outlast_it(ingest, tmp_path):
    out = ("--csv", tmp_path / "o.csv")
    files = {**FILES, "b.dat": gzip.compress(GOOD.replace("2016", "2017").encode())[:-8] + b"some sum"}
    assert ingest(files, *out, data=("sum.dat", "b.dat"))[0] == 1 and len(lines(tmp_path / "o.csv")) == 11
    status, _, err = ingest({}, *out, data=("sum.dat", "b.dat"))  # and it is told again
    assert status == 1 and "computed anew" in err and "b.dat: could not be read to its end" in err
    assert ingest({}, *out)[0] == 0 and len(lines(tmp_path / "o.csv")) == 6


@pytest.mark.parametrize("workers", [1, 2])
def test_results_do_not_depend_on_the_number_of_workers(ingest, tmp_path, workers):
    names = [f"{n}.dat" for n in range(6)]
    files = {name: GOOD.replace("2016-09-01", f"2016-09-0{9 - n}") for n, name in enumerate(names)}
    files["7.dat"] = GOOD.replace('"2016-09-01 00:04:00",4,4', '"2016-09-09 00:04:00",4,400') + "rubbish\n"
    files["8.dat"] = "no table\n" * 3
    out = tmp_path / "o.csv"
    status, _, err = ingest(
        {**FILES, **files}, "--csv", out, "--workers", workers, data=(*names, "7.dat", "8.dat", "9.dat")
    )
    lines = out.read_text().splitlines()
    assert status == 1 and lines == sorted(lines, key=lambda line: (line[0] != "t", line)) and len(lines) == 35
    assert "2016-09-09T00:04:00Z,801,40" in lines
    cure = "it must be TOA5, TOB1, CSV that begins with a time stamp, or arrays (id, year, day, hhmm)"
    assert err.splitlines() == [
        "sum: 35 rows, 70 values, 0 missing, 1 replaced by later ones",
        *(f"  {name}: 5 rows" for name in names),
        "  7.dat: 5 rows, wrong number of fields: 1",
        "  8.dat: 0 rows, no time stamp: 3",
        "  9.dat: 0 rows",
        f"  8.dat: no row with a time stamp and no header in it; {cure}",
        "  9.dat: No such file or directory",
    ]


BROKEN = {
    "station": ({}, "mlo", 2, "no station 'mlo'; stations there: sum"),
    "sensor type": ({"conf/sum.cfg": ",,P,calibration,4\n,,T,hmp,@1,3\n"}, "sum", 2, "no folder conf/sensors/hmp"),
    "time": ({"conf/sum.cfg": ",,P,calibration,4\n9/1/2016,,T,calibration,3\n"}, "sum", 2, "sum.cfg:2:1: '9/1/2016'"),
    "coefficients": ({"conf/sum.cfg": ",,P,calibration,4\n,,T,calibration,3,1::2\n"}, "sum", 2, "sum.cfg:2:6"),
    "numbers of the equation": (
        {"conf/sum.cfg": ",,P,calibration,4\n,,T,rtd,@1,3\n", "conf/sensors/rtd/1.cfg": ",,,1:2:3\n"},
        "sum",
        2,
        "1.cfg:1:4: 3 numbers",
    ),
    "field beyond the row": ({"conf/sum.cfg": ",,P,calibration,4\n,,T,calibration,9\n"}, "sum", 0, "field 9 is beyond"),
    "quotes unclosed": ({"conf/sum.cfg": ',,P,calibration,4,,"note\n'}, "sum", 0, "sum.cfg:1: the quotes do not match"),
    "path in a literal serial": (
        {"conf/sum.cfg": ",,P,calibration,4\n,,T,hmp,@../../x,3\n", "conf/sensors/hmp/1.cfg": ""},
        "sum",
        2,
        "sum.cfg:2:5: '../../x'",
    ),
    "path in a serial of the data": (
        {
            "conf/sum.cfg": ",,P,calibration,4\n,,T,hmp,3,4\n",
            "conf/sensors/hmp/1.cfg": "",
            "sum.dat": GOOD.replace(",3,30", ',"../../x",30'),
        },
        "sum",
        0,
        "T1: serial '../../x' cannot be the name of a file",
    ),
    "rubbish in a row": ({"sum.dat": GOOD + "\x01\x02\xff,,\n"}, "sum", 0, "wrong number of fields: 1"),
    "NUL bytes": ({"sum.dat": GOOD + "\0\0\0\0\n"}, "sum", 0, "NUL bytes in a row: 1"),
    "a header of another table": (
        {"sum.dat": GOOD + HEAD.replace("Met", "Other") + '"2016-09-02 00:00:00",1,1,1\n'},
        "sum",
        0,
        "the header of table 'Other'",
    ),
    "mixed line ends": ({"sum.dat": GOOD.replace("\n", "\r\n", 3).replace(",2,20\n", ",2,20\r")}, "sum", 0, "5 rows"),
    "a line of 10 MB": ({"sum.dat": GOOD + "x" * 10_000_000 + "\n"}, "sum", 0, "line too long: 1"),
    "a clock that goes backwards": (
        {"sum.dat": GOOD + '"2016-08-31 00:00:00",5,1,1\n'},
        "sum",
        0,
        "clock put back: 1",
    ),
    "a cut last line": ({"sum.dat": GOOD + '"2016-09-01 00:05:00",5,5,5'}, "sum", 0, "cut last line: 1"),
    "24:00": ({"sum.dat": GOOD + '"2016-09-01 24:00:00",5,5,50\n'}, "sum", 0, "24:00: 1"),
    "two loggers": (
        {"conf/sum.cfg": ",,LOGGER,string,3\n,,P,calibration,4\n"},
        "sum",
        0,
        "LOGGER: the logger changes inside the file: 4 rows",
    ),
    "a file that is no table": ({"sum.dat": bytes(range(256)) * 400}, "sum", 1, "no row with a time stamp"),
    "a damaged gzip": ({"sum.dat": gzip.compress(GOOD.encode())[:-20]}, "sum", 1, "cannot be unpacked"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_bad_input_is_told_and_good_parameters_are_published(ingest, case):
    files, station, status, said = BROKEN[case]
    got, out, err = ingest({**FILES, **files}, station=station)
    assert (got, said in err) == (status, True), err
    assert "Traceback" not in err
    if station == "sum" and case not in ("a file that is no table", "a damaged gzip"):
        assert "P [hPa]" in out[0] and any(re.search(",40(,|$)", line) for line in out[1:])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["x", "--config", "."], "--station"),
        (["--config", ".", "--station", "sum"], "no DATA"),
        (["x", "--stations", "none.toml"], "cannot be read"),
        (["x", "--stations", "f", "--csv", "o"], "--csv and --stations"),
        (["x", "--config", ".", "--station", "sum", "--stamp", "start"], "needs --interval"),
        (["x", "--config", ".", "--station", "sum", "--workers", "0"], "at least 1"),
        (["x", "--config", ".", "--station", "sum", "--influx", "none.toml"], "none.toml"),
    ],
)
def test_bad_usage_is_told(capfd, options, said):
    assert main(options) == 2 and said in capfd.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ["--average", "often"],
        ["--from", "9/1/2016"],
        ["--explain", "T1"],
        ["--missing", "X=1"],
        ["--utc-offset", "CET"],
    ],
)
def test_an_option_that_cannot_be_read_is_told(capfd, options):
    with pytest.raises(SystemExit) as ended:
        main(["x", *options])
    assert ended.value.code == 2 and options[0] in capfd.readouterr().err


def test_explain_and_check_answer_on_stdout(ingest):
    status, out, _ = ingest(FILES, "--explain", "T 2016-09-01T00:03")
    assert status == 0 and out[0].startswith("T1 at 2016-09-01T00:03:00Z: 7.0 degC") and "sum.dat:8" in out[1]
    shifted = "--interval", "1min", "--stamp", "start"
    _, out, _ = ingest(FILES, "--explain", "T 2016-09-01T00:02", *shifted)  # the stamp that is published
    assert out[0].startswith("T1 at 2016-09-01T00:03:00Z: 7.0 degC")
    status, out, _ = ingest({**FILES, "conf/sum.cfg": ",,P,calibration,4,1013.256\n"}, "--check")
    assert status == 0 and out[0].endswith("a single coefficient is a constant: the result is always 1013.256")
    status, _, err = ingest({"conf/sum.cfg": ",,P,calibration,4,x\n"}, "--check", data=())
    assert status == 2 and "sum.cfg:1:6" in err


STATIONS = """
[[station]]
config = "conf"
files = "data/{station}/*.dat"
csv = "out/{station}.csv"

[[station]]
name = "brw"
config = "conf"
files = "other/{station}-*.dat"
csv = "out/other.csv"
"""
MANY = {
    "stations.toml": STATIONS,
    "conf/sum.cfg": ",,T,calibration,3\n",
    "conf/mlo.cfg": ",,T,calibration,4\n",
    "conf/brw.cfg": ",,P,calibration,3\n,,U,calibration,x\n",
    "data/sum/1.dat": GOOD,
    "data/sum/2.dat": GOOD.replace("2016-09-01", "2016-09-02"),
    "data/mlo/1.dat": GOOD,
    "other/brw-1.dat": GOOD,
}


def lines(path):
    return path.read_text().splitlines()


def test_many_stations_in_one_call(ingest, tmp_path):
    where = ("--stations", tmp_path / "stations.toml")
    status, _, err = ingest(MANY, *where, data=(), station="")
    assert status == 2 and "brw.cfg:2:5" in err and "not published, for faults of the configuration: U1" in err
    assert [line.split(":")[0] for line in err.splitlines() if line[0] not in " e"] == ["mlo", "sum", "brw"]
    assert (
        len(lines(tmp_path / "out/sum.csv")) == 11 and lines(tmp_path / "out/mlo.csv")[2] == "2016-09-01T00:01:00Z,10"
    )
    assert lines(tmp_path / "out/other.csv")[0] == "time,P [hPa]"


def test_whose_file_it_is_tells_a_rule(ingest, tmp_path):
    where = ("--stations", tmp_path / "stations.toml")
    status, _, err = ingest(MANY, *where, data=("data/mlo/1.dat",), station="")
    assert status == 0 and err.splitlines()[0] == "mlo: 5 rows, 5 values, 0 missing"
    more = {"data/mlo/2.dat": GOOD.replace("2016-09-01", "2016-09-02")}
    status, _, err = ingest(more, *where, data=("data/mlo/2.dat",), station="")  # what 1.dat gave stays
    assert status == 0 and len(lines(tmp_path / "out/mlo.csv")) == 11 and "sum" not in err
    status, _, err = ingest({}, *where, data=("data/mlo/3.dat",), station="")
    assert status == 1 and "3.dat: No such file" in err
    status, _, err = ingest({"x.dat": GOOD}, *where, data=("x.dat",), station="")
    assert status == 2 and "x.dat: no rule of a [[station]]" in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no [[station]]"),
        ("[[station]", "is not TOML"),
        ("[site]\n[[station]]\nname='a'\nconfig='c'\nfiles='f'", "[site]: no such table"),
        ("[[station]]\nname='a'\nfiles='f'", "key config: is missing"),
        ("[[station]]\nname='a'\nconfig='c'\nfiles='f'\ncvs='o'", "key cvs: no such key"),
        ("[[station]]\nconfig='c'\nfiles='f'", "key name: is missing"),
        ("[[station]]\nconfig='c'\nfiles='{station}.dat'\ncsv='o.csv'", "write over each other"),
    ],
)
def test_mistakes_in_a_file_of_stations_are_told(ingest, tmp_path, text, said):
    status, _, err = ingest({"s.toml": text}, "--stations", tmp_path / "s.toml", data=(), station="")
    assert status == 2 and said in err and "s.toml" in err


def test_the_state_lies_beside_the_output_and_a_locked_one_stops_its_station_alone(ingest, tmp_path):
    ingest(FILES, "--csv", tmp_path / "o.csv")
    assert json.loads((tmp_path / ".o.csv.state.json").read_text())
    (tmp_path / ".o.csv.state.json").write_text("damaged")
    before = (tmp_path / "o.csv").read_bytes()
    status, _, err = ingest(FILES, "--csv", tmp_path / "o.csv")
    assert status == 1 and "nothing was published" in err and (tmp_path / "o.csv").read_bytes() == before


def test_a_process_that_is_killed_is_told_and_nothing_is_put_in_its_place(ingest, tmp_path, monkeypatch):
    (tmp_path / "o.csv").write_text("old\n")
    monkeypatch.setattr(jobs, "_into_file", time.sleep)  # any function of the library that the pool can call
    begin = ProcessPoolExecutor.submit

    def killed(pool, task, *arguments):
        future = begin(pool, task, DEADLINE)
        for process in pool._processes.values():
            process.kill()
        return future

    monkeypatch.setattr(ProcessPoolExecutor, "submit", killed)
    status, _, err = ingest(FILES, "--csv", tmp_path / "o.csv", "--workers", 2)
    assert status == 1 and "was killed" in err and "nothing was published" in err
    assert (tmp_path / "o.csv").read_text() == "old\n" and not list(tmp_path.glob(".o.csv*part"))


def test_a_run_that_is_stopped_leaves_all_as_it_was(ingest, tmp_path, monkeypatch):
    (tmp_path / "o.csv").write_text("old\n")

    def stopped(publication, *rows):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(DEADLINE)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(Publication, "take", stopped)
    status, _, err = ingest(FILES, "--csv", tmp_path / "o.csv")
    assert status == 1 and "stopped" in err and signal.getsignal(signal.SIGTERM) is before
    assert (tmp_path / "o.csv").read_text() == "old\n" and not list(tmp_path.glob(".o.csv*part"))
