"""`acquire` as a command against a simulator in a process of its own: faults in mid-run, files that others read."""

import asyncio
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import lecroyparser
import pytest

from drivers.lecroy.scope import Scope
from drivers.lecroy.wavedesc import decode
from iocs.scope_waveforms import prepared
from tests.loop_lag import LoopLag
from tests.processes import Process, wait_for

PIPE = subprocess.PIPE


@contextmanager
def simulator(*options):
    with Process("drivers.lecroy.simulator", "--port", "0", "--rate", "100", *options, stdin=PIPE) as it:
        it.address = it.line("listening on").split()[2]
        yield it


def acquire(address: str, folder: Path, *options: str) -> Process:
    return Process("drivers.lecroy", "acquire", address, "-o", str(folder), "--name", "pico", *options)


def files(folder: Path, pattern: str = "C?-pico-*.trc") -> list[Path]:
    return sorted(folder.glob(pattern))


def ended(process: Process) -> int:
    return wait_for(lambda: process.popen.poll() is not None and [process.popen.returncode], "end", 90)[0]


def sidecar(folder: Path) -> dict:
    return json.loads((folder / "pico-0001.json").read_text())


def test_events_come_home_whole_and_in_the_simulators_order(tmp_path):
    with simulator() as scope, acquire(scope.address, tmp_path, "-n", "20", "-c", "C1", "-c", "c2") as run:
        assert ended(run) == 0, run.log()
        run.line("pico-0001: 20 events")
        assert [path.name for path in files(tmp_path)] == [
            f"C{channel}-pico-0001-{event:05d}.trc" for channel in (1, 2) for event in range(1, 21)
        ]
        times = [
            [decode(path.read_bytes()).triggered for path in files(tmp_path, f"C{channel}-*")] for channel in (1, 2)
        ]
        assert times[0] == times[1] == sorted(set(times[0]))
        theirs = lecroyparser.ScopeData(path=str(files(tmp_path)[-1]))
        assert theirs.y == pytest.approx(decode(files(tmp_path)[-1].read_bytes()).volts()[0], rel=1e-5, abs=1e-6)
        assert sidecar(tmp_path)["ended"] == "complete"
        assert sidecar(tmp_path)["start"]["settings"]["TDIV"] == "100E-9 S"
        assert scope.stop() == 0


def test_power_goes_in_mid_run_and_comes_back(tmp_path):
    with simulator() as scope, acquire(scope.address, tmp_path, "-n", "60", "-c", "C2") as run:
        wait_for(lambda: len(files(tmp_path)) > 5, "first events")
        scope.say({"power": False})
        run.line("/inst0: ")
        scope.say({"power": True})
        run.line("the scope is back")
        assert ended(run) == 0, run.log()
        assert len(files(tmp_path)) == 60
        notes = [note["text"] for note in sidecar(tmp_path)["notes"]]
        assert notes[-1] == "the scope is back" and "inst0" in notes[0]


@pytest.mark.parametrize("fault", ["cut", "stall", "truncated", "lying"])
def test_a_read_that_fails_costs_its_event_alone(tmp_path, fault):
    with simulator() as scope, acquire(scope.address, tmp_path, "-n", "30", "-c", "C1", "-c", "C2") as run:
        wait_for(lambda: len(files(tmp_path)) > 5, "first events")
        scope.say({fault: 1})
        assert ended(run) == 0, run.log()
        assert len(files(tmp_path, "C1-*")) == len(files(tmp_path, "C2-*")) == 30
        for path in files(tmp_path):
            assert decode(path.read_bytes()).points == 1002
        assert sidecar(tmp_path)["notes"]


def test_a_scope_that_comes_back_with_other_settings_ends_the_run(tmp_path):
    with simulator() as scope, acquire(scope.address, tmp_path, "-n", "5000", "-c", "C2") as run:
        wait_for(lambda: len(files(tmp_path)) > 2, "first events")
        scope.say({"power": False})
        run.line("/inst0: ")
        scope.say({"panel": "C2:VDIV 0.5"})
        scope.say({"power": True})
        run.line("came back with other settings: C2:VDIV 100E-3 V -> 500E-3 V")
        assert ended(run) == 1
        assert "other settings" in sidecar(tmp_path)["ended"]


