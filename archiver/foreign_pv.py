"""A PV of anybody's server: it is recorded by its name, and its server is asked for the labels of its states."""

import logging
import time
from collections import deque
from collections.abc import Callable

from archiver.batch import Label, Source
from archiver.pv_recorder import PvRecorder
from archiver.simulation import Ask, Simulated, Simulation, Start
from iocs.signals import Reading

log = logging.getLogger(__name__)

MOST_HELD = 10_000  # events that wait to be told apart from those of a simulator, or for their labels


class ForeignPv:
    """A PV that no catalogue tells of.

    An enum cannot be told from a whole number by its value, so the server is asked what whole numbers are; after each
    connect anew, as a server that was restarted may serve something else by the name. They are recorded at once, and
    their labels behind them.

    Args:
        recorder: takes the readings.
        put_label: takes a label.
        ask: gives what the server tells about the PV; None where it does not.
        start: runs a question.

    Attributes:
        connected, connected_at: whether its server is there, and since when (s, steady).
        simulations: what says whether it is simulated.
        refused: events of a simulator, which are not recorded.
    """

    def __init__(
        self, recorder: PvRecorder, put_label: Callable[[tuple[Source, Label]], None], ask: Ask, start: Start
    ) -> None:
        self.recorder = recorder
        self.connected = False
        self.connected_at = 0.0
        self.simulations: list[Simulation] = []
        self.refused = 0
        self._put_label, self._ask, self._start = put_label, ask, start
        self._asking = self._known = self._refusal_said = False
        self._unlabelled: deque[Reading] = deque(maxlen=MOST_HELD)
        self._held: deque[Reading] = deque()  # until it is known whether they are simulated

    def on_reading(self, reading: Reading) -> None:
        """Take an event."""
        if reading.connected and not self.connected:
            self.connected_at = time.monotonic()
        self.connected = reading.connected
        if not reading.connected:
            for simulation in self.simulations:
                simulation.seek()
            self.settle()
            self._known = False
            self.recorder.on_reading(reading)
            if self.recorder.source.states:
                self.recorder.relabel(())
            return
        match self.simulated:
            case Simulated.NO:
                self._take(reading)
            case Simulated.YES:
                self.refused += 1
            case Simulated.ASKING:
                self._held.append(reading)
                if len(self._held) > MOST_HELD:
                    self.settle()

    def _take(self, reading: Reading) -> None:
        recorded = self.recorder.recorded
        self.recorder.on_reading(reading)
        if self._known or not isinstance(reading.value, int):
            self._known = True
            return
        if self.recorder.recorded > recorded:
            self._unlabelled.append(reading)
        if not self._asking:
            self._asking = True
            self._start(self._describe())

    async def _describe(self) -> None:
        """Ask for the labels, and write them to what was recorded without."""
        try:
            metadata = await self._ask(self.recorder.source.pv)
        finally:
            self._asking = False
        self._known = True
        unlabelled = list(self._unlabelled)
        self._unlabelled.clear()
        if metadata is None or not metadata.states:
            return
        states = metadata.states
        self.recorder.relabel(states)
        first = {reading.time_ns: reading.value for reading in reversed(unlabelled)}  # the others had to move
        for time_ns, value in first.items():
            if isinstance(value, int) and 0 <= value < len(states):
                self._put_label((self.recorder.source, Label(time_ns, states[value])))

    # -- simulators

    @property
    def simulated(self) -> Simulated:
        """What is known of whether it is simulated."""
        most = Simulated.NO
        for it in self.simulations:  # for every event, so it must cost nothing
            if it.known is not Simulated.NO and it.known.value > most.value:
                most = it.known
        return most

    def simulation_changed(self) -> None:
        """Let go of what waits, or refuse it; what is refused is unknown, not steady."""
        match self.simulated:
            case Simulated.NO:
                self.settle()
            case Simulated.YES:
                self.refused += len(self._held)
                self._held.clear()
                self.recorder.lose()
                if not self._refusal_said:
                    self._refusal_said = True
                    log.error(
                        "%s is SIMULATED: it is NOT recorded. If this site is a simulation, write 'simulated = true' "
                        "under [site]; if not, take it out of [archive] pvs",
                        self.recorder.source.pv,
                    )

    def settle(self) -> None:
        """Record what waits to be told apart from what is simulated."""
        held, self._held = self._held, deque()
        for reading in held:
            self._take(reading)
