"""Clients that misbehave, by malice or by bad Wi-Fi: nobody else notices, and nothing of them stays.

In every test a client that behaves watches beside the hostile one: it must lose no update and wait for no answer, and
the server's memory, descriptors and log must stay bounded. Rights of hosts and users are the matter of the tests of
access.
"""

import os
import socket
import struct
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests import raw_ca
from tests.processes import DEADLINE, Process, ca_environment, free_port, random_prefix, wait_for
from tests.raw_ca import NORMAL, PUTFAIL, Command, RawClient, Type
from tests.witness import Witness

GROWTH = 24.0  # MB that a server may take more while it is attacked: buffers of many clients, never an attacker's wish
KEPT = 10.0  # MB that it may have more afterwards: what an allocator keeps
LOG = 20_000  # characters that one attack may leave in the log
COUNTERS = range(100)


class Ioc(Process):
    """The server under attack, with 100 counters."""

    def __init__(self, *options: str) -> None:
        self.prefix, self.port = random_prefix(), free_port()
        arguments = ("tests.system.stepped_clock", "tests.system.counting_ioc", self.prefix, *options)
        super().__init__(*arguments, environment=ca_environment(self.port), stdin=subprocess.PIPE)
        self.line(f"counting on port {self.port}")

    def names(self, count: int = len(COUNTERS)) -> list[str]:
        """Give the names of the first `count` counters."""
        return [f"{self.prefix}PV{number}" for number in COUNTERS[:count]]

    def client(self, **options) -> RawClient:
        return RawClient(self.port, **options)

    def witness(self) -> Witness:
        return Witness(self.port, self.names(20))

    @property
    def log_size(self) -> int:
        return sum(map(len, (*self.out, *self.err)))


@pytest.fixture(scope="module")
def server():
    with Ioc() as ioc:
        with ioc.witness() as witness:  # what the first clients cost is no leak
            witness.more(1000)
        yield ioc


@pytest.fixture
def ioc(server):
    """The server, with a witness beside it: at the end that witness is unhurt, and nothing is left of the attack."""
    with server.witness() as witness:
        witness.more(200)
        descriptors, memory, log = server.descriptors, server.memory, server.log_size
        server.forget_peak()
        server.beside = witness
        yield server
        witness.more(1000)
        witness.check()
        wait_for(lambda: server.descriptors <= descriptors, "end of the last hostile connection")
        assert server.peak_memory - memory < GROWTH, "the server's memory followed the attacker's wish"
        assert server.memory - memory < KEPT, "the server keeps something of a client that is gone"
        assert server.log_size - log < LOG, f"the log was flooded: {server.err[-5:]}"


# What no client says. Each is a function of (id of an open channel) -> bytes; the circuit must be closed, no other.
HUGE = struct.pack(">4H4I", Command.WRITE_NOTIFY, 0xFFFF, 6, 0, 0, 1, 0xFFFFFFF0, 0x1FFFFFFF)
MALFORMED = {
    "garbage": lambda sid: bytes(range(7, 256, 3)) * 48,
    "garbage of one byte": lambda sid: b"\xa5" * 4096,
    "unknown command": lambda sid: raw_ca.message(200, b"x" * 16),
    "huge header": lambda sid: HUGE,
    "huge header of a get": lambda sid: raw_ca.header(Command.READ_NOTIFY, 1 << 31, 20, 1, sid, 1),
    "huge name": lambda sid: raw_ca.message(Command.CREATE_CHAN, b"A" * 60_000, first=5, second=13),
    "huge name announced": lambda sid: raw_ca.header(Command.CREATE_CHAN, 0xFFF0, first=5, second=13),
    "bad sid of a get": lambda sid: raw_ca.get(9999),
    "bad sid of a put": lambda sid: raw_ca.put(9999, 1.0),
    "bad sid of a big put announced": lambda sid: raw_ca.header(Command.WRITE_NOTIFY, 0x8000, 6, 1, 9999, 1),
    "bad sid of a subscription": lambda sid: raw_ca.subscribe(9999, 7),
    "bad sid of a clear": lambda sid: raw_ca.clear(9999),
    "bad subscription id of a cancel": lambda sid: raw_ca.unsubscribe(sid, 77),
    "bad sid and subscription id of a cancel": lambda sid: raw_ca.unsubscribe(9999, 77),
    "bad subscription id, used twice": lambda sid: raw_ca.subscribe(sid, 7) * 2,
    "subscription of 8 bytes": lambda sid: raw_ca.message(Command.EVENT_ADD, bytes(8), 20, 1, sid, 7),
    "subscription of no bytes": lambda sid: raw_ca.message(Command.EVENT_ADD, b"", 20, 1, sid, 7),
}


