"""A supply that is late, silent, garbled, gone: no value under another's name, nothing written, healed by itself."""

import random
import socket
import threading

import pytest

from iocs.signals import Catalogue
from tests.hv_lab import HvLab
from tests.processes import free_port, wait_for
from tests.thermostat_lab import COMM, INVALID, MAJOR, NO_ALARM


@pytest.fixture
def lab(tmp_path):
    with HvLab(tmp_path) as lab:
        yield lab


def well(lab, name="CH0:VMON"):
    return lab.see(name, lambda reading: reading["severity"] == NO_ALARM)


FAULTS = {
    "late": {"late": 1, "late_by": 0.75},
    "later": {"late": 2, "late_by": 1.5},
    "lost": {"lost": 1},
    "ignored": {"ignored": 1},
    "doubled": {"doubled": 1},
    "doubled later": {"doubled": 1, "doubled_by": 0.02},
    "merged": {"merged": 1},
    "split": {"split": True},
    "garbled": {"garbled": 1},
    "non_ascii": {"non_ascii": 1},
    "truncated": {"truncated": 1},
    "cut": {"cut": 1},
    "elements": {"elements": 1},
    "another_board": {"another_board": 1},
    "flipped": {"flipped": 1},
    "noise": {"noise": 40},
}


GROUPS = (
    ("late", "lost", "ignored"),
    ("later", "noise"),
    ("doubled", "doubled later", "merged", "split"),
    ("garbled", "non_ascii", "truncated", "cut"),
    ("elements", "another_board", "flipped"),
)


@pytest.mark.parametrize("faults", GROUPS, ids=" ".join)
def test_no_value_is_ever_under_another_name(lab, faults):
    """Every channel and quantity has values of its own; whatever is done to the wire, they never meet."""
    lab.running("poll_settings = 0.3\n")
    own = {}
    for n in range(4):
        lab.say(channel={"number": n, "vset": 100.0 + n, "volts": 100.0 + n, "on": True, "iset": 20.0 + n, "load": 1e8})
        own |= {f"CH{n}:VSET_RBV": {0.0, 100.0 + n}, f"CH{n}:VMON": {0.0, 100.0 + n}, f"CH{n}:VSET": {0.0, 100.0 + n}}
        own |= {f"CH{n}:ISET_RBV": {100.0, 20.0 + n}, f"CH{n}:RUP_RBV": {50.0}, f"CH{n}:IMON": {0.0, 1.0 + n / 100}}
    for n in range(4):
        lab.see(f"CH{n}:VMON", 100.0 + n)
        lab.see(f"CH{n}:ISET_RBV", 20.0 + n)
        lab.see(f"CH{n}:IMON", pytest.approx(1.0 + n / 100))
    for name in own:
        lab.libca.monitor(f"{lab.prefix}HV:{name}")
    spoilt = random.Random(1470)
    for fault in faults * 4:
        lab.say(**FAULTS[fault])
        wanted = len(lab.wire()) + spoilt.randrange(4, 40)
        wait_for(lambda wanted=wanted: len(lab.wire()) > wanted, "traffic")
    lab.say(split=False)
    well(lab)
    lab.online()
    beat = lab.read("HV:CH3:VMON")["timestamp"]
    lab.see("CH3:VMON", lambda reading: reading["timestamp"] > beat and reading["severity"] == NO_ALARM)
    for name, values in own.items():
        seen = {event[0] for event in lab.libca.events(f"{lab.prefix}HV:{name}") if isinstance(event, list)}
        assert all(any(value == pytest.approx(good) for good in values) for value in seen), (name, seen)
    assert lab.requests() == [], "nothing is written to cure the line"


def test_every_fault_is_in_a_group():
    assert sorted(fault for group in GROUPS for fault in group) == sorted(FAULTS)


def test_orders_are_never_sent_twice_whatever_is_lost(lab):
    lab.running("")
    stop = threading.Event()

    def lose():
        while not stop.wait(0.1):
            lab.say(lost=1)

    thread = threading.Thread(target=lose)
    thread.start()
    try:
        for volts in range(1, 6):
            lab.put("CH0:VSET", volts)
        lab.put("CH0:ON", 1)
    finally:
        stop.set()
        thread.join()
    lab.say(lost=0)
    lab.online()
    sent = lab.requests()
    assert len(sent) == len(set(sent)), sent
    noted = [line for line in lab.put_log() if line["accepted"]]
    assert all(line["readback"] in (line["new"], pytest.approx(line["new"])) for line in noted)


