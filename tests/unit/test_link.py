"""Every kind of link keeps the same promises, against real sockets, ptys and a port server."""

import asyncio
import gc
import os
import socket
import threading
import warnings

import pytest

from drivers.errors import LinkError, LinkTimeout, ProtocolError
from drivers.link import Address, make_link
from tests.link_peers import PEERS, TcpPeer
from tests.loop_lag import LoopLag


def line(reply):
    end = reply.find(b"\n")
    return None if end < 0 else end + 1


@pytest.fixture(params=PEERS)
def peer_of(request):
    return PEERS[request.param]


@pytest.fixture(autouse=True)
def no_leaks():
    descriptors = len(os.listdir("/proc/self/fd"))
    threads = {thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
        gc.collect()
    for thread in threading.enumerate():
        if thread not in threads and not thread.name.startswith("asyncio_"):
            thread.join(10)
            assert not thread.is_alive()
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_exchange_puts_split_answers_together(peer_of):
    async def run():
        async with peer_of() as peer:
            task = asyncio.create_task(peer.link.exchange(b"?\n", line, 10))
            assert await peer.hears(9) == b"?\n"
            for part in (b"1", b"2.", b"5\n"):
                peer.says(part)
                await asyncio.sleep(0)
            assert await task == b"12.5\n"

    asyncio.run(run())


def test_every_byte_arrives_as_it_was_sent(peer_of):
    everything = bytes(range(256)) * 3

    async def run():
        async with peer_of() as peer:
            await peer.link.write(everything, 10)
            heard = b""
            while len(heard) < len(everything):
                heard += await peer.hears(999)
            assert heard == everything
            peer.says(everything)
            read = b""
            while len(read) < len(everything):
                read += await peer.link.read(10)
            assert read == everything

    asyncio.run(run())


@pytest.mark.parametrize("turns", range(3))
def test_bytes_from_before_the_question_are_not_its_answer(peer_of, turns):
    async def run():
        async with peer_of() as peer:
            for _again in range(20):
                peer.says(b"stale\n")
                peer.until_arrived()
                for _turn in range(turns):
                    await asyncio.sleep(0)
                task = asyncio.create_task(peer.link.exchange(b"?\n", line, 10))
                assert await peer.hears(9) == b"?\n"
                peer.says(b"fresh\n")
                assert await task == b"fresh\n"

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["tcp", "serial"])  # what a port server still holds nobody here can know of
def test_nobody_reads_for_a_while_and_the_next_answer_is_still_the_right_one(kind):
    async def run():
        async with PEERS[kind]() as peer:
            await asyncio.to_thread(peer.babbles, b"stale\n" * 100)
            task = asyncio.create_task(peer.link.exchange(b"?\n", line, 10))
            assert await peer.hears(9) == b"?\n"
            peer.says(b"fresh\n")
            assert await task == b"fresh\n"

    asyncio.run(run())


def test_exchanges_take_turns(peer_of):
    async def run():
        async with peer_of() as peer:
            tasks = [asyncio.create_task(peer.link.exchange(b"%d\n" % n, line, 10)) for n in range(5)]
            for n in range(5):
                assert await peer.hears(99) == b"%d\n" % n
                peer.says(b"answer %d\n" % n)
                assert await tasks[n] == b"answer %d\n" % n

    asyncio.run(run())


def test_a_silent_peer_closes_the_exchange_but_not_the_read(peer_of):
    async def run():
        async with peer_of() as peer:
            with pytest.raises(LinkTimeout, match=r"silent for 0\.05 s"):
                await peer.link.read(0.05)
            peer.says(b"x")
            assert await peer.link.read(10) == b"x"
            task = asyncio.create_task(peer.link.exchange(b"?\n", line, 0.3))
            assert await peer.hears(9) == b"?\n"
            peer.says(b"half")
            with pytest.raises(LinkTimeout, match=r"no complete answer to b'\?\\n' within 0.3 s; got b'half'"):
                await task
            await peer.sees_it_closed()
            with pytest.raises(LinkError, match="not open"):
                await peer.link.exchange(b"?\n", line, 1)

    asyncio.run(run())


