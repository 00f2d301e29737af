"""Whether a reading may be believed (pure): spikes need to be confirmed, values that stand still are doubted."""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from drivers.bme680.formats import MEASURED, Format, Quantity
from drivers.bme680.protocol import Reading

# A change by more than this from one reading to the next is believed when a second reading confirms it.
JUMPS = {
    Quantity.TEMPERATURE: 2.0,  # K
    Quantity.PRESSURE: 500.0,  # Pa
    Quantity.HUMIDITY: 5.0,  # %
    Quantity.GAS: 1.5,  # a factor: resistances are thought of in logarithms
}
WILD = 3  # readings that no other confirms, after which there is no value any more


@dataclass(frozen=True, slots=True)
class Judged:
    """A reading with what is to be thought of it.

    Attributes:
        values: what may be shown, by quantity, in K, Pa, %, Ohm; sequence and uptime too.
        bad: quantities without a usable value, and why.
        held: quantities whose new value awaits confirmation: the old one stands.
        frozen: the digits have stood still for too long.
    """

    values: Mapping[str, float]
    bad: Mapping[str, str]
    held: tuple[str, ...]
    frozen: bool


class Plausibility:
    """Judges the readings of one session, in order.

    Args:
        format: of the lines. Where it has a checksum the first reading is believed at once: it is as it was sent.
        frozen_after: equal readings after which they are doubted (real pressure always flickers); 0 = never.
    """

    def __init__(self, format: Format, frozen_after: int) -> None:
        self._confirmations = {
            each.quantity: Confirmation(
                each.jump or JUMPS[each.quantity],
                factor=each.quantity is Quantity.GAS,
                trusting=bool(format.checksum),
            )
            for each in format.fields
            if each.quantity is not None and each.quantity in MEASURED
        }
        self._frozen_after = frozen_after
        self._digits: tuple[str, ...] = ()
        self._equal = 0

    def judge(self, reading: Reading) -> Judged:
        """Judge the next reading."""
        values, bad = dict(reading.values), dict(reading.bad)
        held = []
        for quantity, confirmation in self._confirmations.items():
            if quantity not in values or confirmation.take(values[quantity]):
                continue
            value = values.pop(quantity)
            if confirmation.unconfirmed < WILD:
                held.append(quantity)
            else:
                bad[quantity] = f"{confirmation.unconfirmed} readings of which no two agree, the last one {value:g}"
        self._equal = self._equal + 1 if reading.digits == self._digits else 1
        self._digits = reading.digits
        return Judged(values, bad, tuple(held), 0 < self._frozen_after <= self._equal)


class Confirmation:
    """Two of three: a value far from the last believed one is believed when one of the two before it agrees.

    Args:
        jump: how far two values may be apart that agree.
        factor: `jump` is a factor, not a difference.
        trusting: the very first value is believed without a second one.

    Attributes:
        unconfirmed: values in a row that were not believed.
    """

    def __init__(self, jump: float, *, factor: bool = False, trusting: bool = False) -> None:
        self._jump = math.log(jump) if factor else jump
        self._factor = factor
        self._trusting = trusting
        self._last: float | None = None
        self._held: deque[float] = deque(maxlen=2)
        self.unconfirmed = 0

    def take(self, value: float) -> bool:
        """Take the next value; tell whether it is believed."""
        place = math.log(value) if self._factor else value
        known = self._held if self._last is None else (self._last, *self._held)
        if (self._last is None and self._trusting) or any(abs(place - other) <= self._jump for other in known):
            self._last = place
            self._held.clear()
            self.unconfirmed = 0
            return True
        self._held.append(place)
        self.unconfirmed += 1
        return False
