"""The table of a high-voltage supply, and the signals that come of it."""

import json

import pytest
from pydantic import ValidationError

from iocs.config import ConfigError, load
from iocs.device import all_signals, idle_names
from iocs.hv import HV
from iocs.hv.settings import HvSettings, kept, name_boards, of_kept
from iocs.hv.shape import BoardShape, Range, from_plain, to_plain
from iocs.signals import Level

BASE = {"name": "HV", "type": "hv", "link": "tcp://10.0.0.5"}
SPANS = {
    "VSET": Range(0, 8000, 1),
    "ISET": Range(0, 3000, 2),
    "MAXV": Range(0, 8100, 0),
    "RUP": Range(1, 500, 0),
    "RDW": Range(1, 500, 0),
    "TRIP": Range(0, 1000, 1),
}


def settings(**keys):
    return HvSettings.model_validate({**BASE, **keys})


def shape(*boards, channels=4, spans=SPANS):
    return to_plain(tuple(BoardShape(b, "R1470ET", "174", "1.08", (spans,) * channels) for b in boards or (0,)))


def signals(table, plain):
    return {signal.name: signal for signal in all_signals(HV, table, plain)}


def test_the_port_may_be_left_out():
    assert settings().link == "tcp://10.0.0.5:1470"


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"boards": []}, "at least 1"),
        ({"boards": [0, 0]}, "an address is there twice"),
        ({"boards": [32]}, "addresses 0 to 31"),
        ({"serials": ["1", "2"]}, "2 for 1 boards; one for each, or none"),
        ({"channel": {"three": {}}}, 'named by number, as 3, or "B1:3" with several boards'),
        ({"channel": {"03": {}}}, "named by number"),
        ({"channel": {"B1:3": {}}}, "boards = [0] has no board 1"),
        ({"boards": [0, 1], "channel": {"3": {}}}, 'of which board? Write "B0:3"'),
        ({"channel": {"3": {}, "B0:3": {}}}, "are the same channel"),
        ({"channel": {"3": {"limits": {"VSET": [10, 5]}}}}, "limits.VSET = [10, 5] is upside down"),
        ({"channel": {"3": {"limits": {"VSET": [1, 5]}}}}, "VSET 0 must be allowed"),
        ({"limits": {"ISET": [-1, 5]}}, "magnitudes from 0"),
        ({"channel": {"3": {"limits": {"VMON": [0, 5]}}}}, "VSET"),
        ({"channel": {"3": {"max_step": 0}}}, "greater than 0"),
        ({"channel": {"3": {"polarity": "positive"}}}, "'+' or '-'"),
        ({"channel": {"3": {"limits": {"VSET": [0, 100]}, "standby": 101}}}, "standby = 101 is not within"),
        (
            {"channel": {"3": {"limits": {"MAXV": [0, 100]}, "expect": {"MAXV": 200}}}},
            "expect.MAXV = 200 is not within",
        ),
        (
            {"channel": {"3": {"limits": {"VSET": [0, 1]}}}, "limits": {"CH3:VSET": [0, 2]}},
            "says it too; write it once",
        ),
        ({"channel": {"3": {"colour": "red"}}}, "Extra inputs"),
        ({"poll": 0.1}, "0.2"),
        ({"link": "tcp:/10.0.0.5"}, "is not an address"),
    ],
)
def test_mistakes_are_refused(keys, why):
    with pytest.raises(ValidationError) as caught:
        settings(**keys)
    assert why in str(caught.value)


def test_before_the_first_answer_there_are_the_boards_and_no_channels():
    names = signals(settings(), None)
    assert "MODEL" in names and "ALLOFF" in names and not any(name.startswith("CH") for name in names)
    names = signals(settings(boards=[2, 5]), None)
    assert {"B2:MODEL", "B5:ALARM", "B5:CLEARALARM", "ALLOFF", "READONLY"} <= names.keys() and "MODEL" not in names


def test_limits_of_the_site_file_are_not_called_idle_before_the_first_answer():
    table = settings(limits={"VSET": [0, 10], "VSETT": [0, 1]}, alarms={"CH0:IMON": {"high": 1}})
    assert idle_names(table, signals(table, None), HV.later) == ["VSETT"]
    assert idle_names(table, signals(table, shape())) == ["VSETT"]


