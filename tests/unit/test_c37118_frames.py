"""C37.118 frames: the published vectors bit for bit, what must be refused, and every format there and back."""

import math
from binascii import crc_hqx
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.c37118 import frames
from drivers.c37118.frames import (
    AnalogChannel,
    Configuration,
    DataFrame,
    DigitalWord,
    FrameType,
    PhasorChannel,
    PmuConfiguration,
    PmuData,
    Polar,
    Rect,
    Stat,
    TimeQuality,
    decode,
    encode,
)
from drivers.errors import ProtocolError
from tests.c37118_strategies import CONFIGURATIONS, data_frames

VECTORS = {
    name: bytes.fromhex(digits)
    for name, digits in (
        line.split()
        for line in (Path(__file__).parents[1] / "wire/c37118_vectors.txt").read_text().splitlines()
        if not line.startswith("#")
    )
}
ANNEX = Configuration(
    type=FrameType.CFG2,
    idcode=7734,
    soc=1149577200,
    tq=TimeQuality(0x56),
    fracsec=463000,
    time_base=1_000_000,
    pmus=(
        PmuConfiguration(
            station="Station A",
            idcode=7734,
            format=4,
            phasors=(
                PhasorChannel("VA", False, 0x0DF847),
                PhasorChannel("VB", False, 0x0DF847),
                PhasorChannel("VC", False, 0x0DF847),
                PhasorChannel("I1", True, 0x00B2D0),
            ),
            analogs=(AnalogChannel("ANALOG1", 0, 1), AnalogChannel("ANALOG2", 1, 1), AnalogChannel("ANALOG3", 2, 1)),
            digitals=(DigitalWord(tuple(f"BREAKER {n} STATUS" for n in "123456789ABCDEFG"), 0, 0xFFFF),),
            fnom=0,
            cfgcnt=22,
        ),
    ),
    data_rate=30,
)
POLAR = Configuration(
    type=FrameType.CFG2,
    idcode=8,
    soc=1_700_000_000,
    tq=TimeQuality(0),
    fracsec=0,
    time_base=16_777_215,
    pmus=(
        PmuConfiguration(
            station="UNIT-B",
            idcode=8,
            format=0xF,
            phasors=(PhasorChannel("VA", False, 1), PhasorChannel("IA", True, 1)),
            analogs=(AnalogChannel("MW", 0, 1),),
            digitals=(DigitalWord(tuple(f"D{n}" for n in range(16)), 0x0001, 0x8003),),
            fnom=1,
            cfgcnt=3,
        ),
    ),
    data_rate=50,
)
INT16 = decode(VECTORS["int16_cfg2"])
assert isinstance(INT16, Configuration)


def data_of(frame: bytes, configuration: Configuration) -> DataFrame:
    message = decode(frame, configuration)
    assert isinstance(message, DataFrame)
    return message


def resealed(frame: bytes) -> bytes:
    """The frame with FRAMESIZE and CHK made right again."""
    frame = frame[:2] + len(frame).to_bytes(2) + frame[4:-2]
    return frame + crc_hqx(frame, 0xFFFF).to_bytes(2)


# The vectors


@pytest.mark.parametrize("command", range(1, 7))
def test_commands(command):
    frame = [*VECTORS.values()][command - 1]
    assert decode(frame) == frames.CommandFrame(100, 1_700_000_000, TimeQuality(0x0F), 0, command)
    assert encode(frames.command(command, 100, 1_700_000_000 * 10**9)) == frame


def test_command_extended_header_and_cfg3_there_and_back():
    assert decode(VECTORS["extended"]) == frames.CommandFrame(
        100, 1_700_000_000, TimeQuality(0), 0, frames.Command.EXTENDED, bytes.fromhex("12345678")
    )
    assert decode(VECTORS["header"]) == frames.HeaderFrame(100, 1_700_000_000, TimeQuality(0), 0, "Hello PMU")
    cfg3 = decode(VECTORS["cfg3"])
    assert isinstance(cfg3, Configuration) and cfg3.type is FrameType.CFG3
    sent_to_20 = decode(VECTORS["send_cfg2_to_20"])
    assert sent_to_20 == frames.CommandFrame(20, 1_445_891_780, TimeQuality(0), 94_863, 5)
    for name in ("extended", "header", "cfg3", "send_cfg2_to_20"):
        assert encode(decode(VECTORS[name])) == VECTORS[name]


@pytest.mark.parametrize(
    ("configuration", "size", "chk"), [(ANNEX, 454, 0xD5D1), (POLAR, 374, 0x671A), (INT16, 114, 0x81B1)]
)
def test_configurations_bit_for_bit(configuration, size, chk):
    frame = encode(configuration)
    assert (len(frame), int.from_bytes(frame[-2:])) == (size, chk)
    assert decode(frame) == configuration


