"""The table of a gas sensor, its signals, and what a reading becomes (pure)."""

import math

import pytest
from pydantic import ValidationError

from drivers.bme680.formats import COUNTINGHOUSE, PICOSEC, Quantity
from drivers.bme680.plausible import Judged
from drivers.bme680.protocol import decode
from iocs import config
from iocs.device import all_signals, idle_names
from iocs.gas import Gas, GasSettings
from iocs.gas_signals import values_of
from iocs.signals import Bad, Kind, Severity, Status, rows
from tests.processes import write_site

T, P, RH, GAS = Quantity.TEMPERATURE, Quantity.PRESSURE, Quantity.HUMIDITY, Quantity.GAS
READ = {T: 298.15, P: 101325.0, RH: 50.0, GAS: 150e3}


def settings(**more) -> GasSettings:
    return GasSettings.model_validate({"name": "GAS", "type": "gas", "link": "tcp://h:1", **more})


def values(read=READ, bad=None, held=(), frozen=False, baseline=100e3, warming=False, **more):
    return values_of(Judged(read, bad or {}, held, frozen), COUNTINGHOUSE, settings(**more), baseline, warming)


def test_a_reading_in_the_units_of_the_field():
    assert values() == pytest.approx(
        {
            "TEMP": 25.0,
            "PRES": 1013.25,
            "RH": 50.0,
            "GAS": 150e3,
            "DEWPOINT": 13.86,  # ASHRAE Handbook Fundamentals 2017, chapter 1: 25 degC, 50 %
            "PPMV": 15641,
            "DENSITY": 293.15 / 298.15,
            "GASRATIO": 1.5,
            "WARMUP": False,
        },
        rel=1e-3,
    )
    assert values(reference_temperature=25.0, reference_pressure=1000.0)["DENSITY"] == pytest.approx(1.01325)


def test_what_is_bad_takes_with_it_what_depends_on_it_and_nothing_else():
    read = {quantity: value for quantity, value in READ.items() if quantity != RH}
    found = values(read, bad={RH: "the board says nan"})
    assert {name for name, value in found.items() if isinstance(value, Bad)} == {"RH", "DEWPOINT", "PPMV"}
    assert found["PPMV"].reason == "the board says nan" and found["PPMV"].severity is Severity.INVALID
    read = {quantity: value for quantity, value in READ.items() if quantity != GAS}
    found = values(read, bad={GAS: "the heater was not stable"})
    assert {name for name, value in found.items() if isinstance(value, Bad)} == {"GAS", "GASRATIO"}


def test_what_awaits_confirmation_is_absent_with_what_depends_on_it():
    read = {quantity: value for quantity, value in READ.items() if quantity != T}
    assert set(values(read, held=(T,))) == {"PRES", "RH", "GAS", "GASRATIO", "WARMUP"}


def test_values_in_doubt():
    warm = values(warming=True)
    assert {name for name, value in warm.items() if isinstance(value, Bad)} == {"GAS", "GASRATIO"}
    assert (warm["GAS"].value, warm["GAS"].severity) == (150e3, Severity.MINOR) and warm["WARMUP"]
    frozen = values(frozen=True)
    assert all(isinstance(value, Bad) for name, value in frozen.items() if name != "WARMUP")
    assert frozen["TEMP"] == Bad("the digits stand still", 25.0, Severity.MINOR, Status.SOFT)


def test_no_baseline_and_no_dew_point_are_not_guessed():
    found = values(baseline=None)
    assert found["GASRATIO"].status is Status.UDF and "SETBASELINE" in found["GASRATIO"].reason
    found = values({**READ, RH: 0.0})
    assert (found["RH"], found["PPMV"]) == (0.0, 0.0)
    assert found["DEWPOINT"].status is Status.CALC and "no dew point" in found["DEWPOINT"].reason


def test_every_signal_has_unit_and_description_and_the_row_is_what_was_read():
    for format in ("auto", "countinghouse", "picosec"):
        signals = all_signals(Gas, settings(format=format), None)
        for signal in Gas.signals(settings(format=format), None):
            assert 0 < len(signal.doc) <= 40, f"{signal.name}: EPICS tools show 40 characters"
            assert signal.kind is not Kind.FLOAT or signal.unit, signal.name
        (row,) = rows(signals)
        assert [signal.name for signal in row.signals] == [
            *("TEMP", "PRES", "RH", "GAS", "DEWPOINT", "PPMV", "DENSITY", "GASRATIO", "WARMUP"),
        ]


