"""The simulator as its own process, and the probe against it: faults by stdin, the wire log, exit codes."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import Process, wait_for

SIMULATOR = "drivers.caen_hv.simulator"


def probe(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "drivers.caen_hv", "probe", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def wire(log: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def address(simulator: Process) -> str:
    return simulator.line("listening on").split()[2]


def test_the_probe_reports_all_and_asks_only(tmp_path: Path) -> None:
    log = tmp_path / "wire.jsonl"
    with Process(SIMULATOR, "--port", "0", "--channels", "8", "--boards", "2", "--log", str(log)) as simulator:
        result = probe(address(simulator), "--boards", "0-2", "--timeout", "0.5")
        assert (result.returncode, result.stderr) == (0, "")
        for line in (
            "board 0     R1470ET, 8 channels, firmware 1.08, serial 174",
            "board 1     R1470ET, 8 channels, firmware 1.08, serial 175",
            "  ISET      0 .. 3000 uA in steps of 0.01",
            "VSET        " + ";".join(["0000.0"] * 8) + " V",
            "STAT        " + ";".join(["00000"] * 8),
            "ZCADJ       PAR:ERR",
            "alarms      none (the bits of 8 channels are not documented)",
            "no answer from board 2",
        ):
            assert line in result.stdout.splitlines(), result.stdout
        assert "latency" in result.stdout
        assert simulator.stop() == 0
    said = wire(log)
    requests = [str(each["text"]) for each in said if each["what"] == "request"]
    assert len(requests) > 100
    assert all(",CMD:MON," in each for each in requests)
    assert [each["what"] for each in said if each["what"] in ("connected", "closed", "reset")] == [
        "connected",
        "closed",
    ]


def test_the_probe_over_a_serial_port(tmp_path: Path) -> None:
    with Process(SIMULATOR, "--pty", str(tmp_path / "hv")) as simulator:
        assert address(simulator) == f"serial://{tmp_path}/hv"
        result = probe(address(simulator))
        assert (result.returncode, result.stderr) == (0, "")
        assert "R1470ET, 4 channels" in result.stdout
        assert simulator.stop(signal.SIGINT) == 0
    assert not os.path.lexists(tmp_path / "hv")


def test_the_probe_ends_its_session_in_order_when_it_is_stopped(tmp_path: Path) -> None:
    log = tmp_path / "wire.jsonl"
    with Process(SIMULATOR, "--port", "0", "--log", str(log), stdin=subprocess.PIPE) as simulator:
        where = address(simulator)
        simulator.say({"slow": 0.05, "sticky": True})
        with Process("drivers.caen_hv", "probe", where) as running:
            wait_for(lambda: len(wire(log)) > 10, "questions of the probe")
            assert running.stop() == 0
            assert running.err == ["stopped"]
        wait_for(lambda: wire(log)[-1]["what"] in ("closed", "reset"), "end of the session")
        assert wire(log)[-1]["what"] == "closed"
        simulator.say({"slow": 0.0})
        assert probe(where).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["tcp://127.0.0.1:1"], 1, "connection refused"),
        (["serial:///nowhere/hv"], 1, "/nowhere/hv"),
        (["10.0.0.5"], 2, "write scheme://host:port"),
        (["tcp://10.0.0.5", "--boards", "x"], 2, "'x' is no list of board numbers"),
        (["tcp://10.0.0.5", "--boards", "32"], 2, "boards are numbered 0 to 31"),
        (["tcp://10.0.0.5", "--timeout", "0"], 2, "above 0 and up to 60 s"),
    ],
)
def test_bad_use_of_the_probe_is_told(arguments: list[str], code: int, says: str) -> None:
    result = probe(*arguments)
    assert (result.returncode, result.stdout) == (code, "")
    assert says in result.stderr
    assert "Traceback" not in result.stderr


def test_faults_and_states_come_by_stdin_and_nonsense_is_reported() -> None:
    with Process(SIMULATOR, "--port", "0", "--speed", "50", stdin=subprocess.PIPE) as simulator:
        host, _, port = address(simulator).removeprefix("tcp://").partition(":")
        with socket.create_connection((host, int(port)), timeout=20) as unit:
            stream = unit.makefile("rwb")

            def ask(text: str) -> str:
                stream.write(text.encode() + b"\r\n")
                stream.flush()
                return stream.readline().decode().strip()

            simulator.tell('{"explode": true}')
            simulator.tell('{"channel": {"number": 1, "explode": true}}')
            simulator.tell('{"channel": {"load": "much"}}')
            simulator.tell('{"lost": true}')
            simulator.tell("[]")
            simulator.say({"board": {"local": True}, "channel": {"number": 1, "vset": 321.0, "on": True}})
            wait_for(lambda: ask("$BD:00,CMD:MON,PAR:BDCTR") == "#BD:00,CMD:OK,VAL:LOCAL", "LOCAL")
            assert ask("$BD:00,CMD:SET,CH:0,PAR:VSET,VAL:1") == "#BD:00,LOC:ERR"
            wait_for(lambda: ask("$BD:00,CMD:MON,CH:1,PAR:VMON") == "#BD:00,CMD:OK,VAL:0321.0", "321 V")
            assert len([line for line in simulator.err if "not understood" in line]) == 5
            assert "known: drop, power, kill, board, channel" in simulator.log()
            with socket.create_connection((host, int(port)), timeout=20) as second:
                assert second.recv(10) == b""  # one session
            assert ask("$BD:00,CMD:MON,PAR:BDNAME") == "#BD:00,CMD:OK,VAL:R1470ET"
        assert simulator.stop() == 0


@pytest.mark.parametrize("arguments", [["--boards", "0"], ["--channels", "33"], ["--speed", "0"], ["--load", "-1"]])
def test_bad_options_of_the_simulator_are_refused(arguments: list[str]) -> None:
    command = [sys.executable, "-m", SIMULATOR, "--port", "0", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 2
    assert "please" in result.stderr
