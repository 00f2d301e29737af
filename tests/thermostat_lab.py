"""A small laboratory for system tests: thermostats (`tests/newbox`), an IOC, clients of both make."""

import subprocess
from pathlib import Path

from tests.libca import Libca
from tests.processes import DEADLINE, Process, ca_environment, free_port, random_prefix, wait_for, write_site

THERMOSTAT = '[[device]]\nname = "{name}"\ntype = "tests.newbox.device:Thermostat"\nlink = "tcp://127.0.0.1:{port}"\n'

NO_ALARM, MINOR, MAJOR, INVALID = range(4)
COMM, UDF, DISABLE = 9, 17, 18


class Lab:
    """One site on ports of its own. Everything that it starts ends with it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.prefix = random_prefix()
        self.environment = ca_environment(free_port())
        self.box_port = free_port()
        self._ends: list = []
        self._libca: Libca | None = None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for thing in reversed(self._ends):
            thing.__exit__(*exception)

    def site(self, more: str = "", rest: str = "", names=("T",)) -> Path:
        """Write the site file: thermostats, all of them at the same port; `more` goes on with the last one's table."""
        tables = "".join(THERMOSTAT.format(name=name, port=self.box_port) for name in names)
        return write_site(self.directory, self.prefix, tables + more, rest)

    def process(self, *arguments: object, **options) -> Process:
        """Start a program of ours."""
        process = Process(*map(str, arguments), environment=self.environment, **options)
        self._ends.append(process)
        return process

    def box(self, *ports: int) -> Process:
        """Switch a simulated thermostat on."""
        port = ports[0] if ports else self.box_port
        process = self.process("tests.newbox.simulator", "--port", port, stdin=subprocess.PIPE)
        process.line("listening")
        return process

    def fault(self, box: Process, **attributes) -> None:
        """Set attributes of a simulated thermostat and wait until they hold."""
        before = len(box.out)
        box.say(attributes)
        wait_for(lambda: any(line.startswith("set") for line in box.out[before:]), "fault set")

    def ioc(self, *options: object, ready: str = "serving") -> Process:
        """Start `python -m iocs run`; waits for its first line."""
        process = self.process("iocs", "run", self.directory / "site.toml", *options)
        process.line(ready)
        return process

    @property
    def libca(self) -> Libca:
        """A libca client; the same one for the whole test, so that its connections live on."""
        if self._libca is None:
            self._libca = Libca(self.environment)
            self._ends.append(self._libca)
        return self._libca

    def read(self, name: str) -> dict:
        """Read a PV of the site through libca."""
        return self.libca.read(self.prefix + name)

    def value(self, name: str):
        """Read a PV's value; text as text."""
        got = self.read(name)
        return got["text"] if got["type"].endswith("char") else got["value"]

    def wait(self, name: str, wanted, deadline: float = DEADLINE):
        """Wait until a PV has a value, or until `wanted(reading)` is true; gives the reading."""
        check = wanted if callable(wanted) else lambda reading: reading["value"] == wanted
        last = {}

        def there():
            last.update(self.read(name))
            return check(last)

        try:
            wait_for(there, f"{name} as wanted", deadline)
        except AssertionError as error:
            raise AssertionError(f"{error}; last reading: {last}") from None
        return last
