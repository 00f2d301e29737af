"""The Channel Access client against real servers: caproto's, a C++ softIoc, our own, and one that misbehaves."""

import asyncio
import gc
import logging
import math
import os
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from iocs.ca.client import Client, Mask
from iocs.ca.server import Server
from iocs.signals import Alarms, Kind, Reading, Refused, Severity, Signal, Status, setpoint
from tests.fake_ca import FakeServer, double
from tests.processes import DEADLINE, Process, ca_environment, free_port, random_prefix
from tests.raw_ca import message


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    """Give a free port, to which environment of clients and servers points."""
    port = free_port()
    for key, value in ca_environment(port).items():
        monkeypatch.setenv(key, value)
    return port


@pytest.fixture
def prefix() -> str:
    return random_prefix()


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, None]], None]:
    """Run a test's coroutine and see that nothing is left of the client in its loop."""

    def run(test: Coroutine[Any, Any, None]) -> None:
        async def whole() -> None:
            async with asyncio.timeout(60):
                await test
            await asyncio.sleep(0)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, left

        asyncio.run(whole(), debug=False)
        gc.collect()  # unclosed sockets warn here, and warnings are errors

    return run


class Seen(list):
    """The readings of one watch."""

    async def until(self, condition: Callable[[Reading], object], what: str = "") -> Reading:
        """Wait until the newest reading fulfils the condition."""
        end = time.monotonic() + DEADLINE
        while not (self and condition(self[-1])):
            assert time.monotonic() < end, f"{what or 'it'} did not become so: {self[-3:]}"
            await asyncio.sleep(0.005)
        return self[-1]


def watch(client: Client, name: str, mask: Mask = Mask.VALUE | Mask.ALARM) -> Seen:
    seen = Seen()
    client.watch(name, seen.append, mask)
    return seen


async def until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"there was no {what}"
        await asyncio.sleep(0.005)


def connected(reading: Reading) -> bool:
    return reading.connected


def lost(reading: Reading) -> bool:
    return not reading.connected


def caproto_ioc(prefix: str, *options: str) -> Process:
    process = Process("tests.system.caproto_ioc", prefix, *options)
    process.line("ready")
    return process


# -- what servers serve


def test_all_types_of_a_caproto_ioc(port, prefix, run) -> None:
    async def test() -> None:
        async with Client() as client:
            seen = {name: watch(client, prefix + name) for name in CAPROTO_VALUES}
            for name, value in CAPROTO_VALUES.items():
                reading = await seen[name].until(connected, name)
                got = await client.get(prefix + name)
                for one in (reading, got):
                    plain = one.value.tolist() if isinstance(value, list) else one.value
                    assert plain == pytest.approx(value) if isinstance(value, float) else plain == value, name
                    assert (one.severity, one.status) == (Severity.NO_ALARM, Status.NO_ALARM)
            assert (await client.get(prefix + "DOUBLE")).time_ns == 1_700_000_000_250_000_000
            told = await client.metadata(prefix + "FLOAT")
            assert (told.kind, told.unit, told.precision, told.control) == (Kind.FLOAT, "V", 2, (-3, 3))
            assert (await client.metadata(prefix + "ENUM")).states == ("off", "on")
            assert (await client.metadata(prefix + "CHAR")).kind is Kind.TEXT
            assert (await client.metadata(prefix + "BYTE")).kind is Kind.INT
            assert (await client.metadata(prefix + "STRING")).kind is Kind.STR
            assert (await client.metadata(prefix + "EMPTY")).count == 10
            assert len((await client.get(prefix + "EMPTY")).value) == 0

    with caproto_ioc(prefix):
        run(test())


CAPROTO_VALUES = {
    "STRING": "text",
    "SHORT": -5,
    "FLOAT": 1.5,
    "ENUM": 1,
    "BYTE": 65,
    "CHAR": "a long text",
    "LONG": -100000,
    "DOUBLE": 0.1,
    "DOUBLES": [0.0, 1.0, 2.0, 3.0, 4.0],
    "SHORTS": [1, 2, 3],
}

