"""How far a run has come, as a bar on a terminal's stderr."""

import sys
import time
from collections.abc import Iterable
from pathlib import Path

FIRST, NEXT = 0.5, 0.2  # s until the bar is shown, and between two of them
WIDTH = 40


class Progress:
    """A bar over the bytes of all files; nothing where stderr is no terminal.

    Args:
        paths: the files.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._shown = sys.stderr.isatty()
        self._sizes = {path: path.stat().st_size if path.is_file() else 0 for path in paths} if self._shown else {}
        self._total = sum(self._sizes.values())
        self._before, self._name = 0, ""
        self._begun = time.monotonic()
        self._next = self._begun + FIRST
        self._drawn = False

    def file(self, path: Path) -> None:
        """Begin with a file."""
        self._name = path.name

    def at(self, taken: int) -> None:
        """Show that so many bytes of the present file are done with."""
        now = time.monotonic()
        if not self._shown or now < self._next or not self._total:
            return
        self._next = now + NEXT
        done = min((self._before + taken) / self._total, 1.0)
        left = (now - self._begun) * (1 - done) / done if done else 0.0
        bar = "#" * round(done * WIDTH)
        print(
            f"\r{self._name} [{bar:<{WIDTH}}] {done:4.0%}, {left:.0f} s left \033[K",
            end="",
            file=sys.stderr,
            flush=True,
        )
        self._drawn = True

    def done(self, path: Path) -> None:
        """End with a file."""
        self._before += self._sizes.get(path, 0)
        self.at(0)

    def end(self) -> None:
        """Take the bar away."""
        if self._drawn:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self._drawn = False
