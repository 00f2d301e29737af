"""Any order of valid and invalid messages, by any number of clients: the server answers, closes, and keeps nothing.

`CA_EXAMPLES` (200, some 10 s) says how many sequences are tried.
"""

import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from tests import raw_ca
from tests.processes import Process, ca_environment, free_port, random_prefix, wait_for
from tests.raw_ca import Command, RawClient
from tests.witness import Witness

EXAMPLES = int(os.environ.get("CA_EXAMPLES", "200"))
KEPT = 15.0  # MB that the server may have more at the end than after its first clients

names = st.sampled_from(["PV0", "PV1", "PV99", "SET", "ARRAY", "TEXT", "PV1.EGU", "PV1.VAL", "SET.DRVH"])
wrong_names = st.sampled_from(["NONE", "PV0.NONE", "A" * 500, "", "PV0.{"])
ids = st.integers(0, 5)
wild = st.one_of(ids, st.sampled_from([6, 1000, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]))
types = st.one_of(st.integers(0, 40), st.sampled_from([99, 0xFFFF]))
counts = st.sampled_from([0, 1, 2, 10, 100_000, 1 << 20, 0xFFFFFFFF])


class Client(RawClient):
    """A connection and what it may rightly name."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.sids: list[int] = []
        self.subscriptions: dict[int, int] = {}  # subscription id -> sid
        self.wrong = False  # it has said what no client says: the server may close it at any time

    def attempt(self, *parts: bytes) -> None:
        try:
            self.send(*parts)
        except ConnectionError:
            assert self.wrong, "the server closed the connection of a client that behaved"


class Crowd(RuleBasedStateMachine):
    """Several clients of one live server; `ioc` and `witness` outlast every sequence."""

    clients = Bundle("clients")
    ioc: Process
    prefix: str
    port: int
    witness: Witness

    def __init__(self) -> None:
        super().__init__()
        self.open: list[Client] = []

    @initialize(target=clients)
    def first_client(self):
        return self.connect()

    @rule(target=clients)
    def connect(self):
        client = Client(self.port)
        self.open.append(client)
        return client

    # what clients rightly say

    @rule(client=clients, name=names)
    def create(self, client: Client, name: str):
        if not client.wrong:
            client.sids.append(client.channel(self.prefix + name, len(client.sids)))

    @rule(client=clients, name=wrong_names)
    def create_unknown(self, client: Client, name: str):
        client.wrong |= not name
        client.attempt(raw_ca.create(self.prefix + name if name else "", 900))

    @rule(client=clients, which=ids, subscription=ids, mask=st.integers(1, 15), count=st.sampled_from([0, 1, 2]))
    def subscribe(self, client: Client, which: int, subscription: int, mask: int, count: int):
        if client.sids and subscription not in client.subscriptions:
            sid = client.sids[which % len(client.sids)]
            client.subscriptions[subscription] = sid
            client.attempt(raw_ca.subscribe(sid, subscription, mask=mask, count=count))

    @rule(client=clients, subscription=ids)
    def unsubscribe(self, client: Client, subscription: int):
        if subscription in client.subscriptions:
            client.attempt(raw_ca.unsubscribe(client.subscriptions.pop(subscription), subscription))

    @rule(client=clients, which=ids, in_flight=st.sampled_from([1, 3, 50]))
    def get(self, client: Client, which: int, in_flight: int):
        if client.sids:
            sid = client.sids[which % len(client.sids)]
            client.attempt(*(raw_ca.get(sid, 100 + ioid) for ioid in range(in_flight)))
            if not client.wrong:
                got = {client.until(Command.READ_NOTIFY).second for _ in range(in_flight)}
                assert got == set(range(100, 100 + in_flight))

    @rule(client=clients, which=ids, value=st.one_of(st.floats(), st.sampled_from(["7", "x", ""])))
    def put(self, client: Client, which: int, value: float | str):
        if client.sids:
            client.attempt(raw_ca.put(client.sids[which % len(client.sids)], value, ioid=7))
            if not client.wrong:
                assert client.until(Command.WRITE_NOTIFY).second == 7

    @rule(client=clients, message=st.sampled_from([raw_ca.EVENTS_OFF, raw_ca.EVENTS_ON, raw_ca.ECHO, raw_ca.GREETING]))
    def say(self, client: Client, message: bytes):
        client.attempt(message)

    @rule(client=clients, which=ids)
    def clear(self, client: Client, which: int):
        if client.sids:
            sid = client.sids.pop(which % len(client.sids))
            client.subscriptions = {key: of for key, of in client.subscriptions.items() if of != sid}
            client.attempt(raw_ca.clear(sid))

    # what no client says

    @rule(client=clients, garbage=st.binary(min_size=16, max_size=400))
    def garbage(self, client: Client, garbage: bytes):
        client.wrong = True
        client.attempt(garbage)

    @rule(
        client=clients,
        command=st.integers(0, 30),
        size=st.sampled_from([0, 1, 8, 16, 40, 0xFFFE, 1 << 31]),
        dtype=types,
        count=counts,
        first=wild,
        second=wild,
        payload=st.binary(max_size=64),
    )
    def any_message(self, client: Client, command: int, size: int, payload: bytes, **fields: int):
        client.wrong = True
        client.attempt(raw_ca.header(command, size, **fields) + payload)

    @rule(client=clients, command=st.integers(0, 30), dtype=types, count=counts, which=ids, payload=st.binary())
    def any_message_to_a_channel(self, client: Client, command: int, which: int, payload: bytes, **fields: int):
        if client.sids:
            client.wrong = True
            sid = client.sids[which % len(client.sids)]
            client.attempt(raw_ca.message(command, raw_ca.padded(payload), first=sid, second=7, **fields))

    @rule(client=consumes(clients), part=st.integers(1, 39))
    def vanish_in_the_middle(self, client: Client, part: int):
        client.wrong = True
        client.attempt(raw_ca.put(client.sids[0] if client.sids else 0, 1.0)[:part])
        self.open.remove(client)
        client.vanish()

    @rule(client=consumes(clients))
    def leave(self, client: Client):
        self.open.remove(client)
        client.socket.close()

    @rule(target=clients)
    def many_connect(self):
        return multiple(*(self.connect() for _ in range(5)))

    # what must be true whatever they say

    @invariant()
    def every_connection_answers_or_is_closed(self):
        for client in self.open:
            if not client.wrong:
                assert client.echoes(), "the server closed the connection of a client that behaved"

    @invariant()
    def the_witness_is_unhurt(self):
        self.witness.check()

    def teardown(self):
        for client in self.open:
            if client.wrong:  # perhaps in the middle of a message: what it announced may still be awaited
                self.closed_or_waiting(client)
            client.socket.close()

    def closed_or_waiting(self, client: Client) -> None:
        """End our side: the server must then close, whatever it was waiting for."""
        try:
            client.socket.shutdown(raw_ca.socket.SHUT_WR)
        except OSError:
            return
        assert client.closed(), "a dead connection was left open"


def test_any_order_of_messages():
    prefix, port = random_prefix(), free_port()
    arguments = ("tests.system.counting_ioc", prefix, "--rate", "50")
    with Process(*arguments, environment=ca_environment(port)) as ioc:
        ioc.line(f"counting on port {port}")
        with Witness(port, [f"{prefix}PV{number}" for number in range(10)]) as witness:
            witness.more(100)
            machine = type("CrowdOfThisServer", (Crowd,), {"prefix": prefix, "port": port, "witness": witness})
            descriptors, memory = ioc.descriptors, ioc.memory
            run_state_machine_as_test(
                machine,
                settings=settings(
                    max_examples=EXAMPLES,
                    stateful_step_count=25,
                    deadline=None,
                    database=None,
                    phases=[Phase.generate],  # a live server's deadlines would make shrinking endless
                    suppress_health_check=list(HealthCheck),
                ),
            )
            wait_for(lambda: ioc.descriptors <= descriptors, "end of all connections but the witness's")
            witness.more(500)
            witness.check()
        assert ioc.memory - memory < KEPT, "the server's memory grew"
        assert sum(map(len, ioc.err)) < 300 * EXAMPLES + 20_000, f"the log was flooded: {ioc.err[-5:]}"