@pytest.mark.parametrize("how", ["cancelled", "not understood"])
def test_an_exchange_that_is_broken_off_closes_the_link(peer_of, how):
    def puzzled(reply):
        if reply:
            raise ProtocolError("nonsense")

    async def run():
        async with peer_of() as peer:
            task = asyncio.create_task(peer.link.exchange(b"?\n", puzzled, 10))
            assert await peer.hears(9) == b"?\n"
            if how == "cancelled":
                task.cancel()
            else:
                peer.says(b"\xff")
            with pytest.raises((asyncio.CancelledError, ProtocolError)):
                await task
            await peer.sees_it_closed()

    asyncio.run(run())


def test_one_who_gives_up_waiting_for_his_turn_does_not_spoil_the_other_s(peer_of):
    async def run():
        async with peer_of() as peer:
            first = asyncio.create_task(peer.link.exchange(b"1\n", line, 10))
            second = asyncio.create_task(peer.link.exchange(b"2\n", line, 10))
            assert await peer.hears(9) == b"1\n"
            second.cancel()
            await asyncio.wait({second})
            peer.says(b"one\n")
            assert await first == b"one\n"

    asyncio.run(run())


def test_a_cancelled_read_loses_nothing(peer_of):
    async def run():
        async with peer_of() as peer:
            for n in range(30):
                reading = asyncio.create_task(peer.link.read(10))
                for _ in range(n % 4):
                    await asyncio.sleep(0)
                peer.says(b"%02d" % n)
                if n % 2:
                    peer.until_arrived()
                reading.cancel()
                await asyncio.wait({reading})
                read = b"" if reading.cancelled() else reading.result()
                while len(read) < 2:
                    read += await peer.link.read(10)
                assert read == b"%02d" % n

    asyncio.run(run())


@pytest.mark.parametrize("verb", ["read", "write", "exchange"])
def test_closed_by_the_peer(peer_of, verb):
    async def verbs(link):
        if verb == "read":
            await link.read(10)
        while verb == "write":  # the first may still be taken
            await link.write(b"x", 10)
            await asyncio.sleep(0)
        await link.exchange(b"?\n", line, 10)

    async def run():
        async with peer_of() as peer:
            peer.hangs_up()
            with pytest.raises(LinkError, match=r"closed|the port is gone"):
                await verbs(peer.link)
            with pytest.raises(LinkError, match="not open"):
                await peer.link.read(10)

    asyncio.run(run())


def test_closed_by_the_peer_while_somebody_reads(peer_of):
    async def run():
        async with peer_of() as peer:
            reading = asyncio.create_task(peer.link.read(30))
            await asyncio.sleep(0.05)
            assert not reading.done()
            peer.hangs_up()
            with pytest.raises(LinkError, match=r"closed|the port is gone"):
                await asyncio.wait_for(reading, 10)

    asyncio.run(run())


@pytest.mark.alone
@pytest.mark.parametrize("how", ["deadline", "cancelled", "closed"])
def test_a_peer_that_does_not_read(peer_of, how):
    async def run():
        async with peer_of() as peer, LoopLag() as lag:
            if how == "deadline":
                with pytest.raises(LinkTimeout, match=r"could not send 20000000 bytes within 0\.3 s"):
                    await peer.link.write(bytes(20_000_000), 0.3)
            else:
                writing = asyncio.create_task(peer.link.write(bytes(20_000_000), 30))
                await asyncio.sleep(0.2)
                assert not writing.done()
                if how == "closed":
                    await asyncio.wait_for(peer.link.close(), 10)
                else:
                    writing.cancel()
                with pytest.raises((LinkError, asyncio.CancelledError)):
                    await asyncio.wait_for(writing, 10)
            with pytest.raises(LinkError, match="not open"):
                await peer.link.write(b"x", 1)
        assert lag.longest < 0.05

    asyncio.run(run())


