"""The README's terminal sessions, run as they stand in a fresh copy of the tree; `...` stands for anything."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.console import matches, run, sessions
from tests.processes import DEADLINE, ca_environment, free_port

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def clone(tmp_path):
    """A copy of the tree as git sees it, with the virtual environment that is there already."""
    if not (ROOT / ".venv" / ".installed").exists():
        pytest.skip("no .venv made by make")
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in files.splitlines():
        target = tmp_path / "countinghouse" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    (tmp_path / "countinghouse" / ".venv").symlink_to(ROOT / ".venv")
    os.utime(tmp_path / "countinghouse" / "pyproject.toml", (0, 0))  # older than the stamp in .venv: nothing to install
    return tmp_path / "countinghouse"


def test_the_first_minute(clone):
    first, second, third = sessions(clone / "README.md")
    # only the ports keep this lab apart from others: where to look is for the clients to find out
    environment = {key: value for key, value in ca_environment(free_port()).items() if "ADDR_LIST" not in key}
    page = free_port()
    with (clone / "site.example.toml").open("a") as site:
        site.write(f"\n[serve]\nport = {page}\n")
    ((command, expected),) = first
    lab_log = clone / "lab.log"
    with lab_log.open("w") as log:
        lab = subprocess.Popen(
            ["bash", "-c", command], cwd=clone, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        for line in expected:  # of several programs, in whatever order they are ready
            await_output(lambda: lab_log.read_text(), ["...", line.replace("8090", str(page)), "..."])
        with urlopen(f"http://127.0.0.1:{page}/", timeout=DEADLINE) as answer:
            assert b"<title>Countinghouse</title>" in answer.read()
        await_output(lambda: "".join(path.read_text() for path in clone.glob("data/PMU_*.csv")), ["time,...", "..."])
        for command, expected in [*second, *third]:
            await_output(lambda command=command: run(command, clone, environment), expected)
    finally:
        os.killpg(lab.pid, signal.SIGINT)
        code = lab.wait(DEADLINE)
    log = lab_log.read_text()
    assert "Traceback" not in log
    assert code in (0, -signal.SIGINT), log  # make ends by the signal itself
    assert "lost:" not in log
    assert " 0 missing in 0 gaps" in log
    assert ", 0 waiting" in log  # what was held at the end has been written


def await_output(output, expected: list[str]) -> None:
    """Wait until the output is as expected."""
    end = time.monotonic() + DEADLINE
    while not matches(text := output(), expected):
        assert time.monotonic() < end, f"expected\n{chr(10).join(expected)}\ngot\n{text}"
        time.sleep(0.2)
