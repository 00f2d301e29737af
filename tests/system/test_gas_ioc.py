"""A gas board's life as PVs, end to end: simulator and IOC as processes, libca as the client."""

import asyncio
import gc
import math
import os
import time

import pytest

from drivers.link import Backoff
from iocs.ca.server import Server
from iocs.device import COMMON, Place
from iocs.gas import Gas, GasSettings
from iocs.signals import ROW_HEAD, Kind, Severity, Status
from iocs.state import open_state, peek
from tests.gas_lab import QUICK, GasLab
from tests.loop_lag import LoopLag
from tests.processes import DEADLINE
from tests.pvs import pvs
from tests.thermostat_lab import COMM, DISABLE, INVALID, MAJOR, MINOR, NO_ALARM, UDF

OWN = ("TEMP", "PRES", "RH", "GAS", "DEWPOINT", "PPMV", "DENSITY", "GASRATIO", "WARMUP")
READ = ("TEMP", "PRES", "RH", "GAS", "DEWPOINT", "PPMV", "DENSITY")
WARM = QUICK + "warmup = 0\n"


@pytest.fixture(params=["pty", "tcp"])
def lab(request, tmp_path):
    with GasLab(tmp_path, request.param) as lab:
        yield lab


@pytest.fixture
def pty_lab(tmp_path):
    with GasLab(tmp_path) as lab:
        yield lab


def good(reading):
    return reading["severity"] == NO_ALARM


def online(lab):
    lab.wait("GAS:ONLINE", 1)
    for name in READ:
        lab.wait(f"GAS:{name}", lambda reading: reading["severity"] <= MINOR)


def names_of(lab):
    common = {signal.name for signal in COMMON}
    return [signal.name for signal in lab.catalogue().signals if signal.name not in common]


@pytest.mark.parametrize("sketch", ["countinghouse", "picosec"])
def test_every_pv_of_both_sketches_is_served_with_unit_description_and_time(lab, sketch):
    lab.site(WARM)
    lab.box("--sketch", sketch)
    ioc = lab.ioc()
    online(lab)
    lab.libca.put(f"{lab.prefix}GAS:SETBASELINE", 1)
    lab.wait("GAS:GASRATIO", good)
    catalogue = lab.catalogue()
    assert ("MISSED" in names_of(lab)) == (sketch == "countinghouse")
    for signal in catalogue.signals:
        reading = lab.wait(f"GAS:{signal.name}", good)
        assert signal.doc and (signal.kind is not Kind.FLOAT or reading["units"] == signal.unit != ""), signal.name
        assert abs(reading["timestamp"] - time.time()) < 60, signal.name
    values = {name: lab.value(f"GAS:{name}") for name in OWN}
    assert values == pytest.approx(
        {
            **{"TEMP": 21.15, "PRES": 981.2, "RH": 8.0, "GAS": 150e3, "DEWPOINT": -14.4, "PPMV": 2046},
            **{"DENSITY": 0.9646, "GASRATIO": 1.0, "WARMUP": 0},
        },
        rel=0.05,
    )
    identity = "countinghouse-bme680 1.0" if sketch == "countinghouse" else "BME680, lines of picosec"
    assert lab.wait("GAS:IDN", identity)
    row = lab.wait("GAS:ROW", good)
    assert len(row["value"]) == ROW_HEAD + len(OWN)
    assert row["value"][2:4] == [row["posixseconds"], row["nanoseconds"]]
    if sketch == "countinghouse":
        uptime = lab.value("GAS:UPTIME")
        lab.wait("GAS:UPTIME", lambda reading: reading["value"] > uptime)
    grown = lab.value("GAS:READINGS")
    lab.wait("GAS:READINGS", lambda reading: reading["value"] >= grown + 2)
    assert ioc.stop() == 0 and "Traceback" not in ioc.log()


def test_our_own_client_sees_a_frame_as_one_event_with_one_stamp(pty_lab):
    async def story(lab):
        async with pvs(int(lab.environment["EPICS_CA_SERVER_PORT"]), f"{lab.prefix}GAS:") as watched:
            watched.watch("ROW", *OWN)
            await watched.until("ROW", lambda reading: len(reading.value if reading.connected else ()) > 0)
            await watched.until("ROW", lambda reading: reading.value[0] >= 15, deadline=60)
            rows = [reading for reading in watched.seen["ROW"] if reading.connected and len(reading.value)]
            numbers = [reading.value[0] for reading in rows]
            assert numbers == list(range(int(numbers[0]), int(numbers[0]) + len(numbers)))
            stamps = {reading.time_ns for reading in rows}
            for name in READ:
                seen = [r for r in watched.seen[name] if r.connected and r.severity is not Severity.INVALID]
                assert len(seen) > 3 and {reading.time_ns for reading in seen} <= stamps, name

    pty_lab.site(WARM)
    pty_lab.box()
    pty_lab.ioc()
    asyncio.run(story(pty_lab))


