"""The stores that a site file asks for, each with its spool."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from archiver.last_events import LastEvents
from archiver.outlet import Outlet
from archiver.sinks.csv_files import CsvFiles
from archiver.sinks.influx import Influx
from archiver.sinks.sink import Sink
from archiver.spool import MEGABYTE, Spool
from iocs.config import Site


class CannotStart(Exception):
    """A store or its spool cannot be used; the text says what to do."""


@contextmanager
def build_outlets(site: Site, last: LastEvents) -> Iterator[list[Outlet]]:
    """Give the stores of a site, ready to start; `last` are the last events of the run before.

    Raises:
        CannotStart: a spool cannot be used.
        FolderTaken: another archiver writes to a folder.
    """
    archive = site.archive
    with ExitStack() as held:
        outlets: list[Outlet] = []
        if archive.csv.enabled:
            csv = CsvFiles(archive.csv)
            held.callback(csv.close)
            csv.claim()
            outlet = _outlet(site, csv, archive.csv.write_every)
            csv.on_new_file = outlet.new_file
            outlets.append(outlet)
        if archive.influx is not None:
            try:
                influx = Influx(archive.influx, last.times())
            except LookupError as error:
                raise CannotStart(f"{site.path}: {error.args[0]}") from error
            held.callback(influx.close)
            outlets.append(_outlet(site, influx, archive.influx.write_every))
        yield outlets


def spool_folder(site: Site) -> Path:
    """Give where what waits for the stores lies."""
    return site.state_dir / "spool"


def _outlet(site: Site, sink: Sink, write_every: float) -> Outlet:
    spool = spool_of(site, sink.name)
    try:
        spool.open()
    except (OSError, ValueError) as error:
        raise CannotStart(f"the spool of {sink.name} cannot be used: {error}") from error
    return Outlet(sink, spool, spool.folder / "dead-letters", write_every, site.archive.sync_every)


def spool_of(site: Site, store: str) -> Spool:
    """Give the spool of a store, not opened."""
    archive = site.archive
    return Spool(
        store,
        spool_folder(site) / store,
        most_bytes=round(archive.spool_megabytes * MEGABYTE),
        keep_free=round(archive.spool_keep_free_megabytes * MEGABYTE),
        memory_bytes=round(archive.spool_memory_megabytes * MEGABYTE),
    )
