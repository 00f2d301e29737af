"""CFG-3: the published vector, scaling, fragments, and what must be refused."""

import math
from binascii import crc_hqx
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.c37118 import frames
from drivers.c37118.batch import Batch
from drivers.c37118.configuration3 import LARGEST
from drivers.c37118.frames import (
    Configuration,
    DataFrame,
    DigitalWord,
    Fragment,
    Fragments,
    FrameType,
    Installation,
    Polar,
    ScaledAnalog,
    ScaledPhasor,
    Stat,
    TimeQuality,
    decode,
    decode_whole,
    encode,
    encode_whole,
    fragments,
)
from drivers.errors import ProtocolError
from tests.c37118_strategies import CONFIGURATIONS3, wire_frames

VECTORS = dict(
    line.split()
    for line in (Path(__file__).parents[1] / "wire/c37118_vectors.txt").read_text().splitlines()
    if not line.startswith("#")
)
CFG3, DATA = bytes.fromhex(VECTORS["cfg3"]), bytes.fromhex(VECTORS["cfg3_data"])
V5 = decode(CFG3)
assert isinstance(V5, Configuration)


def resealed(frame: bytes) -> bytes:
    """The frame with FRAMESIZE and CHK made right again."""
    frame = frame[:2] + len(frame).to_bytes(2) + frame[4:-2]
    return frame + crc_hqx(frame, 0xFFFF).to_bytes(2)


def data_of(frame: bytes, configuration: Configuration) -> DataFrame:
    message = decode(frame, configuration)
    assert isinstance(message, DataFrame)
    return message


def test_what_the_published_configuration_says():
    head = (V5.type, V5.idcode, V5.soc, V5.fracsec, V5.time_base, V5.data_rate, V5.period, V5.version)
    assert head == (FrameType.CFG3, 100, 1_700_000_000, 500_000, 1_000_000, -5, 5.0, 2)
    one, two = V5.pmus
    assert (one.station, one.idcode, one.format, one.nominal, one.cfgcnt) == ("Süd", 101, 1, 50, 5)
    va, ia = one.phasors
    assert va == ScaledPhasor("VA", 0, 1, 0, 2.5, 0.0)
    assert ia == ScaledPhasor("IA", 0x0080, 0x0C, 9, pytest.approx(0.01), pytest.approx(0.523599))
    assert [phasor.current for phasor in one.phasors] == [False, True]
    assert one.analogs == (ScaledAnalog("TEMP", pytest.approx(0.1), -50),)
    assert one.digitals == (DigitalWord(("CB1", "CB2", *[""] * 14), 2, 3),)
    assert one.installation == Installation(bytes(range(16)), 52.5, 13.25, 34.0, "M", 100_000, 50_000)
    assert (two.station, two.idcode, two.format, two.nominal) == ("PMU B", 102, 14, 60)
    assert [phasor.name for phasor in two.phasors] == ["V1"] and [analog.name for analog in two.analogs] == [""]
    assert two.installation is not None and two.installation.service_class == "P"
    assert (two.installation.latitude, two.installation.elevation) == (math.inf, math.inf)


def test_values_of_the_published_frame():
    data = data_of(DATA, V5)
    assert data.time_ns == 1_700_000_005 * 10**9
    assert (data.tq.leap_occurred, data.tq.leap_pending, data.tq.leap_deleted, data.tq.code) == (True, False, False, 5)
    one, two = data.pmus
    stat = Stat(one.stat)
    assert (stat.trigger, stat.configuration_change, stat.time_quality, stat.trigger_reason) == (True, True, 1, 4)
    va, ia = one.phasors
    assert (va.magnitude, round(math.degrees(va.angle), 3)) == (100_000, -90.0)
    assert (round(ia.magnitude, 6), round(ia.angle, 5)) == (10, 0)
    assert (one.freq, one.rocof, round(one.analogs[0], 5)) == (49.975, -0.12, 22.5)
    word = V5.pmus[0].digitals[0]
    assert (one.digitals[0] ^ word.normal) & word.valid == 3
    assert (two.stat, Stat(two.stat).error, Stat(two.stat).time_quality, Stat(two.stat).unlocked) == (0xA1F0, 2, 7, 3)
    assert all(math.isnan(value) for value in (*two.phasors[0], two.freq, two.rocof, *two.analogs))