@pytest.mark.parametrize(
    ("name", "configuration"),
    [("annex_data", ANNEX), ("polar_data", POLAR), ("int16_data", INT16), ("int16_absent", INT16)],
)
def test_data_bit_for_bit(name, configuration):
    frame = VECTORS[name]
    assert len(frame) == frames.expected_size(configuration)
    assert encode(data_of(frame, configuration), configuration) == frame


def test_annex_values():
    data = data_of(VECTORS["annex_data"], ANNEX)
    assert datetime.fromtimestamp(data.soc, UTC).isoformat() == "2006-06-06T08:00:00+00:00"
    assert data.time_ns == 1149580800 * 10**9 + 16_817_000
    (pmu,) = data.pmus
    assert [round(phasor.magnitude, 3) for phasor in pmu.phasors] == [133987.376, 134003.289, 133995.360, 499.874]
    assert [round(math.degrees(phasor.angle), 3) for phasor in pmu.phasors] == [0, -119.998, 120.000, 0]
    assert (pmu.stat, pmu.freq, pmu.rocof, pmu.analogs, pmu.digitals) == (0, 62.5, 0, (100, 1000, 10000), (0x3C12,))


def test_polar_values():
    data = data_of(VECTORS["polar_data"], POLAR)
    assert data.time_ns == 1_700_000_000_500_000_030
    assert data.tq.code == 0xB
    (pmu,) = data.pmus
    assert all(isinstance(phasor, Polar) for phasor in pmu.phasors)
    assert [phasor.magnitude for phasor in pmu.phasors] == [230_000, 125.5]
    assert [round(math.degrees(phasor.angle), 3) for phasor in pmu.phasors] == [90, -60]
    assert (round(pmu.freq, 4), round(pmu.rocof, 4), pmu.analogs, pmu.digitals) == (49.987, -0.05, (-42.25,), (0x8002,))
    stat = Stat(pmu.stat)
    assert stat.unsynced
    assert stat.unlocked == 3
    word = POLAR.pmus[0].digitals[0]
    assert (pmu.digitals[0] ^ word.normal) & word.valid == 0x8003


def test_int16_values():
    assert INT16.period == 2.0
    assert [analog.factor for analog in INT16.pmus[0].analogs] == [100, -25]
    (pmu,) = data_of(VECTORS["int16_data"], INT16).pmus
    assert pmu.phasors == (Rect(3000.0, -4000.0),)
    assert (pmu.phasors[0].magnitude, round(math.degrees(pmu.phasors[0].angle), 3)) == (5000, -53.13)
    assert (pmu.freq, pmu.rocof, pmu.analogs) == (60.012, 1.5, (500, -8))


def test_absent_integers_are_nan():
    (pmu,) = data_of(VECTORS["int16_absent"], INT16).pmus
    assert Stat(pmu.stat).error == 2
    values = [*pmu.phasors[0], pmu.phasors[0].magnitude, pmu.phasors[0].angle, pmu.freq, pmu.rocof, *pmu.analogs]
    assert all(math.isnan(value) for value in values)


def test_an_integer_polar_phasor_is_absent_by_its_angle():
    configuration = replace(INT16, pmus=(replace(INT16.pmus[0], format=1),))
    frame = bytearray(encode(data_of(VECTORS["int16_data"], INT16), configuration))
    frame[16:20] = bytes.fromhex("80002710")  # 32768 counts at 1 rad: legal
    (pmu,) = data_of(resealed(bytes(frame)), configuration).pmus
    assert pmu.phasors == (Polar(32768, 1.0),)
    frame[16:20] = bytes.fromhex("27108000")
    (pmu,) = data_of(resealed(bytes(frame)), configuration).pmus
    assert all(math.isnan(value) for value in (*pmu.phasors[0], pmu.phasors[0].re, pmu.phasors[0].im))


# Time and status


def test_time_takes_all_24_bits_and_carries():
    assert frames.time_ns(5, 0x800000, 16_777_215) == 5_500_000_030
    assert frames.time_ns(5, 16_777_214, 16_777_215) == 5_999_999_940
    assert frames.time_ns(5, 1_500_000, 1_000_000) == 6_500_000_000
    assert frames.soc_fracsec(6_000_000_000 - 1, 1000) == (6, 0)


@given(st.integers(0, 2**32 - 1), st.integers(1, 2**24 - 1), st.data())
def test_time_there_and_back(soc, time_base, data):
    fracsec = data.draw(st.integers(0, time_base - 1))
    assert frames.soc_fracsec(frames.time_ns(soc, fracsec, time_base), time_base) == (soc, fracsec)


