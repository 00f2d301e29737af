"""A Grafana dashboard of a site, from its devices' catalogues (pure): a row a device, InfluxQL, stable output.

What is asked for is what the archiver writes (see `sinks.line_protocol`): columns of rows as means of the time that a
pixel is wide (angles and words of bits, of which no mean is true, as the last then), single PVs as they are, with the
marks that part them.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from archiver import grafana
from archiver.influxql import name, string
from archiver.recorded import Recorded
from archiver.sinks.point_names import Names
from iocs.archive_tables import ArchiveTable
from iocs.signals import Catalogue, Kind, Signal

Plot = tuple[str, list[Signal]]

ANGLES = ("deg", "rad", "degree")  # units in which what follows the greatest value is the least
MARKS = "marks"
MOST_SERIES = 12  # of a plot
PLOT, LINE = 8, 1  # heights: of a plot; of a line in a timeline


def of_site(title: str, prefix: str, archive: ArchiveTable, catalogues: Iterable[Catalogue]) -> dict[str, Any]:
    """Give the dashboard.

    Args:
        title: name of the site.
        prefix: of the site.
        archive: `[archive]` of the site file.
        catalogues: of its devices, in the order of the site file.
    """
    panels: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    y = 0
    influx = archive.influx
    names = Names(influx.names, influx.point) if influx is not None else Names("countinghouse", {})
    for catalogue in catalogues:
        device = _Device(catalogue, Recorded(archive, prefix, catalogue), names, prefix)
        panels.append(grafana.row(catalogue.device, grafana.place(0, y, grafana.WIDTH, 1)))
        more, y = device.panels(y + 1)
        panels += more
        annotations += device.annotations()
    return grafana.dashboard(title or "Countinghouse", uid(prefix), panels, annotations)


def uid(prefix: str) -> str:
    """Give the name of a site's dashboard, the same at every generation: Grafana then takes it as a new version."""
    slug = re.sub(r"[^a-z0-9]+", "-", prefix.lower()).strip("-") or "site"
    return f"countinghouse-{slug}"[:40]


