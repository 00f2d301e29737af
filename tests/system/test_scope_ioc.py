"""A simulated scope on real TCP, its IOC, libca: settings, events, runs, and what goes wrong."""

import time

import numpy as np
import pytest

from tests.processes import free_port, wait_for
from tests.scope_lab import ScopeLab
from tests.thermostat_lab import COMM, INVALID, MAJOR, MINOR, NO_ALARM


@pytest.fixture
def lab(tmp_path):
    with ScopeLab(tmp_path) as lab:
        yield lab


PUTS = [
    ("TDIV", 2.4e-6, 2e-6),
    ("TRDL", 25.0, 25.0),
    ("MSIZ", 5123.0, 5000.0),
    ("TRWI", 1.5, 1.5),
    ("TRTYPE", 2, 2),
    ("TRSRC", 0, 0),
    ("SEQ:N", 50, 50),
    ("SEQ:ON", 1, 1),
    ("WFSU:SP", 2, 2),
    ("WFSU:NP", 100, 100),
    ("WFSU:FP", 10, 10),
    ("WFSU:SN", 1, 1),
    ("AUTOSTORE", 1, 1),
    ("C1:VDIV", 0.25, 0.25),
    ("C1:OFST", -0.5, -0.5),
    ("C2:CPL", 1, 1),
    ("C3:BWL", 3, 3),
    ("C4:ATTN", 10, 10),
    ("C1:TRLV", 0.7, 0.7),
    ("C2:TRSL", 0, 0),
    ("C3:TRCP", 2, 2),
    ("C4:ON", 0, 0),
    ("TRMD", 3, 3),
]


def test_every_setting_is_put_confirmed_and_read_back(lab):
    lab.start()
    for name, asked, had in PUTS:
        before = lab.value(f"S:{name}_RBV")
        lab.put(name, asked)
        assert lab.value(f"S:{name}") == pytest.approx(had), name  # confirmed when the put is done
        assert lab.value(f"S:{name}_RBV") == pytest.approx(had), name
        assert before != had, name
    for name, _, had in PUTS:  # and none has moved another
        assert lab.value(f"S:{name}_RBV") == pytest.approx(had), name
    lab.put("TDIV", -1.0)
    assert "beyond the limits" in lab.value("S:LASTREJECT.VAL$")


def test_what_the_front_panel_changes_is_seen_within_a_second(lab):
    lab.start()
    lab.put("C1:VDIV", 0.2)
    for command, name, value in (
        ("C1:VDIV 0.5", "C1:VDIV", 0.5),
        ("TRMD NORM", "TRMD", 1),
        ("SEQ ON,30", "SEQ:N", 30),
        ("TRSE EDGE,SR,C4,HT,OFF", "TRSRC", 3),
        ("BWL C2,20MHZ", "C2:BWL", 2),
    ):
        lab.scope.say({"panel": command})
        lab.wait(f"S:{name}_RBV", value, 5)
        lab.wait(f"S:{name}", value, 5)


def test_an_event_is_posted_whole_with_one_stamp(lab):
    lab.start("--rate", "2")
    lab.put("C3:ON", 0)
    lab.wait("S:C3:WF", lambda reading: reading["severity"] == MINOR)
    event = lab.value("S:EVENT")

    def together():
        names = ("EVENT", "C1:WF", "C1:TIME", "C2:WF", "C2:PKPK", "C4:X0", "C4:TRIGTIMES", "EVENT")
        readings = [lab.read(f"S:{name}") for name in names]
        same = readings[0]["value"] == readings[-1]["value"] > event
        return same and readings

    readings = wait_for(together, "an event that lasts while it is read")
    assert len({(each["posixseconds"], each["nanoseconds"]) for each in readings}) == 1
    volts, times = np.array(readings[3]["value"]), np.array(readings[2]["value"])
    assert len(volts) == len(times) == 1002
    assert volts.max() - volts.min() == pytest.approx(readings[4]["value"], rel=1e-3)
    assert times[1] - times[0] == pytest.approx(lab.value("S:C1:DX"), rel=1e-6)
    assert times[0] == pytest.approx(lab.value("S:C1:X0"), rel=1e-6)
    assert lab.value("S:TRIGGERED").startswith("20") and lab.value("S:C1:NSEG") == 1
    for word in ("MEAN", "MAX", "MIN", "RMS", "SDEV"):
        assert lab.read(f"S:C2:{word}")["severity"] == NO_ALARM
    count = lab.value("S:ACQ:COUNT")
    lab.wait("S:ACQ:COUNT", lambda reading: reading["value"] > count)
    lab.wait("S:ACQ:RATE", lambda reading: reading["value"] > 0)


def test_a_sequence_has_its_triggers(lab):
    lab.start("--rate", "1000", more="maxpts = 1000\n")
    lab.put("TRMD", 3)
    lab.put("SEQ:N", 20)
    lab.put("SEQ:ON", 1)
    lab.put("ARM", 1)
    lab.wait("S:C2:NSEG", 20)
    triggers = lab.value("S:C2:TRIGTIMES")
    assert triggers == pytest.approx([1e-3 * n for n in range(20)], abs=1e-9)
    times = lab.value("S:C2:TIME")
    assert len(times) <= 1000 and times == sorted(times)
    assert times[-1] == pytest.approx(19e-3, rel=0.01)


