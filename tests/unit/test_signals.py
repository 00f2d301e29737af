import json
import math
import string
from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iocs.signals import (
    HEAD_LENGTH,
    NAME_LENGTH,
    SIGNAL_LENGTH,
    Alarms,
    Archive,
    Catalogue,
    Direction,
    Kind,
    Level,
    Refused,
    Severity,
    Signal,
    Status,
    acceptable,
    check_name,
    command,
    legal_name,
    limit_alarm,
    narrowed,
    readback,
    rows,
    setpoint,
    typed,
    unique_names,
)

# names


@given(st.text(), st.integers(1, 40))
def test_legal_name_is_legal_whatever_the_box_calls_its_channel(text, length):
    name = legal_name(text, "CH1", length)
    check_name(name)
    assert name == "CH1" or (len(name) <= length and set(name) <= set(string.ascii_uppercase + string.digits + "_"))


@pytest.mark.parametrize(
    ("text", "name"),
    [("VA:Ambridge Farm ", "VA_AMBRIDGE_FARM"), ("  ", "X"), ("µ°", "X"), ("a__b", "A_B"), ("_1", "1")],
)
def test_legal_name_examples(text, name):
    assert legal_name(text, "X") == name


@given(st.lists(st.sampled_from(["A", "A_2", "A_3", "B", "STAT"])), st.sets(st.sampled_from(["A", "B_2", "STAT"])))
def test_unique_names_are_unique_keep_their_order_and_their_word(wanted, taken):
    names = unique_names(wanted, taken)
    assert len(names) == len(wanted) == len(set(names)) and not set(names) & taken
    assert all(name.startswith(word) for name, word in zip(names, wanted, strict=True))
    if len(set(wanted)) == len(wanted) and not set(wanted) & taken:
        assert names == wanted


@pytest.mark.parametrize("name", ["", "a", "A B", "A.VAL", ":A", "A:", "A::B", "Ä", "A\n", "A" * 61])
def test_names_that_break_the_rule_are_refused(name):
    with pytest.raises(ValueError, match="PV name"):
        check_name(name)


def test_head_and_signal_together_fill_sixty_characters():
    assert HEAD_LENGTH + SIGNAL_LENGTH == NAME_LENGTH == 60


# declarations


@pytest.mark.parametrize(
    "declare",
    [
        lambda: readback("A" * (SIGNAL_LENGTH + 1)),
        lambda: readback("lower"),
        lambda: readback("A", row="bad row"),
        lambda: Signal("A", kind=Kind.ENUM),
        lambda: Signal("A", states=("On",)),
        lambda: readback("A", type=("On", "On")),
        lambda: readback("A", type=("On", "")),
        lambda: readback("A", type=tuple(f"S{n}" for n in range(17))),
        lambda: readback("A", type=("x" * 26, "B")),
        lambda: readback("A", type=("Off", "On"), state_severities=(Severity.MAJOR,)),
        lambda: readback("A", type=str, row="ROW"),
        lambda: readback("A", count=3, row="ROW"),
        lambda: readback("A", count=0),
        lambda: readback("A", type=str, count=2),
        lambda: setpoint("A", limits=(2, 1)),
        lambda: setpoint("A", limits=(math.nan, 1)),
        lambda: setpoint("A", limits=(0, math.inf)),
        lambda: setpoint("A", type=str, limits=(0, 1)),
        lambda: readback("A", type=("Off", "On"), alarms=Alarms(high=1)),
    ],
)
def test_a_declaration_that_could_not_be_served_is_refused(declare):
    with pytest.raises(ValueError):
        declare()


def test_declarations_say_what_they_look_like():
    class Mode(Enum):
        OFF = "o"
        ON = "n"

    assert readback("A", "V") == Signal("A", Direction.READBACK, Kind.FLOAT, "V")
    assert setpoint("A", type=Mode).states == ("OFF", "ON")
    assert setpoint("A", type=int).kind is Kind.INT and readback("A", type=Kind.TEXT).kind is Kind.TEXT
    assert command("GO").states == ("Idle", "Do")
    assert [s.writable for s in (readback("A"), setpoint("A"), command("A"))] == [False, True, True]


@pytest.mark.parametrize(
    "limits",
    [
        {"low": 2, "high": 1},
        {"lolo": 3, "hihi": 1},
        {"high": 5, "hihi": 4},
        {"hysteresis": -1},
        {"high": math.nan},
        {"hihi": math.inf},
        {"hysteresis": math.nan},
    ],
)
def test_alarm_limits_that_make_no_sense_are_refused(limits):
    with pytest.raises(ValueError):
        Alarms(**limits)


