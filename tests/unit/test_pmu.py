"""A PMU's configuration and frames as signals and values (pure)."""

import math
from dataclasses import replace

import pytest

from drivers.c37118 import frames
from drivers.c37118.frames import (
    AnalogChannel,
    Configuration,
    DigitalWord,
    FrameType,
    PhasorChannel,
    PmuConfiguration,
    PmuData,
    Polar,
    Rect,
    TimeQuality,
)
from iocs.device import COMMON
from iocs.pmu import PMU, PmuSettings
from iocs.pmu.quality import Policy
from iocs.pmu.signals import Channels, installation_values, stat_values, stations, stream_values
from iocs.signals import Kind, Severity, rows

SETTINGS = PmuSettings(name="PMU", type="pmu", link="tcp://192.168.0.20", idcode=7734)
V3_CONFIGURATION = Configuration(
    FrameType.CFG2,
    8,
    1700000000,
    TimeQuality(0),
    0,
    16777215,
    (
        PmuConfiguration(
            "UNIT-B",
            8,
            0x0F,
            (PhasorChannel("VA", False, 1), PhasorChannel("IA", True, 1)),
            (AnalogChannel("MW", 0, 1),),
            (DigitalWord(tuple(f"D{bit}" for bit in range(16)), 0x0001, 0x8003),),
            1,
            3,
        ),
    ),
    50,
)
V3_DATA = bytes.fromhex(
    "aa01003000086553f1000b800000203048609c003fc90fdb42fb0000bf860a924247f2b0bd4ccccdc2290000800204a1"
)


def pmu(*, phasors=(), analogs=(), digitals=()) -> PmuConfiguration:
    return PmuConfiguration(
        "Station",
        1,
        0x0F,
        tuple(PhasorChannel(name, name.startswith("I"), 1) for name in phasors),
        tuple(AnalogChannel(name, 0, 1) for name in analogs),
        tuple(DigitalWord((*names, *[""] * (16 - len(names))), 0, 0xFFFF) for names in digitals),
        1,
        0,
    )


def names(configuration: PmuConfiguration) -> list[str]:
    return [signal.name for signal in Channels(configuration, "deg").signals]


def test_port_of_the_link_is_4712_unless_given():
    assert SETTINGS.link == "tcp://192.168.0.20:4712"
    assert PmuSettings(name="P", type="pmu", link="tcp://h:99", idcode=1).link == "tcp://h:99"


def test_names_are_legal_unique_and_keep_the_original_in_the_description():
    configuration = pmu(
        phasors=["Süd/VA  ", "süd.VA", "", "FREQ"], analogs=["", "STAT", "ROW"], digitals=[["CB 1", "", "CB-1"]]
    )
    channels = Channels(configuration, "deg").signals
    assert [signal.name for signal in channels] == [
        "S_D_VA:MAG",
        "S_D_VA:ANG",
        "S_D_VA_2:MAG",
        "S_D_VA_2:ANG",
        "PHASOR3:MAG",
        "PHASOR3:ANG",
        "FREQ_2:MAG",
        "FREQ_2:ANG",
        "ANALOG1",
        "STAT_2",
        "ROW_2",
        "DIG1",
        "DIG1:CB_1",
        "DIG1:CB_1_2",
    ]
    assert "'Süd/VA  '" in channels[0].doc


def test_no_channel_name_can_hide_a_pv_that_every_pmu_has():
    taken = {signal.name for signal in (*COMMON, *PMU.signals(SETTINGS, None))}
    wanted = sorted(taken - {name for name in taken if ":" in name})
    got = names(pmu(analogs=wanted)) + names(pmu(phasors=wanted))
    assert not taken & set(got)
    assert not taken & {name.split(":")[0] for name in got}


