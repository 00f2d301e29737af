"""The Channel Access client against real servers: caproto's, a C++ softIoc, and our own."""

import asyncio
import logging
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from iocs.ca.client import Client, Mask
from iocs.ca.server import Server
from iocs.signals import Alarms, Kind, Reading, Refused, Severity, Signal, Status, setpoint
from tests.processes import Process, ca_environment, free_port
from tests.watched import connected, lost, until, watch


def caproto_ioc(prefix: str, *options: str) -> Process:
    process = Process("tests.system.caproto_ioc", prefix, *options)
    process.line("ready")
    return process


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


def test_a_pv_with_the_longest_name_that_appears_late_is_found(port, run) -> None:
    prefix, name = "P" * 27 + ":", "N" * 32

    async def test() -> None:
        server = Server()
        server.serve("OTHER:", [Signal("A")])
        await server.start()
        try:
            async with Client() as client:
                whole, field = watch(client, prefix + name), watch(client, prefix + name + '.{"dbnd":{"abs":1}}')
                await asyncio.sleep(1)  # the first, quick searches
                server.serve(prefix, [Signal(name)])
                server.post(prefix, time.time_ns(), {name: 3.0})
                appeared = time.monotonic()
                for seen in (whole, field):
                    assert (await seen.until(connected)).value == 3.0
                assert time.monotonic() - appeared < 2
                assert len(prefix + name) == 60 and (await client.get(prefix + name)).value == 3.0
        finally:
            await server.stop()

    run(test())
