"""A high-voltage supply as PVs: every PV moved through the simulator, with libca."""

import math
import time
from itertools import pairwise

import pytest

from iocs.hv.status import BIT
from iocs.signals import Catalogue, Kind
from tests.hv_lab import HvLab
from tests.processes import wait_for
from tests.thermostat_lab import COMM, DISABLE, INVALID, MAJOR, MINOR, NO_ALARM, UDF

HIGH, LOW, SOFT = 4, 6, 15


@pytest.fixture
def lab(tmp_path):
    with HvLab(tmp_path) as lab:
        yield lab


def alarm(reading):
    return reading["severity"], reading["status"]


def test_every_pv_is_there_with_unit_and_description_and_nothing_was_written(lab):
    ioc = lab.running()
    lab.see("AGE", lambda reading: reading["severity"] == NO_ALARM)
    catalogue = Catalogue.from_json(lab.hv("PVS"))
    names = {signal.name for signal in catalogue.signals}
    setpoints = ("VSET", "ISET", "MAXV", "RUP", "RDW", "TRIP", "PDWN", "IMRANGE", "ON")
    assert {f"CH{n}:{name}{end}" for n in range(4) for name in setpoints for end in ("", "_RBV")} <= names
    for signal in catalogue.signals:
        reading = lab.read(f"HV:{signal.name}")
        assert signal.doc and (signal.kind is not Kind.FLOAT or reading["units"] == signal.unit)
        if signal.name.endswith("IHIST"):
            assert alarm(reading) == (INVALID, UDF)
        elif signal.name.endswith("IMONL"):
            assert reading["severity"] == INVALID and reading["value"] != 0
        else:
            assert alarm(reading) == (NO_ALARM, 0) and abs(reading["timestamp"] - time.time()) < 30, signal.name
    assert lab.read("HV:CH0:VMON.DESC")["value"].startswith("MESH: Measured voltage")
    assert lab.hv("IDN.VAL$") == "CAEN R1470ET, 4 channels, serial 174, firmware 1.08"
    assert [lab.hv(name) for name in ("MODEL", "SERIAL", "FIRMWARE", "NCH")] == ["R1470ET", "174", "1.08", 4]
    assert (lab.read("HV:CH0:VSET")["precision"], lab.read("HV:CH0:ISET")["precision"]) == (1, 2)
    assert (lab.hv("CH0:VSET.DRVL"), lab.hv("CH0:VSET.DRVH")) == (0, 1000) and lab.hv("CH2:VSET.DRVH") == 8000
    assert lab.requests() == []
    assert ioc.stop() == 0


def test_a_voltage_is_put_confirmed_and_ramped_to(lab):
    lab.running(speed=2)  # slow enough to be seen ramping
    lab.put("CH0:VSET", 250)
    assert lab.requests() == ["CH:0,PAR:VSET,VAL:250.0"]
    assert (lab.hv("CH0:VSET"), lab.hv("CH0:VSET_RBV"), lab.hv("CH0:ON")) == (250, 250, 0)
    lab.see("CH0:STATUS", "off")
    lab.libca.monitor(f"{lab.prefix}HV:CH0:RAMPETA")
    lab.put("CH0:ON", 1)
    assert lab.hv("CH0:ON_RBV") == 1 and lab.hv("CH0:ATTARGET") == 0, "the put does not wait for the ramp"
    lab.see("CH0:RAMPING", 1)
    lab.see("CH0:LIVE", 1)
    lab.see("CH0:ATTARGET", 1)
    assert lab.hv("CH0:VMON") == 250 and lab.hv("CH0:RAMPING") == 0 and lab.hv("CH0:STATUS") == "on"
    etas = [event[0] for event in lab.libca.events(f"{lab.prefix}HV:CH0:RAMPETA") if isinstance(event, list)]
    assert 5 >= max(etas) > 0 and etas[-1] == 0, "250 V at 50 V/s is 5 s of the unit's own time"
    lab.say(channel={"number": 0, "load": 25e6})
    reading = lab.see("CH0:IMON", 10.0)
    assert reading["units"] == "uA" and lab.see("CH0:IMONH", 10.0)["severity"] == NO_ALARM
    lab.put("CH0:VSET", 100)
    lab.see("CH0:VMON", 100)
    lab.put("CH0:ON", "Off")
    assert lab.hv("CH0:ON") == 0
    lab.see("CH0:LIVE", 0)
    sent = lab.requests()
    assert sent == [f"CH:0,PAR:{what}" for what in ("VSET,VAL:250.0", "ON", "VSET,VAL:100.0", "OFF")]
    noted = [(line["pv"][len(lab.prefix) :], line["old"], line["new"], line["readback"]) for line in lab.put_log()]
    assert noted == [
        ("HV:CH0:VSET", 0, 250, 250),
        ("HV:CH0:ON", "Off", "On", "On"),
        ("HV:CH0:VSET", 250, 100, 100),
        ("HV:CH0:ON", "On", "Off", "Off"),
    ]


