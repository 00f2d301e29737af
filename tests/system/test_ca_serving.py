"""The Channel Access server as its clients see it: libca (in a process of its own), caproto's client, and raw bytes."""

import asyncio
import json
import math
import socket
import struct
import time

import numpy as np
import pytest
from caproto.asyncio.client import Context as CaprotoContext

from iocs.ca.server import Limits
from iocs.signals import (
    Alarms,
    Bad,
    Kind,
    Severity,
    Status,
    command,
    readback,
    setpoint,
)
from tests.house import house, until
from tests.raw_ca import (
    DBE_ALARM,
    DBE_LOG,
    DBE_PROPERTY,
    DBE_VALUE,
    NORDACCESS,
    NORMAL,
    NOWTACCESS,
    PUTFAIL,
    TOLARGE,
    Type,
    get,
)

HELD: list = []  # caproto's client keeps callbacks by weak reference, and stumbles when one goes
VMON = readback(
    "VMON",
    "V",
    precision=1,
    limits=(0, 3000),
    alarms=Alarms(-10, -5, 2000, 3000, 50),
    doc="Measured output voltage, the magnitude alone, of channel 0",
)
VSET = setpoint("VSET", "V", precision=1, limits=(0, 3000), doc="Voltage target")
MODE = setpoint("MODE", type=("Off", "On", "Trip"), state_severities=(Severity(0), Severity(0), Severity(2)))
POWER = readback("POWER", type=("Down", "Up"))
COUNT = readback("COUNT", type=int)
ERROR = setpoint("ERROR", type=str, doc="What is wrong")
PVS = readback("PVS", type=Kind.TEXT)
TRACE = setpoint("TRACE", "mV", count=1000)
SIGNALS = (VMON, VSET, MODE, POWER, COUNT, ERROR, PVS, TRACE, command("CLEAR"))

LIBCA_READ = """
import json, sys, epics
for name in sys.argv[1:]:
    pv = epics.PV(name)
    connected = pv.wait_for_connection(timeout=5)
    value = pv.get(timeout=5) if connected else None
    value = value.tolist() if hasattr(value, "tolist") else value
    print(json.dumps([connected and pv.type, value, pv.char_value if connected else None, pv.count]))
"""


def test_fields_as_clients_ask_for_them(monkeypatch):
    async def story():
        async with house(monkeypatch, SIGNALS) as it:
            it.post(VMON=1.5, VSET=20.0, MODE=2, POWER=1, COUNT=3, ERROR="none " * 20, PVS="{}", TRACE=[1.0, 2.0])
            expected = {
                "VMON.EGU": "V",
                "VMON.PREC": 1,
                "VMON.DESC": VMON.doc[:39].rstrip(),  # as pyepics gives strings
                "VMON.HOPR": 3000.0,
                "VMON.LOPR": 0.0,
                "VMON.HIHI": 3000.0,
                "VMON.HIGH": 2000.0,
                "VMON.LOW": -5.0,
                "VMON.LOLO": -10.0,
                "VMON.HHSV": 2,
                "VMON.HSV": 1,
                "VMON.HYST": 50.0,
                "VMON.MDEL": 0.0,
                "VMON.ADEL": 0.0,
                "VMON.RTYP": "ai",
                "VMON.NAME": it.prefix + "VMON",
                "VMON.SEVR": 0,
                "VMON.STAT": "NO_ALARM",
                "VMON.VAL": 1.5,
                "VSET.DRVH": 3000.0,
                "VSET.DRVL": 0.0,
                "VSET.RTYP": "ao",
                "VSET.HHSV": 0,
                "MODE.ZRST": "Off",
                "MODE.TWST": "Trip",
                "MODE.TWSV": 2,
                "MODE.FFST": "",
                "MODE.SEVR": 2,
                "MODE.STAT": "STATE",
                "MODE.RTYP": "mbbo",
                "POWER.ONAM": "Up",
                "POWER.RTYP": "bi",
                "COUNT.RTYP": "longin",
                "TRACE.NELM": 1000,
                "TRACE.NORD": 2,
                "TRACE.FTVL": "DOUBLE",
                "TRACE.RTYP": "waveform",
            }
            absent = (
                "VMON.DRVH",
                "VMON.ZNAM",
                "MODE.EGU",
                "MODE.ONAM",
                "VMON.NONE",
                "VMON.{",
                "NONE",
                "VMON.EGU.EGU",
                "VMON.HIHI$",
                "VMON.SEVR$",
                "VMON$",
            )
            names = [it.prefix + name for name in (*expected, "VSET.HIHI")]
            *read, _ = await it.python(LIBCA_READ, *names)
            values = dict(zip((*expected, "VSET.HIHI"), (entry[1] for entry in read), strict=True))
            assert values.pop("VSET.HIHI") != values  # NaN: not set
            assert values == expected
            *texts, _ = await it.python(
                LIBCA_READ, *(it.prefix + name for name in ("VMON.DESC$", "ERROR.VAL$", "VMON.NAME$", "ERROR"))
            )
            assert [text[2] for text in texts] == [
                VMON.doc,
                ("none " * 20).rstrip(),
                it.prefix + "VMON",
                ("none " * 20)[:39],
            ]
            assert texts[0][0] == "time_char"
            async with it.raw() as raw:
                for name in absent:
                    assert await raw.create(it.prefix + name) is None, name
                assert await raw.create("x" * 500) is None
                assert await raw.create(it.prefix + "VMON." + "[" * 400) is None

    asyncio.run(story())


