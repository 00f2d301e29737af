"""One row PV with its files, and the task that writes them."""

import asyncio
import logging

from archiver.rows import RowFollower
from archiver.sinks.csv_files import CsvFiles
from iocs.signals import Reading, Severity

log = logging.getLogger(__name__)

RETRY_EVERY = 5.0  # s between attempts while a folder does not take rows


class RowRecorder:
    """One row PV with its files and the task that writes them."""

    def __init__(self, pv: str, files: CsvFiles, write_every: float) -> None:
        self.files = files
        self.follower = RowFollower(pv, files.add)
        self._write_every = write_every
        self._wake = asyncio.Event()
        self._connected = False

    def on_reading(self, reading: Reading) -> None:
        """Take an event of the row PV. Loss of the link or of the device writes what is held at once."""
        if reading.connected is not self._connected:
            self._connected = reading.connected
            if reading.connected:
                log.info("%s: connected", self.follower.pv)
            else:
                log.warning("%s: the link is lost; what is held is written now", self.follower.pv)
        if not reading.connected:
            self.follower.forget()
            self._wake.set()
        elif not self.follower.receive(reading.value) and reading.severity is Severity.INVALID:
            self._wake.set()

    async def write(self) -> None:
        """Write every so often, in a thread, so that a slow disk never keeps us from listening. Never ends."""
        while True:
            try:
                async with asyncio.timeout(
                    min(self._write_every, RETRY_EVERY) if self.files.fault else self._write_every
                ):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            await asyncio.to_thread(self.files.write)

    def counts(self) -> str:
        """Say what became of the rows."""
        row, files = self.follower, self.files
        text = f"{row.rows} rows, {files.written} written, {files.held} held, {row.missed} missing in {row.gaps} gaps"
        rest = {
            "waiting for their catalogue": row.waiting,
            "repeats": row.repeats + files.repeated,
            "dropped": files.dropped,
            "refused": row.refused,
            "malformed": row.malformed,
        }
        return ", ".join([text, *(f"{count} {word}" for word, count in rest.items() if count)])
