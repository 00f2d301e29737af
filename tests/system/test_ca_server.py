"""The Channel Access server against clients that we did not write: libca (pyepics) and caproto's."""

import asyncio
import contextlib
import math
import signal
import subprocess
import sys

import caproto
import caproto.sync.client as caproto_client
import numpy as np
import pytest

from iocs.ca.client import Client
from iocs.ca.server import Server
from iocs.signals import (
    Alarms,
    Bad,
    Kind,
    Severity,
    Status,
    acceptable,
    readback,
    setpoint,
)
from tests.processes import DEADLINE
from tests.thermostat_lab import INVALID, MAJOR, MINOR, NO_ALARM, UDF, Lab

NOW = 1_700_000_000_123_456_789

VOLTS = readback("VOLTS", "V", precision=1, limits=(0, 3000), alarms=Alarms(-5, 0, 10, 20), doc="x")
VSET = setpoint("VSET", "kV", precision=2, limits=(0, 3))
COUNT = setpoint("COUNT", type=int, limits=(-5, 5))
MODE = setpoint("MODE", type=("Off", "On"), state_severities=(Severity.MAJOR, Severity.NO_ALARM))
WORDS = setpoint("WORDS", type=str)
TEXT = readback("TEXT", type=Kind.TEXT)
WAVE = readback("WAVE", "mV", count=100_000)
COUNTS = setpoint("COUNTS", type=int, count=5)
DEGREES = readback("DEGREES", "µ°C")
ALL = (VOLTS, VSET, COUNT, MODE, WORDS, TEXT, WAVE, COUNTS, DEGREES)


@pytest.fixture
def lab(tmp_path, monkeypatch):
    with Lab(tmp_path) as lab:
        for name, value in lab.environment.items():
            if name.startswith("EPICS"):
                monkeypatch.setenv(name, value)
        yield lab


class Served:
    """A server in this process; its clients are asked from a thread."""

    def __init__(self, lab):
        self.lab = lab
        self.server = Server()
        self.puts = []

    async def __aenter__(self):
        await self.server.start()
        self.server.serve(self.lab.prefix, ALL, self.put)
        return self

    async def __aexit__(self, *exception):
        await self.server.stop()

    async def put(self, pv, value, by):
        signal_ = next(s for s in ALL if s.name == pv.removeprefix(self.lab.prefix))
        value = acceptable(signal_, value)
        self.puts.append((signal_.name, value, by))
        self.post({signal_.name: value})

    def post(self, values, time_ns=NOW):
        self.server.post(self.lab.prefix, time_ns, values)

    async def read(self, name):
        return await asyncio.to_thread(self.lab.read, name)

    async def monitor(self, name):
        await asyncio.to_thread(self.lab.libca.monitor, self.lab.prefix + name)

    async def events(self, name, wanted):
        """Wait until the events of a PV, as libca saw them, fulfil `wanted`; gives them."""
        async with asyncio.timeout(DEADLINE):
            while True:
                events = await asyncio.to_thread(self.lab.libca.events, self.lab.prefix + name)
                if wanted(events):
                    return events

    async def caproto(self, name, data_type="time"):
        return await asyncio.to_thread(
            caproto_client.read, self.lab.prefix + name, data_type=data_type, timeout=10, repeater=False
        )

    async def caproto_put(self, name, value, data_type=None):
        return await asyncio.to_thread(
            caproto_client.write,
            self.lab.prefix + name,
            value,
            data_type=data_type,
            notify=True,
            timeout=10,
            repeater=False,
        )


def served(lab, test):
    async def run():
        async with Served(lab) as here:
            await test(here)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        _, left = await asyncio.wait(left, timeout=2) if left else (None, set())
        assert not left, "tasks that outlive the server"

    asyncio.run(run())


def alarm(reading):
    return reading["severity"], reading["status"]


