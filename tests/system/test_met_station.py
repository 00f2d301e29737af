"""A met station, from growing files and from a logger's web server, to clients of Channel Access."""

import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from iocs.signals import Catalogue
from tests.cr1000 import write
from tests.processes import wait_for, write_site
from tests.thermostat_lab import COMM, INVALID, MAJOR, NO_ALARM, Lab

READ, TIMEOUT = 1, 10
HEAD = (
    '"TOA5","hut","CR1000","1","Std","CPU:a.CR1","2","Min"\n'
    '"TIMESTAMP","RECORD","V","SN","Deg"\n"TS","RN","mV","",""\n"","","Avg","Smp","WVc"\n'
)
CONFIG = {
    "config/hut.cfg": ",,T,probe,4,3\n,,T:metadata,description,at 2m\n,,WD,calibration,5,-10:1\n,,LOGGER,string,4\n",
    "config/sensors/probe/7.cfg": ",,-1:0.5\n",
    "config/sensors/probe/9.cfg": ",,1:0.5\n",
}
FILES = '[[device]]\nname = "F"\ntype = "ingest.cr1000.station:Station"\nconfig = "config"\nstation = "hut"\n'
FILES += 'files = ["hut.dat"]\nperiod = 0.2\nalarms.T1 = { high = 30, hysteresis = 1 }\n'
LINK = FILES.replace('"F"', '"L"').replace('files = ["hut.dat"]', 'link = "{link}"\ntable = "Min"\nkeep = "kept.dat"')
LINK += 'timeout = 0.5\nuser = "met"\npassword_env = "MET_PASSWORD"\n'


@pytest.fixture
def lab(tmp_path):
    write(tmp_path, CONFIG | {"hut.dat": HEAD})
    with Lab(tmp_path) as lab:
        yield lab


def row(seconds: float, value: str, serial: str = "7", direction: str = "5") -> str:
    stamp = datetime.fromtimestamp(seconds, UTC)
    return f'"{stamp:%Y-%m-%d %H:%M:%S}",{int(seconds) % 10**6},{value},{serial},{direction}\n'


def append(lab: Lab, text: str) -> None:
    with (lab.directory / "hut.dat").open("a") as file:
        file.write(text)


def test_a_file_that_grows(lab):
    now = int(time.time())
    append(lab, row(now - 3600 * 24 * 30, "20") + row(now - 3600 * 24 * 30 + 60, "44.5", "9"))
    write_site(lab.directory, lab.prefix, FILES)
    ioc = lab.ioc()

    # a row of last month: its value, its stamp, and that it is old
    reading = lab.wait("F:T1", 1 + 0.5 * 44.5)
    assert reading["timestamp"] == now - 3600 * 24 * 30 + 60
    assert (reading["severity"], reading["status"], reading["units"]) == (INVALID, TIMEOUT, "degC")
    stale = lab.wait("F:STALE", 1)
    assert stale["severity"] == MAJOR
    assert lab.value("F:DATAAGE") > 3600 * 24 * 29
    assert lab.value("F:ONLINE") == 1
    assert lab.value("F:T1.DESC") == "Air temperature at 2m"
    assert lab.value("F:T1:SERIAL") == "9"
    assert lab.value("F:ROWS") == 2

    # rows of now: another sensor, alarm limits of the site file, a value that is missing
    append(lab, row(now - 120, "62.5"))
    reading = lab.wait("F:T1", lambda r: r["severity"] != INVALID)
    assert (reading["value"], reading["timestamp"], reading["severity"]) == (30.25, now - 120, 1)
    assert lab.value("F:T1:SERIAL") == "7"
    assert lab.wait("F:STALE", 0)["severity"] == NO_ALARM
    assert lab.value("F:WD1") == 355
    append(lab, row(now - 60, '"NAN"', "0", "20") + row(now, "3")[:-3])
    lab.wait("F:WD1", 10)
    reading = lab.read("F:T1")
    assert (reading["value"], reading["severity"], reading["status"]) == (30.25, INVALID, READ)
    assert lab.read("F:T1:SERIAL")["severity"] == INVALID
    append(lab, row(now, "3")[-3:])
    assert lab.wait("F:T1", 0.5)["timestamp"] == now

    # the configuration is changed, and broken, under it
    write(lab.directory, {"config/sensors/probe/7.cfg": ",,-2:0.5\n"})
    lab.wait("F:T1", -0.5)
    write(lab.directory, {"config/hut.cfg": CONFIG["config/hut.cfg"] + ",,P,calibration,zero\n"})
    assert lab.wait("F:FAULTS", 1)["severity"] == 1
    assert "hut.cfg:5:5" in lab.value("F:FAULT.VAL$")
    assert lab.wait("F:T1", -0.5)["severity"] == NO_ALARM

    # what reads the file is killed
    (reader,) = [int(word) for word in Path(f"/proc/{ioc.popen.pid}/task/{ioc.popen.pid}/children").read_text().split()]
    os.kill(reader, signal.SIGKILL)
    lab.wait("F:RECONNECTS", 1)
    lab.wait("F:T1", lambda r: (r["value"], r["severity"]) == (-0.5, NO_ALARM))

    # nothing of it is recorded twice: the files are the record
    archived = {each.name for each in Catalogue.from_json(lab.value("F:PVS")).signals if each.archive != "none"}
    assert archived == {"ONLINE", "STATE", "ERROR"}
    append(lab, "rubbish\n" + row(now + 60, "4"))
    lab.wait("F:T1", 0)
    assert lab.value("F:ODD") >= 1
    assert lab.value("F:NOTE")
    assert ioc.stop() == 0