def test_rows_gather_their_columns_in_order_and_refuse_what_cannot_be_told_apart():
    a, b, c = readback("A", row="ROW"), readback("B"), readback("C", row="ROW")
    assert [(row.name, row.signals) for row in rows([a, b, c])] == [("ROW", (a, c))]
    with pytest.raises(ValueError, match="declared twice"):
        rows([a, a])
    with pytest.raises(ValueError, match="row and of a signal"):
        rows([a, readback("ROW")])
    with pytest.raises(ValueError, match="columns"):
        rows([readback(f"S{n}", row="ROW") for n in range(4093)])


# limit alarms


class Record:
    """The alarm check of an EPICS ai record (EPICS Base, aiRecord.c), as the independent witness."""

    def __init__(self, alarms):
        self.limits, self.lalm = alarms, None

    def process(self, value):
        limits, hysteresis = self.limits, self.limits.hysteresis
        for stat, sevr, level, beyond in (
            ("HIHI", 2, limits.hihi, lambda v, limit: v >= limit),
            ("LOLO", 2, limits.lolo, lambda v, limit: v <= limit),
            ("HIGH", 1, limits.high, lambda v, limit: v >= limit),
            ("LOW", 1, limits.low, lambda v, limit: v <= limit),
        ):
            if level is None:
                continue
            back = level - hysteresis if stat.startswith("HI") else level + hysteresis
            if beyond(value, level) or (self.lalm == level and beyond(value, back)):
                self.lalm = level
                return sevr, stat
        self.lalm = value
        return 0, "NO_ALARM"


quarters = st.integers(-40, 40).map(lambda n: n / 4)


@given(
    st.lists(quarters, min_size=4, max_size=4, unique=True).map(sorted),
    st.lists(st.booleans(), min_size=4, max_size=4),
    st.integers(0, 12).map(lambda n: n / 4),
    st.lists(quarters, max_size=30),
)
def test_limit_alarms_are_those_of_an_epics_record(levels, used, hysteresis, values):
    lolo, low, high, hihi = (level if use else None for level, use in zip(levels, used, strict=True))
    alarms = Alarms(lolo, low, high, hihi, hysteresis)
    record, last = Record(alarms), Status.NO_ALARM
    for value in values:
        if record.lalm is not None and last is Status.NO_ALARM and record.lalm in (lolo, low, high, hihi):
            record.lalm = None  # the record mixes up "was at this value" with "was in this alarm"; we do not
        severity, last = limit_alarm(alarms, value, last)
        assert (severity, last.name) == record.process(value)


def test_no_limits_and_no_number_are_no_limit_alarm():
    assert limit_alarm(None, 1e9) == (Severity.NO_ALARM, Status.NO_ALARM)
    assert limit_alarm(Alarms(high=1), math.nan) == (Severity.NO_ALARM, Status.NO_ALARM)


def test_the_site_file_narrows_and_never_widens():
    vset = setpoint("VSET", "V", limits=(0, 3000))
    assert narrowed(vset, (10, 20), None).limits == (10, 20)
    assert narrowed(vset, None, Alarms(high=5)).alarms == Alarms(high=5)
    assert narrowed(setpoint("A"), (1, 2), None).limits == (1, 2)
    assert narrowed(vset, None, None) is vset
    for limits in ((-1, 10), (0, 3001), (4000, 5000)):
        with pytest.raises(ValueError, match="not within"):
            narrowed(vset, limits, None)
    with pytest.raises(ValueError, match="for numbers"):
        narrowed(setpoint("MODE", type=("A", "B")), (0, 1), None)


# puts

VSET = setpoint("VSET", "V", limits=(0, 3000))
COUNT = setpoint("N", type=int)
MODE = setpoint("MODE", type=("Off", "On", "2"))


@pytest.mark.parametrize(
    ("signal", "value", "wanted"),
    [
        (VSET, 0, 0.0),
        (VSET, 3000, 3000.0),
        (VSET, "12.5", 12.5),
        (COUNT, 7.0, 7),
        (COUNT, -(2**31), -(2**31)),
        (MODE, "On", 1),
        (MODE, 1, 1),
        (MODE, 1.0, 1),
        (MODE, "1", 1),
        (MODE, "2", 2),
        (setpoint("S", type=str), "hello", "hello"),
        (setpoint("A", count=3), [1, 2], [1.0, 2.0]),
        (setpoint("A", count=3, type=int), 4, [4]),
    ],
)
def test_acceptable_values_come_in_the_type_of_the_kind(signal, value, wanted):
    got = acceptable(signal, value)
    assert got == wanted and type(got) is type(wanted)