def test_fields_send_events_when_they_change(monkeypatch):
    async def story():
        async with house(monkeypatch, SIGNALS) as it, it.raw() as raw:
            it.post(VMON=1.0)
            raw.subscribe(await raw.create(it.prefix + "VMON.SEVR"), 1, dtype=3)
            raw.subscribe(await raw.create(it.prefix + "VMON.STAT"), 2, dtype=0)
            await raw.events()
            it.post(VMON=2500.0)
            it.post(VMON=2501.0)
            events = await raw.events()
            assert [(e.second, e.body.rstrip(b"\0")) for e in events] == [(1, b"\0\1"), (2, b"HIGH")]

    asyncio.run(story())


def test_a_limit_that_is_not_set_is_known_and_sends_no_events(monkeypatch):
    async def story():
        async with house(monkeypatch, [VSET]) as it, it.raw() as raw, it.raw() as other:
            it.post(VSET=1.0)
            name = it.prefix + "VSET.HIHI"
            raw.subscribe(await raw.create(name), 1)
            (first,) = await raw.events()
            assert math.isnan(first.double) and first.severity == 0
            answer = await other.get(await other.create(name), Type.TIME_DOUBLE)
            assert math.isnan(answer.double) and answer.severity == 0
            assert await raw.events() == []

    asyncio.run(story())


def test_the_first_event_of_a_field_is_of_now(monkeypatch):
    async def story():
        async with house(monkeypatch, [TRACE]) as it, it.raw() as raw:
            it.post(TRACE=[1.0, 2.0])
            sid = await raw.create(it.prefix + "TRACE.NORD")
            assert (await raw.get(sid, Type.TIME_DOUBLE)).double == 2
            it.post(TRACE=[1.0, 2.0, 3.0])
            raw.subscribe(sid, 1)
            assert [event.double for event in await raw.events()] == [3]

    asyncio.run(story())