def test_the_channels_own_limits_win_over_those_of_all_channels_and_nothing_widens_the_unit():
    table = settings(limits={"VSET": [0, 3000]}, channel={"1": {"limits": {"VSET": [0, 500]}}})
    found = signals(table, shape())
    assert (found["CH0:VSET"].limits, found["CH1:VSET"].limits) == ((0, 3000), (0, 500))
    assert (found["CH0:VSOFTMAX"].limits, found["CH1:VSOFTMAX"].limits) == ((0, 3000), (0, 500))
    assert found["CH2:ISOFTMAX"].limits == (0, 3000)
    with pytest.raises(ValueError, match="not within"):
        signals(settings(channel={"1": {"limits": {"VSET": [0, 8001]}}}), shape())


def test_limits_of_iset_need_not_fit_in_both_ranges():
    table = settings(channel={"1": {"limits": {"ISET": [0, 1000]}}})
    low = SPANS | {"ISET": Range(0, 300, 3)}
    assert signals(table, shape(spans=low))["CH1:ISET"].limits == (0, 1000)


def test_what_the_unit_tells_no_limits_of_cannot_be_put():
    found = signals(settings(), shape(spans={name: span for name, span in SPANS.items() if name != "RUP"}))
    assert "CH0:RUP_RBV" in found and "CH0:RUP" not in found and "CH0:RDW" in found


def test_names_boards_rows_and_levels():
    table = settings(boards=[0, 3], channel={"B3:1": {"name": "MESH"}})
    found = signals(table, shape(0, 3))
    assert found["B3:CH1:VMON"].doc == "MESH: Measured voltage (magnitude)"
    assert found["B0:CH1:VMON"].doc == "Measured voltage (magnitude)"
    assert (found["B0:CH1:VMON"].row, found["B3:CH1:VMON"].row) == ("B0:ROW", "B3:ROW")
    experts = {
        name.split(":")[-1] for name, signal in found.items() if signal.level is Level.EXPERT and signal.writable
    }
    assert experts == {*("MAXV", "RUP", "RDW", "TRIP", "PDWN", "IMRANGE", "VSOFTMAX", "ISOFTMAX", "READONLY", "ENABLE")}


def test_signals_of_the_largest_line_fit():
    spans = shape(*range(32), channels=4)
    table = settings(boards=list(range(32)))
    assert len(signals(table, spans)) > 32 * 4 * 50
    assert from_plain(spans)[31].channels[3]["ISET"] == Range(0, 3000, 2)


def test_two_devices_cannot_have_one_supply(tmp_path):
    site = '[site]\nname = "lab"\nprefix = "LAB:"\n'
    table = '[[device]]\nname = "{}"\ntype = "iocs.hv:HV"\nlink = "{}"\n'
    (tmp_path / "site.toml").write_text(
        site + table.format("A", "tcp://10.0.0.5") + table.format("B", "tcp://10.0.0.5:1470")
    )
    with pytest.raises(ConfigError, match=r"2 devices have the link tcp://.*:1470, which bears one owner only"):
        load(tmp_path / "site.toml", kinds=True)
    (tmp_path / "site.toml").write_text(
        site + table.format("A", "tcp://10.0.0.5") + table.format("B", "tcp://10.0.0.6")
    )
    assert len(load(tmp_path / "site.toml", kinds=True).devices) == 2


def test_what_an_earlier_version_kept_of_one_board_gets_its_boards_name():
    deed = {"kind": "standby", "channels": ["CH0:"], "to": None, "standby": {"CH0:": 50.0}}
    memory = {
        "channels": {"CH0:": {"soft": {}}, "B1:CH2:": {"soft": {"VSET": 1.0}}},
        "interlocks": {"gas": {"latch": {"action": deed}}, "dog": {"latch": None}},
        "readonly": True,
    }
    name_boards(memory, 3)
    assert memory["channels"].keys() == {"B3:CH0:", "B1:CH2:"} and memory["readonly"]
    named = {"kind": "standby", "channels": ["B3:CH0:"], "to": None, "standby": {"B3:CH0:": 50.0}}
    assert memory["interlocks"]["gas"]["latch"]["action"] == named
    before = json.dumps(memory)
    name_boards(memory, 0)
    assert json.dumps(memory) == before
    assert of_kept("B3:CH0:") == (3, 0) and kept(3, 0) == "B3:CH0:"
    with pytest.raises(ValueError, match="is the name of no channel"):
        of_kept("CH0:")
