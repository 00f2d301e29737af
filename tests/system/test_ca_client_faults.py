"""The Channel Access client against a server that misbehaves, and at its own edges."""

import asyncio
import os
import struct
import time

import pytest

from iocs.ca.client import Client
from iocs.signals import Reading, Severity, Status
from tests.fake_ca import FakeServer, double
from tests.processes import free_port
from tests.raw_ca import message
from tests.watched import Seen, connected, lost, until, watch


def test_garbage_closes_that_circuit_and_no_other(port, prefix, run, caplog) -> None:
    async def test() -> None:
        async with FakeServer() as good, FakeServer() as bad, Client(bad.address) as one, Client(good.address) as two:
            seen, other = watch(one, "A"), watch(two, "B")
            await seen.until(connected)
            await other.until(connected)
            for garbage in (
                b"GET / HTTP/1.1\r\n\r\n",
                message(99),
                message(1, bytes(24), 20, 50, 1, 1),
                bytes([255]) * 99,
            ):
                connections = bad.connections
                bad.say(garbage)
                await seen.until(lost)
                await seen.until(connected)
                assert bad.connections == connections + 1
            assert all(reading.connected for reading in other)
            assert good.connections == 1

    run(test())
    assert "does not speak Channel Access" in caplog.text


def test_a_half_open_connection_is_found_by_echo(port, run, monkeypatch) -> None:
    """A server that dies without a FIN, or a pulled cable: nothing comes any more, and nothing says so."""
    monkeypatch.setenv("EPICS_CA_CONN_TMO", "0.3")

    async def test() -> None:
        async with FakeServer() as server, Client(server.address) as client:
            seen = watch(client, "A")
            await seen.until(connected)
            await until(lambda: server.heard.count(23) >= 2, "echoes while all is well")
            assert len(seen) == 1
            server.mute = True
            await seen.until(lost)
            server.mute = False
            await seen.until(connected)

    run(test())


def test_a_server_that_never_says_a_word_is_left(port, run, monkeypatch) -> None:
    monkeypatch.setattr("iocs.ca.circuit.CONNECT_WITHIN", 0.2)

    async def test() -> None:
        async with FakeServer() as server, Client(server.address) as client:
            server.mute = True
            seen = watch(client, "A")
            await until(lambda: server.connections >= 2, "second attempt")
            server.mute = False
            await seen.until(connected)

    run(test())


def test_reading_that_is_not_allowed_is_told(port, run) -> None:
    async def test() -> None:
        async with FakeServer() as server, Client(server.address) as client:
            seen = watch(client, "A")
            value = (await seen.until(connected)).value
            subscription = int(value)
            server.say(message(1, bytes(24), 20, 1, 368, subscription))
            reading = await seen.until(lambda reading: reading.status is Status.READ_ACCESS)
            assert (reading.value, reading.severity, reading.connected) == (value, Severity.INVALID, True)
            server.say(double(subscription, 6.0))
            reading = await seen.until(lambda reading: reading.value == 6.0)
            assert reading.severity is Severity.NO_ALARM
            server.on_request = lambda request: (
                message(15, bytes(24), 20, 1, 368, request[4]) if request[0] == 15 else None
            )
            with pytest.raises(PermissionError, match="cannot be read: Read access denied"):
                await client.get("A")

    run(test())


def test_the_servers_reason_for_a_refusal_is_given(port, run) -> None:
    """Told before the reply, as our server does; in place of the reply, as caproto's does; or not at all."""
    put_fail = 160

    def refuse(request: tuple) -> bytes | None:
        command, kind, count, first, second, _ = request
        if command != 19:
            return None
        original = message(4, b"", kind, count, first, 1)
        reason = message(11, original + b"above DRVH\0", first=1, second=put_fail)
        in_place = message(11, message(19, b"", kind, count, first, second) + b"the box said no\0", second=put_fail)
        reply = message(19, b"", kind, count, put_fail, second)
        return [reason + reply, in_place, reply][len(refusals)]

    refusals: list[str] = []

    async def test() -> None:
        async with FakeServer() as server, Client(server.address) as client:
            server.on_request = refuse
            for _ in range(3):
                with pytest.raises(PermissionError) as refused:
                    await client.put("A", 1.0)
                refusals.append(str(refused.value))
            server.on_request = lambda request: None
            await client.put("A", 1.0)

    run(test())
    assert refusals[0] == "put of A was refused: above DRVH"
    assert refusals[1] == "put of A was refused: the box said no"
    assert refusals[2].startswith("put of A was refused: ")


