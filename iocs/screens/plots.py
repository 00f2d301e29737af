"""Plots (pure): arrays against each other, phasors, and the last hour as a strip chart.

A phasor is a line from the origin to its tip. Its ends are formulas of Phoebus (`=arrayOf(...)`, core/formula), since
magnitude and angle are two PVs; no script is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from iocs.screens.bob import BOLD, PLAIN, TRACES, Widget
from iocs.screens.families import ANGLE, MAGNITUDE, Family
from iocs.signals import Kind, Signal

_T = TypeVar("_T")
POINTS = 20_000  # longest array that is drawn
AXES = 3  # scales beside a strip chart
CURVES = 8  # of one plot
_NO_LINE, _LINE, _STEP = 0, 1, 2  # property `trace_type`
_NO_POINT, _CIRCLE = 0, 2  # property `point_type`


@dataclass(frozen=True, slots=True)
class Curve:
    """One curve: its name in the legend, and the PVs (or formulas) of its points; x_pv empty for the points' number."""

    name: str
    y_pv: str
    x_pv: str = ""
    points: int = _NO_POINT
    line: int = _LINE


@dataclass(frozen=True, slots=True)
class Plot:
    """An XY plot."""

    title: str
    x_title: str
    y_title: str
    curves: tuple[Curve, ...]


def waveforms(signals: Sequence[Signal], prefix: str, family: Family | None = None) -> list[Plot]:
    """Give a plot for each array that is no time axis; with a family, one for the same array of all its channels.

    Args:
        signals: among them the arrays; those of one channel of the family.
        prefix: what stands before the names.
        family: whose channels' places stand between prefix and name.
    """
    arrays = [signal for signal in signals if 1 < signal.count <= POINTS]
    places = [f"{place}:" for place, _ in family.members] if family else [""]
    plots = []
    for signal in arrays:
        if signal.unit == "s":
            continue
        times = [other for other in arrays if other.unit == "s" and other.count == signal.count]
        x_title = f"{times[0].name} (s)" if times else "number"
        for part in _parts(places):
            curves = tuple(
                Curve(
                    f"{place}{signal.name}",
                    f"{prefix}{place}{signal.name}",
                    f"{prefix}{place}{times[0].name}" if times else "",
                )
                for place in part
            )
            plots.append(Plot(f"{signal.name}: {signal.doc}", x_title, f"{signal.name} ({signal.unit})", curves))
    return plots


def phasors(signals: Sequence[Signal], prefix: str) -> list[Plot]:
    """Give a phasor diagram for each unit of magnitudes."""
    by_name = {signal.name: signal for signal in signals}
    by_unit: dict[str, list[tuple[str, Signal]]] = {}
    for signal in signals:
        name = signal.name.removesuffix(MAGNITUDE)
        angle = by_name.get(name + ANGLE)
        if name != signal.name and angle is not None:
            by_unit.setdefault(signal.unit, []).append((name, angle))
    return [_phasors(unit, part, prefix) for unit, pairs in by_unit.items() for part in _parts(pairs)]


def _parts(all_of_them: Sequence[_T]) -> list[Sequence[_T]]:
    """As many as one plot takes, and the next ones."""
    return [all_of_them[start : start + CURVES] for start in range(0, len(all_of_them), CURVES)]


def _phasors(unit: str, pairs: Sequence[tuple[str, Signal]], prefix: str) -> Plot:
    curves = []
    for name, angle in pairs:
        length, turn = f"'{prefix}{name}{MAGNITUDE}'", f"'{prefix}{angle.name}'"
        turn = f"toRadians({turn})" if angle.unit == "deg" else turn
        x, y = (f"=arrayOf(0, {length} * {part}({turn}))" for part in ("cos", "sin"))
        curves.append(Curve(name, y, x, _CIRCLE))
    # Both axes get the same span from two points that are not drawn, so that a right angle looks like one.
    total = " + ".join(f"'{prefix}{name}{MAGNITUDE}'" for name, _ in pairs)
    span = f"=arrayOf(-1.2 * ({total}) / {len(pairs)}, 1.2 * ({total}) / {len(pairs)})"
    curves.append(Curve("", span, span, _NO_POINT, _NO_LINE))
    return Plot(f"Phasors ({unit})", f"real part ({unit})", f"imaginary part ({unit})", tuple(curves))


def xy(plot: Plot, x: int, y: int, width: int, height: int) -> Widget:
    """Give an XY plot as a widget. cs-web-lib needs the fonts, and no empty elements in traces."""
    traces = []
    for number, curve in enumerate(plot.curves):
        pvs = {"x_pv": curve.x_pv} if curve.x_pv else {}
        trace = {"name": curve.name, **pvs, "y_pv": curve.y_pv, "axis": 0, "trace_type": curve.line}
        trace |= {"color": TRACES[number % len(TRACES)], "line_width": 1 if len(plot.curves) > 4 else 2}
        traces.append(("trace", trace | {"point_type": curve.points, "point_size": 8, "visible": True}))
    properties: dict[str, Any] = {
        "title": plot.title,
        "title_font": BOLD,
        "show_legend": len(plot.curves) > 1,
        "x_axis": _axis(plot.x_title),
        "y_axes": [("y_axis", _axis(plot.y_title))],
        "traces": traces,
    }
    return Widget("xyplot", plot.title, x, y, width, height, properties)


def _axis(title: str) -> dict[str, Any]:
    scale = {"title": title, "autoscale": True, "log_scale": False, "minimum": 0.0, "maximum": 1.0, "show_grid": True}
    return {**scale, "title_font": PLAIN, "scale_font": PLAIN, "on_right": False, "visible": True}


def last_hour(curves: Sequence[tuple[str, str, str]], x: int, y: int, width: int, height: int) -> Widget:
    """Give a strip chart of the last hour.

    Args:
        curves: name, PV and unit of each; a scale for each of the first three units.
        x: pixels.
        y: pixels.
        width: pixels.
        height: pixels.
    """
    units = list(dict.fromkeys(unit for _, _, unit in curves))[:AXES]
    kept: list[tuple[str, str, str]] = []
    for unit in units:
        kept += [curve for curve in curves if curve[2] == unit][: CURVES // len(units)]
    axes = []
    for unit in units:
        names = dict.fromkeys(name.rpartition(":")[2] for name, _, other in kept if other == unit)
        axis = {
            "title": f"{', '.join(names)} ({unit})" if len(names) < 3 else unit,
            "autoscale": True,
            "log_scale": False,
            "minimum": 0.0,
            "maximum": 1.0,
        }
        axes.append(("y_axis", {**axis, "show_grid": unit == units[0], "visible": True}))
    traces = []
    for number, (name, pv, unit) in enumerate(kept):
        trace = {"name": name, "y_pv": pv, "axis": units.index(unit), "trace_type": _STEP}
        trace |= {"color": TRACES[number % len(TRACES)], "line_width": 2, "point_type": _NO_POINT}
        traces.append(("trace", trace | {"visible": True}))
    properties: dict[str, Any] = {
        "title": "The last hour",
        "title_font": BOLD,
        "label_font": PLAIN,
        "scale_font": PLAIN,
        "show_legend": True,
        "start": "1 hour",
        "end": "now",
        "y_axes": axes,
        "traces": traces,
    }
    return Widget("stripchart", "Last hour", x, y, width, height, properties)


def is_array(signal: Signal) -> bool:
    """Whether a signal is drawn and not written."""
    return signal.count > 1 and signal.kind in (Kind.FLOAT, Kind.INT)
