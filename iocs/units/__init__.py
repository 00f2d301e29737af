"""A site as services: `python -m iocs units SITE -o DIR` writes systemd units and a Containerfile."""

from collections.abc import Sequence

from iocs.config import Site
from iocs.units.container import containerfile
from iocs.units.processes import processes, site_word
from iocs.units.systemd import HIDDEN, sysusers, target, tmpfiles, unit

__all__ = ["HIDDEN", "files"]


def files(site: Site, groups: Sequence[Sequence[str]], *, python: str, user: str) -> dict[str, str]:
    """Give the text of each file by its name.

    Args:
        site: the checked site file, with kinds.
        groups: names of devices that are to share a process; every other has its own.
        python: path of the interpreter in which the package is installed.
        user: the account that all run as.

    Raises:
        ConfigError: the devices cannot be grouped so, or an interlock's source would have no address of its own.
    """
    every = processes(site, groups)
    word = site_word(site)
    texts = {f"{each.name}.service": unit(site, each, python=python, user=user) for each in every}
    texts[f"{word}.target"] = target(site)
    texts[f"{word}.sysusers.conf"] = sysusers(site, user)
    texts[f"{word}.tmpfiles.conf"] = tmpfiles(every, user)
    texts["Containerfile"] = containerfile(site, every)
    return texts
