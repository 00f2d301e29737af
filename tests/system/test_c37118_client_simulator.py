"""The client against the simulator on real sockets: every fault, every change. All wait for conditions."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from drivers.c37118.client import Client, Configured, Connected, Data, Lost
from drivers.c37118.frames import PmuData
from drivers.c37118.recording import Recorder
from drivers.c37118.simulator import SimulatedPmu, SimulatedStream, Simulator
from drivers.c37118.stream import Stream
from drivers.link import Address, Backoff, make_link

SECOND = 10**9


class Watch:
    """A client whose events are kept, and conditions waited for."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.counts = client.counts
        self.events: list[Any] = []
        self._news = asyncio.Condition()

    async def follow(self) -> None:
        async with contextlib.aclosing(self.client.events()) as events:
            async for event in events:
                self.events.append(event)
                async with self._news:
                    self._news.notify_all()

    async def until(self, condition: Callable[[], object], seconds: float = 15.0) -> None:
        try:
            async with asyncio.timeout(seconds), self._news:
                await self._news.wait_for(condition)
        except TimeoutError:
            kinds = [event for event in self.events if not isinstance(event, Data)]
            raise AssertionError(f"not within {seconds} s; {self.counts}; events but data: {kinds}") from None

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def data(self) -> list[Data]:
        return self.of(Data)

    async def more(self, count: int = 20) -> None:
        """Wait for so many further data frames."""
        target = len(self.data) + count
        await self.until(lambda: len(self.data) >= target)

    def times(self) -> list[int]:
        return [event.frame.time_ns for event in self.data]