def test_event_masks_with_deadbands(monkeypatch):
    async def story():
        signal = readback("X", mdel=1.0, adel=3.0, alarms=Alarms(high=100.0))
        async with house(monkeypatch, [signal]) as it, it.raw() as raw:
            it.post(X=0.0)
            sid = await raw.create(it.prefix + "X")
            for mask in (DBE_VALUE, DBE_LOG, DBE_ALARM, DBE_PROPERTY):
                raw.subscribe(sid, mask, mask)
            assert len(await raw.events()) == 4  # the first events
            for value in (0.5, 1.0, 1.5, 2.0, 3.5, 101.0, 101.5, float("nan"), float("nan")):
                it.post(X=value)
            events = [(event.second, event.double) for event in await raw.events()]
            assert [value for mask, value in events if mask == DBE_VALUE][:-1] == [1.5, 3.5, 101.0]
            assert [value for mask, value in events if mask == DBE_LOG][:-1] == [3.5, 101.0]
            assert [value for mask, value in events if mask == DBE_ALARM][:-1] == [101.0]
            assert [mask for mask, value in events if value != value] == [DBE_VALUE, DBE_LOG, DBE_ALARM]  # NaN once

    asyncio.run(story())


def test_limit_alarms_with_hysteresis_and_udf_until_the_first_value(monkeypatch):
    async def story():
        async with house(monkeypatch, [VMON]) as it, it.raw() as raw:
            sid = await raw.create(it.prefix + "VMON")
            raw.subscribe(sid, 1)
            (first,) = await raw.events()
            assert struct.unpack_from(">HHII", first.body) == (Status.UDF, Severity.INVALID, 0, 0)
            for value in (100.0, 2000.0, 1960.0, 1949.0, 3100.0, 2960.0, 2940.0, 1955.0, 100.0):
                it.post(VMON=value)
            assert [event.severity for event in await raw.events()] == [0, 1, 1, 0, 2, 2, 1, 1, 0]
            it.server.invalidate([it.prefix + "VMON"], Status.COMM)
            it.server.invalidate([it.prefix + "VMON"], Status.COMM)
            (lost,) = await raw.events()
            assert struct.unpack_from(">HH", lost.body) == (Status.COMM, Severity.INVALID) and lost.double == 100.0
            it.post(VMON=Bad("stale", value=5.0, severity=Severity.MINOR))
            (doubtful,) = await raw.events()
            assert doubtful.severity == Severity.MINOR and doubtful.double == 5.0

    asyncio.run(story())


def test_filters_work_or_are_refused(monkeypatch):
    async def story():
        async with house(monkeypatch, [VSET, TRACE]) as it, it.raw() as raw:
            stamp = 1_700_000_000 * 10**9
            it.post(stamp, VSET=10.0, TRACE=np.arange(10.0))
            for name, expected in (
                ("TRACE.[2:4]", [2, 3, 4]),
                ("TRACE.VAL[8:]", [8, 9]),
                ("TRACE.[0:4:9]", [0, 4, 8]),
                ('TRACE.{"arr":{"s":1,"i":3,"e":7}}', [1, 4, 7]),
                ("TRACE.[-2:-1]", [8, 9]),
            ):
                message = await raw.get(await raw.create(it.prefix + name))
                assert list(np.frombuffer(message.body, ">f8")[: message.count]) == expected, name
            created = await it.python(LIBCA_READ, it.prefix + "TRACE.[2:4]", it.prefix + "TRACE.[3]")
            assert [entry[1] for entry in created[:-1]] == [[2.0, 3.0, 4.0], 3.0]
            raw.subscribe(await raw.create(it.prefix + 'VSET.{"dbnd":{"abs":1.5}}'), 1)
            raw.subscribe(await raw.create(it.prefix + 'VSET.{"dbnd":{"m":"rel","d":20}}'), 2)
            raw.subscribe(await raw.create(it.prefix + 'VSET.{"ts":{}}'), 3)
            raw.subscribe(await raw.create(it.prefix + 'VSET.{"dbnd":{"d":1.5}}'), 4)  # abs, if nothing is said
            first = await raw.events()
            assert len(first) == 4
            for value in (11.0, 12.0, 13.0, 30.0):
                it.post(stamp, VSET=value)
            events = await raw.events()
            for absolute in (1, 4):
                assert [event.double for event in events if event.second == absolute] == [12.0, 30.0]
            assert [event.double for event in events if event.second == 2] == [13.0, 30.0]
            seconds = [struct.unpack_from(">I", event.body, 4)[0] + 631152000 for event in events if event.second == 3]
            assert len(seconds) == 4 and all(abs(each - time.time()) < 5 for each in seconds)
            it.post(stamp, VSET=Bad("in doubt", 30.5, Severity.MINOR, Status.STATE))  # an alarm passes every deadband
            assert sorted(event.second for event in await raw.events()) == [1, 2, 3, 4]
            for name in (
                '{"sync":{"m":"while","s":"red"}}',
                '{"before":"red"}',
                '{"dec":{"n":3}}',
                '{"ts":{"num":"dbl"}}',
                '{"arr":5}',
                '{"dbnd":{"m":"abs"}}',
                '{"dbnd":{"m":"some","d":1}}',
                '{"dbnd":{"abs":1},"dbnd":{"abs":2}}',
                '{"sync":null}',
                '{"arr":null}',
                "[0:0:4]",
                "[a]",
                '{"arr":{"s":1}',
                "$",
            ):
                assert await raw.create(it.prefix + "VSET." + name) is None, name

    asyncio.run(story())


