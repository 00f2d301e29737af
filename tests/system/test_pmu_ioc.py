"""A simulated PMU on a real socket, a real IOC process, real Channel Access clients."""

import asyncio
import csv
import io
import json
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from iocs.device import COMMON
from iocs.signals import ROW_HEAD, Catalogue, Kind, Reading, Severity, Status
from tests.lab import Lab

COMMON_NAMES = {signal.name for signal in COMMON}


@contextmanager
def lab(directory: Path, *simulator_options: str, keys: str = ""):
    with Lab(directory, *simulator_options, keys=keys) as it:
        it.start_simulator()
        it.start_ioc()
        yield it


def good(reading: Reading) -> bool:
    return reading.connected and reading.severity is Severity.NO_ALARM


def invalid(reading: Reading) -> bool:
    return reading.connected and (reading.severity, reading.status) == (Severity.INVALID, Status.COMM)


def listed(lab: Lab) -> list[dict[str, str]]:
    command = [sys.executable, "-m", "iocs", "list", str(lab.site), "--csv"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return list(csv.DictReader(io.StringIO(text)))


async def catalogue(watched) -> Catalogue:
    return Catalogue.from_json((await watched.until("PVS", lambda reading: reading.value)).value)


def test_libca_and_caproto_read_every_pv_with_unit_precision_limits_and_time(tmp_path):
    async def story(lab: Lab) -> None:
        async with lab.pvs() as watched:
            await watched.until("VA:MAG", good)
            await watched.until("RATE", good)
            await watched.until("AGE", good)
            signals = {signal.name: signal for signal in (await catalogue(watched)).signals}
            names = [row["pv"] for row in listed(lab) if ":IOC:" not in row["pv"]]
            assert {name.removeprefix(f"{lab.prefix}PMU:") for name in names} == {*signals, "ROW"}
            reader = [sys.executable, str(Path(__file__).with_name("libca_reader.py")), *names]
            process = await asyncio.create_subprocess_exec(
                *reader, env=lab.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            out, _ = await process.communicate()
            read = {
                entry["name"].removeprefix(f"{lab.prefix}PMU:"): entry for entry in map(json.loads, out.splitlines())
            }
            assert set(read) == {*signals, "ROW"}
            for name, signal in signals.items():
                seen = read[name]
                assert seen["connected"], name
                assert seen["severity"] in (0, 1), seen
                if signal.kind is Kind.FLOAT:
                    assert (seen["units"], seen["precision"]) == (signal.unit, signal.precision), name
                if signal.kind is Kind.ENUM:
                    assert tuple(seen["states"]) == signal.states
                assert abs(seen["seconds"] - time.time()) < 60, name
                own = await watched.client.get(f"{lab.prefix}PMU:{name}")
                assert own.connected and own.severity <= Severity.MINOR and abs(own.time_ns / 1e9 - time.time()) < 60
            assert read["FREQ"]["alarm"] == [49.0, 49.8, 50.2, 51.0]
            assert read["VA:MAG"]["units"] == "V" and read["VA:MAG"]["value"] == pytest.approx(63500, rel=0.1)
            assert read["FREQ"]["nanoseconds"] % 20_000_000 == 0  # the PMU's own time, on its grid of 50 frames/s
            assert len(read["ROW"]["value"]) == ROW_HEAD + sum(signal.row == "ROW" for signal in signals.values())

    alarms = "alarms.FREQ = { lolo = 49.0, low = 49.8, high = 50.2, hihi = 51.0 }"
    with lab(tmp_path, keys=alarms) as it:
        asyncio.run(story(it))


def test_every_frame_is_in_row_once_and_scalars_follow_their_rate(tmp_path):
    async def story(lab: Lab) -> None:
        async with lab.pvs() as watched:
            watched.watch("ROW", "FREQ")
            await watched.until(
                "ROW", lambda reading: len(reading.value if reading.connected else ()) and reading.value[0] > 150
            )
            rows = [reading for reading in watched.seen["ROW"] if len(reading.value)]
            numbers = [reading.value[0] for reading in rows]
            assert numbers == list(range(int(numbers[0]), int(numbers[0]) + len(numbers)))
            times = [int(reading.value[2]) * 10**9 + int(reading.value[3]) for reading in rows]
            assert times == [reading.time_ns for reading in rows]
            assert all(later - earlier == 20_000_000 for earlier, later in pairwise(times))
            scalars = [reading.time_ns for reading in watched.seen["FREQ"] if reading.severity is not Severity.INVALID]
            assert all(later - earlier >= 199_000_000 for earlier, later in pairwise(scalars))

    with lab(tmp_path, keys="scalar_rate = 5") as it:
        asyncio.run(story(it))


def test_loss_makes_all_invalid_within_three_seconds_and_heals_without_a_restart(tmp_path):
    async def story(lab: Lab) -> None:
        async with lab.pvs() as watched:
            await watched.until("VA:MAG", good)
            names = [signal.name for signal in (await catalogue(watched)).signals if signal.name not in COMMON_NAMES]
            watched.watch(*names, "ROW")
            for name in names:
                await watched.until(name, lambda reading: reading.connected and reading.severity < Severity.INVALID)
            lab.simulator.kill()
            killed = time.monotonic()
            before = {name: watched[name] for name in names}
            for name in (*names, "ROW"):
                reading = await watched.until(name, invalid, deadline=3 - (time.monotonic() - killed))
                if name in before and not isinstance(before[name].value, str):
                    assert reading.value is not None
            assert (await watched.value("ONLINE", 0)).severity is Severity.MAJOR
            error = (await watched.until("ERROR", lambda reading: reading.value)).value
            assert str(lab.pmu_port) in error
            await watched.value("STATE", 2)
            lab.start_simulator()
            for name in names:
                await watched.until(name, lambda reading: reading.connected and reading.severity < Severity.INVALID)
            await watched.value("ONLINE", 1)
            await watched.value("ERROR", "")
            await watched.value("RECONNECTS", 1)

    with lab(tmp_path) as it:
        asyncio.run(story(it))


def test_a_silent_pmu_is_lost_though_its_connection_stands(tmp_path):
    async def story(lab: Lab) -> None:
        async with lab.pvs() as watched:
            await watched.until("FREQ", good)
            lab.simulator.say({"silence": True})
            began = time.monotonic()
            last = watched["FREQ"]
            reading = await watched.until("FREQ", invalid, deadline=4)
            assert time.monotonic() - began < 3.5
            assert reading.time_ns >= last.time_ns and reading.value == pytest.approx(50, abs=1)
            lab.simulator.say({"silence": False})
            await watched.until("FREQ", good)

    with lab(tmp_path) as it:
        asyncio.run(story(it))


def test_configuration_change_in_mid_stream(tmp_path):
    async def story(lab: Lab) -> None:
        async with lab.pvs() as watched:
            await watched.until("VB:MAG", good)
            first = await catalogue(watched)
            watched.watch("ROW")
            lab.simulator.say({"reconfigure": {"phasors": ["VA", "NEW ONE"], "notice": 1}})
            await watched.until("NEW_ONE:MAG", good)
            await watched.until("VB:MAG", lambda reading: not reading.connected)
            await watched.until("VA:MAG", good)
            second = Catalogue.from_json(watched["PVS"].value)
            assert second.version == first.version + 1
            names = {signal.name for signal in second.signals}
            assert "NEW_ONE:ANG" in names and "VB:MAG" not in names
            width = ROW_HEAD + len(second.rows[0].signals)
            last = await watched.until("ROW", lambda reading: len(reading.value) == width)
            assert last.value[1] == second.version
            rows = [reading.value for reading in watched.seen["ROW"] if reading.connected and len(reading.value)]
            numbers = [row[0] for row in rows]
            assert numbers == list(
                range(int(numbers[0]), int(numbers[0]) + len(numbers))
            )  # no frame lost by the change
            assert {(row[1], len(row)) for row in rows} == {
                (first.version, ROW_HEAD + len(first.rows[0].signals)),
                (second.version, width),
            }

    with lab(tmp_path) as it:
        asyncio.run(story(it))


def test_pvs_exist_though_the_pmu_is_away_at_start(tmp_path):
    async def story(lab: Lab) -> None:
        async with lab.pvs() as watched:
            await watched.until("VA:MAG", good)
            version = (await catalogue(watched)).version
        lab.ioc.stop()
        lab.simulator.kill()
        lab.start_ioc()
        async with lab.pvs() as watched:
            reading = await watched.until("VA:MAG", lambda reading: reading.connected)
            assert reading.severity is Severity.INVALID and reading.time_ns == 0 and reading.value != reading.value
            assert (await catalogue(watched)).version == version
            assert (await watched.until("ERROR", lambda reading: reading.value)).value
            lab.start_simulator()
            await watched.until("VA:MAG", good)
            assert (await catalogue(watched)).version == version

    with lab(tmp_path) as it:
        asyncio.run(story(it))


def test_each_fault_on_the_wire_is_counted_and_shown(tmp_path):
    async def story(lab: Lab) -> None:
        async with lab.pvs() as watched:
            await watched.until("FREQ", good)
            counted = ("FRAMES", "MISSED", "DUPLICATES", "TIMEJUMPS", "BADCRC", "SKIPPED", "UNDECODED")
            for name in counted:
                await watched.until(name, good)
            for fault, name in (
                ({"bad_crc": 2}, "BADCRC"),
                ({"gap": 3}, "MISSED"),
                ({"duplicate": 2}, "DUPLICATES"),
                ({"garbage": 50}, "SKIPPED"),
                ({"time_jump": -5}, "TIMEJUMPS"),
                ({"reconfigure": {"analogs": ["P"], "notice": 0}}, "UNDECODED"),
            ):
                before = watched[name].value
                lab.simulator.say(fault)
                await watched.until(name, lambda reading, before=before: reading.value > before)
            assert watched["DUPLICATES"].value == 2
            assert (await watched.until("RATE", lambda reading: good(reading) and 45 < reading.value < 55)).value
            before = watched["FRAMES"].value
            await watched.until("FRAMES", lambda reading: reading.value > before)
            late = await watched.until("LATE", good)
            assert -1 < late.value < 10

    with lab(tmp_path) as it:
        asyncio.run(story(it))


def test_status_words_and_the_alarms_they_cause(tmp_path):
    async def story(lab: Lab) -> None:
        async with lab.pvs() as watched:
            await watched.until("FREQ", good)
            watched.watch("STAT", "VA:MAG", "DIG1", "DIG1:DOOR_OPEN", "P")
            lab.simulator.say({"trigger": 4})
            await watched.value("STAT:TRIGGER", 1)
            await watched.value("STAT:TRIGREASON", 4)
            await watched.value("STAT", 0x0804)
            assert good(watched["VA:MAG"])  # a trigger is news about the network, not a doubt about the value
            lab.simulator.say({"trigger": None, "stat": 0x2000 | 0x0200 | 7 << 6 | 3 << 4})
            for name, value in (("SYNC", 1), ("MODIFIED", 1), ("TIMEQ", 7), ("UNLOCKED", 3)):
                await watched.value(f"STAT:{name}", value)
            doubtful = await watched.until("VA:MAG", lambda reading: reading.severity is Severity.MINOR)
            assert doubtful.value == pytest.approx(63500, rel=0.1)
            lab.simulator.say({"stat": 0, "tq": 15})
            await watched.value("TQ", 15)
            lab.simulator.say({"tq": 0, "leap_second": "insert"})
            await watched.value("LEAP", 1)
            await watched.value("LEAP", 3)
            lab.simulator.say({"words": [0b1000]})
            await watched.value("DIG1:DOOR_OPEN", 1)
            await watched.value("DIG1", 0b1000)
            lab.simulator.say({"absent": True})
            for name in ("FREQ", "VA:MAG", "P"):
                reading = await watched.until(name, lambda reading: reading.severity is Severity.INVALID)
                assert reading.value != reading.value and reading.status is Status.READ
            await watched.value("STAT:ERROR", 2)
            row = await watched.until(
                "ROW", lambda reading: good(reading) and reading.value[ROW_HEAD] != reading.value[ROW_HEAD]
            )
            stat = [signal.name for signal in (await catalogue(watched)).rows[0].signals].index("STAT")
            assert int(row.value[ROW_HEAD + stat]) >> 14 == 2  # the reason for the empty cells is beside them
            lab.simulator.say({"absent": False})
            await watched.until("VA:MAG", good)
            lab.simulator.say({"reconfigure": {"notice": 2, "voltage": 63500.0}})
            await watched.value("STAT:CFGCHANGE", 1)
            await watched.value("STAT:CFGCHANGE", 0)

    with lab(tmp_path) as it:
        asyncio.run(story(it))


def test_enable_0_releases_the_pmu_and_outlasts_a_restart(tmp_path):
    async def story(lab: Lab) -> None:
        async with lab.pvs() as watched:
            await watched.until("FREQ", good)
            await watched.until("FRAMES", lambda reading: good(reading) and reading.value >= 150)
            await watched.client.put(f"{lab.prefix}PMU:ENABLE", 0)
            reading = await watched.until("FREQ", lambda reading: reading.severity is Severity.INVALID)
            assert reading.status is Status.DISABLE
            await watched.value("STATE", 3)
            counted = watched["FRAMES"].value
            await watched.client.put(f"{lab.prefix}PMU:ENABLE", 1)
            frames = await watched.until("FRAMES", good)
            assert frames.value > counted, "the counts are those of the process"
            await watched.client.put(f"{lab.prefix}PMU:ENABLE", 0)
            await watched.value("STATE", 3)
        lab.ioc.stop()
        lab.start_ioc()
        async with lab.pvs() as watched:
            await watched.value("ENABLE", 0)
            await watched.until("HEARTBEAT", lambda reading: reading.connected and reading.value >= 2)
            assert not good(watched["FREQ"])
            await watched.client.put(f"{lab.prefix}PMU:ENABLE", 1)
            await watched.until("FREQ", good)

    with lab(tmp_path) as it:
        asyncio.run(story(it))


def test_a_wrong_idcode_is_told_in_words(tmp_path):
    async def story(lab: Lab) -> None:
        async with lab.pvs() as watched:
            error = await watched.until("ERROR", lambda reading: reading.value)
            whole = (await watched.client.get(f"{lab.prefix}PMU:ERROR.VAL$")).value
            assert whole.startswith(error.value[:30])
            assert "is 1 the PMU's IDCODE" in whole

    with lab(tmp_path, "--idcode", "8") as it:
        asyncio.run(story(it))


def test_record_keeps_the_raw_stream_and_decode_reads_it(tmp_path):
    async def story(lab: Lab) -> None:
        async with lab.pvs() as watched:
            await watched.until(
                "ROW", lambda reading: reading.connected and len(reading.value) and reading.value[0] > 60
            )

    with lab(tmp_path, keys='record = "stream.raw"') as it:
        asyncio.run(story(it))
        assert it.ioc.stop() == 0
    command = [sys.executable, "-m", "drivers.c37118", "decode", "--json", str(tmp_path / "stream.raw")]
    counts = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert counts["data"] >= 60 and counts["undecoded"] == 0 and counts["bad_crc"] == 0


def test_a_loss_is_logged_once_and_names_the_device(tmp_path):
    async def story(lab: Lab) -> None:
        async with lab.pvs() as watched:
            await watched.until("FREQ", good)
            lab.simulator.kill()
            await watched.value("ONLINE", 0)
            await watched.until(
                "HEARTBEAT", lambda reading, now=watched["HEARTBEAT"]: (reading.value or 0) >= (now.value or 0) + 4
            )
            lines = [line for line in lab.ioc.err if "refused" in line]
            assert len(lines) == 1 and " PMU " in lines[0], lab.ioc.log()
        lab.ioc.stop()
        for word in ("start", "connected to", "online", "lost: ", "stop"):
            assert any(f" PMU      {word}" in line for line in lab.ioc.err), (word, lab.ioc.log())

    with lab(tmp_path) as it:
        asyncio.run(story(it))