def test_a_trigger_that_never_comes_is_stopped_in_order(tmp_path):
    with simulator() as scope, acquire(scope.address, tmp_path, "-c", "C2", "--format", "npz") as run:
        wait_for(lambda: files(tmp_path, "pico-0001.part/*00003.trc"), "three events")
        scope.say({"rate": 0})
        scope.say({"rate": 0})
        assert run.stop() == 0
        assert "stopped" in run.err
        assert sidecar(tmp_path)["ended"] == "stopped"
        assert (tmp_path / "pico-0001.npz").exists()


def test_channels_that_the_scope_shows_are_kept_where_none_are_named(tmp_path):
    with simulator() as scope:
        scope.say({"panel": "C1:TRA OFF;C4:TRA OFF"})
        with acquire(scope.address, tmp_path, "-n", "2", "-c", "C2", "-c", "C1") as run:
            assert ended(run) == 1
            assert "C1: not shown" in run.err[-1]
        with acquire(scope.address, tmp_path, "-n", "2") as run:
            assert ended(run) == 0, run.log()
        assert [path.name[:2] for path in files(tmp_path)] == ["C2", "C2", "C3", "C3"]


def test_a_run_that_never_began_tells_of_none(tmp_path):
    with simulator() as scope:
        scope.say({"mute": True})
        with acquire(scope.address, tmp_path) as run:
            wait_for(lambda: asked(run, scope.address), "connection")
            assert run.stop() == 0
            assert (run.out, run.err, files(tmp_path, "*")) == ([], ["stopped"], [])


def asked(run: Process, address: str) -> bool:
    """Whether the program has a connection to the scope."""
    port = int(address.rsplit(":", 1)[1].split("/")[0])
    lines = Path(f"/proc/{run.popen.pid}/net/tcp").read_text().splitlines()[1:]
    return any(line.split()[2].endswith(f":{port:04X}") and line.split()[3] == "01" for line in lines)


def test_seconds_end_a_run_without_triggers(tmp_path):
    with simulator("--rate", "0") as scope, acquire(scope.address, tmp_path, "-t", "0.5", "-c", "C2") as run:
        assert ended(run) == 0, run.log()
        assert sidecar(tmp_path)["events"] == 0 and not files(tmp_path)


def test_bad_usage_and_no_scope(tmp_path):
    def said(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "drivers.lecroy", "acquire", *arguments, "-o", str(tmp_path)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return result.returncode, result.stderr.splitlines()[-1]

    assert said("tcp://x:1")[0] == 2
    code, text = said("vxi11://x/inst0", "-c", "C9")
    assert (code, "channels are C1, C2, C3, C4" in text) == (2, True)
    code, text = said("vxi11://127.0.0.1:1/inst0")
    assert (code, "connection refused" in text) == (1, True)


def test_the_example_program_takes_a_sequence_at_the_old_working_point(tmp_path):
    root = Path(__file__).resolve().parents[2]
    with simulator("--rate", "1000") as scope:
        result = subprocess.run(
            [sys.executable, str(root / "docs/examples/scope.py"), scope.address],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (result.returncode, result.stderr) == (0, "")
        assert "C2-prova.trc: 100 segments of 1002 points" in result.stdout
        waveform = decode((tmp_path / "C2-prova.trc").read_bytes())
        assert (waveform.segments, waveform.descriptor.words()["timebase"]) == (100, "100 ns/div")


@pytest.mark.alone
def test_the_event_loop_never_stalls_while_32_mb_are_read_and_made_ready():
    async def story(address: str) -> None:
        scope = Scope(address)
        await scope.open()
        await scope.memory_size(1.6e7)
        await scope.single()
        assert await scope.wait_acquisition(60)
        async with LoopLag() as lag:
            for _ in range(2):
                event = {"C2": await scope.waveform("C2")}
                assert len(event["C2"]) > 32_000_000
                values = await asyncio.to_thread(prepared, event, 10_000, {"C2"}, 16_000_000, 100)
                assert len(values["C2:WF"]) <= 10_000
        await scope.close()
        assert lag.longest < 0.05

    with simulator() as scope:
        asyncio.run(story(scope.address))