def test_puts_and_their_refusals(monkeypatch):
    async def story():
        async with house(monkeypatch, SIGNALS) as it, it.raw() as raw:
            it.post(VSET=1.0, MODE=0, ERROR="", TRACE=[0.0], CLEAR=0)
            vset, mode, error, trace = [await raw.create(it.prefix + n) for n in ("VSET", "MODE", "ERROR", "TRACE")]
            double = struct.Struct(">d")
            assert await raw.put(vset, double.pack(2.5)) == (NORMAL, "")
            assert await raw.put(vset, b"17.5\0", Type.STRING) == (NORMAL, "")
            assert await raw.put(mode, b"Trip\0", Type.STRING) == (NORMAL, "")
            assert await raw.put(mode, b"1\0", Type.STRING) == (NORMAL, "")
            assert await raw.put(mode, double.pack(0)) == (NORMAL, "")
            assert await raw.put(error, b"words\0", Type.STRING) == (NORMAL, "")
            numbers = np.arange(1000.0)
            assert await raw.put(trace, numbers.astype(">f8").tobytes(), count=1000) == (NORMAL, "")
            names = ["VSET", "VSET", "MODE", "MODE", "MODE", "ERROR", "TRACE"]
            assert [name for name, _ in it.puts] == names
            assert [value for _, value in it.puts[:-1]] == [2.5, 17.5, 2, 1, 0, "words"]
            assert np.array_equal(it.puts[-1][1], numbers)
            for sid, body, dtype, count, words in (
                (vset, double.pack(3001), Type.DOUBLE, 1, "3001 V is beyond the limits 0 .. 3000 V"),
                (vset, double.pack(float("nan")), Type.DOUBLE, 1, "nan"),
                (vset, double.pack(float("inf")), Type.DOUBLE, 1, "inf"),
                (vset, b"abc\0", Type.STRING, 1, "'abc' is not a number"),
                (vset, b"\0", Type.STRING, 1, "is not a number"),
                (vset, double.pack(1) * 3, Type.DOUBLE, 3, "one value is needed"),
                (vset, b"", Type.DOUBLE, 0, "0 elements"),
                (vset, b"", Type.DOUBLE, 1, "0 bytes"),
                (vset, double.pack(1), 34, 1, "cannot be put"),
                (mode, double.pack(3), Type.DOUBLE, 1, "0 = Off, 1 = On, 2 = Trip"),
                (mode, double.pack(float("inf")), Type.DOUBLE, 1, "none of the states"),
                (mode, b"Of\0", Type.STRING, 1, "0 = Off"),
                (trace, np.zeros(1001, ">f8").tobytes(), Type.DOUBLE, 1001, "at most 1000"),
                (trace, np.zeros(100_000, ">f8").tobytes(), Type.DOUBLE, 100_000, "at most 1000"),
                (trace, double.pack(float("nan")), Type.DOUBLE, 1, "can be set"),
                (trace, np.full(999, np.nan).astype(">f8").tobytes(), Type.DOUBLE, 999, "can be set"),
            ):
                status, reason = await raw.put(sid, body, dtype, count)
                assert status == PUTFAIL and words in reason, (status, reason, words)
            assert len(it.puts) == 7
            assert it.server.reading(it.prefix + "VSET").value == 17.5
            assert it.server.reading(it.prefix + "VSET").severity is Severity.NO_ALARM
            egu = await raw.create(it.prefix + "VSET.HIHI")
            status, reason = await raw.put(egu, double.pack(1))
            assert status == PUTFAIL and "set it in the site file" in reason
            readback_sid = await raw.create(it.prefix + "VMON")
            assert (await raw.put(readback_sid, double.pack(1)))[0] == NOWTACCESS
            counts = it.server.counts
            assert counts.puts == 25 and counts.refused_puts == 18

    asyncio.run(story())


