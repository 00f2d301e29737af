"""Terminal sessions of a page, as they stand; `...` stands for anything."""

import contextlib
import os
import re
import signal
import subprocess
from pathlib import Path


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
