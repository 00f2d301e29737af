"""A station kept alive from the command line: its PVs (`--serve PREFIX`), its outputs as files grow (`--follow`)."""

import argparse
import asyncio
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from ingest.cr1000.options import add_alive
from ingest.cr1000.plan import look_if_there
from ingest.cr1000.station import Station
from ingest.cr1000.station_settings import StationSettings
from ingest.cr1000.times import SECOND
from iocs import config, supervise
from iocs.archive_tables import ArchiveTable, ServeTable
from iocs.signals import check_name
from iocs.supervise import StartError

__all__ = ["StartError", "keep_alive"]

log = logging.getLogger(__name__)

PERIOD, LONGEST_PERIOD = 2.0, 60.0  # s from look to look, the longest where one fails after the other


def keep_alive(options: argparse.Namespace, arguments: Sequence[str]) -> None:
    """Serve and follow, as the options say, until SIGINT or SIGTERM.

    Args:
        options: those of `options.parser`.
        arguments: from which they were read.

    Raises:
        ValueError: the prefix cannot be.
        StartError: something stands in the way.
    """
    again = options.follow and (options.csv or options.influx)
    with _repeated(arguments, options.data, options.config) if again else nullcontext():
        if options.serve:
            serve(
                options.serve,
                config=options.config.absolute(),
                station=options.station.strip().lower(),
                files=[path.absolute() for path in options.data],
                table=options.table,
                utc_offset=options.utc_offset / (3600 * SECOND),
                missing=dict(options.missing),
                lenient=options.lenient,
            )
        else:
            with suppress(KeyboardInterrupt):
                signal.pause()


def parted(prefix: str) -> tuple[str, str]:
    """Part what stands before the signals' names into that of the site and the name of the device: SUM:MET:.

    Raises:
        ValueError: it is no such prefix.
    """
    site, colon, device = prefix.rstrip(":").rpartition(":")
    if not colon:
        raise ValueError(f"{prefix!r} has one part; write two, the site and the device, as in SUM:MET:")
    check_name(f"{site}:{device}")
    return f"{site}:", device


def serve(prefix: str, **table: Any) -> None:
    """Serve a station's PVs until SIGINT or SIGTERM.

    Args:
        prefix: what stands before the signals' names, as SUM:MET:.
        table: keys of `StationSettings`.

    Raises:
        StartError: something stands in the way.
    """
    site_prefix, name = parted(prefix)
    settings = StationSettings(name=name, type="cr1000", period=PERIOD, **table)
    device = config.Device(name, settings.type, Station, settings)
    about = config.SiteTable.model_validate({"name": f"station {settings.station}", "prefix": site_prefix})
    site = config.Site(
        path=settings.config,
        name=about.name,
        prefix=site_prefix,
        simulated=False,
        state_dir=Path("state").absolute(),
        devices=(device,),
        archive=ArchiveTable.model_validate({}),
        access=config.AccessTable.model_validate({}),
        about=about,
        serve=ServeTable.model_validate({}),
    )
    asyncio.run(supervise.run(site, [device], sim=False, tell=lambda line: print(line, flush=True)))


@contextmanager
def _repeated(arguments: Sequence[str], paths: Sequence[Path], config: Path) -> Iterator[None]:
    """Ingest again, in a process of its own, whenever files or configuration have changed, while the context lasts.

    What was published stays in its place until the next run has put the new in its place.

    Args:
        arguments: of the command that is to be kept alive.
        paths: the files.
        config: the folder of the configuration.
    """
    alone = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_alive(alone)
    _, once = alone.parse_known_args(arguments)
    stop = threading.Event()
    following = threading.Thread(target=_follow, args=(stop, once, paths, config), daemon=True)
    following.start()
    try:
        yield
    finally:
        stop.set()
        following.join()


def _follow(stop: threading.Event, arguments: Sequence[str], paths: Sequence[Path], config: Path) -> None:
    was: object = None  # they may have changed since they were first read
    pause = PERIOD
    while not stop.wait(pause):
        now = [look_if_there(path) for path in (*paths, *sorted(config.rglob("*.cfg")))]
        if now == was:
            continue
        command = [sys.executable, "-m", "ingest.cr1000", *arguments]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True) as process:
            while process.poll() is None and not stop.wait(0.1):
                pass
            if process.poll() is None:
                process.terminate()  # what is not finished is as it was
        if process.returncode in (0, 2):  # faults of the configuration stay until its files are others
            was, pause = now, PERIOD
        elif not stop.is_set():
            if pause == PERIOD:
                log.warning("the outputs are not up to date (code %s); it is tried again", process.returncode)
            pause = min(2 * pause, LONGEST_PERIOD)
