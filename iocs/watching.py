"""`python -m iocs list SITE --watch`: a live table in the terminal, over the network, by what the catalogues tell.

Shown is what each device is about, what a name was given for, and whatever is in alarm at the moment.
"""

import asyncio
import math
import signal
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from iocs.ca.client import NOTHING, Client, Watch
from iocs.screens.families import key_signals
from iocs.signals import Catalogue, Kind, Reading, Severity, Signal, label

CATALOGUE = "PVS"
ALWAYS = ("ONLINE", "ERROR")
KEYS = 6  # values of a device that are shown unasked
EVERY = 0.25  # s between two pictures
_STYLES = {Severity.MINOR: "yellow", Severity.MAJOR: "bold red", Severity.INVALID: "magenta"}


@dataclass(slots=True)
class Line:
    """A PV as it is now."""

    pv: str
    signal: Signal
    reading: Reading = NOTHING

    @property
    def in_alarm(self) -> bool:
        """Whether somebody should look."""
        return self.reading.connected and self.reading.severity > Severity.NO_ALARM


class Board:
    """All PVs of a site's devices, kept up to date.

    Args:
        client: that finds them.
        prefixes: of the devices, e.g. "LAB:HV:".
        patterns: names to show, with or without the site's prefix; `*` and `?` stand for other characters. None: what
            each device is about.
    """

    def __init__(self, client: Client, prefixes: Sequence[str], patterns: Sequence[str] = ()) -> None:
        self._client, self._patterns = client, patterns
        self._catalogues: dict[str, str] = {}
        self._watches: dict[str, list[Watch]] = {}
        self.lines: dict[str, dict[str, Line]] = {prefix: {} for prefix in prefixes}
        self.served: dict[str, bool] = dict.fromkeys(prefixes, False)
        for prefix in prefixes:
            client.watch(prefix + CATALOGUE, partial(self._told, prefix))

    def _told(self, prefix: str, reading: Reading) -> None:
        """Take over a device's catalogue when it comes and whenever it changes."""
        self.served[prefix] = reading.connected
        if not reading.connected or not isinstance(reading.value, str) or reading.value == self._catalogues.get(prefix):
            return
        catalogue = Catalogue.from_json(reading.value)
        self._catalogues[prefix] = reading.value
        for watch in self._watches.get(prefix, ()):
            watch.end()
        shown = [each for each in catalogue.signals if each.count == 1 and each.kind is not Kind.TEXT]
        self.lines[prefix] = {each.name: Line(prefix + each.name, each) for each in shown}
        self._watches[prefix] = [
            self._client.watch(_long(line), partial(_got, line)) for line in self.lines[prefix].values()
        ]

    def wanted(self) -> Iterable[Line]:
        """Give the lines to show, in the order of the catalogues."""
        for lines in self.lines.values():
            signals = [line.signal for line in lines.values()]
            keys = {*ALWAYS, *(each.name for each in key_signals(signals)[:KEYS])}
            for name, line in lines.items():
                asked = self._asked(line.pv) if self._patterns else name in keys
                if asked or line.in_alarm:
                    yield line

    def _asked(self, pv: str) -> bool:
        return any(fnmatchcase(pv, pattern) or fnmatchcase(pv, f"*:{pattern}") for pattern in self._patterns)


def _long(line: Line) -> str:
    return f"{line.pv}.VAL$" if line.signal.kind is Kind.STR else line.pv  # plain, a text ends after 39 bytes


def _got(line: Line, reading: Reading) -> None:
    line.reading = reading


def value_text(line: Line) -> str:
    """Give a value as people read it, with its unit; a dash for none."""
    value, signal = line.reading.value, line.signal
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if signal.kind is Kind.FLOAT:
        number = f"{value:.{signal.precision}f}" if signal.precision < 9 else f"{value:.4g}"
        return f"{number} {signal.unit}".rstrip()
    return f"{label(signal, value)} {signal.unit}".rstrip()


def age_text(seconds: float) -> str:
    """Give an age in the largest unit that leaves a number above 1."""
    for span, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= span:
            return f"{seconds / span:.0f} {unit}"
    return f"{max(seconds, 0.0):.0f} s"


def table(board: Board, now_ns: int, height: int) -> Table:
    """Make the picture.

    Args:
        board: what is known.
        now_ns: ns since 1970.
        height: lines of the terminal; what does not fit is counted in the last one.
    """
    made = Table(box=None, header_style="bold", pad_edge=False, expand=True)
    shared: dict[str, Any] = {"no_wrap": True, "overflow": "ellipsis"}
    made.add_column("PV", **shared)
    made.add_column("value", justify="right", **shared)
    made.add_column("alarm", **shared)
    made.add_column("age", justify="right", **shared)
    made.add_column("description", ratio=1, style="dim", **shared)  # what the others leave
    missing = [prefix for prefix, served in board.served.items() if not served]
    for prefix in missing:
        made.add_row(f"{prefix}*", Text("not served", "magenta"), "", "", "nobody answers: is its IOC running?")
    lines = list(board.wanted())
    room = max(height - 3 - len(missing), 1)
    for line in lines[:room]:
        made.add_row(line.pv, *_cells(line, now_ns), line.signal.doc)
    if len(lines) > room:
        made.add_row(
            Text(f"... {len(lines) - room} more", "dim"), "", "", "", "a taller window, or names after --watch"
        )
    return made


def _cells(line: Line, now_ns: int) -> tuple[Text, Text, str]:
    reading = line.reading
    if not reading.connected:
        return Text(value_text(line), "dim"), Text("not served", "magenta"), ""
    style = _STYLES.get(reading.severity, "")
    alarm = f"{reading.severity.name} {reading.status.name}" if reading.severity else ""
    age = age_text((now_ns - reading.time_ns) / 1e9) if reading.time_ns else ""
    return Text(value_text(line), style), Text(alarm, style), age


async def watch(prefixes: Sequence[str], patterns: Sequence[str], console: Console) -> None:
    """Show the table until SIGINT or SIGTERM."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    async with Client() as client:
        board = Board(client, prefixes, patterns)
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while not ended.is_set():
                live.update(table(board, time.time_ns(), console.height), refresh=True)
                try:
                    await asyncio.wait_for(ended.wait(), EVERY)
                except TimeoutError:
                    continue
