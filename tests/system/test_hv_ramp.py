"""Neighbours that are ramped together, followed on the simulated supply's wire; presets with a preview; ALLSTANDBY."""

import re
import time
from itertools import pairwise

import pytest

from iocs.hv.ramp_signals import State
from iocs.hv.ramps import PATIENCE
from tests.hv_lab import HvLab
from tests.libca import Libca
from tests.processes import wait_for

IDLE, RAMPING, DONE, ABORTED, FAILED = State
APART = 60.0
GROUP = f"""
[device.channel.0]
standby = 50
[device.channel.1]
standby = 40
[device.channel.2]
standby = 30
[[device.ramp]]
name = "stack"
channels = [0, 1, 2]
apart = {APART}
rate = 50
nominal = [200, 150, 100]
"""
OWN = """
[[device.interlock]]
name = "{name}"
pv = "{prefix}HV:CH3:VSET"
high = 10
action = "standby"
channels = {channels}
"""


class RampLab(HvLab):
    """A supply whose channels 0, 1 and 2 are neighbours."""

    begun = 0  # lines on the wire before somebody watched how far they are apart

    def start(self, more: str = "", speed: float = 1.0, keys: str = ""):
        self.site(keys + GROUP + more)
        self.supply("--speed", speed)
        for number in range(4):  # rates of the unit: not the same ones
            self.say(channel={"number": number, "rup": 60.0 + 40 * number, "rdw": 100.0 - 20 * number})
        ioc = self.ioc()
        self.online()
        self.see("RAMP1:APART", lambda reading: reading["severity"] == 0)
        return ioc

    def go(self, preset: int) -> None:
        """Select a preset and confirm it."""
        self.put("RAMP1:PRESET", preset)
        self.put("RAMP1:GO", 1)

    def told(self, name: str, value: object, why: str) -> None:
        """Put what is refused while the ramp goes on."""
        self.put(name, value)
        assert why in self.hv("LASTREJECT.VAL$")

    def live(self) -> None:
        """Have the group at its nominal voltages, as somebody left it, and the first interlock armed."""
        self.see("ILK1:STATE", 1)
        self.have(200.0, 150.0, 100.0)

    def have(self, *levels: float) -> None:
        """Have channels at their voltages one after the other, which `apart` does not look at."""
        for number, level in enumerate(levels):
            self.say(channel={"number": number, "vset": level, "volts": level, "on": True})
        self.see(f"CH{len(levels) - 1}:VMON", levels[-1])
        self.begun = len(self.wire())

    def state(self, wanted: State, deadline: float = 60.0):
        """Wait until the group is in a state."""
        return self.see("RAMP1:STATE", int(wanted), deadline)

    def apart(self) -> float:
        """Give the largest difference between neighbours of all readings of VMON on the wire."""
        said = [each for each in self.wire()[self.begun :] if each["what"] in ("request", "reply")]
        most = 0.0
        for asked, answer in pairwise(said):
            if "CMD:MON,CH:4,PAR:VMON" in asked["text"] and (found := re.search(r"VAL:([\d.;]+)", answer["text"])):
                volts = [float(text) for text in found[1].split(";")][:3]
                most = max(most, *(abs(a - b) for a, b in pairwise(volts)))
        return most


@pytest.fixture
def lab(tmp_path):
    with RampLab(tmp_path) as lab:
        yield lab


def own(lab, name="own", channels="[0, 1, 2]"):
    """Give an interlock on CH3:VSET that brings channels to standby."""
    return OWN.format(name=name, prefix=lab.prefix, channels=channels)


def volts(lab):
    return [lab.hv(f"CH{n}:VMON") for n in range(3)]


