"""The command line: `python -m ingest.cr1000 DATA... --config DIR --station sum [--csv OUT] [--influx SITE] ...`."""

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ingest.cr1000 import check, stations
from ingest.cr1000.blocks import Block
from ingest.cr1000.configuration import Configuration, load
from ingest.cr1000.explain import explain
from ingest.cr1000.jobs import Dask, Here, Job, Lost, Outcome, Processes, Reading, Runner, blocks
from ingest.cr1000.options import kept_alive_in_vain, parser, publishes
from ingest.cr1000.overlay import Overlay
from ingest.cr1000.plan import Wanted
from ingest.cr1000.progress import Progress
from ingest.cr1000.run import StationRun, run, tell
from ingest.cr1000.tally import Tally
from iocs import config, log
from iocs.archive_tables import InfluxTable


class BadUsage(Exception):
    """The options or a file that they name cannot be; the text says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 done, 1 data that cannot be read or written, 2 bad usage or faults of a configuration."""
    options = parser().parse_args(arguments)
    try:
        log.start(options)
    except OSError as error:
        tell(f"the log file cannot be opened: {error}")
        return 2
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _done(options, sys.argv[1:] if arguments is None else arguments)
    except (BadUsage, config.ConfigError) as error:
        tell(str(error))
        return 2
    except KeyboardInterrupt:
        tell("stopped: what is not finished is as it was")
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)


def _done(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Do what the options say.

    Raises:
        BadUsage, ConfigError: it cannot be told what that is.
    """
    runs = list(_stations(options))
    _told_faults([each.configuration for each in runs], warnings=not options.check)
    if options.check or options.explain:
        failed = _asked_of(options, runs)
    else:
        failed = publishes(options) and _published(options, runs)
        if options.serve or options.follow:
            return _kept_alive(options, arguments)
    if any(each.configuration.findings.faults for each in runs):
        return 2
    return 1 if failed else 0


def _kept_alive(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Serve and follow until SIGINT or SIGTERM; gives the exit code.

    Raises:
        BadUsage: something stands in the way.
    """
    from ingest.cr1000 import serve  # Channel Access is for those who ask for it

    try:
        serve.keep_alive(options, arguments)
    except (ValueError, serve.StartError) as error:
        raise BadUsage(f"--serve {options.serve}: {error}") from error
    return 0


def _stations(options: argparse.Namespace) -> Iterator[StationRun]:
    """Give what is to be done.

    Raises:
        BadUsage, ConfigError: it cannot be told.
    """
    if options.stamp == "start" and (not options.interval or options.average):
        raise BadUsage("--stamp start needs --interval, and goes without --average: means are stamped with their end")
    if options.workers < 1:
        raise BadUsage(f"--workers {options.workers}: at least 1")
    if why := kept_alive_in_vain(options):
        raise BadUsage(why)
    if options.stations:
        yield from _many(options)
        return
    if not options.config or not options.station:
        raise BadUsage("whose data are they? --config DIR and --station NAME say so, or --stations FILE for many")
    if not options.data and not options.check:
        raise BadUsage("no DATA: name the files of the logger")
    yield _station(options, options.config, options.station, options.data, options.csv, options.influx, options.table)


def _many(options: argparse.Namespace) -> Iterator[StationRun]:
    for name in ("config", "station", "csv", "influx", "state"):
        if getattr(options, name):
            raise BadUsage(f"--{name} and --stations: the tables of {options.stations} say it for each station")
    tables = stations.load(options.stations)
    found = False
    try:
        for table, name, paths in stations.chosen(tables, options.data):
            found = True
            csv = table.at(table.csv, name) if table.csv else None
            if not csv and not table.influx and not (options.check or options.explain):
                raise BadUsage(f"{options.stations}: station {name} has neither csv nor influx")
            yield _station(options, table.config, name, paths, csv, table.influx, table.table or options.table)
    except LookupError as error:
        raise BadUsage(str(error)) from error
    if not found:
        raise BadUsage(f"{options.stations}: no [[station]] has files")


def _station(
    options: argparse.Namespace,
    directory: Path,
    name: str,
    paths: Sequence[Path],
    csv: Path | None,
    influx: Path | None,
    table: str,
) -> StationRun:
    configuration = load(directory, name, lenient=options.lenient)
    shift = options.interval if options.stamp == "start" else 0
    reading = Reading(table, options.utc_offset, shift, options.final, dict(options.missing))
    server, state = _server(influx)
    if csv:
        state = csv.with_name(f".{csv.name}.state.json")
    elif state:
        state /= f"cr1000-{configuration.station}.json"
    wanted = Wanted(
        configuration.station,
        configuration.digest,
        csv,
        stdout=publishes(options) and not csv and not influx,
        long=options.long,
        influx=server,
        average_ns=options.average,
        interval_ns=options.interval,
        from_ns=options.from_ns,
        to_ns=options.to_ns,
        settings=repr(reading),
    )
    return StationRun(configuration, wanted, paths, reading, options.state or state)


def _server(site_file: Path | None) -> tuple[InfluxTable | None, Path | None]:
    """Give the InfluxDB of a site file, and the folder of the site's state."""
    if site_file is None:
        return None, None
    site = config.load(site_file)
    if site.archive.influx is None:
        raise BadUsage(f"{site_file}: there is no [archive.influx] in it")
    return site.archive.influx, site.state_dir


def _told_faults(configurations: Sequence[Configuration], warnings: bool) -> None:
    """Tell all that is wrong with the configurations, each once."""
    for made in configurations:
        for fault in made.findings.faults:
            tell(f"error: {fault}")
        for warning in made.findings.warnings if warnings else ():
            tell(f"warning: {warning}")


def _published(options: argparse.Namespace, runs: Sequence[StationRun]) -> bool:
    """Publish; tells whether something failed."""
    progress = Progress(path for each in runs for path in each.paths)
    try:
        runner: Runner = Dask(options.dask) if options.dask else _local(options.workers, progress)
    except (LookupError, OSError) as error:
        raise BadUsage(f"--dask {options.dask}: {error}") from error
    try:
        run(runs, runner, progress)
    except Lost as error:
        tell(str(error))
        return True
    finally:
        for each in runs:
            for line in each.summary():
                tell(line)
    return any(each.errors for each in runs)


def _local(workers: int, progress: Progress) -> Runner:
    return Here(progress.at) if workers == 1 else Processes(workers)


def _asked_of(options: argparse.Namespace, runs: Sequence[StationRun]) -> bool:
    """Answer a question about each station; tells whether a file could not be read."""
    failed = False
    for each in runs:
        outcomes = [Outcome() for _ in each.paths]
        if options.explain:
            overlay = Overlay(each.configuration, Tally(), each.reading.missing)
            name, time_ns = options.explain
            lines = explain(overlay, _blocks(each, outcomes), name, time_ns + each.reading.shift_ns)
        else:
            lines = _checked(each, outcomes)
        for line in lines:
            print(line)
        for outcome in outcomes:
            if outcome.error:
                failed = True
                tell(outcome.error)
    return failed


def _checked(each: StationRun, outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield from check.warnings(each.configuration)
    yield from check.against(each.configuration, _blocks(each, outcomes))
    for outcome in outcomes:
        yield from outcome.notes


def _blocks(each: StationRun, outcomes: Sequence[Outcome]) -> Iterator[Block]:
    for path, outcome in zip(each.paths, outcomes, strict=True):
        yield from blocks(Job(path, each.configuration, each.reading), outcome)


if __name__ == "__main__":
    sys.exit(main())