def test_all_points_on_request_and_thinned_for_people(lab):
    lab.start("--rate", "20", more="maxpts = 500\nfullpts = 20000\n")
    lab.put("TRMD", 3)
    lab.put("MSIZ", 25000)

    def asked():
        lab.put("C2:WF:GET", 1)
        lab.put("ARM", 1)
        full, thin = lab.read("S:C2:WF:FULL"), lab.read("S:C2:WF")
        same = (full["timestamp"], len(full["value"])) == (thin["timestamp"], 20000)
        return same and (full, thin["value"])  # an event from before the stop may have been the next one

    full, thin = wait_for(asked, "all points")
    assert full["severity"] == MINOR  # 25,002 points, of which so many fit
    assert len(thin) <= 500
    assert min(thin) == pytest.approx(min(full["value"]), abs=1e-6)
    assert lab.value("S:C1:WF:FULL") == [] or lab.read("S:C1:WF:FULL")["severity"] == INVALID


def test_arm_stop_force_store_and_the_expert(lab):
    lab.start("--rate", "0")
    lab.put("TRMD", 3)
    lab.wait("S:TRMD_RBV", 3)
    count = lab.value("S:ACQ:COUNT")
    lab.put("FORCE", 1)
    lab.wait("S:ACQ:COUNT", count + 1)
    lab.put("ARM", 1)
    lab.wait("S:TRMD_RBV", 2)
    lab.put("STOP", 1)
    lab.wait("S:TRMD_RBV", 3)
    lab.put("CMD", "C1:VDIV?")
    assert lab.value("S:REPLY") == "C1:VDIV 100E-3 V"
    lab.put("CMD", "C1:VDIV 0.5")
    assert lab.value("S:C1:VDIV_RBV") == 0.5
    lab.put("CMD", "NONSENSE 1")
    assert "unknown command (CMR 1)" in lab.value("S:LASTREJECT.VAL$")
    lab.put("STORE", 1)
    lab.put("CMD", "DIR? DISK,HDD")
    assert "C1Trace00000.trc" in lab.value("S:REPLY")
    lab.scope.say({"disk_full": True})

    def refused():
        lab.put("STORE", 1)
        return "disk refused" in lab.value("S:LASTREJECT.VAL$")

    wait_for(refused, "refusal of the scope's disk")


def test_a_question_that_the_scope_does_not_know_is_explained_and_costs_nothing_else(lab):
    lab.start("--rate", "100")
    lab.wait("S:C2:WF", lambda reading: reading["severity"] == NO_ALARM)
    lab.put("CMD", "NONSENSE?")  # the scope stays silent for longer than a silent box is waited for
    assert "'NONSENSE?': unknown command (CMR 1)" in lab.value("S:LASTREJECT.VAL$")
    assert (lab.value("S:ONLINE"), lab.value("S:RECONNECTS")) == (1, 0)
    lab.put("TRMD", 3)
    lab.put("MSIZ", 1e6)
    lab.put("ARM", 1)
    lab.wait("S:C2:DX", lambda reading: reading["value"] < 2e-12)
    lab.put("CMD", "C2:WF? ALL")
    assert "REPLY holds" in lab.value("S:LASTREJECT.VAL$")
    assert (lab.value("S:ONLINE"), lab.value("S:RECONNECTS")) == (1, 0)


def test_measurements_follow_the_input(lab):
    """Five times the pulse on a baseline of 150 mV, without noise: all that is measured moves, and agrees with WF."""
    lab.start("--rate", "100")
    lab.put("C2:VDIV", 0.5)
    names = ("MEAN", "PKPK", "MAX", "MIN", "RMS", "SDEV")

    def measured(want):
        reading = [lab.read(f"S:C2:{name}") for name in (*names, "WF")]
        same = len({each["timestamp"] for each in reading}) == 1 and all(each["severity"] == 0 for each in reading)
        return same and want(np.array(reading[-1]["value"])) and (reading, np.array(reading[-1]["value"]))

    before, _ = wait_for(lambda: measured(lambda volts: volts.min() > -0.6), "small pulses")
    pulse = {"name": "C2", "amplitude": -1.5, "spread": 0.0, "noise": 0.0, "baseline": 0.15}
    lab.scope.say({"channel": pulse})
    after, volts = wait_for(lambda: measured(lambda volts: volts.min() < -1.2), "large pulses")
    wanted = (
        volts.mean(),
        volts.max() - volts.min(),
        volts.max(),
        volts.min(),
        np.sqrt((volts**2).mean()),
        volts.std(),
    )
    for name, old, new, value in zip(names, before, after, wanted, strict=False):
        assert new["value"] == pytest.approx(value, rel=1e-3, abs=1e-5), name
        assert abs(new["value"] - old["value"]) > 0.02, name


