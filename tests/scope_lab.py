"""A simulated scope, its IOC, and a libca client, each a process."""

import subprocess
from pathlib import Path

from tests.processes import Process, write_site
from tests.thermostat_lab import THERMOSTAT, Lab

TABLE = '[[device]]\nname = "S"\ntype = "iocs.scope:Oscilloscope"\nlink = "vxi11://127.0.0.1:{port}/inst0"\n'


class ScopeLab(Lab):
    """A scope at a port that stays; `more` goes into its table."""

    def site(self, more: str = "", rest: str = "", names=()) -> Path:
        thermostats = "".join(THERMOSTAT.format(name=name, port=self.other_port) for name in names)
        return write_site(self.directory, self.prefix, thermostats + TABLE.format(port=self.box_port) + more, rest)

    def box(self, *options: object) -> Process:
        """Switch the scope on."""
        port = ("--port", self.box_port)
        self.scope = self.process("drivers.lecroy.simulator", *port, *options, stdin=subprocess.PIPE)
        self.scope.line("listening")
        return self.scope

    def start(self, *options: object, more: str = "") -> Process:
        """Start all, and wait until the scope is online."""
        self.site(more)
        self.box(*options)
        ioc = self.ioc()
        self.wait("S:ONLINE", 1)
        return ioc

    def put(self, name: str, value: object) -> None:
        self.libca.put(f"{self.prefix}S:{name}", value)

    def files(self, pattern: str = "C?-*.trc") -> list[Path]:
        """Files of runs."""
        return sorted((self.directory / "runs").glob(pattern))
