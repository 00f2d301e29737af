"""One device: what its catalogue says is to be recorded, and what the site file makes of that."""

import logging
from collections.abc import Callable
from typing import Protocol

from archiver.batch import Source, source_of
from archiver.pv_recorder import PvRecorder
from archiver.recorded import Recorded
from archiver.row_recorder import RowRecorder
from iocs.archive_tables import Mode, ModeTable
from iocs.config import Site
from iocs.signals import Catalogue, Reading, Signal

log = logging.getLogger(__name__)


class House(Protocol):
    """What a device needs of the recorder of the whole site."""

    site: Site

    def keep(self, name: str, catalogue: Catalogue) -> None:
        """Keep a catalogue for the next run and for others."""

    def open_row(self, source: Source, every: float | None, device: "DeviceRecorder") -> RowRecorder:
        """Begin to record a row."""
        ...

    def open_pv(self, source: Source, mode: Mode) -> PvRecorder:
        """Begin to record single samples."""
        ...

    def close_pv(self, recorder: PvRecorder) -> None:
        """End the recording of single samples."""

    def read_again(self, device: "DeviceRecorder") -> None:
        """Read the device's catalogue again."""


class DeviceRecorder:
    """One device of the site.

    Args:
        name: the device's name, or that of a server's own PVs ("IOC").
        house: the recorder of the site.
        expected: whether it is worth a word when it is not found.

    Attributes:
        connected: whether its catalogue is being served.
    """

    def __init__(self, name: str, house: House, expected: bool = True) -> None:
        self.name = name
        self.pvs = f"{house.site.prefix}{name}:PVS"
        self.expected = expected
        self.connected = False
        self.catalogue: Catalogue | None = None
        self.rows: dict[str, RowRecorder] = {}
        self.samples: dict[str, tuple[Mode, PvRecorder]] = {}
        self._house = house
        self._bad_text = ""
        self._refusal_said = False

    def on_catalogue(self, reading: Reading) -> None:
        """Take an event of the PV `PVS`."""
        self.connected = reading.connected
        if reading.connected and isinstance(reading.value, str) and reading.value and reading.value != self._bad_text:
            try:
                catalogue = Catalogue.from_json(reading.value)
            except ValueError as error:
                self._bad_text = reading.value
                log.error("%s does not hold a catalogue: %s", self.pvs, error)
                return
            self._learn(catalogue)

    def _learn(self, catalogue: Catalogue) -> None:
        wanted = self._house.site.simulated or not catalogue.simulated
        if not wanted and not self._refusal_said:
            self._refusal_said = True
            log.error(
                "%s serves SIMULATED values: they are NOT recorded. If this site is a simulation, write "
                "'simulated = true' under [site] in %s and start the archiver again",
                self.pvs,
                self._house.site.path,
            )
        if catalogue != self.catalogue:
            self.catalogue = catalogue
            self._house.keep(self.name, catalogue)
            columns = ", ".join(f"{row.name} with {len(row.signals)} columns" for row in catalogue.rows) or "no rows"
            single = self._recorded(catalogue).single() if wanted else {}
            log.info("catalogue version %d: %s, %d single PVs to record", catalogue.version, columns, len(single))
            self._record_single(catalogue, single)
        for row in catalogue.rows:
            mode = self._recorded(catalogue).mode(row.name)
            if row.name not in self.rows and wanted and mode != "none":
                every = mode.every if isinstance(mode, ModeTable) else None
                self.rows[row.name] = self._house.open_row(self._source(catalogue, row.name), every, self)
            if row.name in self.rows:
                self.rows[row.name].follower.learn(catalogue.version, row if wanted else None)

    def listener(self, row: RowRecorder) -> Callable[[Reading], None]:
        """Give what takes the events of a row: a row whose catalogue is not known has it read again."""

        def on_reading(reading: Reading) -> None:
            row.on_reading(reading)
            if row.follower.waiting:
                self._house.read_again(self)

        return on_reading

    # -- single PVs

    def _record_single(self, catalogue: Catalogue, wanted: dict[str, tuple[Mode, Signal]]) -> None:
        for name, (mode, recorder) in list(self.samples.items()):
            if name not in wanted or wanted[name][0] != mode:
                self._house.close_pv(recorder)
                del self.samples[name]
        for name, (mode, signal) in wanted.items():
            source = self._source(catalogue, name, signal.states)
            if name in self.samples:
                recorder = self.samples[name][1]
                if recorder.source.states != source.states:
                    recorder.relabel(source.states)
            else:
                self.samples[name] = mode, self._house.open_pv(source, mode)

    def _recorded(self, catalogue: Catalogue) -> Recorded:
        return Recorded(self._house.site.archive, self._house.site.prefix, catalogue)

    def _source(self, catalogue: Catalogue, name: str, states: tuple[str, ...] = ()) -> Source:
        return source_of(catalogue, name, self._house.site.prefix, states)
