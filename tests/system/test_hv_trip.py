"""Trips: by flag, without one, latched over a restart, cleared in order."""

import json
import math

import pytest

from tests.hv_lab import HvLab
from tests.processes import wait_for
from tests.thermostat_lab import MAJOR, NO_ALARM


@pytest.fixture
def lab(tmp_path):
    with HvLab(tmp_path) as lab:
        yield lab


def start(lab, more="", volts=300.0):
    ioc = lab.running(more)
    lab.say(channel={"number": 1, "vset": volts, "iset": 50.0, "on": True, "load": 1e8, "trip": 2.0})
    lab.see("CH1:ATTARGET", 1)
    lab.see("CH1:IMON", pytest.approx(volts / 100))
    return ioc


def saved_trip(lab):
    """Give what is saved of channel 1's trip."""
    state = json.loads((lab.directory / "state" / "HV.json").read_text())
    return state["data"]["memory"]["channels"]["B0:CH1:"]["trip"]


def tripped(lab):
    lab.see("CH1:TRIPPED", lambda reading: (reading["value"], reading["severity"]) == (1, MAJOR))
    lab.see("CH1:STATUS.VAL$", lambda reading: reading["text"].startswith("TRIPPED ("))


def test_a_flagged_trip_is_latched_with_its_cause_and_the_minute_before(lab):
    ioc = start(lab)
    lab.say(channel={"number": 1, "load": 1e6})
    tripped(lab)
    assert lab.hv("CH1:TRIPCAUSE.VAL$").startswith("TRIP flag, IMON ") and lab.hv("CH1:TRIPCOUNT") == 1
    assert lab.hv("CH1:TRIPTIME").startswith("20") and lab.hv("CH1:STAT:TRIP") == 1
    history = lab.read("HV:CH1:IHIST")
    assert history["count"] == 300 and history["units"] == "uA"
    known = [value for value in history["value"] if not math.isnan(value)]
    assert pytest.approx(3.0) in known, "what flowed before"
    assert lab.requests() == [], "a trip is watched, and nothing is written"
    assert [lab.hv(f"CH{n}:TRIPPED") for n in (0, 2, 3)] == [0, 0, 0]
    lab.refused("CH1:ON", 1, "the channel has tripped (TRIP flag")
    lab.refused("CH1:VSET", 301, "find out why, then put 1 to CH1:TRIPCLEAR")
    lab.refused("CH1:ISET", 60, "has tripped")
    lab.refused("CH1:PDWN", 0, "has tripped")
    assert ioc.stop() == 0
    last = saved_trip(lab)["last"]
    again = lab.ioc()
    lab.online()
    tripped(lab)
    assert lab.hv("CH1:TRIPCAUSE.VAL$") == last["cause"] and lab.hv("CH1:TRIPCOUNT") == 1 and last["time_ns"] > 0
    lab.refused("CH1:ON", 1, "has tripped")
    lab.put("CH1:TRIPCLEAR", 1)
    assert lab.requests() == ["CH:1,PAR:VSET,VAL:0.0", "CH:1,PAR:OFF", "PAR:BDCLR"]
    lab.see("CH1:TRIPPED", lambda reading: (reading["value"], reading["severity"]) == (0, NO_ALARM))
    lab.see("CH1:STATUS", "off")
    assert (lab.hv("CH1:VSET"), lab.hv("CH1:TRIPCOUNT"), lab.hv("CH1:TRIPCLEAR")) == (0, 1, 0)
    assert lab.hv("CH1:TRIPCAUSE.VAL$") == last["cause"], "why it tripped last is still told"
    lab.say(channel={"number": 1, "load": 1e8})
    lab.put("CH1:VSET", 100)
    lab.put("CH1:ON", 1)
    lab.see("CH1:ATTARGET", 1)
    assert again.stop() == 0