LIBCA_PUT = """  # libca alone: pyepics would take its messages away
import ctypes, sys, epics
ca = ctypes.CDLL(epics.ca.find_libca())
channel = ctypes.c_void_p()
ca.ca_context_create(0)
ca.ca_create_channel(sys.argv[1].encode(), None, None, 0, ctypes.byref(channel))
ca.ca_pend_io.argtypes = ca.ca_pend_event.argtypes = [ctypes.c_double]
assert ca.ca_pend_io(5.0) == 1
value = ctypes.c_double(99999.0)
callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda arguments: None)
if sys.argv[2] == "wait":
    ca.ca_array_put_callback(6, ctypes.c_ulong(1), channel, ctypes.byref(value), callback, None)
else:
    ca.ca_array_put(6, ctypes.c_ulong(1), channel, ctypes.byref(value))
ca.ca_pend_event(0.3)
"""


@pytest.mark.parametrize("how", ["wait", "without"])
def test_libca_prints_why_a_put_was_refused(monkeypatch, how):
    async def story():
        async with house(monkeypatch, [VSET]) as it:
            it.post(VSET=1.0)
            said = (await it.python(LIBCA_PUT, it.prefix + "VSET", how))[-1]
            assert "beyond the limits 0 .. 3000 V" in said

    asyncio.run(story())


def test_caproto_client_gets_events_puts_and_refusals(monkeypatch):
    async def story():
        async with house(monkeypatch, [VSET]) as it:
            it.post(VSET=1.0)
            context = CaprotoContext()
            try:
                (pv,) = await context.get_pvs(it.prefix + "VSET")
                await pv.wait_for_connection(timeout=10)
                seen = []

                async def on_event(subscription, response):
                    seen.append(response.data[0])

                HELD.append(on_event)
                subscription = pv.subscribe(data_type="time")
                subscription.add_callback(on_event)
                await until(lambda: seen == [1.0], "first event")
                assert (await pv.write([5.0], timeout=10)).status.success
                assert not (await pv.write([5000.0], timeout=10)).status.success
                assert (await pv.read(timeout=10)).data[0] == 5.0
                await until(lambda: seen == [1.0, 5.0], "second event")
            finally:
                await context.disconnect()

    asyncio.run(story())


