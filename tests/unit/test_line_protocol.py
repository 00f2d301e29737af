"""Batches as line protocol: names, the rule for each kind of value, time stamps, halves. An InfluxDB is the witness."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.batch import Batch, Event, Mark, RowRecord, Source
from archiver.sinks.influx import Influx
from archiver.sinks.line_protocol import LineEncoder, by_bucket, count, halves
from archiver.sinks.point_names import Names
from archiver.sinks.sink import WRITTEN
from archiver.sinks.stamps import REMEMBERED, Stamps
from iocs.archive_tables import InfluxTable, PointTable
from iocs.signals import Kind, Reading, Row, Severity, Signal, Status
from tests.influx import InfluxDb, running

T = 1_790_000_000_123_456_789
VOLT = Source("LAB:HV:CH0:VMON", "HV", "CH0:VMON", "HV:CH0:VMON")
MODE = Source("LAB:HV:CH0:MODE", "HV", "CH0:MODE", "HV:CH0:MODE", ("Off", 'On "x"'))
ROW = Source("LAB:PMU:ROW", "PMU", "ROW", "PMU:ROW")


def reading(value, time_ns: int = T, severity=Severity.NO_ALARM, status=Status.NO_ALARM) -> Reading:
    return Reading(value, time_ns, severity, status)


def lines(*samples, rows=(), names: Names | None = None) -> list[str]:
    encoded = LineEncoder(names or Names("countinghouse", {})).encode(Batch(T, list(samples), list(rows)))
    assert encoded.count == len(samples) + len(rows) == count(encoded.data)
    return encoded.data.decode().splitlines()


def test_a_number_and_its_alarm() -> None:
    assert lines((VOLT, reading(0.1 + 0.2, severity=Severity.MAJOR, status=Status.HIHI))) == [
        f"HV,channel=CH0,pv=LAB:HV:CH0:VMON value=0.30000000000000004,severity=2,status=3 {T}"
    ]


def test_names_are_escaped() -> None:
    odd = Source("a b,c=d:X", "a b,c=d", "X", "a b,c=d:X")
    assert lines((odd, reading(1.0)))[0].startswith(r"a\ b\,c=d,pv=a\ b\,c\=d:X value=1.0,")


def test_two_events_of_one_time_are_two_points() -> None:
    encoder = LineEncoder(Names("countinghouse", {}))
    times = [T, T, T, T + 1, T + 2, T + 9, T + 9]
    text = encoder.encode(Batch(T, [(VOLT, reading(float(n), time)) for n, time in enumerate(times)])).data.decode()
    stamps = [int(line.split()[-1]) for line in text.splitlines()]
    assert stamps == [T, T + 1, T + 2, T + 3, T + 4, T + 9, T + 10] and encoder.moved == 5


def test_a_second_told_twice_keeps_all_rows() -> None:
    layout = Row("ROW", (Signal("A"),))
    times = [T + n * 20_000_000 for n in range(50)] * 2
    encoder = LineEncoder(Names("countinghouse", {}))
    rows = [RowRecord(ROW, layout, time, [1.0], n) for n, time in enumerate(times)]
    text = encoder.encode(Batch(T, [], rows)).data.decode()
    stamps = [int(line.split()[-1]) for line in text.splitlines()]
    assert len(set(stamps)) == 100 and encoder.moved == 50


def test_a_clock_that_goes_back_over_what_it_told_overwrites_nothing() -> None:
    """Nor does a mark, nor a PV whose labels have changed, nor a clock that stands still for long."""
    encoder = LineEncoder(Names("countinghouse", {}))
    again = Source(VOLT.pv, VOLT.device, VOLT.name, VOLT.site_name, ("Off",))
    samples = [(VOLT, reading(float(n), T + step)) for n, step in enumerate((0, 20, 40, 60, 20, 40, 0))]
    samples += [(VOLT, Mark(Event.GAP, T + 40, 3)), (again, reading(7.0, T + 60))]
    samples += [(again, reading(float(n), T + 100)) for n in range(2 * REMEMBERED)]
    text = encoder.encode(Batch(T, samples)).data.decode()
    stamps = [int(line.split()[-1]) - T for line in text.splitlines()]
    assert stamps[:9] == [0, 20, 40, 60, 21, 41, 1, 42, 61]
    assert stamps[9:] == [100 + n for n in range(2 * REMEMBERED)]


def test_the_last_event_of_the_run_before_keeps_its_time() -> None:
    encoder = LineEncoder(Names("countinghouse", {}), {VOLT.pv: T})
    text = encoder.encode(Batch(T, [(VOLT, reading(2.0)), (VOLT, reading(3.0, T + 1))])).data.decode()
    assert [int(line.split()[-1]) - T for line in text.splitlines()] == [1, 2]


@given(st.lists(st.integers(0, 30), max_size=60))
def test_no_two_events_have_one_time_and_none_comes_before_its_own(times: list[int]) -> None:
    stamps = Stamps()
    given_times = [stamps.free(time) for time in times]
    assert len(set(given_times)) == len(times)
    assert all(found >= time for found, time in zip(given_times, times, strict=True))
    assert given_times == times or len(set(times)) < len(times)  # moved only where it must be


@pytest.mark.parametrize("device", ["+a", "@a", ",a", "#a"])
def test_a_name_that_begins_oddly_is_a_name(server: InfluxDb, device: str) -> None:
    odd = Source(f"{device}:X", device, "X", f"{device}:X")
    sink = store(server)
    encoded = sink.encode(Batch(T, [(odd, reading(1.0)), (odd, reading(2.0, T + 1))]))
    assert encoded.count == count(encoded.data) == 2 == sum(part.count for part in halves(encoded.data))
    assert sink.write(encoded.data) is WRITTEN
    sink.close()
    found = [point for point in server.points("lab") if point["pv"] == odd.pv]
    assert [(point["time"], point["value"]) for point in found] == [(T, 1), (T + 1, 2)]
    assert {point["measurement"] for point in found} == {"\\#a" if device == "#a" else device}


def test_the_names_of_the_old_scripts() -> None:
    names = Names("picosec", {})
    temperature = Source("LAB:GAS:TEMP", "GAS", "TEMP", "GAS:TEMP")
    pressure = Source("LAB:GAS:PRES", "GAS", "PRES", "GAS:PRES")
    high = Source("LAB:HV:CH3:VMON", "HV", "CH3:VMON", "HV:CH3:VMON")
    row = RowRecord(
        Source("LAB:HV:ROW", "HV", "ROW", "HV:ROW"),
        Row("ROW", (Signal("CH0:IMON"), Signal("CH1:ISET"), Signal("LATENCY"))),
        T,
        [0.5, math.nan, 7.0],
        4,
    )
    encoder = LineEncoder(names)
    samples = [
        (temperature, reading(20.0)),
        (pressure, reading(1013.25)),
        (high, reading(250.0)),
        (high, reading(250.0, T + 5, Severity.INVALID, Status.COMM)),
        (VOLT, Mark(Event.DISCONNECTED, T)),
    ]
    encoded = encoder.encode(Batch(T, samples, [row]))
    assert encoded.count == 6 == count(encoded.data)
    assert {bucket: text.decode().splitlines() for bucket, text in by_bucket(encoded.data, "lab").items()} == {
        "testbucket": [
            rf"Temperature\ [K],location=Picosec\ gas val=293.15 {T}",
            rf"Pressure\ [Pa],location=Picosec\ gas val=101325.0 {T}",
        ],
        "HV": [f"HV,Board=0,Channel=3 VMon=250.0 {T}", f"HV,Board=0,Channel=0 IMon=0.5 {T}"],
        "lab": [
            f"HV,channel=CH3,pv=LAB:HV:CH3:VMON value=250.0,severity=3,status=9 {T + 5}",  # a value nobody vouches for
            f'HV,channel=CH0,pv=LAB:HV:CH0:VMON event="DISCONNECTED",severity=3 {T}',
            f"HV,pv=LAB:HV:ROW CH0:IMON=0.5,LATENCY=7.0,sequence=4 {T}",
        ],
    }


def test_names_of_ones_own() -> None:
    table = PointTable(measurement="m", field="f", tags={"n": "{channel}"}, scale=2.0, offset=1.0)
    assert lines((VOLT, reading(3.0)), names=Names("countinghouse", {"HV:CH?:VMON": table})) == [f"m,n=0 f=7.0 {T}"]


@given(
    st.lists(st.sampled_from(["a 1\n", "+a 1\n", ",+,@b\tc 1\nd 1\n", ",+e 1\n,+f 1\n@g 1\n"]), min_size=1, max_size=30)
)
def test_halves_are_whole_records_and_get_smaller(records: list[str]) -> None:
    whole = "".join(records).encode()
    parts = halves(whole)
    assert b"".join(part.data for part in parts) == whole
    assert sum(part.count for part in parts) == len(records) and all(part.data for part in parts)
    assert (len(parts) == 2) == (len(records) > 1)
    for part in parts:
        assert not part.data.decode().splitlines()[-1].startswith(",")


# With a server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    with running(tmp_path_factory.mktemp("influx"), "lab", "floats") as it:
        yield it


def store(server: InfluxDb, bucket: str = "lab", **keys: object) -> Influx:
    return Influx(InfluxTable.model_validate({"url": server.url, "version": 1, "bucket": bucket, **keys}))


def test_a_label_of_two_lines_stays_one_line() -> None:
    odd = Source(MODE.pv, MODE.device, MODE.name, MODE.site_name, ("Off\nfor long", "On"))
    assert lines((odd, reading(0)), (odd, reading(1, T + 1)))[0].split(",label=")[1].startswith(r'"Off\\nfor long",')


def test_each_kind_of_value_comes_back(server: InfluxDb) -> None:
    sink = store(server, gzip=True)
    samples = [
        (MODE, reading(1)),
        (MODE, reading(9, T + 1)),  # no such label
        (VOLT, reading(math.nan, T, Severity.INVALID, Status.READ)),
        (VOLT, reading(-math.inf, T + 1)),
        (VOLT, reading('back\\slash "quote"\nline', T + 2)),
        (VOLT, reading("", T + 3)),
        (VOLT, reading(np.array([0.1, math.nan]), T + 4)),
        (VOLT, reading(np.zeros(100_000), T + 5)),
        (VOLT, reading(["a,b", "c"], T + 6)),
        (VOLT, reading(7, T + 7)),
        (VOLT, Mark(Event.GAP, T + 8, 12)),
    ]
    layout = Row("ROW", (Signal("VA:MAG", unit="V"), Signal("STAT", kind=Kind.INT), Signal("X")))
    rows = [RowRecord(ROW, layout, T, [0.1, 3.0, math.nan], 41), RowRecord(ROW, layout, T + 1, [math.nan] * 3, 42)]
    encoded = sink.encode(Batch(T, samples, rows))
    assert sink.write(encoded.data) is WRITTEN and sink.write(encoded.data) is WRITTEN  # twice is once
    sink.close()
    common = {"measurement": "HV", "channel": "CH0", "severity": 0, "status": 0}
    mode, volt = {**common, "pv": MODE.pv}, {**common, "pv": VOLT.pv}
    assert sorted(server.points("lab", '"HV"'), key=lambda point: (point["pv"], point["time"])) == [
        {**mode, "time": T, "value": 1, "label": 'On "x"'},
        {**mode, "time": T + 1, "value": 9},
        {**volt, "time": T, "text": "NaN", "severity": 3, "status": 1},
        {**volt, "time": T + 1, "text": "-inf"},
        {**volt, "time": T + 2, "text": 'back\\\\slash "quote"\\nline'},
        {**volt, "time": T + 3, "text": ""},
        {**volt, "time": T + 4, "array": "[0.1,nan]", "length": 2},
        {**volt, "time": T + 5, "length": 100_000},
        {**volt, "time": T + 6, "array": "[a,b,c]", "length": 2},
        {**volt, "time": T + 7, "value": 7},
        {
            k: v
            for k, v in {**volt, "time": T + 8, "event": "GAP", "missing": 12, "severity": 3}.items()
            if k != "status"
        },
    ]
    assert server.points("lab", '"PMU"') == [
        {"measurement": "PMU", "pv": ROW.pv, "time": T, "VA:MAG": 0.1, "STAT": 3, "sequence": 41},
        {"measurement": "PMU", "pv": ROW.pv, "time": T + 1, "sequence": 42},
    ]


@settings(max_examples=20, deadline=None)
@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=100))
def test_floats_and_times_are_exact(server: InfluxDb, values: list[float]) -> None:
    server.ask("DROP MEASUREMENT HV", "floats")
    sink = store(server, "floats")
    samples = [(VOLT, reading(value, T + 3 * n)) for n, value in enumerate(values)]
    assert sink.write(sink.encode(Batch(T, samples)).data) is WRITTEN
    sink.close()
    found = {point["time"]: np.float64(point["value"]).tobytes() for point in server.points("floats", "HV")}
    expected = {T + 3 * n: np.float64(value).tobytes() for n, value in enumerate(values)}
    zeros = {np.float64(-0.0).tobytes(): np.float64(0.0).tobytes()}  # InfluxQL says both as 0
    assert {t: zeros.get(v, v) for t, v in found.items()} == {t: zeros.get(v, v) for t, v in expected.items()}


def test_a_token_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"url": "http://127.0.0.1:1", "bucket": "b", "token_env": "NO_SUCH_TOKEN"}
    with pytest.raises(LookupError, match="NO_SUCH_TOKEN is not set"):
        Influx(InfluxTable.model_validate(table))
    with pytest.raises(LookupError, match="cannot be read"):
        Influx(InfluxTable.model_validate({**table, "token_env": None, "token_file": tmp_path / "none"}))