def test_open_twice_is_refused_and_close_twice_does_nothing(peer_of):
    async def run():
        async with peer_of() as peer:
            with pytest.raises(LinkError, match="already open"):
                await peer.link.open(1)
            await peer.link.close()
            await peer.link.close()
            if peer_of is TcpPeer:
                peer.connection.close()
            await peer.link.open(10)
            peer.box = peer.accept()
            os.set_blocking(peer.box, False)
            peer.says(b"again")
            assert await peer.link.read(10) == b"again"

    asyncio.run(run())


def test_closing_while_somebody_reads_wakes_him(peer_of):
    async def run():
        async with peer_of() as peer:
            reading = asyncio.create_task(peer.link.read(30))
            await asyncio.sleep(0.02)
            await peer.link.close()
            with pytest.raises(LinkError, match="closed while waiting"):
                await asyncio.wait_for(reading, 10)

    asyncio.run(run())


def test_two_who_read_at_the_same_time_are_a_mistake_and_are_told(peer_of):
    async def run():
        async with peer_of() as peer:
            reading = asyncio.create_task(peer.link.read(30))
            await asyncio.sleep(0.02)
            with pytest.raises(RuntimeError, match="two tasks read at the same time"):
                await peer.link.read(1)
            peer.says(b"x")
            assert await reading == b"x"

    asyncio.run(run())


@pytest.mark.alone
def test_a_peer_that_never_pauses_leaves_the_loop_to_others(peer_of):
    async def run():
        async with peer_of() as peer, LoopLag() as lag:
            ended = threading.Event()

            def shout():
                while not ended.is_set():
                    peer.babbles(b"x" * 4000)

            shouting = asyncio.create_task(asyncio.to_thread(shout))
            until = asyncio.get_running_loop().time() + 0.5
            while asyncio.get_running_loop().time() < until:
                assert await peer.link.read(10)
            with pytest.raises(LinkTimeout):
                await peer.link.exchange(b"?\n", line, 0.2)
            ended.set()
            await peer.link.open(10) if peer_of is not TcpPeer else None  # so that the rest is taken
            await shouting
        assert lag.longest < 0.05

    asyncio.run(run())


# what only TCP knows


def test_refused():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(LinkError, match=f"tcp://127.0.0.1:{port}: connection refused.*nothing listens"):
        asyncio.run(make_link(Address("tcp", "127.0.0.1", port)).open(10))


@pytest.mark.parametrize("host", ["no-such-host.invalid", "two..dots", "x" * 70])
def test_hosts_that_are_not_there(host):
    cure = ".*spelled right" if host.startswith("no") else ""
    with pytest.raises(LinkError, match=host.replace(".", r"\.") + cure):
        asyncio.run(make_link(Address("tcp", host, 1)).open(10))


@pytest.mark.parametrize("scheme", ["tcp", "rfc2217"])
def test_nobody_accepts(scheme):
    async def run():
        with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
            port = server.getsockname()[1]
            with socket.create_connection(("127.0.0.1", port)):  # the queue of one is full
                with pytest.raises(LinkTimeout, match=r"no connection within 0\.2 s.*switched on"):
                    await make_link(Address(scheme, "127.0.0.1", port)).open(0.2)

    asyncio.run(run())


def test_reset_by_the_peer():
    async def run():
        async with TcpPeer() as peer:
            peer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            peer.connection.close()
            with pytest.raises(LinkError, match="connection reset by the peer"):
                await peer.link.read(10)

    asyncio.run(run())


def test_what_lies_unread_does_not_turn_the_end_into_a_reset():
    async def run():
        async with TcpPeer() as peer:
            peer.says(b"unread")
            peer.until_arrived()
            await peer.link.close()
            await asyncio.to_thread(peer.connection.settimeout, 10)
            assert await asyncio.to_thread(peer.connection.recv, 9) == b""  # a reset would raise

    asyncio.run(run())
