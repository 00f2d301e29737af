"""`python -m archiver doctor SITE`: whatever keeps the archiver from recording, each with its cure. Read-only."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from archiver.sinks.folder import LOCK_NAME
from archiver.sinks.influx import Influx
from archiver.stores import spool_folder, spool_of
from iocs import host
from iocs.archive_tables import InfluxTable
from iocs.ca import environment
from iocs.config import Finding, Site
from iocs.state import holder

ROOM = 100.0  # MB; fewer are soon full


def examine(site: Site, tell: Callable[[str], None]) -> bool:
    """Look at this host and ask InfluxDB; gives whether all is well."""
    return host.report(_findings(site), tell)


def _findings(site: Site) -> Iterator[tuple[str, Finding]]:
    yield "clock", host.clock()
    for finding in environment.findings():
        yield "environment", finding
    archive = site.archive
    runner = holder(site.state_dir / "archiver.lock")
    yield "archiver", Finding(True, f"it runs as process {runner}" if runner else "it does not run")
    yield "archiver", host.state(site.state_dir, "archiver")
    yield "spool", host.writable(spool_folder(site), "spool", max(ROOM, archive.spool_keep_free_megabytes))
    stores = ["csv"] * archive.csv.enabled + ["influx"] * (archive.influx is not None)
    for store in stores:
        yield f"spool of {store}", _spool(site, store)
    if not stores:
        yield "archive", Finding(False, "there is no store; switch on [archive.csv], or write an [archive.influx]")
    if archive.csv.enabled:
        tables = [archive.csv, *(archive.csv.for_row(name) for name in archive.csv.row)]
        for folder in dict.fromkeys(table.directory for table in tables):
            yield "csv", _csv(folder, runner)
    if archive.influx is not None:
        yield from (("influx", finding) for finding in _influx(archive.influx))
    if site.serve.port:
        yield "page", _page(site)
    if site.notify is not None:
        yield "notify", _notify(site.notify.command[0])


def _spool(site: Site, store: str) -> Finding:
    try:
        spool_of(site, store).load_acknowledged()
    except (OSError, ValueError) as error:
        return Finding(False, str(error))
    return Finding(True, "it can be read")


def _csv(folder: Path, runner: str) -> Finding:
    found = host.writable(folder, "CSV files", ROOM)
    other = holder(folder / LOCK_NAME)
    if found.good and other and other.split()[:2] != ["pid", runner]:
        return Finding(
            False, f"{folder} is written by another archiver ({other}); stop that one, or name another directory"
        )
    return found


def _influx(table: InfluxTable) -> list[Finding]:
    try:
        influx = Influx(table)
    except LookupError as error:
        return [Finding(False, f"{error.args[0]}; without it nothing is recorded")]
    try:
        refusals = influx.refusals()
    finally:
        influx.close()
    if refusals:
        return [Finding(False, f"{table.url}: {refusal}") for refusal in refusals]
    return [Finding(True, f"{table.url} answers, and the token may write to {table.bucket}")]


def _page(site: Site) -> Finding:
    def own(process: int) -> str:
        return "this site's own page" if host.runs(process, "archiver", "serve", site.path) else ""

    cure = "end that, or choose another port under [serve], 0 for any that is free"
    return host.port(site.serve.address, site.serve.port, "[serve], key address,", own, cure)


def _notify(command: str) -> Finding:
    if shutil.which(command):
        return Finding(True, f"{command} is there")
    return Finding(False, f"there is no program {command!r}; install it, or write its whole path in [notify] command")
