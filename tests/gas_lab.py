"""A simulated gas board, its IOC, and a libca client, each a process."""

import subprocess
from pathlib import Path

from iocs.signals import Catalogue
from tests.processes import Process, wait_for, write_site
from tests.thermostat_lab import Lab

TABLE = '[[device]]\nname = "GAS"\ntype = "iocs.gas:Gas"\nlink = "{link}"\n'
QUICK = "period = 0.2\ntimeout = 0.5\nboot = 0.3\n"


class GasLab(Lab):
    """A board on a pty (or on TCP), under a name that stays."""

    def __init__(self, directory: Path, kind: str = "pty") -> None:
        super().__init__(directory)
        self.port = directory / "usb-board"
        self.where = ("--pty", self.port) if kind == "pty" else ("--port", self.box_port)
        self.link = f"serial://{self.port}" if kind == "pty" else f"tcp://127.0.0.1:{self.box_port}"

    def site(self, more: str = QUICK, rest: str = "", names=()) -> Path:
        return write_site(self.directory, self.prefix, TABLE.format(link=self.link) + more, rest)

    def box(self, *options: object) -> Process:
        """Plug the board in."""
        process = self.process("drivers.bme680.simulator", *self.where, "--boot", 0.1, *options, stdin=subprocess.PIPE)
        process.line("listening")
        return process

    def set(self, box: Process, **changes: object) -> None:
        """Change the board and wait until it is so."""
        before = len(box.out)
        box.say(changes)
        wait_for(lambda: any(line.startswith("set") for line in box.out[before:]) or box.err, "change of the board")
        assert not box.err, box.err

    def catalogue(self) -> Catalogue:
        return Catalogue.from_json(self.value("GAS:PVS"))

    def grows(self, name: str, by: int = 1) -> None:
        """Wait until a count has grown."""
        before = self.value(f"GAS:{name}")
        self.wait(f"GAS:{name}", lambda reading: reading["value"] >= before + by)
