"""Our encoding against caproto's, all kinds of PV in all DBR types. Where they differ the reason stands beside it."""

import asyncio
import math
import struct

import caproto as ca
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iocs.ca import EPICS_EPOCH, NS
from iocs.ca.server import encoding
from iocs.ca.server.encoding import Form
from iocs.ca.server.pv import Pv
from iocs.signals import STR_BYTES, TEXT_BYTES, Alarms, Direction, Kind, Signal

TIME_NS = 1_790_000_000_123_456_789
LIMITS = {"upper_disp_limit": 100, "lower_disp_limit": -100, "upper_alarm_limit": 90, "upper_warning_limit": 80}
LIMITS |= {"lower_warning_limit": -80, "lower_alarm_limit": -90, "upper_ctrl_limit": 100, "lower_ctrl_limit": -100}
WIDE = {f"{side}_{kind}_limit": sign * 1e6 for side, sign in (("upper", 1), ("lower", -1)) for kind in ("disp", "ctrl")}
NUMBER = {"direction": Direction.SETPOINT, "unit": "mm", "limits": (-100, 100), "alarms": Alarms(-90, -80, 80, 90)}
FLOAT = {**NUMBER, "precision": 2}
THEIR_INT = {"units": "mm", **LIMITS}
THEIR_FLOAT = {"precision": 2, **THEIR_INT}
STATES = ("Off", "On", "Trip")

CASES = {
    "float": (Signal("A", **FLOAT), 12.25, lambda: ca.ChannelDouble(value=12.25, **THEIR_FLOAT)),
    "wide": (
        Signal("A", **{**FLOAT, "limits": (-1e6, 1e6)}),
        1e6,
        lambda: ca.ChannelDouble(value=1e6, **{**THEIR_FLOAT, **WIDE}),
    ),
    "array": (
        Signal("A", count=4, **FLOAT),
        [1.0, 2.5, 3.0],
        lambda: ca.ChannelDouble(value=[1.0, 2.5, 3.0], max_length=4, **THEIR_FLOAT),
    ),
    "ndarray": (
        Signal("A", count=4, **FLOAT),
        np.array([1.0, 2.5, 3.0]),
        lambda: ca.ChannelDouble(value=[1.0, 2.5, 3.0], max_length=4, **THEIR_FLOAT),
    ),
    "int": (Signal("A", kind=Kind.INT, **NUMBER), 42, lambda: ca.ChannelInteger(value=42, **THEIR_INT)),
    "enum": (Signal("A", kind=Kind.ENUM, states=STATES), 1, lambda: ca.ChannelEnum(value="On", enum_strings=STATES)),
    "str": (Signal("A", kind=Kind.STR), "17", lambda: ca.ChannelString(value="17")),
    "text": (Signal("A", kind=Kind.TEXT), "hello", lambda: ca.ChannelByte(value=b"hello", max_length=100)),
}
STRINGS = (0, 7, 14, 21, 28)
INTS, CHARS, ENUMS = (1, 8, 15, 22, 29), (4, 11, 18, 25, 32), (3, 10, 17, 24, 31)

DIFFERENT: dict[str, tuple[str, ...]] = {}
for _names, _types, _reason in (
    (CASES, (28,), "caproto lays CTRL_STRING out as TIME_STRING; db_access.h says as STS_STRING"),
    (("wide", "array", "ndarray"), STRINGS, "caproto's strings of floats do not follow PREC"),
    (("float", "array", "ndarray", "int"), (25, 32), "limits that the type cannot hold: caproto's wrap, ours stop"),
    (("wide",), INTS + CHARS + ENUMS, "values that the type cannot hold: caproto's wrap, ours stop"),
    (("text",), STRINGS, "caproto gives one string a character"),
    (("str",), ENUMS, "caproto cannot convert text to a state's number"),
):
    for _name in _names:
        for _type in _types:
            DIFFERENT[f"{_name} {_type}"] = (*DIFFERENT.get(f"{_name} {_type}", ()), _reason)


