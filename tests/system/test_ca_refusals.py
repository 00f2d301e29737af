"""Every put that is refused is in LASTREJECT, also where the device is never asked; a flood of them stays cheap."""

import asyncio
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from iocs.ca.access import Access, Rule, Standing
from iocs.ca.server import Limits, Server
from iocs.config import DeviceSettings
from iocs.device import Device, Place
from iocs.signals import readback, setpoint
from iocs.state import open_state
from tests.house import Beside, House
from tests.processes import ca_environment, free_port, random_prefix
from tests.raw_ca import NORMAL, NOWTACCESS, PUTFAIL, Command, Type
from tests.raw_ca import put as put_of


class Supply(Device):
    """A box whose largest voltage can be turned at its panel, and that answers puts when it likes."""

    def __init__(self, settings, place):
        super().__init__(settings, place)
        self.answers = asyncio.Event()
        self.answers.set()

    @staticmethod
    def signals(settings, shape):
        return [
            setpoint("VSET", "V", limits=(0, (shape or {}).get("maxv", 3000)), doc="Voltage target"),
            setpoint("WAVE", count=10, doc="Shape"),
            readback("VMON", "V", doc="Voltage"),
        ]

    async def put(self, signal, value, by):
        await self.answers.wait()
        return value


class Site(House):
    """A house with one device."""

    device: Supply

    @property
    def rejected(self) -> str:
        return self.server.reading(f"{self.prefix}LASTREJECT").value


@asynccontextmanager
async def site(monkeypatch: pytest.MonkeyPatch, directory: Path, **options) -> AsyncIterator[Site]:
    port, prefix = free_port(), random_prefix()
    for name, value in ca_environment(port).items():
        if name.startswith("EPICS_"):
            monkeypatch.setenv(name, value)
    server = Server(**options)
    with open_state(directory, "S") as state:
        it = Site(server, f"{prefix}S:", port, {})
        it.device = Supply(DeviceSettings(name="S", type="supply"), Place(prefix, server, state, False, lambda: None))
        it.device.post(time.time_ns(), {"VSET": 10.0, "WAVE": [1.0], "VMON": 1.0})
        await server.start()
        try:
            yield it
        finally:
            it.device.answers.set()
            await it.device.end_puts()
            await server.stop()


def double(*values: float) -> bytes:
    return struct.pack(f">{len(values)}d", *values)


REFUSALS = {  # name, body, DBR type, count: what LASTREJECT says
    "beyond the limits": ("VSET", double(3001), Type.DOUBLE, 1, "VSET = 3001.0: 3001 V is beyond the limits"),
    "NaN": ("VSET", double(float("nan")), Type.DOUBLE, 1, "VSET = nan: nan is not a value that can be set"),
    "text": ("VSET", b"much\0", Type.STRING, 1, "VSET = much: 'much' is not a number"),
    "too many": ("VSET", double(1, 2, 3), Type.DOUBLE, 3, "VSET = [1.0, 2.0, 3.0]: one value is needed"),
    "far too many": ("WAVE", bytes(80_000), Type.DOUBLE, 10_000, "WAVE: 10000 elements are given, at most 10 fit"),
    "none": ("VSET", b"", Type.DOUBLE, 0, "VSET = []: 0 elements are given, at most 1 fit"),
    "no value": ("VSET", double(1), 34, 1, "VSET: DBR type 34 cannot be put"),
    "a field": ("VSET.HIHI", double(5), Type.DOUBLE, 1, "VSET.HIHI = 5.0: "),
    "a field's words": ("VSET.DESC", b"x\0", Type.STRING, 1, "set it in the site file"),
    "a readback": ("VMON", double(5), Type.DOUBLE, 1, "VMON = 5.0: "),
}


