"""Our whole sketch as a program of this computer, on a pty, read by our client: `tests/arduino` is what it runs on."""

import asyncio
import contextlib
import os
import pty
import shutil
import subprocess
import tty
from pathlib import Path

import pytest

from drivers.bme680.client import Client, Counts, Identity, Measured, Trouble
from drivers.bme680.formats import COUNTINGHOUSE, PICOSEC, Quantity
from drivers.errors import DeviceError, DriverError
from drivers.link import make_link, parse_address

ROOT = Path(__file__).resolve().parents[2]
SKETCH = ROOT / "drivers/bme680/firmware/countinghouse_bme680"
BOARD = ROOT / "tests/arduino"


@pytest.fixture(scope="module")
def sketch(tmp_path_factory):
    """The program."""
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None or shutil.which("cc") is None:
        pytest.skip("there is no C++ compiler (c++) or no C compiler (cc)")
    directory = tmp_path_factory.mktemp("sketch")
    strict = ("-Wall", "-Wextra", "-Werror")
    subprocess.run(["cc", "-std=c99", *strict, "-c", SKETCH / "line.c", "-o", directory / "line.o"], check=True)
    include = f'-DSKETCH="{SKETCH / "countinghouse_bme680.ino"}"'
    command = [compiler, "-std=c++11", *strict, include, "-I", BOARD, "-I", SKETCH, BOARD / "main.cpp"]
    subprocess.run([*command, directory / "line.o", "-o", directory / "sketch"], check=True)
    return directory / "sketch"


async def read_from(port, enough):
    """Read a board until `enough(events)` or the session's end; gives the events and the error."""
    events, failure = [], None
    told = {"period": 0.1, "timeout": 1.0, "boot": 0.2, "lost_after": 10, "frozen_after": 0}
    client = Client(make_link(parse_address(f"serial://{port}")), (PICOSEC, COUNTINGHOUSE), counts=Counts(), **told)
    try:
        async with asyncio.timeout(30), contextlib.aclosing(client.events()) as stream:
            async for event in stream:
                events.append(event)
                if enough(events):
                    break
    except DriverError as error:
        failure = error
    return events, failure


def run(sketch, enough, **environment):
    """Run the sketch on a pty and read it."""
    far, near = pty.openpty()
    tty.setraw(near)
    told = {key: str(value) for key, value in environment.items()}
    program = subprocess.Popen([sketch], stdin=far, stdout=far, env={**os.environ, **told})
    try:
        return asyncio.run(read_from(os.ttyname(near), enough))
    finally:
        program.kill()
        program.wait()
        os.close(near)
        os.close(far)


def measured(events):
    return [event.judged for event in events if isinstance(event, Measured)]


def test_the_sketch_is_read(sketch):
    events, _ = run(
        sketch, lambda events: len(measured(events)) >= 4 and any(isinstance(event, Identity) for event in events)
    )
    first, *_, last = measured(events)
    assert first.values[Quantity.TEMPERATURE] == pytest.approx(294.31, abs=0.006)
    assert first.values[Quantity.HUMIDITY] == pytest.approx(41.203)
    assert first.values[Quantity.PRESSURE] == pytest.approx(98123, abs=3)
    assert first.values[Quantity.GAS] == pytest.approx(120345, abs=10)
    assert last.values[Quantity.SEQUENCE] == first.values[Quantity.SEQUENCE] + len(measured(events)) - 1
    assert last.values[Quantity.UPTIME] >= first.values[Quantity.UPTIME]
    assert next(event for event in events if isinstance(event, Identity)).text == "countinghouse-bme680 1.0"


@pytest.mark.parametrize(
    ("environment", "quantity", "why"),
    [
        ({"GAS": 0}, Quantity.GAS, "the heater was not stable"),
        ({"HUMIDITY": "nan"}, Quantity.HUMIDITY, "is beyond 0 .. 100 %"),
        ({"TEMPERATURE": -300}, Quantity.TEMPERATURE, "is beyond 233"),
    ],
)
def test_what_the_sensor_does_not_know_is_bad_and_leaves_the_others(sketch, environment, quantity, why):
    events, _ = run(sketch, measured, **environment)
    (judged,) = measured(events)
    assert why in judged.bad[quantity] and len(judged.bad) == 1 and Quantity.PRESSURE in judged.values


def test_troubles(sketch):
    events, failure = run(sketch, lambda events: False, ADDRESS=0)
    assert isinstance(failure, DeviceError) and "finds no BME680" in str(failure) and Trouble.NOT_FOUND in events
    events, failure = run(sketch, lambda events: False, BEGINS=0)
    assert isinstance(failure, DeviceError) and events.count(Trouble.BEGIN_FAILED) == 3
    events, failure = run(sketch, lambda events: False, ENDS=0)
    assert isinstance(failure, DeviceError) and events.count(Trouble.READING_FAILED) == 3
    assert measured(run(sketch, measured, ADDRESS=0x77)[0])