@pytest.mark.parametrize("said", MALFORMED)
def test_a_malformed_message_ends_its_own_circuit(ioc, said):
    with ioc.client() as hostile, ioc.client() as neighbour:
        sid = hostile.channel(ioc.names()[0])
        neighbour_sid = neighbour.channel(ioc.names()[0])
        hostile.send(MALFORMED[said](sid))
        assert hostile.closed()
        neighbour.send(raw_ca.get(neighbour_sid))
        assert neighbour.until(Command.READ_NOTIFY).first == NORMAL


@pytest.mark.parametrize("asked", [{"dtype": 99}, {"dtype": 65535}, {"count": 60_000}, {"count": 1 << 30}])
def test_a_get_of_an_impossible_type_or_count_is_answered_or_ends_the_circuit(ioc, asked):
    with ioc.client() as hostile:
        sid = hostile.channel(ioc.names()[0])
        hostile.send(raw_ca.get(sid, **asked))
        hostile.echoes()


def test_what_comes_first_must_be_the_version(ioc):
    http, garbage = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n", os.urandom(4096) + b"\xff" * 64
    for first in (raw_ca.create(ioc.names()[0]), raw_ca.ECHO, raw_ca.get(0), http, garbage):
        with ioc.client(greet=False) as hostile:
            hostile.send(first)
            assert hostile.closed(), first


def test_a_payload_of_gigabytes_is_refused_at_its_header(ioc):
    with ioc.client() as hostile:
        hostile.channel(ioc.prefix + "SET")
        taken = hostile.send_as_much_as_goes(HUGE + bytes(64 << 20))
        assert taken < 32 << 20, "the server read what it had no use for"
        assert hostile.closed()


def test_a_message_that_never_ends_is_awaited_without_harm(ioc):
    with ioc.client() as hostile:
        sid = hostile.channel(ioc.prefix + "SET")
        hostile.send(raw_ca.put(sid, 5.0)[:-3])
        ioc.beside.more(200)
        hostile.send(raw_ca.put(sid, 5.0)[-3:])
        assert hostile.until(Command.WRITE_NOTIFY).first == NORMAL


@pytest.mark.parametrize("chunk", [1, 7, 16, 1000])
def test_messages_in_any_pieces_are_as_good_as_whole(ioc, chunk):
    name = ioc.prefix + "SET"
    said = raw_ca.GREETING + raw_ca.create(name) + raw_ca.get(1, 4) + raw_ca.put(1, 2.5, ioid=6)
    with ioc.client(greet=False) as patient:
        patient.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for begin in range(0, len(said), chunk):
            patient.send(said[begin : begin + chunk])
        assert patient.until(Command.CREATE_CHAN).second == 1
        assert patient.until(Command.READ_NOTIFY).second == 4
        assert patient.until(Command.WRITE_NOTIFY)[3:5] == (NORMAL, 6)


def test_a_stuck_client_stops_nobody_else(ioc):
    with ioc.client(receive_buffer=4096) as stuck:
        sids = stuck.channels([*ioc.names(), ioc.prefix + "ARRAY"])
        stuck.send(*(raw_ca.subscribe(sid, number) for number, sid in enumerate(sids[:-1])))
        stuck.send(raw_ca.subscribe(sids[-1], 1000, count=0))
        ioc.beside.more(6000)


def test_gets_whose_answers_nobody_reads_wait_with_the_client_and_none_is_lost(ioc):
    with ioc.client(receive_buffer=4096) as stuck:
        sid = stuck.channel(ioc.prefix + "ARRAY")
        stuck.send(*(raw_ca.get(sid, ioid, count=0) for ioid in range(300)))  # 240 MB
        ioc.beside.more(2000)
        assert [stuck.until(Command.READ_NOTIFY).second for _ in range(300)] == list(range(300))


UNREAD = {
    "echoes": lambda sid, number: raw_ca.ECHO,
    "failing gets": lambda sid, number: raw_ca.get(sid, number, dtype=99),
    "failing creations": lambda sid, number: raw_ca.create("NONE", number),
    "refused puts": lambda sid, number: raw_ca.put(sid, 1.0, ioid=number),
    "arrays of many lengths": lambda sid, number: raw_ca.get(sid, number, count=100_000 - number % 90_000),
}


