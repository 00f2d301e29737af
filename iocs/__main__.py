"""`python -m iocs run | check | doctor | list | screens | units | schema`: a site's devices and what it makes."""

import argparse
import asyncio
import contextlib
import csv
import logging
import os
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from iocs import config, doctor, log, old_pmu_config, screens, supervise, units, usage
from iocs.ca import statistics
from iocs.device import all_signals, idle_names
from iocs.online import check_online
from iocs.rules import rules
from iocs.signals import Catalogue, Signal
from iocs.state import StateError, peek

EXAMPLES = """examples:
  python -m iocs run site.example.toml --sim         the example lab, no hardware needed
  python -m iocs run site.toml --only HV             one device in a process of its own
  python -m iocs check site.toml                     every mistake in the site file at once
  python -m iocs check site.toml --online            and whether each box is as the file says; nothing is written
  python -m iocs doctor site.toml                    what keeps it from running, each with its cure
  python -m iocs list site.toml --csv                all PVs with unit and description
  python -m iocs list site.toml --watch              a live table; --watch 'HV:CH0:*' for what you name, Ctrl-C ends it
  python -m iocs screens site.toml -o screens        screens for Phoebus; open screens/main.bob
  python -m iocs units site.toml -o units            services for systemd, and a Containerfile
  python -m iocs schema > site.schema.json           for an editor that completes and checks the site file
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit code: 0 done, 1 failed while running, 2 bad usage or configuration."""
    parser = argparse.ArgumentParser(
        prog="python -m iocs",
        description="Instruments as EPICS PVs.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"countinghouse {version('countinghouse')}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = subparsers.add_parser(
        "run", **usage.told(EXAMPLES, "run", "serve the site's devices until SIGINT or SIGTERM")
    )
    run.add_argument("site", type=Path, metavar="SITE", help="the site file")
    run.add_argument("--only", nargs="+", default=[], metavar="NAME", help="run these devices alone")
    run.add_argument(
        "--except", nargs="+", default=[], metavar="NAME", dest="without", help="run all devices but these"
    )
    run.add_argument("--sim", action="store_true", help="run each device on its simulator; no hardware is touched")
    run.add_argument(
        "--port",
        type=int,
        metavar="N",
        help="TCP port to serve on and no other, for whoever believes this server alone",
    )
    log.add_options(run)
    check = subparsers.add_parser(
        "check", **usage.told(EXAMPLES, "check", "check a site file; touches no hardware unless told to")
    )
    check.add_argument("site", type=Path, metavar="SITE", help="the site file, or the old PMU2CSV_config.txt")
    check.add_argument("--online", action="store_true", help="also ask each box whether it is as the file says")
    healing = subparsers.add_parser(
        "doctor", **usage.told(EXAMPLES, "doctor", "find what keeps the devices from running; changes nothing")
    )
    healing.add_argument("site", type=Path, metavar="SITE", help="the site file")
    listing = subparsers.add_parser("list", **usage.told(EXAMPLES, "list", "list the PVs that a site file makes"))
    listing.add_argument("site", type=Path, metavar="SITE", help="the site file")
    listing.add_argument("--csv", action="store_true", help="as CSV")
    listing.add_argument("--sim", action="store_true", help="with what the simulated boxes told last")
    listing.add_argument(
        "--watch",
        nargs="*",
        metavar="NAME",
        help="a live table of what each device is about, or of these names (HV:CH0:*), and of all that is in alarm",
    )
    drawing = subparsers.add_parser(
        "screens",
        **usage.told(EXAMPLES, "screens", "write screens for Phoebus: all devices, each device, its channels"),
    )
    drawing.add_argument("site", type=Path, metavar="SITE", help="the site file")
    drawing.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder to write *.bob into")
    drawing.add_argument("--sim", action="store_true", help="with what the simulated boxes told last")
    services = subparsers.add_parser(
        "units", **usage.told(EXAMPLES, "units", "write systemd units and a Containerfile: what runs for months")
    )
    services.add_argument("site", type=Path, metavar="SITE", help="the site file, where it will stand")
    services.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder to write them into")
    services.add_argument(
        "--group",
        nargs="+",
        action="append",
        default=[],
        metavar="NAME",
        help="these devices in one process (may be given several times); every other has its own",
    )
    services.add_argument("--user", default="countinghouse", help="account that all run as (countinghouse)")
    subparsers.add_parser(
        "schema", **usage.told(EXAMPLES, "schema", "print the JSON schema of the site file, for editors")
    )
    options = parser.parse_args(arguments)
    try:
        commands = {
            "run": _run,
            "check": _check,
            "doctor": _doctor,
            "list": _list,
            "screens": _screens,
            "units": _units,
            "schema": _schema,
        }
        code = commands[options.command](options)
        sys.stdout.flush()
        return code
    except (config.ConfigError, supervise.StartError, StateError) as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:  # `list | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(options: argparse.Namespace) -> int:
    if options.port is not None and not 0 < options.port < 65536:
        print(f"--port {options.port} is not within 1..65535", file=sys.stderr)
        return 2
    try:
        log.start(options)
    except OSError as error:
        print(f"the log file cannot be opened: {error}", file=sys.stderr)
        return 2
    site = config.load(options.site, kinds=True)
    if options.sim:
        site = site.for_simulation()
    devices = supervise.choose(site, options.only, options.without)
    serving = supervise.run(
        site, devices, sim=options.sim, tell=lambda line: print(line, flush=True), port=options.port
    )
    try:
        asyncio.run(serving)
    except (supervise.StartError, config.ConfigError):
        raise
    except Exception:
        logging.getLogger(__name__).exception("the server ended")
        return 1
    return 0


def _check(options: argparse.Namespace) -> int:
    advice = old_pmu_config.translate(options.site)
    if advice is not None:
        print(advice)
        return 0
    site = config.load(options.site, kinds=True)
    mistakes = []
    for check in (_signals, rules):
        try:
            check(site)
        except config.ConfigError as error:
            mistakes += error.mistakes
    if mistakes:
        raise config.ConfigError(site.path, mistakes)
    for device, catalogue in zip(site.devices, _signals(site), strict=True):
        later = () if catalogue.version else device.kind.later
        if idle := idle_names(device.settings, {signal.name: signal for signal in catalogue.signals}, later):
            known = "its signals" if catalogue.version else "the signals known before it first connects"
            print(
                f'{site.path}: note: [[device]] "{device.name}": names that fit none of {known}: {", ".join(idle)}',
                file=sys.stderr,
            )
    print(f"{site.path}: no mistakes; devices: {', '.join(device.name for device in site.devices) or 'none'}")
    if options.online and not check_online(site, lambda line: print(line, flush=True)):
        return 1
    return 0


def _doctor(options: argparse.Namespace) -> int:
    site = config.load(options.site, kinds=True)
    with contextlib.suppress(StateError):  # a damaged state is one of the findings
        _signals(site)
    rules(site)
    return 0 if doctor.examine(site, lambda line: print(line, flush=True)) else 1


def _list(options: argparse.Namespace) -> int:
    site = config.load(options.site, kinds=True)
    if options.sim:
        site = site.for_simulation()
    if options.watch is not None:
        return _watch(site, options.watch)
    rows = [row for catalogue in _signals(site) for row in _rows(catalogue)]
    rows += [_row(statistics.prefix(site.prefix), signal) for signal in statistics.SIGNALS]
    if options.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["pv", "direction", "kind", "unit", "limits", "level", "description"])
        writer.writerows(rows)
        return 0
    widths = [max(len(row[column]) for row in rows) for column in range(6)] if rows else []
    for row in rows:
        cells = [text.ljust(width) for text, width in zip(row, widths, strict=False) if width]
        print("  ".join([*cells, row[-1]]).rstrip())
    return 0


