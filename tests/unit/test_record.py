"""Recording without a network: a client made of tests feeds readings; the files tell what came of them."""

import asyncio
import csv
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archiver import record, simulation
from archiver.batch import Batch, Event
from archiver.last_events import LastEvents
from archiver.record import Recorder
from archiver.sinks.line_protocol import LineEncoder
from archiver.sinks.point_names import Names
from archiver.status import ArchiverStatus
from archiver.stores import build_outlets
from iocs.ca.client import Mask
from iocs.ca.metadata import Metadata
from iocs.config import Site, load
from iocs.signals import MONITOR, Catalogue, Kind, Reading, Severity, Signal, Status
from iocs.state import open_state
from tests.archive import lines

T = 1_790_000_000
SIGNALS = (Signal("FREQ", unit="Hz", row="ROW"), Signal("STAT", kind=Kind.INT, row="ROW"))


def catalogue(version: int = 1, device: str = "PMU", simulated: bool = False, signals=SIGNALS) -> Catalogue:
    return Catalogue(device, "test", f"LAB:{device}:", version, simulated, tuple(signals))


def reading(value: Any, severity: Severity = Severity.NO_ALARM, connected: bool = True) -> Reading:
    return Reading(value, T * 10**9, severity, Status.NO_ALARM, connected, local=False)


class FakeWatch:
    def __init__(self, client: "FakeClient", name: str) -> None:
        self.client, self.name = client, name

    def end(self) -> None:
        self.client.listeners.pop(self.name, None)

    async def close(self) -> None:
        self.end()


class FakeClient:
    """Stands for the network: `say` is an event of a PV."""

    now: "FakeClient"

    def __init__(self) -> None:
        FakeClient.now = self
        self.listeners: dict[str, Callable[[Reading], None]] = {}
        self.last: dict[str, Reading] = {}
        self.gets = 0
        self.masks: dict[str, Mask] = {}
        self.told: dict[str, Metadata] = {}

    async def __aenter__(self) -> "FakeClient":
        return self

    async def __aexit__(self, *exception: object) -> None:
        pass

    def watch(self, name: str, on_reading: Callable[[Reading], None], mask: Mask = Mask.VALUE) -> "FakeWatch":
        self.listeners[name] = on_reading
        self.masks[name] = mask
        return FakeWatch(self, name)

    async def metadata(self, name: str, timeout: float) -> Metadata:
        if name not in self.told:
            raise TimeoutError(f"PV {name} did not answer")
        return self.told[name]

    async def get(self, name: str, timeout: float) -> Reading:
        self.gets += 1
        if name not in self.last:
            raise TimeoutError(f"PV {name} did not answer")
        return self.last[name]

    def say(self, name: str, value: Any, **how: Any) -> None:
        self.last[name] = reading(value, **how)
        self.listeners[name](self.last[name])

    def sample(self, name: str, value: Any, second: int, **how: Any) -> None:
        self.listeners[name](replace(reading(value, **how), time_ns=(T + second) * 10**9))

    def catalogue(self, **what: Any) -> None:
        told = catalogue(**what)
        self.say(told.prefix + "PVS", told.to_json())

    def row(self, number: int, version: int = 1, device: str = "PMU", columns: int = 2, **how: Any) -> None:
        values = np.array([number, version, T + number, 0, *[50.0] * columns])
        self.say(f"LAB:{device}:ROW", values, **how)


def site(folder: Path, more: str = "", csv: str = "write_every = 3600", archive: str = "") -> Site:
    path = folder / "site.toml"
    path.write_text(
        f'[site]\nname = "lab"\nprefix = "LAB:"\n{more}\n[[device]]\nname = "PMU"\ntype = "test"\n'
        f'[[device]]\nname = "GAS"\ntype = "test"\n'
        f'[archive]\nspool_every = 0.02\n{archive}\n[archive.csv]\ntime_format = "ns"\n{csv}\n'
    )
    return load(path)