def test_row_holds_every_number_of_a_frame_once():
    signals = PMU.signals(SETTINGS, frames.encode(V3_CONFIGURATION).hex())
    (row,) = rows(signals)
    assert row.name == "ROW"
    assert [signal.name for signal in row.signals] == [
        "FREQ", "ROCOF", "VA:MAG", "VA:ANG", "IA:MAG", "IA:ANG", "MW", "DIG1", "STAT", "TQ", "LEAP",
    ]  # fmt: skip
    units = {signal.name: signal.unit for signal in row.signals}
    assert (units["VA:MAG"], units["IA:MAG"], units["VA:ANG"], units["FREQ"], units["ROCOF"]) == (
        "V",
        "A",
        "deg",
        "Hz",
        "Hz/s",
    )


def test_values_of_the_published_frame():
    frame = frames.decode(V3_DATA, V3_CONFIGURATION)
    assert isinstance(frame, frames.DataFrame)
    channels = Channels(V3_CONFIGURATION.pmus[0], "deg")
    values = channels.values(frame.pmus[0]) | stream_values(frame.pmus[0], frame.tq)
    assert values["VA:MAG"] == 230000 and values["VA:ANG"] == pytest.approx(90, abs=1e-4)
    assert values["IA:MAG"] == 125.5 and values["IA:ANG"] == pytest.approx(-60, abs=1e-4)
    assert values["FREQ"] == pytest.approx(49.987, abs=1e-5) and values["ROCOF"] == pytest.approx(-0.05)
    assert values["MW"] == -42.25 and values["DIG1"] == 0x8002 and values["STAT"] == 0x2030 and values["TQ"] == 11
    bits = channels.bits(frame.pmus[0])
    assert {name for name, value in bits.items() if value} == {"DIG1:D1", "DIG1:D15"}
    assert set(values) | set(bits) == {
        signal.name for signal in PMU.signals(SETTINGS, frames.encode(V3_CONFIGURATION).hex())
    } - {signal.name for signal in PMU.signals(SETTINGS, None)} | {"FREQ", "ROCOF", "STAT", "TQ", "LEAP"}


def test_angle_in_rad_on_request():
    channels = Channels(pmu(phasors=["VA"]), "rad")
    data = PmuData(0, (Polar(1.0, math.pi / 3),), 50.0, 0.0, (), ())
    assert channels.values(data) == {"VA:MAG": 1.0, "VA:ANG": math.pi / 3}
    assert channels.signals[1].unit == "rad"


def test_rectangular_phasors_become_magnitude_and_angle():
    data = PmuData(0, (Rect(3000.0, -4000.0),), 50.0, 0.0, (), ())
    values = Channels(pmu(phasors=["VA"]), "deg").values(data)
    assert values["VA:MAG"] == pytest.approx(5000) and values["VA:ANG"] == pytest.approx(-53.130, abs=1e-3)


@pytest.mark.parametrize(
    ("stat", "tq", "severity"),
    [
        (0x0000, 0x00, None),
        (0x0800, 0x00, None),  # a trigger says nothing about the values
        (0x4000, 0x00, Severity.INVALID),
        (0x8000, 0x00, Severity.INVALID),
        (0xC000, 0x00, Severity.INVALID),
        (0x2000, 0x00, Severity.MINOR),
        (0x01C0, 0x00, Severity.MINOR),
        (0x0000, 0x0F, Severity.MINOR),
        (0x0000, 0x0B, None),
        (0xA000, 0x0F, Severity.INVALID),
    ],
)
def test_severity_by_stat_and_time_quality(stat, tq, severity):
    doubt = Policy().judge(stat, tq)
    assert (doubt.severity if doubt else None) == severity


def test_parts_of_the_stat_word():
    assert stat_values(frames.Stat(0x0C44)) == {
        "STAT:ERROR": 0,
        "STAT:SYNC": False,
        "STAT:TRIGGER": True,
        "STAT:TRIGREASON": 4,
        "STAT:CFGCHANGE": True,
        "STAT:MODIFIED": False,
        "STAT:TIMEQ": 1,
        "STAT:UNLOCKED": 0,
    }


@pytest.mark.parametrize(("tq", "leap"), [(0, 0), (0x10, 1), (0x50, 2), (0x20, 3), (0x60, 4), (0x40, 0)])
def test_leap_second_in_words(tq, leap):
    assert stream_values(PmuData(0, (), 50.0, 0.0, (), ()), TimeQuality(tq))["LEAP"] == leap


