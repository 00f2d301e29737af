"""The rules of section "CSV": header, times and values, against Decimal."""

import csv
import io
import math
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from archiver.sinks.csv_text import RowText, Timer, header_text, time_text, value_text
from iocs.signals import Kind, Signal

T = 1_790_000_000_123_456_789


def nearest(value: float, digits: int) -> Decimal:
    """Round as the rule says: `digits` significant digits or zero decimals, whichever is more precise."""
    exact = Decimal(value)
    with localcontext() as context:
        context.prec = 2000
        place = min(0, exact.adjusted() - digits + 1) if exact else 0
        return exact.quantize(Decimal(1).scaleb(place), ROUND_HALF_EVEN)


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(1, 17))
@example(125340.712, 7)
@example(123456789.5, 7)
@example(-2.356194, 7)
@example(-0.04, 7)
@example(-1.234e-6, 7)
@example(9999999.5, 7)
@example(999999.95, 7)
@example(1e-30, 7)
@example(1e30, 7)
@example(-9.5, 1)
@example(5e-324, 17)
@example(1.7976931348623157e308, 1)
def test_values_are_rounded_to_nearest_and_never_in_exponent_form(value: float, digits: int) -> None:
    text = value_text(value, digits)
    assert set(text) <= set("-.0123456789")
    assert Decimal(text) == nearest(value, digits)
    assert RowText([Signal("X")], value_digits=digits, time_format="ns").encode(7, [value]).decode() == f"7,{text}\n"


@given(st.floats(allow_infinity=False, allow_nan=False))
@example(1e22)
@example(5e-324)
@example(-0.0)
@example(1e16)
def test_repr_reads_back_bit_for_bit(value: float) -> None:
    line = RowText([Signal("X"), Signal("Y")], value_digits="repr").encode(T, [value, 1.5]).decode()
    (cells,) = csv.reader(io.StringIO(line))
    assert cells[2] == "1.5" and "e" not in cells[1]
    assert float(cells[1]).hex() == value.hex()


def test_values_by_example() -> None:
    table = {
        125340.712: "125340.7",
        123456789.5: "123456790",
        -2.356194490192345: "-2.356194",
        -1.5707963267948966: "-1.570796",
        -0.04: "-0.04",
        -1.234e-6: "-0.000001234",
        0.309444: "0.309444",
        1e-30: "0." + "0" * 29 + "1",
        1e30: "1000000000000000019884624838656",
        50.0: "50",
        0.0: "0",
        math.nan: "",
        math.inf: "inf",
        -math.inf: "-inf",
    }
    assert {value: value_text(value) for value in table} == table


def test_integers_and_enums_are_never_cut() -> None:
    signals = [Signal("STAT", kind=Kind.INT), Signal("SYNC", kind=Kind.ENUM, states=("YES", "NO")), Signal("F")]
    for digits in (3, 7, "repr"):
        text = RowText(signals, value_digits=digits, time_format="ns")
        assert text.encode(1, [4294967295.0, 1.0, 2.5]) == b"1,4294967295,1,2.5\n"
        assert text.encode(1, [-123456789012.0, 0.0, 1.25]) == b"1,-123456789012,0,1.25\n"
        assert text.encode(1, [math.nan, math.nan, math.nan]) == b"1,,,\n"


@given(st.integers(0, 2**62), st.integers(10, 19))
@example(1_699_999_999_999_600_000, 13)
@example(T, 13)
@example(999_999_999_999_999_999, 10)
def test_seconds_are_rounded_from_the_integer(time_ns: int, digits: int) -> None:
    exact = Decimal(time_ns) / 1_000_000_000
    decimals = min(max(digits - len(str(time_ns // 1_000_000_000)), 0), 9)
    text = time_text(time_ns, "seconds", digits)
    assert text == f"{exact.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_EVEN):f}"


def test_times_by_example() -> None:
    assert time_text(T) == "1790000000.123"
    assert time_text(T, "seconds", 16) == "1790000000.123457"
    assert time_text(T, "seconds", 19) == "1790000000.123456789"
    assert time_text(T, "seconds", 10) == "1790000000"
    assert time_text(T + 400_000_000, "seconds", 10) == "1790000001"
    assert time_text(T, "ns") == "1790000000123456789"
    assert time_text(T, "iso") == "2026-09-21T14:13:20.123456789Z"
    assert time_text(0) == "0.000000000"


def test_the_header_has_names_and_units_and_is_quoted_where_it_must_be() -> None:
    signals = [Signal("VA:MAG", unit="V"), Signal("STAT", kind=Kind.INT), Signal("Q", unit='l, "norm"\n/min')]
    header = header_text(signals)
    assert header == 'time,VA:MAG (V),STAT,"Q (l, ""norm"" /min)"\n'
    assert next(csv.reader(io.StringIO(header))) == ["time", "VA:MAG (V)", "STAT", 'Q (l, "norm" /min)']


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="2 values for 1 columns"):
        RowText([Signal("X")]).encode(T, [1.0, 2.0])


def same(one: RowText, other: RowText) -> bool:
    return (one.header, one.kinds) == (other.header, other.kinds)


def test_columns_are_the_same_by_name_unit_and_kind() -> None:
    text = RowText([Signal("X", unit="V")])
    assert same(text, RowText([Signal("X", unit="V", doc="other words")]))
    assert not same(text, RowText([Signal("X", unit="A")]))
    assert not same(text, RowText([Signal("X", unit="V", kind=Kind.INT)]))


@given(
    st.lists(st.integers(0, 4 * 10**18), min_size=1),
    st.sampled_from(["seconds", "iso", "ns"]),
    st.integers(10, 19),
)
def test_many_times_are_written_as_each_alone(times, form, digits) -> None:
    timer = Timer(form, digits)
    for time_ns in [*times, T, T + 1, T - T % 10**9 + 999_999_999]:
        assert timer.text(time_ns) == time_text(time_ns, form, digits)
