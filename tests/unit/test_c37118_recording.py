"""The record of a live link: bounded, whole at its ends, and never a reason to stop."""

import logging
from pathlib import Path

import pytest

from drivers.c37118.capture import Recording
from drivers.c37118.frames import FrameType
from drivers.c37118.recording import SLACK, Recorder
from drivers.c37118.simulated_stream import SimulatedStream


def test_each_file_can_be_decoded_by_itself(tmp_path: Path) -> None:
    stream = SimulatedStream()
    recorder = Recorder(tmp_path / "raw" / "pmu.raw", limit=2000)
    configuration = stream.answer(5)
    assert configuration is not None
    recorder.write(configuration, True)
    recorder.configuration = configuration
    for _ in range(40):
        frame = stream.step()[0]
        recorder.write(frame[:50], False)
        recorder.write(frame[50:], True)
    recorder.close()
    for name in ("pmu.raw", "pmu.raw.1"):
        recording = Recording(recorder.path.with_name(name))
        kinds = [each.type for each in recording if each.message]
        assert kinds[0] == FrameType.CFG2
        assert set(kinds[1:]) == {FrameType.DATA}
        assert recording.senders["raw"].skipped_bytes == 0
        assert recording.path.stat().st_size < 2200


def test_a_record_goes_on_after_a_restart(tmp_path: Path) -> None:
    for part in (b"one ", b"two"):
        recorder = Recorder(tmp_path / "pmu.raw")
        recorder.write(part, True)
        recorder.close()
    assert (tmp_path / "pmu.raw").read_bytes() == b"one two"


def test_without_a_frames_end_it_is_bounded_all_the_same(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "pmu.raw", limit=1000)
    for _ in range(200):
        recorder.write(b"x" * 1000, False)
    recorder.close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2 * (1000 + SLACK + 1000)


def test_a_directory_that_comes_back_is_used_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "raw").write_text("in the way")
    recorder = Recorder(tmp_path / "raw" / "pmu.raw", retry_after=0.0)
    for _ in range(3):
        recorder.write(b"lost", True)
    assert (recorder.failures, recorder.lost_bytes) == (3, 12)
    (tmp_path / "raw").unlink()
    recorder.write(b"kept", True)
    recorder.close()
    assert recorder.path.read_bytes() == b"kept"
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
