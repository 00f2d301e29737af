"""The archiver's whole way from an event to both stores, through every order of faults, stops and kills.

Conservation: an event that was heard is in each store once, or told as dropped and marked in the data. Only a kill may
cost more: what was on its way to the disk. Liveness: when the faults end, all that waits is written.

Real are the recorders, spools, files, encoders and outlets; the disk's errors, the database and the network are not.
"""

import errno
import os
import re
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from archiver.batch import Batch, RowRecord, Source, foreign
from archiver.killed import mark_kill
from archiver.last_events import LastEvents
from archiver.outlet import Outlet
from archiver.pv_recorder import PvRecorder
from archiver.sinks.csv_files import CsvFiles
from archiver.sinks.influx import Answer, Influx
from archiver.spool import Spool
from archiver.spooling import Spooling
from iocs.archive_tables import ArchiveTable, CsvTable, InfluxTable
from iocs.signals import Reading, Row, Severity, Signal, Status
from tests.archive import MARKS, lines, samples

T = 1_790_000_000_000_000_000
PVS = {pv: foreign(pv) for pv in ("X:A", "X:B")}
ROW, LAYOUT = Source("X:ROW", "X", "ROW", "X:ROW"), Row("ROW", (Signal("N"),))
LINE = re.compile(r"X,pv=([^ ]+) (.*) (\d+)")


@dataclass
class Database:
    """An InfluxDB as far as it matters: the same point twice is one point, and what it answers."""

    points: dict[tuple[str, int], dict[str, str]] = field(default_factory=dict)
    fault: str = "well"
    poison: set[str] = field(default_factory=set)

    def send(self, bucket: str, data: bytes) -> Answer:
        if self.fault in ("401", "503"):
            return Answer(int(self.fault), "as it was told")
        if self.fault == "413" and len(data) > 200 and data.count(b"\n") > 1:
            return Answer(413, "too much")
        refused = 0
        for line in data.decode().splitlines():
            found = LINE.fullmatch(line)
            assert found, line
            fields = dict(cell.split("=") for cell in found[2].split(","))
            if fields.get("value") in self.poison:
                refused += 1
                continue
            self.points.setdefault((found[1], int(found[3])), {}).update(fields)
        if self.fault == "lost":
            raise OSError("the answer is lost")
        return Answer(400, f"{refused} lines") if refused else Answer(204)

    def close(self) -> None:
        pass


