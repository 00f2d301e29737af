import pytest

from ingest.cr1000.configuration import load
from ingest.cr1000.explain import asked, explain
from ingest.cr1000.overlay import Overlay
from ingest.cr1000.tables import Reader
from ingest.cr1000.tally import Tally
from ingest.cr1000.times import moment
from tests.cr1000 import write

DATA = b""""TOA5","sum","CR1000","1","OS","PROG","2","Met"
"TIMESTAMP","RECORD","Serial","RTD","Dir","Speed"
"TS","RN","","","Deg","m/s"
"","","Smp","Avg","Smp","Avg"
"2016-09-01 19:17:00",1,"77",1.05,350,"NAN"
"2016-09-01 19:18:00",2,"78.0",1.1,355,4
"""
FILES = {
    "global.cfg": ",,LOGGER,string,3\n",
    "sum.cfg": "# heights\n,,T1,calibration,4\n2016,,T1,rtd,3,4\n,,T1:metadata,description,at 2m\n"
    ",,WD,calibration,5,10:1\n2017,,P,calibration,4\n,,U,calibration,x\n,,WS,calibration,6\n,,T2,hmp,@1,4\n",
    "sensors/rtd/default.cfg": ",,0:2\n",
    "sensors/rtd/78.cfg": ",2016-09-01,9:9\n"
    "2016-09-01,,0.5:1,3.9083e-3;-2.31e-6;1.758481e-5;1.7909;-2.92363;9.1455;255.819",
    "sensors/hmp/1.cfg": ",,wrong\n",
}


def told(folder, text):
    reader = Reader("met.dat")
    blocks = [*reader.feed(DATA), *reader.end()]
    overlay = Overlay(load(write(folder, FILES), "sum"), Tally())
    return [line.replace(f"{folder}/", "") for line in explain(overlay, blocks, *asked(text))]


def test_a_value_is_told_from_the_cell_to_the_result(tmp_path):
    assert told(tmp_path, "T 2016-09-01T19:18") == [
        "T1 at 2016-09-01T19:18:00Z: 26.183922773698043 degC  (Air temperature at 2m)",
        "  row     met.dat:6",
        "  raw     field 4 (RTD) holds '1.1'",
        "  line    sum.cfg:3: 2016,,T1,rtd,3,4",
        "  line    sum.cfg:2: ,,T1,calibration,4  (lies under the line above)",
        "  text    sum.cfg:4: ,,T1:metadata,description,at 2m",
        "  sensor  rtd 78: field 3 (Serial) holds '78.0'",
        "  file    sensors/rtd/78.cfg: these lines cover this instant",
        "          sensors/rtd/78.cfg:2: " + FILES["sensors/rtd/78.cfg"].splitlines()[1],
        "  file    sensors/rtd/default.cfg: these lines cover this instant",
        "          sensors/rtd/default.cfg:1: ,,0:2",
        "  value   1.1",
        "  step    Callendar-Van Dusen (sensors/rtd/78.cfg:2) a=0.0039083 d=-2.31e-06 e=1.758481e-05 g=1.7909"
        " h=-2.92363 i=9.1455 j=255.819: 25.683922773698043 degC",
        "  step    0.5 + 1.0 x (sensors/rtd/78.cfg:2): 26.183922773698043",
    ]


def test_a_sensor_without_a_file_and_assumed_numbers_are_told(tmp_path):
    lines = told(tmp_path, "T1 2016-09-01T19:17")
    assert "  sensor  rtd 77: field 3 (Serial) holds '77'" in lines
    assert any("(IEC 60751)" in line for line in lines)
    assert "  note    serial '77' has no file in sensors/rtd: default.cfg alone" in lines


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("WD 2016-09-01T19:18", ["5.0 degree", "10.0 + 1.0 x (sum.cfg:5): 365.0", "turned into [0, 360): 5.0"]),
        ("P 2016-09-01T19:18", ["absent", "none covers this instant"]),
        ("U1 2016-09-01T19:18", ["has faults", "sum.cfg:7:5: 'x' is no number of a field"]),
        ("TD 2016-09-01T19:18", ["is not declared; declared are LOGGER, T1, WD1, P, WS1, T2"]),
        (
            "T1 2016-09-01T19:17:30",
            ["no row has", "nearest are 2016-09-01T19:17:00Z and 2016-09-01T19:18:00Z"],
        ),
        ("LOGGER 2016-09-01T19:17", ["'77'", "Logger serial number"]),
        ("WS 2016-09-01T19:17", ["WS1 at 2016-09-01T19:17:00Z: missing", "holds 'NAN'", "no number"]),
        ("T2 2016-09-01T19:17", ["absent", "the sensor's files have faults"]),
    ],
)
def test_other_answers(tmp_path, text, parts):
    lines = "\n".join(told(tmp_path, text))
    assert [part for part in parts if part not in lines] == []


@pytest.mark.parametrize("text", ["T1", "2016", "T1 soon", "X1 2016"])
def test_what_is_no_question_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        asked(text)


def test_a_question_is_a_parameter_and_a_time():
    assert asked(" T 2016-09-01 19:18 ") == ("T1", moment("2016-09-01T19:18"))