def test_libca_reads_everything(lab):
    async def test(here):
        reading = await here.read("VOLTS")
        assert alarm(reading) == (INVALID, UDF) and math.isnan(reading["value"])
        here.post({"VOLTS": 12.25, "VSET": 1.5, "COUNT": -3, "MODE": 0, "WORDS": "x" * 60 + "ä", "TEXT": "long." * 999})
        here.post({"WAVE": np.arange(1000.0), "COUNTS": [1, 2, 3], "DEGREES": 1.0})
        reading = await here.read("VOLTS")
        assert (reading["value"], *alarm(reading)) == (12.25, MINOR, Status.HIGH)
        assert (reading["posixseconds"], reading["nanoseconds"]) == divmod(NOW, 10**9)
        assert (reading["units"], reading["precision"], reading["write"]) == ("V", 1, False)
        assert [reading[f"{end}_disp_limit"] for end in ("lower", "upper")] == [0, 3000]
        limits = ("lower_alarm_limit", "lower_warning_limit", "upper_warning_limit", "upper_alarm_limit")
        assert [reading[name] for name in limits] == [-5, 0, 10, 20]
        reading = await here.read("VSET")
        assert (reading["units"], reading["precision"], reading["write"]) == ("kV", 2, True)
        assert (reading["lower_ctrl_limit"], reading["upper_ctrl_limit"]) == (0, 3)
        assert all(math.isnan(reading[name]) for name in limits)
        reading = await here.read("COUNT")
        assert (reading["value"], reading["type"], reading["upper_ctrl_limit"]) == (-3, "time_long", 5)
        reading = await here.read("MODE")
        assert (reading["value"], reading["enum_strs"], *alarm(reading)) == (0, ["Off", "On"], MAJOR, Status.STATE)
        assert (await here.read("WORDS"))["value"] == "x" * 39
        assert bytes((await here.read("WORDS.VAL$"))["value"]).rstrip(b"\0").decode() == "x" * 60 + "ä"
        assert (await here.read("TEXT"))["text"] == "long." * 999
        reading = await here.read("WAVE")
        assert (reading["value"], reading["units"], reading["count"]) == (list(range(1000)), "mV", 100_000)
        assert (await here.read("COUNTS"))["value"] == [1, 2, 3]
        assert (await here.read("DEGREES"))["value"] == 1.0

    served(lab, test)


def test_caproto_reads_everything(lab):
    async def test(here):
        here.post({"VOLTS": 25.0, "MODE": 1, "WORDS": "grün", "TEXT": "é" * 100, "WAVE": [1.5, 2.5], "DEGREES": 1.0})
        response = await here.caproto("VOLTS")
        stamp = response.metadata.stamp
        assert (response.data[0], stamp.secondsSinceEpoch, stamp.nanoSeconds) == (
            25.0,
            1_700_000_000 - 631152000,
            123456789,
        )
        assert (response.metadata.severity, response.metadata.status) == (Severity.MAJOR, Status.HIHI)
        control = (await here.caproto("VOLTS", "control")).metadata
        assert (control.units, control.precision, control.upper_disp_limit) == (b"V", 1, 3000)
        assert (await here.caproto("MODE", "control")).metadata.enum_strings == (b"Off", b"On")
        assert (await here.caproto("WORDS")).data == ["grün".encode()]
        assert bytes((await here.caproto("TEXT")).data).decode() == "é" * 100
        assert list((await here.caproto("WAVE")).data) == [1.5, 2.5]
        assert (await here.caproto("DEGREES", "control")).metadata.units.decode() == "µ°C"

    served(lab, test)


@pytest.mark.parametrize(
    ("name", "value", "stored"),
    [
        ("VSET", 2.5, 2.5),
        ("VSET", "2.25", 2.25),
        ("COUNT", 5, 5),
        ("MODE", "On", 1),
        ("MODE", 1, 1),
        ("MODE", "1", 1),
        ("WORDS", "hello", "hello"),
        ("COUNTS", [4, 5], [4, 5]),
    ],
)
def test_puts_that_are_accepted(lab, name, value, stored):
    async def test(here):
        data = [value.encode()] if isinstance(value, str) else value
        data_type = caproto.ChannelType.STRING if isinstance(value, str) else None
        response = await here.caproto_put(name, data, data_type)
        assert response.status.success
        ((put, got, by),) = here.puts
        assert (put, got) == (name, stored) and by.endswith("@127.0.0.1")
        reading = await here.read(name)
        assert reading["value"] == stored and reading["severity"] in (NO_ALARM, MAJOR)

    served(lab, test)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VSET", 3.01),
        ("VSET", -1.0),
        ("VSET", math.nan),
        ("VSET", math.inf),
        ("VSET", b"three"),
        ("VSET", b""),
        ("COUNT", 1.5),
        ("COUNT", 6),
        ("MODE", b"Half"),
        ("MODE", 2),
        ("COUNTS", [1, 2, 3, 4, 5, 6]),
    ],
)
def test_puts_that_are_refused_leave_value_and_alarm_untouched(lab, name, value):
    async def test(here):
        here.post({"VSET": 1.0, "COUNT": 1, "MODE": 1, "COUNTS": [7]})
        before = await here.read(name)
        kind = {bytes: caproto.ChannelType.STRING, float: caproto.ChannelType.DOUBLE}.get(type(value))
        try:
            response = await here.caproto_put(name, value, kind)
            assert response.status.name == "ECA_PUTFAIL"
        except caproto.ErrorResponseReceived as error:
            assert "ECA_PUTFAIL" in str(error) or "BADCOUNT" in str(error)
        assert await here.read(name) == before and here.puts == []

    served(lab, test)