SETTINGS = (
    ("ISET", 12.34, "ISET,VAL:12.34"),
    ("MAXV", 900, "MAXV,VAL:900"),
    ("RUP", 20, "RUP,VAL:20"),
    ("RDW", 30, "RDW,VAL:30"),
    ("TRIP", 2.5, "TRIP,VAL:2.5"),
    ("PDWN", 0, "PDWN,VAL:KILL"),
    ("IMRANGE", 1, "IMRANGE,VAL:LOW"),
)


def test_every_setting_is_put_and_read_back(lab):
    lab.running()
    for name, value, sent in SETTINGS:
        lab.put(f"CH1:{name}", value)
        assert lab.requests()[-1] == f"CH:1,PAR:{sent}" and lab.hv("LASTREJECT") == ""
        assert lab.hv(f"CH1:{name}") == lab.hv(f"CH1:{name}_RBV") == pytest.approx(value)
        assert lab.hv(f"CH0:{name}_RBV") != lab.hv(f"CH1:{name}_RBV"), "no other channel"
    assert len(lab.requests()) == len(SETTINGS)


def test_the_panel_moves_the_setpoints(lab):
    lab.running("poll_settings = 0.3\n")
    lab.put("CH2:VSET", 10)
    lab.say(channel={"number": 2, "vset": 123.4, "iset": 7.0, "imrange": "LOW", "on": True})
    lab.see("CH2:VSET", 123.4)
    lab.see("CH2:ISET", 7.0)
    lab.see("CH2:IMRANGE", 1)
    lab.see("CH2:ON", 1)
    assert lab.hv("CH2:VSET_RBV") == 123.4 and lab.requests() == ["CH:2,PAR:VSET,VAL:10.0"]


def test_imon_is_one_whatever_the_range_and_the_other_range_is_invalid(lab):
    lab.running("low_full_scale = 300\npoll_settings = 0.3\n")
    lab.say(channel={"number": 0, "vset": 100.0, "on": True, "load": 1e6, "iset": 5000.0})
    lab.see("CH0:IMON", 100.0)
    assert lab.see("CH0:IMONH", 100.0)["severity"] == NO_ALARM
    assert lab.read("HV:CH0:IMONL")["severity"] == INVALID
    lab.put("CH0:IMRANGE", "LOW")
    lab.see("CH0:IMONL", lambda reading: (reading["value"], reading["severity"]) == (100.0, NO_ALARM))
    assert lab.read("HV:CH0:IMONH")["severity"] == INVALID and lab.hv("CH0:IMON") == 100.0
    lab.say(channel={"number": 0, "load": 0.25e6})
    reading = lab.see("CH0:IMON", lambda reading: reading["severity"] == MINOR)
    assert reading["value"] == 300.0 and reading["status"] == HIGH, "at the end of its range it says no more"


def test_every_bit_of_the_status_words_has_its_pv_severity_and_word(lab):
    lab.running("")
    major = ("TRIP", "OVP", "OVT", "KILL", "ILK", "NOCAL")
    minor = ("OVC", "OVV", "UNV", "MAXV")
    for name, bit in sorted(BIT.items(), key=lambda item: item[0] == "TRIP"):  # a trip is latched: the last one
        lab.say(channel={"number": 3, "forced": bit})
        lab.see(f"CH3:STAT:{name}", 1)
        wanted = MAJOR if name in major else MINOR if name in minor else NO_ALARM
        assert lab.read(f"HV:CH3:STAT:{name}")["severity"] == wanted, name
        reading = lab.read("HV:CH3:STAT")
        assert (reading["value"], reading["severity"]) == (bit, wanted)
        assert lab.read("HV:CH3:STATUS")["severity"] == wanted
        assert [other for other in BIT if lab.hv(f"CH3:STAT:{other}")] == [name]
    lab.say(channel={"number": 3, "forced": BIT["RUP"] | BIT["UNV"] | BIT["OVV"]})
    lab.see("CH3:STAT:UNV", 1)
    assert lab.read("HV:CH3:STAT:UNV")["severity"] == lab.read("HV:CH3:STAT")["severity"] == NO_ALARM, "it ramps"
    assert "ramping up" in lab.hv("CH3:STATUS.VAL$") and lab.hv("CH0:STAT") == 0
    lab.say(channel={"number": 3, "forced": 1 << 14})
    lab.see("CH3:STAT", lambda reading: reading["severity"] == INVALID)
    assert lab.read("HV:CH3:LIVE")["severity"] == INVALID, "a word that the unit does not have says nothing"


