"""Waveform blocks: the manual's values, real files, every kind of block against readers that we did not write."""

import struct
import warnings
from dataclasses import replace

import lecroyparser
import lecroyscope
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import ProtocolError
from drivers.lecroy.descriptor import HI, LO, SIZE, TIMEBASES, Descriptor
from drivers.lecroy.wavedesc import Waveform, block, decode, encode, read_descriptor
from tests.lecroy_blocks import WHEN, trace


def read_by_lecroyparser(data: bytes) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return lecroyparser.ScopeData(data=data).y


def test_the_values_that_the_manual_prints():
    """WM-RCM-E, p. 55 to 58: big-endian WORD, 52 points."""
    descriptor = bytearray(SIZE)
    descriptor[0:8], descriptor[16:26] = b"WAVEDESC", b"LECROY_2_3"
    descriptor[32:36] = bytes.fromhex("00010000")
    descriptor[36:40], descriptor[60:64] = struct.pack(">i", 346), struct.pack(">i", 104)
    descriptor[116:120], descriptor[128:132] = struct.pack(">i", 52), struct.pack(">i", 51)
    descriptor[144:148] = struct.pack(">i", 1)
    descriptor[156:164] = bytes.fromhex("3483126F 3A0D8EC9")
    descriptor[176:188] = bytes.fromhex("322BCC77 BE6BA4BB51A069BB")
    data = bytes.fromhex("1100 1300 0400 FA00") + bytes(96)
    reply = b"C1:WF ALL,#9000000450" + bytes(descriptor) + data + b"\n"
    assert len(block(reply)) == 461
    waveform = decode(reply)
    volts = waveform.volts()[0, :4]
    assert volts == pytest.approx([522.5e-6, 647.5e-6, -290.0e-6, -915.0e-6], abs=1e-9)
    assert waveform.descriptor.vertical_gain == pytest.approx(2.4414064e-07, rel=1e-7)
    assert (waveform.dx, waveform.x0) == (pytest.approx(1e-8), pytest.approx(-5.149e-8, abs=1e-12))
    assert waveform.triggered is None
    assert waveform.descriptor.pack() == bytes(descriptor[:36]) + waveform.descriptor.pack()[36:]


@pytest.mark.parametrize(
    ("name", "points", "when"),
    [
        ("pulse.trc", 502, "2022-11-09T09:23:52.112417110"),
        ("waverunner-104xi.trc", 10002, "2015-11-27T18:41:23.819916547"),
    ],
)
def test_real_files_as_two_other_readers_have_them(sample, tmp_path, name, points, when):
    data = sample(f"scope/{name}").read_bytes()
    waveform = decode(data)
    assert (waveform.segments, waveform.points, str(waveform.triggered)) == (1, points, when)
    assert waveform.volts()[0] == pytest.approx(read_by_lecroyparser(data), rel=1e-6, abs=1e-6)
    header = lecroyscope.Trace(data)
    assert waveform.times() == pytest.approx(header.x, rel=1e-9, abs=1e-15)
    assert waveform.volts()[0] == pytest.approx(header.y, rel=1e-6, abs=1e-6)
    assert encode(waveform) == data  # what we write is laid out as what the scope wrote
    assert waveform.descriptor.reserved1 + (waveform.descriptor.reserved2 << 16) == points


@pytest.mark.parametrize("order", [HI, LO])
@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("prefix", [b"", b"C1:WF ALL,", b"C1:WAVEFORM ALL,", b"ALL,"])
def test_both_byte_orders_and_both_codes(order, kind, prefix):
    data = prefix + trace(order=order, kind=kind, text=b"a pulse" + bytes(153)) + b"\n" * bool(prefix)
    waveform = decode(data)
    assert waveform.volts()[0] == pytest.approx(read_by_lecroyparser(data), rel=1e-5, abs=1e-6)
    assert waveform.volts(np.float32).dtype == np.float32
    assert waveform.volts(np.float32) == pytest.approx(waveform.volts(), rel=1e-5, abs=1e-6)
    assert waveform.user_text.startswith(b"a pulse")
    assert waveform.triggered == WHEN
    assert bytes(block(data)) == data[len(prefix) : len(data) - bool(prefix)]


def test_a_buffer_of_the_caller_is_filled():
    waveform = decode(trace())
    out = np.empty((1, 1000), np.float32)
    assert waveform.volts(out=out) is out
    assert out == pytest.approx(waveform.volts(), abs=1e-6)