def test_a_pulled_cable_makes_all_invalid_at_once_and_a_new_one_heals_it(lab):
    lab.site(WARM)
    box = lab.box()
    ioc = lab.ioc()
    online(lab)
    lab.libca.put(f"{lab.prefix}GAS:SETBASELINE", 1)
    lab.wait("GAS:GASRATIO", good)
    names = [*names_of(lab), "ROW"]
    before = {name: lab.read(f"GAS:{name}")["value"] for name in READ}
    lab.set(box, unplug=True)
    lab.wait("GAS:ONLINE", lambda reading: reading["value"] == 0 and reading["severity"] == MAJOR, 3)
    for name in names:
        reading = lab.read(f"GAS:{name}")
        assert (reading["severity"], reading["status"]) == (INVALID, COMM), name
    for name in READ:
        assert lab.value(f"GAS:{name}") == pytest.approx(before[name], rel=0.1), "the last value stays"
    why = "absent" if lab.link.startswith("serial") else "nothing listens"
    error = lab.wait("GAS:ERROR.VAL$", lambda reading: why in reading["text"])["text"]
    assert lab.link in error
    assert lab.value("GAS:LINKSTATE") in (0, 1)
    lab.libca.put(f"{lab.prefix}GAS:PERIOD", 5)
    assert "does not answer" in lab.value("GAS:LASTREJECT.VAL$")
    lab.set(box, replug=True)
    for name in names:
        lab.wait(f"GAS:{name}", good)
    assert lab.value("GAS:RECONNECTS") == 1 and lab.value("GAS:ERROR") == "" and lab.value("GAS:LINKSTATE") == 3
    descriptors = ioc.descriptors
    for _ in range(4):
        lab.set(box, unplug=True)
        lab.wait("GAS:ONLINE", 0)
        lab.set(box, replug=True)
        lab.wait("GAS:ONLINE", 1)
    assert ioc.descriptors <= descriptors
    assert sum(why in line for line in ioc.err) <= 5, "the same failure is logged once"
    assert ioc.stop() == 0


def test_a_board_that_was_pulled_out_comes_back_as_another_port(pty_lab):
    """ACM0 becomes ACM1: the name that stays points at it."""
    lab = pty_lab
    lab.site(WARM)
    box = lab.box()
    lab.ioc()
    online(lab)
    old = os.readlink(lab.port)
    lab.set(box, unplug=True)
    lab.wait("GAS:ONLINE", 0)
    taken = [os.openpty() for _ in range(3)]
    lab.set(box, replug=True)
    assert os.readlink(lab.port) != old
    lab.wait("GAS:ONLINE", 1)
    for pair in taken:
        for descriptor in pair:
            os.close(descriptor)


@pytest.mark.parametrize(
    ("table", "limit"),
    [(WARM + "lost_after = 2.0\n", 2.0), ("period = 1\ntimeout = 0.7\nboot = 0.3\nwarmup = 0\n", 3.0)],
    ids=["as set", "three periods"],
)
def test_silence_makes_every_pv_invalid_within_lost_after(lab, table, limit):
    lab.site(table)
    box = lab.box()
    lab.ioc()
    online(lab)
    names = [*names_of(lab), "ROW"]
    lab.libca.monitor(f"{lab.prefix}GAS:LINKSTATE")
    lab.set(box, mute=True)
    lab.wait("GAS:ONLINE", 0)
    for name in names:
        assert lab.read(f"GAS:{name}")["severity"] == INVALID, name
    lost, last = (lab.read(f"GAS:{name}")["timestamp"] for name in ("ONLINE", "PRES"))
    assert lost - last < limit + 0.3, "by the stamps of the IOC itself, some of it for a loaded machine"
    states = [event[:2] for event in lab.libca.events(f"{lab.prefix}GAS:LINKSTATE") if isinstance(event, list)]
    assert [4, MINOR] in states, "silent, before it is lost"
    error = lab.value("GAS:ERROR.VAL$")
    assert f"no good reading for {limit:g} s" in error and "no answer to 'R'" in error
    lab.set(box, mute=False)
    online(lab)


