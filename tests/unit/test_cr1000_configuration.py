import pytest

from ingest.cr1000.configuration import load
from ingest.cr1000.declarations import Declaration
from tests.cr1000 import write


def station(tmp_path, text, **files):
    """Load a station whose own file holds this text."""
    others = {name.replace("__", "/") + ".cfg": lines for name, lines in files.items()}
    return load(write(tmp_path, {"sum.cfg": text, **others}), "sum")


def only(made):
    """Give the one line of a configuration without findings."""
    assert not made.findings.faults and len(made.lines) == 1
    return made.lines[0]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (",,T1,hmp45c,5,4", ("T1", "hmp45c", 4, "", 5, ())),
        (",,T,HMP45C,@1234,4", ("T1", "hmp45c", 4, "1234", 0, ())),
        (",,WS2,ventus,5,4,a note,another", ("WS2", "ventus", 4, "", 5, ())),
        (",,WSx,RMY,5,4", ("WSx1", "rmy", 4, "", 5, ())),
        (",,TD3,rtd, 5 , 4 ", ("TD3", "rtd", 4, "", 5, ())),
        (",,P,calibration,4", ("P", "calibration", 4, "", 0, ())),
        (",,P2,calibration,4,", ("P2", "calibration", 4, "", 0, ())),
        (",,WI,calibration,4,1:2:3,note", ("WI", "calibration", 4, "", 0, (1, 2, 3))),
        (",,U,calibration,4,1;2;3", ("U1", "calibration", 4, "", 0, (1, 2, 3))),
        (',,U2,calibration,4,"1, 2.5,-3e-4"', ("U2", "calibration", 4, "", 0, (1, 2.5, -3e-4))),
        (',,Vx,calibration,4," 1 :2; .5"', ("Vx", "calibration", 4, "", 0, (1, 2, 0.5))),
        (",,LOGGER,string,4,note", ("LOGGER", "string", 4, "", 0, ())),
        (",,Tx,Calibration,4", ("Tx", "calibration", 4, "", 0, ())),
        ('"2016-01-01","undef",WD,rmy,"5","4"', ("WD1", "rmy", 4, "", 5, ())),
    ],
)
def test_a_line_of_a_station(tmp_path, line, expected):
    for kind in ("hmp45c", "ventus", "rmy", "rtd"):
        write(tmp_path, {f"sensors/{kind}/default.cfg": ""})
    found = only(station(tmp_path, line + "\n"))
    assert isinstance(found, Declaration)
    assert (found.parameter, found.type, found.field, found.serial, found.serial_field, found.coefficients) == expected


@pytest.mark.parametrize(
    ("line", "field", "why"),
    [
        ("soon,,T1,calibration,4", 1, "'soon' is not a time"),
        ("9/1/2016,,T1,calibration,4", 1, "day or with the month"),
        (",2016-02-31,T1,calibration,4", 2, "not a time"),
        ("2017,2016,T1,calibration,4", 2, "not after the start"),
        ("2017,2017,T1,calibration,4", 2, "not after the start"),
        (",,TX,calibration,4", 3, "'TX' is no parameter"),
        (",,T0,calibration,4", 3, "no parameter"),
        (",,t1,calibration,4", 3, "no parameter"),
        (",,,calibration,4", 3, "no parameter"),
        (",,T1:metadta,description,x", 3, "only T1:metadata"),
        (",,T1:metadata,height,x", 4, "only `description`"),
        (",,T1", 4, "no type"),
        (",,T1,", 4, "no type"),
        (",,T1,../etc,5,4", 4, "name of a folder"),
        (",,T1,..,5,4", 4, "name of a folder"),
        (",,T1,rmy,5,4", 4, "measures WS, WSx and WD, not T1"),
        (",,T1,hmp,@../x,4", 5, "name of a sensor's file"),
        (",,T1,hmp,@,4", 5, "behind @"),
        (",,T1,hmp,,4", 5, "nor @"),
        (",,T1,hmp,A12,4", 5, "nor @"),
        (",,T1,hmp,0,4", 5, "no number of a field"),
        (",,T1,hmp,5", 6, "no number of a field"),
        (",,T1,hmp,5,-4", 6, "no number of a field"),
        (",,T1,calibration", 5, "no number of a field"),
        (",,T1,calibration,4.0", 5, "no number of a field"),
        (",,T1,string,x", 5, "no number of a field"),
        (",,T1,calibration,4,new sensor", 6, "is no calibration"),
        (",,T1,calibration,4,1::3", 6, "a number is missing"),
        (",,T1,calibration,4,1:nan", 6, "no number"),
        (",,T1,calibration,4,1:1e999", 6, "no number"),
        (",,T1,calibration,4,1_0", 6, "no number"),
        (",,T1,calib\0ration,4", 0, "control character"),
    ],
)
def test_a_wrong_line_is_told_with_file_line_and_field_and_the_others_are_taken(tmp_path, line, field, why):
    made = station(tmp_path, f"# notes\n,,P,calibration,2\n{line}\n,,Vx,calibration,3\n", sensors__hmp__default="")
    (fault,) = made.findings.faults
    place = f"{tmp_path / 'sum.cfg'}:3"
    assert str(fault).startswith(f"{place}:{field}: " if field else f"{place}: ") and why in fault.text
    assert list(made.parameters) == ["P", "Vx"]


