"""Which names this server answers to (pure).

A web site somewhere can have its own name point at 127.0.0.1, and then its scripts may read what is served here as if
it were theirs. Its name is in the Host header, though; an address there cannot be one that points elsewhere.
"""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit


def is_ours(host: str, names: Collection[str]) -> bool:
    """Whether a Host header means this server.

    Args:
        host: the header: an address or a name, and a port or none.
        names: what this server is called, in small letters.
    """
    name = _name(host)
    return bool(name) and (name in names or name.endswith(".localhost") or _address(name) is not None)


def may_connect(origin: str | None, host: str, names: Collection[str]) -> bool:
    """Whether a page may open a web socket here: browsers let every page try, and say which one in Origin.

    Args:
        origin: the header; None from programs that are no browser, which can read anyhow.
        host: the Host header, which means this server.
        names: as for `is_ours`.
    """
    if origin is None:
        return True
    scheme, _, place = origin.partition("://")
    name = _name(place)
    if scheme not in ("http", "https") or not name:
        return False
    address = _address(name)
    if address is not None:
        return address.is_loopback or name == _name(host)  # any other address is somebody else's page
    return name in names or name.endswith(".localhost")


def _name(place: str) -> str:
    try:
        return (urlsplit(f"//{place}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
