"""What of a device is recorded, by its catalogue and the site file (pure)."""

from iocs.archive_tables import ArchiveTable, Mode
from iocs.signals import Archive, Catalogue, Row, Signal


class Recorded:
    """What of one device is recorded, and how.

    Args:
        archive: `[archive]` of the site file.
        prefix: of the site.
        catalogue: of the device.
    """

    def __init__(self, archive: ArchiveTable, prefix: str, catalogue: Catalogue) -> None:
        self._archive, self._prefix, self._catalogue = archive, prefix, catalogue

    def mode(self, name: str, declared: Mode = "monitor") -> Mode:
        """Give how a row or signal is recorded: by the site file's patterns, its list of PVs, else as declared."""
        pv = self._catalogue.prefix + name
        mode = self._archive.mode(pv.removeprefix(self._prefix))
        if mode is not None:
            return mode
        return "monitor" if pv in self._archive.pvs else declared

    def rows(self) -> list[Row]:
        """Give the rows that are recorded."""
        return [row for row in self._catalogue.rows if self.mode(row.name) != "none"]

    def single(self) -> dict[str, tuple[Mode, Signal]]:
        """Give the signals that are recorded by themselves: columns are recorded with their row, where that is."""
        rows = {row.name for row in self.rows()}
        found: dict[str, tuple[Mode, Signal]] = {}
        for signal in self._catalogue.signals:
            if signal.row not in rows:
                declared: Mode = "monitor" if signal.archive is Archive.MONITOR else "none"
                mode = self.mode(signal.name, declared)
                if mode != "none":
                    found[signal.name] = mode, signal
        return found
