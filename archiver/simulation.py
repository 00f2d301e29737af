"""Whether PVs by name are simulated: a device of ours says so in the PV `SIM` beside them, or above their channel."""

from collections.abc import Awaitable, Callable, Coroutine
from enum import Enum, auto
from typing import Any, Protocol

from iocs.ca.metadata import Metadata
from iocs.signals import Reading

STATES = ("Real", "Simulated")  # of a device's SIM: a PV of that name that has others is something else
FOUND_WITHIN = 10.0  # s that it is searched while the PVs below it are there

Ask = Callable[[str], Awaitable[Metadata | None]]
Start = Callable[[Coroutine[Any, Any, None]], None]


class Simulated(Enum):
    """What is known of it."""

    NO = auto()  # or nobody says so
    ASKING = auto()
    YES = auto()


class Hearer(Protocol):
    """A PV that is to hear of it; `simulations` are all that tell of it."""

    simulations: "list[Simulation]"
    connected: bool
    connected_at: float  # s, steady

    def simulation_changed(self) -> None:
        """Take note that what is known has changed."""


def names_above(pv: str) -> list[str]:
    """Give the names that the `SIM` of a PV may have: A:B:C:D has A:B:C:SIM, A:B:SIM and A:SIM."""
    parts = pv.split(":")
    return [":".join([*parts[:count], "SIM"]) for count in range(len(parts) - 1, 0, -1)]


class Simulation:
    """One PV `SIM`.

    It is searched as long as a PV below it is, and a little longer: most PVs have none.

    Args:
        name: its name.
        watch: begins to watch it; gives what ends that.
        ask: gives what the server tells about a PV; None where it does not.
        start: runs a question.

    Attributes:
        known: what it says of the PVs beside and below it.
    """

    def __init__(
        self, name: str, watch: Callable[[Callable[[Reading], None]], Callable[[], None]], ask: Ask, start: Start
    ) -> None:
        self.name = name
        self.known = Simulated.NO
        self._watch, self._ask, self._start = watch, ask, start
        self._end: Callable[[], None] | None = None
        self._found = False
        self._hearers: list[Hearer] = []

    def add(self, hearer: Hearer) -> None:
        """Have a PV hear of it."""
        self._hearers.append(hearer)
        hearer.simulations.append(self)
        self.seek()

    def seek(self) -> None:
        """Watch it, if that is not being done."""
        if self._end is None:
            self._end = self._watch(self.on_reading)

    def tend(self, now: float) -> None:
        """Search no more where the PVs below are there, and it is not."""
        if self._end is not None and not self._found:
            if all(hearer.connected and now >= hearer.connected_at + FOUND_WITHIN for hearer in self._hearers):
                self._end()
                self._end = None

    def on_reading(self, reading: Reading) -> None:
        """Take an event of it."""
        self._found = reading.connected
        if not reading.connected:
            return  # what it was, it is until it says otherwise
        if reading.value != 1 or not isinstance(reading.value, int):
            self._say(Simulated.NO)
        elif self.known is Simulated.NO:
            self._say(Simulated.ASKING)
            self._start(self._identify())

    async def _identify(self) -> None:
        metadata = await self._ask(self.name)
        if self.known is Simulated.ASKING:
            self._say(Simulated.YES if metadata is None or metadata.states == STATES else Simulated.NO)

    def _say(self, known: Simulated) -> None:
        if known is not self.known:
            self.known = known
            for hearer in self._hearers:
                hearer.simulation_changed()
