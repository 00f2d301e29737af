"""The newest row of a station: what is told of it, and what PVs and values follow."""

import asyncio
import json
from itertools import islice
from pathlib import Path

import pytest
from pydantic import ValidationError

from drivers.errors import LinkError
from ingest.cr1000 import tail
from ingest.cr1000.newest import Told, Variable
from ingest.cr1000.parameters import QUANTITIES
from ingest.cr1000.serve import parted
from ingest.cr1000.station import Station
from ingest.cr1000.station_settings import StationSettings
from ingest.cr1000.station_signals import LATER, OWN, shape_of, signals_of, values_of
from ingest.cr1000.tail import Job, looks
from iocs.signals import Archive, Bad, Kind, Status
from tests.cr1000 import write

HEAD = (
    '"TOA5","hut","CR1000","1","Std","CPU:a.CR1","2","Min"\n'
    '"TIMESTAMP","RECORD","V","SN"\n"TS","RN","mV",""\n"","","Avg","Smp"\n'
)
CONFIG = {
    "config/hut.cfg": ",,T,probe,4,3\n,,T:metadata,description,at 2m\n2020,2021,P,calibration,3\n,,LOGGER,string,4\n",
    "config/sensors/probe/7.cfg": ",,0:2\n",
    "config/sensors/probe/default.cfg": ",,0:1\n",
}
SECOND = 10**9


@pytest.fixture
def job(tmp_path):
    write(tmp_path, CONFIG)
    return Job([str(tmp_path / "hut.dat")], str(tmp_path / "config"), "hut")


def row(minute: int, value: str, serial: str = "7") -> str:
    return f'"2026-10-13 00:{minute:02}:00",{minute},{value},{serial}\n'


def append(job: Job, text: str) -> None:
    with Path(job.files[0]).open("a") as file:
        file.write(text)


def look_at(look) -> Told:
    return next(told for told in look if not told.reading)


