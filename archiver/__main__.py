"""The archiver's command line: `python -m archiver run | get | serve | dashboards | doctor | notify`."""

import argparse
import asyncio
import gc
import json
import logging
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import ValidationError

from archiver import dashboards, doctor, get
from archiver.history import kept_catalogues
from archiver.last_events import LastEvents
from archiver.notify import Notifier, run_command
from archiver.outlet import Outlet
from archiver.record import Recorder
from archiver.serve import server
from archiver.sinks.folder import FolderTaken
from archiver.status import ArchiverStatus
from archiver.stores import CannotStart, build_outlets
from iocs import log as logs
from iocs import sd_notify, usage
from iocs.archive_tables import ArchiveTable, ServeTable
from iocs.config import AccessTable, ConfigError, Site, SiteTable, load
from iocs.state import State, StateError, open_state

log = logging.getLogger("archiver")

EXAMPLES = """examples:
  python -m archiver run site.example.toml                       what the example lab serves, into files
  python -m archiver run --pv LAB:PMU:FREQ --csv data            a PV of anybody's server, without a site file
  python -m archiver get LAB:HV:CH0:VMON --site site.toml --from 2h --every 1min
  python -m archiver get LAB:HV:CH0:VMON --site site.toml --from 2h --mean
  python -m archiver serve site.toml                             the page: every device, in any browser
  python -m archiver dashboards site.toml -o grafana             a Grafana dashboard, to be imported there
  python -m archiver doctor site.toml                            what keeps it from recording, each with its cure
  python -m archiver notify site.toml --test                     tries the command of [notify]
"""