@pytest.mark.parametrize(
    ("sketch", "fault", "reason"),
    [
        ("countinghouse", {"garble": 3}, "CHECKSUM"),
        ("picosec", {"garbage": 9}, "BYTES"),
        ("picosec", {"endless": 1}, "LENGTH"),
        ("picosec", {"half": 1}, "UNFINISHED"),
        ("picosec", {"say": {"gas": "7;7"}}, "FIELDS"),
        ("picosec", {"swapped": 3}, "NUMBER"),
        ("picosec", {"say": {"humidity": "141.20"}}, "RANGE"),
        ("countinghouse", {"duplicate": 3}, "UNASKED"),
    ],
)
def test_refused_lines_are_counted_shown_and_never_published(pty_lab, sketch, fault, reason):
    lab = pty_lab
    lab.site(WARM)
    box = lab.box("--sketch", sketch)
    lab.ioc()
    online(lab)
    for name in ("TEMP", "PRES", "RH", "GAS"):
        lab.libca.monitor(f"{lab.prefix}GAS:{name}")
    counted, total = lab.value(f"GAS:REFUSED:{reason}"), lab.value("GAS:REFUSED")
    lab.set(box, **fault)
    lab.wait(f"GAS:REFUSED:{reason}", lambda reading: reading["value"] > counted)
    assert lab.value("GAS:REFUSED") > total
    text = lab.value("GAS:LASTBAD.VAL$")
    assert ": " in text and text.isprintable()
    lab.set(box, say={}, swapped=0)
    online(lab)
    for name, low, high in (("TEMP", 20, 22), ("PRES", 975, 985), ("RH", 7, 9), ("GAS", 120e3, 180e3)):
        for event in lab.libca.events(f"{lab.prefix}GAS:{name}"):
            assert isinstance(event, str) or low < event[0] < high, (name, event)


def test_a_line_of_another_form_by_a_pattern_of_ones_own(pty_lab):
    lab = pty_lab
    units = (("temperature", r"\*C"), ("pressure", "hPa"), ("humidity", "%"), ("gas", "KOhms"))
    pattern = r"\s+".join(rf"{name.title()} = (?P<{name}>\S+) {unit}" for name, unit in units)
    table = f"""
[device.line]
empty_line = true
pattern = '{pattern}'
fields = [
  {{ name = "temperature", offset = 273.15 }},
  {{ name = "pressure", scale = 100 }},
  {{ name = "humidity" }},
  {{ name = "gas", scale = 1000 }},
]
"""
    lab.site("period = 0.2\nwarmup = 0\n" + table)
    box = lab.box("--sketch", "adafruit", "--interval", 0.2)
    lab.ioc()
    online(lab)
    assert lab.value("GAS:TEMP") == pytest.approx(21.15, abs=1) and lab.value("GAS:GAS") == pytest.approx(
        150e3, rel=0.1
    )
    assert "PERIOD" not in names_of(lab), "nobody asks: the board's own pace counts"
    before = lab.value("GAS:REFUSED:FORM")
    lab.set(box, garble=1)
    lab.wait("GAS:REFUSED:FORM", lambda reading: reading["value"] > before)
    lab.set(box, mute=True)
    lab.wait("GAS:LINKSTATE", lambda reading: reading["value"] == 4 or reading["severity"] == INVALID)
    lab.wait("GAS:ONLINE", 0)
    lab.set(box, mute=False)
    online(lab)


def test_the_sensors_troubles_in_words(lab):
    lab.site(WARM)
    box = lab.box("--sketch", "picosec")
    lab.ioc()
    online(lab)
    for fault, state in (("begin_failed", 2), ("reading_failed", 3)):
        count = lab.value("GAS:TROUBLES")
        lab.libca.monitor(f"{lab.prefix}GAS:SENSOR")
        lab.set(box, **{fault: 1})
        lab.wait("GAS:TROUBLES", lambda reading, count=count: reading["value"] > count)
        lab.wait("GAS:SENSOR", 0)
        assert any(
            isinstance(event, list) and event[:2] == [state, MAJOR]
            for event in lab.libca.events(f"{lab.prefix}GAS:SENSOR")
        )
    lab.set(box, absent=True, boot=1.2)  # past the quiet after which what a reset left on the line is dropped
    lab.set(box, unplug=0.1)
    lab.wait("GAS:ERROR.VAL$", lambda reading: "finds no BME680: check its wiring" in reading["text"])
    assert lab.value("GAS:SENSOR") == 1 and lab.value("GAS:ONLINE") == 0
    assert all(lab.read(f"GAS:{name}")["severity"] == INVALID for name in OWN)
    lab.set(box, absent=False, boot=0.1)
    online(lab)
    lab.wait("GAS:SENSOR", 0)