def test_puts_of_one_pv_are_serial_and_hold_up_nobody(monkeypatch):
    async def story():
        async with house(monkeypatch, [VSET, VMON]) as it, it.raw() as one, it.raw() as other:
            it.post(VSET=0.0, VMON=1.0)
            it.delay = 0.2
            sid = await one.create(it.prefix + "VSET")
            for value in (1.0, 4.0, 2.0):
                one.say(19, struct.pack(">d", value), Type.DOUBLE, 1, sid, int(value))
            reading = await other.create(it.prefix + "VMON")
            began, gets = time.monotonic(), 0
            while len(it.puts) < 3:
                await other.get(reading)
                gets += 1
                assert time.monotonic() - began < 10
            assert [value for _, value in it.puts] == [1.0, 4.0, 2.0]
            assert gets > 100
            assert [(await one.until(19)).second for _ in range(3)] == [1, 4, 2]
            # caput puts without waiting and reads at once
            it.delay = 0.005
            one.say(4, struct.pack(">d", 7.0), Type.DOUBLE, 1, sid, 0)
            assert struct.unpack(">d", (await one.get(sid)).body)[0] == 7.0

    asyncio.run(story())


def test_gets_without_end_beside_a_put_that_hangs_hold_nobody_up(monkeypatch):
    gets = 50_000

    async def story():
        async with house(monkeypatch, [VSET]) as it, it.raw() as raw:
            it.post(VSET=0.0)
            sid = await raw.create(it.prefix + "VSET")
            it.delay = 3600.0
            raw.say(19, struct.pack(">d", 1.0), Type.DOUBLE, 1, sid, 7)
            await raw.get(sid)
            tasks = len(asyncio.all_tasks())
            sending = asyncio.create_task(asyncio.to_thread(raw.client.send, get(sid, 8) * gets + get(sid, 9)))
            most, answered = 0, asyncio.create_task(raw.until(15, where=lambda m: m.second == 9))
            while not answered.done():
                most = max(most, len(asyncio.all_tasks()) - tasks)
                await asyncio.sleep(0)
            await asyncio.gather(sending, answered)
            assert most < 100

    asyncio.run(story())


def test_a_burst_of_puts_waits_and_loses_none(monkeypatch):
    async def story():
        async with house(monkeypatch, [VSET]) as it, it.raw() as raw:
            sid = await raw.create(it.prefix + "VSET")
            it.delay = 0.001
            for place in range(1000):
                raw.say(4, struct.pack(">d", place), Type.DOUBLE, 1, sid, place)
            await until(lambda: it.server.counts.puts == 1000, "end of the puts")
            assert it.server.counts.refused_puts == 0
            assert it.puts == [("VSET", place) for place in range(1000)]

    asyncio.run(story())


def test_put_log_and_access(monkeypatch):
    class Log:
        def __init__(self):
            self.notes = []

        def note(self, time_ns, peer, user, pv, old, new, accepted, reason, *, readback):
            self.notes.append((peer.split(":")[0], user, pv, old, new, accepted, reason))

    class Access:
        read = write = True

        def admits(self, address):
            return True

        def rights(self, address, user, signal):
            return self.read, self.write and user == "expert", "operator"

    async def story():
        log, access = Log(), Access()
        async with (
            house(monkeypatch, [VSET], put_log=log, access=access) as it,
            it.raw(user="expert") as expert,
            it.raw(user="guest") as guest,
        ):
            it.post(VSET=1.0)
            name = it.prefix + "VSET"
            one, two = await expert.create(name), await guest.create(name)
            rights = [m for m in (*expert.seen, *guest.seen) if m.command == 22]
            assert [m.second for m in rights] == [3, 1]
            assert (await expert.put(one, struct.pack(">d", 2)))[0] == NORMAL
            assert (await expert.put(one, struct.pack(">d", -2)))[0] == PUTFAIL
            assert (await guest.put(two, struct.pack(">d", 3)))[0] == NOWTACCESS
            assert [note[:-1] for note in log.notes] == [
                ("127.0.0.1", "expert", name, 1.0, 2.0, True),
                ("127.0.0.1", "expert", name, 2.0, -2.0, False),
                ("127.0.0.1", "guest", name, 2.0, 3.0, False),
            ]
            assert "beyond the limits" in log.notes[1][-1] and "denied" in log.notes[2][-1]
            guest.subscribe(two, 5)
            await guest.events()
            access.read = False
            it.server.rights_changed()
            it.post(VSET=8.0)
            seen = await guest.synchronise()
            assert [(m.command, m.first if m.command == 1 else m.second) for m in seen] == [(22, 0), (1, NORDACCESS)]
            assert (await guest.get(two)).first == NORDACCESS
            guest.subscribe(two, 6)
            assert [m.first for m in await guest.events()] == [NORDACCESS]
            access.read = True
            it.server.rights_changed()
            events = await guest.events()
            assert sorted((m.second, m.double) for m in events) == [(5, 8.0), (6, 8.0)]

    asyncio.run(story())