def test_a_preset_is_looked_at_confirmed_and_followed_together(lab):
    lab.start()
    lab.refused("RAMP1:GO", 1, "put a preset to RAMP1:PRESET first")
    lab.put("RAMP1:PRESET", 1)
    text = lab.hv("RAMP1:PREVIEW")
    assert text.startswith("CH0 switched on, 0 -> 200 V; CH1 switched on, 0 -> 150 V; CH2 switched on, 0 -> 100 V; 4 s")
    assert text.endswith("then neighbours are 50 V apart at most (60 V allowed)")
    assert lab.requests() == [], "a preview writes nothing"
    lab.libca.monitor(f"{lab.prefix}HV:RAMP1:PROGRESS")
    lab.put("RAMP1:GO", 1)
    lab.state(RAMPING)
    lab.told("CH1:VSET", 10, "is being ramped with its neighbours")
    lab.told("RAMP1:PRESET", 3, "it is ramping")
    lab.told("RAMP1:GO", 1, "it is ramping")
    lab.state(DONE)
    assert [lab.hv(f"CH{n}:VSET_RBV") for n in range(3)] == [200, 150, 100]
    wait_for(lambda: volts(lab) == pytest.approx([200, 150, 100], abs=5), "the voltages of the preset")
    assert lab.apart() <= APART
    progress = [event[0] for event in lab.libca.events(f"{lab.prefix}HV:RAMP1:PROGRESS") if isinstance(event, list)]
    assert progress[-1] == 100 and len(progress) > 4
    steps = [text for text in lab.requests() if "VSET" in text]
    goals = ("CH:0,PAR:VSET,VAL:200.0", "CH:1,PAR:VSET,VAL:150.0", "CH:2,PAR:VSET,VAL:100.0")
    last = [steps.index(goal) for goal in goals]
    assert max(last) - min(last) <= 5, "they arrive with the same step"
    assert not [text for text in lab.requests() if "RUP" in text or "RDW" in text]
    noted = {line["pv"].removeprefix(lab.prefix): line for line in lab.put_log() if line.get("by")}
    assert noted["HV:CH0:VSET"]["old"] == 0 and noted["HV:CH0:VSET"]["new"] == 200
    assert noted["HV:CH1:ON"]["new"] == "On" and noted["HV:CH1:ON"]["by"].startswith("ramp stack by ")
    lab.put("RAMP1:PRESET", 2)
    assert "CH0 200 -> 50 V; CH1 150 -> 40 V; CH2 100 -> 30 V" in lab.hv("RAMP1:PREVIEW")
    lab.put("RAMP1:GO", 1)
    lab.state(DONE)
    wait_for(lambda: volts(lab) == [50, 40, 30], "standby")
    lab.go(3)
    lab.state(DONE)
    lab.see("CH0:LIVE", 0)
    assert [lab.hv(f"CH{n}:ON_RBV") for n in range(3)] == [0, 0, 0] and lab.apart() <= APART


def test_what_has_changed_since_the_preview_is_not_done(lab):
    lab.start()
    lab.put("RAMP1:PRESET", 1)
    lab.put("CH1:VSET", 5)
    lab.refused("RAMP1:GO", 1, "the channels have changed since RAMP1:PREVIEW was made")
    lab.put("RAMP1:GO", 1)
    lab.state(RAMPING)


def test_two_that_confirm_at_once_start_one_ramp_and_what_was_shown_is_what_is_done(lab):
    lab.start(keys="lost_after = 20\n")
    lab.put("RAMP1:PRESET", 2)
    go, preset = (f"{lab.prefix}HV:RAMP1:{name}" for name in ("GO", "PRESET"))
    with Libca(lab.environment) as other:
        other.read(go), other.read(preset), lab.read("HV:RAMP1:GO")  # both are connected
        lab.say(slow=0.25)
        lab.libca.begin(go, 1)
        other.begin(go, 1)
        lab.see("LASTREJECT.VAL$", lambda reading: "RAMP1:GO = 1: it is ramping" in reading["text"])
        lab.say(slow=0.0)
        lab.state(DONE)
        assert [text.split(",")[0] for text in lab.requests() if "PAR:ON" in text] == ["CH:0", "CH:1", "CH:2"]
        lab.put("RAMP1:PRESET", 3)
        lab.say(slow=0.25)
        other.begin(preset, 1)
        lab.libca.begin(go, 1)
        lab.see("LASTREJECT.VAL$", lambda reading: "another preset was put" in reading["text"])
    assert not [text for text in lab.requests() if "PAR:OFF" in text] and lab.hv("RAMP1:STATE") == DONE


