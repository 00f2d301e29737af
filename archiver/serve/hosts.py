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
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    if not name:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name.rstrip(".") in names or name.endswith(".localhost")
    return True


def may_connect(origin: str | None, names: Collection[str]) -> bool:
    """Whether a page may open a web socket here: browsers let every page try, and say which one in Origin.

    Args:
        origin: the header; None from programs that are no browser, which can read anyhow.
        names: as for `is_ours`.
    """
    if origin is None:
        return True
    try:
        place = urlsplit(origin)
    except ValueError:
        return False
    return place.scheme in ("http", "https") and is_ours(place.netloc, names)
