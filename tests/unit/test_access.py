"""Who may do what: rules by address, narrowed by claimed names; host names and mistakes of [access]."""

import errno
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iocs import config
from iocs.ca.access import Access, Rights, Rule, Standing
from iocs.ca.hosts import Unusable, is_own, rules
from iocs.config import AccessTable
from iocs.signals import Level, Signal, readback, setpoint

VMON = readback("VMON", "V")
VSET = setpoint("VSET", "V")
TRIP = setpoint("TRIP", "uA", level=Level.EXPERT)
SIGNALS = (VMON, VSET, TRIP)


def access(own: str = "", **table) -> Access:
    it = Access(is_own=lambda address: address == own)
    it.replace(*rules(AccessTable(**table), resolve=lambda name: {"daq": {"10.0.0.7"}, "gone": set()}[name]))
    return it


def may(it: Access, address: str, user: str = "anna") -> str:
    """Give the PVs that may be read (r) and put (w) as a word: VMON VSET TRIP."""
    return " ".join(
        "r" * rights.read + "w" * rights.write or "-"
        for rights in (it.rights(address, user, signal) for signal in SIGNALS)
    )


def test_without_rules_this_host_is_expert_and_others_are_nothing():
    it = access(own="10.0.0.5")
    for address in ("127.0.0.1", "127.3.2.1", "10.0.0.5"):
        assert it.admits(address) and may(it, address) == "r rw rw"
    for address in ("10.0.0.6", "8.8.8.8", "", "::1", "nonsense", "10.0.0.5:5064"):
        assert not it.admits(address) and may(it, address) == "- - -"


def test_levels_by_network_and_the_longest_one_counts():
    it = access(read=["10.0.0.0/8"], operator=["10.0.0.0/24"], expert=["10.0.0.9"])
    assert may(it, "10.1.2.3") == "r r r"
    assert may(it, "10.0.0.8") == "r rw r"
    assert may(it, "10.0.0.9") == "r rw rw"
    assert may(it, "11.0.0.9") == "- - -"
    assert it.rights("10.0.0.8", "", TRIP) == Rights(True, False, Standing.OPERATOR)


def test_the_host_itself_can_be_narrowed_through_each_of_its_addresses():
    it = access(own="10.0.0.5", operator=["127.0.0.0/8"], read=["10.0.0.0/24"])
    assert may(it, "127.0.0.1") == may(it, "10.0.0.5") == "r rw r"
    assert may(it, "10.0.0.6") == "r r r"
    assert may(access(own="10.0.0.5", read=["10.0.0.5"]), "10.0.0.5") == "r r r"


def test_a_claimed_name_narrows():
    it = access(operator=["10.0.0.0/24"], users={"anna": "read", "root": "expert", "*": "read", "eve": "none"})
    assert may(it, "127.0.0.1", "anna") == may(it, "127.0.0.1", "unheard") == "r r r"
    assert may(it, "127.0.0.1", "eve") == "- - -"
    assert may(it, "127.0.0.1", "root") == "r rw rw"
    assert may(it, "10.0.0.1", "root") == "r rw r"


addresses = st.integers(0, 2**32 - 1).map(IPv4Address)
networks = st.builds(
    lambda number, length: IPv4Network((number, length), strict=False), st.integers(0, 2**32 - 1), st.integers(0, 32)
)
standings = st.sampled_from(Standing)
rule_lists = st.lists(
    st.builds(lambda network, standing: Rule(str(network), network, standing), networks, standings), max_size=8
)
user_tables = st.dictionaries(st.sampled_from(["*", "anna", "bob", ""]), standings)


@given(rule_lists, user_tables, addresses, st.text(max_size=8), st.sampled_from(SIGNALS))
def test_a_user_never_widens_what_the_address_allows(list_of_rules, users, address, user, signal: Signal):
    by_address, narrowed = Access(), Access()
    by_address.replace(list_of_rules, {})
    narrowed.replace(list_of_rules, users)
    most, less = by_address.rights(str(address), user, signal), narrowed.rights(str(address), user, signal)
    assert less.level <= most.level and less.read <= most.read and less.write <= most.write
    assert not less.write or (less.read and signal.writable)


