"""What all tests share: where the samples are, and that a skip is a failure in CI."""

import logging
import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("here", deadline=None)  # how long an example takes tells of the machine, not of the code
settings.register_profile("ci", derandomize=True)  # the same examples each time: a failure is a failure of the change
settings.load_profile("ci" if os.environ.get("CI") else "here")

SAMPLES = Path(os.environ.get("SAMPLES_DIR", Path(__file__).resolve().parents[2] / "shared" / "samples"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and in CI everything must run: {report.longrepr[2]}"


@pytest.fixture(autouse=True)
def log_as_it_was():
    """Put back what a program's `main`, called in a test, has set of the log."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = [handler for handler in root.handlers if handler in handlers]


@pytest.fixture
def sample():
    """Give the path of a recorded sample, or skip saying that it is absent."""

    def find(name: str) -> Path:
        path = SAMPLES / name
        if not path.exists():
            pytest.skip(f"{path} is absent; set SAMPLES_DIR")
        return path

    return find
