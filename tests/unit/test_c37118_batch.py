"""Many frames at once decode as one after the other; the CRC of many at once is that of each."""

import math
from binascii import crc_hqx

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.c37118.batch import Batch
from drivers.c37118.crc import BLOCK, intact
from drivers.c37118.data import StaleConfiguration, expected_size
from drivers.c37118.frames import Configuration, DataFrame, decode, encode
from drivers.c37118.simulated_pmu import SimulatedPmu
from drivers.c37118.simulated_stream import SimulatedStream
from tests.c37118_strategies import CONFIGURATIONS, data_frames


def same(ours: object, theirs: object) -> None:
    np.testing.assert_allclose(np.array(ours), np.array(theirs), rtol=1e-15, atol=0)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_any_frames(data):
    configuration = data.draw(CONFIGURATIONS)
    sent = data.draw(st.lists(data_frames(configuration), min_size=1, max_size=4))
    wire = [encode(frame, configuration) for frame in sent]
    batch = Batch(b"".join(wire), configuration)
    assert (len(batch), batch.bad_crc) == (len(sent), 0)
    one_by_one = [decode(frame, configuration) for frame in wire]
    assert batch.time_ns.tolist() == [frame.time_ns for frame in one_by_one]
    assert batch.tq.tolist() == [frame.tq.raw for frame in one_by_one]
    for number in range(len(configuration.pmus)):
        array = batch.array(number)
        assert array["time_ns"].tolist() == batch.time_ns.tolist() and array["tq"].tolist() == batch.tq.tolist()
        magnitudes, angles = batch.polar(number)
        for row, frame in enumerate(one_by_one):
            pmu = frame.pmus[number]
            assert array["stat"][row] == pmu.stat
            assert array["digitals"][row].tolist() == list(pmu.digitals)
            for name, value in (("freq", pmu.freq), ("rocof", pmu.rocof), ("analogs", pmu.analogs)):
                same(array[name][row], value)
            with np.errstate(over="ignore"):
                same(magnitudes[row], [phasor.magnitude for phasor in pmu.phasors])
                same(angles[row], [phasor.angle for phasor in pmu.phasors])
                same(array["phasors"].real[row], [phasor.re for phasor in pmu.phasors])
                same(array["phasors"].imag[row], [phasor.im for phasor in pmu.phasors])


def test_crc_of_many_frames():
    rng = np.random.default_rng(37118)
    frames = rng.integers(0, 256, (BLOCK + 500, 18), dtype=np.uint8)
    for index in range(0, len(frames), 2):
        frames[index, -2:] = list(crc_hqx(frames[index, :-2].tobytes(), 0xFFFF).to_bytes(2))
    assert intact(frames).tolist() == [crc_hqx(frame.tobytes(), 0xFFFF) == 0 for frame in frames]
    assert intact(frames).sum() >= len(frames) // 2


def stream() -> tuple[Configuration, list[bytes]]:
    from drivers.c37118.simulated_stream import SimulatedStream

    source = SimulatedStream(clock=lambda: 10**18)
    return source.configuration(), [source.step()[0] for _ in range(20)]


def test_a_frame_with_any_one_bit_flipped_is_left_out_and_counted():
    configuration, frames = stream()
    for bit in range(8 * len(frames[3])):
        damaged = bytearray(frames[3])
        damaged[bit // 8] ^= 1 << bit % 8
        batch = Batch([*frames[:3], bytes(damaged), *frames[4:]], configuration)
        assert (batch.bad_crc, len(batch)) == (1, 19)
    whole = decode(frames[4], configuration)
    assert isinstance(whole, DataFrame) and batch.time_ns[3] == whole.time_ns


def test_bytes_that_are_no_frames_of_the_configuration():
    configuration, frames = stream()
    with pytest.raises(StaleConfiguration, match="105 bytes are not whole data frames of stream 1, which have 104"):
        Batch(frames[0] + b"x", configuration)
    other = frames[1][:4] + b"\0\7" + frames[1][6:-2]
    other += crc_hqx(other, 0xFFFF).to_bytes(2)
    with pytest.raises(ValueError, match="frame 1 is no data frame of stream 1"):
        Batch([frames[0], other], configuration)


def test_any_bits_are_numbers_or_nan_and_nothing_is_said_of_it():
    configuration = SimulatedStream([SimulatedPmu(format=15)]).configuration()
    size = expected_size(configuration)
    body = bytes.fromhex("aa01") + size.to_bytes(2) + bytes.fromhex("0001 6553f100 00000000 0000")
    body += bytes.fromhex("7f800001 ffbfffff") * ((size - len(body)) // 8 + 1)
    frame = body[: size - 2] + crc_hqx(body[: size - 2], 0xFFFF).to_bytes(2)
    one = Batch(frame, configuration).array()[0]
    assert all(map(np.isnan, (one["freq"], one["rocof"], *one["analogs"], *one["phasors"].real)))
    (data,) = decode(frame, configuration).pmus
    assert one["digitals"].tolist() == list(data.digitals) and np.isnan(data.freq)


def test_no_frames_at_all():
    configuration, _ = stream()
    batch = Batch(b"", configuration)
    assert len(batch) == 0 and batch.array().shape == (0,) and batch.polar()[0].shape == (0, 8)


def test_a_phasor_without_a_direction_is_nan_in_both_parts():
    configuration, frames = stream()
    message = decode(frames[0], configuration)
    assert isinstance(message, DataFrame) and configuration.pmus[0].polar
    at = 16 + 4  # the angle of the first phasor
    frame = frames[0][:at] + np.array(math.inf, ">f4").tobytes() + frames[0][at + 4 : -2]
    batch = Batch(frame + crc_hqx(frame, 0xFFFF).to_bytes(2), configuration)
    assert np.isnan(batch.phasors()[0, 0]) and batch.polar()[0][0, 0] == 63500.0
