"""What one host or one client may take of the server: connections, time to greet, memory, puts that wait."""

import asyncio
import errno
import gc
import logging
import os
import re
import socket
import time
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import numpy as np
import pytest

from iocs.ca.access import Access
from iocs.ca.server import Limits
from iocs.signals import readback, setpoint
from tests.house import House, house, until
from tests.raw_ca import NORMAL, PUTFAIL, VERSION, Command, RawClient, Type, get, put, search, unsubscribe
from tests.thermostat_lab import Lab

X = readback("X")
ROW = readback("ROW", count=4096, queued=True)
MIB = 1 << 20


def memory() -> int:
    """Bytes that this process holds."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_one_address_cannot_take_all_connections(monkeypatch):
    async def story():
        limits = Limits(circuits=12, share=8)
        async with house(monkeypatch, [X], limits=limits) as it, AsyncExitStack() as stack:
            it.post(X=1.0)
            greedy = [await stack.enter_async_context(it.raw(address="127.0.0.9", greet=False)) for _ in range(20)]
            await until(lambda: it.server.counts.refused == 12, "refusals")
            assert len(it.server.clients()) == 8
            others = [await stack.enter_async_context(it.raw()) for _ in range(4)]
            for raw in others:
                assert await raw.create(it.prefix + "X")
            async with it.raw(address="127.0.0.10", greet=False) as late:
                assert await late.closed()  # all are taken, now by two addresses
            greedy[0].client.vanish()
            await until(lambda: len(it.server.clients()) < 12, "end of a connection")
            async with it.raw(address="127.0.0.10") as late:
                assert await late.create(it.prefix + "X")

    asyncio.run(story())


def test_who_cannot_be_judged_for_want_of_a_descriptor_is_turned_away_in_silence(monkeypatch, caplog):
    class Blind(Access):
        blind = False

        def admits(self, address: str) -> bool:
            if self.blind:
                raise OSError(errno.EMFILE, "Too many open files")
            return super().admits(address)

    async def story():
        access = Blind()
        async with house(monkeypatch, [X], access=access) as it, it.raw() as good:
            it.post(X=1.0)
            access.blind = True
            with socket.socket(type=socket.SOCK_DGRAM) as searcher:
                searcher.sendto(search(it.prefix + "X", 1), ("127.0.0.1", it.port))
            async with it.raw(greet=False) as late:
                assert await late.closed()
            assert it.server.counts.refused == 1
            await until(lambda: it.server.counts.searches == 1, "search")
            assert await good.create(it.prefix + "X")
            access.blind = False
            async with it.raw() as late:
                assert await late.create(it.prefix + "X")

    asyncio.run(story())
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


@pytest.mark.parametrize("said", [b"", VERSION[:15], b"\0"])
def test_a_connection_that_does_not_greet_is_closed_and_counted(monkeypatch, caplog, said):
    async def story():
        async with house(monkeypatch, [X], limits=Limits(greeting=0.3)) as it, it.raw() as good:
            it.post(X=1.0)
            sid = await good.create(it.prefix + "X")
            async with it.raw(greet=False) as silent:
                began = time.monotonic()
                silent.send(said)
                assert await silent.closed()
                assert time.monotonic() - began >= 0.29
            assert it.server.counts.malformed == 1
            assert "does not say its version within 0.3 s" in caplog.text
            await asyncio.sleep(0.5)  # who has greeted may be silent for as long as it likes
            await good.get(sid)
            assert len(it.server.clients()) == 1

    asyncio.run(story())


def test_the_site_file_says_how_much(tmp_path):
    with Lab(tmp_path) as lab, ExitStack() as stack:
        lab.site(rest="[access]\nmax_clients = 5\ngreeting_seconds = 0.5\n")
        port = int(re.search(r"port (\d+)", lab.ioc().line("serving"))[1])
        clients = [stack.enter_context(RawClient(port, address="127.0.0.9", greet=False)) for _ in range(4)]
        assert all(client.closed() for client in clients)  # two of them at once, as half of five are two
        lab.wait("IOC:TURNED_AWAY", 2)
        lab.wait("IOC:CLOSED", 2)


LIBCA_IDLE = """
import json, sys, time, epics
pv = epics.PV(sys.argv[1])
print(json.dumps(pv.wait_for_connection(timeout=10)))
end = time.time() + 1.2
while time.time() < end: epics.ca.pend_event(0.05)
print(json.dumps([pv.connected, pv.get(timeout=10)]))
"""


def test_libca_greets_in_time(monkeypatch):
    async def story():
        async with house(monkeypatch, [X], limits=Limits(greeting=0.5)) as it:
            it.post(X=4.5)
            assert (await it.python(LIBCA_IDLE, it.prefix + "X"))[:2] == [True, [True, 4.5]]
            assert it.server.counts.malformed == 0

    asyncio.run(story())


def test_many_counts_of_an_array_cost_a_stuck_client_nothing(monkeypatch):
    async def story():
        count = 100_000
        async with house(monkeypatch, [readback("W", count=count), X]) as it, it.raw(receive_buffer=4096) as bad:
            it.post(W=np.zeros(count), X=0.0)
            sid = await bad.create(it.prefix + "W")
            for place in range(300):
                bad.subscribe(sid, place, count=count - place)
            await until(lambda: it.server.counts.subscriptions == 300, "subscriptions")
            before = memory()
            for step in range(20):
                it.post(W=np.full(count, float(step)))
                await asyncio.sleep(0)
            assert memory() - before < 25_000_000  # of 240 MB that all of them have together
            (stuck,) = it.server.clients()
            assert stuck.backlog >= 298 and stuck.dropped > 5000
            last: dict[int, float] = {}
            while set(last.values()) != {19.0} or len(last) < 300:  # and none of them misses the newest
                event = await bad.until(Command.EVENT_ADD)
                last[event.second] = event.double

    asyncio.run(story())


def test_queues_of_all_clients_have_one_budget_and_the_longest_pays(monkeypatch):
    async def story():
        limits = Limits(memory=4 * MIB)
        async with house(monkeypatch, [ROW], limits=limits) as it, it.raw() as good, AsyncExitStack() as stack:
            bad = [await stack.enter_async_context(it.raw(receive_buffer=4096)) for _ in range(4)]
            for raw in (good, *bad):
                raw.subscribe(await raw.create(it.prefix + "ROW"), 1)
                await raw.until(Command.EVENT_ADD)
            before, seen, steps = memory(), 0, 1600
            for step in range(steps):
                it.post(ROW=np.full(500, float(step)))  # 6 MB
                if step % 10 == 0:
                    seen += len(await good.events())
                    await asyncio.sleep(0.002)
            await until(lambda: sum(c.dropped for c in it.server.clients()), "drops")
            assert memory() - before < 30_000_000
            seen += len(await good.events())
            assert seen == steps  # who reads pays nothing
            values = [(await bad[0].until(Command.EVENT_ADD)).double]
            while values[-1] != steps - 1:
                values.append((await bad[0].until(Command.EVENT_ADD)).double)
            assert values == sorted(set(values))
            # what its queue gave up was counted
            assert it.server.counts.dropped >= steps - len(values)
            assert len(it.server.clients()) == 5

    asyncio.run(story())


def test_who_makes_the_server_hold_most_is_cut_off_and_others_stay(monkeypatch, caplog):
    async def story():
        count = 1 << 17  # a MiB
        signals = [readback("W", count=count), X]
        async with house(monkeypatch, signals, limits=Limits(memory=8 * MIB)) as it, AsyncExitStack() as stack:
            good = await stack.enter_async_context(it.raw())
            it.post(W=np.arange(float(count)), X=1.0)
            alike = [await stack.enter_async_context(it.raw(receive_buffer=4096)) for _ in range(12)]
            for raw in alike:
                raw.subscribe(await raw.create(it.prefix + "W"), 1)
            await until(lambda: it.server.counts.updates == 12, "first events")
            await asyncio.sleep(1)
            assert len(it.server.clients()) == 13  # they wait for the same bytes, which are there once
            for place, raw in enumerate(alike):  # each for others now: 1 MiB a client
                raw.send(get(1, 7, Type.DOUBLE, count - 100 * place - 1))
            await until(lambda: len(it.server.clients()) < 13, "end of the greediest")
            await asyncio.sleep(1)
            assert 3 <= len(it.server.clients()) < 13
            assert it.server.counts.refused == 13 - len(it.server.clients())
            assert "more than there is for all clients" in caplog.text
            assert (await good.get(await good.create(it.prefix + "X"), Type.TIME_DOUBLE)).double == 1.0

    asyncio.run(story())


class Hung:
    """A device that answers no put until it is told to."""

    def __init__(self, it: House) -> None:
        self.released = asyncio.Event()
        self.done: list[float] = []
        it.server.serve(it.prefix, [setpoint("HUNG"), setpoint("WAVE", count=1 << 17)], self.put)

    async def put(self, name, value, by):
        await self.released.wait()
        self.done.append(np.atleast_1d(value)[0])


def test_a_client_whose_device_hangs_is_read_and_its_further_puts_are_refused(monkeypatch):
    async def story():
        async with house(monkeypatch, [X]) as it:
            it.post(X=1.0)
            hung = Hung(it)
            async with it.raw() as raw:
                x, sid = await raw.create(it.prefix + "X", 1), await raw.create(it.prefix + "HUNG", 2)
                raw.subscribe(x, 1)
                for place in range(1000):
                    raw.send(put(sid, place, ioid=place))
                status, reason = await raw.put(sid, -1.0)
                assert status == PUTFAIL and "1000 puts of this client wait already" in reason
                await raw.get(x)
                raw.send(unsubscribe(x, 1))
                await raw.synchronise()
                it.post(X=2.0)
                assert await raw.events() == []
                assert it.server.counts.refused_puts == 1
            # those that have no turn yet are not carried out for a client that has left
            await until(lambda: it.server.counts.refused_puts == 801, "refusals")
            hung.released.set()
            await until(lambda: it.server.counts.puts == 1001, "end of the puts")
            assert hung.done == list(range(200))

    asyncio.run(story())


def test_puts_that_wait_have_one_budget(monkeypatch):
    async def story():
        async with house(monkeypatch, [X], limits=Limits(memory=32 * MIB)) as it:
            hung = Hung(it)
            async with it.raw() as greedy, it.raw() as modest:
                sid, other = await greedy.create(it.prefix + "WAVE"), await modest.create(it.prefix + "WAVE")
                before = memory()
                body = np.zeros(1 << 17, ">f8").tobytes()
                for _ in range(100):
                    await greedy.begin_put(sid, body, count=1 << 17)
                refused = [(await greedy.until(Command.WRITE_NOTIFY)).first for _ in range(100 - 15)]
                assert set(refused) == {PUTFAIL}
                words = [
                    each.body[16:].split(b"\0")[0].decode() for each in greedy.seen if each.command == Command.ERROR
                ]
                assert "there are 16777216 for all clients" in words[0]
                assert memory() - before < 60 * MIB
                # whoever has less than an equal share is not shut out
                puts = [await modest.begin_put(other, body, count=1 << 17), await modest.begin_put(other, 5.0)]
                await modest.synchronise()
                assert it.server.counts.refused_puts == 85
                hung.released.set()
                assert [await modest.put_status(ioid) for ioid in puts] == [NORMAL, NORMAL]
                assert hung.done[-1] == 5.0

    asyncio.run(story())
