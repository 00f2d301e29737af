"""The gas trips the high voltage, as in the example laboratory: each device in a process of its own."""

import signal
import subprocess
import time

import pytest

from iocs.interlock import State
from tests.hv_lab import HvLab
from tests.processes import free_port, write_site
from tests.thermostat_lab import NO_ALARM

MAX_AGE = 5.0
GAS = """
[[device]]
name = "GAS"
type = "iocs.gas:Gas"
link = "serial://{port}"
period = 0.3
timeout = 0.5
boot = 0.3
warmup = 0
"""
HV = """
[[device]]
name = "HV"
type = "iocs.hv:HV"
link = "tcp://127.0.0.1:{box}"
poll = 0.3
poll_ramping = 0.2

[[device.interlock]]
name = "humid gas"
pv = "{prefix}GAS:RH"
server = "127.0.0.1:{server}"
high = 60
delay = 0.5
max_age = {max_age}
channels = [1, 2]
"""


class GasAndHv(HvLab):
    """A gas sensor on a pty, a supply on TCP, an IOC for each."""

    def start(self, max_age=MAX_AGE):
        self.server = free_port()
        self.port = self.directory / "usb-board"
        devices = HV.format(box=self.box_port, prefix=self.prefix, server=self.server, max_age=max_age)
        devices += GAS.format(port=self.port)
        write_site(self.directory, self.prefix, devices)
        self.supply("--speed", "20")
        options = ("--pty", self.port, "--boot", 0.1)
        self.board = self.process("drivers.bme680.simulator", *options, stdin=subprocess.PIPE)
        self.board.line("listening")
        gas = self.gas()
        self.owner = self.ioc("--only", "HV")
        self.online()
        self.see("ILK1:STATE", State.ARMED)
        for number in (0, 1, 2):
            self.say(channel={"number": number, "vset": 500.0, "volts": 500.0, "on": True})
        self.see("CH2:VMON", 500)
        return gas

    def gas(self):
        """Start the IOC of the gas sensor."""
        return self.ioc("--only", "GAS", "--port", self.server)


@pytest.fixture
def lab(tmp_path):
    with GasAndHv(tmp_path) as lab:
        yield lab


@pytest.mark.parametrize("how", ["humid", "cable", "kill", "freeze"])
def test_what_is_wrong_with_the_gas_trips_the_supply_in_time(lab, how):
    gas = lab.start()
    began = time.time_ns()
    match how:
        case "humid":
            lab.board.say({"humidity": 80})
        case "cable":
            lab.board.say({"unplug": True})
        case "kill":
            gas.popen.kill()
        case "freeze":
            gas.popen.send_signal(signal.SIGSTOP)
    lab.see("ILK1:STATE", State.TRIPPED)
    gas.popen.send_signal(signal.SIGCONT)
    offs = [said for said in lab.wire() if said["what"] == "request" and "PAR:OFF" in said["text"]]
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
