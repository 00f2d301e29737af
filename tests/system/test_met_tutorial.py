"""The tutorial of the met station, run as it stands on a copy of the shipped one."""

import os
import shutil
import sys
from pathlib import Path

from tests.console import matches, run, sessions

ROOT = Path(__file__).resolve().parents[2]


def test_every_command_of_the_tutorial(tmp_path):
    shutil.copytree(ROOT / "docs" / "examples" / "station", tmp_path / "docs" / "examples" / "station")
    environment = {**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", str(ROOT))}
    steps = [step for session in sessions(ROOT / "docs" / "tutorial" / "a-met-station.md") for step in session]
    assert len(steps) == 13
    for command, expected in steps:
        output = run(command.replace(".venv/bin/python", sys.executable), tmp_path, environment)
        assert matches(output, expected), f"{command}\n{output}"