def test_stat_bits():
    names = (
        "error unsynced sorted_by_arrival trigger configuration_change modified time_quality unlocked trigger_reason"
    )

    def bits(raw):
        return [getattr(Stat(raw), name) for name in names.split()]

    assert bits(0) == [0] * 9
    assert bits(0xFFFF) == [3, True, True, True, True, True, 7, 3, 15]
    single = [bits(1 << bit) for bit in range(16)]
    assert [sum(map(bool, values)) for values in single] == [1] * 16
    assert [[bool(value) for value in values].index(True) for values in single] == [
        *[8] * 4, *[7] * 2, *[6] * 3, 5, 4, 3, 2, 1, *[0] * 2,
    ]  # fmt: skip


def test_time_quality_bits():
    assert [TimeQuality(raw).code for raw in (0, 0x7F)] == [0, 15]
    flags = [(q.leap_pending, q.leap_occurred, q.leap_deleted) for q in map(TimeQuality, (0x10, 0x20, 0x40))]
    assert flags == [(True, False, False), (False, True, False), (False, False, True)]


# What is refused


@pytest.mark.parametrize("name", VECTORS)
def test_every_single_bit_flip_is_refused(name):
    frame = VECTORS[name]
    for bit in range(8 * len(frame)):
        flipped = bytearray(frame)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ProtocolError):
            decode(bytes(flipped), INT16)


def test_data_without_its_configuration():
    frame = VECTORS["int16_data"]
    with pytest.raises(frames.NoConfiguration, match="no configuration"):
        decode(frame)
    with pytest.raises(frames.NoConfiguration, match=r"stream 9 .* stream 8"):
        decode(frame, POLAR)
    with pytest.raises(frames.StaleConfiguration, match=r"32 bytes .* 30"):
        decode(resealed(frame[:-2] + bytes(4)), INT16)


@pytest.mark.parametrize("second", [0x03, 0x33, 0x83, 0xA3, 0x93])
def test_the_2024_edition_is_unsupported(second):
    frame = bytearray(VECTORS["int16_data"])
    frame[1] = second
    with pytest.raises(frames.UnsupportedEdition, match="2024 edition, unsupported"):
        decode(resealed(bytes(frame)), INT16)


