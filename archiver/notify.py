"""Running the command of `[notify]` when something has gone wrong: the message is its standard input."""

import asyncio
import logging
import time
from collections.abc import Callable
from fnmatch import fnmatchcase

from archiver.batch import Source
from archiver.notices import Notices
from archiver.record import Recorder
from iocs.archive_tables import NotifyTable
from iocs.config import Site
from iocs.signals import Reading, Severity

log = logging.getLogger(__name__)

PERIOD = 1.0  # s
ONLINE = "ONLINE"


async def run_command(table: NotifyTable, text: str) -> str:
    """Run the command with a message; gives what went wrong, empty when nothing did."""
    try:
        process = await asyncio.create_subprocess_exec(
            *table.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        return f"{table.command[0]} cannot be run: {error.strerror or error}"
    try:
        async with asyncio.timeout(table.timeout):
            _, errors = await process.communicate(text.encode())
    except TimeoutError:
        process.kill()
        await process.wait()
        return f"{table.command[0]} took more than {table.timeout:g} s and was ended"
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        return f"{table.command[0]} ended with {process.returncode}: {errors.decode(errors='replace').strip()[:300]}"
    return ""


class Notifier:
    """Watches the recorder, and tells.

    Args:
        site: whose `[notify]` says whom and what.
        table: that table.
        recorder: what is watched.
        clock: s, steady.
    """

    def __init__(
        self, site: Site, table: NotifyTable, recorder: Recorder, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.notices = Notices(table.most_per_hour)
        self._site, self._table, self._recorder, self._clock = site, table, recorder, clock
        self._offline: set[str] = set()  # devices whose box is away
        self._dropped: dict[str, int] = {}
        self._said = ""

    def listener(self, source: Source) -> Callable[[Reading], None] | None:
        """Give what is to hear a PV's readings, None where they say nothing to whoever is to be woken."""
        if source.name == ONLINE:
            return lambda reading: self._online(source, reading)
        if any(fnmatchcase(source.site_name, pattern) for pattern in self._table.alarms):
            return lambda reading: self._alarm(source, reading)
        return None

    def _online(self, source: Source, reading: Reading) -> None:
        if not reading.connected or reading.severity >= Severity.MAJOR:
            self._offline.add(source.device)
        else:
            self._offline.discard(source.device)

    def _alarm(self, source: Source, reading: Reading) -> None:
        if reading.connected and reading.severity is Severity.MAJOR:
            value = reading.value
            label = source.states[value] if isinstance(value, int) and 0 <= value < len(source.states) else value
            self.notices.bad(source.pv, f"{source.pv} is {label}: alarm {reading.status.name}", self._clock())
        elif reading.connected and reading.severity < Severity.MAJOR:
            self.notices.good(source.pv)

    def check(self) -> None:
        """Look at devices, stores and spools."""
        now, table = self._clock(), self._table
        after = table.lost_minutes * 60
        for device in self._recorder.devices:
            if device.expected:
                away = device.catalogue is None or not device.connected
                why = "its IOC does not answer" if away else "its box is lost"
                text = f"{device.name} is lost for {table.lost_minutes:g} minutes or longer: {why}"
                self._judge(f"device {device.name}", away or device.name in self._offline, text, now, after)
        for pv in self._recorder.foreign:
            name = pv.recorder.source.pv
            text = f"{name} is lost for {table.lost_minutes:g} minutes or longer"
            self._judge(f"pv {name}", not pv.connected, text, now, after)
        most = self._site.archive.spool_megabytes * 1e6
        for outlet in self._recorder.outlets:
            name, error, size = outlet.sink.name, outlet.error, outlet.spool.waiting_bytes
            self._judge(f"store {name}", bool(error), f"store {name}: {error}", now, table.store_minutes * 60)
            full = size >= most * table.spool_percent / 100
            text = f"the spool of {name} holds {size / 1e6:.0f} MB, {table.spool_percent:g} % of what it may or more"
            self._judge(f"spool {name}", full, text, now, 0.0)
            dropped = sum(outlet.counts().dropped.values())
            more = dropped > self._dropped.get(name, 0)
            self._dropped[name] = dropped
            self._judge(f"dropped {name}", more, f"store {name}: events are dropped, {dropped} up to now", now, 0.0)

    def _judge(self, key: str, bad: bool, text: str, now: float, after: float) -> None:
        if bad:
            self.notices.bad(key, text, now, after)
        else:
            self.notices.good(key)

    async def run(self) -> None:
        """Look and tell for ever."""
        while True:
            await asyncio.sleep(PERIOD)
            self.check()
            if text := self.notices.due(self._clock()):
                log.warning("notice: %s", text.strip().replace("\n", "; "))
                error = await run_command(self._table, f"{self._site.name}: {text}")
                if error and error != self._said:
                    log.error("[notify]: %s", error)
                self._said = error
