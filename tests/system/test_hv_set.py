"""`python -m iocs.hv set`: the command line of one channel, and `iocs check --online`."""

import pytest

from tests.hv_lab import HvLab


@pytest.fixture
def lab(tmp_path):
    with HvLab(tmp_path) as lab:
        yield lab


def run(lab, *options, code=0):
    """Run `set`; gives its lines."""
    process = lab.process("iocs.hv", "set", lab.directory / "site.toml", *options)
    assert process.popen.wait(60) == code, process.log()
    process._finish()
    return process.out + process.err


def test_a_voltage_and_a_current_of_one_channel(lab):
    lab.running()
    lines = run(lab, "-c", 3, "-v", 250, "-i", 2)
    assert lines == [
        f"{lab.prefix}HV:CH3: VMON 0.0 V, IMON 0.000 uA, off",
        "ISET 100 -> 2 uA; reads back 2",
        "VSET 0 -> 250 V; reads back 250",
    ]
    assert lab.requests() == ["CH:3,PAR:ISET,VAL:2.00", "CH:3,PAR:VSET,VAL:250.0"]
    assert run(lab, "-c", 3, "-v", 250, "-i", 2)[-1] == "nothing new: it is set so already; nothing was sent"
    lines = run(lab, "-b", 0, "-c", 3, "-v", 100, "-i", 1, "--on", "--wait")
    assert lines[1:4] == [
        "VSET 250 -> 100 V; reads back 100",
        "ISET 2 -> 1 uA; reads back 1",
        "ON Off -> On; reads back On",
    ]
    assert lines[4] == "VMON 100.0 V, at 100 V" and lab.hv("CH3:VMON") == 100
    lines = run(lab, "-c", 3, "--off", "--wait")
    assert lines[0].endswith("VMON 100.0 V, IMON 0.100 uA, on") and lines[1] == "ON On -> Off; reads back Off"
    assert [text.split("PAR:")[1] for text in lab.requests()[2:]] == ["VSET,VAL:100.0", "ISET,VAL:1.00", "ON", "OFF"]


def test_what_is_wrong_is_said_and_nothing_is_sent(lab):
    lab.running()
    assert "the following arguments are required: -c" in run(lab, "-v", 250, code=2)[-1]
    assert run(lab, "-c", 4, "-v", 1, code=2)[-1] == "there is no channel 4: the unit has channels 0 to 3"
    assert run(lab, "-c", -1, "-v", 1, code=2)[-1].startswith("there is no channel -1")
    assert "HV has no board 1" in run(lab, "-b", 1, "-c", 0, "-v", 1, code=2)[-1]
    lines = run(lab, "-c", 0, code=2)
    assert lines[-1] == "nothing to set: give -v, -i, --on or --off; nothing was sent" and "VMON 0.0 V" in lines[0]
    text = run(lab, "-c", 0, "-v", 1500, code=1)[-1]
    assert text.startswith(f"put of {lab.prefix}HV:CH0:VSET was refused: ") and "beyond the limits 0 .. 1000 V" in text
    assert "there is no supply 'X'" in run(lab, "-c", 0, "--device", "X", code=2)[-1]
    assert lab.requests() == []
    lab.say(mute=True)
    lab.see("ONLINE", 0)
    assert "is not known" in run(lab, "-c", 0, "-v", 1, code=1)[-1]


def test_off_is_put_also_when_the_readings_are_not_to_be_trusted(lab):
    lab.running()
    lab.put("CH0:ON", 1)
    lab.say(slow=0.5)
    lab.see("ONLINE", 0)
    before = lab.requests()
    assert "nothing was sent" in run(lab, "-c", 0, "-v", 1, code=1)[-1] and lab.requests() == before
    lines = run(lab, "-c", 0, "-v", 1, "--off", code=1)
    assert "told to switch off all the same" in lines[0]
    assert lines[1:] == [
        "ON -> Off; the unit has confirmed it",
        "that alone was done: the rest of what was asked needs the readings",
    ]
    assert lab.requests()[len(before) :] == ["CH:0,PAR:OFF"]
    assert run(lab, "-c", 0, "--off")[-1] == "ON -> Off; the unit has confirmed it"
    assert "HV:CH9:ON_RBV" in run(lab, "-c", 9, "--off", code=1)[-1]