LIBCA_COME_AND_GO = """
import json, sys, epics, time
name = sys.argv[1]
def told(pvname, conn, **kw): print(json.dumps(["connected" if conn else "gone", time.time()]), flush=True)
pv = epics.PV(name, connection_callback=told)
print(json.dumps(["searching", time.time()]), flush=True)
end = time.time() + 20
seen = 0
while time.time() < end:
    epics.ca.pend_event(0.01)
    if sys.argv[2] == "once" and pv.connected: break
    if pv.connected: seen = 1
    elif seen == 1: break
"""


def test_pvs_come_and_go(monkeypatch):
    async def story():
        async with house(monkeypatch, [VMON]) as it, it.raw() as raw:
            name = it.prefix + "VSET"
            before = it.server.counts.searches
            watching = asyncio.create_task(it.python(LIBCA_COME_AND_GO, name, "twice"))
            await until(lambda: it.server.counts.searches >= before + 4, "search that goes on")
            it.add(VSET)
            it.post(VSET=1.0)
            came = time.time()
            await until(lambda: any(client.channels for client in it.server.clients()), "connection")
            sid = await raw.create(name)
            raw.subscribe(sid, 9)
            await raw.events()
            await asyncio.sleep(0.1)
            went = time.time()
            last = []
            it.server.watch(name, last.append)
            it.server.withdraw([name])
            assert last[-1].connected is False and it.server.reading(name) is None
            assert [m.command for m in await raw.synchronise()] == [1, 27]  # INVALID, then gone
            assert await raw.create(name) is None
            *lines, _ = await watching
            told = {word: at for word, at in lines}
            assert 0 <= told["connected"] - came < 1
            assert 0 <= told["gone"] - went < 1
            raw.seen.clear()
            # what a client asks before it hears that the PV is gone costs it none of its other PVs
            raw.say(15, b"", Type.DOUBLE, 1, sid, 1)
            raw.say(19, struct.pack(">d", 1.0), Type.DOUBLE, 1, sid, 2)
            raw.say(19, bytes(100_000), Type.DOUBLE, 12_500, sid, 3)
            raw.subscribe(sid, 10)
            raw.say(2, b"", 20, 0, sid, 9)
            raw.say(12, b"", first=sid, second=1)
            assert await raw.synchronise() == []
            assert it.puts == [] and it.server.counts.malformed == 0
            raw.say(15, b"", Type.DOUBLE, 1, sid + 1, 1)
            assert await raw.closed()

    asyncio.run(story())


def test_arrays_of_a_million_numbers(monkeypatch):
    count = 1 << 20
    program = """
import json, sys, epics, numpy as np
wave, target = epics.PV(sys.argv[1]), epics.PV(sys.argv[2])
wave.wait_for_connection(5), target.wait_for_connection(5)
value = wave.get(timeout=10)
print(json.dumps([len(value), float(value[-1])]))
print(json.dumps(target.put(np.arange(1 << 20) * 2.0, wait=True, timeout=10)))
"""

    async def story():
        wave, target = readback("W", count=count), setpoint("T", count=count)
        async with house(monkeypatch, [wave, target]) as it, it.raw() as raw:
            it.post(W=np.arange(count, dtype=float), T=[0.0])
            environment = {**it.environment, "EPICS_CA_MAX_ARRAY_BYTES": str(1 << 24)}
            got, put, _ = await it.python(program, it.prefix + "W", it.prefix + "T", environment=environment)
            assert got == [count, count - 1.0] and put == 1
            assert it.puts[0][1][-1] == 2.0 * (count - 1)
            raw.subscribe(await raw.create(it.prefix + "W"), 1, dtype=20)
            first = await raw.until(1)
            assert first.count == count and len(first.body) == 16 + 8 * count

    asyncio.run(story())