class _Device:
    def __init__(self, catalogue: Catalogue, recorded: Recorded, names: Names, prefix: str) -> None:
        self._catalogue, self._names, self._prefix = catalogue, names, prefix
        self._columns = [signal for row in recorded.rows() for signal in row.signals]
        self._single = [signal for _, signal in recorded.single().values() if signal.count == 1]

    def panels(self, y: int) -> tuple[list[dict[str, Any]], int]:
        """Give the device's panels from a height on, and the height below them: what is measured, the rest folded."""
        states = [signal for signal in (*self._single, *self._columns) if signal.kind is Kind.ENUM]
        states.sort(key=lambda signal: signal.name not in ("ONLINE", "STATE"))
        plots = self._plots()
        shown, y = self._lay(y, [each for each in states if _alarms(each)], [each for each in plots if _tells(each[1])])
        states = [each for each in states if not _alarms(each)]
        plots = [each for each in plots if not _tells(each[1])]
        if not states and not plots:
            return shown, y
        folded, _ = self._lay(y + 1, states, plots)
        title = f"{self._catalogue.device}: settings, counters and all else"
        return [*shown, grafana.row(title, grafana.place(0, y, grafana.WIDTH, 1), folded)], y + 1

    def _lay(self, y: int, states: list[Signal], plots: list[Plot]) -> tuple[list[dict[str, Any]], int]:
        device, panels = self._catalogue.device, []
        if states:
            height = 3 + LINE * len(states)
            queries = [query for signal in states for query in self._states(signal)]
            where = grafana.place(0, y, grafana.WIDTH, height)
            panels.append(grafana.state_timeline(f"{device}: states", queries, states, where))
            y += height
        for number, (title, signals) in enumerate(plots):
            where = grafana.place(grafana.WIDTH // 2 * (number % 2), y + PLOT * (number // 2), grafana.WIDTH // 2, PLOT)
            queries = [self._number(signal) for signal in signals]
            panels.append(grafana.time_series(f"{device}: {title}", queries, signals, where, MARKS))
        return panels, y + PLOT * -(-len(plots) // 2)

    def annotations(self) -> list[dict[str, Any]]:
        """Give the marks for what was wrong."""
        if not any(signal.name == "ERROR" for signal in self._single):
            return []
        pv = self._catalogue.prefix + "ERROR"
        query = (
            f'SELECT "text", "pv" FROM {self._measurement} WHERE "pv" = {string(pv)} AND "text" != \'\' AND $timeFilter'
        )
        return [grafana.annotation(f"{self._catalogue.device} ERROR", query)]

    def _plots(self) -> list[Plot]:
        """Numbers that belong together: the same word of several channels, else those of a group with one unit."""
        numbers = [each for each in (*self._columns, *self._single) if each.kind in (Kind.FLOAT, Kind.INT)]
        words: dict[tuple[str, str, bool], list[Signal]] = defaultdict(list)
        for signal in numbers:
            words[signal.name.rpartition(":")[2], signal.unit, bool(signal.row)].append(signal)
        plots: dict[tuple[str, str, bool], list[Signal]] = defaultdict(list)
        for signal in numbers:
            word = signal.name.rpartition(":")[2]
            title = word if len(words[word, signal.unit, bool(signal.row)]) > 1 else signal.group or "Signals"
            plots[title, signal.unit, bool(signal.row)].append(signal)
        return [
            (_titled(title, signals), signals[begin : begin + MOST_SERIES])
            for (title, _, _), signals in plots.items()
            for begin in range(0, len(signals), MOST_SERIES)
        ]

    @property
    def _measurement(self) -> str:
        return name(self._catalogue.device)

    def _number(self, signal: Signal) -> str:
        pv = self._catalogue.prefix + signal.name
        if signal in self._columns:
            row = self._catalogue.prefix + signal.row
            of_many = "last" if signal.kind is Kind.INT or signal.unit in ANGLES else "mean"
            return (
                f"SELECT {of_many}({name(signal.name)}) AS {name(signal.name)} FROM {self._measurement} "
                f'WHERE "pv" = {string(row)} AND $timeFilter GROUP BY time($__interval) fill(null)'
            )
        given = self._names.table(pv.removeprefix(self._prefix))
        if given is not None:
            table, tags = given
            where = "".join(f"{name(key)} = {string(value)} AND " for key, value in tags.items() if value)
            database = f"{name(table.bucket)}.." if table.bucket else ""
            plain = name(table.field) if table.offset == 0 else f"({name(table.field)} - {table.offset!r})"
            field = f"{plain if table.scale == 1 else f'{plain} / {table.scale!r}'} AS {name(signal.name)}"
            return f"SELECT {field} FROM {database}{name(table.measurement)} WHERE {where}$timeFilter"
        return (
            f'SELECT "value" AS {name(signal.name)}, "event" AS "{MARKS}" FROM {self._measurement} '
            f'WHERE "pv" = {string(pv)} AND $timeFilter'
        )

    def _states(self, signal: Signal) -> list[str]:
        """Within the time shown, and what held when it began."""
        pv, column = self._catalogue.prefix + signal.name, name(signal.name)
        select = f'SELECT "label" AS {column} FROM {self._measurement} WHERE "pv" = {string(pv)}'
        if signal in self._columns:
            row = self._catalogue.prefix + signal.row
            select = f'SELECT {column} FROM {self._measurement} WHERE "pv" = {string(row)}'
            within = f'SELECT last({column}) AS {column} FROM {self._measurement} WHERE "pv" = {string(row)}'
            within += " AND $timeFilter GROUP BY time($__interval) fill(none)"
        else:
            within = f"{select} AND $timeFilter"
        return [within, f"{select} AND time < ${{__from}}ms ORDER BY time DESC LIMIT 1"]


def _titled(title: str, signals: list[Signal]) -> str:
    """Say what a plot shows, with its unit: one that stands alone under its own name."""
    unit = signals[0].unit
    words = signals[0].name if len(signals) == 1 else title
    return words if unit in ("", "1") else f"{words} ({unit})"


def _alarms(signal: Signal) -> bool:
    """Whether a state may be an alarm."""
    return any(signal.state_severities)


def _tells(signals: list[Signal]) -> bool:
    """Whether numbers are what a device measures: read back, with a unit, no echo of a setting."""
    first = signals[0]
    return not first.writable and bool(first.unit) and not first.name.endswith("_RBV")