def test_every_possible_status_word_can_be_served():
    """Any 16-bit STAT and any time quality is legal on the wire: each part must be one of its states."""
    states = {signal.name: len(signal.states) for signal in PMU.signals(SETTINGS, None) if signal.kind is Kind.ENUM}
    for word in range(0x10000):
        for name, value in stat_values(frames.Stat(word)).items():
            assert 0 <= value < states[name]
    for tq in range(256):
        values = stream_values(PmuData(0, (), 50.0, 0.0, (), ()), TimeQuality(tq))
        assert values["TQ"] < states["TQ"] and values["LEAP"] < states["LEAP"]


def test_the_saved_shape_does_not_depend_on_when_the_configuration_was_sent():
    from iocs.pmu.device import shape_of

    later = replace(V3_CONFIGURATION, soc=1800000000, fracsec=5, tq=TimeQuality(3))
    assert shape_of(later) == shape_of(V3_CONFIGURATION)
    assert shape_of(replace(V3_CONFIGURATION, data_rate=25)) != shape_of(V3_CONFIGURATION)


@pytest.mark.parametrize(
    ("policy", "stat", "tq", "severity"),
    [
        (Policy(invalid=["no_data"]), 0x8000, 0x00, None),
        (Policy(invalid=["unsynced"]), 0x2000, 0x00, Severity.INVALID),
        (Policy(minor=[]), 0x2000, 0x0F, None),
        (Policy(minor=["trigger"]), 0x0800, 0x00, Severity.MINOR),
        (Policy(minor=["modified"]), 0x0200, 0x00, Severity.MINOR),
        (Policy(minor=["by_arrival"]), 0x1000, 0x00, Severity.MINOR),
        (Policy(max_time_error=0.001), 0x0000, 0x07, None),  # MSG_TQ 7: within 1 ms
        (Policy(max_time_error=0.001), 0x0000, 0x08, Severity.MINOR),
        (Policy(max_time_error=0.001), 0x0140, 0x00, None),  # PMU_TQ 5: below 1 ms
        (Policy(max_time_error=0.001), 0x0180, 0x00, Severity.MINOR),
        (Policy(minor=[], max_time_error=100.0), 0x0000, 0x0C, Severity.MINOR),  # undefined: not known
    ],
)
def test_the_policy_is_the_sites(policy, stat, tq, severity):
    doubt = policy.judge(stat, tq)
    assert (doubt.severity if doubt else None) == severity


def test_stations_of_a_concentrator_have_their_own_names_and_rows():
    one = pmu(phasors=["A very long name"], digitals=[["A very long bit"] * 16])
    blocks = (
        replace(one, station="UMSPANNWER NORD"),
        replace(one, station="UMSPANNWER SUED"),
        replace(one, station=""),
        replace(one, station="FREQ"),
    )
    configuration = replace(V3_CONFIGURATION, pmus=blocks * 30)
    shape = frames.encode(configuration).hex()
    signals = PMU.signals(SETTINGS, shape)
    assert all(len(signal.name) <= 32 for signal in signals)
    assert [row.name for row in rows(signals)][:4] == ["UMSPANNWER:ROW", "UMSPANNWER_2:ROW", "PMU3:ROW", "FREQ_2:ROW"]
    first = rows(signals)[1]
    assert [signal.name for signal in first.signals] == [
        f"UMSPANNWER_2:{name}"
        for name in ("FREQ", "ROCOF", "A_VERY_LONG:MAG", "A_VERY_LONG:ANG", "DIG1", "STAT", "TQ", "LEAP")
    ]
    assert "'UMSPANNWER SUED' (1)" in first.signals[0].doc
    names = [signal.name for signal in signals]
    assert len(set(names)) == len(names) and "MISSED" in names and "FREQ" not in names
    station = stations(configuration, "deg")[1]
    data = PmuData(0x2000, (Polar(1.0, 0.0),), 50.0, 0.0, (), (0x8001,))
    values = station.values(data, TimeQuality(0), Policy().judge(0x2000, 0), scalars=True)
    assert set(values) == {signal.name for signal in station.signals}
    assert values["UMSPANNWER_2:FREQ"].severity is Severity.MINOR and values["UMSPANNWER_2:STAT"] == 0x2000
    assert values["UMSPANNWER_2:DIG1:A_VERY_L_16"].value == 1


