"""A gas sensor and the supply that it trips: each on its simulator, each with an IOC of its own."""

import signal
import subprocess
import time

from iocs.interlock import State
from tests.hv_lab import HvLab
from tests.processes import Process, free_port, write_site

HOW = ("humid", "cable", "kill", "freeze")
PERIOD, LOST_AFTER, DELAY, MAX_AGE = 0.3, 1.5, 0.5, 5.0  # s
GAS = """
[[device]]
name = "GAS"
type = "iocs.gas:Gas"
link = "serial://{port}"
period = {period}
lost_after = {lost_after}
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
delay = {delay}
max_age = {max_age}
channels = [1, 2]
"""


class GasAndHv(HvLab):
    """A gas sensor on a pty, a supply on TCP, an IOC for each."""

    def start(self, max_age=MAX_AGE):
        self.server = free_port()
        self.port = self.directory / "usb-board"
        devices = HV.format(box=self.box_port, prefix=self.prefix, server=self.server, delay=DELAY, max_age=max_age)
        devices += GAS.format(port=self.port, period=PERIOD, lost_after=LOST_AFTER)
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

    def spoil(self, how: str, gas: Process) -> int:
        """Let something be wrong with the gas; give when, ns since 1970."""
        began = time.time_ns()
        match how:
            case "humid":
                self.board.say({"humidity": 80})
            case "cable":
                self.board.say({"unplug": True})
            case "kill":
                gas.popen.kill()
            case "freeze":
                gas.popen.send_signal(signal.SIGSTOP)
        return began

    def mend(self, how: str, gas: Process) -> Process:
        """Take it back; give the IOC of the gas sensor."""
        match how:
            case "humid":
                self.board.say({"humidity": 20})
            case "cable":
                self.board.say({"replug": True})
            case "kill":
                gas.popen.wait()
                return self.gas()
            case "freeze":
                gas.popen.send_signal(signal.SIGCONT)
        return gas

    def offs(self, since: int = 0) -> list[dict]:
        """Give the orders to switch off on the wire, after so many lines of it."""
        return [said for said in self.wire()[since:] if said["what"] == "request" and "PAR:OFF" in said["text"]]
