"""Several boards on one line, a serial port, and a supply of eight channels."""

import json

import pytest

from iocs.signals import Catalogue
from tests.hv_lab import HvLab
from tests.processes import wait_for
from tests.thermostat_lab import COMM, INVALID, MAJOR, NO_ALARM

TWO = 'boards = [0, 1]\n[device.channel."B1:2"]\nname = "DRIFT"\nlimits.VSET = [0, 500]\n'


@pytest.fixture
def lab(tmp_path):
    with HvLab(tmp_path) as lab:
        yield lab


def well(lab, name):
    return lab.see(name, lambda reading: reading["severity"] == NO_ALARM)


def test_each_board_has_its_own_names_row_and_limits(lab):
    lab.running(TWO, "--boards", "2")
    well(lab, "B1:CH3:VMON")
    assert (lab.hv("B0:SERIAL"), lab.hv("B1:SERIAL")) == ("174", "175")
    lab.say(channel={"board": 1, "number": 3, "vset": 33.0, "on": True})
    lab.see("B1:CH3:VMON", 33.0)
    assert lab.hv("B0:CH3:VMON") == 0
    lab.refused("B1:CH2:VSET", 501, "beyond the limits 0 .. 500 V")
    lab.put("B1:CH2:VSET", 400)
    assert lab.hv("B1:CH2:VSET_RBV") == 400 and lab.hv("B0:CH2:VSET_RBV") == 0
    assert lab.read("HV:B1:CH2:VSET.DESC")["value"].startswith("DRIFT: ")
    rows = {row.name: len(row.signals) for row in Catalogue.from_json(lab.hv("PVS")).rows}
    assert rows == {"B0:ROW": 20, "B1:ROW": 20}
    lab.see("B1:ROW", lambda reading: 400 in list(reading["value"]) and reading["severity"] == NO_ALARM)
    lab.put("ALLOFF", 1)
    sent = [said["text"] for said in lab.wire() if "PAR:OFF" in said["text"]]
    assert sorted(sent) == ["$BD:00,CMD:SET,CH:4,PAR:OFF", "$BD:01,CMD:SET,CH:4,PAR:OFF"]
    lab.see("B1:CH3:ON_RBV", 0)
    lab.put("B1:CLEARALARM", 1)
    assert lab.wire()[-1]["what"] != "refused"
    cleared = [said["text"] for said in lab.wire() if "BDCLR" in said["text"]]
    assert cleared == ["$BD:01,CMD:SET,PAR:BDCLR"]


def test_a_board_that_falls_silent_takes_no_other_with_it_and_comes_back(lab):
    lab.running(TWO, "--boards", "2")
    well(lab, "B1:CH0:VMON")
    lab.say(board={"number": 1, "silent": True})
    for name in ("B1:CH0:VMON", "B1:CH3:VSET", "B1:SERIAL", "B1:ALARM", "B1:ROW"):
        lab.see(name, lambda reading: (reading["severity"], reading["status"]) == (INVALID, COMM))
    before = well(lab, "B0:CH0:VMON")["timestamp"]
    lab.see("B0:CH0:VMON", lambda reading: reading["timestamp"] > before and reading["severity"] == NO_ALARM)
    lab.refused("B1:CH0:VSET", 10, "board 1 does not answer")
    lab.put("B1:CH0:ON", 0)
    assert any("$BD:01,CMD:SET,CH:0,PAR:OFF" in said["text"] for said in lab.wire()), "an OFF is tried all the same"
    assert "silent" in lab.hv("LASTREJECT.VAL$") and lab.hv("ONLINE") == 1
    lab.put("B0:CH0:VSET", 10)
    assert lab.hv("B0:CH0:VSET_RBV") == 10 and lab.hv("ONLINE") == 1
    lab.say(board={"number": 1, "silent": False}, channel={"board": 1, "number": 0, "vset": 77.0})
    well(lab, "B1:CH0:VMON")
    lab.see("B1:CH0:VSET", 77.0)
    lab.put("B1:CH0:VSET", 20)
    assert lab.hv("B1:CH0:VSET_RBV") == 20


def test_a_board_that_is_not_there_at_the_start_comes_later(lab):
    lab.site(TWO)
    lab.supply("--speed", "20", "--boards", "2")
    lab.say(board={"number": 1, "silent": True})
    lab.ioc()
    lab.online()
    assert lab.hv("B0:NCH") == 4 and lab.read("HV:B1:NCH")["severity"] == INVALID
    lab.say(board={"number": 1, "silent": False})
    lab.see("B1:NCH", 4)
    well(lab, "B1:CH0:VMON")
    assert Catalogue.from_json(lab.hv("PVS")).version == 3 and lab.hv("RECONNECTS") == 0


def test_eight_channels(lab):
    lab.running("", "--channels", "8")
    well(lab, "CH7:VMON")
    assert lab.hv("NCH") == 8
    lab.say(board={"alarm": 128})
    reading = lab.see("ALARM", 128)
    assert reading["severity"] == MAJOR
    names = {signal.name for signal in Catalogue.from_json(lab.hv("PVS")).signals}
    assert "CH7:STAT:NOCAL" in names and not any(name.startswith("ALARM:") for name in names)
    lab.put("CH7:VSET", 70)
    lab.put("ALLOFF", 1)
    assert lab.requests() == ["CH:7,PAR:VSET,VAL:70.0", "CH:8,PAR:OFF"]