@contextlib.asynccontextmanager
async def watched(simulator: Simulator, idcode: int = 1, **settings: Any) -> AsyncIterator[Watch]:
    settings = {"backoff": Backoff(0.02, 0.1), "lost_after": 3.0, "answer_timeout": 0.5, "cfg3": False, **settings}
    watch = Watch(Client(make_link(Address("tcp", "127.0.0.1", simulator.port)), idcode, **settings))
    task = asyncio.create_task(watch.follow())
    try:
        yield watch
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def eventually(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for something that announces itself to nobody."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


def fast(**settings: Any) -> SimulatedStream:
    """A stream of 100 frames a second (nothing but its time stamps is special about it)."""
    return SimulatedStream(**{"rate": 100, **settings})


def grid(first: int, count: int, rate: int) -> list[int]:
    """The times k/N of the second from `first` on, in exact integer arithmetic."""
    second, rest = divmod(first, SECOND)
    k = (rest * rate + SECOND // 2) // SECOND
    return [(second + n // rate) * SECOND + (n % rate * SECOND + rate // 2) // rate for n in range(k, k + count)]


@pytest.mark.parametrize(("rate", "seconds"), [(50, 1), (240, 3), (7, 1)])
def test_no_frame_is_missing_and_each_is_stamped_on_the_grid_to_the_nanosecond(rate: int, seconds: int) -> None:
    async def test() -> None:
        async with Simulator(fast(rate=rate)) as simulator, watched(simulator) as watch:
            await watch.until(lambda: len(watch.data) >= rate * seconds)
            times = watch.times()
            assert times == grid(times[0], len(times), rate)
            assert (watch.counts.missed, watch.counts.bad_crc, watch.counts.skipped_bytes) == (0, 0, 0)
            assert [type(event) for event in watch.events[:3]] == [Connected, Configured, Data]
            assert watch.events[1].changed

    run(test())


def test_seconds_per_frame() -> None:
    async def test() -> None:
        stream = fast(rate=-5, speed=50.0)
        async with Simulator(stream) as simulator, watched(simulator) as watch:
            await watch.more(5)
            times = watch.times()
            assert [b - a for a, b in itertools.pairwise(times)] == [5 * SECOND] * (len(times) - 1)
            assert times[0] % (5 * SECOND) == 0
            assert watch.counts.missed == 0

    run(test())


@pytest.mark.parametrize("form", range(16))
def test_every_format_says_what_was_measured(form: int) -> None:
    async def test() -> None:
        pmu = SimulatedPmu(format=form, trigger=4, words=[0x0005])
        async with Simulator(fast(pmus=[pmu])) as simulator, watched(simulator) as watch:
            await watch.more(5)
            data: PmuData = watch.data[-1].frame.pmus[0]
            va, vb, vc, v1, ia, *_ = data.phasors
            assert [p.magnitude for p in (va, vb, vc, v1)] == pytest.approx([63_500.0] * 4, rel=1e-4)
            assert ia.magnitude == pytest.approx(400.0, rel=1e-4)
            turn = 2 * 3.141592653589793
            assert (va.angle - vb.angle) % turn == pytest.approx(turn / 3, abs=3e-4)
            assert (vc.angle - va.angle) % turn == pytest.approx(turn / 3, abs=3e-4)
            assert (va.angle - ia.angle) % turn == pytest.approx(0.3, abs=3e-4)
            assert data.freq == pytest.approx(50.01, abs=0.022)
            assert data.analogs[2] == 25.0
            assert data.digitals == (0x0005,)
            assert data.stat == 0x0804

    run(test())


def test_a_concentrator_with_mixed_formats() -> None:
    async def test() -> None:
        small = SimulatedPmu("B", 12, format=15, phasors=("VA",), analogs=(), digitals=())
        pmus = [SimulatedPmu("A", 11, format=0), small]
        async with Simulator(fast(pmus=pmus, idcode=10, version=2)) as simulator, watched(simulator, 10) as watch:
            await watch.more(5)
            configuration = watch.of(Configured)[0].configuration
            assert [(pmu.station, pmu.idcode) for pmu in configuration.pmus] == [("A", 11), ("B", 12)]
            first, second = watch.data[-1].frame.pmus
            assert first.phasors[0].angle == pytest.approx(second.phasors[0].angle, abs=3e-4)

    run(test())


def test_absent_data_is_nan_and_the_stream_goes_on() -> None:
    async def test() -> None:
        for form in (0, 1, 15):
            stream = fast(pmus=[SimulatedPmu(format=form, absent=True)])
            async with Simulator(stream) as simulator, watched(simulator) as watch:
                await watch.more(5)
                data = watch.data[-1].frame.pmus[0]
                assert data.stat >> 14 == 2
                assert data.freq != data.freq
                assert all(phasor.magnitude != phasor.magnitude for phasor in data.phasors)

    run(test())


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"bad_crc": 3}, {"missed": 3, "bad_crc": 3}),
        ({"garble": 3}, {"missed": 3}),
        ({"garbage": 200}, {"missed": 0, "skipped_bytes": 200}),
        ({"split": True}, {"missed": 0, "bad_crc": 0, "skipped_bytes": 0}),
        ({"merge": 7}, {"missed": 0, "bad_crc": 0, "skipped_bytes": 0}),
        ({"split": True, "merge": 3}, {"missed": 0, "bad_crc": 0, "skipped_bytes": 0}),
        ({"gap": 4}, {"missed": 4, "bad_crc": 0}),
        ({"duplicate": 3}, {"missed": 0, "duplicates": 3}),
        ({"time_jump": 1.5}, {"missed": 150, "time_jumps": 0}),
        ({"time_jump": 3600.0}, {"missed": 0, "time_jumps": 1}),
        ({"time_jump": -10.0}, {"missed": 0, "time_jumps": 1}),
    ],
)
def test_a_fault_in_the_stream_is_counted_and_costs_no_more_than_it_must(fault: dict, expected: dict) -> None:
    async def test() -> None:
        async with Simulator(fast()) as simulator, watched(simulator) as watch:
            await watch.more()
            await simulator.set(**fault)
            await watch.more(40)
            assert {key: vars(watch.counts)[key] for key in expected} == expected
            times = watch.times()
            assert len(set(times)) == len(times)  # nothing is handed out twice
            assert watch.of(Lost) == []

    run(test())


@pytest.mark.parametrize("direction", ["insert", "delete"])
def test_a_leap_second_is_neither_a_gap_nor_a_jump_nor_a_duplicate(direction: str) -> None:
    async def test() -> None:
        stream = fast(rate=20, speed=5.0)
        async with Simulator(stream) as simulator, watched(simulator) as watch:
            await watch.more(5)
            before = len(watch.data)
            stream.leap_second(direction)
            await watch.until(lambda: watch.data[-1].frame.tq.leap_occurred)
            await watch.more(25)
            counts = watch.counts
            assert (counts.missed, counts.time_jumps, counts.duplicates) == (0, 0, 0)
            frames = [event.frame for event in watch.data[before:]]
            socs = [frame.soc for frame in frames]
            each_second = [socs.count(soc) for soc in sorted(set(socs))]
            if direction == "insert":
                assert 40 in each_second  # the repeated second, with all its frames
            else:
                assert max(b - a for a, b in itertools.pairwise(socs)) == 2
            pending = [frame for frame in frames if frame.tq.leap_pending]
            assert pending
            assert not any(frame.tq.leap_occurred for frame in pending)

    run(test())