def test_the_second_array_and_the_reserved_parts_are_told_apart():
    plain = trace(second=True, reserved=(12, 8, 4, 20), text=b"x" * 16, record_type=5)
    waveform = decode(plain)
    at = plain.index(b"x" * 16) + 16 + 12 + 8
    assert waveform.codes[0].tobytes() == plain[at : at + 2000]
    assert waveform.codes2[0].tobytes() == plain[at + 2000 : at + 4000]
    gain, offset = waveform.descriptor.vertical_gain, waveform.descriptor.vertical_offset
    assert waveform.volts(second=True) == pytest.approx(waveform.codes2 * gain - offset)
    again = decode(encode(waveform))
    assert again.codes2.tolist() == waveform.codes2.tolist() and again.descriptor.res_array3 == 0
    with pytest.raises(ValueError, match="no second array"):
        decode(trace()).volts(second=True)


def test_a_sequence_has_its_own_time_axis_each_segment():
    data = trace(502, 20)
    waveform = decode(data)
    assert waveform.volts().shape == (20, 502)
    assert waveform.volts().ravel() == pytest.approx(read_by_lecroyparser(data), rel=1e-5, abs=1e-6)
    assert waveform.volts() == pytest.approx(lecroyscope.Trace(data).y, rel=1e-5, abs=1e-6)
    assert waveform.trigger_times.tolist() == pytest.approx([1e-3 * n for n in range(20)])
    assert waveform.times(3)[:2].tolist() == pytest.approx([-5.03e-8, -4.93e-8])
    assert decode(encode(waveform)).trigger_offsets.tolist() == waveform.trigger_offsets.tolist()


def test_a_sequence_that_was_broken_off():
    """Padded to its full length, or cut to what was acquired."""
    short = trace(100, 7, nom_subarray_count=20)
    assert decode(short).volts().shape == (7, 100)
    whole = trace(100, 20, subarray_count=7, last_valid_pnt=699)
    waveform = decode(whole)
    assert waveform.volts().shape == (7, 100) and len(waveform.trigger_times) == 7
    assert waveform.codes.tobytes() == whole[-4000:-2600]
    again = decode(encode(waveform))
    assert again.codes.tolist() == waveform.codes.tolist()


def test_a_sequence_without_trigger_times_has_unknown_ones():
    data = trace(100, 4)
    cut = data[:11] + data[11 : 11 + SIZE] + data[11 + SIZE + 64 :]
    descriptor = replace(read_descriptor(data), trigtime_array=0)
    waveform = decode(b"#9%09d" % (len(cut) - 11) + descriptor.pack() + cut[11 + SIZE :])
    assert np.isnan(waveform.trigger_times).all()
    assert waveform.trigger_offsets.tolist() == [-5e-8] * 4


def test_ris_weaves_its_sweeps():
    waveform = decode(trace(1000, ris=4, record_type=8, horiz_interval=2.5e-10))
    offsets = [-5e-8 + 1e-9 * n / 4 for n in range(4)]
    dx = waveform.dx
    wanted = [dx * (n - n % 4) + offsets[n % 4] for n in range(1000)]
    assert waveform.times().tolist() == pytest.approx(wanted, rel=1e-12)
    assert waveform.x0 == offsets[0]
    assert decode(encode(waveform)).ris_offsets.tolist() == offsets


def test_thinned_by_the_scope():
    waveform = decode(trace(sparsing_factor=4, first_point=100))
    assert waveform.dx == pytest.approx(4e-9)
    assert waveform.x0 == pytest.approx(-5e-8 + 100e-9)


def test_the_valid_range():
    waveform = decode(trace(first_valid_pnt=10, last_valid_pnt=899))
    assert waveform.volts()[0, waveform.valid].shape == (890,)