def test_a_put_is_not_repeated_when_the_connection_breaks(port, run) -> None:
    async def test() -> None:
        async with FakeServer() as server, Client(server.address) as client:
            server.on_request = lambda request: b"\xff" * 16 if request[0] == 19 else None
            with pytest.raises(TimeoutError, match=r"not confirmed: .* does not speak Channel Access"):
                await client.put("A", 1.0)
            assert server.heard.count(19) == 1

    run(test())


def test_a_channel_that_the_server_refuses_is_asked_for_again(port, run, monkeypatch) -> None:
    monkeypatch.setattr("iocs.ca.pv.REFUSED_AGAIN", 0.05)

    async def test() -> None:
        async with FakeServer() as server, Client(server.address) as client:
            server.on_request = lambda request: message(26, first=request[3]) if request[0] == 18 else None
            seen = watch(client, "A")
            await until(lambda: server.heard.count(18) > 3, "fourth attempt")
            assert not seen
            server.on_request = lambda request: None
            await seen.until(connected)
            assert server.connections == 1

    run(test())


def test_a_watchers_bug_hurts_nobody_else(port, run, caplog) -> None:
    async def test() -> None:
        async with FakeServer() as server, Client(server.address) as client:
            client.watch("A", lambda reading: 1 / 0)
            await watch(client, "B").until(connected)
            assert server.connections == 1

    run(test())
    assert "ZeroDivisionError" in caplog.text


def test_a_watch_closed_from_its_own_callback_gets_nothing_more(port, run) -> None:
    async def test() -> None:
        async with FakeServer() as server, Client(server.address) as client:
            closing: list[asyncio.Task[None]] = []

            def once(reading: Reading) -> None:
                seen.append(reading)
                closing.append(asyncio.create_task(it.close()))

            seen: list[Reading] = []
            it = client.watch("A", once)
            await until(lambda: server.heard.count(12), "clear of the channel")
            await asyncio.gather(*closing)
            assert len(seen) == len(closing) == 1
            server.say(double(int(seen[0].value), 3.0))
            await client.get("B")
            assert len(seen) == 1 and server.connections == 1

    run(test())


def test_a_pv_may_be_watched_anew_from_the_callback_that_tells_its_loss(port, run) -> None:
    async def test() -> None:
        async with FakeServer() as server, Client(server.address) as client:
            anew = Seen()

            def on_reading(reading: Reading) -> None:
                seen.append(reading)
                if not reading.connected:
                    client.end(it)
                    client.watch("A", anew.append)

            seen = Seen()
            it = client.watch("A", on_reading)
            await seen.until(connected)
            server.say(b"\xff" * 16)
            await anew.until(connected)
            assert len(seen) == 2 and len(client.watches) == len(client._pvs) == 1

    run(test())


@pytest.mark.parametrize("name", ["", "x" * 2000, "line\nbreak", "\0"])
def test_what_cannot_be_a_name_is_refused(port, run, name) -> None:
    async def test() -> None:
        async with Client() as client:
            with pytest.raises(ValueError, match="is not the name of a PV"):
                client.watch(name, print)
            with pytest.raises(ValueError, match="is not the name of a PV"):
                await client.get(name)
            assert not client.watches and not client._pvs

    run(test())