def test_silence_is_lost_and_heals() -> None:
    async def test() -> None:
        async with Simulator(fast()) as simulator, watched(simulator, lost_after=0.3) as watch:
            await watch.more()
            simulator.faults.silence = True
            await watch.until(lambda: watch.of(Lost))
            assert "no data for 0.3 s" in watch.of(Lost)[0].reason
            simulator.faults.silence = False
            await watch.more()
            assert watch.counts.reconnects >= 1
            assert not watch.of(Configured)[-1].changed

    run(test())


def test_a_mute_pmu_is_lost_and_heals() -> None:
    async def test() -> None:
        async with Simulator(fast()) as simulator:
            simulator.faults.mute = True
            async with watched(simulator, answer_timeout=0.1) as watch:
                await watch.until(lambda: watch.of(Lost))
                assert "no configuration came, asked 3 times" in watch.of(Lost)[0].reason
                simulator.faults.mute = False
                await watch.more()

    run(test())


def test_garbage_for_ever_is_silence() -> None:
    async def test() -> None:
        async with Simulator(fast()) as simulator, watched(simulator, lost_after=0.4) as watch:
            await watch.more()
            simulator.faults.bad_crc = 10**9
            await watch.until(lambda: watch.of(Lost))
            simulator.faults.bad_crc = 0
            await watch.more()

    run(test())


def test_a_slow_answer_is_waited_for_over_a_retry() -> None:
    async def test() -> None:
        async with Simulator(fast()) as simulator:
            simulator.faults.slow = 0.15
            async with watched(simulator, answer_timeout=0.2) as watch:
                await watch.more()
                assert watch.of(Lost) == []

    run(test())


def test_cut_connections_heal() -> None:
    async def test() -> None:
        async with Simulator(fast()) as simulator, watched(simulator) as watch:
            await watch.more()
            simulator.faults.drop_after = 5
            await watch.until(lambda: watch.of(Lost))
            await watch.more()
            assert watch.counts.reconnects == 1
            assert len(watch.of(Lost)) == 1

    run(test())


def test_refused_connections_are_said_once_and_heal() -> None:
    async def test() -> None:
        async with Simulator(fast()) as simulator, watched(simulator) as watch:
            await watch.more()
            await simulator.refuse()
            simulator.drop()
            await watch.until(lambda: any("refused" in lost.reason for lost in watch.of(Lost)))
            await simulator.listen()
            await watch.more()
            assert sum("refused" in lost.reason for lost in watch.of(Lost)) == 1

    run(test())


def test_a_wrong_idcode_is_told() -> None:
    async def test() -> None:
        async with Simulator(fast(idcode=8)) as simulator:
            async with watched(simulator, 7, answer_timeout=0.05) as watch:
                await watch.until(lambda: watch.of(Lost))
                assert "is 7 the PMU's IDCODE" in watch.of(Lost)[0].reason
            simulator.faults.stranger = True
            async with watched(simulator, 7, answer_timeout=0.1) as watch:
                await watch.until(lambda: watch.of(Lost))
                assert "answers with IDCODE 8, the site file says 7" in watch.of(Lost)[0].reason

    run(test())


@pytest.mark.parametrize(
    "habit", [("ignore_off",), ("unasked",), ("shy",), ("unasked", "ignore_off"), ("unasked", "shy")]
)
def test_habits_of_real_pmus(habit: tuple[str, ...]) -> None:
    async def test() -> None:
        async with Simulator(fast()) as simulator:
            for name in habit:
                setattr(simulator.faults, name, True)
            async with watched(simulator) as watch:
                await watch.more()
                assert watch.of(Lost) == []

    run(test())


CHANGES = {
    "other channels": {"phasors": ("VA", "IA"), "analogs": ()},
    "a new name in the same size": {"phasors": ("VA", "VB", "VC", "VN", "IA", "IB", "IC", "I1")},
    "another format": {"format": 0},
}


HOW = {"announced": {"notice": 0.3}, "abrupt": {"notice": 0.0}, "told": {"notice": 0.0, "unsolicited": True}}


