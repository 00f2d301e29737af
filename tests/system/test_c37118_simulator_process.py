"""The simulator as its own process: a simulated PMU, faults by stdin, and a recording replayed to the driver."""

import asyncio
import contextlib
import dataclasses
import json
import math
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from drivers.c37118.capture import Recording
from drivers.c37118.client import Client, Configured, Data, Event, Lost
from drivers.c37118.frames import DataFrame, FrameType
from drivers.c37118.simulator import SimulatedPmu, SimulatedStream
from drivers.link import Backoff, make_link, parse_address

ROOT = Path(__file__).parents[2]


@contextlib.asynccontextmanager
async def simulator(*arguments: str, says: str = "") -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Start the simulator, give the process and its address; it must end with exit code 0 and only `says` on stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "drivers.c37118.simulator", "--port", "0", *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            first = (await process.stdout.readline()).decode().split()
        assert first[:2] == ["listening", "on"], first
        yield process, first[2]
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            out, err = await process.communicate()
        assert (process.returncode, out) == (0, b"")
        assert re.fullmatch(says, err.decode(), re.DOTALL), err.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def follow(
    address: str, idcode: int, enough: Callable[[list[Event]], bool], lost_after: float = 3.0
) -> list[Event]:
    """Collect the driver's events until there are enough."""
    client = Client(make_link(parse_address(address)), idcode, backoff=Backoff(0.02, 0.1), lost_after=lost_after)
    seen: list[Event] = []
    async with asyncio.timeout(30), contextlib.aclosing(client.events()) as events:
        async for event in events:
            seen.append(event)
            if enough(seen):
                break
    return seen


def data(events: list[Event]) -> list[DataFrame]:
    return [event.frame for event in events if isinstance(event, Data)]


def test_a_simulated_pmu_takes_faults_from_stdin_and_ends_quietly() -> None:
    async def test() -> None:
        options = ("--idcode", "7", "--rate", "100", "--format", "0", "--phasors", "10", "--nominal", "60")
        async with simulator(*options) as (process, address):
            seen = await follow(address, 7, lambda events: len(data(events)) >= 5)
            (configuration,) = [event.configuration for event in seen if isinstance(event, Configured)]
            assert len(configuration.pmus[0].phasors) == 10
            assert data(seen)[0].pmus[0].freq == pytest.approx(60.01, abs=0.022)

            assert process.stdin is not None
            process.stdin.write(json.dumps({"reconfigure": {"phasors": ["VA"], "notice": 0}}).encode() + b"\n")
            process.stdin.close()  # the end of stdin must not end it
            await follow(
                address, 7, lambda events: len(data(events)) >= 5 and len(data(events)[-1].pmus[0].phasors) == 1
            )

    asyncio.run(test())


def test_a_line_that_makes_no_sense_is_reported_and_the_next_one_obeyed() -> None:
    async def test() -> None:
        nonsense = [r'{"explode": true}: [^\n]*known: drop, refuse', r"\[\]: "]
        says = "".join(rf"[^\n]*not understood: {each}[^\n]*\n" for each in nonsense)
        async with simulator("--rate", "100", says=says) as (process, address):
            assert process.stdin is not None
            process.stdin.write(b'{"explode": true}\n[]\n{"trigger": 3}\n')
            await follow(address, 1, lambda events: bool(data(events)) and data(events)[-1].pmus[0].stat == 0x0803)

    asyncio.run(test())


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--rate", "0"], 2, "frames per second above 0"),
        (["--replay", "/nowhere.pcap"], 1, "No such file"),
        (["--replay", __file__], 1, "no C37.118 data frame"),
    ],
)
def test_bad_options_are_refused_in_words(arguments: list[str], code: int, message: str) -> None:
    command = [sys.executable, "-m", "drivers.c37118.simulator", "--port", "0", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=20, cwd=ROOT, check=False)
    assert result.returncode == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("speed", ["0", "5"])
