"""The simulated board on TCP and on a pty, with our client, and by hand as the script of picosec-daq did it."""

import asyncio
import contextlib
import os
import socket
import subprocess
import time
from dataclasses import replace

import pytest
import serial

from drivers.bme680.client import Client, Counts, Identity, Measured, Phase, Refusal, Trouble
from drivers.bme680.formats import COUNTINGHOUSE, PICOSEC, Field, Format, Quantity
from drivers.bme680.simulator import PtyPort, SimulatedBoard, TcpPort
from drivers.errors import DeviceError, DriverError, LinkError
from drivers.link import make_link, parse_address
from tests.processes import Process, wait_for

SKETCHES = (COUNTINGHOUSE, PICOSEC)
QUICK = {"period": 0.1, "timeout": 0.3, "boot": 0.2, "lost_after": 5.0, "frozen_after": 0}
JSON = Format(
    "json",
    (
        Field(Quantity.TEMPERATURE, key="t", offset=273.15),
        Field(Quantity.PRESSURE, key="p", scale=100),
        Field(Quantity.HUMIDITY, key="bme.rh"),
        Field(Quantity.GAS, key="bme.gas", scale=1000),
    ),
    json=True,
)
ADAFRUIT = Format(
    "adafruit",
    tuple(replace(each, key="") for each in JSON.fields),
    pattern=r"Temperature = (?P<temperature>\S+) \*C\s+Pressure = (?P<pressure>\S+) hPa\s+"
    r"Humidity = (?P<humidity>\S+) %\s+Gas = (?P<gas>\S+) KOhms",
    empty_line=True,
)


@contextlib.asynccontextmanager
async def running(kind, sketch="countinghouse", **options):
    """A board on a TCP port or a pty, which a client that comes resets."""
    options = {"boot": 0.05, "conversion": 0.005, "interval": 0.05, **options}
    async with contextlib.AsyncExitStack() as stack:
        port = await stack.enter_async_context(TcpPort()) if kind == "tcp" else stack.enter_context(PtyPort())
        board = SimulatedBoard(port, sketch, **options)
        port.on_open = board.reset
        task = asyncio.create_task(board.run())
        try:
            yield board
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


class Watch:
    """What one session of a client gives, until it ends."""

    def __init__(self, board, formats=SKETCHES, **options):
        self.counts = Counts()
        self.client = Client(
            make_link(parse_address(board.port.address)), formats, counts=self.counts, **{**QUICK, **options}
        )
        self.events = []
        self.error = None

    async def follow(self):
        try:
            async with contextlib.aclosing(self.client.events()) as events:
                async for event in events:
                    self.events.append(event)
        except DriverError as error:
            self.error = error

    async def __aenter__(self):
        self._task = asyncio.create_task(self.follow())
        return self

    async def __aexit__(self, *exception):
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, condition, seconds=20.0):
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise AssertionError(f"not within {seconds} s; {self.counts}; {self.error}; {self.events[-5:]}") from None

    async def more(self, count=3):
        """Wait for so many further readings with all four values."""
        target = len(self.whole) + count
        await self.until(lambda: len(self.whole) >= target)

    @property
    def whole(self):
        return [each for each in self.of(Measured) if len(each.judged.values) >= 4]


def run(test):
    asyncio.run(test)


ENDPOINTS = pytest.mark.parametrize("kind", ["tcp", "pty"])


@ENDPOINTS
@pytest.mark.parametrize(
    ("sketch", "formats"),
    [("countinghouse", SKETCHES), ("picosec", SKETCHES), ("json", (JSON,)), ("adafruit", (ADAFRUIT,))],
)
def test_every_sketch_is_read_over_tcp_and_a_pty(kind, sketch, formats):
    async def test():
        async with running(kind, sketch) as board:
            board.sensor.temperature, board.sensor.humidity = 310.0, 55.0
            async with Watch(board, formats) as watch:
                await watch.more(5)
                values = watch.whole[-1].judged.values
                assert values[Quantity.TEMPERATURE] == pytest.approx(310, abs=1)
                assert values[Quantity.PRESSURE] == pytest.approx(98120, abs=100)
                assert values[Quantity.HUMIDITY] == pytest.approx(55, abs=1)
                assert values[Quantity.GAS] == pytest.approx(150e3, rel=0.1)
                assert abs(watch.whole[-1].time_ns / 1e9 - time.time()) < 10
                phases = watch.of(Phase)
                assert phases == [Phase.OPENING, Phase.BOOTING, Phase.RUNNING], phases
                assert bool(watch.of(Identity)) == (sketch == "countinghouse")
                assert watch.counts.timeouts == watch.counts.missed == 0
                if sketch in ("json", "adafruit"):
                    assert not board.asked, "a board that streams is not written to"
                elif sketch == "picosec":
                    assert set(board.asked) == {"R"}, "nothing but R ever"
                else:
                    assert set(board.asked) <= {"R", "I"}

    run(test())


