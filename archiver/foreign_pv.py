"""A PV of anybody's server: before its values are recorded it is asked for the labels of its states."""

from collections.abc import Awaitable, Callable

from archiver.pv_recorder import PvRecorder
from iocs.ca.metadata import Metadata
from iocs.signals import Reading


class ForeignPv:
    """A PV that no catalogue tells of.

    An enum cannot be told from a whole number by its value, so whole numbers wait until the server has told what they
    are; after each connect anew, as a server that was restarted may serve something else by the name.

    Args:
        recorder: takes the readings.
        ask: gives what the server tells about the PV; None where it does not.
        start: runs `describe`.
    """

    def __init__(
        self,
        recorder: PvRecorder,
        ask: Callable[[str], Awaitable[Metadata | None]],
        start: Callable[["ForeignPv"], None],
    ) -> None:
        self.recorder = recorder
        self._ask, self._start = ask, start
        self._asking = self._known = False
        self._held: list[Reading] = []

    def on_reading(self, reading: Reading) -> None:
        """Take an event."""
        if not reading.connected:
            self.release()
            self._known = False
            self.recorder.on_reading(reading)
            return
        if not self._known and isinstance(reading.value, int):
            self._held.append(reading)
            if not self._asking:
                self._asking = True
                self._start(self)
            return
        self._known = True
        self.recorder.on_reading(reading)

    async def describe(self) -> None:
        """Ask for the labels, then let go of what waits."""
        try:
            metadata = await self._ask(self.recorder.source.pv)
        finally:
            self._asking = False
        if metadata is not None and metadata.states != self.recorder.source.states:
            self.recorder.relabel(metadata.states)
        self.release()

    def release(self) -> None:
        """Record what waits for the labels."""
        self._known = True
        held, self._held = self._held, []
        for reading in held:
            self.recorder.on_reading(reading)

    @property
    def waiting(self) -> int:
        """Events that wait for the labels."""
        return len(self._held)