def test_a_file_that_is_not_there_comes(lab):
    (lab.directory / "hut.dat").unlink()
    write_site(lab.directory, lab.prefix, FILES)
    lab.ioc()
    lab.wait("F:ERROR.VAL$", lambda reading: "no such file" in reading["text"])
    assert lab.value("F:ONLINE") == 0
    append(lab, HEAD + row(time.time(), "2"))
    assert lab.wait("F:T1", 0)["severity"] == NO_ALARM


def test_a_logger_with_a_web_server(lab):
    lab.environment["MET_PASSWORD"] = "s3cret"
    (lab.directory / "replay.dat").write_text(HEAD + row(0, "8") + row(60, "8.5", "9"))
    arguments = ["--replay", lab.directory / "replay.dat", "--interval", 0.2, "--user", "met"]
    box = lab.process("ingest.cr1000.simulator", *arguments, "--password-env", "MET_PASSWORD", stdin=-1)
    link = box.line("listening").split()[2]
    write_site(lab.directory, lab.prefix, LINK.replace("{link}", link))
    ioc = lab.ioc()
    reading = lab.wait("L:T1", lambda r: r["severity"] == NO_ALARM)
    assert abs(reading["timestamp"] - time.time()) < 20
    lab.wait("L:T1", 3)
    lab.wait("L:T1", 5.25)
    lab.wait("L:T1:SERIAL", "9")
    lab.wait("L:ROWS", lambda r: r["value"] > 105)
    assert lab.value("L:STALE") == 0

    box.say({"mute": True})
    lab.wait("L:T1", lambda r: (r["severity"], r["status"]) == (INVALID, COMM))
    assert "no answer within" in lab.value("L:ERROR.VAL$")
    box.say({"mute": False, "failing": "table locked"})
    lab.wait("L:ERROR.VAL$", lambda r: "table locked" in r["text"])
    box.say({"failing": ""})
    lab.wait("L:T1", lambda r: r["severity"] == NO_ALARM)

    box.say({"standing": True})  # it answers, and has no new rows
    lab.wait("L:STALE", 1)
    assert lab.value("L:ONLINE") == 1
    assert lab.wait("L:T1", lambda r: r["severity"] == INVALID)["status"] == TIMEOUT
    assert ioc.stop() == 0
    numbers = [int(line.split(",")[1]) for line in (lab.directory / "kept.dat").read_text().splitlines()[4:]]
    assert numbers == list(range(numbers[-1] + 1)), "a record was lost, or kept twice"


def test_a_station_served_and_followed_from_the_command_line(lab, monkeypatch):
    prefix = lab.prefix + "MET:"
    now = int(time.time()) // 60 * 60
    append(lab, row(now - 60, "6"))
    out = lab.directory / "out.csv"
    arguments = ["hut.dat", "--config", "config", "--station", "HUT", "--csv", out, "--serve", prefix, "--follow"]
    monkeypatch.chdir(lab.directory)
    ingest = lab.process("ingest.cr1000", *arguments)
    ingest.line("serving MET")
    assert lab.wait("MET:T1", 2)["timestamp"] == now - 60
    append(lab, row(now, "8"))
    assert lab.wait("MET:T1", 3)["timestamp"] == now
    wait_for(lambda: len(out.read_text().splitlines()) == 3, "row in the output")
    assert out.read_text().splitlines()[-1].split(",")[1:] == ["3", "355", "7"]
    faulty = CONFIG["config/hut.cfg"] + ",,P,calibration,zero\n"
    write(lab.directory, {"config/hut.cfg": faulty, "config/sensors/probe/7.cfg": ",,-2:0.5\n"})
    wait_for(lambda: out.read_text().splitlines()[-1].split(",")[1] == "2", "the new calibration in the output")
    assert ingest.stop(signal.SIGINT) == 0
