import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from iocs.state import StateError, open_state, peek

ROOT = Path(__file__).resolve().parents[2]


def python(program, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_what_was_saved_is_loaded_and_a_missing_folder_is_made(tmp_path):
    directory = tmp_path / "a" / "b"
    with open_state(directory, "HV") as state:
        assert state.load() == {}
        state.save({"enable": False, "memory": {"x": [1, None]}})
        assert state.load() == peek(directory, "HV") == {"enable": False, "memory": {"x": [1, None]}}
    assert peek(directory, "GAS") == {}
    assert json.loads((directory / "HV.json").read_text())["format"] == 1


def test_kill_in_the_middle_of_saving_leaves_a_whole_file(tmp_path):
    saver = """
import sys
from pathlib import Path
from iocs.state import open_state
with open_state(Path(sys.argv[1]), "HV") as state:
    state.save({"number": 0, "text": "x" * 200_000})
    print("saving", flush=True)
    number = 0
    while True:
        number += 1
        state.save({"number": number, "text": "x" * 200_000})
"""
    for _attempt in range(5):
        with python(saver, tmp_path) as process:
            assert process.stdout is not None and process.stdout.readline() == "saving\n"
            while peek(tmp_path, "HV")["number"] < 3:
                assert process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.wait()
        with open_state(tmp_path, "HV") as state:  # and the lock went with the process
            assert len(state.load()["text"]) == 200_000


def test_a_second_process_is_refused_with_the_pid_of_the_first(tmp_path):
    with open_state(tmp_path, "HV"):
        with open_state(tmp_path, "GAS"):
            pass
        opener = "import sys, pathlib, iocs.state as s; s.open_state(pathlib.Path(sys.argv[1]), 'HV')"
        with python(opener, tmp_path) as second:
            _, said = second.communicate(timeout=30)
    assert second.returncode == 1 and f"already run by process {os.getpid()}" in said
    with open_state(tmp_path, "HV"):
        pass


def test_the_lock_is_not_inherited_by_what_we_start(tmp_path):
    command = [sys.executable, "-c", "print(flush=True); input()"]
    with contextlib.ExitStack() as stack:
        with open_state(tmp_path, "HV"):
            child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False)
            stack.enter_context(child)
        assert child.stdout
        child.stdout.readline()  # it runs: Linux lets us go on a moment before it closes what is not inherited
        with open_state(tmp_path, "HV"):
            child.communicate(b"\n")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "cannot be read"),
        (b'{"format": 1, "da', "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[]", "not a state file"),
        (b'{"data": {}}', "not a state file"),
        (b'{"format": 1, "data": 3}', "not a state file"),
        (b'{"format": 2, "content": {}}', "has format 2, this program knows 1: use the version that wrote it"),
    ],
)
def test_damaged_and_newer_files_are_refused_with_the_cure(tmp_path, content, why):
    (tmp_path / "HV.json").write_bytes(content)
    with open_state(tmp_path, "HV") as state, pytest.raises(StateError, match=why) as caught:
        state.load()
    assert "move it away" in str(caught.value) and str(tmp_path / "HV.json") in str(caught.value)
    with pytest.raises(StateError, match=why):
        peek(tmp_path, "HV")
    assert (tmp_path / "HV.json").read_bytes() == content


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="state_dir"):
        open_state(tmp_path / "file" / "state", "HV")


def test_what_json_cannot_hold_leaves_the_old_file(tmp_path):
    with open_state(tmp_path, "HV") as state:
        state.save({"a": 1})
        with pytest.raises(TypeError):
            state.save({"a": object()})
        assert state.load() == {"a": 1}
