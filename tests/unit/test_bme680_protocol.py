"""Lines to readings: what is not exactly right is refused, what a sketch says in words is understood."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.bme680.formats import COUNTINGHOUSE, PICOSEC, Field, Format, Quantity
from drivers.bme680.lines import Reason, Refusal
from drivers.bme680.plausible import Confirmation, Plausibility
from drivers.bme680.protocol import Identity, Reading, Trouble, checksum, decode

T, P, RH, GAS = Quantity.TEMPERATURE, Quantity.PRESSURE, Quantity.HUMIDITY, Quantity.GAS
SEED_LINE = b"294.31;98123;41.20;120345"  # the sketch of picosec-daq: K, Pa, %, Ohm


def summed(body: str) -> bytes:
    return f"{body}*{checksum('crc16', body)}".encode()


def test_the_seeds_line():
    reading = decode(PICOSEC, SEED_LINE)
    assert reading == Reading({T: 294.31, P: 98123, RH: 41.2, GAS: 120345}, {}, ("120345", "98123"))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"294.31;98123;41.20", "FIELDS"),
        (b"294.31;98123;41.20;120345;", "FIELDS"),
        (b"294.31;98123;41.20;120345;1", "FIELDS"),
        (b"294.31;;41.20;120345", "NUMBER"),
        (b"R294.31;98123;41.20;120345", "NUMBER"),
        (b"294,31;98123;41,20;120345", "NUMBER"),
        (b"294.31;98_123;41.20;120345", "NUMBER"),  # Python's float() would take it
        (b"294.31;9.8123e4;41.20;120345", "NUMBER"),
        (b"294.31;98123;41.2;120345", "NUMBER"),  # a digit was lost
        (b"294.31;98123;01.20;120345", "NUMBER"),  # a digit was changed to 0
        (b"294.31;98123;41.20;+120345", "NUMBER"),
        (b"294.31;98123;41.20;120345.5", "NUMBER"),
        (b"94.31;98123;41.20;120345", "RANGE"),
        (b"294.31;8123;41.20;120345", "RANGE"),
        (b"294.31;98123;100.01;120345", "RANGE"),
        (b"294.31;98123;-0.01;120345", "RANGE"),
        (b"294.31;98123;41.20;-5", "RANGE"),
        (b"98123;294.31;41.20;120345", "NUMBER"),  # swapped, betrayed by the decimals
        (b"Hello", "FIELDS"),
    ],
)
def test_a_line_that_is_not_exactly_right_is_refused_whole(line, reason):
    refusal = decode(PICOSEC, line)
    assert isinstance(refusal, Refusal) and refusal.reason == reason and refusal.line == line
    assert refusal.why and str(refusal).endswith(line.decode())


@pytest.mark.parametrize("word", ["nan", "inf", "-inf", "ovf", "NaN", "-ovf"])
def test_a_field_without_a_value_is_bad_by_itself(word):
    reading = decode(PICOSEC, f"294.31;98123;{word};120345".encode())
    assert reading.values == {T: 294.31, P: 98123, GAS: 120345} and reading.bad == {RH: f"the board says {word}"}


def test_gas_0_is_a_heater_that_was_not_stable():
    reading = decode(PICOSEC, b"294.31;98123;41.20;0")
    assert reading.values == {T: 294.31, P: 98123, RH: 41.2} and reading.bad == {GAS: "the heater was not stable"}


def test_minus_zero_is_zero():
    reading = decode(PICOSEC, b"294.31;98123;-0.00;120345")
    assert math.copysign(1, reading.values[RH]) == 1


@pytest.mark.parametrize(
    ("line", "trouble"),
    [
        (b"Could not find a valid BME680 sensor, check wiring!", Trouble.NOT_FOUND),
        (b"Failed to begin reading :(", Trouble.BEGIN_FAILED),
        (b"Failed to complete reading :(", Trouble.READING_FAILED),
    ],
)
def test_what_the_sketch_says_in_words(line, trouble):
    assert decode(PICOSEC, line) is trouble
    assert isinstance(decode(PICOSEC, line[:-1]), Refusal)


def test_our_own_line():
    # CRC-16/CCITT-FALSE: the check value of its definition (CRC of "123456789") is 29B1
    assert checksum("crc16", "123456789") == "29B1"
    reading = decode(COUNTINGHOUSE, summed("D,17,4711,29431,98123,41203,120345"))
    assert reading.values == pytest.approx(
        {Quantity.SEQUENCE: 17, Quantity.UPTIME: 4711, T: 294.31, P: 98123, RH: 41.203, GAS: 120345}
    )
    assert decode(COUNTINGHOUSE, summed("I,countinghouse-bme680,1.0,4711")) == Identity(
        "countinghouse-bme680 1.0", 4711.0
    )
    assert decode(COUNTINGHOUSE, summed("E,1")) is Trouble.NOT_FOUND
    assert decode(COUNTINGHOUSE, summed("E,3")) is Trouble.READING_FAILED


@given(st.integers(0, 33), st.integers(1, 255))
def test_no_change_of_one_byte_escapes_the_checksum(place, change):
    line = bytearray(summed("D,17,4711,29431,98123,41203,120345"))
    line[place] ^= change
    if all(32 <= byte < 127 for byte in line):
        assert isinstance(decode(COUNTINGHOUSE, bytes(line)), Refusal)


def test_with_a_checksum_a_value_out_of_range_is_bad_by_itself():
    reading = decode(COUNTINGHOUSE, summed("D,17,4711,29431,98123,141203,120345"))
    assert "beyond 0 .. 100" in reading.bad[RH] and set(reading.values) >= {T, P, GAS}


@pytest.mark.parametrize(
    "line",
    [b"D,17,4711,29431,98123,41203,120345", b"D,17*0000", b"E,1", b"*29B1", summed("E,9"), summed("X,1,2,3,4,5,6")],
)
def test_our_own_line_without_its_checksum_or_form_is_refused(line):
    assert isinstance(decode(COUNTINGHOUSE, line), Refusal)


@given(st.binary(max_size=300).map(lambda line: bytes(byte & 0x7F for byte in line)))
def test_whatever_comes_is_a_message_or_a_refusal(line):
    for format in (PICOSEC, COUNTINGHOUSE):
        message = decode(format, line)
        if isinstance(message, Reading):
            for each in format.fields:
                if each.quantity in message.values:
                    low, high = each.range
                    assert low <= message.values[each.quantity] <= high


@given(
    st.integers(23300, 35850),
    st.integers(30000, 110000),
    st.integers(0, 10000),
    st.integers(1, 1_000_000_000),
    st.integers(0, 65535),
)
def test_neither_of_the_two_sketches_is_ever_taken_for_the_other(t, p, rh, gas, number):
    seed = f"{t / 100:.2f};{p};{rh / 100:.2f};{gas}".encode()
    own = summed(f"D,{number},{number},{t},{p},{rh * 10},{gas}")
    assert isinstance(decode(PICOSEC, seed), Reading) and isinstance(decode(COUNTINGHOUSE, own), Reading)
    assert isinstance(decode(COUNTINGHOUSE, seed), Refusal) and isinstance(decode(PICOSEC, own), Refusal)


# formats of others


ADAFRUIT = Format(
    "adafruit's example",
    (Field(T, offset=273.15), Field(P, scale=100), Field(RH), Field(GAS, scale=1000)),
    pattern=r"Temperature = (?P<temperature>\S+) \*C\s+Pressure = (?P<pressure>\S+) hPa\s+"
    r"Humidity = (?P<humidity>\S+) %\s+Gas = (?P<gas>\S+) KOhms(?s:.*)",
    empty_line=True,
)
EXAMPLE = (
    b"Temperature = 23.10 *C\r\nPressure = 981.23 hPa\r\nHumidity = 41.20 %\r\nGas = 12.30 KOhms\r\nAltitude = 2 m"
)


def test_labelled_lines_by_a_pattern():
    assert decode(ADAFRUIT, EXAMPLE).values == pytest.approx({T: 296.25, P: 98123, RH: 41.2, GAS: 12300})
    assert decode(ADAFRUIT, EXAMPLE.replace(b"Gas", b"Gus")).reason is Reason.FORM
    assert decode(ADAFRUIT, b"Failed to perform reading :(") is Trouble.READING_FAILED


def test_json():
    format = Format(
        "json", (Field(T, key="bme.t", offset=273.15), Field(GAS, key="bme.r"), Field(P, scale=100)), json=True
    )
    line = b'{"bme": {"t": 21.5, "r": 120345.0}, "pressure": "981.23", "more": [1]}'
    assert decode(format, line).values == pytest.approx({T: 294.65, GAS: 120345, P: 98123})
    assert decode(format, line.replace(b"21.5", b"null")).bad == {T: "the board says null"}
    assert decode(format, line.replace(b"21.5", b"NaN")).bad == {T: "the board says NaN"}
    assert decode(format, line.replace(b"21.5", b"true")).reason is Reason.NUMBER
    assert decode(format, line.replace(b'"t"', b'"u"')).reason is Reason.FIELDS
    assert decode(format, line[:-1]).reason is Reason.FORM
    assert decode(format, b"[" * 250).reason is Reason.FORM


def test_xor_checksum_as_in_nmea():
    format = Format("nmea", (Field(text="BME"), Field(T), Field(P)), separator=",", checksum="xor")
    # NMEA 0183's sum: XOR of what stands between $ and *; this sentence and its 47 are a well-known example of GGA
    assert checksum("xor", "$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,") == "47"
    body = "$BME,294.31,98123"
    line = f"{body}*{checksum('xor', body)}".encode()
    assert decode(format, line).values == {T: 294.31, P: 98123}
    assert decode(format, line.replace(b"3", b"4", 1)).reason is Reason.CHECKSUM


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"fields": (Field(T),)}, "exactly one of separator, pattern and json"),
        ({"fields": (Field(T),), "separator": ";", "json": True}, "exactly one"),
        ({"fields": (Field(T), Field(T)), "separator": ";"}, "temperature: each quantity can be there once"),
        ({"fields": (Field(Quantity.UPTIME),), "separator": ";"}, "no field with one of temperature"),
        ({"fields": (Field(T),), "separator": ";", "checksum": "md5"}, "known: crc16, xor"),
        ({"fields": (Field(T, low=300, high=250),), "separator": ";"}, "upside down"),
        (
            {"fields": (Field(T, low=-10, high=60),), "separator": ";"},
            r"beyond 233 .. 358.5 K, .* after scale and offset",
        ),
        ({"fields": (Field(GAS, low=-5),), "separator": ";"}, "beyond 1 .. 1e\\+09 Ohm"),
        ({"fields": (Field(T), Field(P)), "separator": "\r\n"}, "needs empty_line"),
        ({"fields": (Field(T, text="T"),), "json": True}, "are for separator"),
        ({"fields": (Field(T), Field()), "pattern": "(?P<temperature>.*)"}, "are for separator"),
        ({"fields": (Field(T, key="t"),), "separator": ";"}, "key = 't' is for json"),
        ({"fields": (Field(T, scale=0),), "separator": ";"}, "scale 0"),
        ({"fields": (Field(GAS, jump=0.5),), "separator": ";"}, "a factor above 1"),
        ({"fields": (Field(T),), "pattern": "("}, "not a regular expression"),
        ({"fields": (Field(T),), "pattern": "(?P<gas>.*)"}, "no group"),
        ({"fields": (Field(T),), "pattern": "(?P<temperature>.*)(?P<x>.*)"}, "'x' is none of the fields"),
    ],
)
def test_a_format_that_makes_no_sense_is_refused(options, why):
    with pytest.raises(ValueError, match=why):
        Format("x", **options)


# what may be believed


def taken(confirmation, values):
    return [confirmation.take(value) for value in values]


def test_a_spike_is_not_believed_and_a_step_is_with_the_second_reading():
    assert taken(Confirmation(2.0), [20, 20.1, 95, 20.2, 20.3]) == [False, True, False, True, True]
    assert taken(Confirmation(2.0), [20, 20.1, 30, 30.1, 30.2]) == [False, True, False, True, True]
    assert taken(Confirmation(2.0), [20, 20, 30, 95, 31]) == [False, True, False, False, True]  # two of three
    assert taken(Confirmation(2.0), [20, 20, 30, 60, 90, 30]) == [False, True, False, False, False, False]
    assert taken(Confirmation(2.0, trusting=True), [20, 30, 20]) == [True, False, True]
    assert taken(Confirmation(1.5, factor=True), [1e5, 1.4e5, 2e5, 1e4, 1.9e5]) == [False, True, True, False, True]


@given(st.lists(st.floats(200, 400), min_size=2, max_size=30))
def test_every_value_that_is_believed_has_one_of_the_readings_before_it_for_a_witness(values):
    confirmation = Confirmation(2.0)
    last = None
    for number, value in enumerate(values):
        if confirmation.take(value):
            witnesses = values[max(0, number - 2) : number] + ([] if last is None else [last])
            assert any(abs(value - witness) <= 2 for witness in witnesses)
            last = value


def reading(t=294.31, p=98123, rh=41.2, gas=120345, digits=("1",)):
    return Reading({T: t, P: p, RH: rh, GAS: gas}, {}, digits)


def test_a_spike_holds_its_own_quantity_alone_and_wild_values_are_none():
    plausibility = Plausibility(COUNTINGHOUSE, 0)
    assert plausibility.judge(reading()).held == ()
    judged = plausibility.judge(reading(rh=90))
    assert judged.held == (RH,) and set(judged.values) == {T, P, GAS} and not judged.bad
    assert plausibility.judge(reading(rh=10)).held == (RH,)
    judged = plausibility.judge(reading(rh=60))
    assert judged.held == () and "3 readings of which no two agree" in judged.bad[RH]
    assert plausibility.judge(reading()).values[RH] == 41.2


def test_without_a_checksum_the_first_reading_waits_for_a_second():
    plausibility = Plausibility(PICOSEC, 0)
    assert plausibility.judge(reading()).held == (T, P, RH, GAS)
    assert plausibility.judge(reading()).held == ()


def test_digits_that_stand_still_are_doubted_and_one_change_ends_it():
    plausibility = Plausibility(COUNTINGHOUSE, 3)
    assert [plausibility.judge(reading(digits=(word,))).frozen for word in "aaaabbbbcd"] == [
        *(False, False, True, True),
        *(False, False, True, True),
        *(False, False),
    ]