@pytest.mark.parametrize("asked", UNREAD)
def test_answers_that_nobody_reads_are_bounded(ioc, asked):
    with ioc.client(receive_buffer=4096) as stuck:
        sid = stuck.channel(ioc.prefix + "ARRAY")
        stuck.send_as_much_as_goes(b"".join(UNREAD[asked](sid, number) for number in range(300_000)))
        ioc.beside.more(500)


def test_gets_of_many_lengths_are_not_kept(ioc):
    with ioc.client() as client:
        sid = client.channel(ioc.prefix + "TEXT")
        for shorter in range(100):
            client.send(raw_ca.get(sid, dtype=Type.TIME_CHAR, count=1_000_000 - shorter))
            client.until(Command.READ_NOTIFY)


def test_events_that_cannot_be_given_are_bounded_too(ioc):
    with ioc.client(receive_buffer=4096) as stuck:
        sid = stuck.channel(ioc.prefix + "TEXT")
        wanted = raw_ca.subscribe(sid, 0, mask=raw_ca.DBE_VALUE)
        stuck.send(*(wanted[:12] + struct.pack(">I", number) + wanted[16:] for number in range(2000)))
        ioc.beside.more(3000)


def test_a_client_that_changes_its_name_again_and_again_holds_nobody_up(ioc):
    with ioc.client() as hostile:
        hostile.channels(ioc.names() * 100)
        names = [raw_ca.message(Command.CLIENT_NAME, raw_ca.text(f"user{number}")) for number in range(10_000)]
        hostile.send_as_much_as_goes(b"".join(names))
        assert hostile.echoes()


def test_a_slow_client_gets_the_newest_values(ioc):
    names = ioc.names()
    with ioc.client(receive_buffer=4096) as slow:
        sids = slow.channels(names)
        slow.send(*(raw_ca.subscribe(sid, number) for number, sid in enumerate(sids)))
        last: dict[int, float] = {}

        def take() -> None:
            received = slow.until(Command.EVENT_ADD)
            assert received.double > last.get(received.second, 0), "an old value came after a newer one"
            last[received.second] = received.double

        for _ in range(3):  # one read a second
            take()
            ioc.beside.more(2000)
        with ioc.client() as other:
            other.send(raw_ca.get(other.channel(names[0])))
            now = other.until(Command.READ_NOTIFY).double
        end = time.monotonic() + DEADLINE
        while len(last) < len(names) or min(last.values()) < now:
            assert time.monotonic() < end, "the newest values did not come"
            take()


def test_clear_of_a_channel_with_a_live_monitor_ends_that(ioc):
    with ioc.client() as client:
        for cid in range(3):
            sid = client.channel(ioc.names()[0], cid)
            client.subscribe(sid, 1)
            first = client.until(Command.EVENT_ADD).double
            assert client.until(Command.EVENT_ADD).double == first + 1
            client.send(raw_ca.clear(sid, cid))
            client.until(Command.CLEAR_CHANNEL)
            ioc.beside.more(500)
            client.send(raw_ca.ECHO)
            assert client.until(Command.EVENT_ADD, Command.ECHO).command == Command.ECHO, "an event after the end"


PUTS = {
    "nan": (float("nan"),),
    "infinity": (float("inf"),),
    "text": ("volts",),
    "empty text": ("",),
    "beyond the limits": (100.5,),
    "too many elements": (1.0, 2.0, 3.0),
    "far too many elements": (1.0,) * 5000,
    "one good and much bad": (1.0, float("nan")),
}


@pytest.mark.parametrize("values", PUTS)
def test_a_put_of_nonsense_is_refused(ioc, values):
    with ioc.client() as client:
        sid = client.channel(ioc.prefix + "SET")
        client.send(raw_ca.put(sid, 42.0))
        assert client.until(Command.WRITE_NOTIFY).first == NORMAL
        client.send(raw_ca.put(sid, *PUTS[values], ioid=3))
        reply = client.until(Command.WRITE_NOTIFY)
        assert (reply.first, reply.second) == (PUTFAIL, 3)
        client.send(raw_ca.put(sid, *PUTS[values], command=Command.WRITE), raw_ca.get(sid))
        reply = client.until(Command.READ_NOTIFY)
        assert reply.double == 42.0
        assert reply.body[:4] == bytes(4), "a refused put must not alarm the PV"


def test_a_put_to_a_readback_is_refused(ioc):
    with ioc.client() as client:
        sid = client.channel(ioc.names()[0])
        client.send(raw_ca.put(sid, 1.0))
        assert client.until(Command.WRITE_NOTIFY).first != NORMAL
        assert client.echoes()


