"""What the PVs of one channel say for what was read of it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iocs.hv.channel import ChannelState
from iocs.hv.expect import compare
from iocs.hv.shape import from_plain
from iocs.hv.status import BIT, in_words, severity, worst
from iocs.hv.unit import board_values, identity_values
from iocs.signals import Bad, Severity, Status, typed
from tests.unit.test_hv_settings import SPANS, settings, shape, signals

ON, UNV, RUP, RDW, TRIP = (BIT[name] for name in ("ON", "UNV", "RUP", "RDW", "TRIP"))
READ = {
    "VSET": 1000.0,
    "ISET": 50.0,
    "MAXV": 8100.0,
    "RUP": 50.0,
    "RDW": 100.0,
    "TRIP": 1.0,
    "PDWN": "RAMP",
    "IMRANGE": "HIGH",
    "POL": "-",
}
S = 1_000_000_000


def channel(*, read=READ, saved=None, **keys):
    table = settings(**keys)
    state = ChannelState(table, table.table(0, 0), "CH0:", saved or {})
    state.spans = SPANS
    state.site = {name: (span.low, span.high) for name, span in SPANS.items()}
    state.take_settings(read, 0.0)
    return state


def take(state, time, stat=ON, vmon=1000.0, imon=5.0):
    told, tripped = state.take(time, round(time * S), stat, vmon, imon)
    return {name.removeprefix("CH0:"): value for name, value in told.items()}, tripped


def test_a_steady_channel():
    told, tripped = take(channel(), 100.0)
    assert not tripped and told["STATUS"] == "on" and told["STAT"] == ON and told["VMON"] == 1000.0
    assert (told["ATTARGET"], told["RAMPING"], told["RAMPETA"], told["LIVE"]) == (True, False, 0.0, True)
    assert told["IMONH"] == told["IMON"] == 5.0 and told["IMONL"] == Bad("the range is HIGH")
    assert (told["VSET"], told["ISET"], told["ON_RBV"], told["ON"]) == (1000.0, 50.0, 1, 1)


@pytest.mark.parametrize(
    ("stat", "vmon", "eta"), [(ON | RUP, 250.0, 15.0), (ON | RDW, 1500.0, 5.0), (RDW, 500.0, 5.0), (ON, 1000.0, 0.0)]
)
def test_how_long_a_ramp_takes(stat, vmon, eta):
    assert take(channel(), 1.0, stat, vmon)[0]["RAMPETA"] == eta


def test_live_is_on_or_any_voltage_that_is_left():
    state = channel()
    assert take(state, 1.0, 0, 31.0)[0]["LIVE"] is True and take(state, 2.0, 0, 30.0)[0]["LIVE"] is False
    assert take(state, 3.0, ON, 0.0)[0]["LIVE"] is True
    assert take(channel(live_above=100.0), 1.0, 0, 99.0)[0]["LIVE"] is False


def test_what_is_not_read_is_never_0():
    bad = Bad("lost")
    told, _ = take(channel(), 1.0, bad, bad, bad)
    for name in ("STAT", "STAT:ON", "STATUS", "RAMPING", "ATTARGET", "RAMPETA", "LIVE", "VMON", "IMON", "ON_RBV"):
        assert isinstance(told[name], Bad) and told[name].severity is Severity.INVALID and told[name].value is None, (
            name
        )
    told, _ = take(channel(read={}), 1.0)
    for name in ("VSET", "ISET", "IMONH", "IMONL", "ATTARGET", "RAMPETA"):
        assert isinstance(told[name], Bad) and told[name].value is None, name
    assert isinstance(take(channel(), 1.0, 1 << 15)[0]["STAT"], Bad)
    told, _ = take(channel(), 1.0, 0, Bad("lost"))
    assert isinstance(told["LIVE"], Bad), "off, and who knows what is left of the voltage"


def test_a_voltage_far_from_its_setpoint_alarms_once_settled():
    state = channel(settle=5.0)
    take(state, 1.0, ON | RUP, 990.0)
    assert take(state, 5.9, ON, 990.0)[0]["VMON"] == 990.0
    told = take(state, 6.1, ON, 990.0)[0]
    assert (told["VMON"].value, told["VMON"].severity, told["VMON"].status) == (990.0, Severity.MINOR, Status.LOW)
    assert told["ATTARGET"] is False and take(state, 6.2, ON, 1006.0)[0]["VMON"].status is Status.HIGH
    state.confirmed("VSET", 990.0, 7.0)
    assert take(state, 7.1, ON, 1006.0)[0]["VMON"] == 1006.0
    assert take(state, 100.0, 0, 700.0)[0]["VMON"] == 700.0, "off: it is where it is"


def test_the_setpoint_is_what_was_asked_until_the_panel_changes_it():
    state = channel(read={})
    assert take(state, 1.0)[0]["VSET"].status is Status.UDF
    assert state.take_settings({"VSET": 100.0}, 2.0) == {"CH0:VSET": 100.0, "CH0:VSET_RBV": 100.0}
    state.confirmed("VSET", 200.0, 3.0)
    assert state.take_settings({"VSET": 200.0}, 4.0)["CH0:VSET"] == 200.0
    assert state.take_settings({"VSET": 150.0}, 5.0)["CH0:VSET"] == 150.0
    told = state.take_settings({"VSET": Bad("lost")}, 6.0)
    assert isinstance(told["CH0:VSET_RBV"], Bad) and "CH0:VSET" not in told


def test_full_scale_of_the_current():
    assert take(channel(), 1.0, imon=2999.9)[0]["IMON"] == 2999.9
    full = take(channel(), 1.0, imon=3000.0)[0]["IMON"]
    assert (full.value, full.severity, full.status) == (3000.0, Severity.MINOR, Status.HIGH)
    low = READ | {"IMRANGE": "LOW"}
    assert take(channel(read=low), 1.0, imon=3000.0)[0]["IMON"] == 3000.0, "the scale of LOW is not told"
    told = take(channel(read=low, low_full_scale=300.0), 1.0, imon=300.0)[0]
    assert told["IMONL"] == 300.0 and told["IMON"].value == 300.0 and told["IMONH"] == Bad("the range is LOW")


def test_what_must_outlast_a_restart():
    state = channel()
    state.set_soft("VSET", 500.0)
    take(state, 1.0, TRIP)
    again = channel(saved=state.plain())
    assert again.soft("VSET") == 500.0 and again.known.tripped.startswith("TRIP flag")
    again.site = {"VSET": (0.0, 300.0)}
    assert again.soft("VSET") == 300.0, "the site file has been narrowed since"
    assert again.soft("ISET") == 0.0, "nothing is allowed that nobody allows"


def test_words_and_severities():
    assert in_words(0, 0.0).text == "off" and in_words(ON, 0.0).text == "on, live at zero"
    assert in_words(ON | RUP | UNV, 5.0).severity is Severity.NO_ALARM
    assert in_words(ON | UNV, 5.0).severity is Severity.MINOR
    dis = in_words(BIT["DIS"], 5.0)
    assert dis.severity is Severity.MINOR and "VSET is 5 V: it would ramp up" in dis.text
    assert in_words(BIT["DIS"], 0.0).severity is Severity.NO_ALARM and in_words(BIT["DIS"], math.nan).severity == 0
    assert in_words(0, 0.0, "collapse").text == "TRIPPED (collapse), off"


@given(st.integers(0, 0x3FFF))
def test_a_word_is_as_bad_as_its_worst_bit(word):
    from drivers.caen_hv.parameters import STAT

    assert worst(word) == max(severity(bit, word) for bit in STAT) <= Severity.MAJOR
    assert (worst(word) is Severity.MAJOR) == any(word & BIT[n] for n in ("TRIP", "OVP", "OVT", "KILL", "ILK", "NOCAL"))


NUMBER = st.one_of(st.floats(0, 9000), st.just(Bad("lost")))


@given(
    st.lists(st.tuples(st.one_of(st.integers(0, 0x7FFF), st.just(Bad("lost"))), NUMBER, NUMBER), max_size=20),
    st.dictionaries(st.sampled_from(sorted(READ)), st.just(Bad("lost"))),
)
def test_whatever_is_read_every_value_is_of_its_signals_kind(readings, lost):
    state = channel(read=READ | lost)
    known = signals(settings(), shape())
    for time, (stat, vmon, imon) in enumerate(readings, 1):
        told, _ = state.take(float(time), time * S, stat, vmon, imon)
        told |= state.take_settings(READ | lost, float(time)) | state.own()
        for name, value in told.items():
            value = value.value if isinstance(value, Bad) else value
            if value is not None and known[name].count == 1:
                typed(known[name], value)


def test_values_of_a_board():
    assert board_values("", 4, {"BDCTR": "LOCAL", "BDILK": "YES", "BDILKM": "CLOSED"}) == {
        "CTRLMODE": 0,
        "INTERLOCK": 1,
        "ILKMODE": 1,
    }
    told = board_values("B1:", 4, {"BDALARM": 0b10010})
    assert (told["B1:ALARM:CH1"], told["B1:ALARM:CH0"], told["B1:ALARM:PWFAIL"]) == (1, 0, 1)
    assert (told["B1:ALARM"].value, told["B1:ALARM"].severity) == (18, Severity.MAJOR)
    assert board_values("", 4, {"BDALARM": 1})["ALARM"].severity is Severity.MINOR
    assert board_values("", 8, {"BDALARM": 1}) == {"ALARM": Bad("BIT0", 1, Severity.MAJOR, Status.STATE)}
    assert set(board_values("", 4, {"BDALARM": Bad("lost")}).values()) == {Bad("lost")}


def test_another_unit_than_before_is_in_alarm():
    (board,) = from_plain(shape())
    assert identity_values("", board, board)["SERIAL"] == identity_values("", board, None)["SERIAL"] == "174"
    (other,) = from_plain({"boards": [{**shape()["boards"][0], "serial": "9"}]})
    told = identity_values("", other, board)
    assert told["SERIAL"] == Bad("was 174", "9", Severity.MINOR, Status.STATE) and told["FIRMWARE"] == "1.08"


def test_what_check_online_compares():
    table = settings(channel={"0": {"expect": {"MAXV": 8100.4, "RUP": 51}, "polarity": "+"}, "9": {}})
    (board,) = from_plain(shape())
    read = {name: (value,) * 4 for name, value in READ.items()}
    found = {finding.text: finding.good for finding in compare(table, board, read)}
    assert found["[device.channel.9]: the unit has channels 0 to 3"] is False
    assert found["CH0:RUP is 50 V/s, expected 51 V/s"] is False and found["CH0:POL is -, expected +"] is False
    assert found["CH0:MAXV is 8100 V, as expected"] is True, "it has no decimals"