def test_a_readback_cannot_be_put(lab):
    async def test(here):
        here.post({"VOLTS": 1.0})
        with contextlib.suppress(caproto.ErrorResponseReceived):
            response = await here.caproto_put("VOLTS", 2.0)
            assert not response.status.success
        assert (await here.read("VOLTS"))["value"] == 1.0

    served(lab, test)


def test_events_come_for_news_and_only_for_news(lab):
    async def test(here):
        here.post({"VOLTS": 1.0})
        await here.monitor("VOLTS")
        await here.monitor("WAVE")
        await here.events("VOLTS", lambda events: len(events) >= 2)
        await here.events("WAVE", lambda events: len(events) >= 2)
        for value in (1.0, 1.0, 2.0, Bad("?"), Bad("?"), 2.0, 15.0, 15.0, math.nan, math.nan, Bad("!", 5.0)):
            here.post({"VOLTS": value, "WAVE": [1.0, 2.0]})
        here.server.invalidate([lab.prefix + "VOLTS"], Status.COMM)
        here.server.invalidate([lab.prefix + "VOLTS"], Status.COMM)
        here.post({"VOLTS": 3.0})
        events = await here.events("VOLTS", lambda events: events[-1][:1] == [3.0])
        seen = [event[:3] for event in events if isinstance(event, list)]
        assert seen[:5] == [[1.0, 0, 0], [2.0, 0, 0], [2.0, 3, 1], [2.0, 0, 0], [15.0, 1, 4]]
        assert math.isnan(seen[5][0]) and seen[5][1:] == [3, 17]
        assert seen[6:] == [[5.0, 3, 1], [5.0, 3, 9], [3.0, 0, 0]]
        await here.events("WAVE", lambda events: sum(event[0] == [1.0, 2.0] for event in events) == 11)

    served(lab, test)


def test_withdrawn_pvs_are_told_and_found_again_with_another_type(lab):
    async def test(here):
        here.post({"VOLTS": 1.0})
        name = lab.prefix + "VOLTS"
        heard = []
        here.server.watch(name, heard.append)
        far = []
        async with Client() as client:
            watch = client.watch(name, far.append)
            await here.monitor("VOLTS")
            await here.events("VOLTS", lambda events: [1.0, 0, 0, "time_double"] in events)
            here.server.withdraw([name])
            await here.events("VOLTS", lambda events: events[-1] == "disconnected")
            assert here.server.reading(name) is None and name not in here.server.names
            here.server.serve(lab.prefix, [readback("VOLTS", type=int)])
            here.post({"VOLTS": 7})
            await here.events("VOLTS", lambda events: events[-1] == [7, 0, 0, "time_long"])
            async with asyncio.timeout(DEADLINE):
                while not (far and far[-1].connected and far[-1].value == 7):
                    await asyncio.sleep(0.01)
            assert next(r.value for r in far if r.connected) == 1.0 and not all(r.connected for r in far)
            await watch.close()
        assert heard[0].value == 1.0 and not heard[2].connected and (heard[-1].value, heard[-1].connected) == (7, True)

    served(lab, test)


def test_what_is_not_of_the_kind_makes_that_pv_invalid_and_no_other(lab, caplog):
    async def test(here):
        here.post({"VOLTS": 1.0, "MODE": 1, "COUNT": 1})
        for _again in range(3):
            here.post({"VOLTS": "much", "MODE": 2, "COUNT": 2**31, "WAVE": [[1.0]], "WORDS": "on"})
        assert len(caplog.records) == 4
        for name, value in (("VOLTS", 1.0), ("MODE", 1), ("COUNT", 1)):
            reading = await here.read(name)
            assert (reading["value"], *alarm(reading)) == (value, INVALID, Status.READ), name
        assert (await here.read("WORDS"))["value"] == "on"
        with pytest.raises(KeyError):
            here.post({"NOTHING": 1})

    served(lab, test)