def test_an_abort_sends_nothing_more_and_leaves_them_together(lab):
    lab.start()
    lab.refused("RAMP1:ABORT", 1, "nothing is ramping")
    lab.go(1)
    lab.see("CH0:VMON", lambda reading: reading["value"] > 60)
    lab.put("RAMP1:ABORT", 1)
    assert lab.state(ABORTED)["severity"] == 1 and "aborted by" in lab.hv("RAMP1:STATUS.VAL$")
    count = len(lab.requests())
    for number in range(3):
        lab.see(f"CH{number}:ATTARGET", 1)
    assert lab.apart() <= APART and len(lab.requests()) == count and max(volts(lab)) < 200
    lab.go(3)
    lab.state(DONE)
    assert lab.apart() <= APART


def test_a_link_that_is_cut_leaves_them_together(lab):
    lab.start()
    lab.go(1)
    lab.see("CH0:VMON", lambda reading: reading["value"] > 60)
    lab.say(mute=True)
    lab.state(FAILED)
    lab.see("ONLINE", 0)
    lab.say(mute=False)
    lab.online()
    for number in range(3):
        lab.see(f"CH{number}:ATTARGET", lambda reading: reading["value"] == 1 and reading["severity"] == 0)
    count = len(lab.requests())
    assert lab.apart() <= APART and max(volts(lab)) < 200
    beat = lab.hv("HEARTBEAT")
    lab.see("HEARTBEAT", lambda reading: reading["value"] > beat + 2)
    assert len(lab.requests()) == count, "it does not go on by itself"
    lab.go(1)
    lab.state(DONE)
    assert lab.apart() <= APART


def test_a_killed_program_leaves_them_together(lab):
    ioc = lab.start()
    lab.go(1)
    lab.see("CH0:VMON", lambda reading: reading["value"] > 60)
    ioc.popen.kill()
    ioc.popen.wait()
    count = len(lab.requests())
    lab.ioc()
    lab.online()
    for number in range(3):
        lab.see(f"CH{number}:ATTARGET", lambda reading: reading["value"] == 1 and reading["severity"] == 0)
    assert lab.apart() <= APART and len(lab.requests()) == count and lab.hv("RAMP1:STATE") == IDLE


def test_a_channel_that_trips_stops_the_ramp(lab):
    lab.start()
    lab.go(1)
    lab.see("CH0:VMON", lambda reading: reading["value"] > 130)
    lab.say(channel={"number": 1, "on": False})
    lab.state(FAILED)
    assert "CH1 is no longer on" in lab.hv("RAMP1:STATUS.VAL$")
    lab.see("RAMP1:APART", lambda reading: reading["value"] > APART + 5 and reading["severity"] == 1)


def test_an_off_goes_first_and_ends_the_ramp(lab):
    lab.start()
    lab.go(1)
    lab.see("CH0:VMON", lambda reading: reading["value"] > 30)
    lab.put("ALLOFF", 1)
    lab.state(ABORTED)
    assert "aborted by an OFF" in lab.hv("RAMP1:STATUS.VAL$")
    sent = lab.requests()
    assert not [text for text in sent[sent.index("CH:4,PAR:OFF") :] if "VSET" in text]


def test_what_may_not_be_is_refused_before_anything_is_sent(lab):
    lab.start()
    lab.put("CH0:VSOFTMAX", 150)
    lab.refused("RAMP1:PRESET", 1, "CH0:VSET: 200 V is beyond 150 V (VSOFTMAX)")
    assert lab.hv("RAMP1:PREVIEW") == ""
    lab.refused("RAMP1:GO", 1, "put a preset")
    lab.put("RAMP1:PRESET", 2)
    lab.put("READONLY", 1)
    lab.refused("RAMP1:GO", 1, "READONLY is set")