def test_a_field_without_a_value_and_a_cold_heater_leave_the_others(lab):
    lab.site(WARM)
    box = lab.box("--sketch", "picosec")
    lab.ioc()
    online(lab)
    lab.set(box, say={"humidity": "nan"})
    for name in ("RH", "DEWPOINT", "PPMV"):
        lab.wait(f"GAS:{name}", lambda reading: reading["severity"] == INVALID)
    row = lab.wait("GAS:ROW", lambda reading: math.isnan(reading["value"][ROW_HEAD + 2]))
    assert [math.isnan(value) for value in row["value"][ROW_HEAD:]] == [
        *(False, False, True, False, True, True, False, True, False),
    ]
    assert all(good(lab.read(f"GAS:{name}")) for name in ("TEMP", "PRES", "GAS", "DENSITY"))
    assert lab.value("GAS:NOVALUES") >= 1 and lab.value("GAS:ONLINE") == 1
    lab.set(box, say={}, heater_off=True)
    lab.wait("GAS:RH", good)
    gas = lab.wait("GAS:GAS", lambda reading: reading["severity"] == INVALID)
    assert gas["value"] == pytest.approx(150e3, rel=0.1), "never 0"
    lab.set(box, heater_off=False)
    lab.wait("GAS:GAS", good)


def test_a_spike_is_not_published_a_step_is(lab):
    lab.site(WARM)
    box = lab.box("--sketch", "picosec")
    lab.ioc()
    online(lab)
    lab.libca.monitor(f"{lab.prefix}GAS:RH")
    spikes = lab.value("GAS:SPIKES")
    lab.set(box, spike={"humidity": 90.0})
    lab.wait("GAS:SPIKES", lambda reading: reading["value"] > spikes)
    lab.set(box, humidity=60.0)
    lab.wait("GAS:RH", lambda reading: reading["value"] > 50)
    values = [event[0] for event in lab.libca.events(f"{lab.prefix}GAS:RH") if isinstance(event, list)]
    assert all(7 < value < 9 or 58 < value < 62 for value in values), values
    lab.wait("GAS:DEWPOINT", lambda reading: 12 < reading["value"] < 14)


def test_digits_that_stand_still_are_doubted(pty_lab):
    lab = pty_lab
    lab.site(WARM + "frozen_after = 4\n")
    box = lab.box()
    lab.ioc()
    online(lab)
    lab.set(box, frozen=True)
    lab.wait("GAS:FROZEN", lambda reading: (reading["value"], reading["severity"]) == (1, MINOR))
    assert lab.wait("GAS:PRES", lambda reading: reading["severity"] == MINOR)
    lab.set(box, frozen=False)
    lab.wait("GAS:FROZEN", 0)
    lab.wait("GAS:PRES", good)


def test_warm_up_by_the_boards_uptime_and_restarts(pty_lab):
    lab = pty_lab
    lab.site(QUICK + "warmup = 100\n")
    box = lab.box("--speed", 20, "--boot", 1)
    lab.ioc()
    lab.wait("GAS:WARMUP", lambda reading: (reading["value"], reading["severity"]) == (1, MINOR))
    assert lab.read("GAS:GAS")["severity"] == MINOR and good(lab.read("GAS:PRES"))
    lab.libca.put(f"{lab.prefix}GAS:SETBASELINE", 1)
    assert "warming up" in lab.value("GAS:LASTREJECT.VAL$") and lab.read("GAS:BASELINE")["status"] == UDF
    lab.wait("GAS:WARMUP", lambda reading: (reading["value"], reading["severity"]) == (0, NO_ALARM))
    lab.wait("GAS:GAS", good)
    assert lab.value("GAS:UPTIME") >= 100
    restarts = lab.value("GAS:RESTARTS")
    lab.set(box, reset=True)
    lab.wait("GAS:RESTARTS", restarts + 1)
    lab.wait("GAS:WARMUP", 1)
    missed = lab.value("GAS:MISSED")
    timeouts = lab.value("GAS:TIMEOUTS")
    lab.set(box, swallow=1)
    lab.wait("GAS:MISSED", missed + 1)
    assert lab.value("GAS:TIMEOUTS") > timeouts