def test_a_watcher_with_a_bug_hurts_nobody(lab, caplog):
    async def test(here):
        def broken(reading):
            raise ZeroDivisionError("bug")

        here.server.watch(lab.prefix + "VOLTS", broken)
        here.post({"VOLTS": 2.0})
        assert (await here.read("VOLTS"))["value"] == 2.0
        assert "internal error in a watcher of" in caplog.text

    served(lab, test)


def test_names_are_served_once(lab):
    async def test(here):
        with pytest.raises(ValueError, match="served already"):
            here.server.serve(lab.prefix, [VOLTS])

    served(lab, test)


def test_many_clients(lab):
    async def test(here):
        seen = [[] for _ in range(20)]
        async with contextlib.AsyncExitStack() as stack:
            for readings in seen:
                client = await stack.enter_async_context(Client())
                for name in ("VOLTS", "WAVE", "TEXT"):
                    client.watch(lab.prefix + name, readings.append)
            async with asyncio.timeout(DEADLINE):
                while not all(len(readings) >= 3 for readings in seen):
                    await asyncio.sleep(0.01)
                for number in range(100):
                    here.post({"VOLTS": float(number)})
                    await asyncio.sleep(0)
                while not all(
                    any(r.value == 99.0 for r in readings if isinstance(r.value, float)) for readings in seen
                ):
                    await asyncio.sleep(0.01)
        for readings in seen:
            values = [r.value for r in readings if isinstance(r.value, float) and r.connected and r.value == r.value]
            assert values == sorted(values) and len(values) >= 100

    served(lab, test)


def test_client_get_and_put(lab):
    async def test(here):
        async with Client() as client:
            await client.put(lab.prefix + "VSET", 2.0)
            reading = await client.get(lab.prefix + "VSET")
            assert (reading.value, reading.time_ns, reading.local) == (2.0, NOW, False)
            with pytest.raises(PermissionError, match="refused"):
                await client.put(lab.prefix + "VSET", 9.0)
            with pytest.raises(TimeoutError, match="NOTHING"):
                await client.get(lab.prefix + "NOTHING", timeout=0.2)
            assert await client.answered(lab.prefix + "VSET") == f"127.0.0.1:{here.server.port}"
            assert await client.answered(lab.prefix + "NOTHING", 0.2) is None
            closed = client.watch(lab.prefix + "VSET", lambda reading: pytest.fail("closed at once"))
            await closed.close()
            await client.get(lab.prefix + "VSET")

    served(lab, test)


# a whole IOC


def test_a_pv_that_is_answered_already_is_not_served_twice(lab):
    lab.site()
    lab.box()
    first = lab.ioc()
    elsewhere = lab.directory / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "site.toml").write_text((lab.directory / "site.toml").read_text())
    second = lab.process("iocs", "run", elsewhere / "site.toml")
    assert second.popen.wait(30) == 2
    second.line(f"{lab.prefix}T:ONLINE is already served by 127.0.0.1:")
    second.line("stop that IOC")
    assert "Traceback" not in second.log()
    assert first.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_in_order_while_clients_listen(lab, number):
    lab.site()
    box = lab.box()
    ioc = lab.ioc()
    lab.wait("T:ONLINE", 1)
    lab.libca.monitor(f"{lab.prefix}T:POLLS")
    assert ioc.stop(number) == 0
    box.line("closed")
    assert ioc.err[-1].endswith("stopped") and "Traceback" not in ioc.log()


def test_two_iocs_on_one_host_have_ports_of_their_own(lab):
    lab.site(names=("T",))
    first = lab.ioc()
    other = lab.directory / "other"
    other.mkdir()
    text = (lab.directory / "site.toml").read_text().replace('"T"', '"U"')
    (other / "site.toml").write_text(text)
    second = lab.process("iocs", "run", other / "site.toml")
    line = second.line("serving")
    assert f"port {lab.environment['EPICS_CA_SERVER_PORT']}" in first.line("serving")
    assert f"port {lab.environment['EPICS_CA_SERVER_PORT']}," not in line
    assert first.stop() == 0 and second.stop() == 0


def test_an_address_that_is_not_ours_is_told(lab):
    program = (
        "import asyncio\nfrom iocs.ca.server import Server\nasync def run(): await Server(['192.0.2.1']).start()\n"
    )
    program += "asyncio.run(run())"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env=lab.environment, timeout=60)
    assert done.stderr.splitlines()[-1].startswith("OSError: cannot serve on 192.0.2.1: ")
    assert "never retrieved" not in done.stderr
