"""The how-to for swapping a sensor does what it says."""

import re
from pathlib import Path

import pytest

from ingest.cr1000.__main__ import main
from tests.cr1000 import write

PAGE = Path(__file__).resolve().parents[2] / "docs/how-to/swapping-a-sensor.md"
ROWS = """\
"2023-06-01 00:00:00",1,"P1180",10
"2026-06-02 13:00:00",2,"P1180",10
"2026-06-02 13:30:00",3,"P1180",10
"2026-06-02 14:00:00",4,"P4521",10
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    blocks = re.findall(r"^`(config/[\w/.]+)`\n```\n(.*?)```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) == 5
    monkeypatch.chdir(write(tmp_path, {**dict(blocks), "data/mlo.dat": ROWS}))
    return tmp_path


@pytest.mark.parametrize(("station", "gap"), [("sum", "10.05"), ("mlo", "10.05"), ("brw", "")])
def test_a_swapped_sensor_is_calibrated_by_its_own_file(folder, capfd, station, gap):
    assert main(["data/mlo.dat", "--config", "config", "--station", station]) == 0
    values = [line.split(",")[1] for line in capfd.readouterr().out.splitlines()[1:]]
    assert values == ["10.06", "10.05", gap, "10.1"]


def test_the_commands_of_the_page_run(folder, capfd):
    commands = re.findall(r"^python -m ingest.cr1000 (.*)$", PAGE.read_text(), flags=re.MULTILINE)
    for command in commands:
        words = [quoted or bare for quoted, bare in re.findall(r'"(.*?)"|(\S+)', command)]
        assert main(words) == 0
    assert "config/mlo.cfg:2: 2026-06-02T14:00:00Z,,T1,hmp155,@P4521,4,probe swapped" in capfd.readouterr().out
    assert len(commands) == 2