def test_the_board_says_who_may_set_its_interlock_and_its_alarms(lab):
    lab.running("poll_settings = 0.3\n")
    for bit, name in ((16, "PWFAIL"), (32, "OVP"), (64, "HVCKFAIL"), (1, "CH0"), (2, "CH1"), (4, "CH2"), (8, "CH3")):
        lab.say(board={"alarm": bit})
        lab.see(f"ALARM:{name}", 1)
        assert lab.hv("ALARM") == bit
        severity = MINOR if name.startswith("CH") else MAJOR
        assert lab.read("HV:ALARM")["severity"] == lab.read(f"HV:ALARM:{name}")["severity"] == severity
    lab.say(board={"alarm": 0, "local": True, "interlock": True, "contact": "OPEN"})
    assert lab.see("CTRLMODE", 0)["severity"] == MINOR
    assert lab.see("INTERLOCK", 1)["severity"] == MAJOR
    lab.see("CH0:STAT:ILK", 1)
    assert lab.hv("CH0:STATUS") == "off, interlock"
    lab.see("ALARM", 15)
    lab.say(board={"local": False, "interlock": False})
    lab.see("CTRLMODE", 1)
    lab.see("INTERLOCK", 0)
    assert lab.hv("ALARM") == 15
    lab.put("CLEARALARM", 1)
    lab.see("ALARM", 0)
    assert lab.requests() == ["PAR:BDCLR"] and lab.hv("CLEARALARM") == 0


def test_the_interlocks_contact_is_read_at_the_start(lab):
    lab.site("")
    lab.supply()
    lab.say(board={"contact": "OPEN"}, channel={"number": 1, "pol": "-"})
    lab.ioc()
    lab.online()
    assert lab.hv("ILKMODE") == 0 and (lab.hv("CH1:POL"), lab.hv("CH0:POL")) == (1, 0)


def test_all_off(lab):
    lab.running("")
    for number in (0, 2, 3):
        lab.say(channel={"number": number, "vset": 100.0 + number, "on": True})
    lab.see("CH3:ATTARGET", 1)
    lab.put("ALLOFF", 1)
    assert lab.requests() == ["CH:4,PAR:OFF"]
    assert [lab.hv(f"CH{n}:ON_RBV") for n in range(4)] == [0, 0, 0, 0] and lab.hv("ALLOFF") == 0
    for number in range(4):
        lab.see(f"CH{number}:LIVE", 0)
    lab.put("ALLOFF", 0)
    assert lab.requests() == ["CH:4,PAR:OFF"]


def test_readonly_lets_nothing_through_and_outlasts_a_restart(lab):
    ioc = lab.running()
    lab.put("READONLY", 1)
    for name, value in (("CH0:VSET", 10), ("CH0:ON", 0), ("ALLOFF", 1), ("CLEARALARM", 1), ("CH0:MAXV", 1000)):
        lab.refused(name, value, "READONLY is set")
    assert ioc.stop() == 0
    second = lab.ioc()
    lab.online()
    assert lab.hv("READONLY") == 1
    lab.refused("CH0:VSET", 10, "READONLY is set")
    lab.put("READONLY", 0)
    lab.put("CH0:VSET", 10)
    assert lab.hv("CH0:VSET_RBV") == 10
    assert second.stop() == 0
    lab.site("readonly = true\n")
    lab.ioc()
    lab.online()
    lab.refused("READONLY", 0, "the site file says readonly = true")
    lab.refused("CH0:VSET", 20, "READONLY is set")


