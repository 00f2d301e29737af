"""The rules of `[access]`: loaded at the start, and again on SIGHUP while everything goes on.

A reload takes `[access]` alone; `interfaces` and all other tables need a restart. Rules with a mistake never come into
force: the old ones stay, the mistakes are in the log and in the PV `ACCESS`.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from iocs import config
from iocs.ca import hosts
from iocs.ca.access import Access, Rule, Standing
from iocs.ca.statistics import Statistics

log = logging.getLogger(__name__)


class Tells(Protocol):
    """What the reload needs of a server."""

    def rights_changed(self) -> None:
        """Tell every open channel its rights anew."""
        ...


def rules(site: config.Site) -> tuple[tuple[Rule, ...], dict[str, Standing]]:
    """Give the rules of a site; its host names are looked up, which may wait for a name server.

    Raises:
        ConfigError: a host has no address, or is granted two different things.
    """
    try:
        return hosts.rules(site.access)
    except hosts.Unusable as error:
        raise config.ConfigError(site.path, error.mistakes) from error


async def reload_on(asked: asyncio.Event, path: Path, access: Access, server: Tells, statistics: Statistics) -> None:
    """Read the rules again whenever `asked` is set, put them in force, and tell every client, for ever."""
    while True:
        await asked.wait()
        asked.clear()
        try:
            fresh = await asyncio.to_thread(lambda: rules(config.load(path)))
        except config.ConfigError as error:
            log.error("SIGHUP: the rules of access stay as they were, because of\n%s", error)
            statistics.access_error = str(error)
        else:
            access.replace(*fresh)
            statistics.access_error = ""
            server.rights_changed()
            log.info("SIGHUP: rules of access now: %s", access.description)
        statistics.post()


def on_hangup(reload: Callable[[], None], stop: Callable[[], None]) -> None:
    """Have SIGHUP call `reload`; or `stop`, when it means that the terminal of the process has been closed."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # nohup: to outlive the terminal is what is wanted
    ends_with_terminal = _has_terminal() and not ignored

    def hangup() -> None:
        if ends_with_terminal and not _has_terminal():
            log.info("the terminal was closed")
            stop()
        else:
            reload()

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hangup)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
