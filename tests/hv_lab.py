"""A laboratory with a simulated CAEN supply: its process, its wire log, an IOC, libca."""

import json
import subprocess

from tests.processes import Process, wait_for, write_site
from tests.thermostat_lab import Lab

CHANNEL = """
[device.channel.0]
name = "MESH"
limits.VSET = [0, 1000]

[device.channel.1]
limits.VSET = [0, 600]
limits.ISET = [0, 200]
max_step = 100
"""


class HvLab(Lab):
    """A supply on TCP (or a pty), everything a process. PVs are asked for as "HV:CH0:VMON"."""

    box: Process
    _said = 0

    def site(self, more: str = "", *, link: str = "", rest: str = "", poll: float = 0.3) -> None:
        """Write the site file; `more` goes on with the supply's table."""
        link = link or f"tcp://127.0.0.1:{self.box_port}"
        table = f'[[device]]\nname = "HV"\ntype = "iocs.hv:HV"\nlink = "{link}"\npoll = {poll}\npoll_ramping = 0.2\n'
        write_site(self.directory, self.prefix, f"{table}{more}", rest)

    def supply(self, *options: object, port: bool = True) -> Process:
        """Switch the simulated supply on."""
        where = ("--port", self.box_port) if port else ()
        log = ("--log", self.directory / "wire.jsonl")
        self.box = self.process("drivers.caen_hv.simulator", *where, *log, *options, stdin=subprocess.PIPE)
        self.box.line("listening")
        return self.box

    def say(self, **changes: object) -> None:
        """Set faults and states of the simulated supply; they hold when this returns.

        Lines are obeyed in order, and one that makes no sense is reported: so it tells when the one before it holds.
        """
        self._said += 1
        self.box.say(changes)
        self.box.say({f"said {self._said}": True})
        wait_for(lambda: any(f"said {self._said}=" in line for line in self.box.err), f"{changes} to hold")

    def wire(self) -> list[dict]:
        """Give all that was said on the wire so far."""
        path = self.directory / "wire.jsonl"
        text = path.read_text() if path.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def requests(self, verb: str = "SET") -> list[str]:
        """Give the requests of one verb, without what they all begin with: `CH:0,PAR:VSET,VAL:250.0`."""
        found = [said["text"] for said in self.wire() if said["what"] == "request"]
        return [text.split(f"CMD:{verb},")[1].removesuffix("\\r") for text in found if f"CMD:{verb}," in text]

    def running(self, more: str = CHANNEL, *options: object, speed: float = 20.0) -> Process:
        """Write the site file, start the supply and its IOC, wait until it is online."""
        self.site(more)
        self.supply("--speed", speed, *options)
        ioc = self.ioc()
        self.online()
        return ioc

    def online(self) -> None:
        """Wait until the supply is online and its first values are there."""
        self.wait("HV:ONLINE", 1)

    def put(self, name: str, value: object) -> None:
        """Put through libca and wait for the callback."""
        self.libca.put(f"{self.prefix}HV:{name}", value)

    def hv(self, name: str):
        """Read a PV's value."""
        return self.value(f"HV:{name}")

    def see(self, name: str, wanted, deadline: float = 30.0) -> dict:
        """Wait until a PV has a value, or until `wanted(reading)` is true."""
        return self.wait(f"HV:{name}", wanted, deadline)

    def refused(self, name: str, value: object, why: str) -> None:
        """Put what must be refused: the reason is told, PV and unit stay as they are."""
        before, sent = self.read(f"HV:{name}"), len(self.requests())
        self.put(name, value)
        reason = self.hv("LASTREJECT.VAL$")
        assert why in reason, reason
        after = self.read(f"HV:{name}")
        kept = ("value", "severity", "status")
        assert [after[key] for key in kept] == [before[key] for key in kept]
        assert len(self.requests()) == sent, self.requests()[sent:]

    def put_log(self) -> list[dict]:
        """Give the lines of the put log so far."""
        path = self.directory / "state" / "putlog.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