def test_the_soft_limit_narrows_never_widens_and_outlasts_a_restart(lab):
    ioc = lab.running()
    assert (lab.hv("CH0:VSOFTMAX"), lab.hv("CH1:ISOFTMAX"), lab.hv("CH1:ISOFTMAX.DRVH")) == (1000, 200, 200)
    lab.refused("CH0:VSOFTMAX", 1001, "beyond the limits")
    lab.put("CH0:VSOFTMAX", 300)
    lab.put("CH1:ISOFTMAX", 50)
    lab.refused("CH0:VSET", 301, "beyond the limits 0 .. 300 V (VSOFTMAX)")
    lab.refused("CH1:ISET", 51, "beyond the limits 0 .. 50 uA (ISOFTMAX)")
    assert ioc.stop() == 0
    lab.ioc()
    lab.online()
    assert (lab.hv("CH0:VSOFTMAX"), lab.hv("CH1:ISOFTMAX")) == (300, 50)
    lab.refused("CH0:VSET", 301, "(VSOFTMAX)")
    lab.put("CH0:VSET", 300)
    lab.put("CH0:VSOFTMAX", 200)
    lab.see("CH0:STATUS.VAL$", lambda reading: "VSET = 300 is beyond the limits 0 .. 200" in reading["text"])
    lab.refused("CH0:ON", 1, "VSET of the unit is 300 V, beyond the limits 0 .. 200 V (VSOFTMAX); put VSET first")


def test_the_row_has_all_channels_in_one_event(lab):
    lab.running("")
    lab.say(channel={"number": 1, "vset": 200.0, "on": True, "load": 1e8, "iset": 33.0})
    lab.see("CH1:ATTARGET", 1)
    catalogue = Catalogue.from_json(lab.hv("PVS"))
    (row,) = catalogue.rows
    names = [signal.name for signal in row.signals]
    assert names == [f"CH{n}:{name}" for n in range(4) for name in ("VSET", "ISET", "VMON", "IMON", "STAT")]
    reading = lab.see("ROW", lambda reading: reading["value"][4 + names.index("CH1:ISET")] == 33.0)
    told = dict(zip(names, reading["value"][4:], strict=True))
    assert told["CH1:VSET"] == told["CH1:VMON"] == 200.0 and told["CH1:IMON"] == 2.0 and told["CH1:STAT"] == 1.0
    assert not any(map(math.isnan, told.values()))


def test_what_is_not_as_expected_alarms_and_is_not_written(lab):
    expect = '[device.channel.0]\npolarity = "-"\nexpect = { MAXV = 900, RUP = 50, PDWN = "KILL", IMRANGE = "HIGH" }\n'
    lab.running(expect)
    assert alarm(lab.read("HV:CH0:MAXV_RBV")) == (MINOR, SOFT) == alarm(lab.read("HV:CH0:PDWN_RBV"))
    assert alarm(lab.read("HV:CH0:POL")) == (MAJOR, SOFT)
    for name in ("CH0:RUP_RBV", "CH0:IMRANGE_RBV", "CH1:MAXV_RBV", "CH1:POL"):
        assert lab.read(f"HV:{name}")["severity"] == NO_ALARM
    lab.refused("CH0:VSET", 10, "the polarity is +, and the site file says -; look at the polarity switch")
    lab.put("CH0:MAXV", 900)
    assert lab.read("HV:CH0:MAXV_RBV")["severity"] == NO_ALARM
    assert lab.requests() == ["CH:0,PAR:MAXV,VAL:900"]


def test_a_voltage_that_is_not_what_it_should_be_alarms_once_settled(lab):
    lab.running("settle = 0.5\n")
    lab.say(channel={"number": 0, "vset": 15.0, "on": True})
    lab.see("CH0:ATTARGET", 1)
    assert lab.read("HV:CH0:VMON")["severity"] == NO_ALARM
    lab.say(channel={"number": 0, "broken": True})
    lab.see("CH0:VMON", lambda reading: alarm(reading) == (MINOR, LOW))
    assert lab.hv("CH0:ATTARGET") == 0 and lab.hv("CH0:TRIPPED") == 0, "so little voltage is no proof of a trip"
    assert "under voltage" in lab.hv("CH0:STATUS.VAL$")
    lab.say(channel={"number": 0, "broken": False, "volts": 30.0, "rdw": 0.0})
    lab.see("CH0:LIVE", 1)