async def theirs(channel, dtype: int) -> bytes | None:
    channel._data["timestamp"] = ca.TimeStamp(TIME_NS // NS - EPICS_EPOCH, TIME_NS % NS)
    try:
        metadata, values = await channel.read(ca.ChannelType(dtype))
        count = len(values)
        reply = ca.ReadNotifyResponse(values, ca.ChannelType(dtype), count, 1, 1, metadata=metadata)
    except ca.CaprotoConversionError:
        return None
    return bytes(reply)[16:]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", range(35))
def test_like_caproto_or_for_a_reason_not(name, dtype):
    signal, value, channel = CASES[name]
    pv = Pv("X", signal)
    pv.post(value, TIME_NS)
    pv.severity = pv.status = 0
    ours = bytes(encoding.encode(pv, Form(dtype, 0))[1])
    same = ours == asyncio.run(theirs(channel(), dtype))
    assert same != (f"{name} {dtype}" in DIFFERENT), DIFFERENT.get(f"{name} {dtype}")


def served(value, **options) -> Pv:
    pv = Pv("X", Signal("A", **options))
    pv.post(value, TIME_NS)
    return pv


def test_a_fixed_count_is_cut_or_filled_with_zeros():
    for value in ([1.0, 2.0, 3.0], np.array([1.0, 2.0, 3.0])):
        pv = served(value, count=5)
        for count, expected in ((0, (1, 2, 3)), (2, (1, 2)), (5, (1, 2, 3, 0, 0))):
            length, body = encoding.encode(pv, Form(6, count))
            assert length == len(expected) and struct.unpack(f">{length}d", body) == expected


def test_a_big_array_is_big_endian_in_any_type():
    values = np.linspace(-1e300, 1e300, 1001)
    values[3] = np.nan
    pv = served(values, count=1001)
    length, body = encoding.encode(pv, Form(6, 0))
    assert length == 1001 and np.array_equal(np.frombuffer(body, ">f8"), values, equal_nan=True)
    floats = np.frombuffer(encoding.encode(pv, Form(2, 0))[1], ">f4")[:1001]
    assert np.isfinite(floats[[0, -1]]).all() and np.isnan(floats[3])
    assert list(np.frombuffer(encoding.encode(pv, Form(5, 0))[1], ">i4")[[0, 3, 1000]]) == [-(2**31), 0, 2**31 - 1]
    part = encoding.encode(pv, Form(6, 0, part=(998, None, 2)))
    assert part[0] == 2 and np.array_equal(np.frombuffer(part[1], ">f8"), values[998::2])


@given(st.floats(), st.integers(0, 34), st.integers(0, 15))
def test_any_float_in_any_type(value, dtype, precision):
    length, body = encoding.encode(served(value, precision=precision), Form(dtype, 0))
    assert length == 1 and len(body) % 8 == 0
    if dtype == 6:
        assert struct.unpack(">d", body)[0] == value or math.isnan(value)


@given(st.text(), st.integers(0, 34), st.sampled_from((Kind.STR, Kind.TEXT)), st.booleans())
def test_any_text_in_any_type(value, dtype, kind, long):
    try:
        length, body = encoding.encode(served(value, kind=kind), Form(dtype, 0, long))
    except (ValueError, OverflowError):
        assert kind is Kind.STR and dtype % 7 != 0 and not long
        return
    assert length >= 1 and len(body) % 8 == 0


def test_long_text_and_umlauts_are_cut_between_characters():
    pv = served("ü" * 60, kind=Kind.STR)
    assert encoding.encode(pv, Form(0, 0))[1].rstrip(b"\0").decode() == "ü" * 19
    length, body = encoding.encode(pv, Form(4, 0, long=True))
    assert body[:length].decode() == "ü" * 60 + "\0"


@pytest.mark.parametrize(("kind", "most"), [(Kind.STR, STR_BYTES), (Kind.TEXT, TEXT_BYTES)])
def test_no_more_characters_are_given_than_the_client_was_told(kind, most):
    for value in ("x" * 2 * most, "ü" * most):
        length, body = encoding.encode(served(value, kind=kind), Form(4, 0, long=True))
        assert most - 2 < length <= most and body[length - 1 : length] == b"\0"
        assert value.startswith(body[: length - 1].decode())


@given(st.integers(0, 6), st.integers(0, 200), st.binary(max_size=400))
def test_what_is_put_is_decoded_or_refused(native, count, body):
    try:
        values = encoding.decode(native, count, body)
    except ValueError:
        assert len(body) < count * encoding.SIZES[native]
    else:
        assert len(values) == count