def test_puts_without_end_to_a_slow_pv_hold_nobody_up(ioc):
    with ioc.client() as hostile:
        sid = hostile.channel(ioc.prefix + "FLOODED")
        hostile.send_as_much_as_goes(b"".join(raw_ca.put(sid, 1.0, ioid=ioid) for ioid in range(20_000)))
        ioc.beside.more(1000)


def test_puts_that_clients_leave_behind_are_bounded_and_shut_nobody_out(ioc):
    """Who puts and leaves wants the put carried out (caput does so); that must not become a queue of hours."""
    for _ in range(5):
        with ioc.client() as hostile:
            sid = hostile.channel(ioc.prefix + "LATE")
            hostile.send(*(raw_ca.put(sid, 1.0, command=Command.WRITE) for _ in range(200)), raw_ca.ECHO)
            hostile.until(Command.ECHO)
    with ioc.client() as operator:
        sid = operator.channel(ioc.prefix + "LATE")
        operator.send(raw_ca.put(sid, 2.0))
        assert operator.until(Command.WRITE_NOTIFY).first == PUTFAIL


def test_names_of_500_characters_and_of_nonsense_are_not_found(ioc):
    names = [b"", b"A" * 500, b"\xff\xfe\x80", b"..", b".VAL", b"PV.{", b"%s%n", b"\n\r", b"T:\0hidden", b"PV0." * 60]
    endings = (b".NONE", b'.{"dec":{"n":2}}', b'.{"arr":', b".VAL.VAL", b".$$")
    for name in (*names, *(ioc.names()[0].encode() + ending for ending in endings)):
        with ioc.client() as client:
            client.send(raw_ca.create(name))
            received = client.receive()
            while received and received.command in (Command.VERSION, Command.ACCESS_RIGHTS):
                received = client.receive()
            assert received is None or received.command == Command.CREATE_CH_FAIL, name
            assert received is None or client.echoes(), name


def test_a_flood_of_searches_hides_no_pv(ioc):
    where = ("127.0.0.1", ioc.port)
    version = raw_ca.message(Command.VERSION, count=raw_ca.MINOR_VERSION)
    with socket.socket(type=socket.SOCK_DGRAM) as flood, socket.socket(type=socket.SOCK_DGRAM) as honest:
        flood.settimeout(DEADLINE)
        for number in range(1000):
            names = (f"{ioc.prefix}NONE{number}_{each}" for each in range(20))
            flood.sendto(version + b"".join(raw_ca.search(name, 1) for name in names), where)
        honest.settimeout(1)

        def answered() -> bool:
            honest.sendto(version + raw_ca.search(ioc.names()[0], 77), where)
            with suppress(TimeoutError):
                found = raw_ca.messages(bytearray(honest.recv(65536)))
                return any(each.command == Command.SEARCH and each.second == 77 for each in found)
            return False

        for garbage in (os.urandom(1000), raw_ca.search("A" * 500, 1), raw_ca.search(b"\xff", 1), b"\0", HUGE):
            flood.sendto(garbage, where)
        wait_for(answered, "answer to a search", deadline=DEADLINE)
        for number in range(1000):  # names of 60,000 characters that might yet appear
            flood.sendto(version + raw_ca.search(f"{ioc.prefix}{number:060000d}", 1), where)
            if number % 20 == 0:
                wait_for(answered, "answer to a search", deadline=DEADLINE)


def test_a_connect_flood_ends_with_it(ioc):
    opened: list[RawClient] = []
    with suppress(OSError):
        for _ in range(700):
            opened.append(ioc.client())
    assert len(opened) > 100
    ioc.beside.more(400)
    for client in opened:
        client.socket.close()

    def served() -> bool:  # the server may still be at the closing of the others
        with suppress(OSError), ioc.client() as late:
            return late.echoes()
        return False

    wait_for(served, "a client after the flood")


def test_log_lines_are_bounded_in_rate(ioc):
    def told() -> int:
        return sum("cut off" in line for line in ioc.err)

    before = told()
    for _ in range(200):
        with ioc.client(greet=False) as hostile:
            hostile.send(b"\xff" * 64)
            assert hostile.closed()
    assert told() - before <= 20


def test_clients_that_come_and_go_leave_nothing(ioc):
    for _ in range(150):
        with ioc.client() as client:
            sid = client.channel(ioc.names()[0])
            client.send(raw_ca.subscribe(sid, 1), raw_ca.get(sid))


def test_clients_that_vanish_leave_nothing(ioc):
    for number in range(100):
        client = ioc.client()
        sid = client.channel(ioc.names()[0])
        client.send(raw_ca.subscribe(sid, 1), raw_ca.put(sid, 1.0)[: number % 24])
        client.vanish()