def test_a_voltage_left_on_a_disabled_channel_is_told_and_left(lab):
    lab.running("")
    lab.say(channel={"number": 2, "vset": 500.0, "disabled": True})
    lab.see("CH2:STATUS", lambda reading: reading["severity"] == MINOR)
    lab.see("CH2:STATUS.VAL$", lambda reading: "it would ramp up when the front switch is turned" in reading["text"])
    lab.say(channel={"number": 2, "vset": 0.0})
    lab.see("CH2:STATUS", lambda reading: reading["severity"] == NO_ALARM)
    lab.say(channel={"number": 2, "disabled": False, "on": True})
    lab.see("CH2:STATUS", "on, live at zero")
    assert lab.hv("CH2:LIVE") == 1 and lab.requests() == []


def test_enable_0_ends_the_session_in_order_so_that_another_program_can_have_it(lab):
    lab.running("")
    lab.put("ENABLE", 0)
    wait_for(lambda: lab.wire()[-1]["what"] == "closed", "orderly end of the session")
    assert alarm(lab.read("HV:CH0:VMON")) == (INVALID, DISABLE)
    lab.refused("CH0:VSET", 10, "disabled")
    lab.put("ENABLE", 1)
    lab.online()
    lab.see("CH0:VMON", lambda reading: alarm(reading) == (NO_ALARM, 0))
    assert "reset" not in {said["what"] for said in lab.wire()} and lab.requests() == []


def test_before_a_unit_answers_its_setpoints_are_undefined_and_another_unit_is_told(lab):
    ioc = lab.running("")
    lab.put("CH0:VSET", 50)
    assert ioc.stop() == 0
    lab.box.kill()
    lab.ioc()
    lab.see("ERROR.VAL$", lambda reading: "nothing listens" in reading["text"])
    for name in ("CH0:VSET", "CH0:ON", "CH0:VMON", "CH0:MAXV_RBV"):
        assert alarm(lab.read(f"HV:{name}")) == (INVALID, UDF), name
    lab.supply("--serial", "999")
    lab.online()
    assert lab.see("CH0:VSET", 0)["severity"] == NO_ALARM, "what the unit says, not what was asked of another one"
    assert (lab.hv("SERIAL"), lab.read("HV:SERIAL")["severity"]) == ("999", MINOR)
    assert lab.read("HV:FIRMWARE")["severity"] == NO_ALARM


def test_a_unit_with_the_wrong_serial_number_is_left_alone(lab):
    lab.site('serials = ["175"]\n')
    lab.supply()
    lab.ioc()
    lab.see("ERROR.VAL$", lambda reading: "has the serial number 174, and the site file says 175" in reading["text"])
    assert lab.hv("ONLINE") == 0 and lab.requests() == []


def test_the_line_tells_its_latency_and_its_accidents(lab):
    lab.running("")
    lab.say(slow=0.05)
    lab.see("LATENCY", lambda reading: 50 <= reading["value"] < 600)
    lab.say(slow=0.0, lost=1)
    lab.see("TIMEOUTS", 1)
    lab.see("DESYNCS", lambda reading: reading["value"] >= 1)
    assert alarm(lab.see("CH0:VMON", lambda reading: reading["severity"] == NO_ALARM)) != (INVALID, COMM)


def polls(lab):
    """Give when VMON was asked for, s."""
    return [said["time_ns"] / 1e9 for said in lab.wire() if said["what"] == "request" and "PAR:VMON" in said["text"]]


def test_polling_is_faster_after_a_put_and_while_something_ramps(lab):
    lab.site("", poll=2.0)
    lab.supply()
    lab.ioc()
    lab.online()
    wait_for(lambda: len(polls(lab)) >= 4, "polls at rest")
    times = polls(lab)
    assert times[-1] - times[-2] > 1.5 and times[-2] - times[-3] > 1.5
    lab.say(channel={"number": 2, "vset": 200.0, "on": True, "rup": 50.0})  # at the panel: 4 s of ramp
    lab.see("CH2:RAMPING", 1)
    before = len(polls(lab))
    lab.see("CH2:ATTARGET", 1)
    assert len(polls(lab)) - before > 5
    wait_for(lambda: polls(lab)[-1] - polls(lab)[-2] > 1.5, "rest again")
    lab.put("CH0:RUP", 20)
    before = len(polls(lab))
    wait_for(lambda: len(polls(lab)) > before + 8, "polls after a put")
    times = polls(lab)
    assert sorted(later - earlier for earlier, later in pairwise(times[before : before + 8]))[3] < 1.0
