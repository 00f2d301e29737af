"""Reading back what was recorded, from the CSV files or from InfluxDB:

from archiver.history import History

history = History.of_site("site.toml")
series = history.get("LAB:HV:CH0:VMON", "2026-01-31 12:00", "2026-01-31 18:00")
series.time_ns, series.value, series.severity          # numpy arrays
series.mean()                                          # of what is not INVALID
series.every(10).mean                                  # of each 10 s
series.frame()                                         # a pandas DataFrame, where pandas is installed
"""

from collections.abc import Mapping
from pathlib import Path

from archiver import csv_history, influx_history
from archiver.series import Point, Series, series_of, time_of
from archiver.sinks.csv_files import prefixes_of
from iocs.archive_tables import CsvTable, InfluxTable
from iocs.config import Site, load
from iocs.signals import Catalogue, Signal
from iocs.state import StateError, peek


class History:
    """What an archiver has recorded.

    Args:
        csv: where its CSV files are.
        influx: read from there instead.
        catalogues: what the devices told last, by their name; without them only single PVs are found, no columns.
        prefix: of the site; names may be given without it.
    """

    def __init__(
        self,
        csv: CsvTable,
        influx: InfluxTable | None = None,
        catalogues: Mapping[str, Catalogue] | None = None,
        prefix: str = "",
    ) -> None:
        self._csv, self._influx = csv, influx
        self._catalogues = dict(catalogues or {})
        self._prefix = prefix

    @classmethod
    def of_site(cls, site: Site | Path | str, influx: bool = False) -> "History":
        """Give the history of a site.

        Args:
            site: the site, or its file.
            influx: read from the InfluxDB of `[archive.influx]`, not from the CSV files.

        Raises:
            ConfigError: the site file has mistakes.
            LookupError: the site has no `[archive.influx]`.
        """
        site = site if isinstance(site, Site) else load(site)
        if influx and site.archive.influx is None:
            raise LookupError(f"{site.path}: there is no [archive.influx] to read from")
        return cls(site.archive.csv, site.archive.influx if influx else None, kept_catalogues(site), site.prefix)

    @classmethod
    def of_folder(cls, folder: Path | str) -> "History":
        """Give the history in a folder of CSV files, without a site: single PVs."""
        return cls(CsvTable.model_validate({"directory": folder}))

    def names(self) -> list[str]:
        """Give the PVs of which something is or may be recorded."""
        names = {
            catalogue.prefix + signal.name
            for catalogue in self._catalogues.values()
            for signal in catalogue.signals
            if signal.row or signal.archive != "none"
        }
        return sorted(names | csv_history.sample_names(self._csv.directory))

    def signal(self, pv: str) -> Signal | None:
        """Give what the catalogues say of a PV."""
        for catalogue in self._catalogues.values():
            for signal in catalogue.signals:
                if catalogue.prefix + signal.name == pv:
                    return signal
        return None

    def get(self, pv: str, start: int | str, end: int | str = "now", *, last_before: bool = True) -> Series:
        """Give a PV's records from a time to another.

        Args:
            pv: its name, with or without the site's prefix.
            start: ns since 1970, or text (see `series.time_of`).
            end: the same.
            last_before: begin with the last record before `start`, which holds until the next one.

        Raises:
            LookupError: nothing is known of the PV.
            ValueError: a time is none, or `end` lies before `start`.
            OSError: the files or the server cannot be read.
        """
        start_ns, end_ns = (time_of(moment) if isinstance(moment, str) else moment for moment in (start, end))
        if end_ns < start_ns:
            raise ValueError(f"the end {end!r} lies before the start {start!r}")
        for name in dict.fromkeys((pv, self._prefix + pv)):
            points = self._points(name, start_ns, end_ns)
            if points or self.signal(name) is not None:
                return series_of(name, points, start_ns, end_ns, last_before)
        raise LookupError(f"nothing is recorded of {pv} until then")

    def _points(self, pv: str, start_ns: int, end_ns: int) -> list[Point]:
        signal = self.signal(pv)
        found: list[Point] = []
        if signal is not None and signal.row:
            device = pv.removesuffix(signal.name)
            found += self._column(device + signal.row, signal.name, start_ns, end_ns)
        if self._influx is not None:
            return found + influx_history.samples(self._influx, pv, start_ns, end_ns)
        return found + csv_history.samples(self._csv.directory, pv, start_ns)

    def _column(self, row: str, name: str, start_ns: int, end_ns: int) -> list[Point]:
        if self._influx is not None:
            return influx_history.column(self._influx, row, name, start_ns, end_ns)
        stream = row.removeprefix(self._prefix)
        rules = self._csv.for_row(stream)
        return csv_history.column(rules.directory, prefixes_of(stream, rules), name, start_ns, end_ns)


def kept_catalogues(site: Site) -> dict[str, Catalogue]:
    """Give what the devices told the archiver last, by their name."""
    try:
        kept = peek(site.state_dir, "archiver").get("catalogues", {})
    except StateError:
        return {}
    return {name: Catalogue.from_json(text) for name, text in kept.items()}
