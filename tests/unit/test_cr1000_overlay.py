import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.cr1000.configuration import load
from ingest.cr1000.overlay import MISSING, Overlay
from ingest.cr1000.tally import OTHERS, Tally
from tests.cr1000 import Rows, write
from tests.cr1000_rtd import PUBLISHED


def laid(folder, files, rows, **options):
    """Lay a configuration over rows: the columns by name, and what was counted, as rows by (parameter, reason)."""
    tally = Tally()
    made = load(write(folder, files), "sum", lenient=options.pop("lenient", False))
    columns = Overlay(made, tally, **options).columns(Rows(rows))
    return {column.name: column for column in columns}, {key: count.rows for key, count in tally.counts.items()}


def test_values_by_time_and_by_the_sensor_that_the_row_tells(tmp_path):
    columns, counts = laid(
        tmp_path,
        {
            "global.cfg": ",,LOGGER,string,2\n",
            "sum.cfg": "2016-01-02,,T1,hmp,3,4\n2016-01-05,2016-01-06,T1,calibration,4,1:1\n",
            "sensors/hmp/default.cfg": ",,0:2\n",
            "sensors/hmp/B.cfg": ",,0:3\n2016-01-04,,0:10\n",
        },
        [
            ["2016-01-01", "L1", "A", "1"],
            ["2016-01-02", "L1", "A", "1"],
            ["2016-01-03", "L1", "B", "1"],
            ["2016-01-04", "L1", "B", "1"],
            ["2016-01-05", "L2 ", "B", "1"],
            ["2016-01-06", "", "A", "NAN"],
        ],
    )
    assert columns["T1"].values[1:5].tolist() == [2, 3, 10, 2] and np.isnan(columns["T1"].values[[0, 5]]).all()
    assert columns["T1"].covered.tolist() == [False, True, True, True, True, True]
    column = columns["T1"]
    serials = [column.serials[which] if which >= 0 else None for which in column.serial.tolist()]
    assert serials == [None, "A", "B", "B", None, "A"]
    assert (columns["T1"].unit, columns["T1"].description) == ("degC", "Air temperature")
    assert columns["LOGGER"].values == ["L1"] * 4 + ["L2 ", ""] and columns["LOGGER"].covered.all()
    assert {key: rows for key, rows in counts.items() if "no file" not in key[1]} == {
        ("T1", "no line covers the row"): 1,
        ("T1", "missing in the file"): 1,
        ("LOGGER", "missing in the file"): 1,
        ("LOGGER", "the logger changes inside the file"): 1,
    }
    assert counts["T1", "serial 'A' has no file in sensors/hmp: default.cfg alone"] == 2


def test_wind_sensors_calibrate_speed_gust_and_direction(tmp_path):
    columns, counts = laid(
        tmp_path,
        {
            "sum.cfg": ",,WS1,ventus,@1,2\n,,WSx,ventus,@1,3\n,,WD1,ventus,@1,4\n,,WD2,calibration,4\n,,WD3,rmy,@1,4\n",
            "sensors/ventus/default.cfg": ",,0:2,-10:1\n",
            "sensors/rmy/default.cfg": ",,9:9\n",
        },
        [["2016", "5", "7", "5"], ["2017", "5", "7", "360"], ["2018", "5", "7", "-351"]],
    )
    assert columns["WS1"].values.tolist() == [10] * 3 and columns["WSx1"].values.tolist() == [14] * 3
    assert columns["WD1"].values[:2].tolist() == [355, 350] and np.isnan(columns["WD1"].values[2])
    assert columns["WD2"].values.tolist() == columns["WD3"].values.tolist() == [5, 360, -351]
    assert counts["WD1", "direction a turn or more off"] == 1


def test_an_rtd_is_converted_and_then_calibrated(tmp_path):
    numbers = "3.9083e-3:-2.31e-6:1.758481e-5:1.7909:-2.92363:9.1455:255.819"
    files = {
        "sum.cfg": ",,T1,rtd,2,3\n",
        "sensors/rtd/default.cfg": f",,10:2,{numbers}\n",
        "sensors/rtd/7.cfg": ",,0:1\n",
        "sensors/rtd/8.cfg": ",,,3.9083e-3:-2.31e-6:1.758481e-5:0:0:0:100\n",
    }
    rows = [[str(2000 + n), "7", str(ratio)] for n, ratio in enumerate(PUBLISHED)]
    rows += [["2030", "5", "1.1"], ["2031", "8", "0.9"], ["2032", "7", "109.7"], ["2033", "7", "0"]]
    columns, counts = laid(tmp_path, files, rows)
    values = columns["T1"].values
    assert values[: len(PUBLISHED)] == pytest.approx(list(PUBLISHED.values()), abs=6e-9)
    assert values[len(PUBLISHED) :] == pytest.approx([10 + 2 * 25.68392277, -10, math.nan, math.nan], nan_ok=True)
    assert counts["T1", "rtd: no ratio Rs/R0"] == 2