@pytest.mark.parametrize(
    ("signal", "value", "why"),
    [
        (VSET, math.nan, "nan"),
        (VSET, math.inf, "inf"),
        (VSET, 3000.1, "beyond the limits 0 V .. 3000 V|beyond the limits 0 .. 3000 V"),
        (VSET, -0.1, "beyond"),
        (VSET, 3000.00001, r"3000\.00001 V is beyond"),
        (VSET, "much", "not a number"),
        (VSET, "1_0", "not a number"),
        (MODE, "0_1", "none of the states"),
        (VSET, None, "not a number"),
        (VSET, [1.0, 2.0], "one value"),
        (COUNT, 1.5, "whole number"),
        (COUNT, 2**31, "32 bits"),
        (MODE, "on", "none of the states 0 = Off, 1 = On"),
        (MODE, 3, "none of the states"),
        (MODE, -1, "none of the states"),
        (MODE, 0.5, "none of the states"),
        (MODE, math.nan, "none of the states"),
        (MODE, math.inf, "none of the states"),
        (setpoint("S", type=str), "x" * 501, "500 bytes"),
        (setpoint("A", count=2), [1, 2, 3], "at most 2"),
        (setpoint("A", count=2, limits=(0, 1)), [0, 2], "beyond"),
        (setpoint("A", count=2), [0, math.nan], "nan"),
    ],
)
def test_what_is_not_acceptable_is_refused_with_a_reason(signal, value, why):
    with pytest.raises(Refused, match=why):
        acceptable(signal, value)


def test_posted_values_are_brought_to_their_kind():
    class Mode(Enum):
        Off = "x"
        On = "y"

    assert typed(MODE, Mode.On) == 1 and typed(MODE, True) == 1 and typed(readback("A"), 3) == 3.0
    for signal, value in ((MODE, 5), (MODE, "x"), (COUNT, 2**31), (COUNT, math.inf), (readback("A"), "x")):
        with pytest.raises((ValueError, TypeError, OverflowError)):
            typed(signal, value)


# catalogue

numbers = st.floats(allow_nan=False, allow_infinity=False)
names = st.from_regex(r"\A[A-Z0-9_]{1,12}(:[A-Z0-9_]{1,12})?\Z")


@st.composite
def some_signals(draw):
    kind = draw(st.sampled_from(Kind))
    number = kind in (Kind.FLOAT, Kind.INT)
    states = tuple(draw(st.lists(names, min_size=1, max_size=16, unique=True))) if kind is Kind.ENUM else ()
    severities = tuple(draw(st.sampled_from(Severity)) for _ in states) if draw(st.booleans()) else ()
    levels = sorted(draw(st.lists(numbers, min_size=4, max_size=4)))
    limits = [level if draw(st.booleans()) else None for level in levels]
    return Signal(
        draw(names),
        draw(st.sampled_from(Direction)),
        kind,
        draw(st.text(max_size=8)),
        draw(st.text(max_size=20)),
        draw(st.integers(0, 12)),
        draw(st.integers(1, 5)) if number else 1,
        states,
        severities,
        (levels[0], levels[3]) if number and draw(st.booleans()) else None,
        Alarms(*limits, draw(st.floats(0, 1e9))) if number and draw(st.booleans()) else None,
        draw(st.sampled_from(Archive)),
        draw(st.sampled_from(Level)),
        draw(st.text(max_size=8)),
    )


@given(st.lists(some_signals(), max_size=5), st.integers(0, 10**6), st.booleans())
def test_a_catalogue_survives_json(signals, version, simulated):
    catalogue = Catalogue("PMU", "pmu", "LAB:PMU:", version, simulated, tuple(signals))
    text = catalogue.to_json()
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert Catalogue.from_json(text) == catalogue


def test_keys_of_a_later_version_are_passed_over():
    catalogue = Catalogue("A", "b", "P:A:", 1, False, (readback("X", row="ROW", alarms=Alarms(high=1)),))
    data = json.loads(catalogue.to_json()) | {"colour": "red"}
    data["signals"][0] |= {"colour": "blue"}
    data["signals"][0]["alarms"] |= {"delay": 3}
    assert Catalogue.from_json(json.dumps(data)) == catalogue
    assert Catalogue.from_json(json.dumps(data)).rows[0].signals[0].name == "X"


HEAD = '{"device":"A","kind":"b","prefix":"P:","version":1,"simulated":false,"signals":'
SIGNALS = ("3", "[3]", '["A"]', "[{}]", '[{"name":3}]', '[{"name":"A","limits":[1]}]', '[{"name":"A","kind":"enum"}]')


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "3", '"PVS"', "{}", '{"device":"A"}'),
        *(f"{HEAD}{signals}}}" for signals in SIGNALS),
        HEAD + '[{"name":"A","kind":"colour"}]}',
        HEAD + '[{"name":"A","alarms":[1]}]}',
        HEAD.replace("1", "Infinity") + "[]}",
    ],
)
def test_what_is_no_catalogue_is_refused(text):
    with pytest.raises(ValueError):
        Catalogue.from_json(text)
