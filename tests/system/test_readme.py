"""The README's terminal sessions, run as they stand in a fresh copy of the tree; `...` stands for anything."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.processes import DEADLINE, ca_environment, free_port

ROOT = Path(__file__).resolve().parents[2]


def sessions(page: Path) -> list[list[tuple[str, list[str]]]]:
    """Give the page's console blocks, each a list of (command, lines of output)."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    result = []
    for block in blocks:
        steps: list[tuple[str, list[str]]] = []
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append((line[2:], []))
            else:
                steps[-1][1].append(line)
        result.append(steps)
    return result


def matches(output: str, expected: list[str]) -> bool:
    """Whether the output is as expected; a line `...` stands for any lines, `...` in a line for any text."""
    pattern = ""
    for line in expected:
        if line == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += r"[^\n]*".join(re.escape(part) for part in line.split("...")) + r" *\n"
    return re.fullmatch(pattern + r"(?:.*\n)*?" * (expected[-1:] == ["..."]), output) is not None


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


def run(command: str, clone: Path, environment: dict[str, str]) -> str:
    """Give what a command prints. Its process group ends with it: caproto's tools leave a repeater behind."""
    output = clone / "command.log"
    with output.open("w") as file:
        shell = subprocess.Popen(
            ["bash", "-c", command], cwd=clone, env=environment, stdout=file, stderr=file, start_new_session=True
        )
        try:
            shell.wait(60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
    return output.read_text()


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