def test_without_an_ioc(lab):
    lab.site()
    assert "is its IOC running (python -m iocs run)?" in run(lab, "-c", 0, "-v", 1, code=1)[-1]


def test_a_trip_while_waiting_ends_the_waiting(lab):
    lab.running("")
    lab.say(speed=1.0, channel={"number": 0, "rup": 5.0, "load": 1e5, "iset": 100.0, "trip": 0.1})
    lines = run(lab, "-c", 0, "-v", 500, "--on", "--wait", code=1)
    assert lines[-1].startswith("the channel has tripped: TRIP flag")


def check(lab, code):
    process = lab.process("iocs", "check", lab.directory / "site.toml", "--online")
    assert process.popen.wait(60) == code, process.log()
    process._finish()
    return process.out


EXPECT = """serials = ["174"]
[device.channel.0]
polarity = "+"
limits.VSET = [0, 1000]
expect = { MAXV = 8100, RUP = 50.0, PDWN = "RAMP" }

[device.channel.2]
polarity = "-"
expect = { ISET = 12.5, IMRANGE = "LOW" }
"""


def test_check_online_compares_and_never_writes(lab):
    lab.site(EXPECT)
    lab.supply()
    lines = check(lab, 1)
    assert lines[1:] == [
        "HV: board 0: CAEN R1470ET, 4 channels, serial 174, firmware 1.08",
        "HV: board 0: serial number 174, as expected",
        "HV: CH0:MAXV is 8100 V, as expected",
        "HV: CH0:RUP is 50 V/s, as expected",
        "HV: CH0:PDWN is RAMP, as expected",
        "HV: CH0:POL is +, as expected".replace("HV: CH0:POL", "HV: CH0:POL"),
        "HV: NOT AS EXPECTED: CH2:ISET is 100 uA, expected 12.5 uA",
        "HV: NOT AS EXPECTED: CH2:IMRANGE is HIGH, expected LOW",
        "HV: NOT AS EXPECTED: CH2:POL is +, expected -",
    ]
    lab.say(channel={"number": 2, "iset": 12.5, "imrange": "LOW", "pol": "-"})
    assert not any("NOT" in line for line in check(lab, 0))
    lab.say(channel={"number": 0, "vset": 1500.0})
    assert "HV: NOT AS EXPECTED: CH0:VSET is 1500 V, above the 1000 V that are allowed" in check(lab, 1)
    wire = lab.wire()
    assert {said["what"] for said in wire} == {"power", "connected", "closed", "request", "reply"}
    assert lab.requests() == [] and all("CMD:MON" in said["text"] for said in wire if said["what"] == "request")


def test_check_online_tells_of_channels_limits_and_units_that_do_not_fit(lab):
    lab.site('serials = ["9"]\nlimits.VSET = [0, 9000]\n[device.channel.7]\nname = "X"\n')
    lab.supply()
    text = "\n".join(check(lab, 1))
    assert "NOT AS EXPECTED: board 0: serial number 174, the site file says 9" in text
    assert "NOT AS EXPECTED: [device.channel.7]: the unit has channels 0 to 3" in text
    assert "limits [0.0, 9000.0] are not within [0.0, 8000.0], which the box allows" in text


def test_check_online_keeps_away_from_a_unit_that_an_ioc_holds(lab):
    lab.running()
    connections = sum(said["what"] == "connected" for said in lab.wire())
    assert "HV: NOT AS EXPECTED: HV is already run by process" in check(lab, 1)[-1]
    assert sum(said["what"] in ("connected", "refused") for said in lab.wire()) == connections


def test_check_online_of_a_unit_that_does_not_answer(lab):
    lab.site()
    assert "nothing listens on that port" in check(lab, 1)[-1]