def test_a_client_ends_clean_whatever_it_is_doing(port, prefix, run) -> None:
    async def test() -> None:
        async with FakeServer() as server:
            async with Client(server.address) as client, Client() as searching:
                await watch(client, "A").until(connected)
                server.on_request = lambda request: b"" if request[0] == 19 else None
                watch(searching, prefix + "NOWHERE")
                getting = asyncio.create_task(searching.get(prefix + "NOT HERE", 60))
                silent = asyncio.create_task(client.put("A", 5.0, 60))
                await until(lambda: server.heard.count(19), "put")
            with pytest.raises(ConnectionError, match="the client is closed"):
                await getting
            with pytest.raises(TimeoutError, match=r"not confirmed: .* closed by us"):
                await silent
        async with Client("127.0.0.1:1") as client:
            watch(client, "A")
        async with Client(f"127.0.0.1:{free_port()}") as client:
            with pytest.raises(TimeoutError):
                await client.get("A", 0.3)
        for wrong in (":5064", "host:x"):
            with pytest.raises(ValueError, match="is not host:port"):
                Client(wrong)

    run(test())


def test_nothing_grows_while_a_server_comes_and_goes(port, run) -> None:
    """Many losses leave no circuits, channels, searches or subscriptions behind."""

    async def test() -> None:
        async with FakeServer() as server, Client(server.address) as client:
            seen = [watch(client, f"A{number}") for number in range(10)]
            for _ in range(5):
                for one in seen:
                    await one.until(connected)
                server.say(b"\xff" * 16)
                for one in seen:
                    await one.until(lost)
            for one in seen:
                await one.until(connected)
            (circuit,) = client._circuits.values()
            assert len(circuit.channels) == len(circuit.subscribers) == len(client._pvs) == 10
            await asyncio.gather(*(watch.close() for watch in list(client.watches)))
            assert not circuit.channels and not circuit.subscribers and not client._pvs and not client.watches

    run(test())


def test_no_update_is_lost_at_ten_thousand_a_second(port, run) -> None:
    async def test() -> None:
        async with FakeServer() as server, Client(server.address) as client:
            seen = watch(client, "A")
            subscription = int((await seen.until(connected)).value)
            for batch in range(100):
                server.say(b"".join(double(subscription, float(batch * 200 + number)) for number in range(200)))
                await asyncio.sleep(0)
            await seen.until(lambda reading: reading.value == 19_999)
            assert [reading.value for reading in seen[1:]] == [float(number) for number in range(20_000)]

    run(test())


def test_a_server_that_dies_in_the_middle_of_a_frame_leaves_nothing_of_it(port, run) -> None:
    async def test() -> None:
        async with FakeServer() as server, Client(server.address) as client:
            seen = watch(client, "A")
            subscription = int((await seen.until(connected)).value)
            server.say(double(subscription, 8.0) + double(subscription, 9.0)[:30])
            await seen.until(lambda reading: reading.value == 8.0)
            server.drop()
            assert (await seen.until(lost)).value == 8.0
            subscription = int((await seen.until(connected)).value)
            server.say(double(subscription, 10.0))
            await seen.until(lambda reading: reading.value == 10.0)
            assert 9.0 not in [reading.value for reading in seen]

    run(test())


def test_replies_that_come_twice_or_belong_to_nobody_change_nothing(port, run) -> None:
    async def test() -> None:
        async with FakeServer() as server, Client(server.address) as client:
            server.on_request = lambda request: server.answer(request) * 2
            seen = watch(client, "A")
            subscription = int((await seen.until(connected)).value)
            assert (await client.get("A")).value == 5.0
            await client.put("A", 1.0)
            assert len(seen) == 2, "the first event comes twice, for one subscription"
            server.say(double(subscription + 999, 1.0))  # a subscription that was cancelled
            server.say(message(18, b"", 6, 1, 999, 999) + message(22, first=999, second=3))  # a channel that was closed
            for stray in (15, 19):
                server.say(message(stray, bytes(24), 20, 1, 1, 999))
            server.say(
                message(26, first=999) + message(27, first=999) + message(11, message(15), first=999, second=160)
            )
            server.say(double(subscription, 7.0))
            await seen.until(lambda reading: reading.value == 7.0)
            assert len(seen) == 3 and server.connections == 1
            await until(lambda: server.heard.count(12), "clear of the channel that nobody wants")

    run(test())


def test_an_event_without_a_value_is_none(port, run) -> None:
    async def test() -> None:
        async with FakeServer() as server, Client(server.address) as client:
            seen = watch(client, "A")
            subscription = int((await seen.until(connected)).value)
            server.say(message(1, b"", 20, 1, 1, subscription) + double(subscription, 7.0))
            await seen.until(lambda reading: reading.value == 7.0)
            server.say(message(1, b"", 20, 1, 1, subscription))
            await client.get("A")
            assert len(seen) == 2 and server.connections == 1

    run(test())