def test_a_client_whose_host_died_is_noticed(ioc):
    with ioc.client() as quiet:
        quiet.channel(ioc.names()[0])

        def watched_over() -> bool:
            """Whether the kernel asks within a minute (proc(5), net/tcp: `tr` is 2 and `tm->when` is in 1/100 s)."""
            ends = {f"0100007F:{ioc.port:04X}", f"0100007F:{quiet.port:04X}"}
            lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
            return any(
                {line[1], line[2]} == ends
                and line[1].endswith(f"{ioc.port:04X}")
                and line[5].startswith("02:")
                and int(line[5].removeprefix("02:"), 16) <= 6100
                for line in lines
            )

        wait_for(watched_over, "keep-alive on the server's end of a quiet connection", deadline=5)


def test_a_clock_step_stops_nothing(ioc):
    def posted_hours_ago(client: RawClient) -> bool:
        seconds = struct.unpack_from(">I", client.until(Command.EVENT_ADD).body, 4)[0] + 631152000
        return time.time() - seconds > 3000

    with ioc.client() as client:
        client.send(raw_ca.subscribe(client.channel(ioc.names()[0]), 1))
        assert not posted_hours_ago(client)
        ioc.tell("-3600")
        wait_for(lambda: posted_hours_ago(client), "older time stamp")
        ioc.tell("0")
        wait_for(lambda: not posted_hours_ago(client), "new time stamp")


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_a_clock_step_during_a_put_leaves_its_end_where_it_was(ioc, seconds):
    with ioc.client() as client:
        sid = client.channel(ioc.prefix + "SLOW")
        number, began = client.begin_put(sid, 7.0), time.monotonic()
        ioc.tell(str(seconds))
        assert client.put_status(number) == NORMAL
        assert 0.4 < time.monotonic() - began < 10
        ioc.tell("0")


def test_at_the_file_descriptor_limit_the_server_is_silent_and_recovers():
    with Ioc("--descriptors", "40", "--rate", "50") as ioc, ioc.witness() as witness, ExitStack() as clients:
        witness.more(200)
        log, resting = ioc.log_size, ioc.cpu_seconds
        witness.more(3000)  # three seconds
        resting = ioc.cpu_seconds - resting
        for _ in range(100):
            clients.enter_context(ioc.client())
        assert wait_for(lambda: ioc.descriptors >= 38, "use of all descriptors")
        busy = ioc.cpu_seconds
        with socket.socket(type=socket.SOCK_DGRAM) as searcher:
            for name in (ioc.names()[0], ioc.prefix + "NONE", "OTHER:NONE") * 50:
                searcher.sendto(raw_ca.search(name, 1), ("127.0.0.1", ioc.port))
        witness.more(3000)
        assert ioc.cpu_seconds - busy < resting + 0.3, "the server burns its processor at the limit"
        clients.close()

        def serves_again() -> bool:
            with suppress(OSError, AssertionError), ioc.client() as late:
                return late.echoes()
            return False

        wait_for(serves_again, "service after the limit", deadline=5)
        wait_for(lambda: ioc.descriptors < 20, "end of the connections")
        witness.check()
        assert ioc.log_size - log < 2000, ioc.err[-5:]


@pytest.mark.parametrize("library", ["libca", "caproto"])
def test_clients_of_the_field_do_not_notice(server, library):
    """All of the above at once, beside a client of libca and one of caproto: no update is lost, no get is late."""
    arguments = ("tests.system.ca_witness", library, server.prefix)
    with (
        Process(*arguments, environment=ca_environment(server.port), stdin=subprocess.PIPE) as witness,
        server.client(receive_buffer=4096) as stuck,
    ):
        witness.line("watching")
        stuck.send(*(raw_ca.subscribe(sid, number) for number, sid in enumerate(stuck.channels(server.names()))))
        for said, malformed in MALFORMED.items():
            with server.client() as hostile:
                hostile.send(malformed(hostile.channel(server.names()[0])))
                assert hostile.closed(), said
        for _ in range(200):
            server.client().vanish()
        with server.client() as hostile:
            hostile.send_as_much_as_goes(HUGE + bytes(8 << 20))
        with server.witness() as beside:
            beside.more(2000)
        witness.tell("")
        told = witness.line("updates")
        result = dict(part.split("=") for part in told.split())
        assert int(result["updates"]) > 1000, told
        assert int(result["lost"]) == 0, told
        assert float(result["slowest_get"]) < 1, told
