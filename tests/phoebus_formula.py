"""The formulas that our screens use, computed as Phoebus does: `=arrayOf(0, 'PV' * cos(toRadians('OTHER')))`.

Source: Phoebus, core/formula: names of PVs stand in single quotes; arrayOf, sin, cos and toRadians are its functions.
"""

import math
import re

_NAME = re.compile(r"'([^']+)'")
_FUNCTIONS = {
    "arrayOf": lambda *values: [float(value) for value in values],
    "sin": math.sin,
    "cos": math.cos,
    "toRadians": math.radians,
}


def pvs(formula: str) -> list[str]:
    """Give the PVs of a formula."""
    return list(dict.fromkeys(_NAME.findall(formula)))


def compute(formula: str, values: dict[str, float]) -> list[float]:
    """Give its array for the values of its PVs."""
    names = pvs(formula)
    text = _NAME.sub(lambda found: f"v{names.index(found[1])}", formula.removeprefix("="))
    known = {f"v{number}": values[name] for number, name in enumerate(names)}
    return eval(text, {"__builtins__": {}}, {**_FUNCTIONS, **known})