def test_a_trip_that_the_unit_does_not_flag(lab):
    start(lab)
    lab.say(channel={"number": 1, "broken": True})
    tripped(lab)
    assert lab.hv("CH1:TRIPCAUSE.VAL$").startswith("collapse without a flag: VMON ")
    assert (lab.hv("CH1:STAT:TRIP"), lab.hv("CH1:STAT:ON"), lab.hv("CH1:STAT:UNV")) == (0, 1, 1)
    lab.refused("CH1:ON", 1, "has tripped (collapse")
    lab.refused("CH1:VSET", 400, "has tripped (collapse")
    lab.put("CH1:ON", 0)
    lab.see("CH1:ON_RBV", 0)
    assert lab.hv("CH1:TRIPPED") == 1
    lab.refused("CH1:ON", 1, "has tripped (collapse")
    lab.put("CH1:TRIPCLEAR", 1)
    lab.see("CH1:TRIPPED", 0)


def test_a_trip_outlasts_kill_9(lab):
    ioc = start(lab)
    lab.say(channel={"number": 1, "load": 1e6})
    tripped(lab)
    ioc.kill()
    lab.ioc()
    lab.online()
    tripped(lab)
    lab.refused("CH1:ON", 1, "has tripped")


def test_a_clear_that_the_unit_does_not_confirm_clears_nothing(lab):
    start(lab)
    lab.say(channel={"number": 1, "load": 1e6})
    tripped(lab)
    lab.say(board={"local": True})
    lab.refused("CH1:TRIPCLEAR", 1, "LOCAL")
    lab.say(board={"local": False}, refused=1)
    lab.put("CH1:TRIPCLEAR", 1)
    assert "VAL:ERR" in lab.hv("LASTREJECT.VAL$") and lab.hv("CH1:TRIPPED") == 1
    lab.put("CH1:TRIPCLEAR", 1)
    lab.see("CH1:TRIPPED", 0)


def test_clearing_the_boards_alarms_does_not_clear_a_latched_trip(lab):
    start(lab)
    lab.say(channel={"number": 1, "load": 1e6})
    tripped(lab)
    lab.put("CLEARALARM", 1)
    lab.see("CH1:STAT:TRIP", 0)
    assert lab.hv("CH1:TRIPPED") == 1
    lab.refused("CH1:ON", 1, "has tripped")


def test_a_flag_that_outlasts_the_clearing_does_not_trip_again(lab):
    start(lab)
    lab.say(channel={"number": 1, "on": False, "forced": 128})
    tripped(lab)
    lab.put("CH1:TRIPCLEAR", 1)
    lab.see("CH1:TRIPPED", 0)
    assert lab.hv("CH1:STAT:TRIP") == 1 and lab.hv("CH1:TRIPCOUNT") == 1
    before = lab.read("HV:CH1:VMON")["timestamp"]
    lab.see("CH1:VMON", lambda reading: reading["timestamp"] > before + 1)
    assert lab.hv("CH1:TRIPPED") == 0
    lab.put("CH1:ON", 1)
    lab.see("CH1:STAT:ON", 1)


def test_a_trip_while_no_ioc_runs_is_latched_though_the_flag_before_it_had_been_cleared(lab):
    ioc = start(lab)
    lab.say(channel={"number": 1, "on": False, "forced": 128})
    tripped(lab)
    lab.put("CH1:TRIPCLEAR", 1)
    lab.see("CH1:TRIPPED", 0)
    lab.say(channel={"number": 1, "forced": 0})
    wait_for(lambda: not saved_trip(lab)["stale_flag"], "flag that is gone, on the disk")
    ioc.kill()
    lab.say(channel={"number": 1, "forced": 128})
    lab.ioc()
    lab.online()
    tripped(lab)
    assert lab.hv("CH1:TRIPCOUNT") == 2


def test_a_trip_at_once_after_an_on_is_latched_though_the_flag_before_it_had_been_cleared(lab):
    start(lab)
    lab.say(channel={"number": 1, "on": False, "forced": 128})
    tripped(lab)
    lab.put("CH1:TRIPCLEAR", 1)
    lab.see("CH1:TRIPPED", 0)
    lab.say(swallowed=1)  # off with the flag before anybody could see it on
    lab.put("CH1:ON", 1)
    tripped(lab)
    lab.refused("CH1:ON", 1, "has tripped")
