"""Runs as files: names, numbers, whole events or none, columns, the sidecar."""

import errno
import json
import os
import threading

import numpy as np
import pytest

import drivers.lecroy.run as run_module
from drivers.errors import ProtocolError
from drivers.lecroy.run import Run
from drivers.lecroy.wavedesc import decode
from tests.lecroy_blocks import WHEN, trace


def event(*channels, **fields):
    return {channel: f"{channel}:WF ALL,".encode() + trace(100, 3, **fields) + b"\n" for channel in channels}


def begun(directory, **options):
    run = Run(directory, "pico", ["C1", "C2"], **options)
    run.begin({"TDIV": "100E-9 S"}, {"LAB:HV:CH0:VMON": 400.0})
    return run


def test_names_as_the_analysis_wants_them_and_a_clean_block(tmp_path):
    run = begun(tmp_path / "data")
    first, second = event("C1", "C2"), event("C1", "C2")
    assert run.store(first) == ["C1-pico-0001-00001.trc", "C2-pico-0001-00001.trc"]
    run.store(second)
    run.end("complete", {"TDIV": "100E-9 S"}, {"LAB:HV:CH0:VMON": 401.0})
    names = sorted(os.listdir(tmp_path / "data"))
    assert names == [*sorted(run.files), "pico-0001.json"]
    assert (tmp_path / "data/C2-pico-0001-00002.trc").read_bytes() == second["C2"][10:-1]
    sidecar = json.loads((tmp_path / "data/pico-0001.json").read_text())
    assert sidecar["start"] == {"settings": {"TDIV": "100E-9 S"}, "values": {"LAB:HV:CH0:VMON": 400.0}}
    assert sidecar["end"]["values"] == {"LAB:HV:CH0:VMON": 401.0}
    assert (sidecar["events"], sidecar["ended"], sidecar["files"]) == (2, "complete", 4)


def test_numbers_go_on_and_nothing_is_written_over(tmp_path):
    (tmp_path / "C2-pico-0007-00001.trc").write_bytes(b"precious")
    run = begun(tmp_path)
    assert run.number == 8
    assert begun(tmp_path).number == 9
    (tmp_path / "C2-pico-0008-00001.trc").write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        run.store(event("C1", "C2"))
    assert (tmp_path / "C2-pico-0008-00001.trc").read_bytes() == b"precious"
    assert not (tmp_path / "C1-pico-0008-00001.trc").exists()
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".new")]


def test_a_full_disk_leaves_nothing_of_the_event_and_it_can_be_stored_again(tmp_path, monkeypatch):
    run = begun(tmp_path)
    run.store(event("C1", "C2"))
    before = sorted(os.listdir(tmp_path))
    syncs = []
    real = os.fsync

    def full(descriptor):
        syncs.append(descriptor)
        if len(syncs) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    second = event("C1", "C2")
    with pytest.raises(OSError, match="No space left"):
        run.store(second)
    assert (sorted(os.listdir(tmp_path)), run.done) == (before, 1)
    assert run.store(second) == ["C1-pico-0001-00002.trc", "C2-pico-0001-00002.trc"]


def test_channels_of_different_triggers_are_not_stored(tmp_path):
    run = begun(tmp_path)
    torn = event("C1") | event("C2", trigger_time=(1.0, 2, 3, 4, 5, 2026, 0))
    with pytest.raises(ProtocolError, match="different triggers"):
        run.store(torn)
    with pytest.raises(ProtocolError, match="cut short"):
        run.store({"C1": event("C1")["C1"], "C2": event("C2")["C2"][:500]})
    assert run.done == 0 and os.listdir(tmp_path) == ["pico-0001.json"]


