"""Streams of every kind through simulator, IOC and archiver to CSV: concentrators, CFG-3, each way by UDP."""

import asyncio
import csv
import json
import math
import subprocess
from itertools import pairwise

import pytest

from iocs.signals import Catalogue, Reading, Severity, Status
from tests.lab import Lab
from tests.processes import Process, free_port, wait_for

EXACT = '[archive.csv]\ntime_format = "ns"\nwrite_every = 1\n'
RATE = 50


def good(reading: Reading) -> bool:
    return reading.connected and reading.severity is Severity.NO_ALARM


def table(lab: Lab, begin: str) -> list[dict[str, str]]:
    """The rows of the CSV files whose names begin so."""
    rows = []
    for path in sorted(lab.directory.glob(f"data/{begin}_[0-9]*.csv")):
        rows += list(csv.DictReader(path.read_text().splitlines()))
    return rows


def whole(rows: list[dict[str, str]]) -> bool:
    """Whether the rows follow each other without a gap, in order."""
    times = [int(row["time"]) for row in rows]
    return all(later - earlier == 10**9 // RATE for earlier, later in pairwise(times))


def run(lab: Lab, story, *, archiver: bool = False) -> None:
    lab.start_simulator()
    lab.start_ioc()
    if archiver:
        lab.start_archiver()
    asyncio.run(story(lab))


def test_stations_of_a_concentrator_in_mixed_formats_each_have_pvs_and_files(tmp_path):
    async def story(lab: Lab) -> None:
        async with lab.pvs() as watched:
            for number in range(1, 7):
                await watched.until(f"SIM_PMU_{number}:VA:MAG", good)
            catalogue = Catalogue.from_json((await watched.until("PVS", lambda reading: reading.value)).value)
            assert [row.name for row in catalogue.rows] == [f"SIM_PMU_{number}:ROW" for number in range(1, 7)]
            lab.simulator.say({"absent": True})
            for number in range(1, 7):
                name = f"SIM_PMU_{number}:FREQ"
                absent = await watched.until(name, lambda r: r.connected and r.severity is Severity.INVALID)
                assert math.isnan(absent.value)
            lab.simulator.say({"absent": False, "stat": 0x2000})
            await watched.until("SIM_PMU_3:VA:MAG", lambda reading: reading.severity is Severity.MINOR)
            await watched.value("SIM_PMU_6:STAT:SYNC", 1)
            await watched.until("RATE", lambda reading: good(reading) and 40 < reading.value < 60)

    with Lab(tmp_path, "--pmus", "6", "--mixed", "--cfg3", "--fragment", "700", rest=EXACT) as lab:
        run(lab, story, archiver=True)
        for number in range(1, 7):
            wait_for(lambda number=number: len(table(lab, f"PMU_SIM_PMU_{number}")) > 2 * RATE, "rows")
        assert lab.archiver.stop() == 0
        tables = [table(lab, f"PMU_SIM_PMU_{number}") for number in range(1, 7)]
    for number, rows in enumerate(tables, 1):
        assert whole(rows)
        values = [row for row in rows if row[f"SIM_PMU_{number}:FREQ (Hz)"]]
        assert len(values) > RATE and any(row[f"SIM_PMU_{number}:VA:ANG (deg)"] == "" for row in rows)
        assert float(values[0][f"SIM_PMU_{number}:VA:MAG (V)"]) == pytest.approx(63500, rel=1e-3)
        assert float(values[0][f"SIM_PMU_{number}:P"]) == pytest.approx(72.8, abs=1)


def test_a_station_that_joins_gets_pvs_and_files_without_a_restart(tmp_path):
    async def story(lab: Lab) -> None:
        async with lab.pvs() as watched:
            await watched.until("SIM_PMU_2:VA:MAG", good)
            lab.simulator.say({"reconfigure": {"station": "NEW ONE", "pmu": 1, "notice": 0.5}})
            await watched.until("NEW_ONE:VA:MAG", good)
            await watched.until("SIM_PMU_2:VA:MAG", lambda reading: not reading.connected)
            assert good(await watched.until("SIM_PMU_1:VA:MAG", good))

    with Lab(tmp_path, "--pmus", "2", rest=EXACT) as lab:
        run(lab, story, archiver=True)
        wait_for(lambda: len(table(lab, "PMU_NEW_ONE")) > RATE, "rows of the new station")
        assert lab.archiver.stop() == 0
        assert whole(table(lab, "PMU_SIM_PMU_1")) and whole(table(lab, "PMU_NEW_ONE"))


def test_what_a_cfg3_tells_is_served_and_so_is_the_header(tmp_path):
    async def story(lab: Lab) -> None:
        async with lab.pvs() as watched:
            seen = {
                "LATITUDE": 52.5,
                "LONGITUDE": 13.25,
                "ELEVATION": 34.0,
                "SVC_CLASS": 1,
                "WINDOW": 100_000.0,
                "GRP_DLY": 50_000.0,
                "G_PMU_ID": "00" * 15 + "01",
                "HEADER": "Countinghouse simulated PMU",
            }
            for name, value in seen.items():
                reading = await watched.until(name, good)
                assert reading.value == value, name
            assert (await watched.client.get(f"{lab.prefix}PMU:IDN.VAL$")).value.endswith("CFG-3")
            await watched.until("VA:MAG", good)
            lab.simulator.say({"reconfigure": {"latitude": -33.9, "service_class": "P", "delay": 20, "notice": 0.5}})
            await watched.until("LATITUDE", lambda reading: good(reading) and reading.value == pytest.approx(-33.9))
            await watched.value("SVC_CLASS", 2)
            await watched.value("GRP_DLY", 20)
            lab.simulator.say({"reconfigure": {"latitude": math.inf, "notice": 0.5}})
            await watched.until("LATITUDE", lambda reading: reading.severity is Severity.INVALID)
            await watched.until("LONGITUDE", good)

    with Lab(tmp_path, "--cfg3", keys="header = true\n") as lab:
        run(lab, story)


def test_without_a_cfg3_there_is_a_cfg2(tmp_path):
    async def story(lab: Lab) -> None:
        async with lab.pvs() as watched:
            await watched.until("VA:MAG", good)
            assert (await watched.client.get(f"{lab.prefix}PMU:IDN.VAL$")).value.endswith("CFG-2")
            watched.watch("LATITUDE")
            assert not watched["LATITUDE"].connected

    with Lab(tmp_path, keys='configuration = "cfg2"\n', rest=EXACT) as lab:
        run(lab, story)


WAYS = {
    "udp": (("--udp",), 'link = "udp://127.0.0.1:PMU_PORT"\n'),
    "tcp and udp": (
        ("--data-to", "127.0.0.1:{data}"),
        'link = "tcp://127.0.0.1:PMU_PORT"\ndata = "udp://127.0.0.1:DATA_PORT"\n',
    ),
    "by itself": (
        ("--by-itself", "--data-to", "127.0.0.1:{data}", "--repeat", "1"),
        'link = "udp://127.0.0.1:DATA_PORT?commands=off"\n',
    ),
    "from anybody": (
        ("--by-itself", "--data-to", "127.0.0.1:{data}", "--repeat", "1", "--cfg3"),
        'link = "udp://0.0.0.0:DATA_PORT?commands=off&interface=127.0.0.1"\n',
    ),
    "multicast": (
        ("--by-itself", "--data-to", "239.255.47.13:{data}", "--repeat", "1", "--cfg3", "--fragment", "500"),
        'link = "udp://239.255.47.13:DATA_PORT?interface=127.0.0.1"\n',
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_each_way_by_udp_brings_every_frame_in_order_to_csv_and_counts_what_is_lost(tmp_path, way):
    options, keys = WAYS[way]

    async def story(lab: Lab) -> None:
        async with lab.pvs() as watched:
            await watched.until("VA:MAG", good)
            for fault, name in (
                ({"swap": 3}, "REORDERED"),
                ({"duplicate": 2}, "DUPLICATES"),
                ({"gap": 3}, "MISSED"),
                ({"bad_crc": 2}, "BADCRC"),
                ({"garbage": 50}, "SKIPPED"),
            ):
                before = (await watched.until(name, good)).value
                lab.simulator.say(fault)
                await watched.until(name, lambda reading, before=before: reading.value > before)
            assert -1 < (await watched.until("LATE", good)).value < 10
            lost = (await watched.until("MISSED", lambda reading: reading.value >= 5)).value
            assert (await watched.until("TOOLATE", good)).value == 0
            before = (await watched.until("FRAMES", good)).value
            await watched.until("FRAMES", lambda reading: reading.value > before + 2 * RATE)
            assert watched["MISSED"].value == lost

    with Lab(tmp_path, *options, keys=keys, rest=EXACT) as lab:
        run(lab, story, archiver=True)
        assert lab.archiver.stop() == 0
        index = [int(row["time"]) * RATE // 10**9 for row in table(lab, "PMU")]
        holes = sum(later - earlier - 1 for earlier, later in pairwise(index))
        assert index == sorted(set(index)), "in order, each once"
        assert holes == 5, "three left out and two with a wrong CRC"


def test_who_waits_for_nobody_counts_what_comes_too_late(tmp_path):
    async def story(lab: Lab) -> None:
        async with lab.pvs() as watched:
            await watched.until("VA:MAG", good)
            lab.simulator.say({"swap": 4})
            await watched.until("TOOLATE", lambda reading: reading.value == 4)
            await watched.until("MISSED", lambda reading: reading.value == 4)
            assert (await watched.until("REORDERED", good)).value == 0

    with Lab(tmp_path, "--udp", keys=WAYS["udp"][1] + "reorder_wait = 0\n") as lab:
        run(lab, story)


@pytest.mark.parametrize("way", ["udp", "tcp and udp", "by itself", "multicast"])
def test_a_simulator_of_the_sites_own_comes_the_way_that_the_site_file_says(tmp_path, way):
    async def story(lab: Lab) -> None:
        async with lab.pvs() as watched:
            await watched.until("VA:MAG", good)
            await watched.value("SIM", 1)

    with (
        Lab(tmp_path, keys=WAYS[way][1]) as lab,
        Process("iocs", "run", str(lab.site), "--sim", environment=lab.environment) as ioc,
    ):
        ioc.line("serving PMU")
        asyncio.run(story(lab))
        assert ioc.stop() == 0


def test_a_stream_that_comes_by_itself_begins_with_the_configuration_of_the_last_time(tmp_path):
    async def story(lab: Lab) -> None:
        async with lab.pvs() as watched:
            error = await watched.until("ERROR", lambda reading: "come and wait" in str(reading.value))
            assert error.value
            lab.simulator.kill()
            lab.simulator_options[-1] = "0.5"
            lab.start_simulator()
            await watched.until("VA:MAG", good)
        lab.ioc.stop()
        lab.simulator.kill()
        lab.simulator_options[-1] = "100000"
        lab.start_simulator()
        lab.start_ioc()
        async with lab.pvs() as watched:
            await watched.until("VA:MAG", good)
            lab.simulator.kill()
            await watched.until("VA:MAG", lambda r: (r.severity, r.status) == (Severity.INVALID, Status.COMM))
            lab.start_simulator()
            await watched.until("VA:MAG", good)

    options = ("--by-itself", "--data-to", "127.0.0.1:{data}", "--repeat", "100000")
    with Lab(tmp_path, *options, keys='link = "udp://127.0.0.1:DATA_PORT?commands=off"\n') as lab:
        run(lab, story)


def test_two_streams_share_a_port_and_a_third_is_nobodys(tmp_path):
    port = free_port()
    devices = "".join(
        f'[[device]]\nname = "PMU{idcode}"\ntype = "pmu"\nlink = "udp://127.0.0.1:{port}?commands=off"\n'
        f"idcode = {idcode}\n"
        for idcode in (1, 2)
    )

    async def story(lab: Lab) -> None:
        async with lab.pvs() as watched:

            async def counted(idcode: int, name: str) -> float:
                reading = await watched.client.get(f"{lab.prefix}PMU{idcode}:{name}")
                return reading.value if good(reading) else -1.0

            async def more_frames(idcode: int, wanted: float) -> None:
                async with asyncio.timeout(30):
                    while await counted(idcode, "FRAMES") <= wanted:
                        await asyncio.sleep(0.05)

            for idcode in (1, 2):
                await more_frames(idcode, 0)
            for idcode in (1, 2):  # until both listened, what was for the one was nobody's
                nobodys = await counted(idcode, "UNDECODED")
                await more_frames(idcode, await counted(idcode, "FRAMES") + 2 * RATE)
                assert await counted(idcode, "MISSED") == 0
                assert await counted(idcode, "UNDECODED") == nobodys

    with Lab(tmp_path) as lab:
        lab.site.write_text(lab.site.read_text().split("[[device]]")[0] + devices)
        options = ("--by-itself", "--data-to", f"127.0.0.1:{port}", "--repeat", "1", "--idcode")
        with (
            Process("drivers.c37118.simulator", *options, "1", stdin=subprocess.PIPE) as one,
            Process("drivers.c37118.simulator", *options, "2", stdin=subprocess.PIPE) as two,
        ):
            one.line("sending to")
            two.line("sending to")
            lab.start_ioc()
            asyncio.run(story(lab))


def test_times_that_cannot_be_are_refused_and_told(tmp_path):
    async def story(lab: Lab) -> None:
        async with lab.pvs() as watched:
            await watched.until("FREQ", good)
            last = watched["FREQ"].time_ns
            lab.simulator.say({"time_jump": 3 * 86400})
            await watched.until("BADTIMES", lambda reading: reading.connected and (reading.value or 0) > 0)
            await watched.until("FREQ", lambda reading: reading.severity is Severity.INVALID)
            assert watched["FREQ"].time_ns < last + 60 * 10**9
            await watched.until("ERROR", lambda reading: "no data for" in str(reading.value))
            text = (await watched.client.get(f"{lab.prefix}PMU:ERROR.VAL$")).value
            assert "is refused: the PMU's clock is not set" in text
            lab.simulator.say({"time_jump": -3 * 86400})
            await watched.until("FREQ", good)

    with Lab(tmp_path, "--cfg3") as lab:
        run(lab, story)


def test_the_site_says_what_is_invalid_and_what_is_in_doubt(tmp_path):
    async def story(lab: Lab) -> None:
        async with lab.pvs() as watched:
            await watched.until("FREQ", good)
            lab.simulator.say({"stat": 0x2000})
            await watched.until("FREQ", lambda reading: reading.severity is Severity.INVALID)
            lab.simulator.say({"stat": 0x8000})
            reading = await watched.until("FREQ", lambda reading: reading.severity is Severity.MINOR)
            assert reading.value == pytest.approx(50, abs=1)
            lab.simulator.say({"stat": 0, "tq": 9})
            await watched.value("TQ", 9)
            await watched.until("FREQ", lambda reading: reading.severity is Severity.MINOR)
            lab.simulator.say({"tq": 7})
            await watched.until("FREQ", good)

    keys = 'invalid_when = ["unsynced"]\nminor_when = ["test"]\nmax_time_error = 0.01\n'
    with Lab(tmp_path, "--cfg3", keys=keys) as lab:
        run(lab, story)


def test_the_site_says_what_a_count_of_an_integer_analog_means(tmp_path):
    async def story(lab: Lab) -> None:
        async with lab.pvs() as watched:
            counts = (await watched.until("Q", good)).value
            assert counts and counts == round(counts)
            power = (await watched.until("P", good)).value
            assert 0 < power < 0.1 and power * 1e5 == pytest.approx(round(power * 1e5))

    with Lab(tmp_path, "--format", "0", keys='configuration = "cfg2"\nanunit.P = "factor_1e-5"\n') as lab:
        run(lab, story)


def test_a_recorded_udp_stream_is_decoded(tmp_path):
    async def story(lab: Lab) -> None:
        async with lab.pvs() as watched:
            await watched.until("FRAMES", lambda reading: good(reading) and reading.value > 100)

    options, keys = WAYS["udp"]
    with Lab(tmp_path, *options, "--cfg3", "--fragment", "300", keys=keys + 'record = "stream.raw"\n') as lab:
        run(lab, story)
        assert lab.ioc.stop() == 0
    with Process(
        "drivers.c37118", "decode", "--json", str(tmp_path / "stream.raw"), "--npz", str(tmp_path / "x.npz")
    ) as it:
        assert it.popen.wait(30) == 0
        counts = json.loads(it.line('"data"'))
    assert counts["data"] > 100 and (counts["undecoded"], counts["bad_crc"]) == (0, 0)
    assert (tmp_path / "x.npz").exists()
