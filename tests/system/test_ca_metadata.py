"""What clients ask besides values: fields that change, metadata that change while a PV is served."""

import asyncio
import struct

import pytest

from iocs.signals import Alarms, Bad, Direction, Kind, Level, Severity, Signal, Status, readback, setpoint
from tests.house import house, until
from tests.raw_ca import DBE_LOG, DBE_PROPERTY, DBE_VALUE, Message, Type

X = readback("X", "V", alarms=Alarms(high=10.0))
VSET = setpoint("VSET", "V", limits=(0, 3000), precision=1, doc="Voltage target")
TRACE = readback("TRACE", count=100)
MODE = setpoint("MODE", type=("Off", "On", "Trip"))
TEXT = readback("TEXT", type=Kind.TEXT)
SECOND = 10**9


def text(message: Message) -> str:
    return message.body.split(b"\0")[0].decode()


def whole(message: Message) -> int:
    """The value of a TIME_LONG."""
    return struct.unpack_from(">i", message.body, 12)[0]


def test_fields_that_change_send_events_when_they_do(monkeypatch):
    async def story():
        async with house(monkeypatch, [X, TRACE, TEXT]) as it, it.raw() as raw:
            names = ("X.VAL", "X.TIME", "X.STAT", "X.SEVR", "X.UDF", "TRACE.NORD", "TEXT.NORD", "X.EGU")
            types = dict(zip(names, (Type.TIME_DOUBLE, 0, 0, 17, 19, 19, 19, 0), strict=True))
            for place, name in enumerate(names):
                raw.subscribe(await raw.create(it.prefix + name, place), place, dtype=types[name])
            assert len(await raw.events()) == len(names)

            async def changed(time_ns: int, **values) -> dict[str, Message]:
                it.post(time_ns, **values)
                events = await raw.events()
                told = {names[event.second]: event for event in events}
                assert len(told) == len(events), "a field told the same change twice"
                return told

            told = await changed(1_700_000_000 * SECOND, X=1.0)
            assert set(told) == {"X.VAL", "X.TIME", "X.STAT", "X.SEVR", "X.UDF"}
            assert text(told["X.TIME"]) == "2023-11-14T22:13:20.000000Z" and text(told["X.STAT"]) == "NO_ALARM"
            assert whole(told["X.UDF"]) == 0
            assert set(await changed(1_700_000_001 * SECOND, X=1.0)) == {"X.TIME"}
            assert set(await changed(1_700_000_001 * SECOND, X=2.0)) == {"X.VAL"}
            told = await changed(1_700_000_001 * SECOND, X=12.0)
            assert set(told) == {"X.VAL", "X.STAT", "X.SEVR"} and text(told["X.STAT"]) == "HIGH"
            assert struct.unpack_from(">H", told["X.SEVR"].body, 14)[0] == Severity.MINOR
            it.server.invalidate([it.prefix + "X"], Status.COMM)
            assert {names[event.second] for event in await raw.events()} == {"X.VAL", "X.STAT", "X.SEVR"}
            for values, expected in (([1.0], 1), ([2.0, 3.0], 2)):
                told = await changed(1_700_000_002 * SECOND, TRACE=values)
                assert set(told) == {"TRACE.NORD"} and whole(told["TRACE.NORD"]) == expected
            assert await changed(1_700_000_003 * SECOND, TRACE=[4.0, 5.0]) == {}
            assert whole((await changed(1_700_000_003 * SECOND, TEXT="abc"))["TEXT.NORD"]) == 3

    asyncio.run(story())


def test_fields_have_honest_values_or_are_not_there(monkeypatch):
    async def story():
        async with house(monkeypatch, [X, MODE, TRACE]) as it, it.raw() as raw:
            it.post(X=1.0, MODE=1, TRACE=[1.0])

            async def read(name: str) -> str:
                return text(await raw.get(await raw.create(it.prefix + name), 0))

            assert [await read(name) for name in ("X.SCAN", "MODE.SCAN")] == ["I/O Intr", "Passive"]
            assert [await read(f"MODE.{place}VL") for place in ("ZR", "ON", "TW", "TH", "FF")] == list("01200")
            assert await read("TRACE.FTVL") == "DOUBLE" and await read("MODE.FTVL") == "0"  # two fields of one name
            for name in ("X.DTYP", "X.FLNK", "X.PROC", "X.ASG", "X.ZRVL", "TRACE.TWVL", "MODE.HIHI", "X.DRVH"):
                assert await raw.create(it.prefix + name) is None, name

    asyncio.run(story())