def test_unknown_states_stay_numbers():
    d = decode(trace(wave_source=9, bandwidth_limit=2, timebase=48, record_type=77, vert_coupling=-1)).descriptor
    words = d.words()
    assert [words[name] for name in ("wave_source", "bandwidth_limit", "timebase", "record_type", "vert_coupling")] == [
        9,
        2,
        48,
        77,
        -1,
    ]
    known = replace(d, wave_source=1, timebase=47, fixed_vert_gain=27, vert_coupling=2).words()
    assert (known["wave_source"], known["timebase"], known["fixed_vert_gain"]) == ("C2", "5 ks/div", "1 kV/div")
    assert TIMEBASES[0] == "1 ps/div" and replace(d, timebase=100).words()["timebase"] == "external"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"wave_array_1": 1998}, "wave_array_1 = 1998 bytes, but 1000 points have 2000"),
        ({"wave_array_2": 7}, "wave_array_2 = 7"),
        ({"wave_array_count": 0}, "wave_array_count = 0"),
        ({"wave_array_count": -1}, "wave_array_count = -1"),
        ({"wave_array_count": 2**31 - 1}, "wave_array_1 = 2000"),
        ({"user_text": -4}, "user_text = -4 is below 0"),
        ({"user_text": 2**31 - 1}, "its parts say"),
        ({"res_array3": 5}, "its parts say"),
        ({"wave_descriptor": 12}, "wave_descriptor = 12"),
        ({"vertical_gain": float("nan")}, "vertical_gain = nan"),
        ({"horiz_interval": 0.0}, "horiz_interval = 0"),
        ({"horiz_offset": float("inf")}, "horiz_offset = inf"),
        ({"subarray_count": 3}, "subarray_count = 3 does not divide 1000"),
        ({"subarray_count": 0}, "subarray_count = 0"),
        ({"last_valid_pnt": 1000}, "last_valid_pnt 1000"),
        ({"first_valid_pnt": -1}, "first_valid_pnt -1"),
        ({"sparsing_factor": -1}, "sparsing_factor"),
        ({"first_point": -1}, "first_point"),
        ({"trigtime_array": 8}, "trigtime_array = 8"),
        ({"trigtime_array": 64}, "trigtime_array has 4 pairs"),
        ({"ris_time_array": 24, "ris_sweeps": 4}, "ris_time_array = 24 bytes"),
        ({"comm_type": 2}, "comm_type = 2"),
        ({"template_name": "LECROY_2_2"}, "template_name = 'LECROY_2_2'"),
        ({"descriptor_name": "WAVE"}, "descriptor_name = 'WAVE'"),
        ({"trigger_time": (1.0, 2, 3, 31, 2, 2026, 0)}, "trigger_time"),
        ({"trigger_time": (1.0, 60, 3, 3, 2, 2026, 0)}, "trigger_time"),
    ],
)
def test_what_contradicts_itself_is_refused_by_the_name_of_the_field(fields, said):
    with pytest.raises(ProtocolError) as error:
        decode(trace(**fields))
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no '#'"),
        (b"WARNING : CURRENT REMOTE CONTROL INTERFACE IS TCPIP\n", "no '#'"),
        (b"#0abc", "not by a number of digits"),
        (b"#9", "its length is b''"),
        (b"#900000x000", "its length is"),
        (b"#9000000010WAVE", "cut short, 4 of 10 bytes"),
        (b"#9000000004WAVE", "too few for WAVEDESC"),
        (trace()[:-1], "cut short, 2345 of 2346"),
        (trace() + b"more", "4 bytes follow"),
        (trace()[:45] + b"\x07\x07" + trace()[47:], "comm_order = 07 07"),
    ],
)
def test_what_is_no_block_is_refused(data, said):
    with pytest.raises(ProtocolError) as error:
        decode(data)
    assert said in str(error.value)


def test_a_sequence_with_times_that_are_no_numbers_is_refused():
    data = bytearray(trace(100, 4))
    data[11 + SIZE : 11 + SIZE + 8] = struct.pack("<d", float("nan"))
    with pytest.raises(ProtocolError, match="trigtime_array"):
        decode(data)


def test_the_descriptor_alone():
    descriptor = read_descriptor(b"C1:WF DESC,#9000000346" + trace()[11 : 11 + SIZE] + b"\n")
    assert descriptor.wave_array_count == 1000


def test_a_field_that_does_not_fit_is_refused_when_writing():
    with pytest.raises(ValueError, match="ris_sweeps = 100000"):
        Descriptor(ris_sweeps=100000).pack()


@given(st.lists(st.tuples(st.integers(0, 11 + SIZE + 63), st.integers(0, 255)), max_size=6), st.integers(0, 2000))
def test_fuzzed_blocks_end_in_a_waveform_or_a_refusal(changes, length):
    data = bytearray(trace(50, 4))
    for at, byte in changes:
        data[at] = byte
    try:
        waveform = decode(data[:length] if length < len(data) else data)
    except ProtocolError:
        return
    assert isinstance(waveform, Waveform)
    with np.errstate(all="ignore"):
        assert waveform.volts().shape == waveform.codes.shape
    assert waveform.times().shape == (waveform.points,)


@given(st.binary(max_size=500))
def test_garbage_ends_in_a_refusal(data):
    with pytest.raises(ProtocolError):
        decode(data)