def test_baseline_is_for_experts_is_kept_and_gives_the_ratio(pty_lab):
    lab = pty_lab
    lab.site(WARM)
    lab.box()
    ioc = lab.ioc()
    online(lab)
    assert lab.read("GAS:GASRATIO")["status"] == UDF and lab.read("GAS:BASELINE")["status"] == UDF
    lab.libca.put(f"{lab.prefix}GAS:BASELINE", 300e3)
    lab.wait("GAS:GASRATIO", lambda reading: good(reading) and 0.45 < reading["value"] < 0.55)
    lab.libca.put(f"{lab.prefix}GAS:BASELINE", 0)
    assert "beyond the limits" in lab.value("GAS:LASTREJECT.VAL$") and lab.value("GAS:BASELINE") == 300e3
    lab.libca.put(f"{lab.prefix}GAS:SETBASELINE", 0)
    assert lab.value("GAS:BASELINE") == 300e3
    lab.libca.put(f"{lab.prefix}GAS:SETBASELINE", 1)
    taken = lab.value("GAS:BASELINE")
    assert taken == pytest.approx(150e3, rel=0.1)
    lab.wait("GAS:GASRATIO", lambda reading: 0.9 < reading["value"] < 1.1)
    assert peek(lab.directory / "state", "GAS")["memory"]["baseline"] == taken
    assert ioc.stop() == 0
    lab.ioc()
    lab.wait("GAS:BASELINE", taken)
    lab.wait("GAS:GASRATIO", lambda reading: good(reading) and 0.9 < reading["value"] < 1.1)
    levels = {signal.name: signal.level for signal in lab.catalogue().signals}
    assert (levels["BASELINE"], levels["SETBASELINE"], levels["PERIOD"]) == ("expert", "expert", "operator")


def test_period_is_a_setpoint_within_its_limits(pty_lab):
    lab = pty_lab
    lab.site("timeout = 0.5\nboot = 0.3\nwarmup = 0\nlost_after = 20\n")
    lab.box()
    lab.ioc()
    online(lab)
    assert lab.value("GAS:PERIOD") == 10
    reading = lab.read("GAS:PERIOD")
    assert (reading["lower_ctrl_limit"], reading["upper_ctrl_limit"], reading["units"]) == (1, 3600, "s")
    lab.libca.put(f"{lab.prefix}GAS:PERIOD", 0.5)
    assert "beyond the limits 1 .. 3600 s" in lab.value("GAS:LASTREJECT.VAL$")
    lab.libca.put(f"{lab.prefix}GAS:PERIOD", 60)
    assert "lost_after = 20 s in the site file" in lab.value("GAS:LASTREJECT.VAL$")
    began, before = time.monotonic(), lab.value("GAS:READINGS")
    lab.libca.put(f"{lab.prefix}GAS:PERIOD", 1)
    assert lab.value("GAS:PERIOD") == 1
    lab.wait("GAS:READINGS", lambda reading: reading["value"] >= before + 4)
    assert time.monotonic() - began < 12, "far sooner than four times the old period"


def test_a_shorter_period_than_the_age_of_the_last_reading_is_no_loss(pty_lab):
    lab = pty_lab
    lab.site("timeout = 0.5\nboot = 0.3\nwarmup = 0\n")
    lab.box()
    ioc = lab.ioc()
    online(lab)
    lab.wait("GAS:AGE", lambda reading: reading["value"] >= 5)
    before = lab.value("GAS:READINGS")
    lab.libca.put(f"{lab.prefix}GAS:PERIOD", 1)
    lab.wait("GAS:READINGS", lambda reading: reading["value"] >= before + 2)
    assert lab.value("GAS:RECONNECTS") == 0 and "lost" not in ioc.log()


def test_what_follows_from_temperature_pressure_and_humidity(pty_lab):
    lab = pty_lab
    lab.site(WARM + "reference_temperature = 0\nreference_pressure = 900\n")
    box = lab.box()
    lab.ioc()
    online(lab)
    lab.set(box, temperature=298.15, pressure=90_000.0, humidity=50.0)
    for name, value in (("DENSITY", 273.15 / 298.15), ("PPMV", 17610), ("DEWPOINT", 13.86)):  # 0.5 * 3169.7 / 90000
        lab.wait(f"GAS:{name}", lambda reading, v=value: reading["value"] == pytest.approx(v, rel=0.03), 20)


