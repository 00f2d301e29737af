"""The PVs in which the archiver tells about itself, each moved by what it tells of."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from iocs.signals import Reading
from tests.influx import before, running
from tests.pvs import pvs
from tests.system.test_archiver_influx import Book


def above(limit: float) -> Callable[[Reading], bool]:
    return lambda reading: reading.connected and reading.value > limit


def test_it_shows_what_it_does_and_what_it_cannot_do(tmp_path: Path) -> None:
    async def story(book: Book) -> None:
        async with pvs(int(book.environment["EPICS_CA_SERVER_PORT"]), "LAB:ARC:") as told:
            names = (
                "SEEN",
                "WRITTEN",
                "WAITING",
                "DROPPED",
                "ERROR",
                "SPOOL",
                "RATE",
                "FREE",
                "REASONS",
                "SPOOL_ERROR",
            )
            told.watch(*(f"{store}:{name}" for store in ("CSV", "INFLUX") for name in names))
            await told.value("CONNECTED", 2)
            await told.value("TOTAL", 3)
            await told.until("RATE", lambda reading: reading.connected and 20 < reading.value < 200)
            await told.until("RECEIVED", above(20))
            await told.until("HEARTBEAT", above(2))
            await told.until("LAG", lambda reading: reading.connected and 0 < reading.value < 10)
            assert told["LAG"].connected
            await told.until("SLOWEST", lambda reading: str(reading.value).startswith(book.prefix))
            await told.until("HELD", lambda reading: reading.connected and reading.value >= 0)
            await told.until("CSV:RATE", above(0))
            await told.value("INFLUX:ONLINE", 1)
            for store in ("CSV", "INFLUX"):
                await told.until(f"{store}:SEEN", above(20))
                await told.until(f"{store}:WRITTEN", above(20))
            assert told["CSV:FREE"].value > 0 and told["INFLUX:FREE"].value > 0
            assert told["INFLUX:SPOOL_ERROR"].value == ""
            book.shim.fault = "503"
            down = await told.value("INFLUX:ONLINE", 0)
            assert down.severity == 2
            await told.until("INFLUX:ERROR", lambda reading: "503" in reading.value and reading.severity == 2)
            await told.until("INFLUX:SPOOL", above(0.001))
            await told.until("INFLUX:WAITING", above(40))
            await told.value("CSV:ONLINE", 1)
            book.shim.fault = "400"
            await told.until(
                "INFLUX:DROPPED", lambda reading: reading.connected and reading.value > 0 and reading.severity == 1
            )
            await told.until("INFLUX:REASONS", lambda reading: "refused by the store" in json.loads(reading.value))
            book.shim.fault = ""
            await told.value("INFLUX:ERROR", "")
            await told.until("INFLUX:RATE", above(20))
            await told.value("MISSED", 0)
            status = json.loads((await told.until("STATUS", lambda reading: reading.connected)).value)
            assert status["pvs"][f"{book.prefix}PV0"]["connected"]
            assert not status["pvs"][f"{book.prefix}NOBODY"]["connected"]
            for counts in status["stores"].values():
                assert counts["seen"] == counts["written"] + counts["waiting"] + sum(counts["dropped"].values())
            catalogue = json.loads((await told.until("PVS", lambda reading: reading.connected)).value)
            assert {signal["name"] for signal in catalogue["signals"]} >= {"RATE", "CSV:WRITTEN", "INFLUX:WRITTEN"}

    with running(tmp_path / "influx", "lab") as server, before(server) as shim:
        book = Book(tmp_path, server, shim, "PV0", "PV1", "NOBODY", version=1)
        try:
            book.counting(20)
            archiver = book.archiver()
            asyncio.run(story(book))
            assert archiver.stop() == 0
        finally:
            book.close()


def test_a_spool_that_cannot_be_written_is_shown(tmp_path: Path) -> None:
    async def story(book: Book) -> None:
        async with pvs(int(book.environment["EPICS_CA_SERVER_PORT"]), "LAB:ARC:") as told:
            error = await told.until("CSV:SPOOL_ERROR", lambda reading: reading.connected and reading.value)
            assert "no room to spare" in error.value and error.severity == 2
            await told.until("CSV:WRITTEN", above(20))  # it goes on through memory

    with running(tmp_path / "influx", "lab") as server, before(server) as shim:
        book = Book(tmp_path, server, shim, "PV0", version=1)
        text = book.site.read_text().replace("spool_every", "spool_keep_free_megabytes = 1e12\nspool_every")
        book.site.write_text(text)
        try:
            book.counting(20)
            archiver = book.archiver()
            asyncio.run(story(book))
            assert archiver.stop() == 0
            assert book.stored() == book.numbers()
        finally:
            book.close()