@ENDPOINTS
@pytest.mark.parametrize(
    ("sketch", "fault", "reason"),
    [
        ("countinghouse", {"garble": 1}, "CHECKSUM"),
        ("countinghouse", {"half": 1}, "UNFINISHED"),
        ("countinghouse", {"duplicate": 1}, "UNASKED"),
        ("countinghouse", {"garbage": 20}, "BYTES"),
        ("countinghouse", {"say": {"humidity": ""}}, "NUMBER"),
        ("picosec", {"garble": 1}, "NUMBER"),
        ("picosec", {"half": 1}, "UNFINISHED"),
        ("picosec", {"endless": 1}, "LENGTH"),
        ("picosec", {"swapped": 1}, "NUMBER"),
        ("picosec", {"duplicate": 1}, "UNASKED"),
        ("picosec", {"cr_only": True}, "UNFINISHED"),
        ("picosec", {"echo": True}, "NUMBER"),
        ("picosec", {"slow": 0.4}, "UNASKED"),
        ("picosec", {"say": {"humidity": "1e1"}}, "NUMBER"),
        ("picosec", {"say": {"humidity": "141.20"}}, "RANGE"),
        ("picosec", {"say": {"humidity": "41.20;7"}}, "FIELDS"),
    ],
)
def test_nothing_is_taken_from_a_line_that_is_refused(kind, sketch, fault, reason):
    async def test():
        async with running(kind, sketch) as board:
            async with Watch(board) as watch:
                await watch.more()
                board.set(**fault)
                await watch.until(lambda: watch.counts.refused[reason])
                board.set(**{key: False for key in fault if fault[key] is True})
                board.set(slow=0.0, say={}, endless=0)
                if watch.error is None:
                    await watch.until(lambda: watch.whole[-1].time_ns > time.time_ns() - 10**8 or watch.error)
                refused = watch.of(Refusal)
                assert reason in [refusal.reason for refusal in refused]
                assert watch.counts.last_bad is not None and str(watch.counts.last_bad)
                for measured in watch.of(Measured):
                    for quantity, value in measured.judged.values.items():
                        expected = {"temperature": 294.3, "pressure": 98120, "humidity": 8, "gas": 150e3}
                        if quantity in expected:
                            assert value == pytest.approx(expected[quantity], rel=0.15), measured

    run(test())


@pytest.mark.parametrize("word", ["nan", "inf", "ovf"])
def test_a_field_without_a_value_leaves_the_others(word):
    async def test():
        async with running("pty", "picosec") as board, Watch(board) as watch:
            await watch.more()
            board.set(say={"humidity": word})
            await watch.until(lambda: watch.of(Measured)[-1].judged.bad)
            judged = watch.of(Measured)[-1].judged
            assert judged.bad == {Quantity.HUMIDITY: f"the board says {word}"} and len(judged.values) == 3
            board.set(say={"humidity": "-0.00"})
            await watch.until(lambda: watch.of(Measured)[-1].judged.values.get(Quantity.HUMIDITY) == 0)
            assert watch.counts.novalues >= 1

    run(test())


def test_the_heater_settles_after_a_reset():
    async def test():
        async with running("tcp") as board:
            board.sensor.settle = 3
            async with Watch(board) as watch:
                await watch.until(lambda: len(watch.of(Measured)) >= 5)
                bad = [measured.judged.bad.get(Quantity.GAS) for measured in watch.of(Measured)]
                assert bad[:4] == ["the heater was not stable"] * 3 + [None]
                assert all(Quantity.PRESSURE in measured.judged.values for measured in watch.of(Measured))

    run(test())


@pytest.mark.parametrize("sketch", ["countinghouse", "picosec"])
def test_a_spike_is_held_and_a_step_is_confirmed_soon(sketch):
    async def test():
        async with running("tcp", sketch) as board, Watch(board) as watch:
            await watch.more()
            spikes = watch.counts.spikes
            board.set(spike={"humidity": 90.0})
            await watch.until(lambda: watch.counts.spikes > spikes)
            await watch.more()
            board.set(humidity=60.0)
            await watch.until(lambda: watch.of(Measured)[-1].judged.values.get(Quantity.HUMIDITY, 0) > 50)
            seen = [measured.judged.values.get(Quantity.HUMIDITY, 8) for measured in watch.of(Measured)]
            assert all(value < 10 or 58 < value < 62 for value in seen)

    run(test())


@ENDPOINTS
def test_troubles_of_the_sensor_are_told_in_words(kind):
    async def test():
        for sketch in ("countinghouse", "picosec"):
            async with running(kind, sketch) as board, Watch(board) as watch:
                await watch.more()
                for fault, trouble in (
                    ("begin_failed", Trouble.BEGIN_FAILED),
                    ("reading_failed", Trouble.READING_FAILED),
                ):
                    board.set(**{fault: 1})
                    await watch.until(lambda trouble=trouble: trouble in watch.of(Trouble))
                    await watch.more(1)
                board.sensor.absent, board.boot = True, 0.5  # longer than what a reset leaves on the line is kept
                board.reset()
                await watch.until(lambda: watch.error)
                assert isinstance(watch.error, DeviceError) and "check its wiring" in str(watch.error)
                assert board.port.address in str(watch.error)

    run(test())


