"""The processes of a site: an IOC for each device or group, the archiver, the page (pure)."""

import os.path
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from iocs.config import ConfigError, Device, Site

STOP_WITHIN = 60.0  # s for a stop, and more where a device says so
USUAL_PORT = 5064  # of Channel Access: whichever server starts first has it


@dataclass(frozen=True, slots=True)
class Process:
    """One process of a site.

    Attributes:
        name: of its unit, e.g. "lab-ioc-hv".
        about: for people.
        arguments: of `python -m`.
        folders: what it writes into; all else may be read-only.
        serial: whether it opens serial ports of this host.
        reloads: whether SIGHUP has it read its rules again.
        stop_within: time that it is given for an orderly stop, s.
        low_port: whether it listens on a port below 1024.
    """

    name: str
    about: str
    arguments: tuple[str, ...]
    folders: tuple[Path, ...] = ()
    serial: bool = False
    reloads: bool = False
    stop_within: float = STOP_WITHIN
    low_port: bool = False


def site_word(site: Site) -> str:
    """Give the site's prefix as a word for the names of files, e.g. "lab"."""
    return site.prefix.strip(":").replace(":", "-").lower()


def processes(site: Site, groups: Sequence[Sequence[str]]) -> list[Process]:
    """Give the processes: IOCs in the order of the site file, then archiver and page.

    Args:
        site: the checked site file, with kinds.
        groups: names of devices that are to share a process; every other has its own.

    Raises:
        ConfigError: the devices cannot be grouped so, or an interlock's source would have no address of its own.
    """
    shared = _grouped(site, groups)
    ports = _ports(site, shared)
    every = [_ioc(site, devices, port) for devices, port in zip(shared, ports, strict=True)]
    archive, serve, path = site.archive, site.serve, str(site.path)
    written = [archive.csv.directory, *(archive.csv.for_row(row).directory for row in archive.csv.row)]
    stores = archive.csv.enabled or archive.influx is not None
    if stores and (site.devices or archive.pvs):
        folders = _plain([site.state_dir, *(written if archive.csv.enabled else [])])
        every.append(Process(f"{site_word(site)}-archiver", "archiver", ("archiver", "run", path), folders))
    low = 0 < serve.port < 1024
    every.append(Process(f"{site_word(site)}-page", "page and archive", ("archiver", "serve", path), low_port=low))
    return every


def _grouped(site: Site, groups: Sequence[Sequence[str]]) -> list[list[Device]]:
    """Give the devices of each IOC, in the order of the site file."""
    known = {device.name: device for device in site.devices}
    mistakes, group_of = [], {}
    for number, names in enumerate(groups):
        for name in names:
            if name not in known:
                mistakes.append(f"--group: there is no device {name!r}; there are {', '.join(known) or 'none'}")
            elif group_of.setdefault(name, number) != number:
                mistakes.append(f"--group: {name} is in two groups")
            elif known[name].kind.alone and len(set(names)) > 1:
                mistakes.append(f"--group: {name} ({known[name].type}) runs in a process of its own")
    if mistakes:
        raise ConfigError(site.path, mistakes)
    shared: dict[object, list[Device]] = {}
    for device in site.devices:
        shared.setdefault(group_of.get(device.name, device.name), []).append(device)
    return list(shared.values())


def _ports(site: Site, shared: Sequence[Sequence[Device]]) -> list[int | None]:
    """Give the TCP port of each IOC that somebody believes at one address alone; None: any will do."""
    where = {f"{site.prefix}{device.name}:": number for number, devices in enumerate(shared) for device in devices}
    ports: dict[int, int] = {}
    mistakes = []
    for number, devices in enumerate(shared):
        for device in devices:
            for pv, server in device.settings.believed:
                source = next((its for head, its in where.items() if pv.startswith(head)), None)
                if source is None or source == number:
                    continue
                port = int(server.partition(":")[2] or USUAL_PORT)
                place = f'[[device]] "{device.name}": {pv} is believed at {server!r} alone'
                if port == USUAL_PORT:
                    mistakes.append(f"{place}, the port of whichever IOC starts first; write host:port with another")
                elif ports.setdefault(source, port) != port:
                    mistakes.append(f"{place}, but its IOC serves on port {ports[source]} for another; write one port")
    for port in {port for port in ports.values() if list(ports.values()).count(port) > 1}:
        names = ", ".join(device.name for number in ports if ports[number] == port for device in shared[number])
        mistakes.append(f"port {port} is that of several IOCs ({names}); write different ports, or --group them")
    if mistakes:
        raise ConfigError(site.path, mistakes)
    return [ports.get(number) for number in range(len(shared))]


def _ioc(site: Site, devices: Sequence[Device], port: int | None) -> Process:
    names = [device.name for device in devices]
    folders = [site.state_dir, site.put_log.parent]
    for device in devices:
        folders += device.settings.written_folders
    arguments = ("iocs", "run", str(site.path), "--only", *names)
    return Process(
        name="-".join([site_word(site), "ioc", *names]).lower(),
        about=f"IOC of {', '.join(names)}",
        arguments=arguments if port is None else (*arguments, "--port", str(port)),
        folders=_plain(folders),
        serial=any(str(getattr(each.settings, "link", "")).startswith(("serial://", "caen://")) for each in devices),
        reloads=True,
        stop_within=STOP_WITHIN + max(device.settings.stop_takes for device in devices),
    )


def _plain(folders: Sequence[Path]) -> tuple[Path, ...]:
    """Give absolute folders without "..", each once: systemd refuses others."""
    return tuple(dict.fromkeys(Path(os.path.abspath(folder)) for folder in folders))