def test_all_faults_of_all_files_are_told_together(tmp_path):
    made = station(
        tmp_path,
        "soon,never,T1,calibration,x,y\n,,T2,calibration,4\n,,U,hmp,4,5\n,,P,ptb,@1,5\n",
        **{
            "global": ",,LOGGER,string,0\n",
            "sensors__hmp__default": ",,1::2\n",
            "sensors__hmp__12": ",,a:b\nx,y,1:2\n",
        },
    )
    places = [
        str(fault).removeprefix(f"{tmp_path}/").rpartition(": ")[0].split(": ")[0] for fault in made.findings.faults
    ]
    assert places == [
        "global.cfg:1:5",
        "sum.cfg:1:1",
        "sum.cfg:1:2",
        "sum.cfg:1:5",
        "sum.cfg:1:6",
        "sensors/hmp/12.cfg:1:3",
        "sensors/hmp/12.cfg:2:1",
        "sensors/hmp/12.cfg:2:2",
        "sensors/hmp/default.cfg:1:3",
        "sum.cfg:4:4",
    ]
    assert list(made.parameters) == ["T2", "U1"] and made.broken == {"LOGGER", "T1", "P"}
    assert made.types["hmp"].sensor("12").broken and made.types["hmp"].sensor("13").broken


def test_a_fault_in_one_line_of_a_parameter_breaks_the_parameter(tmp_path):
    made = station(tmp_path, ",2016,T1,calibration,4\n2016,,T,calibration,four\n")
    assert not made.parameters and made.broken == {"T1"}


def test_comments_empty_rows_marks_of_spreadsheets_and_line_ends(tmp_path):
    text = (
        "\ufeff# first,line\r\n"
        '"# quoted, by a spreadsheet",,,\n'
        "  # blanks before\r"
        ",,,,\n"
        '"","",,\n'
        "\n"
        " \t\n"
        ",,T1,calibration,4\r\n"
        "#,,T1,calibration,5"
    )
    write(tmp_path, {})
    (tmp_path / "sum.cfg").write_bytes(text.encode())
    made = load(tmp_path, "SUM")
    assert not made.findings.faults and not made.findings.warnings
    assert [(line.place.line, line.field) for line in made.lines] == [(8, 4)]


def test_tripled_quotes_and_typed_notes(tmp_path):
    made = station(tmp_path, ',,WS1:metadata,description,"at """10m""", on the mast",by hand\n,,WS1,calibration,4\n')
    assert made.parameters["WS1"].description(0) == 'Wind speed at "10m", on the mast'
    made = station(tmp_path, ',,T1,calibration,4,,a "note\n')
    assert only(made).field == 4 and "quotes do not match" in made.findings.warnings[0].text


def test_a_description_is_appended_and_changes_with_time(tmp_path):
    made = station(
        tmp_path,
        ",,T,calibration,4\n,,T2,calibration,5\n"
        ",,T:metadata,description,at 2m\n2016,2017,T1:metadata,DESCRIPTION,at 3m\n2018,,T1:metadata,description,\n"
        ",,P:metadata,description,never declared\n",
    )
    at = {year: made.parameters["T1"].description((year - 1970) * 365 * 86400 * 10**9) for year in (2000, 2017, 2020)}
    assert at == {2000: "Air temperature at 2m", 2017: "Air temperature at 3m", 2020: "Air temperature"}
    assert made.parameters["T2"].description(0) == "Air temperature"
    assert "which no line declares" in made.findings.warnings[0].text