def recorded(site: Site, play: Callable[[FakeClient, Recorder], Any]) -> Recorder:
    """Run a recorder on what `play` says, then stop it."""
    FakeClient()  # forget the network of a run before

    async def run() -> Recorder:
        with open_state(site.state_dir, "archiver") as state:
            last = LastEvents(site.state_dir / "archiver-last.jsonl")
            with build_outlets(site, last) as outlets:
                recorder, stop = Recorder(site, state, outlets, last), asyncio.Event()
                task = asyncio.create_task(recorder.run(stop))
                await until(lambda: task.done() or len(FakeClient.now.listeners) >= 2)
                try:
                    await play(FakeClient.now, recorder)
                finally:
                    stop.set()
                    assert await task
                return recorder

    return asyncio.run(run())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def rows(folder: Path) -> dict[str, list[int]]:
    return {
        path.name: [int(line.split(",")[0]) // 10**9 - T for line in path.read_text().splitlines()[1:]]
        for path in sorted((folder / "data").glob("*.csv"))
        if not path.name.startswith("samples_")
    }


def samples(folder: Path) -> list[list[str]]:
    """Single samples and marks: time in s since T (empty for a mark, as those have the clock's), PV, value, alarm."""
    lines = []
    for path in sorted((folder / "data").glob("samples_*.csv"), key=lambda path: (len(path.name), path.name)):
        for time_ns, pv, value, severity, status in list(csv.reader(path.read_text().splitlines()))[1:]:
            mark = status.split()[0] in set(Event)
            lines.append(["" if mark else str(int(time_ns) // 10**9 - T), pv, value, severity, status])
    return lines


@pytest.fixture(autouse=True)
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeClient()
    monkeypatch.setattr(record, "Client", FakeClient)


def test_rows_of_two_devices_go_to_files_of_their_own(tmp_path: Path) -> None:
    async def play(client: FakeClient, recorder: Recorder) -> None:
        client.catalogue()
        client.catalogue(device="GAS")
        for number in (1, 2):
            client.row(number)
            client.row(number + 10, device="GAS")

    recorded(site(tmp_path), play)
    assert rows(tmp_path) == {f"GAS_{T + 11}.csv": [11, 12], f"PMU_{T + 1}.csv": [1, 2]}


def test_one_name_for_two_rows_is_made_two(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def play(client: FakeClient, recorder: Recorder) -> None:
        client.catalogue()
        client.catalogue(device="GAS")
        client.row(1)
        client.row(2, device="GAS")

    recorded(site(tmp_path, csv='name = "lab"'), play)
    assert rows(tmp_path) == {f"lab{T + 1}.csv": [1], f"labGAS_{T + 2}.csv": [2]}
    assert "files of PMU:ROW begin with 'lab' already" in caplog.text


@pytest.mark.parametrize("loss", [{"connected": False}, {"severity": Severity.INVALID}])
def test_a_loss_writes_at_once_and_is_no_row(tmp_path: Path, loss: dict[str, Any]) -> None:
    async def play(client: FakeClient, recorder: Recorder) -> None:
        client.catalogue()
        client.row(1)
        client.row(2)
        client.row(2, **loss)
        await until(lambda: rows(tmp_path) == {f"PMU_{T + 1}.csv": [1, 2]})
        client.row(2)  # back again
        client.row(3)

    recorder = recorded(site(tmp_path), play)
    assert rows(tmp_path) == {f"PMU_{T + 1}.csv": [1, 2, 3]}
    follower = recorder.devices[0].rows["ROW"].follower
    assert (follower.rows, follower.missed, follower.malformed) == (3, 0, 0)


def test_an_unknown_version_has_the_catalogue_read_again(tmp_path: Path) -> None:
    async def play(client: FakeClient, recorder: Recorder) -> None:
        client.catalogue()
        client.row(1)
        wider = catalogue(2, signals=(*SIGNALS, Signal("A", row="ROW")))
        client.last["LAB:PMU:PVS"] = reading(wider.to_json())  # served, but its event has not come
        client.row(2, version=2, columns=3)
        follower = recorder.devices[0].rows["ROW"].follower
        assert follower.waiting == 1
        await until(lambda: follower.rows == 2)
        assert client.gets == 1

    recorded(site(tmp_path), play)
    assert rows(tmp_path) == {f"PMU_{T + 1}.csv": [1], f"PMU_{T + 2}.csv": [2]}


def test_a_stop_keeps_rows_whose_catalogue_did_not_come(tmp_path: Path) -> None:
    async def play(client: FakeClient, recorder: Recorder) -> None:
        client.catalogue()
        client.row(1)
        client.last.clear()
        client.row(2, version=2)

    recorded(site(tmp_path), play)
    assert rows(tmp_path) == {f"PMU_{T + 1}.csv": [1], f"PMU_{T + 2}.csv": [2]}
    assert (tmp_path / "data" / f"PMU_{T + 2}.csv").read_text().startswith("time,COLUMN1,COLUMN2\n")


def test_simulated_values_need_a_simulated_site(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def refused(client: FakeClient, recorder: Recorder) -> None:
        client.catalogue(simulated=True)
        client.catalogue(simulated=True, version=2)
        assert "LAB:PMU:ROW" not in client.listeners
        client.catalogue(version=3)
        client.row(1, version=3)
        client.catalogue(version=4, simulated=True)
        client.row(2, version=4)
        assert recorder.devices[0].rows["ROW"].follower.refused == 1

    recorded(site(tmp_path), refused)
    assert caplog.text.count("NOT recorded") == 1 and "simulated = true" in caplog.text
    assert rows(tmp_path) == {f"PMU_{T + 1}.csv": [1]}

    async def taken(client: FakeClient, recorder: Recorder) -> None:
        client.catalogue(simulated=True)
        client.row(5)

    recorded(site(tmp_path, "simulated = true"), taken)
    assert rows(tmp_path)[f"PMU_{T + 5}.csv"] == [5]


def test_what_is_no_catalogue_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def play(client: FakeClient, recorder: Recorder) -> None:
        for _ in range(3):
            client.say("LAB:PMU:PVS", '{"device": 1}')

    recorded(site(tmp_path), play)
    assert caplog.text.count("does not hold a catalogue") == 1


def test_the_last_catalogue_is_kept(tmp_path: Path) -> None:
    async def play(client: FakeClient, recorder: Recorder) -> None:
        client.catalogue()
        client.catalogue(version=7)

    here = site(tmp_path)
    recorded(here, play)
    with open_state(here.state_dir, "archiver") as state:
        assert Catalogue.from_json(state.load()["catalogues"]["PMU"]) == catalogue(7)


def test_damaged_state_is_told_and_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def play(client: FakeClient, recorder: Recorder) -> None:
        client.catalogue()
        client.row(1)

    here = site(tmp_path)
    here.state_dir.mkdir()
    (here.state_dir / "archiver.json").write_text("{")
    recorded(here, play)
    assert "are not known" in caplog.text and rows(tmp_path) == {f"PMU_{T + 1}.csv": [1]}


def test_a_bug_in_a_store_is_raised_after_all_is_spooled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def play(client: FakeClient, recorder: Recorder) -> None:
        client.catalogue()
        client.row(1)

        def write(data: bytes) -> None:
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(recorder.outlets[0].sink, "write", write)
        client.row(1, connected=False)
        await until(lambda: recorder._failed.done())

    here = site(tmp_path)
    with pytest.raises(ZeroDivisionError):
        recorded(here, play)
    assert rows(tmp_path) == {}
    monkeypatch.undo()
    monkeypatch.setattr(record, "Client", FakeClient)

    async def nothing(client: FakeClient, recorder: Recorder) -> None:
        pass

    recorded(here, nothing)  # what was spooled is written by the next run
    assert rows(tmp_path) == {f"PMU_{T + 1}.csv": [1]}


def test_counts_are_told_when_they_change(tmp_path: Path, monkeypatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(record, "COUNTS_EVERY", 0.0)

    async def play(client: FakeClient, recorder: Recorder) -> None:
        client.catalogue()
        client.row(1)
        client.row(1)
        await until(lambda: "1 rows, 0 missing in 0 gaps, 1 repeats" in caplog.text)

    with caplog.at_level(logging.INFO):
        recorded(site(tmp_path), play)


VOLTS = (
    Signal("CH0:VMON", unit="V", archive=MONITOR),
    Signal("CH0:VSET", unit="V"),
    Signal("MODE", kind=Kind.ENUM, states=("Off", "On"), archive=MONITOR),
)
FINE = ["NO_ALARM", "NO_ALARM"]


def test_single_pvs_are_recorded_as_the_catalogue_says_and_the_patterns(tmp_path: Path) -> None:
    async def play(client: FakeClient, recorder: Recorder) -> None:
        client.catalogue(signals=(*SIGNALS, *VOLTS))
        assert {name for name in client.listeners if name.startswith("LAB:PMU:")} == {
            "LAB:PMU:PVS",
            "LAB:PMU:ROW",
            "LAB:PMU:CH0:VMON",
            "LAB:PMU:CH0:VSET",
        }
        assert client.masks["LAB:PMU:CH0:VMON"] == Mask.LOG | Mask.ALARM
        for second, volts in enumerate((1.0, 1.04, 1.2)):
            client.sample("LAB:PMU:CH0:VMON", volts, second)
        client.sample("LAB:PMU:CH0:VSET", 5.0, 7)
        client.catalogue(version=2, signals=SIGNALS)
        assert "LAB:PMU:CH0:VMON" not in client.listeners

    modes = '[archive.modes]\n"PMU:MODE" = "none"\n"*:VSET" = "monitor"\n"PMU:CH?:VMON" = { deadband = 0.1 }\n'
    recorded(site(tmp_path, archive=modes), play)
    assert samples(tmp_path) == [
        ["", "LAB:PMU:CH0:VMON", "", "NO_ALARM", "CONNECTED"],
        ["0", "LAB:PMU:CH0:VMON", "1", *FINE],
        ["2", "LAB:PMU:CH0:VMON", "1.2", *FINE],
        ["", "LAB:PMU:CH0:VSET", "", "NO_ALARM", "CONNECTED"],
        ["7", "LAB:PMU:CH0:VSET", "5", *FINE],
        ["", "LAB:PMU:CH0:VMON", "", "INVALID", "STOPPED"],  # the new catalogue has them no more
        ["", "LAB:PMU:CH0:VSET", "", "INVALID", "STOPPED"],
    ]


def test_a_row_that_is_not_wanted_leaves_its_columns_to_themselves(tmp_path: Path) -> None:
    async def play(client: FakeClient, recorder: Recorder) -> None:
        client.catalogue(signals=(replace(SIGNALS[0], archive=MONITOR), SIGNALS[1]))
        assert "LAB:PMU:ROW" not in client.listeners
        client.sample("LAB:PMU:FREQ", 50.0, 1)

    recorded(site(tmp_path, archive='modes."PMU:ROW" = "none"'), play)
    assert samples(tmp_path)[1] == ["1", "LAB:PMU:FREQ", "50", *FINE] and not rows(tmp_path)


def test_a_row_may_be_thinned(tmp_path: Path) -> None:
    async def play(client: FakeClient, recorder: Recorder) -> None:
        client.catalogue()
        for number in range(1, 26):
            client.row(number)

    recorded(site(tmp_path, archive='modes."*:ROW" = { every = 10 }'), play)
    assert rows(tmp_path) == {f"PMU_{T + 1}.csv": [1, 10, 20]}


def test_a_sampled_pv_gives_its_newest_value_each_period(tmp_path: Path) -> None:
    async def play(client: FakeClient, recorder: Recorder) -> None:
        client.catalogue(signals=VOLTS)
        pv = recorder.pvs["LAB:PMU:CH0:VMON"]
        for second in range(5):
            client.sample("LAB:PMU:CH0:VMON", float(second), second)
        await until(lambda: pv.recorded)
        assert pv.seen == pv.recorded + pv.thinned + pv.waiting
        client.sample("LAB:PMU:CH0:VMON", 9.0, 9)
        client.sample("LAB:PMU:CH0:VMON", 9.0, 9, connected=False)  # a loss does not cost the newest value

    recorded(site(tmp_path, archive='modes."*:VMON" = { every = 0.3 }'), play)
    values = [line[2] for line in samples(tmp_path) if line[1] == "LAB:PMU:CH0:VMON"]
    assert values[0] == "" and values[-3:] == ["4", "9", ""]


def test_the_servers_own_catalogue_is_found(tmp_path: Path) -> None:
    async def play(client: FakeClient, recorder: Recorder) -> None:
        client.catalogue(device="IOC", signals=(Signal("MEM_USED", unit="B"),))
        assert "LAB:IOC:MEM_USED" in client.listeners
        assert "LAB:IOC:PMU:PVS" in client.listeners  # of a process that runs this device alone

    recorded(site(tmp_path, archive='modes."IOC:MEM_USED" = "monitor"'), play)


def test_after_a_reconnect_and_a_restart_the_old_value_is_not_recorded_twice(tmp_path: Path) -> None:
    async def first(client: FakeClient, recorder: Recorder) -> None:
        client.catalogue(signals=VOLTS)
        client.sample("LAB:PMU:CH0:VMON", 1.0, 1)
        client.sample("LAB:PMU:CH0:VMON", 1.0, 1, connected=False)
        client.sample("LAB:PMU:CH0:VMON", 1.0, 1)  # back again, with what it had
        client.sample("LAB:PMU:CH0:VMON", 2.0, 2)
        client.sample("LAB:PMU:CH0:VMON", 3.0, 2)  # two events of one time stamp are two

    async def second(client: FakeClient, recorder: Recorder) -> None:
        client.catalogue(signals=VOLTS)
        client.sample("LAB:PMU:CH0:VMON", 3.0, 2)
        client.sample("LAB:PMU:CH0:VMON", 3.0, 3)

    here = site(tmp_path)
    recorded(here, first)
    recorded(here, second)
    lines = [line for line in samples(tmp_path) if line[1] == "LAB:PMU:CH0:VMON"]
    assert [line[2] or line[4] for line in lines] == [
        *("CONNECTED", "1", "DISCONNECTED", "CONNECTED", "2", "3", "STOPPED"),
        *("CONNECTED", "3", "STOPPED"),
    ]


def test_what_was_never_processed_is_no_value(tmp_path: Path) -> None:
    async def play(client: FakeClient, recorder: Recorder) -> None:
        client.catalogue(signals=VOLTS)
        client.sample("LAB:PMU:CH0:VMON", 0.0, -T, severity=Severity.INVALID)
        assert recorder.pvs["LAB:PMU:CH0:VMON"].unprocessed == 1

    recorded(site(tmp_path), play)
    assert [line[4] for line in samples(tmp_path)] == ["CONNECTED", "STOPPED"]


def test_gaps_of_rows_are_marked(tmp_path: Path) -> None:
    async def play(client: FakeClient, recorder: Recorder) -> None:
        client.catalogue()
        client.row(1)
        client.row(9)

    recorded(site(tmp_path), play)
    marks = [line[1:] for line in samples(tmp_path)]
    assert marks[1] == ["LAB:PMU:ROW", "", "INVALID", "GAP 7"]


def test_pvs_of_anybody_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def play(client: FakeClient, recorder: Recorder) -> None:
        client.told["X:MODE"] = Metadata(Kind.ENUM, 1, False, states=("Off", "On"))
        client.sample("X:MODE", 1, 1)
        client.sample("X:MODE", 0, 2)
        assert recorder.pvs["X:MODE"].recorded == 2  # it waits for nothing
        client.sample("X:T", 20.5, 3)
        await until(lambda: recorder.pvs["X:MODE"].source.states == ("Off", "On"))
        assert "LAB:PMU:FREQ" not in client.listeners  # a device's own are told of by its catalogue
        client.catalogue(signals=VOLTS)
        assert "LAB:PMU:CH0:VSET" in client.listeners

    recorded(site(tmp_path, archive='pvs = ["X:MODE", "X:T", "LAB:PMU:FREQ", "LAB:PMU:CH0:VSET"]'), play)
    assert [line[:3] for line in samples(tmp_path) if line[0]] == [
        ["1", "X:MODE", "1"],
        ["2", "X:MODE", "0"],
        ["3", "X:T", "20.5"],
    ]


def test_labels_follow_what_was_recorded_before_they_were_known(tmp_path: Path) -> None:
    told: list[str] = []

    async def play(client: FakeClient, recorder: Recorder) -> None:
        client.told["X:MODE"] = Metadata(Kind.ENUM, 1, False, states=("Off", "On"))
        encoder = LineEncoder(Names("countinghouse", {}))
        outlet = recorder.outlets[0]
        whole = outlet.record

        def record_too(batch: Batch) -> bool:
            told.extend(encoder.encode(batch).data.decode().splitlines())
            return whole(batch)

        outlet.record = record_too  # type: ignore[method-assign]
        client.sample("X:MODE", 1, 1)
        client.sample("X:MODE", 0, 1)  # of the same time: that of the point is another then
        await until(lambda: recorder.pvs["X:MODE"].source.states)
        client.sample("X:MODE", 1, 2)
        client.sample("X:MODE", 1, 2, connected=False)
        client.told["X:MODE"] = Metadata(Kind.ENUM, 1, False, states=("No", "Yes"))
        client.sample("X:MODE", 0, 3)
        await until(lambda: recorder.pvs["X:MODE"].source.states == ("No", "Yes"))
        client.sample("X:MODE", 1, 4)

    recorded(site(tmp_path, archive='pvs = ["X:MODE"]'), play)
    points: dict[int, dict[str, str]] = {}
    for line in told:
        fields, time_ns = line.removeprefix("X,pv=X:MODE ").rsplit(" ", 1)
        if "event=" not in fields:
            cells = dict(field.split("=") for field in fields.split(","))
            points.setdefault(int(time_ns) - T * 10**9, {}).update(cells)
    found = {time: (fields["value"], fields.get("label")) for time, fields in points.items()}
    second = 10**9
    assert found == {
        second: ("1", '"On"'),
        second + 1: ("0", None),
        2 * second: ("1", '"On"'),
        3 * second: ("0", '"No"'),
        4 * second: ("1", '"Yes"'),
    }


def test_pvs_by_name_of_a_simulated_device_are_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def play(client: FakeClient, recorder: Recorder) -> None:
        client.told["X:HV:SIM"] = Metadata(Kind.ENUM, 1, False, states=("Real", "Simulated"))
        client.told["X:GAS:SIM"] = Metadata(Kind.ENUM, 1, False, states=("Ar", "Similar"))
        client.sample("X:HV:SIM", 1, 1)
        client.sample("X:GAS:SIM", 1, 1)
        client.sample("X:HV:CH0:VMON", 1.0, 1)  # before anybody knows what that SIM is
        client.sample("X:GAS:TEMP", 20.0, 1)
        hv, gas = recorder.foreign
        await until(lambda: hv.refused == 1 and gas.recorder.recorded == 1)
        client.sample("X:HV:CH0:VMON", 2.0, 2)
        assert hv.refused == 2 and ArchiverStatus(recorder.site, recorder)._values()["REFUSED"] == 2
        client.sample("X:HV:SIM", 0, 3)  # the device is a real one now
        client.sample("X:HV:CH0:VMON", 3.0, 3)
        client.sample("X:HV:SIM", 1, 4)
        await until(lambda: not recorder.pvs["X:HV:CH0:VMON"].connected)

    recorded(site(tmp_path, archive='pvs = ["X:HV:CH0:VMON", "X:GAS:TEMP"]'), play)
    assert caplog.text.count("X:HV:CH0:VMON is SIMULATED") == 1
    hv = [line[2] or line[4] for line in samples(tmp_path) if line[1] == "X:HV:CH0:VMON"]
    assert hv == ["CONNECTED", "3", "DISCONNECTED"]

    async def simulated(client: FakeClient, recorder: Recorder) -> None:
        assert "X:HV:SIM" not in client.listeners
        client.sample("X:HV:CH0:VMON", 5.0, 5)

    recorded(site(tmp_path, "simulated = true", archive='pvs = ["X:HV:CH0:VMON"]'), simulated)
    assert samples(tmp_path)[-2][2] == "5"


def test_what_says_that_it_is_simulated_is_not_searched_for_ever(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(simulation, "FOUND_WITHIN", 0.0)

    async def play(client: FakeClient, recorder: Recorder) -> None:
        assert {"X:HV:SIM", "X:SIM"} <= set(client.listeners)
        client.sample("X:HV:VMON", 1.0, 1)
        await until(lambda: "X:HV:SIM" not in client.listeners)
        client.sample("X:HV:VMON", 1.0, 1, connected=False)
        assert "X:HV:SIM" in client.listeners  # what comes back may be something else

    recorded(site(tmp_path, archive='pvs = ["X:HV:VMON"]'), play)


def test_a_run_that_was_killed_is_marked_where_its_knowledge_ends(tmp_path: Path) -> None:
    here = site(tmp_path)

    async def play(client: FakeClient, recorder: Recorder) -> None:
        client.catalogue(signals=VOLTS)
        client.sample("LAB:PMU:CH0:VMON", 1.0, 1)

    recorded(here, play)
    journal = here.state_dir / "archiver-last.jsonl"
    last = LastEvents(journal)
    assert not last.heard and last.safe_ns["csv"] > T * 10**9  # an orderly end
    last.put(heard={"LAB:PMU:CH0:VMON": True, "X:Y": True}, safe_ns={"csv": (T + 5) * 10**9})
    with journal.open("a") as file:
        file.write('{"events": {"LAB')  # torn by the kill

    async def nothing(client: FakeClient, recorder: Recorder) -> None:
        pass

    recorded(here, nothing)
    recorded(here, nothing)  # and once
    gaps = [line for path in (here.archive.csv.directory).glob("samples_*") for line in lines(path) if line[4] == "GAP"]
    assert gaps == [[f"{T + 5}000000000", pv, "", "INVALID", "GAP"] for pv in ("LAB:PMU:CH0:VMON", "X:Y")]


def test_rows_of_one_device_may_have_rules_of_their_own(tmp_path: Path) -> None:
    async def play(client: FakeClient, recorder: Recorder) -> None:
        client.catalogue()
        client.row(1)

    own = '[archive.csv.row.PMU]\ndirectory = "elsewhere"\ntime_format = "iso"'
    recorded(site(tmp_path, csv=own), play)
    (path,) = (tmp_path / "elsewhere").glob("PMU_*.csv")
    assert path.read_text() == "time,FREQ (Hz),STAT\n2026-09-21T14:13:21.000000000Z,50,50\n"