def test_control_information_is_right_at_the_first_event(monkeypatch):
    async def story():
        async with house(monkeypatch, [VMON]) as it, it.raw() as raw:
            it.post(VMON=7.0)
            raw.subscribe(await raw.create(it.prefix + "VMON"), 1, DBE_PROPERTY, Type.CTRL_DOUBLE)
            (event,) = await raw.events()
            it.post(VMON=8.0)
            assert await raw.events() == []
            status, sev, precision, unit, *limits, value = struct.unpack(">HHhxx8s8dd", event.body)
            assert (status, sev, precision, unit.rstrip(b"\0"), value) == (0, 0, 1, b"V", 7.0)
            assert limits == [3000, 0, 3000, 2000, -5, -10, 0, 0]

    asyncio.run(story())


def test_as_many_clients_as_allowed_may_come_at_once(monkeypatch):
    async def story():
        async with house(monkeypatch, [VSET], limits=Limits(circuits=200)) as it:
            socks = [socket.create_connection(("127.0.0.1", it.server.port)) for _ in range(200)]
            try:
                await until(lambda: len(it.server.clients()) == 200, "all clients")
                assert it.server.counts.refused == 0
            finally:
                for sock in socks:
                    sock.close()

    asyncio.run(story())


def test_limits_of_a_client(monkeypatch):
    async def story():
        limits = Limits(circuits=3, channels=5, subscriptions=4, message=16384)
        async with house(monkeypatch, [VSET, TRACE], limits=limits) as it, it.raw() as raw, it.raw() as other:
            it.post(VSET=1.0)
            sids = [await raw.create(it.prefix + "VSET", cid) for cid in range(6)]
            assert None not in sids[:5] and sids[5] is None
            for subscription in range(5):
                raw.subscribe(sids[0], subscription)
            messages = await raw.synchronise()
            assert [m.command for m in messages if m.command in (1, 11)] == [1, 1, 1, 1, 11]
            async with it.raw(greet=False), it.raw(greet=False) as fifth:
                assert await fifth.closed()
            trace = await other.create(it.prefix + "TRACE")
            other.say(4, bytes(20000), Type.DOUBLE, 2500, trace, 0)
            assert (await other.until(11)).second == TOLARGE
            assert await other.closed()
            counts = it.server.counts
            assert (counts.refused, counts.too_large) == (3, 1)  # a channel, a subscription, a connection
            assert (await raw.get(sids[0])).double == 1.0

    asyncio.run(story())


def test_an_unknown_caproto_is_named(monkeypatch, caplog):
    monkeypatch.setattr("iocs.ca.server.context.TESTED", ("0.9",))

    async def story():
        async with house(monkeypatch, [VSET]):
            pass

    asyncio.run(story())
    assert "caproto" in caplog.text and "0.9" in caplog.text


def test_names_and_clients_are_told(monkeypatch):
    async def story():
        async with house(monkeypatch, [VSET]) as it, it.raw(user="anna") as raw:
            it.post(VSET=1.0)
            raw.subscribe(await raw.create(it.prefix + "VSET"), 1)
            await raw.events()
            (client,) = it.server.clients()
            assert (client.address, client.user, client.channels, client.subscriptions) == ("127.0.0.1", "anna", 1, 1)
            assert it.server.names == [it.prefix + "VSET"]
            assert json.dumps(it.server.counts.channels) == "1"
        assert it.server.clients() == []

    asyncio.run(story())
