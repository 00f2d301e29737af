"""What a restart must know of the run before: the last recorded event of each PV, which PVs were being heard, and until
when all that was heard is in the spools. A journal of JSON lines.

It is written behind the spools. A kill between the two costs at worst one repeated event of a PV; none is lost.
"""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

MOST_BYTES = 4 << 20


class LastEvents:
    """The journal.

    Attributes:
        events: the last one by PV.
        heard: PVs whose server was there; empty after an orderly end.
        safe_ns: by store: until when all that came is in its spool, by the archiver's clock.
    """

    def __init__(self, path: Path) -> None:
        self.events: dict[str, Any] = {}
        self.heard: set[str] = set()
        self.safe_ns: dict[str, int] = {}
        self._path = path
        self._size = 0
        self._said = ""
        try:
            for line in path.read_text(encoding="utf-8").splitlines():
                self._take(**json.loads(line))
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError) as error:  # a kill may tear the last line
            log.info("%s: %s; what stands before it is used", path, error)
        self._rewrite()

    def times(self) -> dict[str, int]:
        """Give the time of each PV's last event, ns."""
        return {pv: int(event[0] if len(event) == 4 else event[2]) for pv, event in self.events.items() if event}

    def _take(self, events: Mapping[str, Any], heard: Mapping[str, bool], safe_ns: Mapping[str, int]) -> None:
        self.events |= events
        self.safe_ns |= safe_ns
        for pv, there in heard.items():
            (self.heard.add if there else self.heard.discard)(pv)

    def put(
        self,
        events: Mapping[str, Any] | None = None,
        heard: Mapping[str, bool] | None = None,
        safe_ns: Mapping[str, int] | None = None,
    ) -> None:
        """Keep what has changed."""
        changes = {"events": events or {}, "heard": heard or {}, "safe_ns": safe_ns or {}}
        self._take(**changes)
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
        whole = {"events": self.events, "heard": dict.fromkeys(sorted(self.heard), True), "safe_ns": self.safe_ns}
        text = json.dumps(whole, separators=(",", ":")) + "\n"
        try:
            fresh.write_text(text, encoding="utf-8")
            os.replace(fresh, self._path)
        except OSError as error:
            self._fail(error)
            return
        self._size = len(text)

    def _fail(self, error: OSError) -> None:
        self._size = MOST_BYTES + 1  # it may be torn: written anew as soon as that can be
        if str(error) != self._said:
            self._said = str(error)
            log.warning("%s cannot be kept: %s; a restart may record last events twice", self._path, error.strerror)
