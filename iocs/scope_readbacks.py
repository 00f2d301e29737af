"""What a scope has told of its settings, and what is posted of that (pure)."""

from collections.abc import Mapping
from typing import Any

from iocs.scope_signals import MEASURED, values_of
from iocs.signals import Bad, Refused, Severity, Signal, Status

_TOGETHER = ("TRTYPE", "TRSRC", "SEQ:ON", "WFSU:SP", "WFSU:NP", "WFSU:FP", "WFSU:SN")


class ReadBacks:
    """The settings of one scope during one connection, as they were read last.

    Args:
        inputs: C1, C2 ...
        signals: of the device, by name.
    """

    def __init__(self, inputs: tuple[str, ...], signals: Mapping[str, Signal]) -> None:
        self._inputs, self._signals = inputs, signals
        self._pairs = [name for name in signals if f"{name}_RBV" in signals]
        self._shown: dict[str, Any] = {}

    def get(self, name: str) -> Any:
        """Give a setting as it is posted; None = it was never told."""
        return self._shown.get(name)

    @property
    def inputs_shown(self) -> list[str]:
        """Inputs that are switched on (ON)."""
        return [name for name in self._inputs if self._shown.get(f"{name}:ON") == 1]

    def words(self) -> dict[str, Any]:
        """Give the settings that the scope takes only together, enums as words.

        Raises:
            Refused: one of them is not known.
        """
        words: dict[str, Any] = {}
        for name in _TOGETHER:
            value = self._shown.get(name)
            if value is None or isinstance(value, Bad):
                raise Refused(f"{name}: what the scope has now is not known")
            states = self._signals[name].states
            words[name] = states[value] if states else value
        return words

    def take(self, settings: Mapping[str, str], troubles: str, *, everything: bool) -> dict[str, Any]:
        """Take settings as they were read; give what is to be posted: read-backs, and setpoints that have changed.

        Args:
            settings: `TDIV` -> `100E-9 S`.
            troubles: what hurts the scope (DDR), in words.
            everything: post also what has not changed.
        """
        values = values_of(settings, self._signals)
        posted: dict[str, Any] = {f"{name}_RBV": value for name, value in values.items()}
        for name, value in values.items():
            if not isinstance(value, Bad) and (everything or self._shown.get(name) != value):
                posted[name] = value
        for name in self._pairs:
            if name not in values and name not in self._shown:
                gone = Bad("this model does not tell", severity=Severity.INVALID, status=Status.UDF)
                posted[name] = posted[f"{name}_RBV"] = gone
        for name in self._inputs:
            posted[f"{name}:OVERLOAD"] = int(settings.get(f"{name}:CPL") == "OVL" or f"{name} overloaded" in troubles)
            if values.get(f"{name}:ON") == 0 and self._shown.get(f"{name}:ON") != 0:
                off = Bad("the channel is not shown", severity=Severity.MINOR, status=Status.DISABLE)
                posted |= {f"{name}:{leaf}": off for leaf in ("WF", "TIME", *MEASURED)}
        hurt = Bad(troubles, troubles, Severity.MAJOR, Status.STATE)
        posted["TROUBLE"] = hurt if troubles else ""
        self._shown |= values
        return posted
