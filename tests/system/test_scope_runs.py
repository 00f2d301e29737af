"""Runs of a scope through its IOC: events into files, and what may come between."""

import json
import os
import time

import numpy as np
import pytest

from drivers.lecroy.wavedesc import decode
from tests.processes import wait_for
from tests.scope_lab import ScopeLab
from tests.thermostat_lab import MAJOR, NO_ALARM


@pytest.fixture
def lab(tmp_path):
    with ScopeLab(tmp_path) as lab:
        yield lab


def begin(lab, **wishes):
    for name, value in wishes.items():
        lab.put(f"RUN:{name}", value)
        assert lab.value(f"S:RUN:{name}") == value
    lab.put("RUN:START", 1)
    assert lab.value("S:RUN:STATE") == 1, lab.value("S:LASTREJECT.VAL$")


def sidecar(lab, title="run-0001") -> dict:
    return json.loads((lab.directory / "runs" / f"{title}.json").read_text())


def test_a_run_of_events_with_other_pvs_beside_it(lab):
    more = f'run_pvs = ["{lab.prefix}S:C1:VDIV_RBV", "{lab.prefix}NOBODY"]\n'
    lab.start("--rate", "100", more=more)
    for channel in ("C3", "C4"):
        lab.put(f"{channel}:ON", 0)
    begin(lab, N=25, NAME="pico")
    title = lab.value("S:RUN:TITLE")
    lab.put("C1:VDIV", 0.5)
    assert "a run is under way" in lab.value("S:LASTREJECT.VAL$")
    lab.wait("S:RUN:STATE", 0)
    assert title == lab.value("S:RUN:TITLE") == "pico-0001"
    assert (lab.value("S:RUN:EVENTS"), lab.value("S:RUN:FILES"), lab.value("S:RUN:PROGRESS")) == (25, 50, 100)
    names = [path.name for path in lab.files()]
    assert names == [f"C{n}-pico-0001-{event:05d}.trc" for n in (1, 2) for event in range(1, 26)]
    for path in lab.files("C1-*"):
        other = path.with_name(path.name.replace("C1-", "C2-"))
        assert decode(path.read_bytes()).triggered == decode(other.read_bytes()).triggered
    told = sidecar(lab, "pico-0001")
    assert told["ended"] == "complete" and told["end"]["settings"]["C1:VDIV"] == "100E-3 V"
    assert told["start"]["values"][f"{lab.prefix}S:C1:VDIV_RBV"]["value"] == 0.1
    assert told["start"]["values"][f"{lab.prefix}NOBODY"] is None


def test_a_run_is_paused_goes_on_and_is_stopped(lab):
    lab.start("--rate", "100")
    begin(lab, N=0, FORMAT=1, DIR="night", SECONDS=3600.0)
    lab.wait("S:RUN:EVENTS", lambda reading: reading["value"] > 3)
    lab.wait("S:RUN:ETA", lambda reading: reading["severity"] == NO_ALARM and 3000 < reading["value"] < 3600)
    lab.put("RUN:PAUSE", 1)
    lab.wait("S:RUN:STATE", 2)
    lab.put("C1:VDIV", 0.2)  # which a pause allows
    held = lab.value("S:RUN:EVENTS")
    lab.put("FORCE", 1)
    assert lab.value("S:RUN:EVENTS") == held
    lab.put("RUN:PAUSE", 0)
    lab.wait("S:RUN:EVENTS", lambda reading: reading["value"] > held + 3)
    lab.put("RUN:STOP", 1)
    assert lab.value("S:RUN:STATE") == 0
    with np.load(lab.directory / "runs" / "night" / "run-0001.npz") as columns:
        assert columns["event"].max() == lab.value("S:RUN:EVENTS")
    notes = [note["text"] for note in json.loads((lab.directory / "runs/night/run-0001.json").read_text())["notes"]]
    notes = [text for text in notes if not text.startswith("an event was left out")]  # the scope runs on by itself
    assert notes == ["paused", "settings have changed: C1:VDIV 100E-3 V -> 200E-3 V", "goes on"]


def test_power_goes_in_mid_run_and_no_event_is_half(lab):
    lab.start("--rate", "100")
    begin(lab, N=60)
    lab.wait("S:RUN:EVENTS", lambda reading: reading["value"] > 5)
    lab.scope.say({"power": False})
    lab.wait("S:ONLINE", 0)
    lab.scope.say({"power": True})
    lab.wait("S:ONLINE", 1)
    lab.wait("S:RUN:STATE", lambda reading: reading["value"] == 0 and reading["severity"] == NO_ALARM, 90)
    assert [len(lab.files(f"C{n}-*")) for n in range(1, 5)] == [60] * 4
    assert "the scope is back" in [note["text"] for note in sidecar(lab)["notes"]]


def test_other_settings_after_a_power_cut_end_the_run(lab):
    lab.start("--rate", "100")
    begin(lab, N=5000)
    lab.wait("S:RUN:EVENTS", lambda reading: reading["value"] > 2)
    lab.scope.say({"power": False})
    lab.wait("S:ONLINE", 0)
    lab.scope.say({"panel": "C2:VDIV 0.5"})
    lab.scope.say({"power": True})
    assert lab.wait("S:RUN:STATE", lambda r: r["value"] == 4 and r["severity"] == MAJOR)
    assert "C2:VDIV 100E-3 V -> 500E-3 V" in lab.value("S:RUN:ERROR.VAL$")
    assert "other settings" in sidecar(lab)["ended"]


