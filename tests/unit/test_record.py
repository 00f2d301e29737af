"""Recording without a network: a client made of tests feeds readings; the files tell what came of them."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archiver import record
from archiver.record import Recorder
from iocs.config import Site, load
from iocs.signals import Catalogue, Kind, Reading, Severity, Signal, Status
from iocs.state import open_state

T = 1_790_000_000
SIGNALS = (Signal("FREQ", unit="Hz", row="ROW"), Signal("STAT", kind=Kind.INT, row="ROW"))


def catalogue(version: int = 1, device: str = "PMU", simulated: bool = False, signals=SIGNALS) -> Catalogue:
    return Catalogue(device, "test", f"LAB:{device}:", version, simulated, tuple(signals))


def reading(value: Any, severity: Severity = Severity.NO_ALARM, connected: bool = True) -> Reading:
    return Reading(value, T * 10**9, severity, Status.NO_ALARM, connected, local=False)


class FakeClient:
    """Stands for the network: `say` is an event of a PV."""

    now: "FakeClient"

    def __init__(self) -> None:
        FakeClient.now = self
        self.listeners: dict[str, Callable[[Reading], None]] = {}
        self.last: dict[str, Reading] = {}
        self.gets = 0

    async def __aenter__(self) -> "FakeClient":
        return self

    async def __aexit__(self, *exception: object) -> None:
        pass

    def watch(self, name: str, on_reading: Callable[[Reading], None]) -> "FakeClient":
        self.listeners[name] = on_reading
        return self

    async def close(self) -> None:
        pass

    async def get(self, name: str, timeout: float) -> Reading:
        self.gets += 1
        if name not in self.last:
            raise TimeoutError(f"PV {name} did not answer")
        return self.last[name]

    def say(self, name: str, value: Any, **how: Any) -> None:
        self.last[name] = reading(value, **how)
        self.listeners[name](self.last[name])

    def catalogue(self, **what: Any) -> None:
        told = catalogue(**what)
        self.say(told.prefix + "PVS", told.to_json())

    def row(self, number: int, version: int = 1, device: str = "PMU", columns: int = 2, **how: Any) -> None:
        values = np.array([number, version, T + number, 0, *[50.0] * columns])
        self.say(f"LAB:{device}:ROW", values, **how)


def site(folder: Path, more: str = "", csv: str = "write_every = 3600") -> Site:
    path = folder / "site.toml"
    path.write_text(
        f'[site]\nname = "lab"\nprefix = "LAB:"\n{more}\n[[device]]\nname = "PMU"\ntype = "test"\n'
        f'[[device]]\nname = "GAS"\ntype = "test"\n[archive.csv]\ntime_format = "ns"\n{csv}\n'
    )
    return load(path)


def recorded(site: Site, play: Callable[[FakeClient, Recorder], Any]) -> Recorder:
    """Run a recorder on what `play` says, then stop it."""
    FakeClient()  # forget the network of a run before

    async def run() -> Recorder:
        with open_state(site.state_dir, "archiver") as state:
            recorder, stop = Recorder(site, state), asyncio.Event()
            recorder.claim()
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
    }


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
    assert "files of another row begin with 'lab' already" in caplog.text


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


def test_a_bug_is_raised_after_all_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def play(client: FakeClient, recorder: Recorder) -> None:
        client.catalogue()
        client.row(1)
        files = recorder.devices[0].rows["ROW"].files
        whole, faults = files.write, [ZeroDivisionError("a bug")]

        def write(sync: bool = False) -> bool:
            if faults:
                raise faults.pop()
            return whole(sync)

        monkeypatch.setattr(files, "write", write)
        client.row(1, connected=False)
        await until(lambda: recorder._failed.done())

    with pytest.raises(ZeroDivisionError):
        recorded(site(tmp_path), play)
    assert rows(tmp_path) == {f"PMU_{T + 1}.csv": [1]}


def test_counts_are_told_when_they_change(tmp_path: Path, monkeypatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(record, "COUNTS_EVERY", 0.0)

    async def play(client: FakeClient, recorder: Recorder) -> None:
        client.catalogue()
        client.row(1)
        client.row(1)
        await until(lambda: "1 rows, 0 written, 1 held, 0 missing in 0 gaps, 1 repeats" in caplog.text)

    with caplog.at_level(logging.INFO):
        recorded(site(tmp_path), play)


def test_rows_of_one_device_may_have_rules_of_their_own(tmp_path: Path) -> None:
    async def play(client: FakeClient, recorder: Recorder) -> None:
        client.catalogue()
        client.row(1)

    own = '[archive.csv.row.PMU]\ndirectory = "elsewhere"\ntime_format = "iso"'
    recorded(site(tmp_path, csv=own), play)
    (path,) = (tmp_path / "elsewhere").glob("PMU_*.csv")
    assert path.read_text() == "time,FREQ (Hz),STAT\n2026-09-21T14:13:21.000000000Z,50,50\n"