def test_the_vectors_bit_for_bit():
    assert encode(V5) == CFG3
    assert encode(data_of(DATA, V5), V5) == DATA


@settings(deadline=None)
@given(CONFIGURATIONS3, st.integers(1, 400))
def test_any_configuration_there_and_back(configuration, size):
    frame = encode(configuration)
    assert decode(frame) == configuration
    assert decode_whole(encode_whole(configuration)) == configuration
    parts = Fragments()
    results = []
    for fragment in fragments(configuration, size):
        message = decode(encode(fragment))
        assert message == fragment
        results.append(parts.add(fragment))
    assert results == [None] * (len(results) - 1) + [configuration]
    assert parts.dropped == 0


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_any_data_there_and_back_and_in_a_batch(data):
    configuration = data.draw(CONFIGURATIONS3)
    frame = data.draw(wire_frames(configuration))
    message = data_of(frame, configuration)
    again = frames.decode(encode(message, configuration), configuration)
    assert isinstance(again, DataFrame)
    batch = Batch(frame, configuration)
    for number, (pmu, twice) in enumerate(zip(message.pmus, again.pmus, strict=True)):
        for one, two in zip(pmu.phasors, twice.phasors, strict=True):  # a turned float is rounded once more
            slack = 1e-6 * abs(one.magnitude) + 1e-12
            assert (two.re, two.im) == pytest.approx((one.re, one.im), rel=1e-6, abs=slack)
        assert (twice.stat, twice.digitals) == (pmu.stat, pmu.digitals)
        assert twice.analogs == pytest.approx(pmu.analogs, rel=1e-6, abs=1e-2)
        array = batch.array(number)
        magnitude, angle = batch.polar(number)
        assert magnitude[0].tolist() == pytest.approx([phasor.magnitude for phasor in pmu.phasors], rel=1e-12)
        turned = np.exp(1j * angle[0]) - np.exp([1j * phasor.angle for phasor in pmu.phasors])
        assert np.all((np.abs(turned) < 1e-9) | (magnitude[0] == 0))
        assert array["analogs"][0].tolist() == pytest.approx(list(pmu.analogs))
        slack = 1e-9 * max((abs(phasor.magnitude) for phasor in pmu.phasors), default=0)
        assert array["phasors"].real[0].tolist() == pytest.approx([p.re for p in pmu.phasors], rel=1e-9, abs=slack)
        assert array["phasors"].imag[0].tolist() == pytest.approx([p.im for p in pmu.phasors], rel=1e-9, abs=slack)


@pytest.mark.parametrize("form", range(16))
def test_scaling_and_turning_in_any_format(form):
    """A phasor of half of what is sent, 30 degrees behind it; analogs are 2 * sent - 10."""
    phasor = ScaledPhasor("VA", 0, 0, 0, 0.5, math.pi / 6)
    block = replace(V5.pmus[1], format=form, phasors=(phasor,), analogs=(ScaledAnalog("T", 2.0, -10.0),))
    configuration = replace(V5, pmus=(block,))
    wanted = Polar(500.0, math.radians(20))
    values = frames.PmuData(0, (wanted,), 60.0, 0.0, (32.0,), ())
    frame = encode(DataFrame(100, 1, TimeQuality(0), 0, 10**9, (values,)), configuration)
    raw = configuration.data_struct.unpack(frame[14:-2])
    if not form & 1:
        assert raw[1:3] == pytest.approx((1000 * math.cos(math.radians(50)), 1000 * math.sin(math.radians(50))), abs=1)
    else:
        assert raw[1:3] == pytest.approx((1000, math.radians(50) * (1 if form & 2 else 10_000)), abs=1)
    assert raw[5] == 21
    (pmu,) = data_of(frame, configuration).pmus
    assert pmu.phasors[0].magnitude == pytest.approx(500, rel=2e-3)
    assert math.degrees(pmu.phasors[0].angle) == pytest.approx(20, abs=0.1)
    assert pmu.analogs == (32.0,)


