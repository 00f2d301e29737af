"""Watching a PV wherever it is served: in this process, or over the network."""

from collections.abc import Callable

from iocs.ca.client import Client
from iocs.ca.server import Server
from iocs.signals import Reading


def watch(
    server: Server, client: Callable[[], Client], name: str, on_reading: Callable[[Reading], None]
) -> Callable[[], None]:
    """Call `on_reading` in the event loop for every event of a PV, and with `connected` False when it goes away.

    Args:
        server: of this process; what it serves is watched without the network, and its readings are `local`.
        client: gives the client for all other PVs.
        name: the PV.
        on_reading: must not wait.

    Returns:
        What ends it.
    """
    if server.reading(name) is not None:
        return server.watch(name, on_reading)
    used = client()
    watched = used.watch(name, on_reading)
    return lambda: used.end(watched)
