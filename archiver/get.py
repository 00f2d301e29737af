"""`python -m archiver get`: what was recorded, as a table or as CSV."""

import argparse
import csv
import sys
from collections.abc import Iterable
from pathlib import Path

from archiver.history import History
from archiver.series import Bins, Series, span_of
from archiver.sinks.csv_text import time_text, value_text
from iocs import usage
from iocs.config import ConfigError
from iocs.signals import Severity

Line = tuple[str, ...]


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", examples: str) -> None:
    """Describe the command; its examples are among those of the program."""
    about = "Read back what was recorded: the last record before the time, then all within it."
    get = commands.add_parser("get", **usage.told(examples, "get", "read back what was recorded", about))
    get.add_argument("pv", nargs="+", metavar="PV", help="name of a PV, with or without the site's prefix")
    source = get.add_mutually_exclusive_group()
    source.add_argument("--site", type=Path, default=Path("site.toml"), help="the site file (site.toml)")
    source.add_argument("--folder", type=Path, metavar="DIR", help="a folder of CSV files, without a site")
    get.add_argument("--influx", action="store_true", help="read from the site's InfluxDB, not from its CSV files")
    get.add_argument(
        "--from", dest="start", default="1h", metavar="T", help="2026-01-31T12:00 (UTC), 1h (an hour ago) ... (1h)"
    )
    get.add_argument("--to", dest="end", default="now", metavar="T", help="the same; now is the default")
    reduce = get.add_mutually_exclusive_group()
    reduce.add_argument("--mean", action="store_true", help="the mean alone, of what is not INVALID")
    reduce.add_argument("--every", metavar="SPAN", help="mean, least, greatest and number for each 10s, 5min, 1h ...")
    get.add_argument("--csv", action="store_true", help="write CSV instead of a table")


def run(options: argparse.Namespace) -> int:
    """Write what is asked for to stdout; 0 done, 1 something cannot be read, 2 bad usage or configuration."""
    try:
        span = span_of(options.every) if options.every else None
        history = History.of_folder(options.folder) if options.folder else History.of_site(options.site, options.influx)
    except (ConfigError, ValueError, LookupError) as error:
        print(error, file=sys.stderr)
        return 2
    header: Line = ("time", "pv", "value", "severity", "status")
    if options.mean:
        header = ("pv", "mean", "count")
    elif span is not None:
        header = ("time", "pv", "mean", "least", "greatest", "count")
    lines: list[Line] = []
    failed = False
    for pv in options.pv:
        try:
            series = history.get(pv, options.start, options.end)
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
        except (LookupError, OSError) as error:
            print(f"{pv}: {error}", file=sys.stderr)
            failed = True
            continue
        if options.mean:
            within = history.get(pv, options.start, options.end, last_before=False)
            lines.append((series.pv, value_text(within.mean(), "repr"), str(int(within.good.sum()))))
        elif span is not None:
            within = history.get(pv, options.start, options.end, last_before=False)
            lines += _bins(within.every(span))
        else:
            lines += _records(series)
    _write(header, lines, as_csv=options.csv)
    return 1 if failed else 0


def _records(series: Series) -> Iterable[Line]:
    records = zip(series.time_ns.tolist(), series.value.tolist(), series.severity.tolist(), series.status, strict=True)
    for time_ns, value, severity, status in records:
        text = value_text(value, "repr") if isinstance(value, float) else value
        yield time_text(time_ns, "iso"), series.pv, text, Severity(severity).name, status


def _bins(bins: Bins) -> Iterable[Line]:
    numbers = zip(bins.time_ns.tolist(), bins.mean.tolist(), bins.least.tolist(), bins.greatest.tolist(), strict=True)
    for (time_ns, *values), count in zip(numbers, bins.count.tolist(), strict=True):
        yield time_text(time_ns, "iso"), bins.pv, *(value_text(value, "repr") for value in values), str(count)


def _write(header: Line, lines: list[Line], as_csv: bool) -> None:
    if as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([header, *lines])
        return
    widths = [max(len(line[place]) for line in (header, *lines)) for place in range(len(header))]
    for line in (header, *lines):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