def test_a_dead_unit_is_invalid_within_two_polls_keeps_its_values_and_heals(lab):
    lab.running("")
    lab.say(channel={"number": 1, "vset": 50.0, "volts": 50.0, "on": True})
    lab.see("CH1:VMON", 50.0)
    lab.say(mute=True)  # half-open: connected, and silent
    lost = lab.see("ONLINE", lambda reading: (reading["value"], reading["severity"]) == (0, MAJOR), 10)
    last = lab.read("HV:CH1:VMON")
    assert (last["value"], last["severity"], last["status"]) == (50.0, INVALID, COMM)
    assert lost["timestamp"] - last["timestamp"] < 2 * 0.3 + 0.6, "two polls, and a turn of the watch on them"
    for name in ("CH1:VSET", "CH1:STAT", "ALARM", "SERIAL", "ROW", "CH1:TRIPPED"):
        assert lab.read(f"HV:{name}")["status"] == COMM, name
    lab.say(mute=False)
    lab.online()
    assert well(lab, "CH1:VMON")["value"] == 50.0 and lab.hv("CH1:VSET") == 50.0
    for signal in Catalogue.from_json(lab.hv("PVS")).signals:
        if not signal.name.endswith(("IMONL", "IHIST")):
            assert lab.read(f"HV:{signal.name}")["severity"] == NO_ALARM, signal.name
    assert lab.hv("RECONNECTS") >= 1 and lab.requests() == []


def test_power_cut_in_mid_ramp(lab):
    lab.running("", "--speed", "1")
    lab.put("CH0:VSET", 1000)
    lab.put("CH0:ON", 1)
    lab.see("CH0:VMON", lambda reading: reading["value"] > 20)
    sent = lab.requests()
    lab.say(power=False)
    lab.see("ONLINE", 0)
    assert lab.read("HV:CH0:VMON")["status"] == COMM
    lab.say(power=True)
    lab.online()
    reading = well(lab)
    assert reading["value"] == 0 and (lab.hv("CH0:ON"), lab.hv("CH0:VSET")) == (0, 1000)
    assert lab.hv("CH0:TRIPPED") == 0 and lab.requests() == sent, "the unit is the truth, and nothing is restored"


def test_kill_9_in_mid_ramp_and_a_restart_write_nothing(lab):
    ioc = lab.running("", "--speed", "1")
    lab.put("CH0:VSET", 1000)
    lab.put("CH0:ON", 1)
    lab.see("CH0:RAMPING", 1)
    sent = lab.requests()
    assert sent == ["CH:0,PAR:VSET,VAL:1000.0", "CH:0,PAR:ON"]
    ioc.kill()
    wait_for(lambda: lab.wire()[-1]["what"] in ("closed", "reset"), "end of the session")
    again = lab.ioc()
    lab.online()
    lab.see("CH0:RAMPING", 1)
    assert (lab.hv("CH0:VSET"), lab.hv("CH0:ON")) == (1000, 1)
    assert again.stop() == 0
    assert lab.requests() == sent and lab.wire()[-1]["what"] == "closed"


def test_the_connection_is_cut_again_and_again(lab):
    lab.running("")
    for number in range(1, 4):
        lab.say(drop=True)
        lab.see("RECONNECTS", number)
        well(lab)
    assert lab.requests() == []


def test_a_stuck_session_says_what_to_do(lab):
    lab.site()
    lab.supply()
    lab.say(stuck=True)
    lab.ioc()
    text = lab.see("ERROR.VAL$", lambda reading: "session" in reading["text"])["text"]
    assert "close the program that holds it" in text and "switching the unit off and on frees it" in text
    assert lab.hv("ONLINE") == 0
    lab.say(power=False)
    lab.say(power=True)
    lab.online()


def test_the_one_session_is_taken_by_somebody_else(lab):
    lab.site()
    lab.supply()
    with socket.create_connection(("127.0.0.1", lab.box_port)):
        wait_for(lambda: any(said["what"] == "connected" for said in lab.wire()), "foreign session")
        lab.ioc()
        lab.see("ERROR.VAL$", lambda reading: "one session" in reading["text"])
    lab.online()


def test_nothing_listens(lab):
    lab.site("", link=f"tcp://127.0.0.1:{free_port()}")
    lab.ioc()
    lab.see("ERROR.VAL$", lambda reading: "refused" in reading["text"])
    assert lab.read("HV:MODEL")["severity"] == INVALID


def test_an_unknown_word_is_invalid_and_the_rest_goes_on(lab):
    lab.running("poll_settings = 0.3\n")
    lab.say(channel={"number": 2, "imrange": "MIDDLE"})
    lab.see("CH2:IMRANGE_RBV", lambda reading: reading["severity"] == INVALID)
    assert well(lab)["value"] == 0 and lab.hv("ONLINE") == 1
    assert lab.read("HV:CH2:IMONH")["severity"] == INVALID
