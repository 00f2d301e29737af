"""The behaviour of a simulated BME680 in a gas line (no wire, no clock)."""

import random
from dataclasses import dataclass, field


@dataclass
class SimulatedSensor:
    """Slowly wandering gas, read by a sensor whose last digits flicker as a real one's do.

    Attributes:
        temperature: K. pressure: Pa. humidity: %. gas: Ohm. What they wander around; may be set at any time.
        heater_off: the heater never gets stable: gas reads 0, as the Adafruit library has it.
        settle: readings after a reset until the heater is stable.
        frozen: every reading is the same.
        absent: the sensor is not there.
    """

    temperature: float = 294.3
    pressure: float = 98_120.0
    humidity: float = 8.0
    gas: float = 150_000.0
    heater_off: bool = False
    settle: int = 0
    frozen: bool = False
    absent: bool = False
    _readings: int = 0
    _wander: float = 0.0
    _random: random.Random = field(default_factory=lambda: random.Random(680), repr=False)

    def reset(self) -> None:
        """The board was reset: the heater begins anew."""
        self._readings = 0

    def step(self, dt: float) -> None:
        """Let `dt` seconds pass: a random walk that comes back within a quarter of an hour."""
        if not self.frozen:
            pull = min(dt / 900, 1.0)
            self._wander += self._random.gauss(0, 0.02 * min(dt, 900.0) ** 0.5) - pull * self._wander

    def read(self) -> tuple[float, float, float, float]:
        """Give K, Pa, %, Ohm; Ohm 0 where the heater was not stable."""
        self._readings += 1
        flicker = (0.0, 0.0, 0.0, 0.0) if self.frozen else [self._random.gauss(0, 1) for _ in range(4)]
        heated = not self.heater_off and self._readings > self.settle
        return (
            self.temperature + 0.3 * self._wander + 0.005 * flicker[0],
            self.pressure + 20 * self._wander + 2 * flicker[1],
            min(max(self.humidity + 0.2 * self._wander + 0.01 * flicker[2], 0.0), 100.0),
            self.gas * (1 + 0.02 * self._wander + 0.002 * flicker[3]) if heated else 0.0,
        )