@ENDPOINTS
def test_a_board_that_falls_silent_is_given_up_after_three_requests(kind):
    async def test():
        async with running(kind) as board, Watch(board) as watch:
            await watch.more()
            board.set(mute=True)
            await watch.until(lambda: watch.error)
            assert isinstance(watch.error, LinkError) and "3 requests without a usable answer" in str(watch.error)
            assert watch.of(Phase)[-1] is Phase.SILENT and watch.counts.timeouts == 3

    run(test())


def test_lines_that_are_missing_and_resets_are_counted():
    async def test():
        async with running("tcp", age=100) as board:
            board.port.on_open = lambda: None
            async with Watch(board) as watch:
                await watch.more()
                board.set(swallow=1)
                await watch.until(lambda: watch.counts.missed == 1)
                assert watch.counts.timeouts == 1 and watch.counts.uptime >= 100
                board.reset()
                await watch.until(lambda: watch.counts.restarts == 1)
                await watch.more()

    run(test())


def test_a_board_that_stands_still_is_noticed():
    async def test():
        async with running("tcp") as board, Watch(board, frozen_after=5) as watch:
            await watch.more()
            board.set(frozen=True)
            await watch.until(lambda: watch.of(Measured)[-1].judged.frozen)
            board.set(frozen=False)
            await watch.until(lambda: not watch.of(Measured)[-1].judged.frozen)

    run(test())


@ENDPOINTS
def test_lines_in_pieces_and_a_board_that_hears_late(kind):
    async def test():
        async with running(kind, "picosec", boot=0.5) as board:  # later than the client waits: its first R is lost
            board.set(split=True)
            async with Watch(board, timeout=0.5) as watch:
                await watch.more()
                assert watch.counts.timeouts >= 1

    run(test())


@ENDPOINTS
def test_a_pulled_cable_ends_the_session_at_once(kind):
    async def test():
        async with running(kind) as board, Watch(board) as watch:
            await watch.more()
            board.port.unplug()
            await watch.until(lambda: watch.error)
            assert isinstance(watch.error, LinkError) and board.port.address in str(watch.error)

    run(test())


# as a process


def test_the_process_on_tcp_and_on_a_pty(tmp_path):
    with Process("drivers.bme680.simulator", "--port", "0", stdin=subprocess.PIPE) as simulator:
        assert simulator.line("listening on tcp://127.0.0.1:")
        simulator.say({"mood": "bad"})
        simulator.line("mood='bad' is not known here")
        simulator.say({"humidity": "high"})
        simulator.line("humidity='high' is not known here")
        for wrong in ({"say": {"humid": "nan"}}, {"spike": {"gas": "nan"}}):
            simulator.say(wrong)
            simulator.line(f"{next(iter(wrong))}=")
        assert simulator.stop() == 0
    path = tmp_path / "usb-board"
    with Process("drivers.bme680.simulator", "--pty", str(path), "--boot", "0.1", stdin=subprocess.PIPE) as simulator:
        simulator.line(f"listening on serial://{path}")
        simulator.say({"unplug": True})
        simulator.line("set")
        assert not os.path.lexists(path)
        simulator.say({"replug": True})
        wait_for(lambda: path.exists(), "the port again")
        assert simulator.stop() == 0
    assert not os.path.lexists(path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [*simulator.popen.args[:3], "--port", str(taken.getsockname()[1])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1 and "simulator: " in done.stderr and "Traceback" not in done.stderr
    for wrong in (["--speed", "0"], ["--interval", "0"], ["--boot", "-1"], ["--age", "nan"], ["--port", "70000"]):
        done = subprocess.run([*simulator.popen.args[:3], *wrong], capture_output=True, text=True, timeout=30)
        assert done.returncode == 2 and f"{wrong[0]} " in done.stderr and "Traceback" not in done.stderr, wrong


def test_the_sketch_of_picosec_daq_answers_as_the_old_script_asked(tmp_path):
    """The old script: open, wait for the boot, then write R, readline, again and again; any other byte costs 100 ms."""
    path = tmp_path / "port"
    arguments = ("--pty", str(path), "--sketch", "picosec", "--boot", "0.1")
    with Process("drivers.bme680.simulator", *arguments) as simulator:
        simulator.line("listening")
        with serial.Serial(str(path), 115200, timeout=2) as port:
            wait_for(lambda: (port.write(b"R"), port.readline())[1].endswith(b"\r\n"), "answer")
            port.reset_input_buffer()
            port.write(b"R")
            words = port.readline().decode("ascii").rstrip("\r\n").split(";")
            t, p, rh, gas = (float(word) for word in words)
            assert 290 < t < 300 and 98000 < p < 98300 and 7 < rh < 9 and 1e5 < gas < 2e5
            assert [len(word.partition(".")[2]) for word in words] == [2, 0, 2, 0]
            began = time.monotonic()
            port.write(b"\n\nR")
            assert port.readline() and time.monotonic() - began > 0.2 + 0.18
            port.write(b"RR")
            assert port.readline() and port.readline()