def _watch(site: config.Site, names: Sequence[str]) -> int:
    try:
        from rich.console import Console

        from iocs import watching
    except ImportError as error:
        print(f"--watch needs {error.name}: pip install 'countinghouse[watch]'", file=sys.stderr)
        return 2
    if not sys.stdout.isatty():
        print("--watch needs a terminal; for a file: camonitor NAME, or python -m archiver run SITE", file=sys.stderr)
        return 2
    prefixes = [f"{site.prefix}{device.name}:" for device in site.devices]
    asyncio.run(watching.watch(prefixes, names, Console()))
    return 0


def _screens(options: argparse.Namespace) -> int:
    site = config.load(options.site, kinds=True)
    if options.sim:
        site = site.for_simulation()
    catalogues = _signals(site)
    files = screens.screens(site.name, catalogues)
    try:
        screens.write(files, options.output)
    except OSError as error:
        print(f"{options.output} cannot be written: {error.strerror}; choose another folder with -o", file=sys.stderr)
        return 1
    for catalogue in catalogues:
        if not catalogue.version:
            print(
                f"note: {catalogue.device} has never been connected here, so that its channels are not known: run "
                f"python -m iocs run {options.site}, then this again",
                file=sys.stderr,
            )
    main = options.output / screens.MAIN
    print(f"{len(files)} screens in {options.output}; open {main} in Phoebus, other prefixes with ...?P=NAME%3A")
    return 0


