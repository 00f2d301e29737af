"""A gas sensor BME680 on an Arduino as PVs: temperature, pressure, humidity, gas resistance, and what follows from it.

The gas resistance is in Ohm and no more: it falls when reducing vapours come. What it means depends on the gas it is in
(without oxygen the element says nothing absolute), so `GASRATIO` compares it with a `BASELINE` that people set.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from typing import Any

from drivers.bme680.client import Client, Counts, Event, Identity, Measured, Phase, Refusal, Trouble
from drivers.bme680.formats import MEASURED, Format, Quantity
from drivers.errors import DriverError
from drivers.link import make_link, parse_address
from iocs.device import Device, Place
from iocs.gas_settings import GasSettings
from iocs.gas_signals import GAS, counted, signals_of, values_of
from iocs.signals import Bad, Refused, Signal
from iocs.simulation import simulator

log = logging.getLogger(__name__)


class Gas(Device):
    """One sensor. `shape` is the name of the format that the board was found to speak."""

    Settings = GasSettings
    settings: GasSettings

    def __init__(self, settings: GasSettings, place: Place) -> None:
        super().__init__(settings, place)
        self._counts = Counts()  # since the process started: they outlive ENABLE and every session
        self._period = settings.period
        self._patience = self._silence  # longer than that for a moment, when PERIOD has just been made shorter
        self._client: Client | None = None
        self._gas: float | None = None  # Ohm, of the last reading
        self._began = time.monotonic()

    @staticmethod
    def signals(settings: GasSettings, shape: str | None) -> list[Signal]:
        """Give what the format has; of `auto`, what it turned out to be, before that all that it could be."""
        return signals_of(_format(settings, shape))

    @staticmethod
    @contextmanager
    def simulate(settings: GasSettings) -> Iterator[GasSettings]:
        """Run a simulated board that has been on for two hours; for a format of one's own, our sketch answers."""
        sketch = "picosec" if settings.format == "picosec" else "countinghouse"
        arguments = ["--port", "0", "--sketch", sketch, "--age", "7200", "--no-reset"]
        with simulator("drivers.bme680.simulator", arguments) as address:
            told = {"link": address, "boot": 0.0, "line": None, "format": sketch}
            yield settings.model_copy(update=told)

    async def run(self) -> None:
        """Read the board until it is lost."""
        settings = self.settings
        self._gas = None
        self._began = time.monotonic()
        self._client = client = Client(
            make_link(parse_address(settings.link)),
            settings.formats,
            counts=self._counts,
            period=self._period,
            timeout=settings.timeout,
            boot=settings.boot,
            lost_after=self._patience,
            frozen_after=settings.frozen_after,
        )
        try:
            async with aclosing(client.events()) as events:
                async for event in events:
                    self._take(event, client)
        except DriverError:
            self._tell(LINKSTATE=Phase.ABSENT)
            raise
        finally:
            self._client = None

    async def put(self, signal: Signal, value: Any, by: str) -> Any:
        """PERIOD counts at once and until the process ends; BASELINE is kept."""
        match signal.name:
            case "PERIOD":
                lost_after = self.settings.lost_after
                if lost_after is not None and value + self.settings.timeout >= lost_after:
                    raise Refused(f"lost_after = {lost_after:g} s in the site file is shorter than that")
                self._period = value
                self._patience = max(self._patience, self._silence)  # until the next reading, which comes sooner now
                if self._client is not None:
                    self._client.pace(value, self._patience)
                return value
            case "BASELINE":
                self._keep_baseline(value)
                return value
            case "SETBASELINE":
                if not value:
                    return 0
                if self._gas is None:
                    raise Refused("there is no good value of GAS at this moment")
                if self._warming:
                    raise Refused("the sensor is warming up (WARMUP)")
                self._keep_baseline(self._gas)
                self.tell({"BASELINE": self._gas})
                return 0
        raise Refused(f"{signal.name} cannot be set")

    @property
    def lost_after(self) -> float:
        """Three periods: the session watches it; this is the net below."""
        return self._patience + 0.5

    @property
    def _silence(self) -> float:
        return self.settings.lost_after or max(3 * self._period, self._period + 2 * self.settings.timeout)

    @property
    def _warming(self) -> bool:
        """Whether the gas resistance has not settled; by the board's uptime, else since the line was opened."""
        tells = Quantity.UPTIME in _format(self.settings, self.shape).quantities
        uptime = self._counts.uptime if tells else None
        return (time.monotonic() - self._began if uptime is None else uptime) < self.settings.warmup

    def _keep_baseline(self, ohm: float) -> None:
        self.memory["baseline"] = ohm
        self.save()

    def _take(self, event: Event, client: Client) -> None:
        match event:
            case Measured():
                self._measured(event, client)
            case Phase():
                self._tell(LINKSTATE=event)
                if event is Phase.RUNNING and not client.format.identify:
                    self.identify(f"BME680, lines of {client.format.name}")
            case Identity():
                self.identify(event.text)
            case Refusal():
                log.debug("refused: %s", event)
                self._tell()
            case Trouble():
                self._tell(SENSOR=event)

    def _measured(self, event: Measured, client: Client) -> None:
        judged, format = event.judged, client.format
        self.reshape(format.name)
        baseline = self.memory.get("baseline")
        values = values_of(judged, format, self.settings, baseline, self._warming)
        self._gas = judged.values.get(GAS)
        if any(quantity in judged.values for quantity in MEASURED):
            self._patience = self._silence
            client.pace(self._period, self._patience)
            values |= {"FROZEN": judged.frozen, "SENSOR": Trouble.NONE.value}
            values |= {"PERIOD": self._period} if format.request else {}
            values |= {"SETBASELINE": 0} if GAS in format.quantities else {}
            values |= {"BASELINE": baseline} if GAS in format.quantities and baseline is not None else {}
            self.post(event.time_ns, values)
            self._tell(LINKSTATE=Phase.RUNNING)
        else:  # nothing of it may be believed yet: it is no sign of life either
            self.tell({name: value for name, value in values.items() if isinstance(value, Bad)})
            self._tell()

    def _tell(self, **states: Phase | Trouble) -> None:
        """Post the counts, and the states of the link."""
        told = {name: state.value for name, state in states.items()}
        self.tell({**told, **counted(self._counts, _format(self.settings, self.shape))})


def _format(settings: GasSettings, shape: str | None) -> Format:
    """Give the format that the board is known to speak; before that, the one that says most."""
    formats = settings.formats
    return next((format for format in formats if format.name == shape), formats[0])