def test_a_replay_gives_the_recorded_frames_with_their_times(speed: str, sample: Callable[[str], Path]) -> None:
    path = sample("pmu/one-pmu-tcp.pcap")
    recorded = [each for each in Recording(path) if each.type is FrameType.DATA]
    assert len(recorded) == 252

    async def test() -> None:
        async with simulator("--replay", str(path), "--speed", speed) as (_, address):
            seen = await follow(address, recorded[0].idcode, lambda events: len(data(events)) >= 252)
            assert data(seen) == [each.message for each in recorded]
            # Once through, it stays connected and silent, for those who come back too.
            again = await follow(
                address, recorded[0].idcode, lambda events: isinstance(events[-1], Lost), lost_after=0.5
            )
            assert data(again) == []
            assert "no data for 0.5 s" in str(again[-1])

    asyncio.run(test())


def test_a_looped_replay_begins_again(sample: Callable[[str], Path]) -> None:
    path = sample("pmu/one-pmu-tcp.pcap")
    first = next(each for each in Recording(path) if each.type is FrameType.DATA)

    async def test() -> None:
        async with simulator("--replay", str(path), "--speed", "0", "--loop") as (_, address):
            seen = await follow(address, first.idcode, lambda events: len(data(events)) >= 600)
            times = [frame.time_ns for frame in data(seen)]
            assert times[:252] == times[252:504]

    asyncio.run(test())


def test_the_recorded_pace_is_kept(sample: Callable[[str], Path]) -> None:
    path = sample("pmu/one-pmu-tcp.pcap")
    idcode = next(each for each in Recording(path) if each.type is FrameType.DATA).idcode

    async def test() -> None:
        async with simulator("--replay", str(path)) as (_, address):
            seen = await follow(address, idcode, lambda events: len(data(events)) >= 50)
            events = [event for event in seen if isinstance(event, Data)]
            taken = (events[-1].arrival_ns - events[0].arrival_ns) / 1e9
            recorded = (events[-1].frame.time_ns - events[0].frame.time_ns) / 1e9
            assert recorded - 0.1 < taken < recorded + 2

    asyncio.run(test())


@pytest.mark.parametrize("form", [0, 1, 14, 15])
def test_tshark_reads_what_the_simulator_says(form: int, tmp_path: Path) -> None:
    if shutil.which("tshark") is None:
        pytest.skip("tshark is absent: the simulator's frames are not judged by a foreign decoder")
    pmu = dataclasses.replace(SimulatedPmu(), format=form, trigger=4, words=[0x3C12])
    stream = SimulatedStream([pmu], idcode=77, rate=50)
    stream.grid.angle, stream.grid.time = 1.0, 2.0
    expected = [(phasor.magnitude, math.degrees(phasor.angle)) for phasor in pmu.measure(stream.grid).phasors]
    frequency, rocof = stream.grid.frequency, stream.grid.rocof
    sent = [stream.answer(5), stream.answer(3), stream.answer(4), *stream.step()]
    dump = "\n".join("000000 " + frame.hex(" ") + "\n" for frame in sent if frame)
    pcap, source = tmp_path / "sim.pcap", tmp_path / "sim.txt"
    source.write_text(dump)
    subprocess.run(["text2pcap", "-q", "-u", "4713,4713", source, pcap], check=True, capture_output=True)
    decode = ["tshark", "-r", pcap, "-d", "udp.port==4713,synphasor", "-V", "-O", "synphasor"]
    text = subprocess.run(decode, check=True, capture_output=True, text=True).stdout
    assert text.count("Checksum Status: Good") == 4, text
    assert "Malformed" not in text
    assert "BREAKER CLOSED" in text
    last = text[text.rindex("Measurement data") :]
    seen = re.findall(r'"\w+ *", +([\d.]+)[VA] ∠ *(-?[\d.]+)°', last)
    assert len(seen) == 8, last
    for (magnitude, angle), (true_magnitude, true_angle) in zip(seen, expected, strict=True):
        assert float(magnitude) == pytest.approx(true_magnitude, rel=1e-4)
        assert float(angle) == pytest.approx(true_angle, abs=0.01)
    number = r"(?:actual frequency: |frequency value: )([\d.]+)"
    assert float(re.findall(number, last)[0]) == pytest.approx(frequency, abs=6e-4)
    assert float(re.findall(r"Rate of change of frequency: (-?[\d.]+)", last)[0]) == pytest.approx(rocof, abs=0.006)
    for words in ("0x3c12", "Trigger reason: Frequency high or low", '"TEMPERATURE     ", 25'):
        assert words in last, words
