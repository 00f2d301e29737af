"""The main job: a PMU on the wire, through IOC and archiver, to CSV without a missing row. All real processes."""

import asyncio
import time
from itertools import pairwise

import pytest

from drivers.c37118 import capture, frames
from tests.lab import Lab
from tests.processes import wait_for

EXACT = '[archive.csv]\ntime_format = "ns"\nvalue_digits = "repr"\nwrite_every = 0.2\n'


def times(lab: Lab) -> list[int]:
    return [int(row[0]) for row in lab.rows()]


def test_a_recorded_stream_comes_home_whole(tmp_path, sample):
    recording = sample("pmu/one-pmu-tcp.pcap")
    sent = [item.message for item in capture.Recording(recording) if isinstance(item.message, frames.DataFrame)]
    assert len(sent) == 252
    with Lab(tmp_path, "--replay", str(recording), rest=EXACT, idcode=241) as lab:
        lab.start_ioc()
        lab.start_archiver()
        lab.start_simulator()
        wait_for(lambda: len(lab.rows()) >= 252, "252 rows")
        assert lab.archiver.stop() == 0
        assert lab.ioc.stop() == 0
        rows = lab.rows()
        header = lab.csv_files()[-1].read_text().splitlines()[0].split(",")
    assert len(rows) == 252
    columns = {name: index for index, name in enumerate(header)}
    for row, frame in zip(rows, sent, strict=True):
        data = frame.pmus[0]
        assert int(row[0]) == frame.time_ns
        assert int(row[columns["STAT"]]) == data.stat == 0x0800
        assert float(row[columns["FREQ (Hz)"]]) == data.freq
        assert float(row[columns["ROCOF (Hz/s)"]]) == data.rocof
        for name, phasor in zip(("V1LPM", "VALPM", "VBLPM", "VCLPM"), data.phasors, strict=True):
            assert float(row[columns[f"{name}:MAG (V)"]]) == phasor.magnitude
            assert float(row[columns[f"{name}:ANG (deg)"]]) == pytest.approx(
                phasor.angle * 57.29577951308232, abs=1e-12
            )


@pytest.mark.parametrize("rate", [50, 240])
def test_one_row_for_each_frame_with_its_own_time(tmp_path, rate):
    with Lab(tmp_path, "--rate", str(rate), rest=EXACT) as lab:
        lab.start_simulator()
        lab.start_ioc()
        lab.start_archiver()
        wait_for(lambda: len(lab.rows()) >= 4 * rate, f"{4 * rate} rows")
        lab.archiver.stop()
        stamps = times(lab)
    index = [round(stamp * rate / 1e9) for stamp in stamps]
    assert index == list(range(index[0], index[0] + len(index)))
    assert stamps == [(number // rate) * 10**9 + (number % rate * 10**9 + rate // 2) // rate for number in index]


def test_a_killed_simulator_leaves_a_gap_and_nothing_else(tmp_path):
    with Lab(tmp_path, rest=EXACT) as lab:
        lab.start_simulator()
        lab.start_ioc()
        lab.start_archiver()
        wait_for(lambda: len(lab.rows()) > 50, "rows")
        lab.simulator.kill()
        lab.archiver.line("ROW")
        before = wait_for(lambda: still(lab), "end of the rows")
        lab.start_simulator()
        wait_for(lambda: len(lab.rows()) > before + 50, "rows after the loss")
        lab.archiver.stop()
        steps = [later - earlier for earlier, later in pairwise(times(lab))]
        assert len(lab.csv_files()) == 1  # a reconnect with the same layout goes on in the same file
    assert len([step for step in steps if step != 20_000_000]) == 1 and max(steps) == max(steps[: before + 50])


def still(lab: Lab) -> int:
    """Give the number of rows once no more come."""
    count = len(lab.rows())
    time.sleep(0.5)
    return count if count == len(lab.rows()) else 0


def test_a_new_configuration_begins_a_new_file_and_loses_no_row(tmp_path):
    with Lab(tmp_path, rest=EXACT) as lab:
        lab.start_simulator()
        lab.start_ioc()
        lab.start_archiver()
        wait_for(lambda: len(lab.rows()) > 50, "rows")
        lab.simulator.say({"reconfigure": {"phasors": ["VA", "NEW ONE"], "notice": 0.5}})
        second = wait_for(lambda: lab.csv_files()[1:], "second file")[0]
        wait_for(lambda: len(second.read_text().splitlines()) > 50, "rows in the second file")
        lab.archiver.stop()
        first, second = lab.csv_files()
        for path in (first, second):
            lines = path.read_text().splitlines()
            assert {line.count(",") for line in lines} == {lines[0].count(",")}
        assert "VB:MAG (V)" in first.read_text() and "NEW_ONE:MAG (V)" in second.read_text()
        stamps = times(lab)
        assert all(later - earlier == 20_000_000 for earlier, later in pairwise(stamps))


def test_a_killed_archiver_leaves_whole_lines_and_goes_on(tmp_path):
    with Lab(tmp_path, rest=EXACT) as lab:
        lab.start_simulator()
        lab.start_ioc()
        lab.start_archiver()
        wait_for(lambda: len(lab.rows()) > 50, "rows")
        lab.archiver.kill()
        for path in lab.csv_files():
            assert path.read_text().endswith("\n")
        before = len(lab.rows())
        lab.start_archiver()
        wait_for(lambda: len(lab.rows()) > before + 50, "rows after the restart")
        lab.archiver.stop()
        assert 1 <= len(lab.csv_files()) <= 2  # a file of which nothing was acknowledged is written anew
        assert len(set(times(lab))) == len(times(lab))


def test_a_repeated_leap_second_keeps_both_rows(tmp_path):
    with Lab(tmp_path, rest=EXACT) as lab:
        lab.start_simulator()
        lab.start_ioc()
        lab.start_archiver()
        wait_for(lambda: len(lab.rows()) > 20, "rows")
        lab.simulator.say({"leap_second": "insert"})
        wait_for(lambda: len(times(lab)) - len(set(times(lab))) == 50, "fifty stamps that came twice")
        lab.archiver.stop()
        header = lab.csv_files()[0].read_text().splitlines()[0].split(",")
        leap = header.index("LEAP")
        twice = {stamp for stamp in times(lab) if times(lab).count(stamp) == 2}
        flags = {stamp: [row[leap] for row in lab.rows() if int(row[0]) == stamp] for stamp in twice}
        assert set(map(tuple, flags.values())) == {("1", "3")}  # pending, then occurred: the two can be told apart
        steps = [later - earlier for earlier, later in pairwise(times(lab))]
        assert sorted(set(steps)) == [-980_000_000, 20_000_000]


def test_the_ioc_shows_what_the_csv_holds(tmp_path):
    async def story(lab: Lab) -> None:
        async with lab.pvs() as watched:
            watched.watch("ROW")
            await watched.until(
                "ROW", lambda reading: reading.connected and len(reading.value) and reading.value[0] > 100
            )
            wait_for(lambda: len(lab.rows()) > 100, "rows")
            by_time = {int(row[0]): row for row in lab.rows()}
            for reading in watched.seen["ROW"]:
                if reading.time_ns in by_time:
                    cells = [float(cell) for cell in by_time[reading.time_ns][1:]]
                    assert cells == list(reading.value[4:])

    with Lab(tmp_path, rest=EXACT) as lab:
        lab.start_simulator()
        lab.start_ioc()
        lab.start_archiver()
        asyncio.run(story(lab))