RECORDS = """
record(ao, "{p}AO") {{
    field(EGU, "mm") field(PREC, "4") field(HIGH, "10") field(HSV, "MINOR") field(DRVH, "50") field(DRVL, "-50")
    field(UDF, "0")
}}
record(longout, "{p}LONG") {{ field(UDF, "0") }}
record(mbbo, "{p}ENUM") {{ field(ZRST, "closed") field(ONST, "open") field(ONVL, "1") field(UDF, "0") }}
record(stringout, "{p}STRING") {{ field(UDF, "0") }}
record(waveform, "{p}CHARS") {{ field(FTVL, "CHAR") field(NELM, "200") }}
record(waveform, "{p}FLOATS") {{ field(FTVL, "FLOAT") field(NELM, "20") }}
record(waveform, "{p}SHORTS") {{ field(FTVL, "SHORT") field(NELM, "20") }}
record(waveform, "{p}STRINGS") {{ field(FTVL, "STRING") field(NELM, "5") }}
record(waveform, "{p}EMPTY") {{ field(FTVL, "DOUBLE") field(NELM, "20") }}
record(ao, "{p}NEVER") {{ }}
record(calc, "{p}COUNT") {{ field(CALC, "VAL+1") field(SCAN, ".1 second") field(MDEL, "-1") }}
"""