@pytest.mark.parametrize("why", REFUSALS)
def test_each_refusal_is_in_lastreject_and_told_to_the_client(monkeypatch, tmp_path, why):
    async def story():
        name, body, dtype, count, words = REFUSALS[why]
        async with site(monkeypatch, tmp_path) as it, it.raw() as raw:
            sid = await raw.create(it.prefix + name)
            status, reason = await raw.put(sid, body, dtype, count)
            assert status in (PUTFAIL, NOWTACCESS) and reason
            assert words in it.rejected and reason in it.rejected
            assert it.server.reading(f"{it.prefix}VSET").value == 10.0

    asyncio.run(story())


def test_who_has_no_right_is_in_lastreject(monkeypatch, tmp_path):
    async def story():
        access = Access()
        access.replace([Rule("here", IPv4Network("127.0.0.0/8"), Standing.READ)], {})
        async with site(monkeypatch, tmp_path, access=access) as it, it.raw() as raw:
            status, _ = await raw.put(await raw.create(it.prefix + "VSET"), double(20))
            assert status == NOWTACCESS
            assert it.rejected == f"VSET = 20.0: write access to {it.prefix}VSET denied"

    asyncio.run(story())


def test_too_many_puts_that_wait_are_in_lastreject(monkeypatch, tmp_path):
    async def story():
        async with site(monkeypatch, tmp_path, limits=Limits(puts=2)) as it, it.raw() as raw:
            it.device.answers.clear()
            sid = await raw.create(it.prefix + "VSET")
            for value in (1.0, 2.0):
                raw.send(put_of(sid, value, ioid=int(value)))
            status, _ = await raw.put(sid, double(3.0))
            assert status == PUTFAIL and it.rejected == "VSET = 3.0: 2 puts of this client wait already"
            it.device.answers.set()
            assert [await raw.put_status(ioid) for ioid in (1, 2)] == [NORMAL, NORMAL]
            assert it.server.reading(f"{it.prefix}VSET").value == 2.0

    asyncio.run(story())


def test_a_flood_of_refusals_is_cheap(monkeypatch, tmp_path, caplog):
    async def story():
        async with site(monkeypatch, tmp_path) as it, it.raw() as bad, it.raw() as good:
            told = []
            it.server.watch(f"{it.prefix}LASTREJECT", told.append)
            sid, other = await bad.create(it.prefix + "VMON"), await good.create(it.prefix + "VMON")
            await good.synchronise()
            count = 20_000
            puts = b"".join(put_of(sid, n, ioid=n, command=Command.WRITE) for n in range(count))
            flooding = asyncio.gather(asyncio.to_thread(bad.client.socket.sendall, puts), _answers(bad, count))
            slowest = 0.0
            while it.server.counts.refused_puts < count:
                began = time.monotonic()
                await good.get(other)
                slowest = max(slowest, time.monotonic() - began)
            await flooding
            assert it.rejected.startswith(f"VMON = {count - 1}.0: ")
            assert len(told) < count / 10  # of those of one turn only the last
            assert slowest < 2.0
            assert len([record for record in caplog.records if "refused" in record.message]) <= 40

    async def _answers(bad: Beside, count: int) -> None:
        await asyncio.to_thread(lambda: [bad.client.until(Command.ERROR) for _ in range(count)])

    asyncio.run(story())


def test_limits_that_the_box_tells_anew_are_told_without_a_break(monkeypatch, tmp_path):
    async def story():
        async with site(monkeypatch, tmp_path) as it, it.raw() as raw:
            sid = await raw.create(it.prefix + "VSET", 1)
            raw.subscribe(await raw.create(it.prefix + "VSET.DRVH", 2), 2)
            raw.subscribe(sid, 1, 8)
            await raw.events()
            before = it.device.catalogue
            it.device.reshape({"maxv": 2500})
            messages = await raw.synchronise()
            assert [(m.command, m.second) for m in messages] == [(1, 1), (1, 2)]  # an event each, no disconnect
            status, reason = await raw.put(sid, double(2600))
            assert status == PUTFAIL and "0 .. 2500 V" in reason
            assert await raw.put(sid, double(2400)) == (NORMAL, "")
            after = it.device.catalogue
            assert after.version == before.version + 1
            assert next(s for s in after.signals if s.name == "VSET").limits == (0, 2500)

    asyncio.run(story())