# A change that neither STAT bit 10, nor the size, nor an unasked configuration tells cannot be seen by anybody.
@pytest.mark.parametrize(
    ("change", "way"), [(c, w) for c in CHANGES for w in HOW if (c, w) != ("a new name in the same size", "abrupt")]
)
def test_a_change_of_configuration_costs_no_frame(change: str, way: str) -> None:
    how = HOW[way]

    async def test() -> None:
        stream = fast()
        async with Simulator(stream) as simulator, watched(simulator) as watch:
            await watch.more()
            stream.reconfigure(**CHANGES[change], **how)
            await watch.until(lambda: len(watch.of(Configured)) == 2)
            await watch.more()
            old, new = watch.of(Configured)
            assert new.changed
            assert new.configuration.pmus[0].cfgcnt == old.configuration.pmus[0].cfgcnt + 1
            times = watch.times()
            assert times == grid(times[0], len(times), 100)
            at = watch.events.index(new)
            announced = [bool(e.frame.pmus[0].stat & 0x0400) for e in watch.events[:at] if isinstance(e, Data)]
            assert announced[-1] == (way == "announced")
            after = [e.frame.pmus[0] for e in watch.events[at:] if isinstance(e, Data)]
            assert not any(data.stat & 0x0400 for data in after)
            assert {len(data.phasors) for data in after} == {len(new.configuration.pmus[0].phasors)}
            assert all(data.freq == pytest.approx(50.01, abs=0.022) for data in after)
            assert watch.of(Lost) == []
            assert watch.counts.undecodable == 0

    run(test())


def test_the_given_configuration_tells_what_changed() -> None:
    async def test() -> None:
        async with Simulator(fast()) as simulator:
            async with watched(simulator) as watch:
                await watch.more(1)
                known = watch.client.configuration
            async with watched(simulator, configuration=known) as watch:
                await watch.more(1)
                assert not watch.of(Configured)[0].changed

    run(test())


def test_two_clients_each_have_their_own_data_on() -> None:
    async def test() -> None:
        async with Simulator(fast()) as simulator, watched(simulator) as one:
            await one.more()
            async with watched(simulator) as two:
                await two.more()
            await one.more()
            await eventually(lambda: len(simulator.clients) == 1)
            assert one.counts.missed == 0

    run(test())


def test_leaving_sends_command_1() -> None:
    async def test() -> None:
        async with Simulator(fast()) as simulator:
            async with watched(simulator) as watch:
                await watch.more(1)
            await eventually(lambda: list(simulator.commands) == [1, 5, 2, 1])
            client = Client(make_link(Address("tcp", "127.0.0.1", simulator.port)), 1, cfg3=False)
            watch = Watch(client)
            task = asyncio.create_task(watch.follow())
            await watch.more(1)
            await client.close()
            await asyncio.wait_for(task, 5)
            assert watch.of(Lost) == []
            await eventually(lambda: list(simulator.commands) == [1, 5, 2, 1] * 2 and not simulator.clients)

    run(test())


def test_a_client_that_does_not_read_costs_bounded_memory() -> None:
    async def test() -> None:
        async with Simulator(fast()) as simulator, watched(simulator) as watch:
            simulator.faults.unasked = True
            _reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
            writer.transport.pause_reading()  # pyright: ignore
            await eventually(lambda: len(simulator.clients) == 2)
            mine = writer.get_extra_info("sockname")
            (lazy,) = [client for client in simulator.clients if client.writer.get_extra_info("peername") == mine]
            for _ in range(100):
                lazy.send(b"\0" * 200_000)
            await watch.more()
            assert lazy.dropped > 50
            assert lazy.writer.transport.get_write_buffer_size() < lazy.limit + 200_001
            assert watch.counts.missed == 0
            writer.transport.abort()

    run(test())


def test_the_record_holds_the_stream_and_stays_bounded(tmp_path) -> None:
    async def test() -> None:
        recording = Recorder(tmp_path / "new" / "pmu.raw", limit=6000)
        async with Simulator(fast(rate=200)) as simulator, watched(simulator, record=recording) as watch:
            await watch.until(recording.path.with_name("pmu.raw.1").exists)
            await watch.more(30)
        for path in (recording.path, recording.path.with_name("pmu.raw.1")):
            stream = Stream()
            frames = stream.feed(path.read_bytes())
            assert path.stat().st_size < 6000 + 2000
            assert stream.skipped_bytes == 0
            assert [frame[1] for frame in frames] == [0x31] + [0x01] * (len(frames) - 1)
        last = int.from_bytes(frames[-1][6:10], "big")
        assert watch.data[0].frame.soc <= last <= watch.data[-1].frame.soc

    run(test())


def test_a_full_disk_does_not_stop_the_stream(caplog) -> None:
    async def test() -> None:
        recording = Recorder("/dev/full", retry_after=0.1)
        async with Simulator(fast()) as simulator, watched(simulator, record=recording) as watch:
            await watch.until(lambda: recording.failures >= 3)
            await watch.more()
            assert watch.of(Lost) == []
            assert recording.lost_bytes > 1000

    run(test())
    assert sum("/dev/full" in record.message for record in caplog.records) == 1
