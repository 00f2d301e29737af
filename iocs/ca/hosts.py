"""From names to addresses: the hosts of `[access]`, and which addresses are this host's own."""

import socket
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError

from iocs.ca.access import LOOPBACK, Rule, Standing
from iocs.config import AccessTable


class Unusable(Exception):
    """The `[access]` table cannot be used; `mistakes` holds one sentence for each."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


def is_own(address: str) -> bool:
    """Tell whether an IPv4 address belongs to this host: then the kernel would speak to it from that very address.

    (Whether it can be bound says less: a host may be set to bind foreign ones, net.ipv4.ip_nonlocal_bind.)
    """
    if IPv4Address(address) in LOOPBACK:
        return True
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 9))  # sends nothing
        except OSError:
            return False
        return probe.getsockname()[0] == address


def resolve(name: str) -> set[str]:
    """Give the IPv4 addresses of a host name. This may wait for a name server.

    Raises:
        OSError: it has none, or no name server answers.
    """
    return {str(info[4][0]) for info in socket.getaddrinfo(name, None, socket.AF_INET)}


def rules(
    table: AccessTable, resolve: Callable[[str], set[str]] = resolve
) -> tuple[tuple[Rule, ...], dict[str, Standing]]:
    """Give the rules of `[access]`: those by address, and those that narrow users. Host names are looked up now.

    Raises:
        Unusable: a host name has no address, or an address is granted two different things.
    """
    found: dict[IPv4Network, Rule] = {}
    mistakes = []
    for standing in (Standing.READ, Standing.OPERATOR, Standing.EXPERT):
        key = standing.name.lower()
        for text in getattr(table, key):
            try:
                networks = _networks(text, resolve)
            except OSError as error:
                mistakes.append(f"[access], key {key}: host {text!r} has no address ({error.strerror or error})")
                continue
            for network in networks:
                rule = found.setdefault(network, Rule(text, network, standing))
                if rule.standing is not standing:
                    mistakes.append(
                        f"[access], key {key}: {text!r} ({network}) is granted "
                        f"{rule.standing.name.lower()} already, as {rule.text!r}"
                    )
    if mistakes:
        raise Unusable(mistakes)
    return tuple(found.values()), {name: Standing[word.upper()] for name, word in table.users.items()}


def _networks(text: str, resolve: Callable[[str], set[str]]) -> list[IPv4Network]:
    try:
        return [IPv4Network(text)]
    except (AddressValueError, NetmaskValueError):
        return [IPv4Network(IPv4Address(address)) for address in sorted(resolve(text))]