@pytest.fixture
def soft_ioc(port, prefix, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start C++ softIocs."""
    pytest.importorskip("epicscorelibs", reason="the package epicscorelibs is absent: pip install epicscorelibs")
    running: list[Process] = []

    def start(records: str = RECORDS) -> Process:
        (tmp_path / "test.db").write_text(records.format(p=prefix))
        process = Process("tests.system.soft_ioc", str(tmp_path / "test.db"), stdin=-1)
        running.append(process)
        process.line("ready")
        return process

    yield start
    for process in running:
        process.kill()


def test_what_is_put_to_a_soft_ioc_comes_back(soft_ioc, prefix, run) -> None:
    async def test() -> None:
        async with Client() as client:
            for name, put, value in (
                ("AO", 1.25, 1.25),
                ("AO", 3, 3.0),
                ("LONG", -70000, -70000),
                ("LONG", 2.0, 2),
                ("ENUM", "open", 1),
                ("ENUM", 0, 0),
                ("STRING", "härd", "härd"),
                ("STRING", 5, "5"),
                ("CHARS", "a text " * 20, "a text " * 20),
                ("FLOATS", [0.5, -1], [0.5, -1.0]),
                ("FLOATS", [0.25], [0.25]),
                ("SHORTS", [3, -4, 5], [3, -4, 5]),
                ("STRINGS", ["a", "bc"], ["a", "bc"]),
            ):
                seen = watch(client, prefix + name)
                await seen.until(connected)
                await client.put(prefix + name, put)
                for value_seen in ((await client.get(prefix + name)).value, client_value(seen[-1].value)):
                    assert client_value(value_seen) == value, name
            never = await client.get(prefix + "NEVER")
            assert (never.time_ns, never.severity, never.status) == (0, Severity.INVALID, Status.UDF)
            empty = await client.get(prefix + "SHORTS.NORD")
            assert empty.value == 3
            told = await client.metadata(prefix + "AO")
            assert (told.unit, told.precision, told.control, told.writable) == ("mm", 4, (-50, 50), True)
            assert told.alarms is not None
            assert told.alarms[2] == 10 and math.isnan(told.alarms[3])
            assert (await client.metadata(prefix + "ENUM")).states == ("closed", "open")
            assert (await client.metadata(prefix + "STRING")).kind is Kind.STR
            assert (await client.metadata(prefix + "EMPTY")).count == 20
            assert len((await client.get(prefix + "EMPTY")).value) == 0
            with pytest.raises(PermissionError, match=r"put of .*NORD was refused"):
                await client.put(prefix + "SHORTS.NORD", 3)
            with pytest.raises(ValueError, match="longer than 39 bytes"):
                await client.put(prefix + "STRING", "x" * 40)
            with pytest.raises(ValueError, match="cannot be put"):
                await client.put(prefix + "FLOATS", [[1, 2], [3, 4]])

    with soft_ioc():
        run(test())


def client_value(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def test_masks_choose_the_events(soft_ioc, prefix, run) -> None:
    async def test() -> None:
        async with Client() as client:
            values, alarms = watch(client, prefix + "AO"), watch(client, prefix + "AO", Mask.ALARM)
            await values.until(connected)
            await alarms.until(connected)
            for value in (1.0, 2.0, 20.0, 21.0):
                await client.put(prefix + "AO", value)
            await values.until(lambda reading: reading.value == 21.0)
            assert [reading.value for reading in values[1:]] == [1.0, 2.0, 20.0, 21.0]
            assert [(reading.value, reading.status) for reading in alarms[1:]][-1] == (20.0, Status.HIGH)
            assert not {1.0, 2.0, 21.0} & {reading.value for reading in alarms[2:]}

    with soft_ioc():
        run(test())


def test_all_of_a_thousand_pvs_come_back(soft_ioc, prefix, run) -> None:
    records = "\n".join(f'record(ao, "{{p}}{number}") {{{{ }}}}' for number in range(1000))

    async def test() -> None:
        ioc = await asyncio.to_thread(soft_ioc, records)
        up: set[int] = set()

        def listener(number: int) -> Callable[[Reading], None]:
            return lambda reading: up.add(number) if reading.connected else up.discard(number)

        async with Client() as client:
            for number in range(1000):
                client.watch(f"{prefix}{number}", listener(number))
            await until(lambda: len(up) == 1000, "thousand PVs")
            ioc.kill()
            await until(lambda: not up, "loss")
            await asyncio.sleep(3)  # long enough for the first, quick searches to be over
            await asyncio.to_thread(soft_ioc, records)
            back = time.monotonic()
            await until(lambda: len(up) == 1000, "return of all")
            assert time.monotonic() - back < 3

    run(test())


def test_a_pv_may_change_its_type_over_a_restart(port, prefix, run) -> None:
    async def test() -> None:
        async with Client() as client:
            with await asyncio.to_thread(caproto_ioc, prefix):
                seen = watch(client, prefix + "LEVEL")
                assert (await seen.until(connected)).value == 0.1
            assert (await seen.until(lost)).value == 0.1
            with await asyncio.to_thread(caproto_ioc, prefix, "--level", "STRING"):
                assert (await seen.until(connected)).value == "text"
            await seen.until(lost)
            with await asyncio.to_thread(caproto_ioc, prefix, "--level", "DOUBLES"):
                assert len((await seen.until(connected)).value) == 5

    run(test())


def test_pvs_of_a_server_that_hung_come_back(port, prefix, run, monkeypatch) -> None:
    """caproto issue 798: PVs of a server found unresponsive were never searched again."""
    monkeypatch.setenv("EPICS_CA_CONN_TMO", "0.5")

    async def test() -> None:
        with await asyncio.to_thread(caproto_ioc, prefix) as ioc:
            async with Client() as client:
                seen = [watch(client, prefix + name) for name in ("DOUBLE", "SHORT", "ENUM")]
                for one in seen:
                    await one.until(connected)
                ioc.popen.send_signal(signal.SIGSTOP)
                stopped = time.monotonic()
                for one in seen:
                    reading = await one.until(lost)
                    assert (reading.severity, reading.status) == (Severity.INVALID, Status.COMM)
                assert time.monotonic() - stopped < 3
                ioc.popen.send_signal(signal.SIGCONT)
                for one in seen:
                    await one.until(connected)
                assert (await client.get(prefix + "DOUBLE")).value == 0.1

    run(test())


def test_a_withdrawn_pv_is_searched_until_it_is_back(port, prefix, run) -> None:
    async def test() -> None:
        server = Server()
        server.serve(prefix, [Signal("STAYS"), Signal("GOES")])
        await server.start()
        try:
            async with Client() as client:
                stays, goes = watch(client, prefix + "STAYS"), watch(client, prefix + "GOES")
                await stays.until(connected)
                await goes.until(connected)
                server.withdraw([prefix + "GOES"])
                await goes.until(lost)
                server.serve(prefix, [Signal("GOES", kind=Kind.STR)])
                server.post(prefix, time.time_ns(), {"GOES": "back", "STAYS": 1.0})
                await goes.until(lambda reading: reading.value == "back")
                await stays.until(lambda reading: reading.value == 1.0)
                assert all(reading.connected for reading in stays)
        finally:
            await server.stop()

    run(test())


def test_our_own_server_and_two_clients(port, prefix, run) -> None:
    async def test() -> None:
        async def put(name: str, value: Any, by: str) -> None:
            if value == 7:
                raise Refused("not seven")
            server.post(prefix, time.time_ns(), {"SET": value})

        server = Server()
        server.serve(
            prefix, [Signal("VALUE", alarms=Alarms(hihi=5.0)), setpoint("SET", "V"), Signal("ROW", count=60)], put
        )
        await server.start()
        try:
            async with Client() as one, Client() as two:
                seen = [watch(client, prefix + "VALUE") for client in (one, two)]
                rows = watch(two, prefix + "ROW")
                for each in (*seen, rows):
                    reading = await each.until(connected)
                    assert (reading.severity, reading.status, reading.time_ns) == (Severity.INVALID, Status.UDF, 0)
                stamp = 1_790_000_000_123_456_789
                for number in range(200):
                    server.post(
                        prefix, stamp + number, {"VALUE": number / 10, "ROW": [float(number)] * (number % 40 + 1)}
                    )
                for each in seen:
                    await each.until(lambda reading: reading.value == 19.9)
                    assert [reading.value for reading in each[1:]] == [number / 10 for number in range(200)]
                    assert [reading.time_ns for reading in each[1:]] == [stamp + number for number in range(200)]
                    assert each[-1].severity is Severity.MAJOR
                await until(lambda: len(rows) == 201, "last row")
                assert [len(reading.value) for reading in rows[1:]] == [number % 40 + 1 for number in range(200)]
                await one.put(prefix + "SET", 5)
                assert (await two.get(prefix + "SET")).value == 5.0
                with pytest.raises(PermissionError, match="SET was refused"):
                    await two.put(prefix + "SET", 7)
                assert (await one.metadata(prefix + "ROW")).count == 60
                assert await one.answered(prefix + "SET") == f"127.0.0.1:{server.port}"
                assert await one.answered(prefix + "NOTHING", 0.1) is None
                with pytest.raises(TimeoutError, match=r"did not answer within 0\.1 s"):
                    await one.get(prefix + "NOTHING", 0.1)
                with pytest.raises(TimeoutError, match=r"was not confirmed within 0\.1 s"):
                    await one.put(prefix + "NOTHING", 1, 0.1)
                await asyncio.gather(*(watch.close() for watch in list(one.watches)))
                known = len(seen[0])
                server.post(prefix, stamp, {"VALUE": 0.0})
                await seen[1].until(lambda reading: reading.value == 0.0)
                assert len(seen[0]) == known
        finally:
            await server.stop()

    run(test())


def test_a_pinned_client_uses_that_server_alone(port, prefix, run, caplog) -> None:
    async def test() -> None:
        def impostor() -> Process:
            process = Process("tests.system.caproto_ioc", prefix, "--level", "SHORT", environment=ca_environment(other))
            process.line("ready")
            return process

        other = free_port()
        os.environ["EPICS_CA_ADDR_LIST"] = f"127.0.0.1:{other} 127.0.0.1:{port}"
        with await asyncio.to_thread(impostor), await asyncio.to_thread(caproto_ioc, prefix) as ioc:
            async with Client(f"127.0.0.1:{port}") as pinned, Client() as free:
                seen, anyone = watch(pinned, prefix + "LEVEL"), watch(free, prefix + "LEVEL")
                assert (await seen.until(connected)).value == 0.1
                assert await pinned.answered(prefix + "LEVEL") == f"127.0.0.1:{port}"
                assert await pinned.answered(prefix + "NOTHING", 0.2) is None
                await anyone.until(connected)
                await until(lambda: "is served by" in caplog.text, "word of the second server")
                await asyncio.to_thread(ioc.kill)
                await seen.until(lost)
                await anyone.until(lambda reading: reading.connected and reading.value == -5)
                with pytest.raises(TimeoutError):
                    await pinned.get(prefix + "LEVEL", 0.5)
                with await asyncio.to_thread(caproto_ioc, prefix):
                    await seen.until(connected)
                assert {reading.value for reading in seen} == {0.1}

    with caplog.at_level(logging.WARNING):
        run(test())


# -- servers that misbehave


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
