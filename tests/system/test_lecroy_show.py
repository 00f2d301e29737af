"""The command that looks at waveform files."""

import subprocess
import sys
from pathlib import Path

import lecroyparser
import pytest

from drivers.lecroy.wavedesc import decode
from tests.lecroy_blocks import trace


def lecroy(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "drivers.lecroy", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_real_file_is_reported(sample):
    result = lecroy("show", sample("scope/pulse.trc"))
    assert (result.returncode, result.stderr) == (0, "")
    assert "instrument   LECROYWR64Xi-A 50699" in result.stdout
    assert "triggered    2022-11-09T09:23:52.112417110" in result.stdout
    assert "points       502 points, WORD LO" in result.stdout


def test_csv_has_every_point_with_volts_last(tmp_path):
    path = tmp_path / "one.trc"
    path.write_bytes(trace(100, 3))
    result = lecroy("show", path, "--csv")
    assert (result.returncode, result.stderr) == (0, "")
    header, *lines = result.stdout.splitlines()
    assert header == "segment,time (s),value (V)"
    rows = [[float(cell) for cell in line.split(",")] for line in lines]
    waveform = decode(path.read_bytes())
    assert [row[0] for row in rows] == [1.0] * 100 + [2.0] * 100 + [3.0] * 100
    assert [row[1] for row in rows] == pytest.approx([x for n in range(3) for x in waveform.times(n)], rel=1e-11)
    assert [row[2] for row in rows] == pytest.approx(waveform.volts().ravel().tolist(), rel=1e-7)


def test_a_plot_is_an_image(tmp_path):
    pytest.importorskip("matplotlib")
    path, out = tmp_path / "one.trc", tmp_path / "one.png"
    path.write_bytes(trace())
    result = lecroy("show", path, "--plot", out)
    assert (result.returncode, result.stderr) == (0, "")
    assert out.read_bytes().startswith(b"\x89PNG")


def test_old_files_are_copied_clean_and_nothing_is_replaced(tmp_path):
    old = tmp_path / "C1-old.trc"
    old.write_bytes(b"C1:WF ALL," + trace(100, 3) + b"\n")
    result = lecroy("clean", old, "-o", tmp_path / "new")
    assert result.returncode == 0
    copy = (tmp_path / "new" / "C1-old.trc").read_bytes()
    assert copy == old.read_bytes()[10:-1]
    assert lecroyparser.ScopeData(data=copy).waveArrayCount == 300
    result = lecroy("clean", old, "-o", tmp_path / "new")
    assert (result.returncode, result.stderr) == (1, f"{tmp_path}/new/C1-old.trc: File exists\n")


def test_what_cannot_be_read_is_told_and_the_rest_is_shown(tmp_path):
    good, bad = tmp_path / "good.trc", tmp_path / "bad.trc"
    good.write_bytes(trace())
    bad.write_bytes(trace()[:700])
    result = lecroy("show", bad, tmp_path / "none.trc", good)
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        f"{bad}: waveform block: cut short, 689 of 2346 bytes are there",
        f"{tmp_path}/none.trc: No such file or directory",
    ]
    assert "1000 points" in result.stdout
    assert lecroy("show", good, good, "--csv").returncode == 2
