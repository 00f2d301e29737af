"""The protocol part of our sketch, compiled as it is, against the decoder and the simulator."""

import binascii
import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.bme680 import simulated_sketches
from drivers.bme680.formats import COUNTINGHOUSE, RANGES, Quantity
from drivers.bme680.lines import Lines
from drivers.bme680.protocol import Identity, Reading, Trouble, decode

FIRMWARE = Path(__file__).resolve().parents[2] / "drivers" / "bme680" / "firmware"
SKETCH = FIRMWARE / "countinghouse_bme680"
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")
uint16, uint32 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1)


class Values(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("centikelvin", "pascal", "millipercent", "ohm")]


class Clock(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("last", "rest", "seconds")]


@pytest.fixture(scope="module")
def firmware(tmp_path_factory):
    """The compiled line.c."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler (cc)")
    library = tmp_path_factory.mktemp("firmware") / "line.so"
    subprocess.run([compiler, *WARNINGS, "-shared", "-fPIC", "-o", library, SKETCH / "line.c"], check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.line_crc.restype = ctypes.c_uint16
    for name in ("line_data", "line_identity", "line_error"):
        getattr(loaded, name).restype = ctypes.c_size_t
    loaded.line_uptime.restype = loaded.line_fixed.restype = ctypes.c_uint32
    loaded.line_fixed.argtypes = [ctypes.c_float, ctypes.c_float]
    return loaded


def said(write, *arguments, size=80) -> bytes:
    """What a line_... function writes, and nothing beyond its room."""
    room = ctypes.create_string_buffer(b"\xaa" * 200, 200)
    length = write(room, ctypes.c_size_t(size), *arguments)
    assert room.raw[size:] == b"\xaa" * (200 - size)
    assert size == 0 or room.raw[length : length + 1] == b"\0"
    return room.raw[:length]


def frame(line: bytes) -> bytes:
    (found,) = Lines().feed(line)
    assert isinstance(found, bytes)
    return found


def data(firmware, sequence, uptime, *values) -> bytes:
    return said(firmware.line_data, ctypes.c_uint16(sequence), ctypes.c_uint32(uptime), ctypes.byref(Values(*values)))


@given(uint16, uint32, st.tuples(uint32, uint32, uint32, uint32))
def test_every_reading_arrives_as_it_was_said_or_is_known_to_be_out_of_range(firmware, number, uptime, values):
    reading = decode(COUNTINGHOUSE, frame(data(firmware, number, uptime, *values)))
    assert isinstance(reading, Reading)
    assert (reading.values[Quantity.SEQUENCE], reading.values[Quantity.UPTIME]) == (number, uptime)
    measured = (Quantity.TEMPERATURE, Quantity.PRESSURE, Quantity.HUMIDITY, Quantity.GAS)
    for quantity, value, scale in zip(measured, values, (0.01, 1, 0.001, 1), strict=True):
        low, high = RANGES[quantity]
        if low <= value * scale <= high:
            assert reading.values[quantity] == pytest.approx(value * scale, rel=1e-12)
        else:
            assert quantity in reading.bad and quantity not in reading.values


def test_the_longest_line_fits_and_a_room_that_is_too_small_stays_empty(firmware):
    line = data(firmware, 2**16 - 1, *[2**32 - 1] * 5)
    assert line.endswith(b"\r\n") and len(line) < 80
    for size in range(len(line) + 1):
        values = ctypes.c_uint16(2**16 - 1), ctypes.c_uint32(2**32 - 1), ctypes.byref(Values(*[2**32 - 1] * 4))
        assert said(firmware.line_data, *values, size=size) == b""
    assert said(firmware.line_data, *values, size=len(line) + 1) == line


@given(uint32)
def test_identity_and_troubles(firmware, uptime):
    assert decode(COUNTINGHOUSE, frame(said(firmware.line_identity, ctypes.c_uint32(uptime)))) == Identity(
        "countinghouse-bme680 1.0", uptime
    )
    for trouble in (Trouble.NOT_FOUND, Trouble.BEGIN_FAILED, Trouble.READING_FAILED):
        assert decode(COUNTINGHOUSE, frame(said(firmware.line_error, trouble.value))) is trouble


@given(st.binary(max_size=100))
def test_checksums_of_driver_sketch_and_simulator_agree(firmware, text):
    crc = firmware.line_crc(text, ctypes.c_size_t(len(text)))
    assert crc == binascii.crc_hqx(text, 0xFFFF)
    if text.isascii():
        assert crc == simulated_sketches.crc16(text.decode("ascii"))
    assert firmware.line_crc(b"123456789", ctypes.c_size_t(9)) == 0x29B1


def test_the_simulator_says_what_the_sketch_says(firmware):
    line = simulated_sketches.line("countinghouse", (294.31, 98123.0, 41.203, 120345.0), {}, 17, 4711)
    assert line.encode() + b"\r\n" == data(firmware, 17, 4711, 29431, 98123, 41203, 120345)
    assert simulated_sketches.identity(4711).encode() + b"\r\n" == said(firmware.line_identity, ctypes.c_uint32(4711))
    for number, text in enumerate(
        (simulated_sketches.NOT_FOUND, simulated_sketches.BEGIN_FAILED, simulated_sketches.READING_FAILED), 1
    ):
        told = simulated_sketches.trouble("countinghouse", text)
        assert told.encode() + b"\r\n" == said(firmware.line_error, number)


def test_what_the_driver_asks_is_what_the_sketch_understands(firmware):
    commands = {byte: firmware.line_command(byte) for byte in range(-1, 256)}
    assert [byte for byte, command in commands.items() if command] == [ord("I"), ord("R")]
    assert (commands[COUNTINGHOUSE.request[0]], commands[COUNTINGHOUSE.identify[0]]) == (1, 2)
    assert (len(COUNTINGHOUSE.request), len(COUNTINGHOUSE.identify)) == (1, 1)


@given(st.lists(st.integers(0, 2**31), max_size=50))
def test_the_uptime_goes_on_where_millis_begins_anew(firmware, steps):
    clock, now = Clock(), 0
    for step in steps:
        now += step
        seconds = firmware.line_uptime(ctypes.byref(clock), ctypes.c_uint32(now % 2**32))
        assert seconds == now // 1000 % 2**32


@given(st.floats(width=32), st.sampled_from([1.0, 100.0, 1000.0]))
def test_floats_are_rounded_and_what_is_none_is_out_of_every_range(firmware, value, scale):
    fixed = firmware.line_fixed(value, scale)
    if 0 <= value * scale < 4e9:
        assert fixed == pytest.approx(value * scale, abs=0.51, rel=1e-6)
    elif not -0.6 < value * scale < 4.3e9:
        assert fixed == 2**32 - 1


def test_the_lines_of_its_readme_are_lines():
    text = (FIRMWARE / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| `([DIE],[^`]*)`", text, re.MULTILINE)
    assert [type(decode(COUNTINGHOUSE, line.encode())) for line in lines] == [Reading, Identity, Trouble], [
        simulated_sketches.summed(line.partition("*")[0]) for line in lines
    ]
