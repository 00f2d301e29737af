"""What viewers are told: numbers for PVs, the newest of each, the last hour in short."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from archiver.serve.board import BIN, BINS, Board, Spark, thinned, watched
from iocs.signals import Catalogue, Kind, Reading, Severity, Signal, Status, readback

T = 1_795_000_020  # a multiple of 30
SIGNALS = (
    readback("V", "V"),
    readback("ERROR", type=str),
    readback("WF", "V", count=100),
    readback("PVS", type=Kind.TEXT),
)


def board(*signals: Signal) -> Board:
    it = Board()
    it.learn("HV", Catalogue("HV", "hv", "LAB:HV:", 1, False, signals or SIGNALS))
    return it


def reading(value, second=T, severity=Severity.NO_ALARM, status=Status.NO_ALARM, connected=True) -> Reading:
    return Reading(value, second * 10**9, severity, status, connected, False)


def test_arrays_and_the_catalogue_itself_are_not_watched_and_texts_are_whole() -> None:
    assert watched(board().devices["HV"]) == {"LAB:HV:V": "LAB:HV:V", "LAB:HV:ERROR": "LAB:HV:ERROR.VAL$"}
    assert [signal["name"] for signal in board().device("HV")["signals"]] == ["V", "ERROR", "WF"]


def test_changes_are_told_once_and_each_pv_by_its_newest() -> None:
    it = board()
    it.take("LAB:HV:V", SIGNALS[0], reading(1.0))
    it.take("LAB:HV:V", SIGNALS[0], reading(2.0000000001, status=Status.HIGH, severity=Severity.MINOR))
    it.take("LAB:HV:ERROR", SIGNALS[1], reading("x" * 5000))
    told = {change[0]: change for change in it.changes()}
    assert told[0] == [0, 2.0, 1, "HIGH", T * 1000] and len(told[1][1]) == 2000
    assert it.changes() == [] and len(it.everything()) == 2
    it.take("LAB:HV:V", SIGNALS[0], reading(float("nan"), connected=False))
    assert it.changes() == [[0, None, 4, "", T * 1000]]
    json.dumps(it.everything(), allow_nan=False)


def test_a_pv_keeps_its_number_when_the_catalogue_changes_and_one_that_is_gone_is_told_no_more() -> None:
    it = board()
    for pv, signal in (("LAB:HV:V", SIGNALS[0]), ("LAB:HV:ERROR", SIGNALS[1])):
        it.take(pv, signal, reading(0.0 if signal.kind is Kind.FLOAT else ""))
    it.learn("HV", Catalogue("HV", "hv", "LAB:HV:", 2, False, (readback("NEW"), SIGNALS[0])))
    assert [(signal["name"], signal["id"]) for signal in it.device("HV")["signals"]] == [("NEW", 3), ("V", 0)]
    assert [each[0] for each in it.everything()] == [0] == [each[0] for each in it.changes()]


def test_a_sparkline_has_lows_highs_and_gaps() -> None:
    spark = Spark()
    for second, value in ((0, 1.0), (10, 3.0), (20, 2.0), (30, 5.0), (40, None), (41, None), (100, 4.0), (99, 6.0)):
        spark.add(T + second, value)
    assert spark.since(T) == [[T, 1.0, 3.0], [T + 30, 5.0, 5.0], [T + 30, None], [T + 90, 4.0, 6.0]]
    assert spark.since(T + 60) == [[T + 30, None], [T + 90, 4.0, 6.0]]  # with what held then
    earlier = Spark()
    for second in (-60, -30, 0, 30):
        earlier.add(T + second, 9.0)
    spark.begin_with(earlier)
    assert [point[:2] for point in spark.since(0)[:3]] == [[T - 60, 9.0], [T - 30, 9.0], [T, 1.0]]


def test_a_sparkline_is_bounded() -> None:
    spark = Spark()
    for n in range(10 * BINS):
        spark.add(T + n * BIN, float(n))
    assert len(spark.since(0)) == 2 * BINS and spark.since(0)[-1] == [T + (10 * BINS - 1) * BIN, 1199.0, 1199.0]


@given(st.lists(st.floats(-1e9, 1e9), max_size=400), st.integers(4, 50))
def test_a_thinned_curve_keeps_its_lows_and_highs_and_its_order(values, most) -> None:
    y = np.array(values, float)
    x, thin = thinned(np.arange(len(y)), y, most)
    assert len(x) == len(thin) <= max(most, 2) + 2 and x == sorted(x)
    if values:
        short = [float(f"{value:.9g}") for value in values]
        assert (min(thin), max(thin)) == (min(short), max(short))


def test_a_curve_leaves_out_what_is_no_number() -> None:
    assert thinned(np.array([0.0, 1.0, 2.0]), np.array([1.0, np.nan]), 10) == ([0.0], [1.0])
