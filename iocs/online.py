"""`check --online`: each box is asked whether it is what the site file says. Nothing is written to any of them."""

import asyncio
from collections.abc import Callable

from drivers.errors import DriverError
from iocs import config
from iocs.device import all_signals
from iocs.state import StateError, open_state

DEADLINE = 60.0  # s; the slowest box on the slowest line


def check_online(site: config.Site, tell: Callable[[str], None]) -> bool:
    """Ask every box, one after the other, and tell what was found; gives whether all is as the site file says.

    A box that an IOC of this site holds is not touched: there can be one owner only.
    """
    good = True
    for device in site.devices:
        for finding in ask(site, device):
            good = good and finding.good
            tell(f"{device.name}: {'' if finding.good else 'NOT AS EXPECTED: '}{finding.text}")
    return good


def ask(site: config.Site, device: config.Device) -> list[config.Finding]:
    """Ask one box, holding its lock meanwhile: whether it answers, and whether it is as the site file says."""
    try:
        with open_state(site.state_dir, device.name):
            return asyncio.run(_within_deadline(device))
    except NotImplementedError:
        return [config.Finding(True, f"devices of the type {device.type} cannot be checked on line")]
    except (DriverError, StateError) as error:
        return [config.Finding(False, str(error))]
    except TimeoutError:
        return [config.Finding(False, f"no end of the answers within {DEADLINE:g} s")]


async def _within_deadline(device: config.Device) -> list[config.Finding]:
    async with asyncio.timeout(DEADLINE):
        findings, shape = await device.kind.check(device.settings)
    try:
        all_signals(device.kind, device.settings, shape)
    except ValueError as error:
        findings = [*findings, config.Finding(False, str(error))]
    return findings