@pytest.mark.parametrize(
    ("anunit", "north", "south"),
    [
        ({}, [500.0, -8.0], [500.0, -8.0]),
        ({"A1": "factor"}, [50_000.0, -8.0], [50_000.0, -8.0]),
        ({"A1": "factor", "NORTH:A1": "factor_1e-5"}, [0.5, -8.0], [50_000.0, -8.0]),
        ({"A2": "factor", "SOUTH:A2": "raw"}, [500.0, 200.0], [500.0, -8.0]),
    ],
)
def test_what_a_count_of_an_integer_analog_means_is_said_for_each_channel(anunit, north, south):
    settings = PmuSettings(name="P", type="pmu", link="tcp://h", idcode=8, anunit=anunit)
    one = replace(pmu(), format=0, analogs=(AnalogChannel("A1", 1, 100), AnalogChannel("A2", 2, -25)))
    blocks = (replace(one, station="NORTH"), replace(one, station="SOUTH"), replace(one, station="WEST", format=4))
    both = replace(V3_CONFIGURATION, pmus=blocks)
    data = PmuData(0, (), 50.0, 0.0, (500.0, -8.0), ())
    values = {}
    for station in stations(both, "deg", settings.anunit):
        values |= station.values(data, TimeQuality(0), None, scalars=False)
    assert [[values[f"{name}:A1"], values[f"{name}:A2"]] for name in ("NORTH", "SOUTH")] == [north, south]
    assert (values["WEST:A1"], values["WEST:A2"]) == (500.0, -8.0)  # floats are values already
    shown = {signal.name: signal.doc for signal in PMU.signals(settings, frames.encode(both).hex())}
    assert shown["NORTH:A2"].startswith("Analog 'A2', ANUNIT factor -25") and "factor" not in shown["WEST:A2"]


def test_an_absent_analog_stays_nan_and_a_cfg3_scales_by_itself():
    one = replace(pmu(), format=0, analogs=(AnalogChannel("A1", 1, 0), frames.ScaledAnalog("A2", 2.0, 1.0)))
    channels = Channels(one, "deg", anunit={"A1": "factor", "A2": "factor"})
    values = channels.values(PmuData(0, (), 50.0, 0.0, (math.nan, 7.0), ()))
    assert math.isnan(values["A1"]) and values["A2"] == 7.0


def test_what_a_cfg3_leaves_open_is_invalid():
    place = frames.Installation(bytes(16), math.inf, 13.25, math.inf, "?", 0, 50)
    values = installation_values(place)
    assert values["LATITUDE"].severity is Severity.INVALID and values["LONGITUDE"] == 13.25
    assert (values["SVC_CLASS"], values["GRP_DLY"], values["G_PMU_ID"]) == (0, 50.0, "00" * 16)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"link": "tcp://h", "data": "tcp://h"}, "write udp://host:port"),
        ({"link": "udp://239.1.2.3", "data": "udp://h"}, "takes no commands"),
        ({"link": "udp://h?commands=maybe"}, "on, off|on .it is asked"),
        ({"link": "tcp://h", "invalid_when": ["sometimes"]}, "no_data"),
        ({"link": "tcp://h", "anunit": {"MW": "kilo"}}, "'raw', 'factor' or 'factor_1e-5'"),
    ],
)
def test_ways_that_make_no_sense_are_refused(keys, message):
    with pytest.raises(ValueError, match=message):
        PmuSettings(name="P", type="pmu", idcode=1, **keys)


def test_ports_by_the_kind_of_link():
    settings = PmuSettings(name="P", type="pmu", idcode=1, link="tcp://h", data="udp://h")
    assert (settings.link, settings.data) == ("tcp://h:4712", "udp://h:4713")
