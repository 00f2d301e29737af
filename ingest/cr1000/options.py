"""The options of `python -m ingest.cr1000`, and how their texts are read."""

import argparse
from pathlib import Path

from archiver.series import span_of
from ingest.cr1000.explain import asked
from ingest.cr1000.parameters import canonical
from ingest.cr1000.times import SECOND, bound, moment
from iocs import log


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    top = argparse.ArgumentParser(
        prog="python -m ingest.cr1000",
        allow_abbrev=False,
        description="Calibrate a logger's tables by when, and by which sensor, and publish them.",
    )
    top.add_argument(
        "data", type=Path, nargs="*", metavar="DATA", help="files of a logger: TOA5, TOB1, CSV, arrays; .gz too"
    )
    top.add_argument("--config", type=Path, metavar="DIR", help="the folder of global.cfg, STATION.cfg and sensors/")
    top.add_argument("--station", help="whose data they are: STATION.cfg")
    top.add_argument("--stations", type=Path, metavar="FILE", help="many stations: a TOML of [[station]] tables")
    out = top.add_argument_group("what is published (CSV to stdout where nothing is named)")
    out.add_argument("--csv", type=Path, metavar="OUT", help="CSV file, renamed into place when it is whole")
    out.add_argument("--long", action="store_true", help="a line a value in the CSV, in place of a line a row")
    out.add_argument("--influx", type=Path, metavar="SITE", help="InfluxDB of this site file's [archive.influx]")
    out.add_argument(
        "--average", type=_span, default=0, metavar="SPAN", help="means over 1min, 1h ...; winds as vectors"
    )
    out.add_argument("--from", dest="from_ns", type=_bound, metavar="TIME", help="the first time that is wanted")
    out.add_argument(
        "--to", dest="to_ns", type=_bound, metavar="TIME", help="the first time that is not wanted any more"
    )
    out.add_argument("--interval", type=_span, default=0, metavar="SPAN", help="time between rows (as the data tell)")
    out.add_argument("--stamp", choices=("end", "start"), default="end", help="of an interval; loggers stamp its end")
    out.add_argument("--state", type=Path, metavar="FILE", help="what makes the next run cheap (beside the output)")
    read = top.add_argument_group("how files are read")
    read.add_argument("--table", default="", help="which table (of arrays: which id) to take; the first one")
    read.add_argument(
        "--utc-offset", type=_offset, default=0, metavar="+HH:MM", help="what the clock is ahead of UTC; =-HH:MM"
    )
    read.add_argument("--final", action="store_true", help="a last line without an end is whole")
    missing = "numbers that mean missing, as in T1=-999,7999; T1= is none; others by default"
    read.add_argument("--missing", type=_missing, action="append", default=[], metavar="NAME=LIST", help=missing)
    read.add_argument("--lenient", action="store_true", help="a sensor type without a folder is identity, no fault")
    ask = top.add_argument_group("questions, in place of publishing")
    ask.add_argument(
        "--check", action="store_true", help="what of the configuration, and against DATA, may be a mistake"
    )
    ask.add_argument("--explain", type=_asked, metavar="'T1 TIME'", help="how a value came about")
    scale = top.add_argument_group("scale")
    scale.add_argument("--workers", type=int, default=1, metavar="N", help="spread files over N processes")
    scale.add_argument("--dask", metavar="ADDRESS", help="spread files over the cluster of this scheduler")
    add_alive(top)
    log.add_options(top)
    return top


def add_alive(parser: argparse.ArgumentParser) -> None:
    """Add the options of a program that does not end."""
    alive = parser.add_argument_group("to be kept alive, until SIGINT or SIGTERM")
    alive.add_argument("--serve", metavar="PREFIX", help="serve the newest row as EPICS PVs, as in SUM:MET:")
    alive.add_argument("--follow", action="store_true", help="publish again whenever the files have grown")


def publishes(options: argparse.Namespace) -> bool:
    """Tell whether anything is to be written; what is only served is not."""
    return bool(options.csv or options.influx or options.stations or not options.serve)


def kept_alive_in_vain(options: argparse.Namespace) -> str:
    """Say why a program could not be kept alive with these options; empty where it can, or is not to be."""
    if not (options.serve or options.follow):
        return ""
    if options.stations:
        return "--serve and --follow are for one station; for many write a site file with devices of the type cr1000"
    if options.check or options.explain or not options.data:
        return "--serve and --follow need DATA, and go without --check and --explain"
    if options.follow and not (options.csv or options.influx or options.serve):
        return "--follow needs --csv or --influx, which it keeps up to date, or --serve"
    return ""


def _span(text: str) -> int:
    try:
        return round(span_of(text) * SECOND)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _bound(text: str) -> int | None:
    try:
        return bound(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _offset(text: str) -> int:
    try:
        signed = text if text[:1] in "+-" and text else f"+{text}"
        return moment("1970-01-01 00:00") - moment(f"1970-01-01 00:00{signed}")
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no offset from UTC: write +02:00 or -03:30") from None


def _asked(text: str) -> tuple[str, int]:
    try:
        return asked(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _missing(text: str) -> tuple[str, tuple[float, ...]]:
    name, equals, numbers = text.partition("=")
    try:
        if not equals:
            raise ValueError("write NAME=LIST, as in T1=-999,7999")
        return canonical(name.strip()), tuple(float(number) for number in numbers.split(",") if number.strip())
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