@pytest.mark.parametrize("name", ["LOGGER", "Tx", "Vx", "WS", "WD", "WSx", "P", "T", "TD", "U", "WI"])
def test_winds_temperatures_dewpoints_and_humidities_have_a_1_by_default(tmp_path, name):
    made = station(tmp_path, f",,{name},calibration,4\n,,{name}1,calibration,5\n,,{name}2,calibration,6\n")
    first = [f"{name}1"] if name in ("WS", "WD", "WSx", "T", "TD", "U") else [name, f"{name}1"]
    assert list(made.parameters) == [*first, f"{name}2"]


def test_stations_that_are_not_there(tmp_path):
    write(tmp_path, {"global.cfg": ",,LOGGER,string,3\n", "sum.cfg": "", "brw.cfg": ""})
    assert not load(tmp_path, "brw").findings.faults
    made = load(tmp_path, "mlo")
    assert "stations there: brw, sum" in str(made.findings.faults[0]) and not made.parameters
    for name in ("", "../sum", "global", "a/b", "."):
        assert load(tmp_path, name).findings.faults[0].text.endswith("is no name of a station")
    assert "no station in this folder" in load(tmp_path / "nothing", "sum").findings.faults[0].text


def test_files_that_are_no_text(tmp_path):
    assert "UTF-16" in _bytes(tmp_path, ",,T1,calibration,4".encode("utf-16")).findings.faults[0].text
    rubbish = _bytes(tmp_path, bytes(range(256)) * 20)
    assert len(rubbish.findings.faults) > 20 and not rubbish.parameters
    latin = _bytes(tmp_path, ",,T1:metadata,description,bei 3 µm\n,,T1,calibration,4\n".encode("latin-1"))
    assert latin.parameters["T1"].description(0).endswith("µm") and "Latin-1" in latin.findings.warnings[0].text
    (tmp_path / "sum.cfg").unlink()
    (tmp_path / "global.cfg").mkdir()
    assert "cannot be read" in _bytes(tmp_path, b"").findings.faults[0].text


def _bytes(folder, data):
    (folder / "sum.cfg").write_bytes(data)
    return load(folder, "sum")


def test_a_type_without_a_folder_breaks_its_parameter_or_is_identity(tmp_path):
    folder = write(tmp_path, {"sum.cfg": ",,T1,HMP,4,5\n,,P,calibration,3\n"})
    made = load(folder, "sum")
    assert list(made.parameters) == ["P"] and str(made.findings.faults[0]).startswith(
        f"{folder / 'sum.cfg'}:1:4: no folder"
    )
    made = load(folder, "sum", lenient=True)
    assert list(made.parameters) == ["T1", "P"] and not made.findings.faults
    assert "taken as it is" in made.findings.warnings[0].text


def test_the_folder_of_a_type_may_be_written_in_capitals(tmp_path):
    made = station(tmp_path, ",,T1,hmp,@7,5\n", sensors__HMP__default=",,1:2\n")
    assert made.types["hmp"].sensor("7").first.at(0).values == (1, 2)


def test_text_and_numbers_under_one_name_are_a_fault(tmp_path):
    made = station(tmp_path, ",2016,LOGGER,string,4\n2016,,LOGGER,calibration,4\n,,P,string,2\n,,P,calibration,2\n")
    assert list(made.parameters) == ["P"] and not made.parameters["P"].text
    assert [(fault.place.line, fault.field) for fault in made.findings.faults] == [(2, 4)]


SENSORS = {
    "sensors/hmp/default.cfg": ",,0:2\n",
    "sensors/hmp/1234.cfg": ",,0:3\n",
    "sensors/hmp/A77.cfg": ",,0:4\n",
    "sensors/hmp/b8.cfg": ",,0:5\n",
    "sensors/hmp/B8.cfg": ",,0:6\n",
    "sensors/hmp/0.cfg": ",,0:7\n",
    "sensors/hmp/012.cfg": ",,0:8\n",
}