def test_an_rtd_without_numbers_takes_those_of_the_standard_and_says_so(tmp_path):
    files = {"sum.cfg": ",,T1,rtd,@7,2\n", "sensors/rtd/7.cfg": "# none\n"}
    columns, counts = laid(tmp_path, files, [["2016", "1.05"]])
    assert columns["T1"].values[0] == pytest.approx(PUBLISHED[1.05], abs=6e-9)
    assert counts == {("T1", "no Callendar-Van Dusen numbers: those of IEC 60751 are taken"): 1}


def test_what_is_missing_is_counted_with_its_reason_and_stops_nothing_else(tmp_path):
    files = {
        "sum.cfg": ",,T1,hmp,9,2\n,,P,calibration,9\n,,U,calibration,3\n,,TD,hmp,3,2\n"
        ",,Vx,calibration,2,1e300:1e300:1e300\n",
        "sensors/hmp/default.cfg": ",,0:2\n",
        "sensors/hmp/13.cfg": ",,wrong\n",
    }
    columns, counts = laid(tmp_path, files, [["2016", "1", "13"], ["2017", "1e9", "7999"]])
    assert columns["T1"].values.tolist() == [2, 2e9] and columns["T1"].serials == []
    assert columns["TD1"].covered.tolist() == [False, True] and columns["TD1"].values[1] == 2e9
    assert columns["U1"].values[0] == 13 and np.isnan(columns["U1"].values[1])
    assert np.isnan(columns["P"].values).all() and columns["P"].covered.all()
    assert counts == {
        ("T1", "no serial number in sensors/hmp: default.cfg alone"): 2,
        ("P", "field 9 is beyond the row"): 2,
        ("U1", "missing in the file"): 1,
        ("TD1", "the sensor's files have faults"): 1,
        ("TD1", "serial '7999' has no file in sensors/hmp: default.cfg alone"): 1,
        ("Vx", "the calibration gives no finite number"): 1,
    }


def test_the_numbers_that_mean_missing_can_be_set_for_a_parameter(tmp_path):
    files = {"sum.cfg": ",,P1,calibration,2\n,,P2,calibration,2\n,,P3,calibration,2\n"}
    rows = [["2016", "7999"], ["2017", "5"]]
    columns, _ = laid(tmp_path, files, rows, missing={"P2": (), "P3": (5.0,)})
    texts = [[str(value) for value in columns[name].values.tolist()] for name in ("P1", "P2", "P3")]
    assert texts == [["nan", "5.0"], ["7999.0", "5.0"], ["7999.0", "nan"]]


def test_no_file_at_all_is_identity_and_is_told(tmp_path):
    (tmp_path / "sensors/hmp").mkdir(parents=True)
    columns, counts = laid(tmp_path, {"sum.cfg": ",,T1,hmp,@5,2\n,,T2,xyz,3,2\n"}, [["2016", "7", "4"]], lenient=True)
    assert columns["T1"].values.tolist() == [7] == columns["T2"].values.tolist()
    assert counts == {
        ("T1", "serial '5' has no file in sensors/hmp, nor a default.cfg: identity"): 1,
        ("T2", "serial '4' has no file in sensors/xyz, nor a default.cfg: identity"): 1,
    }


def test_text_is_copied_as_it_is(tmp_path):
    rows = [["2016", "NAN"], ["2017", "7999"], ["2018", ' a, "b" '], ["2019", ""]]
    columns, counts = laid(tmp_path, {"sum.cfg": ",,P,string,2\n"}, rows)
    assert columns["P"].values == ["NAN", "7999", ' a, "b" ', ""] and columns["P"].unit == ""
    assert counts == {("P", "missing in the file"): 1}


