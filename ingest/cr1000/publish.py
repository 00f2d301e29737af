"""What a run publishes: calibrated rows to CSV and InfluxDB, and the state that makes the next run cheap.

A run that finds all as it was does nothing. Where files have only grown, or new ones have come, only what is new is
read. Whenever something else is different (the configuration, what is asked for, a file that is shorter or gone, new
rows that a later file may overrule, an output that somebody changed) all is computed from the files anew, and points
that are there no longer are removed.

Rows come in the order of the files, in each as they lie there; of rows with one stamp the last one counts.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ingest.cr1000.average import Average
from ingest.cr1000.columns import NO_TEXTS, Chunk, Column, Texts
from ingest.cr1000.csv_output import CsvOutput
from ingest.cr1000.influx_output import EVER, NEVER, InfluxOutput
from ingest.cr1000.plan import Start, Wanted, look, look_if_there, name_of, starts
from ingest.cr1000.sorting import Spool
from iocs.state import open_state

log = logging.getLogger(__name__)


@dataclass
class Published:
    """What came of a run.

    Attributes:
        rows: that were taken.
        values: numbers and texts in them.
        replaced: rows in whose place a later one came.
        points: written to InfluxDB.
        refused: points that it refuses.
        up_to_date: all was as it was; nothing was done.
        anew: why nothing of the run before could be kept; empty where it was, or where there was none.
    """

    rows: int = 0
    values: int = 0
    replaced: int = 0
    points: int = 0
    refused: int = 0
    up_to_date: bool = False
    anew: str = ""


class Publication:
    """One run for one station; a context: what is not finished leaves the CSV file as it was.

    Args:
        wanted: what is asked for.
        paths: the files, in the order in which they count.
        state: a JSON file beside which a lock is held; None = all anew at each run.

    Raises:
        StateError: another process holds the state, or it is damaged.
        LookupError: InfluxDB's token or library is not to be had.
        NotWritten: InfluxDB does not remove old points.
        OSError: an output cannot be written, or a file cannot be read.

    Attributes:
        starts: where to begin with each file.
        anew: whether all is computed anew.
    """

    def __init__(self, wanted: Wanted, paths: Sequence[Path], state: Path | None = None) -> None:
        self._wanted = wanted
        self._names = dict.fromkeys(map(name_of, paths))
        self._state = None if state is None else open_state(state.parent, state.name.removesuffix(".json"))
        self._csv: CsvOutput | None = None
        self._influx: InfluxOutput | None = None
        self._spool: Spool | None = None
        self._done: dict[str, Any] = {}
        self._result = Published()
        self._first: int | None = None
        self._last: int | None = None
        try:
            self._begin(paths)
        except BaseException:
            self.close()
            raise

    def _begin(self, paths: Sequence[Path]) -> None:
        saved = self._state.load() if self._state else {}
        known = starts(saved, self._wanted, paths)
        self.anew = isinstance(known, str)
        self.starts = {path: Start() for path in paths} if isinstance(known, str) else known
        self._result.anew = known if isinstance(known, str) else ""
        self._result.up_to_date = not self.anew and all(start.unchanged for start in self.starts.values())
        if self._result.up_to_date:
            return
        wanted = self._wanted
        if not self.anew:
            self._done = dict(saved["files"])
            self._first, self._last = saved["first_ns"], saved["last_ns"]
        if wanted.average_ns:
            self._spool = Spool(wanted.csv.parent if wanted.csv and wanted.csv.parent.is_dir() else None)
        if wanted.csv or wanted.stdout:
            after = None if self.anew else saved["csv_last_ns"]
            self._csv = CsvOutput(wanted.csv, wanted.long, after)
        if wanted.influx:
            self._influx = InfluxOutput(wanted.influx, wanted.station)
            if self.anew:
                self._remove_old(saved)

    def _remove_old(self, saved: Mapping[str, Any]) -> None:
        """Remove what runs before have written; a run that is cut off is known by this as well."""
        assert self._influx is not None  # noqa: S101
        if saved.get("key", {}).get("influx") == self._wanted.key["influx"] and "influx" in saved.get("key", {}):
            first, last = saved.get("first_ns"), saved.get("last_ns")
            self._influx.remove(NEVER if first is None else first, EVER if last is None else last)
        if self._state:
            self._state.save({"complete": False, "key": self._wanted.key})

    def take(self, time_ns: np.ndarray, columns: Sequence[Column], ready: Texts = NO_TEXTS) -> None:
        """Take rows of a block, in order of time, and the texts of them that are known.

        Raises:
            OSError: there is no room.
            NotWritten: InfluxDB was away for too long.
        """
        wanted, chunk = self._wanted, Chunk(time_ns, columns)
        first = 0 if wanted.from_ns is None else int(np.searchsorted(time_ns, wanted.from_ns))
        last = len(time_ns) if wanted.to_ns is None else int(np.searchsorted(time_ns, wanted.to_ns))
        if (first, last) != (0, len(time_ns)):
            chunk, ready = chunk.take(slice(first, max(first, last))), NO_TEXTS
        self._result.rows += len(chunk)
        for column in chunk.columns:
            texts = isinstance(column.values, list)
            self._result.values += (
                len(column.values) - column.values.count("")
                if texts
                else int(np.count_nonzero(~np.isnan(column.values)))
            )
        if self._spool is not None:
            self._spool.add(chunk)
        else:
            self._write(chunk, ready)

    def _write(self, chunk: Chunk, ready: Texts = NO_TEXTS) -> None:
        if self._csv:
            self._csv.take(chunk, ready.csv)
        if self._influx:
            self._influx.take(chunk, ready.influx)
        if len(chunk):
            first, last = int(chunk.time_ns[0]), int(chunk.time_ns[-1])
            self._first = first if self._first is None else min(self._first, first)
            self._last = last if self._last is None else max(self._last, last)

    def done(self, path: Path, look: Sequence[int], saved: Mapping[str, Any] | None, last_ns: int | None) -> None:
        """Take note that a file was read.

        Args:
            path: the file.
            look: what `look` said of it before it was read; empty where it could not be read to its end.
            saved: what `resume.mark` gives of its reader.
            last_ns: its newest stamp; None where it has no row.
        """
        self._done[name_of(path)] = {"look": list(look), "mark": saved, "last_ns": last_ns}

    def finish(self) -> Published:
        """Put everything in its place.

        Raises:
            OSError, NotWritten: as `take`; nothing is in its place then.
        """
        result = self._result
        if result.up_to_date:
            return result
        if self._spool is not None:
            average = Average(self._wanted.average_ns, self._wanted.interval_ns)
            for chunk in self._spool:
                self._write_all(average.feed(chunk))
            self._write_all(average.end())
            result.replaced += self._spool.replaced
        if self._influx:
            self._influx.finish()
            result.points, result.refused = self._influx.points, self._influx.refused
            self._influx = None
        last = None
        if self._csv:
            self._csv.finish()
            last = self._csv.last_ns
            result.replaced += self._csv.replaced
            self._csv = None
        if self._state:
            self._state.save(
                {
                    "complete": True,
                    "key": self._wanted.key,
                    "files": self._done,
                    "order": [name for name in self._names if name in self._done],
                    "csv": look_if_there(self._wanted.csv) if self._wanted.csv else None,
                    "csv_last_ns": last,
                    "first_ns": self._first,
                    "last_ns": self._last,
                }
            )
        return result

    def _write_all(self, chunks: Iterable[Chunk]) -> None:
        for chunk in chunks:
            self._write(chunk)

    def close(self) -> None:
        """Let go of everything."""
        for output in (self._csv, self._influx):
            if output:
                output.abandon()
        if self._spool is not None:
            self._spool.close()
        if self._state:
            self._state.close()

    def __enter__(self) -> "Publication":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


__all__ = ["Publication", "Published", "Start", "Wanted", "look"]