def test_all_standby_lowers_groups_together_and_the_others_at_once(lab):
    lab.start("[device.channel.3]\nstandby = 20\n")
    lab.have(200.0, 150.0, 100.0, 300.0)
    lab.put("ALLSTANDBY", 1)
    for number, level in enumerate((50, 40, 30, 20)):
        lab.see(f"CH{number}:VMON", level)
    assert lab.apart() <= APART
    assert "CH:3,PAR:VSET,VAL:20.0" in lab.requests() and not [text for text in lab.requests() if "PAR:O" in text]
    noted = [line for line in lab.put_log() if line.get("by", "").startswith("ALLSTANDBY by ")]
    assert {line["new"] for line in noted} == {50, 40, 30, 20}


def test_an_interlock_lowers_a_group_together(lab):
    lab.start(own(lab))
    lab.live()
    lab.put("CH3:VSET", 11)
    lab.see("ILK1:STATE", 4)
    assert [lab.hv(f"CH{n}:VSET_RBV") for n in range(3)] == [50, 40, 30]
    assert lab.apart() <= APART
    lab.put("RAMP1:PRESET", 1)
    lab.refused("RAMP1:GO", 1, "the interlock own has tripped")
    wait_for(lambda: volts(lab) == [50, 40, 30], "nothing raised")


def test_what_two_interlocks_lower_together_neither_breaks_off_nobody_aborts_and_readonly_holds_as_it_is(lab):
    lab.start(own(lab) + own(lab, "other", "[1, 2]"))
    lab.live()
    lab.see("ILK2:STATE", 1)
    lab.put("CH3:VSET", 11)
    lab.state(RAMPING)
    lab.told("RAMP1:ABORT", 1, "interlock o")
    lab.put("READONLY", 1)
    for number in (1, 2):
        lab.see(f"ILK{number}:CAUSE.VAL$", lambda reading: "READONLY is set" in reading["text"])
        assert lab.hv(f"ILK{number}:STATE") == 3
    lab.put("READONLY", 0)
    lab.see("ILK1:STATE", 4)
    lab.see("ILK2:STATE", 4)
    assert [lab.hv(f"CH{n}:VSET_RBV") for n in range(3)] == [50, 40, 30]
    assert lab.apart() <= APART and not [text for text in lab.requests() if "PAR:OFF" in text]


def test_one_of_a_group_that_cannot_be_lowered_alone_is_switched_off_at_once(lab):
    lab.start(own(lab, channels="[1]"))
    lab.live()
    began = time.monotonic()
    lab.put("CH3:VSET", 11)
    lab.see("ILK1:STATE", 4)
    assert time.monotonic() - began < PATIENCE
    assert [text for text in lab.requests() if not text.startswith("CH:3")] == ["CH:1,PAR:OFF"]
    noted = [line for line in lab.put_log() if line["pv"].endswith("CH1:VSET")]
    assert [line["accepted"] for line in noted] == [False] and "neighbours would be 160 V apart" in noted[0]["reason"]


def test_an_all_standby_that_a_person_aborts_switches_nothing_off(lab):
    lab.start(own(lab))
    lab.live()
    lab.libca.begin(f"{lab.prefix}HV:ALLSTANDBY", 1)
    lab.state(RAMPING)
    lab.put("RAMP1:ABORT", 1)
    lab.state(ABORTED)
    lab.see("LASTREJECT.VAL$", lambda reading: "ALLSTANDBY = 1: RAMP1: aborted by" in reading["text"])
    assert not [text for text in lab.requests() if "PAR:OFF" in text and not text.startswith("CH:3")]
    assert lab.hv("CH0:ON_RBV") == 1 and lab.apart() <= APART
