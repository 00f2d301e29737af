"""Tables of the site file that protect: what they refuse, and what they mean."""

import pytest
from pydantic import ValidationError

from iocs.hv.expect import compare
from iocs.hv.settings import HvSettings
from iocs.hv.shape import BoardShape
from iocs.hv.unasked import deed
from iocs.interlock import Condition

GOOD = {"name": "gas", "pv": "LAB:GAS:RH", "high": 5.0}
STACK = {"name": "stack", "channels": [0, 1, 2], "apart": 100.0}


def settings(**more):
    return HvSettings.model_validate({"name": "HV", "type": "hv", "link": "tcp://10.0.0.5"} | more)


def refused(why, **more):
    with pytest.raises(ValidationError, match=why):
        settings(**more)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"high": None}, "what is good"),
        ({"low": 5.0, "hysteresis": 1.0}, "leave nothing that is good"),
        ({"action": "ramp"}, "belongs to the action ramp"),
        ({"to": 100.0}, "belongs to the action ramp"),
        ({"name": "watchdog"}, "choose another"),
        ({"name": ""}, "at least 1 character"),
        ({"server": "http://10.0.0.5:5064"}, "must be the address of one server"),
        ({"pv": "LAB:GAS RH"}, "must be the whole name of a PV"),
        ({"max_age": 0}, "greater than 0"),
        ({"delay": float("nan")}, "finite"),
        ({"channels": ["x"]}, r'interlock "gas", channels: channel.x: channels are named by number'),
        ({"channels": [1, 1]}, "has one twice"),
        ({"channels": ["B1:3"]}, "has no board 1"),
        ({"longest_bypass": 1e9}, "less than or equal"),
        ({"hihi": 3}, "Extra inputs are not permitted"),
    ],
)
def test_interlocks_that_make_no_sense(change, why):
    refused(why, interlock=[GOOD | change])


def test_two_interlocks_with_one_name():
    refused("the name 'gas' is used twice", interlock=[GOOD, GOOD])


def test_what_an_interlock_means():
    one, two = settings(
        interlock=[GOOD, GOOD | {"name": "b", "values": [1, "OPEN"], "server": "gas-host:5066"}]
    ).interlock
    assert one.condition == Condition(high=5.0) and (one.max_age, one.delay, one.action) == (5.0, 0.0, "off")
    assert two.condition.values == (1, "OPEN") and two.server == "gas-host:5066"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"channels": [0]}, "at least 2"),
        ({"apart": 0}, "greater than 0"),
        ({"nominal": [1.0, 2.0]}, "2 voltages for 3 channels"),
        ({"nominal": [0.0, 100.1, 200.0]}, "nominal has neighbours 100.1 V apart, and 100 V are allowed"),
        ({"nominal": [0.0, -1.0, 2.0]}, "greater than or equal to 0"),
        ({"channels": [0, 1, 40000]}, "channels are named by number"),
    ],
)
def test_ramps_that_make_no_sense(change, why):
    refused(why, ramp=[STACK | change])


def test_a_channel_is_in_one_group_alone_and_standby_fits_the_group():
    refused('"b": CH2 is in "stack" already', ramp=[STACK, {"name": "b", "channels": [2, 3], "apart": 10.0}])
    channel = {"0": {"standby": 200.0}, "1": {"standby": 150.0}, "2": {"standby": 0.0}}
    refused("the standby voltages of neighbours are 150 V apart", ramp=[STACK], channel=channel)
    assert settings(ramp=[STACK], channel={"0": {"standby": 200.0}}).ramp[0].rate == 10.0


def test_several_boards():
    more = {"boards": [0, 1], "interlock": [GOOD | {"channels": ["B0:1", "B1:3"]}]}
    assert settings(**more).places(["B0:1", "B1:3"]) == ["B0:CH1:", "B1:CH3:"]
    refused('Write "B0:1"', boards=[0, 1], interlock=[GOOD | {"channels": [1]}])


def test_a_library_is_for_the_link_through_it(tmp_path):
    refused("library is for a link caen://", library="/opt/x.so")
    told = HvSettings.model_validate(
        {"name": "HV", "type": "hv", "link": "caen://N1470/TCPIP/10.0.0.5", "library": "x.so"},
        context={"directory": tmp_path},
    )
    assert told.address == f"caen://N1470/TCPIP/10.0.0.5?library={tmp_path}/x.so"
    assert settings().address == "tcp://10.0.0.5:1470"


def test_what_is_done_is_plain_data_that_stands_by_itself():
    told = deed(settings(channel={"1": {"standby": 50.0}, "2": {}}), "standby", ["B0:CH1:", "B0:CH2:"])
    assert told == {"kind": "standby", "channels": ["B0:CH1:", "B0:CH2:"], "to": None, "standby": {"B0:CH1:": 50.0}}


def test_check_online_tells_channels_that_the_unit_has_not():
    table = settings(interlock=[GOOD | {"channels": [0, 4]}], ramp=[STACK | {"channels": [2, 3, 5]}])
    found = [finding.text for finding in compare(table, BoardShape(0, "R1470ET", "174", "1.08", ({},) * 4), {})]
    assert 'interlock "gas": the unit has channels 0 to 3, and no 4' in found
    assert 'ramp "stack": the unit has channels 0 to 3, and no 5' in found