def test_what_autostore_keeps_stays_when_its_mode_is_put(lab):
    lab.start()
    lab.scope.say({"panel": "STST C3,HDD,AUTO,OFF,FORMAT,MATLAB"})
    lab.put("AUTOSTORE", 2)
    assert lab.value("S:AUTOSTORE_RBV") == 2
    lab.put("CMD", "STST?")
    assert lab.value("S:REPLY") == "STST C3,HDD,AUTO,FILL,FORMAT,MATLAB"


def test_an_overload_alarms_and_ends(lab):
    lab.start()
    lab.scope.say({"channel": {"name": "C2", "overload": True}})
    assert lab.wait("S:C2:OVERLOAD", 1)["severity"] == MAJOR
    assert lab.read("S:C2:CPL_RBV")["severity"] == MAJOR
    lab.wait("S:TROUBLE", lambda reading: (reading["value"], reading["severity"]) == ("C2 overloaded", MAJOR))
    lab.put("C2:CPL", 2)  # which is what ends it at the scope
    assert lab.wait("S:C2:OVERLOAD", 0)["severity"] == NO_ALARM
    assert lab.read("S:C2:CPL_RBV")["severity"] == NO_ALARM
    lab.wait("S:TROUBLE", lambda reading: (reading["value"], reading["severity"]) == ("", NO_ALARM))


def test_a_slow_scope_is_not_lost(lab):
    lab.start("--rate", "5", more="channels = 1\n")
    lab.scope.say({"slow": 0.3})
    count = lab.value("S:ACQ:COUNT")
    lab.put("TRMD", 3)
    lab.put("ARM", 1)
    lab.wait("S:ACQ:COUNT", lambda reading: reading["value"] > count)
    assert (lab.value("S:ONLINE"), lab.value("S:RECONNECTS")) == (1, 0)


def test_lost_and_healed(lab):
    lab.start()
    lab.wait("S:C2:WF", lambda reading: reading["severity"] == NO_ALARM)
    lab.scope.say({"power": False})
    lab.wait("S:ONLINE", lambda reading: (reading["value"], reading["severity"]) == (0, MAJOR))
    for name in ("TDIV", "TDIV_RBV", "C2:WF", "EVENT", "RUN:STATE"):
        assert (lab.read(f"S:{name}")["severity"], lab.read(f"S:{name}")["status"]) == (INVALID, COMM), name
    lab.scope.say({"power": True})
    lab.wait("S:ONLINE", 1)
    lab.put("TRMD", 0)
    lab.wait("S:C2:WF", lambda reading: reading["severity"] == NO_ALARM)


def test_vicp_mode_is_told_with_its_cure(lab):
    lab.site()
    lab.box().say({"vicp": True})
    lab.ioc()
    lab.wait("S:ERROR.VAL$", lambda reading: "Remote to LXI" in reading["text"])


def test_blocks_that_lie_are_counted_and_the_next_is_shown(lab):
    lab.start()
    lost = lab.value("S:LOST")
    lab.scope.say({"lying": 1})
    lab.wait("S:LOST", lambda reading: reading["value"] > lost)
    count = lab.value("S:ACQ:COUNT")
    lab.wait("S:ACQ:COUNT", lambda reading: reading["value"] > count)
    assert lab.value("S:RECONNECTS") == 0


def test_other_devices_go_on_while_a_large_trace_comes(lab):
    """The same process serves a thermostat that is read five times a second."""
    lab.other_port = free_port()
    lab.site("fullpts = 16000000\n", names=("T",))
    lab.process("tests.newbox.simulator", "--port", lab.other_port).line("listening")
    lab.box("--rate", "20")
    lab.ioc()
    lab.wait("S:ONLINE", 1)
    lab.wait("T:ONLINE", 1)
    lab.put("TRMD", 3)
    for channel in ("C1", "C3", "C4"):
        lab.put(f"{channel}:ON", 0)
    lab.put("MSIZ", 1.6e7)
    lab.libca.monitor(f"{lab.prefix}T:POLLS")
    count = lab.value("S:ACQ:COUNT")
    lab.put("ARM", 1)
    began, before = time.monotonic(), lab.value("T:POLLS")
    lab.wait("S:ACQ:COUNT", lambda reading: reading["value"] > count, 90)
    took, polls = time.monotonic() - began, lab.value("T:POLLS") - before
    assert lab.value("T:RECONNECTS") == 0 and lab.value("S:RECONNECTS") == 0
    assert lab.read("S:C2:WF")["count"] <= 10_000
    assert polls >= 0.5 * took / lab_period(lab), (polls, took)


def lab_period(lab) -> float:
    """Seconds between two polls of the thermostat when nothing else is going on, at least."""
    before, began = lab.value("T:POLLS"), time.monotonic()
    lab.wait("T:POLLS", lambda reading: reading["value"] >= before + 5)
    return (time.monotonic() - began) / 5
