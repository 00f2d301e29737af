"""How far neighbours are apart, as measured (pure): the PVs `RAMPn:APART`."""

from collections.abc import Mapping
from typing import Any

from iocs.hv.ramp import farthest
from iocs.hv.settings import HvSettings
from iocs.signals import Bad, Severity, Status


class Apart:
    """Follows the readings of a supply; neighbours may be on several boards, which are read one after the other.

    Args:
        settings: of the supply.
    """

    def __init__(self, settings: HvSettings) -> None:
        self._tolerance = settings.tolerance
        self._groups = [
            (f"RAMP{number}:APART", table.apart, [f"{place}VMON" for place in settings.places(table.channels)])
            for number, table in enumerate(settings.ramp, 1)
        ]
        self._vmon: dict[str, Any] = {}  # V or Bad, as read last

    def take(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Take a reading of the outputs of a board; give the PVs that it changes, alarmed above what is allowed."""
        told: dict[str, Any] = {}
        for name, allowed, parts in self._groups:
            new = {part: values[part] for part in parts if part in values}
            self._vmon |= new
            if new and all(part in self._vmon for part in parts):
                told[name] = self._judged([self._vmon[part] for part in parts], allowed)
        return told

    def interrupted(self) -> None:
        """The unit was away: what comes next does not follow on what came before."""
        self._vmon.clear()

    def _judged(self, read: list[Any], allowed: float) -> Any:
        if bad := [each for each in read if isinstance(each, Bad) and each.severity is Severity.INVALID]:
            return bad[0]
        volts: tuple[Any, ...] = tuple(each.value if isinstance(each, Bad) else each for each in read)
        most = farthest(volts)
        if most <= allowed + self._tolerance:
            return most
        return Bad("neighbours too far apart", most, Severity.MINOR, Status.HIGH)