def test_the_signals_are_those_of_the_format():
    names = {signal.name for signal in Gas.signals(settings(), None)}
    assert {"MISSED", "UPTIME", "RESTARTS", "PERIOD"} <= names
    assert names == {signal.name for signal in Gas.signals(settings(), "countinghouse")}
    assert names - {signal.name for signal in Gas.signals(settings(), "picosec")} == {"MISSED", "UPTIME", "RESTARTS"}
    line = {"separator": ",", "fields": [{"name": "temperature", "offset": 273.15}, {"name": "humidity"}]}
    assert {signal.name for signal in Gas.signals(settings(line=line), None)}.isdisjoint(
        {"PRES", "GAS", "PPMV", "DENSITY", "GASRATIO", "WARMUP", "BASELINE", "SETBASELINE", "PERIOD", "MISSED"}
    )
    alarmed = settings(alarms={"TEMP": {"high": 30}, "TMEP": {"high": 30}})
    assert idle_names(alarmed, {signal.name: signal for signal in Gas.signals(alarmed, None)}) == ["TMEP"]


def test_links():
    assert settings(link="serial:///dev/ttyACM0").link == "serial:///dev/ttyACM0?baud=115200"
    assert settings(link="serial:///dev/ttyACM0?dtr=on").link == "serial:///dev/ttyACM0?dtr=on&baud=115200"
    assert settings(link="serial:///dev/ttyACM0?baud=9600").link == "serial:///dev/ttyACM0?baud=9600"
    assert settings(link="rfc2217://h:2217").link == "rfc2217://h:2217?baud=115200"
    assert settings(link="tcp://h:4001").link == "tcp://h:4001"


SITE = """
[[device]]
name = "GAS"
type = "iocs.gas:Gas"
link = "serial:///dev/gas"
[device.line]
{}
"""


def test_a_line_of_ones_own_in_the_site_file(tmp_path):
    text = r"""
pattern = 'T=(?P<temperature>[-.\d]+)C P=(?P<pressure>[.\d]+)hPa'
request = "?\r\n"
checksum = "xor"
fields = [
  { name = "temperature", offset = 273.15, range = [250, 330], decimals = 1 },
  { name = "pressure", scale = 100, jump = 50 },
]
"""
    site = config.load(write_site(tmp_path, "X:", SITE.format(text)), kinds=True)
    (format,) = site.devices[0].settings.formats
    assert (format.name, format.request, format.checksum) == ("own", b"?\r\n", "xor")
    assert decode(format, b"$T=21.5C P=981.2hPa*0C").reason == "CHECKSUM"
    body = "$T=21.5C P=981.2hPa"
    total = 0
    for byte in body[1:].encode():
        total ^= byte
    assert decode(format, f"{body}*{total:02X}".encode()).values == pytest.approx({T: 294.65, P: 98120})
    assert site.devices[0].settings.line.fields[1].field().jump == 50


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('separator = ";"\n', "key line.fields: is missing"),
        (
            'separator = ";"\nfields = [{ name = "temprature" }]\n',
            "key line.fields.0.name: is one of temperature (K), pressure (Pa)",
        ),
        (
            'separator = ";"\nfields = [{ name = "gas", skale = 2 }]\n',
            "key line.fields.0.skale: no such key (its value is 2); is it spelled right?",
        ),
        ('fields = [{ name = "gas" }]\n', "key line: exactly one of separator, pattern and json says"),
        ('pattern = "("\nfields = [{ name = "gas" }]\n', "key line: pattern: not a regular expression"),
        ('separator = ";"\nfields = [{}]\n', "key line: there is no field with one of"),
        ('separator = ";"\nfields = [{ name = "gas", range = [5, 1] }]\n', "key line: gas: its range [5.0, 1.0] is"),
        (
            'separator = ";"\nfields = [{ name = "pressure", range = [900, 1100] }]\n',
            "key line: pressure: its range [900.0, 1100.0] is beyond 30000 .. 110000 Pa, all that the sensor can give",
        ),
        ('separator = ";"\nrequest = "\u00b0"\nfields = [{ name = "gas" }]\n', "key line.request: must be ASCII"),
        ('json = 1\nfields = [{ name = "gas" }]\n', "key line.json: "),
        ('separator = ";"\nchecksum = "md5"\nfields = [{ name = "gas" }]\n', "key line.checksum: "),
    ],
)
def test_a_line_that_makes_no_sense_is_told_with_its_key(tmp_path, text, told):
    with pytest.raises(config.ConfigError) as error:
        config.load(write_site(tmp_path, "X:", SITE.format(text)), kinds=True)
    assert f'[[device]] "GAS", {told}' in str(error.value)
    assert len(error.value.mistakes) == 1, error.value


def test_what_does_not_go_together_is_refused():
    for wrong, why in (
        ({"format": "picosec", "line": {"separator": ";", "fields": [{"name": "gas"}]}}, "exclude one another"),
        ({"period": 10, "lost_after": 11}, "lost between two readings"),
        ({"format": "seed"}, "'auto', 'countinghouse' or 'picosec'"),
        ({"link": "serial://gas"}, "not an address"),
        ({"link": "serial:///dev/gas?baut=1"}, "no option 'baut'"),
        ({"period": math.nan}, "less than or equal"),
        ({"period": 0.01}, "greater than or equal"),
    ):
        with pytest.raises(ValidationError, match=why):
            settings(**wrong)
    assert settings(format="picosec").formats == (PICOSEC,)