def test_absent_integers_stay_nan_whatever_the_scaling():
    body = bytearray(DATA)
    body[18:20] = body[22:24] = body[28:30] = b"\x80\0"  # the angles of VA and IA, TEMP
    (one, _) = data_of(resealed(bytes(body)), V5).pmus
    assert all(math.isnan(value) for phasor in one.phasors for value in phasor) and math.isnan(one.analogs[0])
    array = Batch(resealed(bytes(body)), V5).array()
    assert np.isnan(array["phasors"]).all() and np.isnan(array["analogs"]).all()


def test_a_configuration_larger_than_a_frame():
    word = DigitalWord(tuple(f"{bit:016d} " * 14 for bit in range(16)), 0, 0xFFFF)
    large = replace(V5, pmus=tuple(replace(V5.pmus[0], idcode=n, digitals=(word,) * 4) for n in range(10)))
    with pytest.raises(ValueError, match="too large"):
        encode(large)
    wire = encode_whole(large)
    assert len(wire) > 2 * 65535
    assert decode_whole(wire) == large


def test_fragments_that_do_not_follow_each_other():
    first, second, third, last = fragments(V5, 60)
    parts = Fragments()
    assert [parts.add(each) for each in (second, first, third, last)] == [None] * 4
    assert parts.dropped == 4
    assert [parts.add(each) for each in (first, second, first, second, third)] == [None] * 5
    assert parts.dropped == 6
    assert parts.add(last) == V5
    assert parts.add(last) is None


def test_fragments_are_bounded():
    parts = Fragments()
    for index in range(1, LARGEST // 65000 + 3):
        assert parts.add(Fragment(1, 0, TimeQuality(0), 0, index, bytes(65000))) is None
    assert parts.dropped > LARGEST // 65000


def test_every_single_bit_flip_is_refused():
    for bit in range(8 * len(CFG3)):
        flipped = bytearray(CFG3)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ProtocolError):
            decode(bytes(flipped))


def test_truncated_anywhere():
    for size in range(14, len(CFG3) - 2):
        with pytest.raises(ProtocolError):
            decode(resealed(CFG3[:size] + bytes(2)))


@pytest.mark.parametrize(
    ("at", "new", "message"),
    [
        (16, "ff000000", "TIME_BASE at byte 0 is 0"),
        (20, "0000", "NUM_PMU at byte 4 is 0"),
        (20, "0003", "PMU block 3 of 3"),
        (20, "0001", "left over behind 1 PMU blocks"),
        (47, "ffff", "with 65535 phasors"),
        (228, "0000", "DATA_RATE at byte 212 behind CONT_IDX is 0"),
    ],
)
def test_what_it_may_not_say(at, new, message):
    frame = bytearray(CFG3)
    frame[at : at + len(new) // 2] = bytes.fromhex(new)
    with pytest.raises(ProtocolError, match=message):
        decode(resealed(bytes(frame)))


@given(st.binary(max_size=300))
def test_garbage_is_a_message_or_a_protocol_error(body):
    try:
        message = decode(resealed(b"\xaa\x52\0\0" + bytes(10) + body + bytes(2)))
    except ProtocolError:
        return
    assert isinstance(message, Fragment | Configuration)


def test_what_cannot_be_encoded():
    one = V5.pmus[0]
    for changes, match in (
        ({"station": "x" * 256}, "256 bytes, a CFG-3 holds 255"),
        ({"phasors": (frames.PhasorChannel("VA", False, 1),)}, "'VA' has no PHSCALE"),
        ({"analogs": (frames.AnalogChannel("T", 0, 1),)}, "'T' has no ANSCALE"),
        ({"installation": Installation(b"", 0, 0, 0, "M", 0, 0)}, "16 bytes, not 0"),
        ({"cfgcnt": 70000}, "stream 100"),
        ({"digitals": (DigitalWord(("A",), 0, 0),)}, "16 names, not 1"),
    ):
        with pytest.raises(ValueError, match=match):
            encode(replace(V5, pmus=(replace(one, **changes),)))
    with pytest.raises(ValueError, match="does not fit a CFG-1 or CFG-2"):
        encode(replace(V5, type=FrameType.CFG2))
    data = data_of(DATA, V5)
    flat = replace(V5, pmus=(replace(one, phasors=(replace(one.phasors[0], scale=0.0), one.phasors[1])), V5.pmus[1]))
    with pytest.raises(ValueError, match=r"VA: .* cannot be sent with a scale of 0"):
        encode(data, flat)