@pytest.mark.parametrize(
    ("text", "serial", "slope", "note"),
    [
        ("1234", "1234", 3, ""),
        (" 1234 ", "1234", 3, ""),
        ("1234.0", "1234", 3, ""),
        ("1.234E3", "1234", 3, ""),
        ("1.234e+03", "1234", 3, ""),
        ("1234.5", "1234.5", 2, "has no file"),
        ("a77", "A77", 4, ""),
        ("b8", "b8", 5, ""),
        ("B8", "B8", 6, ""),
        ("012", "012", 8, ""),
        ("12", "12", 2, "has no file"),
        ("99.0", "99", 2, "has no file"),
        ("1e99", "1e99", 2, "has no file"),
        ("default", "default", 2, "has no file"),
        ("", "", 2, "no serial number"),
        ("NAN", "", 2, "no serial number"),
        ("0", "", 2, "no serial number"),
        ("0.0", "", 2, "no serial number"),
        ("-2147483648", "", 2, "no serial number"),
        ("../hmp/1234", "", 2, "cannot be the name"),
        ("..\\x", "", 2, "cannot be the name"),
        ("12\n34", "", 2, "cannot be the name"),
    ],
)
def test_the_file_of_a_serial_number(tmp_path, text, serial, slope, note):
    made = load(write(tmp_path, {"sum.cfg": ",,T1,hmp,4,5\n", **SENSORS}), "sum")
    sensor = made.types["hmp"].sensor(text)
    assert (sensor.serial, sensor.first.at(0).values) == (serial, (0, slope))
    assert note in sensor.note and bool(note) == bool(sensor.note)


def test_parts_of_a_sensor_show_through_where_the_upper_file_leaves_them_empty(tmp_path):
    made = load(
        write(
            tmp_path,
            {
                "sum.cfg": ",,WS1,Ventus,4,5\n,,T1,rtd,4,6\n",
                "sensors/ventus/default.cfg": ",,1:2,3:4,note\n",
                "sensors/ventus/12.cfg": ",,,5:6\n2016,2017,7:8\n",
                "sensors/rtd/default.cfg": ",,0.1:1\n",
                "sensors/rtd/12.cfg": ",,,1:2:3:4:5:6:7\n,,0:1\n",
            },
        ),
        "sum",
    )
    assert not made.findings.faults
    wind, rtd = made.types["ventus"].sensor("12"), made.types["rtd"].sensor("12")
    in_2016 = 1_470_000_000 * 10**9
    assert (wind.first.at(0).values, wind.second.at(0).values) == ((1, 2), (5, 6))
    assert (wind.first.at(in_2016).values, wind.second.at(in_2016).values) == ((7, 8), (5, 6))
    assert (rtd.first.at(0).values, rtd.second.at(0).values) == ((0, 1), (1, 2, 3, 4, 5, 6, 7))
    assert [name.removeprefix(f"{tmp_path}/") for name in rtd.files] == [
        "sensors/rtd/default.cfg",
        "sensors/rtd/12.cfg",
    ]


@pytest.mark.parametrize("numbers", ["1:2:3", "1:2:3:4:5:6:7:8", "1:0:3:4:5:6:7", "new element"])
def test_numbers_of_the_equation_that_cannot_be_are_refused(tmp_path, numbers):
    made = station(tmp_path, ",,T1,rtd,4,6\n", sensors__rtd__default=f",,0:1,{numbers}\n")
    assert (made.findings.faults[0].field, made.types["rtd"].sensor("1").broken) == (4, True)


@pytest.mark.parametrize(
    ("kind", "line", "field", "why"),
    [
        ("hmp", ",,0,1.02", 3, "single coefficient"),
        ("hmp", ",,0,1.02", 4, "one quoted field"),
        ("rmy", ",,0,1.02", 3, "always 0"),
        ("rmy", ",,0,1.02", 4, "always 1.02"),
        ("rmy", ",,0:1,0:1,5", 5, "one quoted field"),
        ("hmp", ',,"0,1:1,02"', 3, "is 4 numbers"),
    ],
)
def test_comma_traps_are_warned_of(tmp_path, kind, line, field, why):
    made = station(tmp_path, f",,WS1,{kind},4,6\n", **{f"sensors__{kind}__default": line + "\n"})
    assert not made.findings.faults
    assert any(warning.field == field and why in warning.text for warning in made.findings.warnings)


def test_the_digest_follows_the_meaning_and_not_the_words(tmp_path):
    text = ",,T1,hmp,4,5\n"
    first = station(tmp_path, text, sensors__hmp__default=",,1:2\n").digest
    assert station(tmp_path, f"# word\n{text.strip()},note\n", sensors__hmp__default=",,1;2,note\n").digest == first
    assert station(tmp_path, text, sensors__hmp__default=",,1:2.1\n").digest != first
    assert station(tmp_path, text.replace("4", "3"), sensors__hmp__default=",,1:2\n").digest != first
