"""Clients that read late or not at all: what waits for them is bounded, what comes then is the newest, in order."""

import asyncio
import gc
import os
import time
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np

from iocs.signals import readback, setpoint
from tests.house import House, house, until
from tests.raw_ca import ECHO, EVENTS_OFF, EVENTS_ON, Command, clear, unsubscribe

X = [readback(f"X{place}") for place in range(50)]
ROW = readback("ROW", count=4096, queued=True)


def stuck(it: House):
    """A client with a small receive buffer, whose socket is read only when the test does."""
    return it.raw(receive_buffer=4096)


def memory() -> int:
    """Bytes that this process holds."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_stuck_client_gets_the_newest_values_later_and_others_lose_nothing(monkeypatch):
    async def story():
        async with house(monkeypatch, X) as it, it.raw() as good, stuck(it) as bad:
            it.server.post(it.prefix, time.time_ns(), dict.fromkeys((x.name for x in X), 0.0))
            for raw in (good, bad):
                for place, signal in enumerate(X):
                    raw.subscribe(await raw.create(it.prefix + signal.name, place), place)
            await good.events()
            before = memory()
            posts, seen = 2000, 0
            for step in range(1, posts + 1):
                it.server.post(it.prefix, time.time_ns(), dict.fromkeys((x.name for x in X), float(step)))
                if step % 20 == 0:
                    seen += len(await good.events())
            assert seen == posts * len(X)
            assert memory() - before < 5_000_000
            clients = sorted(it.server.clients(), key=lambda client: client.backlog)
            assert [client.backlog for client in clients] == [0, len(X)]
            assert it.server.counts.dropped > posts * len(X) / 2
            # it comes back: the newest value of each, once, and in order after what it had been sent
            last = {}
            async with asyncio.timeout(20):
                while set(last.values()) != {float(posts)} or len(last) < len(X):
                    event = await bad.until(1)
                    assert event.double > last.get(event.second, -1)
                    last[event.second] = event.double
            bad.client.vanish()
            await until(lambda: len(it.server.clients()) == 1, "end of the stuck client")
            assert it.server.counts.subscriptions == len(X)

    asyncio.run(story())


def test_a_slow_client_of_one_read_a_second_gets_the_newest_and_others_lose_nothing(monkeypatch):
    """Bad Wi-Fi: a sixth of what is posted gets through. Values are the time of their post, to tell their age."""
    reads, oldest = 12, 7.0  # s; were all kept for it, the age would be some 10 s by then

    async def story():
        async with house(monkeypatch, X) as it, it.raw() as good, it.raw(receive_buffer=262144) as slow:
            loop = asyncio.get_running_loop()

            def post() -> float:
                now = loop.time()
                it.server.post(it.prefix, time.time_ns(), dict.fromkeys((x.name for x in X), now))
                return now

            posted = post()
            for raw in (good, slow):
                for place, signal in enumerate(X):
                    raw.subscribe(await raw.create(it.prefix + signal.name, place), place)
            await good.events()
            newest, ages = dict.fromkeys(range(len(X)), posted), []
            before, posts, seen, read_at = memory(), 0, 0, loop.time()
            while len(ages) < reads:
                posted, posts = post(), posts + 1
                if posts % 10 == 0:
                    seen += len(await good.events())
                await asyncio.sleep(0.001)
                if posted >= read_at + 1:
                    read_at = posted
                    for event in slow.client.receive_once():
                        if event.command == Command.EVENT_ADD:
                            assert event.double >= newest[event.second], "older news after newer"
                            newest[event.second] = event.double
                    ages.append(posted - min(newest.values()))
            assert seen + len(await good.events()) == posts * len(X), "another client lost updates"
            assert max(ages) < oldest, ages
            assert memory() - before < 5_000_000
            (client,) = (each for each in it.server.clients() if each.dropped)
            assert client.backlog <= len(X)
            while min(newest.values()) < posted:  # what it had been sent, then the newest of each
                event = await slow.until(Command.EVENT_ADD)
                newest[event.second] = event.double

    asyncio.run(story())


def test_a_stalled_archiver_loses_no_row_for_some_seconds(monkeypatch):
    async def story():
        async with house(monkeypatch, [ROW]) as it, stuck(it) as slow:
            slow.subscribe(await slow.create(it.prefix + "ROW"), 1)
            await slow.until(1)
            for step in range(500):  # ten seconds of 50 frames/s with 300 columns
                it.post(ROW=[float(step)] * 300)
                await asyncio.sleep(0)
            (client,) = it.server.clients()
            assert client.backlog > 100 and client.dropped == 0
            for step in range(500):
                assert (await slow.until(1)).double == step
            # beyond the limit the oldest go, and are counted
            for step in range(4000):
                it.post(ROW=[float(step)] * 300)
            await until(lambda: it.server.clients()[0].dropped, "drops")
            seen = []
            while not seen or seen[-1] != 3999:
                seen.append((await slow.until(1)).double)
            assert seen == sorted(seen) and len(seen) + it.server.counts.dropped == 4000

    asyncio.run(story())


def test_events_off_and_on(monkeypatch):
    async def story():
        async with house(monkeypatch, [X[0], ROW]) as it, it.raw() as raw:
            it.post(X0=0.0, ROW=[0.0])
            sid = await raw.create(it.prefix + "X0")
            raw.subscribe(sid, 1)
            raw.subscribe(await raw.create(it.prefix + "ROW"), 2)
            await raw.events()
            raw.send(EVENTS_OFF)
            assert await raw.events() == []
            for value in (1.0, 2.0, 3.0):
                it.post(X0=value, ROW=[value])
            assert await raw.events() == []
            assert (await raw.get(sid)).double == 3.0
            raw.send(EVENTS_ON)
            assert [(m.second, m.double) for m in await raw.events()] == [(2, 1.0), (2, 2.0), (2, 3.0), (1, 3.0)]
            it.post(X0=4.0)
            assert [m.double for m in await raw.events()] == [4.0]

    asyncio.run(story())


def test_nothing_that_waits_comes_after_its_cancel_or_clear(monkeypatch):
    async def story():
        async with house(monkeypatch, [X[0], X[1], ROW]) as it, it.raw() as raw:
            it.post(X0=0.0, X1=0.0, ROW=[0.0])
            sids = [await raw.channel(it.prefix + name) for name in ("X0", "X1", "ROW")]
            for sid in sids:
                for number in (sid, 100 + sid):
                    raw.subscribe(sid, number)
            assert len(await raw.events()) == 6
            raw.send(EVENTS_OFF)
            await raw.synchronise()
            it.post(X0=1.0, X1=1.0, ROW=[1.0])
            raw.send(unsubscribe(sids[0], sids[0]), clear(sids[1]), unsubscribe(sids[2], sids[2]))
            await raw.synchronise()
            raw.send(EVENTS_ON)
            assert [m.second for m in await raw.events()] == [100 + sids[2], 100 + sids[0]]

    asyncio.run(story())


def test_big_arrays_are_not_copied_for_each_slow_client(monkeypatch):
    async def story():
        count = 1 << 18
        async with house(monkeypatch, [readback("W", count=count)]) as it, AsyncExitStack() as stack:
            it.post(W=np.zeros(count))
            clients = [await stack.enter_async_context(stuck(it)) for _ in range(10)]
            for raw in clients:
                raw.subscribe(await raw.create(it.prefix + "W"), 1)
            await until(lambda: it.server.counts.updates == 10, "first events")
            before = memory()
            for step in range(20):
                it.post(W=np.full(count, float(step)))
                await asyncio.sleep(0)
            assert memory() - before < 10 * 8 * count / 2  # the newest and the one being sent, for all together

    asyncio.run(story())


def test_echoes_and_failing_events_that_nobody_reads_are_bounded(monkeypatch):
    async def story():
        async with house(monkeypatch, [setpoint("WORDS", type=str)]) as it, stuck(it) as bad:
            it.post(WORDS="1")
            bad.subscribe(await bad.create(it.prefix + "WORDS"), 1)  # as numbers
            assert (await bad.until(1)).double == 1.0
            echoes, before = ECHO * 500_000, memory()
            sending = asyncio.create_task(bad.send_as_much_as_goes(echoes))
            for step in range(20_000):
                it.post(WORDS=f"none {step}")
                if step % 100 == 0:
                    await asyncio.sleep(0)
            await sending
            assert memory() - before < 20_000_000
            it.post(WORDS="7")
            while (event := await bad.until(1)).first != 1 or event.double != 7.0:
                assert event.first in (1, 152)

    asyncio.run(story())


def test_a_stuck_client_that_is_cut_off_leaves_nothing(monkeypatch):
    async def story():
        async with house(monkeypatch, X) as it, stuck(it) as bad:
            sid = await bad.create(it.prefix + "X0")
            for place in range(50):
                bad.subscribe(sid, place)
            (circuit,) = it.server._context.circuits
            await until(lambda: len(circuit.subscriptions) == 50, "subscriptions")
            value = 0.0
            while not circuit._transport.get_write_buffer_size():  # the kernel takes no more, but asyncio does
                value += 1
                it.post(X0=value)
                await asyncio.sleep(0)
            assert not circuit.slow
            bad.send(b"\xff" * 64)
            await until(lambda: not circuit.connected, "end of the circuit")
            for _ in range(1000):
                value += 1
                it.post(X0=value)
                await asyncio.sleep(0)
            assert len(circuit.out) < 1000 and it.server.counts.subscriptions == 0
            await until(lambda: not it.server.clients(), "end of the connection")

    asyncio.run(story())