@pytest.mark.parametrize(
    ("at", "new", "message"),
    [
        (0, "ab", "SYNC at byte 0 is ab"),
        (1, "30", "version at byte 1 is 0"),
        (1, "34", "version at byte 1 is 4"),
        (1, "61", "frame type at byte 1 is 6"),
        (14, "ff000000", "TIME_BASE at byte 14 is 0"),
        (18, "0000", "NUM_PMU at byte 18 is 0"),
        (18, "0002", "PMU block 2 of 2 at byte 110 is cut short"),
        (40, "ffff", "65535 phasors"),
        (40, "0000", "left over at byte 90"),
        (110, "0000", "DATA_RATE at byte 110 is 0"),
    ],
)
def test_what_a_configuration_may_not_say(at, new, message):
    frame = bytearray(VECTORS["int16_cfg2"])
    frame[at : at + len(new) // 2] = bytes.fromhex(new)
    with pytest.raises(ProtocolError, match=message):
        decode(resealed(bytes(frame)))


def test_truncated_configurations():
    frame = encode(ANNEX)
    for size in range(14, len(frame) - 2):
        with pytest.raises(ProtocolError):
            decode(resealed(frame[:size] + bytes(2)))


@pytest.mark.parametrize("framesize", [0, 15, 31, 65535])
def test_wrong_framesize(framesize):
    frame = bytearray(VECTORS["int16_data"][:-2])
    frame[2:4] = framesize.to_bytes(2)
    with pytest.raises(ProtocolError, match=f"FRAMESIZE at byte 2 says {framesize}, the frame has 30"):
        decode(bytes(frame) + crc_hqx(frame, 0xFFFF).to_bytes(2), INT16)


def test_messages_are_bounded():
    with pytest.raises(ProtocolError) as caught:
        decode(bytes(65535))
    assert len(str(caught.value)) < 300


@given(st.binary(max_size=200))
def test_garbage_raises_nothing_but_protocol_errors(garbage):
    with pytest.raises(ProtocolError):
        decode(garbage)


@given(st.sampled_from(FrameType), st.integers(1, 2), st.binary(max_size=200))
def test_sealed_garbage_is_a_message_or_a_protocol_error(kind, version, body):
    frame = resealed(bytes([0xAA, kind << 4 | version, 0, 0]) + bytes(10) + body + bytes(2))
    try:
        message = decode(frame, INT16)
    except ProtocolError:
        return
    if b"\xef\xbf\xbd" not in encode(message):  # U+FFFD stands for bytes that are no UTF-8
        assert isinstance(message, frames.HeaderFrame | frames.CommandFrame | frames.Fragment)
        assert encode(message) == frame


def test_what_cannot_be_encoded():
    pmu = INT16.pmus[0]
    data = data_of(VECTORS["int16_data"], INT16)

    def with_pmu(**changes):
        return replace(data, pmus=(replace(data.pmus[0], **changes),))

    for message, match in [
        (with_pmu(phasors=(Rect(32768.0, 0.0),)), "VA: 32768 counts"),
        (with_pmu(phasors=(Rect(math.inf, 0.0),)), "VA: inf counts"),
        (with_pmu(freq=100.0), "FREQ: 40000 counts"),
        (with_pmu(phasors=()), "1 phasors"),
        (replace(data, pmus=()), "0 PMUs"),
        (replace(data, idcode=10), "stream 10"),
        (replace(data, idcode=70000), "stream 70000"),
        (replace(data, version=3), "version 3"),
        (replace(data, fracsec=1 << 24), "FRACSEC"),
        (with_pmu(stat=70000), "stream 9"),
        (replace(INT16, time_base=0), "TIME_BASE"),
        (replace(INT16, data_rate=0), "DATA_RATE"),
        (replace(INT16, pmus=()), "at least one PMU"),
        (replace(INT16, pmus=(replace(pmu, station="x" * 17),)), "17 bytes"),
        (replace(INT16, type=FrameType.DATA), "CFG1 or CFG2"),
        (frames.command(8, 100, 0).__class__(100, 0, TimeQuality(0), 0, 8, b"odd"), "even"),
        (frames.HeaderFrame(1, 0, TimeQuality(0), 0, "x" * 65536), "too large"),
    ]:
        with pytest.raises(ValueError, match=match):
            encode(message, INT16)
    no_unit = replace(INT16, pmus=(replace(pmu, phasors=(PhasorChannel("VA", False, 0),)),))
    with pytest.raises(ValueError, match="a scale of 0"):
        encode(data, no_unit)
    with pytest.raises(ValueError, match="give it"):
        encode(data)


# Every format, there and back


@settings(deadline=None)
@given(CONFIGURATIONS)
def test_any_configuration_there_and_back(configuration):
    frame = encode(configuration)
    assert decode(frame) == configuration
    assert encode(decode(frame)) == frame


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_any_data_there_and_back(data):
    configuration = data.draw(CONFIGURATIONS)
    sent = data.draw(data_frames(configuration))
    frame = encode(sent, configuration)
    assert len(frame) == frames.expected_size(configuration)
    assert repr(decode(frame, configuration)) == repr(sent)  # repr, since NaN is not equal to itself
    assert encode(decode(frame, configuration), configuration) == frame


@pytest.mark.parametrize("form", range(16))
@pytest.mark.parametrize("factor", [0, 1, 0xFFFFFF])
def test_nan_is_sent_in_any_format(form, factor):
    block = replace(INT16.pmus[0], format=form, phasors=(PhasorChannel("VA", False, factor),))
    configuration = replace(INT16, pmus=(block,))
    for phasor in (Rect(math.nan, math.nan), Polar(math.nan, math.nan)):
        values = PmuData(0xFFFF, (phasor,), math.nan, math.nan, (math.nan, math.nan), ())
        message = replace(data_of(VECTORS["int16_data"], INT16), pmus=(values,))
        (pmu,) = data_of(encode(message, configuration), configuration).pmus
        assert all(math.isnan(value) for value in (*pmu.phasors[0], pmu.freq, pmu.rocof, *pmu.analogs))
        assert pmu.stat == 0xFFFF


@pytest.mark.parametrize("form", range(16))
def test_either_phasor_form_is_sent_in_any_format(form):
    configuration = replace(INT16, pmus=(replace(INT16.pmus[0], format=form),))
    rect = data_of(VECTORS["int16_data"], INT16)
    phasor = rect.pmus[0].phasors[0]
    polar = replace(rect, pmus=(replace(rect.pmus[0], phasors=(Polar(phasor.magnitude, phasor.angle),)),))
    for message in (rect, polar):
        (pmu,) = data_of(encode(message, configuration), configuration).pmus
        assert pmu.phasors[0].re == pytest.approx(3000, abs=1)
        assert pmu.phasors[0].im == pytest.approx(-4000, abs=1)
        assert pmu.phasors[0].magnitude == pytest.approx(5000, abs=1)