@given(rule_lists, addresses)
def test_an_address_that_no_rule_names_has_nothing_and_else_the_longest_rule_counts(list_of_rules, address):
    it = Access()
    it.replace(list_of_rules, {})
    fitting = [rule for rule in list_of_rules if address in rule.network]
    expected = Standing.EXPERT if address in IPv4Network("127.0.0.0/8") else Standing.NONE
    if fitting:
        longest = max(rule.network.prefixlen for rule in fitting)
        if longest >= 8 or expected is Standing.NONE:
            expected = [rule.standing for rule in fitting if rule.network.prefixlen == longest][-1]
    assert it.standing(str(address), None) is expected
    assert it.admits(str(address)) is (expected > Standing.NONE)


def test_new_rules_count_at_once():
    it = access(expert=["10.0.0.9"])
    assert may(it, "10.0.0.9") == "r rw rw"
    it.replace((), {})
    assert may(it, "10.0.0.9") == "- - -"
    assert it.description == "this host expert"


def test_without_a_free_descriptor_what_was_seen_last_counts():
    """To see whose an address is takes a socket."""
    seen = {"10.0.0.5": True, "10.0.0.6": False}

    def own(address: str) -> bool:
        if address not in seen:
            raise OSError(errno.EMFILE, "Too many open files")
        return seen[address]

    it = Access(own)
    it.replace(*rules(AccessTable(read=["10.0.0.0/24"])))
    assert it.admits("10.0.0.5") and it.admits("10.0.0.6")
    seen.clear()
    with pytest.raises(OSError, match="Too many"):
        it.admits("10.0.0.7")
    assert it.admits("10.0.0.5") and it.admits("10.0.0.6")
    it.replace(*rules(AccessTable(operator=["10.0.0.0/24"])))
    assert (may(it, "10.0.0.5"), may(it, "10.0.0.6")) == ("r rw rw", "r rw r")
    seen["10.0.0.5"] = False  # the address has moved to another host
    assert it.admits("10.0.0.5") and may(it, "10.0.0.5") == "r rw r"


def test_host_names_are_looked_up_and_told():
    it = access(expert=["daq"], users={"anna": "read"})
    assert may(it, "10.0.0.7", "bob") == "r rw rw"
    assert it.description == "this host expert, daq expert, user anna at most read"


def test_all_mistakes_are_told_at_once():
    def resolve(name: str) -> set[str]:
        if name == "nowhere":
            raise OSError(-2, "Name or service not known")
        return {"10.0.0.9"}

    table = AccessTable(read=["10.0.0.9", "nowhere"], expert=["daq"])
    with pytest.raises(Unusable) as caught:
        rules(table, resolve)
    assert caught.value.mistakes == [
        "[access], key read: host 'nowhere' has no address (Name or service not known)",
        "[access], key expert: 'daq' (10.0.0.9/32) is granted read already, as '10.0.0.9'",
    ]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('read = ["10.0.0.5/24"]', "has host bits set"),
        ('read = ["10.0.0.300"]', "is no IPv4 address or network"),
        ('read = ["::1"]', "IPv4 alone"),
        ('read = ["a b"]', "must be a host name"),
        ('read = ["-x"]', "must be a host name"),
        ('interfaces = ["eth0"]', "must be an IPv4 address"),
        ("interfaces = []", "at least 1"),
        ('users.anna = "wizard"', "'none', 'read', 'operator' or 'expert'"),
        ('wheel = ["10.0.0.5"]', "no such key"),
    ],
)
def test_the_table_is_checked(tmp_path, line, sentence):
    path = tmp_path / "site.toml"
    path.write_text(f'[site]\nname = "t"\nprefix = "T:"\n[access]\n{line}\n')
    with pytest.raises(config.ConfigError) as caught:
        config.load(path)
    assert sentence in str(caught.value) and "[access" in str(caught.value)


def test_this_hosts_addresses_are_known():
    assert is_own("127.0.0.1")
    assert not is_own("203.0.113.1")  # kept for documentation (RFC 5737): nobody's