def test_alarms_of_the_site_file_with_hysteresis(pty_lab):
    lab = pty_lab
    lab.site(WARM + "alarms.RH = { high = 20, hihi = 40, hysteresis = 4 }\nalarms.PRES = { lolo = 900 }\n")
    box = lab.box()
    lab.ioc()
    online(lab)
    assert good(lab.read("GAS:RH"))
    for humidity, severity in ((30.0, MINOR), (50.0, MAJOR), (38.0, MAJOR), (30.0, MINOR), (18.0, MINOR), (8.0, 0)):
        lab.set(box, humidity=humidity)
        lab.wait("GAS:RH", lambda reading, h=humidity: abs(reading["value"] - h) < 1.5)
        assert lab.read("GAS:RH")["severity"] == severity, humidity


def test_enable_0_releases_the_port(pty_lab):
    lab = pty_lab
    lab.site(WARM)
    lab.box()
    ioc = lab.ioc()
    online(lab)
    lab.libca.put(f"{lab.prefix}GAS:ENABLE", 0)
    lab.wait("GAS:STATE", 3)
    assert lab.read("GAS:TEMP")["status"] == DISABLE and lab.read("GAS:READINGS")["status"] == DISABLE
    held = [os.readlink(f"/proc/{ioc.popen.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{ioc.popen.pid}/fd")]
    assert os.readlink(lab.port) not in held
    lab.libca.put(f"{lab.prefix}GAS:ENABLE", 1)
    online(lab)


def test_sim_serves_everything_in_a_moment(pty_lab):
    lab = pty_lab
    lab.link = "serial:///dev/serial/by-id/usb-nothing"
    for table in ("", 'format = "picosec"\n', '[device.line]\nseparator = ";"\nfields = [{ name = "gas" }]\n'):
        lab.site(table)
        ioc = lab.ioc("--sim")
        online(lab)
        assert lab.value("GAS:SIM") == 1
        assert ioc.stop() == 0


@pytest.mark.alone
def test_a_cable_pulled_a_hundred_times_leaks_nothing_and_never_stalls_the_loop(pty_lab):
    """The device and its server in this loop, whose longest standstill is measured; the board is a process."""
    lab = pty_lab
    box = lab.box("--speed", 20, "--boot", 0.2)

    async def story() -> None:
        server = Server()
        with open_state(lab.directory, "GAS") as state:
            told = {"period": 0.05, "timeout": 0.5, "boot": 0.05, "warmup": 0}
            table = {"name": "GAS", "type": "gas", "link": lab.link, **told}
            device = Gas(GasSettings.model_validate(table), Place("P:", server, state, False, lambda: None))
            device.backoff = Backoff(0.01, 0.05)
            names = ("TEMP", "PRES", "RH", "GAS", "READINGS", "LINKSTATE", "ROW")

            async def until(condition, what):
                try:
                    async with asyncio.timeout(DEADLINE):
                        while not condition():
                            await asyncio.sleep(0.002)
                except TimeoutError:
                    raise AssertionError(f"no {what}: {severities()}, {server.reading('P:GAS:ERROR')}") from None

            def severities():
                return {server.reading(f"P:GAS:{name}").severity for name in names}

            tasks = [asyncio.create_task(each) for each in (device.live(), device.beat())]
            await until(lambda: severities() == {Severity.NO_ALARM}, "first readings")
            descriptors, threads = set(), set()
            gc.collect()
            gc.freeze()  # what the tests before this one have left is not the loop's fault
            async with LoopLag() as lag:
                for turn in range(100):
                    box.say({"unplug": True})
                    await until(lambda: not device.online, "loss")
                    assert severities() == {Severity.INVALID}
                    assert {server.reading(f"P:GAS:{name}").status for name in names} == {Status.COMM}
                    box.say({"replug": True})
                    await until(lambda: severities() == {Severity.NO_ALARM}, "return")
                    if turn >= 25:
                        descriptors.add(len(os.listdir("/proc/self/fd")))
                        threads.add(len(os.listdir("/proc/self/task")))
            gc.unfreeze()
            assert server.reading("P:GAS:RECONNECTS").value == 100
            assert max(descriptors) - min(descriptors) <= 2, descriptors  # a port may just be closing in its thread
            assert max(threads) - min(threads) <= 3, threads
            assert lag.longest < 0.05, f"{lag.longest} s"
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await server.stop()

    asyncio.run(story())