def test_metadata_change_in_place(monkeypatch):
    async def story():
        async with house(monkeypatch, [VSET, MODE]) as it, it.raw() as raw:
            it.post(VSET=100.0, MODE=1)
            vset, mode = await raw.create(it.prefix + "VSET", 1), await raw.create(it.prefix + "MODE", 2)
            raw.subscribe(vset, 1, DBE_PROPERTY, Type.CTRL_DOUBLE)
            raw.subscribe(vset, 2, DBE_VALUE | DBE_LOG)
            raw.subscribe(mode, 3, DBE_PROPERTY, 31)  # CTRL_ENUM
            for place, field in enumerate(("DRVH", "HIHI", "EGU", "DESC"), 4):
                name = f"{it.prefix}VSET.{field}"
                raw.subscribe(await raw.create(name, place), place, dtype=Type.TIME_DOUBLE if place < 6 else 0)
            await raw.events()
            narrow = setpoint(
                "VSET",
                "kV",
                limits=(0, 2500),
                precision=3,
                doc="Narrower",
                alarms=Alarms(hihi=2400),
                mdel=5.0,
                adel=5.0,
            )
            it.server.describe(it.prefix, [narrow, setpoint("MODE", type=("Aus", "Ein", "Trip", "Neu"))])
            events = {event.second: event for event in await raw.events()}
            assert set(events) == {1, 3, 4, 5, 6, 7}  # nobody who asked for values alone
            status, severity, precision, unit, *limits, value = struct.unpack(">HHhxx8s8dd", events[1].body)
            assert (status, severity, precision, unit.rstrip(b"\0"), value) == (0, 0, 3, b"kV", 100.0)
            assert limits[:3] == [2500, 0, 2400] and limits[6:] == [2500, 0]
            assert events[3].body[6:].startswith(b"Aus\0") and struct.unpack_from(">H", events[3].body, 4) == (4,)
            assert (events[4].double, events[5].double) == (2500, 2400)
            assert (text(events[6]), text(events[7])) == ("kV", "Narrower")
            # it stays the same PV: the channel lives, what is put goes on, alarms and deadbands are the new ones
            it.post(VSET=104.0)
            it.post(VSET=2450.0)
            (event,) = (event for event in await raw.events() if event.second == 2)
            assert event.double == 2450 and struct.unpack_from(">HH", event.body) == (Status.HIHI, Severity.MAJOR)
            assert struct.unpack(">d", (await raw.get(vset)).body) == (2450,)

    asyncio.run(story())


@pytest.mark.parametrize(
    "other",
    [
        Signal("VSET", Direction.SETPOINT, Kind.INT),
        Signal("VSET", Direction.READBACK),
        Signal("VSET", Direction.SETPOINT, count=2),
        Signal("VSET", Direction.SETPOINT, level=Level.EXPERT),
    ],
)
def test_another_type_is_another_pv(monkeypatch, other):
    async def story():
        async with house(monkeypatch, [VSET]) as it:
            with pytest.raises(ValueError, match="withdraw it and serve it anew"):
                it.server.describe(it.prefix, [other])
            with pytest.raises(KeyError):
                it.server.describe(it.prefix, [readback("NOTHING")])
            assert it.server.names == [it.prefix + "VSET"]

    asyncio.run(story())


LIBCA_PROPERTY = """
import json, sys, epics, time
pv = epics.PV(sys.argv[1], form="ctrl", auto_monitor=epics.dbr.DBE_PROPERTY | epics.dbr.DBE_VALUE)
pv.add_callback(lambda upper_ctrl_limit=None, units=None, **kw:
    print(json.dumps([upper_ctrl_limit, units]), flush=True) or seen.append(upper_ctrl_limit))
seen = []
end = time.time() + 20
while time.time() < end and 2500 not in seen: epics.ca.pend_event(0.01)
"""


def test_libca_sees_new_limits_at_once(monkeypatch):
    async def story():
        async with house(monkeypatch, [VSET]) as it:
            it.post(VSET=100.0)
            watching = asyncio.create_task(it.python(LIBCA_PROPERTY, it.prefix + "VSET"))
            await until(lambda: it.server.counts.subscriptions, "subscription")
            it.server.describe(it.prefix, [setpoint("VSET", "kV", limits=(0, 2500))])
            *seen, _ = await watching
            assert seen[-1] == [2500, "kV"]

    asyncio.run(story())


def test_what_is_in_doubt_stays_so_when_it_is_described_anew(monkeypatch):
    async def story():
        async with house(monkeypatch, [X]) as it:
            it.post(X=Bad("noise", value=3.0))
            it.server.describe(it.prefix, [readback("X", "mV")])
            reading = it.server.reading(it.prefix + "X")
            assert (reading.value, reading.severity) == (3.0, Severity.INVALID)

    asyncio.run(story())