def test_a_folder_that_cannot_be_written_holds_the_run_and_loses_nothing(lab):
    lab.start("--rate", "100")
    begin(lab, N=30)
    lab.wait("S:RUN:EVENTS", lambda reading: reading["value"] > 3)
    runs, aside = lab.directory / "runs", lab.directory / "aside"
    runs.rename(aside)  # as a disk that has gone away
    assert lab.wait("S:RUN:STATE", 3)["severity"] == MAJOR
    assert "the disk refuses event" in lab.value("S:RUN:ERROR.VAL$")
    lab.wait("S:ONLINE", 1)
    beat = lab.value("S:HEARTBEAT")
    lab.wait("S:HEARTBEAT", lambda reading: reading["value"] > beat + 3)
    assert lab.value("S:RUN:STATE") == 3 and lab.value("S:ONLINE") == 1
    aside.rename(runs)
    lab.wait("S:RUN:STATE", 0, 60)
    times = [decode(path.read_bytes()).triggered for path in lab.files("C2-*")]
    assert len(times) == 30 and times == sorted(set(times))


def test_what_makes_no_run_is_refused(lab):
    lab.start()
    for name, value, said in (
        ("RUN:DIR", "/etc", "write a folder within"),
        ("RUN:DIR", "../x", "write a folder within"),
        ("RUN:NAME", "C2", "finds the channel"),
        ("RUN:PAUSE", 1, "there is no run"),
    ):
        before = lab.value(f"S:{name}")
        lab.put(name, value)
        assert said in lab.value("S:LASTREJECT.VAL$")
        assert lab.value(f"S:{name}") == before


def test_the_end_of_the_program_ends_the_run_in_order(lab):
    ioc = lab.start("--rate", "100")
    begin(lab, N=0)
    lab.wait("S:RUN:EVENTS", lambda reading: reading["value"] > 3)
    assert ioc.stop() == 0
    assert "the program ended" in sidecar(lab)["ended"]
    counts = {len(lab.files(f"C{n}-*")) for n in range(1, 5)}
    assert len(counts) == 1 and not lab.files("*.new")


def test_a_trigger_that_never_comes_holds_up_nothing(lab):
    lab.start("--rate", "0")
    begin(lab, N=5)
    began = time.monotonic()
    lab.put("RUN:STOP", 1)
    lab.put("TDIV", 1e-6)
    assert time.monotonic() - began < 10
    assert (lab.value("S:RUN:STATE"), lab.value("S:TDIV_RBV"), lab.value("S:TRMD_RBV")) == (0, 1e-6, 3)


def test_a_slow_disk_holds_the_run_and_nothing_else(lab):
    """A pipe that nobody reads stands where the next event's file is to be: opening it takes as long as we like."""
    lab.start("--rate", "100", more="lost_after = 1.5\n")
    begin(lab, N=12)
    lab.wait("S:RUN:EVENTS", lambda reading: reading["value"] > 3)
    lab.put("RUN:PAUSE", 1)
    done = int(lab.value("S:RUN:EVENTS"))
    pipe = lab.directory / "runs" / f"C1-run-0001-{done + 1:05d}.trc.new"
    os.mkfifo(pipe)
    lab.put("RUN:PAUSE", 0)
    assert lab.wait("S:RUN:STATE", 3)["severity"] == MAJOR
    assert f"the disk is slow: event {done + 1}" in lab.value("S:RUN:ERROR.VAL$")
    beat = lab.value("S:HEARTBEAT")
    lab.wait("S:HEARTBEAT", lambda reading: reading["value"] > beat + 2)  # longer than a silent box is waited for
    lab.scope.say({"panel": "C1:TRLV 0.3"})
    lab.wait("S:C1:TRLV_RBV", 0.3, 5)
    assert (lab.value("S:ONLINE"), lab.value("S:RECONNECTS")) == (1, 0)
    lab.put("RUN:PAUSE", 1)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        wait_for(lambda: not pipe.exists(), "end of the attempt")  # a pipe cannot be synced: the disk refuses
        lab.wait("S:RUN:EVENTS", done + 1)  # and is tried again, in the pause too
        assert lab.value("S:RUN:STATE") == 2
        lab.put("RUN:PAUSE", 0)
        lab.wait("S:RUN:STATE", 0)
    finally:
        os.close(reader)
    assert [len(lab.files(f"C{n}-*")) for n in range(1, 5)] == [12] * 4
    notes = [note["text"] for note in sidecar(lab)["notes"]]
    assert any("the disk is slow" in note for note in notes) and any("the disk refuses" in note for note in notes)


def test_what_somebody_does_at_the_front_panel_in_a_run(lab):
    lab.start("--rate", "0")
    begin(lab, N=5)
    lab.wait("S:TRMD_RBV", 2)
    lab.put("CMD", "C1:VDIV 0.5;C1:VDIV?")
    assert "its settings stay" in lab.value("S:LASTREJECT.VAL$")
    lab.put("CMD", "C1:VDIV?")
    assert lab.value("S:REPLY") == "C1:VDIV 100E-3 V"
    lab.scope.say({"panel": "C1:VDIV 0.5;STOP"})
    lab.wait("S:RUN:STATE", 2)
    assert "stopped at its front panel" in lab.value("S:RUN:ERROR.VAL$")
    lab.scope.say({"rate": 100})
    lab.put("RUN:PAUSE", 0)
    lab.wait("S:RUN:STATE", 0)
    notes = [note["text"] for note in sidecar(lab)["notes"]]
    assert notes[0] == "settings have changed: C1:VDIV 100E-3 V -> 500E-3 V" and notes[-1] == "goes on"
    assert sidecar(lab)["events"] == 5
