"""A laboratory with its page, and a browser that looks at it."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.processes import Process, free_port, write_site
from tests.thermostat_lab import THERMOSTAT, Lab


class PageLab(Lab):
    """A thermostat, and what else a test says, with archiver and page.

    Attributes:
        page: the process that serves it.
        port: where.
    """

    def start(self, more: str = "", rest: str = "") -> None:
        self.port = free_port()
        tables = THERMOSTAT.format(name="T", port=self.box_port) + more
        write_site(self.directory, self.prefix, tables, f"[serve]\nport = {self.port}\n{rest}")
        self.thermostat = self.box()
        self.server = self.ioc()
        self.process("archiver", "run", self.directory / "site.toml").line("start")
        self.page = self.serve()

    def serve(self) -> Process:
        page = self.process("archiver", "serve", self.directory / "site.toml")
        page.line("page of test: http://127.0.0.1:")
        return page

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


def chromium() -> str:
    """Give the browser's program, or skip saying how it is brought."""
    for path in (os.environ.get("CHROMIUM"), "/usr/bin/chromium", shutil.which("chromium-browser")):
        if path and Path(path).exists():
            return path
    pytest.skip("chromium is absent; `apt-get install chromium` brings it (Debian)")


@contextmanager
def browser():
    """Run a browser without a window; gives Playwright's."""
    program = chromium()
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is absent; `pip install playwright` brings it")
    with sync.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield running
        finally:
            running.close()


class Complaints(list):
    """What a page complains of in its console, its faults, and each address beyond this host that it asks for."""

    def __init__(self, page) -> None:
        super().__init__()
        page.on("pageerror", lambda error: self.append(f"fault: {error}"))
        page.on("console", lambda message: self.append(message.text) if message.type in ("error", "warning") else None)
        page.on("request", lambda it: None if "//127.0.0.1:" in it.url else self.append(f"asked for {it.url}"))