def test_columns_hold_all_events(tmp_path):
    run = begun(tmp_path, format="npz")
    events = [event("C1", "C2") for _ in range(4)]
    for each in events:
        run.store(each)
    assert sorted(os.listdir(tmp_path)) == ["pico-0001.json", "pico-0001.part"]
    run.end("complete", {}, {})
    assert sorted(os.listdir(tmp_path)) == ["pico-0001.json", "pico-0001.npz"]
    with np.load(tmp_path / "pico-0001.npz") as columns:
        assert columns["event"].tolist() == [n for n in range(1, 5) for _ in range(3)]
        assert columns["segment"].tolist() == [1, 2, 3] * 4
        wanted = [decode(each["C2"]) for each in events]
        assert columns["C2"].tolist() == np.concatenate([each.codes for each in wanted]).tolist()
        volts = columns["C2"] * columns["C2_gain"][:, None] - columns["C2_offset"][:, None]
        assert volts == pytest.approx(np.concatenate([each.volts() for each in wanted]))
        assert columns["C2_x0"].tolist() == [x for each in wanted for x in each.trigger_offsets]
        assert columns["trigger_ns"][1] - int(WHEN.astype(int)) == 1_000_000
        assert set(columns["dx"]) == {wanted[0].dx}


def test_the_end_waits_for_an_event_that_is_being_written_and_no_event_follows_it(tmp_path, monkeypatch):
    run = begun(tmp_path, format="npz")
    writing, may_go_on = threading.Event(), threading.Event()
    publish = run_module._publish

    def slow(files):
        writing.set()
        assert may_go_on.wait(30)
        publish(files)

    monkeypatch.setattr(run_module, "_publish", slow)
    storing = threading.Thread(target=run.store, args=[event("C1", "C2")])
    storing.start()
    assert writing.wait(30)
    ending = threading.Thread(target=run.end, args=["stopped", {}, {}])
    ending.start()
    assert "ended" not in json.loads((tmp_path / "pico-0001.json").read_text())
    may_go_on.set()
    for each in (storing, ending):
        each.join(30)
    assert run.store(event("C1", "C2")) == [] and run.done == 1
    with np.load(tmp_path / "pico-0001.npz") as columns:
        assert columns["event"].tolist() == [1, 1, 1]
    assert json.loads((tmp_path / "pico-0001.json").read_text())["events"] == 1


def test_events_that_do_not_fit_into_columns_stay_as_they_are(tmp_path):
    run = begun(tmp_path, format="npz")
    run.store(event("C1", "C2"))
    run.store({channel: trace(50, 3) for channel in ("C1", "C2")})
    with pytest.raises(ProtocolError, match="do not fit into columns"):
        run.end("complete", {}, {})
    assert len(os.listdir(tmp_path / "pico-0001.part")) == 4
    sidecar = json.loads((tmp_path / "pico-0001.json").read_text())
    assert "its events are in pico-0001.part" in sidecar["notes"][0]["text"]
    assert not (tmp_path / "pico-0001.npz.new").exists()


def test_progress(tmp_path):
    run = begun(tmp_path, events=4)
    assert (run.finished, run.progress, run.remaining) == (False, 0.0, None)
    run.store(event("C1", "C2"))
    assert run.progress == 0.25 and run.remaining == pytest.approx(3 * run.elapsed, rel=0.5)
    run.done = 4
    assert run.finished and run.progress == 1.0
    assert not begun(tmp_path).finished  # without an end
    assert begun(tmp_path, seconds=1e-9).finished


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "x/y"}, "run name"),
        ({"name": "with C2 in it"}, "run name"),
        ({"name": "C2"}, "finds the channel"),
        ({"name": ".hidden"}, "run name"),
        ({"format": "root"}, "may be trc, npz"),
        ({"channels": []}, "at least one"),
        ({"channels": ["C1", "C1"]}, "each once"),
        ({"events": -1}, "below 0"),
        ({"events": 100_000}, "99999 at most"),
        ({"seconds": float("nan")}, "have to be numbers"),
    ],
)
def test_runs_that_make_no_sense(tmp_path, options, said):
    with pytest.raises(ValueError, match=said):
        Run(**{"directory": tmp_path, "name": "a", "channels": ["C1"], **options})
