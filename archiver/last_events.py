"""The last recorded event of each PV, so that a restart does not record it again: a journal of JSON lines.

It is written behind the spool. A kill between the two costs at worst one repeated event of a PV; none is lost.
"""

import json
import logging
import os
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

MOST_BYTES = 4 << 20


class LastEvents:
    """The journal.

    Attributes:
        events: by PV.
    """

    def __init__(self, path: Path) -> None:
        self.events: dict[str, Any] = {}
        self._path = path
        self._size = 0
        self._said = ""
        try:
            for line in path.read_text(encoding="utf-8").splitlines():
                self.events |= json.loads(line)
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:  # a kill may tear the last line
            log.info("%s: %s; what stands before it is used", path, error)
        self._rewrite()

    def put(self, changes: dict[str, Any]) -> None:
        """Keep the last events of some PVs."""
        self.events |= changes
        if self._size > MOST_BYTES:
            self._rewrite()
            return
        line = json.dumps(changes, separators=(",", ":")) + "\n"
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            self._fail(error)
            return
        self._size += len(line)

    def _rewrite(self) -> None:
        fresh = self._path.with_name(self._path.name + ".new")
        text = json.dumps(self.events, separators=(",", ":")) + "\n"
        try:
            fresh.write_text(text, encoding="utf-8")
            os.replace(fresh, self._path)
        except OSError as error:
            self._fail(error)
        self._size = len(text)

    def _fail(self, error: OSError) -> None:
        if str(error) != self._said:
            self._said = str(error)
            log.warning("%s cannot be kept: %s; a restart may record last events twice", self._path, error.strerror)