def _units(options: argparse.Namespace) -> int:
    if options.user == "root" or not re.fullmatch(r"[a-z_][a-z0-9_-]{0,30}", options.user):
        print(f"--user {options.user}: must be the name of an account, and not root", file=sys.stderr)
        return 2
    site = config.load(options.site, kinds=True)
    files = units.files(site, options.group, python=sys.executable, user=options.user)
    try:
        screens.write(files, options.output)
    except OSError as error:
        print(f"the units cannot be written: {error}; choose another folder with -o", file=sys.stderr)
        return 1
    for path in (str(site.directory), sys.executable):
        if path.startswith(units.HIDDEN):
            print(f"note: {path} is where services see little or nothing; /srv and /opt are better", file=sys.stderr)
    names = [name for name in files if name.endswith((".target", ".service"))]
    print(f"{len(files)} files in {options.output}: {', '.join(files)}; docs/how-to/running-for-months.md has the rest")
    print(f"to start them, once they are installed: systemctl enable --now {' '.join(names)}")
    return 0


def _signals(site: config.Site) -> list[Catalogue]:
    """Give each device's catalogue, from the site file and what the box told last.

    Raises:
        ConfigError: the site file does not fit the devices' signals.
    """
    catalogues, mistakes = [], []
    for device in site.devices:
        saved = peek(site.state_dir, device.name)
        try:
            signals = all_signals(device.kind, device.settings, saved.get("shape"))
        except ValueError as error:
            mistakes.append(f'[[device]] "{device.name}": {error}')
            continue
        prefix = f"{site.prefix}{device.name}:"
        catalogues.append(Catalogue(device.name, device.type, prefix, saved.get("version", 0), False, tuple(signals)))
    if mistakes:
        raise config.ConfigError(site.path, mistakes)
    return catalogues


def _rows(catalogue: Catalogue) -> list[list[str]]:
    lines = [_row(catalogue.prefix, signal) for signal in catalogue.signals]
    for row in catalogue.rows:
        text = f"All {len(row.signals)} columns of one reading, in one event"
        lines.append([catalogue.prefix + row.name, "readback", "float", "", "", "operator", text])
    return lines


def _row(prefix: str, signal: Signal) -> list[str]:
    limits = "" if signal.limits is None else f"{signal.limits[0]:g}..{signal.limits[1]:g}"
    return [
        prefix + signal.name,
        signal.direction.value,
        signal.kind.value,
        signal.unit,
        limits,
        signal.level.value,
        signal.doc,
    ]


def _schema(options: argparse.Namespace) -> int:
    print(config.schema())
    return 0


if __name__ == "__main__":
    sys.exit(main())
