"""Clients that are slow, stuck, greedy or mad: the others must not notice, and nothing of them may stay."""

import asyncio
import gc
import os
import resource
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import numpy as np

from iocs.ca.server import Limits
from iocs.signals import readback, setpoint
from tests.ca import DOUBLE, HEADER, House, Raw, house, number, until

X = [readback(f"X{place}") for place in range(50)]
ROW = readback("ROW", count=4096, queued=True)


@asynccontextmanager
async def stuck(it: House) -> AsyncIterator[Raw]:
    """A client with a small receive buffer, whose socket is read only when the test does."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", it.server.port))
    sock.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
    raw = Raw(reader, writer)
    raw.send(0, count=13)
    await raw.until(0)
    try:
        yield raw
    finally:
        writer.transport.abort()


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
                    assert number(event) > last.get(event.second, -1)
                    last[event.second] = number(event)
            bad.writer.transport.abort()
            await until(lambda: len(it.server.clients()) == 1, "end of the stuck client")
            assert it.server.counts.subscriptions == len(X)

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
                assert number(await slow.until(1)) == step
            # beyond the limit the oldest go, and are counted
            for step in range(4000):
                it.post(ROW=[float(step)] * 300)
            await until(lambda: it.server.clients()[0].dropped, "drops")
            seen = []
            while not seen or seen[-1] != 3999:
                seen.append(number(await slow.until(1)))
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
            raw.send(8)
            assert await raw.events() == []
            for value in (1.0, 2.0, 3.0):
                it.post(X0=value, ROW=[value])
            assert await raw.events() == []
            assert struct.unpack(">d", (await raw.get(sid)).body)[0] == 3.0
            raw.send(9)
            assert [(m.second, number(m)) for m in await raw.events()] == [(2, 1.0), (2, 2.0), (2, 3.0), (1, 3.0)]
            it.post(X0=4.0)
            assert [number(m) for m in await raw.events()] == [4.0]

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
            assert number(await bad.until(1)) == 1.0
            echo = HEADER.pack(23, 0, 0, 0, 0, 0)
            before = memory()
            sending = asyncio.create_task(flood(bad, echo * 1000, 500))
            for step in range(20_000):
                it.post(WORDS=f"none {step}")
                if step % 100 == 0:
                    await asyncio.sleep(0)
            assert memory() - before < 20_000_000
            sending.cancel()
            it.post(WORDS="7")
            while (event := await bad.until(1)).first != 1 or number(event) != 7.0:
                assert event.first in (1, 152)

    async def flood(raw: Raw, data: bytes, times: int):
        for _ in range(times):
            raw.writer.write(data)
            await raw.writer.drain()

    asyncio.run(story())


def test_who_asks_without_reading_has_to_wait_and_loses_nothing(monkeypatch):
    async def story():
        count = 1 << 16
        signals = [readback("W", count=count), X[0]]
        async with house(monkeypatch, signals) as it, it.raw() as good, stuck(it) as greedy:
            it.post(W=np.arange(count, dtype=float), X0=1.0)
            sid = await greedy.create(it.prefix + "W")
            before = memory()
            for ioid in range(300):
                greedy.send(15, b"", DOUBLE, 0, sid, ioid)
            other = await good.create(it.prefix + "X0")
            for _ in range(50):
                await good.get(other)
            assert memory() - before < 20_000_000
            assert [(await greedy.until(15)).second for _ in range(300)] == list(range(300))

    asyncio.run(story())


def text(words: str) -> bytes:
    raw = words.encode() + b"\0"
    return raw + bytes(-len(raw) % 8)


VERSION = HEADER.pack(0, 0, 0, 13, 0, 0)
MALFORMED = {
    "garbage": os.urandom(4096) + b"\xff" * 64,
    "garbage after the version": VERSION + b"\xa5" * 4096,
    "no version": HEADER.pack(15, 0, 20, 1, 1, 1),
    "unknown command": VERSION + HEADER.pack(200, 16, 0, 0, 0, 0) + bytes(16),
    "huge header": VERSION + struct.pack(">HHHHIIII", 19, 0xFFFF, 6, 0, 1, 1, 0xFFFFFFF0, 0x1FFFFFFF),
    "huge name": VERSION + HEADER.pack(18, 0xFFF0, 0, 0, 1, 13),
    "get of an unknown channel": VERSION + HEADER.pack(15, 0, 20, 1, 9999, 1),
    "put to an unknown channel": VERSION + HEADER.pack(19, 8, 6, 1, 9999, 1) + bytes(8),
    "big put to an unknown channel": VERSION + HEADER.pack(19, 0x8000, 6, 1, 9999, 1),
    "clear of an unknown channel": VERSION + HEADER.pack(12, 0, 0, 0, 9999, 1),
    "cancel of an unknown subscription": VERSION + HEADER.pack(2, 0, 20, 1, 9999, 77),
    "subscription to an unknown channel": VERSION + HEADER.pack(1, 16, 20, 1, 9999, 77) + bytes(12) + b"\0\1\0\0",
}


def test_what_is_not_channel_access_closes_its_own_circuit_alone(monkeypatch):
    async def story():
        async with house(monkeypatch, [X[0]]) as it, it.raw() as good:
            it.post(X0=1.0)
            sid = await good.create(it.prefix + "X0")
            good.subscribe(sid, 1)
            await good.events()
            for malformed, (what, sent) in enumerate(MALFORMED.items(), 1):
                async with it.raw(greet=False) as bad:
                    bad.writer.write(sent)
                    assert await bad.closed(5), what
                assert it.server.counts.malformed == malformed, what
                it.post(X0=float(malformed + 1))
                assert len(await good.events()) == 1, what
            for body in (b"", bytes(8)):  # a subscription without its mask, a double one
                async with it.raw() as bad:
                    number = await bad.create(it.prefix + "X0")
                    bad.subscribe(number, 5)
                    bad.send(1, body, 20, 1, number, 6)
                    assert await bad.closed(5)
            await until(lambda: len(it.server.clients()) == 1, "end of the others")
            assert it.server.counts.channels == 1

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
            bad.writer.write(b"\xff" * 64)
            await until(lambda: not circuit.connected, "end of the circuit")
            for _ in range(1000):
                value += 1
                it.post(X0=value)
                await asyncio.sleep(0)
            assert len(circuit.out) < 1000 and it.server.counts.subscriptions == 0
            await until(lambda: not it.server.clients(), "end of the connection")

    asyncio.run(story())


def test_clear_of_a_channel_with_a_live_monitor(monkeypatch):
    async def story():
        async with house(monkeypatch, [X[0]]) as it, it.raw() as raw:
            it.post(X0=1.0)
            for step in range(3):
                sid = await raw.create(it.prefix + "X0")
                raw.subscribe(sid, 1)
                assert len(await raw.events()) == 1
                raw.send(12, first=sid, second=1)
                it.post(X0=step + 10.0)
                messages = await raw.synchronise()
                assert [m.command for m in messages][-1] == 12
                it.post(X0=step + 20.0)
                assert await raw.events() == []
            assert it.server.counts.subscriptions == 0

    asyncio.run(story())


def test_messages_in_single_bytes_and_all_at_once(monkeypatch):
    async def story():
        async with house(monkeypatch, [setpoint("S")]) as it:
            it.post(S=1.0)
            name = text(it.prefix + "S")
            create = HEADER.pack(18, len(name), 0, 0, 1, 13) + name
            asked = VERSION + create + HEADER.pack(15, 0, 6, 1, 1, 5) + HEADER.pack(19, 8, 6, 1, 1, 6)
            asked += struct.pack(">d", 2.5) + HEADER.pack(23, 0, 0, 0, 0, 0)
            for chunk in (1, 7, 16, len(asked)):
                async with it.raw(greet=False) as raw:
                    for at in range(0, len(asked), chunk):
                        raw.writer.write(asked[at : at + chunk])
                        await asyncio.sleep(0)
                    assert (await raw.until(15)).second == 5
                    assert (await raw.until(19)).first == 1

    asyncio.run(story())


def test_no_descriptor_left_is_silent_and_passes(monkeypatch, caplog):
    async def story():
        async with house(monkeypatch, X[:2], limits=Limits(circuits=2000)) as it, it.raw() as good:
            it.post(X0=1.0)
            sid = await good.create(it.prefix + "X0")
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            used = len(os.listdir("/proc/self/fd"))
            clients = []
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, hard))
                for _ in range(19):  # both ends of a connection are this process's
                    sock = socket.socket()
                    clients.append(sock)
                    sock.setblocking(False)
                    sock.connect_ex(("127.0.0.1", it.server.port))
                await until(lambda: it.server.counts.refused, "refusal")
                it.server.withdraw([it.prefix + "X1"])
                it.add(X[1])  # beacons start over, with no descriptor left
                for _ in range(20):
                    await good.get(sid)
                    await asyncio.sleep(0.01)
                assert it.server.counts.refused < 100 and not caplog.records
            finally:
                for sock in clients:
                    sock.close()
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            async with asyncio.timeout(10), it.raw() as again:
                assert await again.create(it.prefix + "X0")

    asyncio.run(story())


def test_log_lines_are_bounded_in_rate(monkeypatch, caplog):
    async def story():
        async with house(monkeypatch, [X[0]]) as it:
            for _ in range(60):
                async with it.raw(greet=False) as bad:
                    bad.writer.write(b"\xff" * 64)
                    await bad.closed(5)
            assert it.server.counts.malformed == 60
            assert len([record for record in caplog.records if "cut off" in record.message]) <= 20

    asyncio.run(story())