class ArchiverMachine(RuleBasedStateMachine):
    @initialize(roomy=st.booleans())
    def begin(self, roomy: bool) -> None:
        self.patch = pytest.MonkeyPatch()
        self.folder = Path(tempfile.mkdtemp(prefix="archiver-"))
        self.most_bytes = 1_000_000 if roomy else 2_000
        self.database, self.disk = Database(), {}
        self.tick = self.latest = self.number = 0
        self.now: dict[str, Reading] = {}  # what the server has
        self.newest = dict.fromkeys(PVS, 0)  # times, ns
        self.heard: dict[str, list[str]] = {pv: [] for pv in (*PVS, ROW.pv)}
        self.dropped: dict[str, Counter[str]] = {"csv": Counter(), "influx": Counter()}  # values, by PV
        self.missing: dict[str, set[str]] = {"csv": set(), "influx": set()}  # dropped, or lost by a kill
        self.again: set[str] = set()  # to be recorded again when it is told again
        self.kills = 0
        whole = os.write

        def write(fd: int, data: bytes) -> int:
            path = os.readlink(f"/proc/self/fd/{fd}")
            kind = next((kind for folder, kind in self.disk.items() if path.startswith(folder)), "well")
            if kind == "fails":
                raise OSError(errno.EIO, os.strerror(errno.EIO), path)
            return whole(fd, data[: len(data) // 2] if kind == "full" else data)

        self.patch.setattr("os.write", write)
        self.patch.setattr("os.fsync", lambda fd: None)  # no power is cut here
        self.start()

    def start(self) -> None:
        self.tick = self.latest + 2000  # the times of a run before are not remembered
        state = self.folder / "state"
        state.mkdir(exist_ok=True)
        table = {"directory": self.folder / "data", "value_digits": "repr", "time_format": "ns"}
        csv = CsvFiles(CsvTable.model_validate({**table, "new_file_megabytes": 0.0005}))
        csv.claim()
        self.last = LastEvents(state / "last.jsonl")
        server = {"url": "http://127.0.0.1:9", "version": 1, "bucket": "b"}
        influx = Influx(InfluxTable.model_validate(server), self.last.times())
        influx._transport = self.database
        self.outlets = [self.outlet(csv), self.outlet(influx)]
        csv.on_new_file = self.outlets[0].new_file
        self.spooling = Spooling(ArchiveTable(), self.outlets, self.last, self.forget)
        mark_kill(self.outlets, self.last, [], "")
        for outlet in self.outlets:
            outlet.sink.resume(outlet.spool.mark)
        self.recorders = {}
        for pv, source in PVS.items():
            told = self.last.events.get(pv)
            known = (int(told[0]), str(told[1]), int(told[2]), int(told[3])) if told else None
            self.recorders[pv] = PvRecorder(source, "monitor", self.spooling.put_sample, known, self.clock)
            if pv in self.now and self.now[pv].time_ns < self.newest[pv]:
                del self.now[pv]  # a clock that went back over times of the run before: see docs/explanation/loss.md
            self.tell(pv)

    def outlet(self, sink: Any) -> Outlet:
        folder = self.folder / "state" / sink.name
        spool = Spool(sink.name, folder, most_bytes=self.most_bytes, keep_free=0, memory_bytes=self.most_bytes)
        spool.open()
        outlet = Outlet(sink, spool, folder / "dead-letters", 1.0, 0.0)
        whole = outlet.record

        def record(batch: Batch) -> bool:
            taken = whole(batch)
            if not taken:
                values = [(source.pv, repr(what.value)) for source, what in batch.samples if what.value is not None]
                values += [(row.source.pv, repr(row.values[0])) for row in batch.rows]
                self.dropped[sink.name].update(pv for pv, _ in values)
                self.missing[sink.name].update(value for _, value in values)
            return taken

        outlet.record = record  # type: ignore[method-assign]
        return outlet

    def forget(self, pv: str, event: tuple[int, str, int, int]) -> None:
        self.again.add(event[1])
        self.recorders[pv].forget(event)

    def clock(self) -> int:
        """Give the archiver's clock, which is not that of the servers."""
        self.tick += 1
        self.latest = max(self.latest, self.tick)
        return T + self.tick * 1000 + 500

    def tell(self, pv: str) -> None:
        """Have the server tell what it has, as it does to whoever connects."""
        if reading := self.now.get(pv):
            self.recorders[pv].on_reading(reading)

    # -- what comes

    @rule(pv=st.sampled_from(list(PVS)), count=st.integers(1, 8), step=st.sampled_from([1, 1, 1, 0, -3]))
    def post(self, pv: str, count: int, step: int) -> None:
        for _ in range(count):
            self.number += 1
            self.tick += step
            self.latest = max(self.latest, self.tick)
            value = self.number + 0.5
            self.now[pv] = Reading(value, T + self.tick * 1000, Severity.NO_ALARM, Status.NO_ALARM)
            self.newest[pv] = max(self.newest[pv], self.now[pv].time_ns)
            self.heard[pv].append(repr(value))
            self.tell(pv)

    @rule(count=st.integers(1, 8))
    def post_rows(self, count: int) -> None:
        for _ in range(count):
            self.number += 1
            self.heard[ROW.pv].append(repr(self.number + 0.5))
            self.spooling.put_row(RowRecord(ROW, LAYOUT, self.clock(), [self.number + 0.5], self.number, 1))

    @rule(pv=st.sampled_from(list(PVS)))
    def reconnect(self, pv: str) -> None:
        if reading := self.now.get(pv):
            self.recorders[pv].on_reading(Reading(None, 0, reading.severity, reading.status, connected=False))
            self.tell(pv)

    # -- what is done with it

    @rule()
    def spool(self) -> None:
        self.spooling._spool(self.spooling._collect(), hurry=False)

    @rule(store=st.integers(0, 1))
    def write(self, store: int) -> None:
        self.outlets[store].drain()

    @rule(store=st.integers(0, 1))
    def save(self, store: int) -> None:
        self.outlets[store].save(force=True)
        self.outlets[store].sink.marked()

    # -- what goes wrong

    @rule(fault=st.sampled_from(["well", "401", "503", "413", "lost"]), poison=st.booleans())
    def database_fault(self, fault: str, poison: bool) -> None:
        self.database.fault = fault
        if poison:
            self.database.poison.add(repr(self.number + 1.5))  # the next one that is posted

    @rule(where=st.sampled_from(["data", "state/csv", "state/influx"]), kind=st.sampled_from(["well", "full", "fails"]))
    def disk_fault(self, where: str, kind: str) -> None:
        self.disk[str(self.folder / where)] = kind

    @rule()
    def stop(self) -> None:
        """End in order, on disks that are well, and begin anew."""
        self.disk = {}
        for recorder in self.recorders.values():
            recorder.stop()
        self.spooling._spool(self.spooling._collect(), hurry=True)
        for outlet in self.outlets:
            outlet.start()
            outlet.stop(10.0)
        self.start()

    @rule()
    def kill(self) -> None:
        self.kills += 1
        held = self.spooling._collect()
        lost = {repr(what.value) for _, what in held.samples} | {repr(row.values[0]) for row in held.rows}
        for outlet in self.outlets:
            self.missing[outlet.sink.name] |= lost
            for record in outlet.spool._unwritten:
                self.missing[outlet.sink.name] |= set(re.findall(r"\d+\.5", record.payload.decode()))
            if outlet.spool._fd >= 0:
                os.close(outlet.spool._fd)
        csv: Any = self.outlets[0].sink
        for current in csv._current.values():
            if current.file.open:
                current.file.abandon()
        for folder in csv._folders.values():
            folder.release()
        self.start()

    # -- what must hold

    @invariant()
    @precondition(lambda self: hasattr(self, "outlets"))
    def counts_agree(self) -> None:
        for outlet in self.outlets:
            counts = outlet.counts()
            assert counts.seen == counts.written + counts.waiting + sum(counts.dropped.values()), outlet.sink.name

    def teardown(self) -> None:
        if not hasattr(self, "folder"):
            return
        try:
            self.heal()
            self.compare("csv", *self.in_files())
            self.compare("influx", *self.in_database())
        finally:
            self.patch.undo()
            shutil.rmtree(self.folder)

    def heal(self) -> None:
        self.database.fault, self.disk = "well", {}
        self.stop()  # what was lost is marked beyond all bounds
        for outlet in self.outlets:
            assert outlet.drain() == 1.0, outlet.error
            assert not outlet.waiting and not outlet.error, outlet.sink.name
        self.stop()

    def in_files(self) -> tuple[dict[str, Counter[str]], dict[str, list[str]]]:
        data = self.folder / "data"
        found: dict[str, Counter[str]] = {pv: Counter() for pv in self.heard}
        marks: dict[str, list[str]] = {pv: [] for pv in self.heard}
        for _, pv, value, _, status in samples(data):
            if status.split()[0] in MARKS:
                marks[pv].append(status)
            else:
                found[pv][value] += 1
        found[ROW.pv].update(line[1] for path in data.glob("X_*.csv") for line in lines(path))
        return found, marks

    def in_database(self) -> tuple[dict[str, Counter[str]], dict[str, list[str]]]:
        found: dict[str, Counter[str]] = {pv: Counter() for pv in self.heard}
        marks: dict[str, list[str]] = {pv: [] for pv in self.heard}
        for (pv, _), fields in self.database.points.items():
            assert ("event" in fields) + ("value" in fields or "N" in fields) == 1, fields  # two would be one
            if "event" in fields:
                marks[pv].append(f"{fields['event'].strip(chr(34))} {fields.get('missing', '')}".strip())
            else:
                found[pv][fields.get("value") or fields["N"]] += 1
        letters = self.folder / "state" / "influx" / "dead-letters"
        for value in set(re.findall(r" value=([^,]+)", letters.read_text() if letters.exists() else "")):
            found[next(pv for pv in self.heard if value in self.heard[pv])][value] += 1
        return found, marks

    def compare(self, store: str, found: dict[str, Counter[str]], marks: dict[str, list[str]]) -> None:
        for pv, heard in self.heard.items():
            absent = set(heard) - set(found[pv])
            assert absent <= self.missing[store], (store, pv, "lost in silence", absent - self.missing[store])
            assert set(found[pv]) <= set(heard), (store, pv, "never said", set(found[pv]) - set(heard))
            twice = {value for value, count in found[pv].items() if count > 1}
            assert twice <= self.again, (store, pv, "twice", twice - self.again)
            told = sum(int(mark.split()[1]) for mark in marks[pv] if mark.startswith("GAP "))
            dropped = self.dropped[store][pv]
            assert told == dropped or (self.kills and told <= dropped), (store, pv, "marked", told, "dropped", dropped)
            assert not absent or any(mark.startswith("GAP") for mark in marks[pv]) or pv == ROW.pv or self.kills


TestArchiver = ArchiverMachine.TestCase
TestArchiver.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
