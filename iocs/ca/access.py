"""Who may read and put which PV: rules by the peer's address, narrowed by the user name that it claims (pure).

The address is known from the connection and can be trusted as far as the network can. A user name is what the client
says; so it can take rights away and never give any.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import NamedTuple

from iocs.signals import Level, Signal

LOOPBACK = IPv4Network("127.0.0.0/8")
EVERYBODY_ELSE = "*"  # in place of a user name: all names that have no rule
REMEMBERED = 4096  # addresses, and addresses with user names, of which it is kept what they are and may


class Standing(IntEnum):
    """What a client may do at most; each includes those before."""

    NONE = 0
    READ = 1
    OPERATOR = 2
    EXPERT = 3


NEEDED = {Level.OPERATOR: Standing.OPERATOR, Level.EXPERT: Standing.EXPERT}


class Rights(NamedTuple):
    """What one client may do with one PV.

    Attributes:
        read: get and monitor.
        write: put.
        level: the client's standing, for the reason of a refusal.
    """

    read: bool
    write: bool
    level: Standing


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of the site file: `text` as it stands there, the network that it means, what is granted."""

    text: str
    network: IPv4Network
    standing: Standing


class Access:
    """The rules in force. The default ones make everybody on this host an expert and nobody else anything.

    Attributes:
        description: the rules in words, for the PV `ACCESS`.
    """

    def __init__(self, is_own: Callable[[str], bool] = lambda address: False) -> None:
        """`is_own` tells whether an address belongs to this host (besides 127.0.0.0/8), or raises OSError."""
        self._is_own = is_own
        self._own: dict[str, bool] = {}  # kept: without a free descriptor it cannot be seen, and rights still count
        self.replace((), {})

    def replace(self, rules: Iterable[Rule], users: Mapping[str, Standing]) -> None:
        """Put other rules in force. Whoever serves must then tell open channels their new rights."""
        rules = tuple(rules)
        granted = {LOOPBACK: Standing.EXPERT, **{rule.network: rule.standing for rule in rules}}
        self._granted = dict(sorted(granted.items(), key=lambda item: item[0].prefixlen, reverse=True))
        self._users = dict(users)
        self.standing = lru_cache(maxsize=REMEMBERED)(self._standing)
        words = [f"{rule.text} {rule.standing.name.lower()}" for rule in rules]
        if not any(rule.network == LOOPBACK for rule in rules):
            words.insert(0, "this host expert")
        words += [f"user {name} at most {standing.name.lower()}" for name, standing in self._users.items()]
        self.description = ", ".join(words)

    def rights(self, address: str, user: str, signal: Signal) -> Rights:
        """Give what the user at an address (IPv4, without port) may do with a PV; the rule for get, put and monitor."""
        standing = self.standing(address, user)
        return _RIGHTS[standing, signal.writable and standing >= NEEDED[signal.level]]

    def admits(self, address: str) -> bool:
        """Tell whether an address may connect at all. Asked for every connection, as addresses move between hosts.

        Raises:
            OSError: it cannot be seen now whose address it is, and never was.
        """
        known = self._own.pop(address, None)
        self.standing.cache_clear()
        try:
            return self.standing(address, None) > Standing.NONE
        except OSError:
            if known is None:
                raise
            self._own[address] = known
            return self.standing(address, None) > Standing.NONE

    def _standing(self, address: str, user: str | None) -> Standing:
        try:
            by_address = self._at(IPv4Address(address))
        except AddressValueError:
            return Standing.NONE
        if user is None:
            return by_address
        return min(by_address, self._users.get(user, self._users.get(EVERYBODY_ELSE, Standing.EXPERT)))

    def _at(self, address: IPv4Address) -> Standing:
        """Give what the longest network holding the address grants; this host's other addresses count as loopback."""
        if (exact := self._granted.get(IPv4Network(address))) is not None:
            return exact
        if address not in LOOPBACK and self._belongs(str(address)):
            return self._at(IPv4Address("127.0.0.1"))
        return next((standing for network, standing in self._granted.items() if address in network), Standing.NONE)

    def _belongs(self, address: str) -> bool:
        if address not in self._own:
            if len(self._own) >= REMEMBERED:
                self._own.clear()
            self._own[address] = self._is_own(address)
        return self._own[address]


_RIGHTS = {
    (standing, write): Rights(standing >= Standing.READ, write, standing)
    for standing in Standing
    for write in (False, True)
}
