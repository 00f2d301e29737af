"""Runs of a scope as its device sees them: what the operator wants, what is under way, and when an event is due."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from drivers.errors import ProtocolError
from drivers.lecroy.run import FORMATS, SLOW, Run, changes
from iocs.scope_signals import RUN_STATES
from iocs.signals import Bad, Refused, Status

log = logging.getLogger(__name__)

IDLE, RUNNING, PAUSED, HELD, FAILED = range(len(RUN_STATES))
RETRY = 1.0  # s between two attempts to write an event that the disk refused


class Runs:
    """The runs of one scope, one at a time.

    Args:
        folder: in which all its runs are.
        wishes: what is wanted of the next run, by signal name; changed here, saved by `save`.
        save: keeps the wishes over a restart.
        tell: posts values.
        readings: gives the chosen PVs for the sidecar.
    """

    def __init__(
        self,
        folder: Path,
        wishes: dict[str, Any],
        save: Callable[[], object],
        tell: Callable[[Mapping[str, Any]], None],
        readings: Callable[[], Mapping[str, Any]],
    ) -> None:
        self.folder = folder
        defaults = {"RUN:N": 100, "RUN:SECONDS": 0.0, "RUN:DIR": "", "RUN:NAME": "run", "RUN:FORMAT": 0}
        for key, value in defaults.items():
            wishes.setdefault(key, value)
        self._wishes, self._save, self._tell, self._readings = wishes, save, tell, readings
        self._settings: Mapping[str, str] = {}  # of the scope, as they were read last
        self._run: Run | None = None  # the one under way, or the last one
        self._state = IDLE
        self._error = ""
        self._retry = 0.0
        self._ending = False

    @property
    def active(self) -> bool:
        """Whether there is a run, also one that is held up."""
        return self._state in (RUNNING, PAUSED, HELD)

    @property
    def taking(self) -> bool:
        """Whether events are for the run, and settings have to stay."""
        return self._state in (RUNNING, HELD)

    @property
    def may_retry(self) -> bool:
        """Whether an event that the disk refused is to be given again."""
        return time.monotonic() >= self._retry

    @property
    def finished(self) -> bool:
        """Whether the run has what was wanted."""
        return self._run is not None and self.active and self._run.finished

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that the run keeps."""
        return tuple(self._run.channels) if self._run and self.active else ()

    def values(self) -> dict[str, Any]:
        """Give the values of all signals of runs."""
        run = self._run
        remaining = run.remaining if run and self.active else None
        values: dict[str, Any] = {
            **self._wishes,
            "RUN:START": 0,
            "RUN:STOP": 0,
            "RUN:PAUSE": int(self._state == PAUSED),
            "RUN:STATE": self._state,
            "RUN:ERROR": self._error,
        }
        if run is None:
            return {"RUN:TITLE": "", "RUN:EVENTS": 0.0, "RUN:FILES": 0.0, "RUN:PROGRESS": 0.0, **values}
        return values | {
            "RUN:TITLE": run.title,
            "RUN:EVENTS": run.done,
            "RUN:FILES": len(run.files),
            "RUN:PROGRESS": 100 * run.progress,
            "RUN:ETA": Bad("not known", status=Status.UDF) if remaining is None else remaining,
        }

    def wish(self, name: str, value: Any) -> Any:
        """Take what is wanted of the next run.

        Raises:
            Refused: it could not be carried out.
        """
        if name == "RUN:DIR":
            path = PurePosixPath(value)
            if path.is_absolute() or ".." in path.parts:
                raise Refused(f"{value!r}: write a folder within {self.folder}")
        elif name == "RUN:NAME":
            self._made(**{name: value})
        self._wishes[name] = value
        self._save()
        return value

    async def start(self, channels: tuple[str, ...], settings: Mapping[str, str]) -> None:
        """Begin a run.

        Raises:
            Refused: there is one, or it cannot begin.
        """
        if self._run is not None and self.active:
            raise Refused(f"{self._run.title} is under way; put RUN:STOP first")
        if self._run is not None and self._ending:
            raise Refused(f"{self._run.title} is still being finished")
        if not channels:
            raise Refused("no channel is shown (ON), so there is nothing to keep")
        run = self._made(channels=channels)
        try:
            await asyncio.to_thread(run.begin, settings, self._readings())
        except OSError as error:
            raise Refused(f"{run.directory}: {error.strerror or error}") from error
        self._run, self._settings, self._error, self._state, self._retry = run, settings, "", RUNNING, 0.0
        log.info("run %s begins", run.title)
        self._tell(self.values())

    def pause(self, pause: bool, why: str = "") -> None:
        """Hold the run between two events, or let it go on.

        Raises:
            Refused: there is none.
        """
        if self._run is None or not self.active:
            raise Refused("there is no run")
        if pause == (self._state == PAUSED):
            return
        if pause:
            self._state, self._error = PAUSED, why or self._error
            self._run.note(f"paused{why and f': {why}'}")
        else:
            self._state, self._error, self._retry = RUNNING, "", 0.0
            self._run.note("goes on")

    async def store(self, event: Mapping[str, memoryview]) -> bool:
        """Write an event; False = the disk refuses, it is to be given again when `may_retry`.

        While the disk refuses, or takes long, the run is held, if it is not paused anyway.
        """
        run = self._run
        if run is None:
            return False
        began = time.monotonic()
        writing = asyncio.ensure_future(asyncio.to_thread(run.store, event))
        if not (await asyncio.wait({writing}, timeout=SLOW))[0]:
            self._hold(run, f"the disk is slow: event {run.done + 1} takes more than {SLOW:g} s")
        try:
            await writing
        except FileExistsError as error:
            await self.end(f"{error.filename2 or error.filename} is there already", FAILED)
            return True
        except OSError as error:
            self._hold(run, f"the disk refuses event {run.done + 1}: {error.strerror or error}")
            self._retry = time.monotonic() + RETRY
            return False
        if self._state == HELD:  # it may have been paused or ended meanwhile
            self._state = RUNNING
        if self.active:
            took = time.monotonic() - began
            self._error = f"the disk was slow: {took:.1f} s for event {run.done}" if took > SLOW else ""
        return True

    def _hold(self, run: Run, reason: str) -> None:
        """Say that the disk holds the run up; a pause stays a pause."""
        if not self.active:
            return
        if self._state == RUNNING:
            self._state = HELD
        self._error = reason
        if run.note(reason):
            log.error("run %s: %s", run.title, reason)
        self._tell(self.values())

    def leave_out(self, reason: str) -> None:
        """Count an event that could not be read whole."""
        if self._run is not None and self.taking:
            self._run.leave_out(reason)

    def seen(self, settings: Mapping[str, str]) -> None:
        """Take the settings as they are now; what changes in a run, at the front panel or in a pause, is noted."""
        if self._run is not None and self.active and (others := changes(self._settings, settings)):
            self._run.note(f"settings have changed: {others}")
        self._settings = settings

    async def back(self, settings: Mapping[str, str]) -> None:
        """Go on after the scope was away; with other settings the run ends, because nothing is set unasked."""
        if self._run is None or not self.active:
            return
        if others := changes(self._settings, settings):
            self._settings = settings
            await self.end(f"the scope came back with other settings: {others}", FAILED)
        else:
            self._run.note("the scope is back")

    async def end(self, why: str, state: int = IDLE) -> None:
        """End the run in order."""
        run = self._run
        if run is None or not self.active:
            return
        self._state, self._error, self._ending = state, why if state == FAILED else "", True
        try:
            await asyncio.to_thread(run.end, why, self._settings, self._readings())
        except (OSError, ProtocolError) as error:
            self._state, self._error = FAILED, str(error)
            log.error("run %s: %s", run.title, error)
        finally:
            self._ending = False
        log.info("run %s ends (%s) with %d events", run.title, why, run.done)
        self._tell(self.values())

    def _made(self, channels: tuple[str, ...] = ("C1",), **wishes: Any) -> Run:
        wanted = {**self._wishes, **wishes}
        try:
            return Run(
                self.folder / wanted["RUN:DIR"],
                wanted["RUN:NAME"],
                channels,
                wanted["RUN:N"],
                wanted["RUN:SECONDS"],
                FORMATS[wanted["RUN:FORMAT"]],
            )
        except ValueError as error:
            raise Refused(str(error)) from error