def minutes(told: Told) -> float:
    assert told.time_ns is not None
    return (told.time_ns // SECOND - 1791849600) / 60


def test_only_the_newest_whole_row_is_told(job):
    look = looks(job)
    told = look_at(look)
    assert "no such file" in told.trouble and told.time_ns is None and told.variables == ()
    append(job, HEAD + row(1, "10") + row(2, "11") + row(3, "12")[:-4])
    told = look_at(look)
    assert (minutes(told), told.rows, told.interval, told.trouble, told.reading) == (2, 2, 60.0, "", False)
    temperature, logger = told.variables  # nothing is declared of P in 2026
    assert temperature == Variable("T1", "degC", "Air temperature at 2m", False, 22.0, "7")
    assert logger == Variable("LOGGER", "", "Logger serial number", True, "7", None)
    append(job, row(3, "12")[-4:] + row(4, '"NAN"', "9"))
    told = look_at(look)
    assert (minutes(told), told.rows) == (4, 4)
    assert (told.variables[0].value, told.variables[0].serial) == (None, "9")
    append(job, row(2, "99") + row(1, "99"))  # late rows are not the newest
    assert minutes(look_at(look)) == 4
    assert look_at(look).odd >= 2  # late, and counted back


def test_while_it_catches_up_no_row_is_told(job, monkeypatch):
    monkeypatch.setattr(tail, "PROGRESS", -1.0)
    append(job, HEAD + row(1, "10") + row(2, "11"))
    first, second = islice(looks(job), 2)
    assert first == Told(rows=2, reading=True)
    assert (minutes(second), second.reading) == (2, False)


def test_a_check_looks_once(job, tmp_path):
    append(job, HEAD + row(1, "10"))
    write(tmp_path, {"config/hut.cfg": CONFIG["config/hut.cfg"] + ",,P,calibration,zero\n"})
    given = {"config": tmp_path / "config", "station": "hut", "files": job.files}
    settings = StationSettings.model_validate({"name": "MET", "type": "cr1000", **given})
    findings, shape = asyncio.run(Station.check(settings))
    assert [name for name, *_ in shape] == ["T1", "LOGGER"]
    assert [finding.good for finding in findings] == [False, True, True]
    assert "hut.cfg:5:5" in findings[0].text
    Path(job.files[0]).unlink()
    with pytest.raises(LinkError, match="no such file"):
        asyncio.run(Station.check(settings))


def test_what_is_told_goes_through_a_line(job):
    append(job, HEAD + row(1, "NAN") + row(2, "1"))
    told = look_at(looks(job))
    assert Told.from_json(told.to_json()) == told
    assert "\n" not in told.to_json()
    assert json.loads(job.to_json())["station"] == "hut"


def test_a_changed_configuration_counts_at_the_next_look(job, tmp_path):
    append(job, HEAD + row(1, "10"))
    look = looks(job)
    assert look_at(look).variables[0].value == 20
    write(tmp_path, {"config/sensors/probe/7.cfg": ",,100:3\n"})
    assert look_at(look).variables[0].value == 130
    write(tmp_path, {"config/sensors/probe/7.cfg": ",,100:x\n"})
    told = look_at(look)
    assert told.faults == 1 and "7.cfg:1:3" in told.fault
    assert told.variables[0].value is None
    (tmp_path / "config" / "hut.cfg").unlink()
    told = look_at(look)
    assert "no station 'hut'" in told.fault and told.variables == ()


def test_a_roll_a_new_header_and_rubbish_are_told_of(job):
    append(job, HEAD + row(1, "10"))
    look = looks(job)
    look_at(look)
    Path(job.files[0]).rename(f"{job.files[0]}.backup")
    append(job, HEAD.replace('"V"', '"W"') + row(2, "11") + "rubbish\n")
    told = look_at(look)
    assert minutes(told) == 2 and told.variables[0].value == 22
    assert told.note == "the header changes: field 3 'V' -> 'W'"
    Path(job.files[0]).rename(f"{job.files[0]}.backup1")
    append(job, '"TOB3","hut"\n')
    told = look_at(look)
    assert "TOB3" in told.trouble and minutes(told) == 2


def test_files_that_stop_and_others_that_go_on(job, tmp_path):
    other = Job([*job.files, str(tmp_path / "more.dat")], job.config, job.station)
    append(job, HEAD + row(1, "10"))
    look = looks(other)
    told = look_at(look)
    assert "more.dat" in told.trouble and minutes(told) == 1
    (tmp_path / "more.dat").write_text(HEAD + row(5, "10"))
    told = look_at(look)
    assert not told.trouble and minutes(told) == 5


def test_signals_follow_from_the_row():
    variables = (
        Variable("WSx2", "m s-1", "Wind gust speed at 10m", False, 3.5, "988"),
        Variable("Tx", "degC", "Logger panel temperature", False, None, None),
        Variable("LOGGER", "", "Logger serial number", True, "41207", None),
        Variable("U1", "%", "Relative humidity", False, 40.0, ""),
    )
    shape = json.loads(json.dumps(shape_of(variables)))
    signals = {signal.name: signal for signal in signals_of(shape)}
    own = [signal.name for signal in OWN]
    assert list(signals) == ["WSX2", "WSX2:SERIAL", "TX", "LOGGER", "U1", "U1:SERIAL", *own]
    assert (signals["WSX2"].unit, signals["WSX2"].doc) == ("m s-1", "Wind gust speed at 10m")
    assert signals["LOGGER"].kind is signals["U1:SERIAL"].kind is Kind.STR
    assert {signal.archive for signal in signals.values()} == {Archive.NONE}
    assert signals_of(None) == list(OWN)

    values = values_of(variables, stale=False)
    assert values.keys() == signals.keys() - set(own)
    assert (values["WSX2"], values["WSX2:SERIAL"], values["LOGGER"]) == (3.5, "988", "41207")
    assert isinstance(values["TX"], Bad) and isinstance(values["U1:SERIAL"], Bad)
    old = values_of(variables, stale=True)
    assert (old["WSX2"].value, old["WSX2"].status) == (3.5, Status.TIMEOUT)
    assert (old["TX"].value, old["TX"].status) == (None, Status.TIMEOUT)


def test_every_parameter_may_be_named_before_the_first_row():
    assert {f"{name.upper()}{number}" for name in QUANTITIES for number in ("", 1, 12)} <= LATER


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "files or link"),
        ({"files": ["a.dat"], "link": "http://a", "table": "T"}, "not both"),
        ({"link": "http://a"}, "needs table"),
        ({"link": "tcp://a:80", "table": "T"}, "is http://host"),
        ({"link": "http://met:pw@a", "table": "T"}, "password_env"),
        ({"files": ["a.dat"], "keep": "b.dat"}, "keep is for link"),
        ({"link": "http://a", "table": "T", "user": "met"}, "go together"),
        ({"files": ["a.dat"], "missing": {"X9": [1]}}, "'X9' is no parameter"),
    ],
)
def test_settings_that_do_not_fit(given, said):
    with pytest.raises(ValidationError, match=said):
        StationSettings(name="MET", type="cr1000", config=Path("c"), station="hut", **given)


def test_a_prefix_has_two_parts():
    assert parted("SUM:MET:") == parted("SUM:MET") == ("SUM:", "MET")
    assert parted("NOAA:SUM:MET:") == ("NOAA:SUM:", "MET")
    for bad in ("MET:", "", "sum:met:", "SUM::MET"):
        with pytest.raises(ValueError, match=r"PV name|two"):
            parted(bad)