@pytest.mark.parametrize(
    ("upper", "value"),
    [
        (",,T1,calibration,2", 1),
        (",,T1,calibration,2,", 1),
        (",,T1,hmp,@1,2", 2),
        (",,T1,hmp,3,2", 3),
        (",,T1,hmp,3,4", 30),
        ("2017,,T1,calibration,2,0:9", 5),
        (",2016,T1,calibration,2,0:9", 5),
        ("2016,2016-01-02,T1,calibration,2,0:9", 9),
        (",,T2,calibration,2,0:9", 5),
        (",,T1:metadata,description,at 2m", 5),
    ],
)
def test_a_declaration_replaces_the_one_below_as_a_whole(tmp_path, upper, value):
    files = {
        "global.cfg": ",,T1,calibration,2,0:5\n",
        "sum.cfg": upper + "\n",
        "sensors/hmp/default.cfg": ",,0:2\n",
        "sensors/hmp/7.cfg": ",,0:3\n",
    }
    columns, _ = laid(tmp_path, files, [["2016-01-01", "1", "7", "10"]])
    assert columns["T1"].values.tolist() == [value] and columns["T1"].covered.all()


def test_no_rows_are_no_columns_of_nothing(tmp_path):
    columns, counts = laid(tmp_path, {"sum.cfg": ",,T1,calibration,2\n2016,,P,string,3\n"}, [])
    assert len(columns["T1"].values) == len(columns["P"].values) == 0 and not counts


def test_a_column_of_rubbish_for_serial_numbers_fills_no_screen_and_hides_nothing_else(tmp_path):
    files = {"sum.cfg": ",,T1,hmp,2,3\n", "sensors/hmp/default.cfg": ",,0:2\n"}
    rows = [["2016-01-01", f"S{number}", "1"] for number in range(500)] + [["2016-01-01", "S1", "NAN"]]
    _, counts = laid(tmp_path, files, rows)
    assert len(counts) == 12 and counts["T1", OTHERS] == 490 and counts["T1", MISSING] == 1
    assert sum(counts.values()) == 502


day = st.integers(1, 12)
bound = st.none() | day
slopes = st.sampled_from(["", "0:1", "0:2", "1:3", "-1:0.5:0.25", "7"])
station_line = st.tuples(bound, bound, st.sampled_from(["T1", "T2"]), st.sampled_from(["hmp", "raw"]), slopes)
sensor_line = st.tuples(bound, bound, slopes)
row = st.tuples(st.integers(0, 13), st.sampled_from(["A", "B", "", "C"]), st.integers(-3, 3))


def covers(line, when):
    start, end = line[:2]
    return (start is None or start <= when) and (end is None or when < end)


def naive(stack, files, name, when, serial, raw):
    """Evaluate one cell by looking at every line in the order of the files; None where the parameter is absent."""
    top = None
    for line in stack:
        if line[2] == name and covers(line, when):
            top = line
    if top is None:
        return None
    calibration = top[4] if top[3] == "raw" else ""
    if top[3] == "hmp":
        for line in files["default"] + files.get(serial, []):
            if covers(line, when) and line[2]:
                calibration = line[2]
    return sum(float(c) * raw**k for k, c in enumerate((calibration or "0:1").split(":")))


@settings(max_examples=150)
@given(
    st.lists(station_line, max_size=4),
    st.lists(station_line, max_size=6),
    st.fixed_dictionaries({name: st.lists(sensor_line, max_size=4) for name in ("default", "A", "B")}),
    st.lists(row, min_size=1, max_size=15),
)
def test_an_overlay_gives_what_each_line_looked_at_alone_gives(lower, upper, files, rows):
    def stamp(time):
        return "" if time is None else f"2016-01-{time:02}"

    def usable(lines):
        return [line for line in lines if line[0] is None or line[1] is None or line[0] < line[1]]

    def station(lines):
        fields = {"hmp": "2,3", "raw": "3,{}"}
        kinds = {"hmp": "hmp", "raw": "calibration"}
        return "".join(
            f"{stamp(start)},{stamp(end)},{name},{kinds[kind]},{fields[kind].format(own)},note\n"
            for start, end, name, kind, own in lines
        )

    lower, upper = usable(lower), usable(upper)
    files = {name: usable(lines) for name, lines in files.items()}
    texts = {"global.cfg": station(lower), "sum.cfg": station(upper)}
    for name, lines in files.items():
        texts[f"sensors/hmp/{name}.cfg"] = "".join(f"{stamp(start)},{stamp(end)},{own}\n" for start, end, own in lines)
    with tempfile.TemporaryDirectory() as folder:
        raw = [[f"2016-01-{when:02}" if when else "2015-12-31", serial, str(value)] for when, serial, value in rows]
        columns, _ = laid(Path(folder), texts, raw)
    for name, column in columns.items():
        expected = [naive(lower + upper, files, name, *cells) for cells in rows]
        assert column.covered.tolist() == [value is not None for value in expected]
        got = [value if covered else None for value, covered in zip(column.values, column.covered, strict=True)]
        assert got == pytest.approx(expected)
    named = {line[2] for line in lower + upper}
    assert set(columns) == named