def test_over_a_serial_port_whose_cable_is_pulled(lab):
    port = lab.directory / "ttyHV"
    lab.site("", link=f"serial://{port}")
    lab.supply("--pty", port, "--speed", "20", port=False)
    lab.ioc()
    lab.online()
    lab.put("CH0:VSET", 120)
    lab.put("CH0:ON", 1)
    lab.see("CH0:ATTARGET", 1)
    lab.say(power=False)
    lab.see("ONLINE", 0)
    reading = lab.read("HV:CH0:VMON")
    assert (reading["value"], reading["severity"], reading["status"]) == (120, INVALID, COMM)
    lab.refused("CH0:VSET", 100, "does not answer")
    lab.say(power=True)
    lab.online()
    lab.see("CH0:VMON", 0)
    lab.put("CH0:VSET", 0)
    assert lab.requests() == [f"CH:0,PAR:{what}" for what in ("VSET,VAL:120.0", "ON", "VSET,VAL:0.0")]
    lab.say(lost=1, garbled=1)
    wait_for(lambda: lab.hv("DESYNCS") > 0, "accident on the line")
    well(lab, "CH0:VMON")


ACROSS = """boards = [0, 1]
[[device.ramp]]
name = "stack"
channels = ["B0:3", "B1:0"]
apart = 40
rate = 100
nominal = [60, 90]
"""


def test_a_group_whose_neighbours_are_on_two_boards(lab):
    lab.running(ACROSS, "--boards", "2")
    well(lab, "RAMP1:APART")
    lab.put("RAMP1:PRESET", 1)
    assert lab.hv("RAMP1:PREVIEW").startswith("B0:CH3 switched on, 0 -> 60 V; B1:CH0 switched on, 0 -> 90 V")
    lab.put("RAMP1:GO", 1)
    lab.see("RAMP1:STATE", 2)
    assert (lab.hv("B0:CH3:VSET_RBV"), lab.hv("B1:CH0:VSET_RBV")) == (60, 90)
    steps = [said["text"] for said in lab.wire() if "CMD:SET" in said["text"] and "VSET" in said["text"]]
    at = {"$BD:00": 0.0, "$BD:01": 0.0}
    for text in steps:
        at[text[:6]] = float(text.rstrip("\\r").split("VAL:")[1])
        assert abs(at["$BD:00"] - at["$BD:01"]) < 40.1, steps
    lab.see("RAMP1:APART", 30)
    lab.say(board={"number": 1, "silent": True})
    lab.see("RAMP1:APART", lambda reading: (reading["severity"], reading["status"]) == (INVALID, COMM))
    lab.say(board={"number": 1, "silent": False})
    assert well(lab, "RAMP1:APART")["value"] == 30


LATCHED = """
[[device.interlock]]
name = "own"
pv = "{prefix}HV:{place}CH3:VSET"
high = 10
channels = [{channel}]
"""


def test_what_is_latched_stays_when_a_board_is_added_and_taken_away(lab):
    lab.site(LATCHED.format(prefix=lab.prefix, place="", channel="0"))
    lab.supply("--speed", "20", "--boards", "2")
    ioc = lab.ioc()
    lab.online()
    lab.see("ILK1:STATE", 1)
    lab.put("CH1:VSOFTMAX", 99)
    lab.say(channel={"number": 0, "vset": 50.0, "volts": 50.0, "on": True})
    lab.say(board={"local": True})  # so that the OFF is refused
    lab.say(channel={"number": 3, "vset": 11.0})
    lab.see("ILK1:STATE", 3)
    lab.see("ILK1:CAUSE.VAL$", lambda reading: "LOCAL" in reading["text"])
    assert ioc.stop() == 0
    lab.site("boards = [0, 1]\n" + LATCHED.format(prefix=lab.prefix, place="B0:", channel='"B0:0"'))
    ioc = lab.ioc()
    lab.online()
    assert lab.hv("B0:CH1:VSOFTMAX") == 99
    lab.say(board={"local": False})
    lab.see("ILK1:STATE", 4)
    assert lab.hv("B0:CH0:ON_RBV") == 0
    lab.put("B1:CH1:VSOFTMAX", 88)
    assert ioc.stop() == 0
    lab.site(LATCHED.format(prefix=lab.prefix, place="", channel="0"))
    ioc = lab.ioc()
    lab.online()
    assert lab.hv("CH1:VSOFTMAX") == 99 and lab.hv("ILK1:STATE") == 4
    assert "the site file has no board 1 any more" in ioc.log()
    lab.refused("CH0:ON", 1, "the interlock own has tripped")
    lab.put("CH1:VSOFTMAX", 98)
    kept = json.loads((lab.directory / "state" / "HV.json").read_text())["data"]["memory"]["channels"]
    assert kept["B1:CH1:"]["soft"] == {"VSET": 88} and kept["B0:CH1:"]["soft"] == {"VSET": 98}