VALUE = struct.pack(">HHII4xd", 0, 0, 1000, 0, 5.0)
WRONG_ANSWERS = {
    "another type": lambda number: message(15, bytes(8), 6, 1, 1, number),
    "a type that does not exist": lambda number: message(15, VALUE, 99, 1, 1, number),
    "more elements than bytes": lambda number: message(15, VALUE, 20, 50, 1, number),
    "no bytes": lambda number: message(15, b"", 20, 1, 1, number),
    "a confirmation": lambda number: message(19, b"", 20, 1, 1, number),
}


@pytest.mark.parametrize("wrong", WRONG_ANSWERS)
@pytest.mark.parametrize("asked", ["get", "metadata"])
def test_a_wrong_answer_to_a_get_is_no_answer(port, run, wrong, asked) -> None:
    async def test() -> None:
        async with FakeServer() as server, Client(server.address) as client:
            server.on_request = lambda request: WRONG_ANSWERS[wrong](request[4]) if request[0] == 15 else None
            with pytest.raises(TimeoutError, match="PV A did not answer within"):
                await getattr(client, asked)("A", 0.5)
            assert server.connections >= 2, "the circuit of a server that answers nonsense is not closed"
            server.on_request = lambda request: None
            assert (await client.get("A")).value == 5.0

    run(test())


def test_a_value_in_answer_to_a_put_is_no_confirmation(port, run) -> None:
    async def test() -> None:
        async with FakeServer() as server, Client(server.address) as client:
            server.on_request = lambda request: message(15, VALUE, 20, 1, 1, request[4]) if request[0] == 19 else None
            with pytest.raises(TimeoutError, match=r"not confirmed: .* a value in answer to a put of A"):
                await client.put("A", 1.0)
            assert server.heard.count(19) == 1

    run(test())


def test_a_pv_that_its_server_withdraws_again_and_again_leaves_nothing(port, run, monkeypatch) -> None:
    monkeypatch.setattr("iocs.ca.pv.WITHDRAWN_AGAIN", 0.01)

    async def test() -> None:
        async with FakeServer() as server, Client(server.address) as client:
            seen = watch(client, "A")
            for _ in range(10):
                subscription = int((await seen.until(connected)).value)
                (circuit,) = client._circuits.values()
                (cid,) = circuit.channels
                server.say(message(27, first=cid) + double(subscription, 77.0))
                await seen.until(lost)
            await seen.until(connected)
            assert len(circuit.channels) == len(circuit.subscribers) == server.connections == 1
            assert 77.0 not in [reading.value for reading in seen], "an event of a PV that was gone"

    run(test())


def test_a_server_that_always_breaks_is_left_in_peace_and_in_few_lines(port, run, caplog) -> None:
    async def test() -> None:
        async with FakeServer() as server, Client(server.address) as client:
            server.on_request = lambda request: os.urandom(16) if request[0] == 18 else None
            seen = [watch(client, f"A{number}") for number in range(100)]
            await until(lambda: server.connections >= 5, "fifth attempt")
            began = time.monotonic()
            await until(lambda: server.connections >= 7, "seventh attempt")
            assert time.monotonic() - began > 1, "a storm of connections"
            server.on_request = lambda request: None
            for one in seen:
                await one.until(connected)
            assert len(caplog.records) <= 5

    run(test())


@pytest.mark.parametrize("asked", ["get", "metadata"])
def test_a_get_under_way_ends_with_the_client(port, run, asked) -> None:
    async def test() -> None:
        async with FakeServer() as server:
            async with Client(server.address) as client:
                server.on_request = lambda request: b"" if request[0] == 15 else None
                getting = asyncio.create_task(getattr(client, asked)("A", 50))
                await until(lambda: server.heard.count(15), "get")
            async with asyncio.timeout(10):
                with pytest.raises(ConnectionError, match="the client is closed"):
                    await getting

    run(test())