def _version() -> str:
    try:
        return version("countinghouse")
    except PackageNotFoundError:
        return "not installed"


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    top = argparse.ArgumentParser(
        prog="python -m archiver",
        description="Record what the devices of a site serve.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"countinghouse {_version()}")
    commands = top.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "run",
        **usage.told(
            EXAMPLES, "run", "record until stopped", "Record a site, or PVs by name, into CSV files and InfluxDB."
        ),
    )
    what = run.add_mutually_exclusive_group(required=True)
    what.add_argument("site", type=Path, nargs="?", metavar="SITE", help="the site file")
    what.add_argument("--pv", nargs="+", metavar="NAME", help="PVs of anybody's servers, without a site file")
    run.add_argument("--csv", type=Path, metavar="DIR", help="with --pv: the folder of the CSV files")
    run.add_argument("--version", action="version", version=f"countinghouse {_version()}")
    logs.add_options(run)
    get.add_parser(commands, EXAMPLES)
    serve = commands.add_parser(
        "serve",
        **usage.told(
            EXAMPLES,
            "serve",
            "the page, and what was recorded, over HTTP",
            "Show every device and value in a browser, read only; answer the Phoebus Data Browser (json:), "
            "clients of the Archiver Appliance (getData.json), and browser runtimes of .bob screens (pvws).",
        ),
    )
    serve.add_argument("site", type=Path, metavar="SITE", help="the site file")
    logs.add_options(serve)
    boards = commands.add_parser(
        "dashboards",
        **usage.told(
            EXAMPLES,
            "dashboards",
            "a Grafana dashboard of the site",
            "Write a Grafana dashboard of what the devices told the archiver last; import it in Grafana.",
        ),
    )
    boards.add_argument("site", type=Path, metavar="SITE", help="the site file")
    boards.add_argument("-o", dest="folder", type=Path, metavar="DIR", required=True, help="where to write it")
    healing = commands.add_parser(
        "doctor", **usage.told(EXAMPLES, "doctor", "find what keeps the archiver from recording; changes nothing")
    )
    healing.add_argument("site", type=Path, metavar="SITE", help="the site file")
    notify = commands.add_parser(
        "notify",
        **usage.told(
            EXAMPLES, "notify", "try the command of [notify]", "Run the command of [notify] with a test message."
        ),
    )
    notify.add_argument("site", type=Path, metavar="SITE", help="the site file")
    notify.add_argument("--test", action="store_true", required=True, help="send a test message now")
    logs.add_options(notify)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 done, 1 failed while running, 2 bad usage or configuration."""
    options = parser().parse_args(arguments)
    if options.command == "get":
        return get.run(options)
    recording = options.command == "run"
    if recording and (options.pv is None) is not (options.csv is None):
        print(
            "--pv needs --csv DIR, where the files are to lie, and --csv goes with --pv; "
            "a site file says in [archive.csv] where its files lie",
            file=sys.stderr,
        )
        return 2
    try:
        site = load(options.site) if not recording or options.csv is None else _site_of_names(options.pv, options.csv)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    if options.command == "doctor":
        return 0 if doctor.examine(site, lambda line: print(line, flush=True)) else 1
    if options.command == "dashboards":
        return _dashboards(site, options.folder)
    try:
        logs.start(options)
    except OSError as error:
        print(f"the log file cannot be opened: {error}", file=sys.stderr)
        return 2
    if options.command == "serve":
        return server.run(site)
    if options.command == "notify":
        return _notify(site)
    if not site.devices and not site.archive.pvs:
        print(f"{site.path}: no [[device]] and no [archive] pvs to record", file=sys.stderr)
        return 2
    if not site.archive.csv.enabled and site.archive.influx is None:
        print(f"{site.path}: [archive.csv] is off, and there is no other store", file=sys.stderr)
        return 2
    return _run(site)


def _dashboards(site: Site, folder: Path) -> int:
    """Write the dashboard; 0 done, 1 it cannot be written, 2 no device has been seen yet."""
    kept = kept_catalogues(site)
    for name in (missing := [device.name for device in site.devices if device.name not in kept]):
        print(f"{name}: not seen by the archiver yet, left out; run 'python -m archiver run' once", file=sys.stderr)
    catalogues = [kept[device.name] for device in site.devices if device.name in kept]
    if not catalogues:
        print(f"{site.path}: there is nothing to show yet", file=sys.stderr)
        return 2
    path = folder / f"{dashboards.uid(site.prefix)}.json"
    text = json.dumps(dashboards.of_site(site.name, site.prefix, site.archive, catalogues), indent=2) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        print(f"{path} cannot be written: {error.strerror}; choose another folder with -o", file=sys.stderr)
        return 1
    print(f"{path}: {len(catalogues)} devices; in Grafana: Dashboards, New, Import")
    return 1 if missing else 0


def _notify(site: Site) -> int:
    """Send a test message; 0 sent, 1 not, 2 there is nobody to send it to."""
    if site.notify is None:
        print(f"{site.path}: there is no [notify]", file=sys.stderr)
        return 2
    error = asyncio.run(run_command(site.notify, f"{site.name}: a test message of the archiver\n"))
    print(error or f"sent by {site.notify.command[0]}", file=sys.stderr if error else sys.stdout)
    return 1 if error else 0


def _site_of_names(pvs: Sequence[str], folder: Path) -> Site:
    """Give a site that has nothing but PVs by name; its state lies in the folder of the files."""
    folder = folder.resolve()
    csv = {"directory": folder, "value_digits": "repr", "time_format": "iso"}
    try:
        archive = ArchiveTable.model_validate({"pvs": list(pvs), "csv": csv})
    except ValidationError as error:
        raise ConfigError(Path("--pv"), [mistake["msg"] for mistake in error.errors()]) from None
    about = SiteTable.model_construct(name="", prefix="", state_dir=folder / ".archiver")
    return Site(
        path=folder,
        name="",
        prefix="",
        simulated=True,  # whoever names a PV without a site knows what it is
        state_dir=folder / ".archiver",
        devices=(),
        archive=archive,
        access=AccessTable.model_validate({}),
        about=about,
        serve=ServeTable.model_validate({}),
    )


def _run(site: Site) -> int:
    try:
        with open_state(site.state_dir, "archiver") as state:
            last = LastEvents(site.state_dir / "archiver-last.jsonl")
            with build_outlets(site, last) as outlets:
                return 0 if asyncio.run(_record(site, state, outlets, last)) else 1
    except (StateError, FolderTaken, CannotStart) as error:
        log.error("%s", error)
        return 2
    except Exception:
        log.critical("the archiver ended by a fault of its own", exc_info=True)
    return 1


async def _record(site: Site, state: State, outlets: list[Outlet], last: LastEvents) -> bool:
    # Events are held for a moment by the ten thousand; looking for cycles among them costs more than taking them.
    gc.set_threshold(50_000, 20, 100)
    stop = asyncio.Event()

    def end() -> None:
        sd_notify.stopping()
        stop.set()

    async def begun() -> None:
        sd_notify.ready(announcement(site))

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, end)
    recorder = Recorder(site, state, outlets, last)
    print(announcement(site), flush=True)
    log.info("start")
    others = [begun()]
    if site.prefix:
        others.append(ArchiverStatus(site, recorder).serve())
    if site.notify is not None:
        notifier = Notifier(site, site.notify, recorder)
        recorder.listen = notifier.listener
        others.append(notifier.run())
    async with sd_notify.watchdog():
        complete = await recorder.run(stop, *others)
    log.info("stop")
    return complete


def announcement(site: Site) -> str:
    """Say in one line what is recorded, and where to."""
    archive = site.archive
    names = ", ".join(device.name for device in site.devices)
    what = [f"rows and PVs of {names} (site {site.name}, {site.prefix}*)"] if names else []
    what += [f"{len(archive.pvs)} PVs by name"] if archive.pvs else []
    stores = []
    if archive.csv.enabled:
        csv = archive.csv
        stores.append(
            f"CSV files in {csv.directory}, written every {csv.write_every:g} s, "
            f"a new file every {csv.new_file_every:g} s"
        )
    if (influx := archive.influx) is not None:
        stores.append(f"InfluxDB at {influx.url}, bucket {influx.bucket}, every {influx.write_every:g} s")
    return f"archiver: {' and '.join(what)} to {' and to '.join(stores)}"


if __name__ == "__main__":
    sys.exit(main())
