import re

from ingest.cr1000.check import against, warnings
from ingest.cr1000.configuration import load
from ingest.cr1000.tables import Reader
from tests.cr1000 import write

HEAD = '"TOA5","sum","CR1000","1","OS","PROG","2","Met"\n"TIMESTAMP","RECORD",{}\n"TS","RN",""\n"","",""\n'


def found(folder, files, data=None):
    """Give what a check tells, without the folder's name."""
    made = load(write(folder, files), "sum")
    if data is None:
        lines = warnings(made)
    else:
        reader = Reader("met.dat")
        lines = against(made, [*reader.feed(data.encode()), *reader.end()])
    return [line.replace(f"{folder}/", "") for line in lines]


def test_gaps_hidden_lines_and_transparent_layers(tmp_path):
    files = {
        "sum.cfg": "2014,2015,T1,rtd,3,4\n2016,2017,T1,rtd,3,4\n,,P,calibration,3\n,,P,calibration,4\n,,WS,rmy,3,4\n",
        "sensors/rtd/default.cfg": ",,,1:2:3:4:5:6:7\n",
        "sensors/rtd/7.cfg": ",,0:1\n2016,,,\n",
        "sensors/rmy/7.cfg": ",,0:1\n",
    }
    assert found(tmp_path, files) == [
        "sum.cfg:3: the line never shows: others of P cover it wholly",
        "T1: no line covers 2015-01-01T00:00:00Z to 2016-01-01T00:00:00Z",
        "sensors/rtd/7.cfg:1:4: no Callendar-Van Dusen numbers: what lies below shows through (0:1 is identity)",
        "sensors/rtd/7.cfg:2:3: no calibration: what lies below shows through (0:1 is identity)",
        "sensors/rtd/7.cfg:2:4: no Callendar-Van Dusen numbers: what lies below shows through (0:1 is identity)",
        "sensors/rtd/default.cfg:1:3: no calibration: nothing lies below, so that it is as if the line were absent"
        " (0:1 is identity)",
        "sensors/rmy/7.cfg:1:4: no direction calibration: nothing lies below, so that it is as if the line were absent"
        " (0:1 is identity)",
    ]


def test_constants_and_comma_traps_are_told(tmp_path):
    lines = found(tmp_path, {"sum.cfg": ",,T1,hmp,3,4\n,,P,calibration,3,5\n", "sensors/hmp/default.cfg": ",,0,1.02\n"})
    assert [re.sub("'.*", "", line) for line in lines] == [
        "sum.cfg:2:6: a single coefficient is a constant: the result is always 5",
        "sensors/hmp/default.cfg:1:3: a single coefficient is a constant: the result is always 0",
        "sensors/hmp/default.cfg:1:4: ",
    ]


def test_a_good_configuration_has_no_warnings(tmp_path):
    files = {"sum.cfg": ",,T1,hmp,3,4\n,,P,calibration,3\n", "sensors/hmp/default.cfg": ",,0:1.02,a note\n"}
    assert found(tmp_path, files) == []
    data = HEAD.format('"S","A"') + '"2016-09-01 00:00:00",1,7,5\n'
    assert found(tmp_path, {**files, "sensors/hmp/7.cfg": ",,0:1\n"}, data) == []


def test_a_name_that_changes_under_an_index_is_told(tmp_path):
    rows = '"2016-09-0{} 00:00:00",{},7,5\n'
    data = HEAD.format('"A","B"') + rows.format(1, 1) + HEAD.format('"B","A"') + rows.format(2, 2)
    assert found(tmp_path, {"sum.cfg": ",,P,calibration,3\n2016-09-02,,U,calibration,4\n"}, data) == [
        "sum.cfg:1: field 3 of P is called 'A', then 'B': end the line there",
        "U1: no line covers the row: 1 rows from 2016-09-01T00:00:00Z to 2016-09-01T00:00:00Z",
    ]


def test_columns_of_resistance_sensors_are_looked_at(tmp_path):
    files = {"sum.cfg": ",,T1,rtd,@1,3\n,,T2,rtd,@1,4\n,,T3,rtd,@1,5\n", "sensors/rtd/1.cfg": ",,0:1\n"}
    rows = "".join(
        f'"2016-09-01 00:{n:02}:00",{n},{109.7 + n},{1.01 + n / 1000:.3f},{1.01 + n / 1e7}\n' for n in range(20)
    )
    lines = found(tmp_path, files, HEAD.format('"A","B","C"') + rows)
    assert [line for line in lines if line.startswith("sum.cfg")] == [
        "sum.cfg:1: field 3 of T1 looks like ohm (median 119.2), and must be the ratio Rs/R0:"
        " divide by R0 in the logger",
        "sum.cfg:2: field 4 of T2 has three decimals at most, a step of 0.26 degC: store the ratio as IEEE4,"
        " not as FP2",
    ]
    assert "T1: not one value in 20 rows" in lines


def test_loggers_that_change_and_fields_beyond_the_row_are_told(tmp_path):
    data = HEAD.format('"L"') + '"2016-09-01 00:00:00",1,55\n"2016-09-02 00:00:00",2,56\n'
    assert found(tmp_path, {"sum.cfg": ",,LOGGER,string,3\n,,P,calibration,9\n"}, data) == [
        "P: not one value in 2 rows",
        "LOGGER changes: 55, 56; are these files of one station?",
        "LOGGER: the logger changes inside the file: 1 rows from 2016-09-02T00:00:00Z to 2016-09-02T00:00:00Z",
        "P: field 9 is beyond the row: 2 rows from 2016-09-01T00:00:00Z to 2016-09-02T00:00:00Z",
    ]


def test_of_a_text_that_is_no_serial_number_of_a_logger_some_values_are_told(tmp_path):
    data = HEAD.format('"L"') + "".join(f'"2016-09-01 00:{n:02}:00",{n},L{n}\n' for n in range(30))
    told = found(tmp_path, {"sum.cfg": ",,LOGGER,string,3\n"}, data)
    assert any(line.endswith("L8, L9 and 20 more; are these files of one station?") for line in told)
