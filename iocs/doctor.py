"""`python -m iocs doctor SITE`: whatever keeps the devices of a site from running, each with its cure. Read-only."""

from collections.abc import Callable, Iterator

from drivers.link import parse_address
from drivers.serial_link import why_shut
from iocs import config, host
from iocs.ca import environment
from iocs.config import Finding
from iocs.online import ask
from iocs.state import holder

ROOM = 100.0  # MB; state is small, but it must never meet a full disk


def examine(site: config.Site, tell: Callable[[str], None]) -> bool:
    """Look at this host and ask every box; gives whether all is well.

    A box that an IOC of this site holds is not touched.
    """
    return host.report(_findings(site), tell)


def _findings(site: config.Site) -> Iterator[tuple[str, Finding]]:
    yield "clock", host.clock()
    surroundings = environment.findings()
    for finding in surroundings:
        yield "environment", finding
    least = max(ROOM, site.about.put_log_megabytes)
    yield "disk", (kept := host.writable(site.state_dir, "state", ROOM))
    yield "disk", host.writable(site.put_log.parent, "put log", least)
    locks = {device.name: holder(site.state_dir / f"{device.name}.lock") for device in site.devices}
    held = {name: int(pid) for name, pid in locks.items() if pid.isdigit()}
    if all(finding.good for finding in surroundings):
        yield from _ports(site, held)
    for device in site.devices:
        yield device.name, host.state(site.state_dir, device.name)
        if device.name in held:
            text = f"it is run by process {held[device.name]}, and its box is left to that: caget"
            yield device.name, Finding(True, f"{text} {site.prefix}{device.name}:ONLINE tells how it fares")
        elif kept.good:  # a box is asked by whoever holds its lock, which lies there
            yield from ((device.name, finding) for finding in _box(site, device))


def _ports(site: config.Site, held: dict[str, int]) -> Iterator[tuple[str, Finding]]:
    number = environment.server_port()
    for address in site.access.interfaces:
        yield "ports", host.port(address, number, "[access], key interfaces,", host.own_devices(held))
    yield "ports", host.search_port(number)


def _box(site: config.Site, device: config.Device) -> list[Finding]:
    link = str(getattr(device.settings, "link", ""))
    if link.startswith("serial:") and (why := why_shut(parse_address(link))):
        return [Finding(False, why)]
    return ask(site, device)
