"""A PMU on the wire, its IOC and the archiver, each a process, and the ways to restart them."""

import subprocess
from pathlib import Path

from tests.processes import Process, ca_environment, free_port, random_prefix, write_site
from tests.pvs import pvs


class Lab:
    """Processes of one example: start what a test needs; all end with it.

    Args:
        directory: of the site file; state and CSV files go there.
        simulator: options of the simulated PMU.
        keys: more lines of the PMU's table; `link` among them replaces the one by TCP.
        rest: more tables of the site file.
        idcode: of the stream.
    """

    def __init__(self, directory: Path, *simulator: str, keys: str = "", rest: str = "", idcode: int = 1) -> None:
        self.prefix, self.port, self.pmu_port, self.data_port = random_prefix(), free_port(), free_port(), free_port()
        self.environment = ca_environment(self.port)
        self.simulator_options = [option.format(data=self.data_port) for option in simulator]
        self.directory = directory
        keys = keys.replace("PMU_PORT", str(self.pmu_port)).replace("DATA_PORT", str(self.data_port))
        link = "" if "link =" in keys else f'link = "tcp://127.0.0.1:{self.pmu_port}"\n'
        table = f'[[device]]\nname = "PMU"\ntype = "pmu"\n{link}idcode = {idcode}\n'
        self.site = write_site(directory, self.prefix, table + keys, rest)
        self._running: list[Process] = []

    def start_simulator(self) -> Process:
        arguments = ("--port", str(self.pmu_port), *self.simulator_options)
        self.simulator = self._start("drivers.c37118.simulator", *arguments, stdin=subprocess.PIPE)
        self.simulator.line("idcode")
        return self.simulator

    def start_ioc(self) -> Process:
        self.ioc = self._start("iocs", "run", str(self.site), environment=self.environment)
        self.ioc.line("serving PMU")
        return self.ioc

    def start_archiver(self) -> Process:
        """Start the archiver and wait until it is connected to the PMU's row."""
        self.archiver = self._start("archiver", "run", str(self.site), environment=self.environment)
        self.archiver.line("ROW: connected")
        return self.archiver

    def csv_files(self) -> list[Path]:
        """Give the CSV files, oldest first."""
        return sorted(self.directory.glob("data/PMU_*.csv"))

    def rows(self) -> list[list[str]]:
        """Give the rows of all CSV files without their headers, oldest first."""
        return [line.split(",") for path in self.csv_files() for line in path.read_text().splitlines()[1:]]

    def pvs(self):
        """Watch the PMU's PVs."""
        return pvs(self.port, f"{self.prefix}PMU:")

    def __enter__(self):
        return self

    def __exit__(self, *exception: object) -> None:
        for process in reversed(self._running):
            process.kill()

    def _start(self, *arguments: str, **options) -> Process:
        process = Process(*arguments, **options)
        self._running.append(process)
        return process
