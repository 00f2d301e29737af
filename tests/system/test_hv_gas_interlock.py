"""The gas trips the high voltage, as in the example laboratory: each device in a process of its own."""

import signal

import pytest

from iocs.interlock import State
from tests.gas_hv_lab import HOW, MAX_AGE, GasAndHv
from tests.thermostat_lab import NO_ALARM


@pytest.fixture
def lab(tmp_path):
    with GasAndHv(tmp_path) as lab:
        yield lab


@pytest.mark.parametrize("how", HOW)
def test_what_is_wrong_with_the_gas_trips_the_supply_in_time(lab, how):
    gas = lab.start()
    began = lab.spoil(how, gas)
    lab.see("ILK1:STATE", State.TRIPPED)
    gas.popen.send_signal(signal.SIGCONT)
    offs = lab.offs()
    assert {said["text"].split("CH:")[1][0] for said in offs} == {"1", "2"} and lab.hv("CH0:LIVE") == 1
    took = (offs[0]["time_ns"] - began) / 1e9
    # s: the sensor's own loss, or the age of the last beat, then the delay; and what a loaded machine adds
    assert took < {"humid": 0.5, "cable": 3.5, "kill": MAX_AGE + 0.5, "freeze": MAX_AGE + 0.5}[how] + 5.0
    assert took > 0.5 if how == "humid" else took > 0.3
    (noted, _) = [line for line in lab.put_log() if line.get("by")]
    assert noted["by"].startswith(f"interlock humid gas: {lab.prefix}GAS:RH ")
    lab.refused("CH1:ON", 1, "the interlock humid gas has tripped")


def test_a_gas_restart_shorter_than_max_age_trips_nothing(lab):
    gas = lab.start(max_age=60)  # so that a loaded machine starts the program in less
    before = lab.value("GAS:HEARTBEAT")
    lab.libca.monitor(f"{lab.prefix}HV:ILK1:STATE")
    assert gas.stop() == 0
    lab.gas()
    lab.wait("GAS:HEARTBEAT", lambda reading: 1 < reading["value"] != before)
    lab.wait("GAS:RH", lambda reading: reading["severity"] == NO_ALARM)
    seen = {event[0] for event in lab.libca.events(f"{lab.prefix}HV:ILK1:STATE") if isinstance(event, list)}
    assert seen == {State.ARMED} and lab.requests() == []
    lab.board.say({"humidity": 80})  # and it is the new process that is watched now
    lab.see("ILK1:STATE", State.TRIPPED)


def test_a_restart_of_the_supplys_ioc_trips_nothing_and_restores_nothing(lab):
    lab.start()
    lab.owner.kill()
    lab.ioc("--only", "HV")
    lab.online()
    lab.see("ILK1:STATE", State.ARMED)
    assert lab.hv("CH1:LIVE") == 1 and lab.requests() == []
