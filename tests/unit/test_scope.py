"""A scope's signals and arrays: pure parts of its device."""

import numpy as np
import pytest

from drivers.lecroy.numbers import number, written
from drivers.lecroy.replies import bandwidths, parameters, replies, status, troubles
from drivers.lecroy.wavedesc import decode
from iocs import scope
from iocs.scope_signals import signals_of, values_of
from iocs.scope_waveforms import prepared, thinned, whole
from iocs.signals import Bad, Severity
from tests.lecroy_blocks import trace

SIGNALS = {signal.name: signal for signal in signals_of(4, 1000, 5000)}


@pytest.mark.parametrize(("segments", "points"), [(1, 1002), (1, 100_000), (20, 502), (3, 5000), (900, 10)])
def test_thinned_arrays_keep_every_low_and_high(segments, points):
    waveform = decode(trace(points, segments))
    for most in (1000, 5000):
        times, volts = thinned(waveform, most)
        assert times.shape == volts.shape and times.dtype == volts.dtype == ">f8"
        assert len(times) <= most
        shown = waveform.volts()[: most // 2] if segments * 2 > most else waveform.volts()
        assert (volts.min(), volts.max()) == (shown.min(), shown.max())
        assert (np.diff(times) >= 0).all()
        assert times[0] == pytest.approx(waveform.x0)


def test_few_points_are_shown_as_they_are():
    waveform = decode(trace(900))
    times, volts = thinned(waveform, 1000)
    assert volts.tolist() == waveform.volts()[0].tolist()
    assert times.tolist() == pytest.approx(waveform.times().tolist(), rel=1e-12)


def test_what_does_not_fit_into_full_is_said():
    waveform = decode(trace(1000))
    assert whole(waveform, 1000).tolist() == waveform.volts()[0].tolist()
    cut = whole(waveform, 600)
    assert isinstance(cut, Bad) and cut.severity is Severity.MINOR and len(cut.value) == 600


def test_values_of_an_event():
    values = prepared({"C2": memoryview(trace(502, 20))}, 1000, {"C2"}, 20_000, 10)
    assert set(values) == {
        "TRIGGERED",
        *(f"C2:{n}" for n in ("WF", "TIME", "X0", "DX", "NSEG", "TRIGTIMES", "WF:FULL")),
    }
    assert values["C2:NSEG"] == 20 and len(values["C2:TRIGTIMES"]) == 10
    assert set(values) <= set(SIGNALS)


def test_settings_become_values_under_the_signals_names():
    told = replies(
        "TDIV 100E-9 S;TRSE EDGE,SR,C2,HT,OFF;SEQ ON,100,1E+3;WFSU SP,0,NP,5,FP,2,SN,1;C1:VDIV 0.1 V;C1:TRA ON"
    )
    values = values_of(told, SIGNALS)
    assert values["TDIV"] == pytest.approx(1e-7) and values["TRSRC"] == 1 and values["TRTYPE"] == 0
    assert (values["SEQ:ON"], values["SEQ:N"], values["WFSU:NP"], values["C1:ON"]) == (1, 100, 5, 1)
    odd = values_of({"C1:CPL": "OVL", "C2:CPL": "D75", "TDIV": "fast"}, SIGNALS)
    assert odd["C1:CPL"].severity is Severity.MAJOR
    assert odd["C2:CPL"].severity is odd["TDIV"].severity is Severity.INVALID


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("5US", 5e-6), ("5 US", 5e-6), ("5000 NS", 5e-6), ("5E-6", 5e-6), ("1M", 1e-3), ("1MA", 1e6)),
        *(("200E-3 V", 0.2), ("10 PCT", 10), ("-1.5MV", -1.5e-3), ("2.5KS", 2500), (".5", 0.5), ("1.2 GHZ", 1.2e9)),
    ],
)
def test_numbers_as_a_scope_writes_them(text, value):
    assert number(text) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("text", ["", "V", "1 X", "1..2", "OFF", "nan", "1 V 2"])
def test_what_is_no_number(text):
    with pytest.raises(ValueError, match="is not a number"):
        number(text)


def test_numbers_are_written_without_multipliers():
    assert [written(value) for value in (1e6, 2.5e-6, 0.1, -0.01)] == ["1000000", "2.5E-06", "0.1", "-0.01"]


def test_replies_are_told_apart_by_their_headers():
    assert replies("C1:VOLT_DIV 200E-3 V;WFTX 'a;b';*OPC 1") == {"C1:VDIV": "200E-3 V", "WFTX": "'a;b'", "*OPC": "1"}
    assert status("STB,4,ESR,0,INR,8193,DDR,2,CMR,0,EXR,27,URR,0").refusal() == "an argument is missing (EXR 27)"
    assert troubles(2 | 4096 | 1 << 14) == "C2 overloaded, trigger failed, DDR bit 14"
    assert bandwidths("OFF", ["C1", "C2"]) == {"C1": "OFF", "C2": "OFF"}
    assert parameters("MEAN,1E-3 V,OK,DUTY,UNDEF,IV")["DUTY"] == ("UNDEF", "IV")


def test_why_events_are_left_out_is_said_seldom(caplog, monkeypatch):
    now = 100.0
    monkeypatch.setattr(scope.time, "monotonic", lambda: now)
    device = object.__new__(scope.Oscilloscope)
    device._complaint = "", -scope.SAY_EVERY
    for _ in range(50):
        device._complain("of different triggers")
        now += 1
    device._complain("cut short")
    now += scope.SAY_EVERY
    device._complain("cut short")
    assert [record.args for record in caplog.records if record.levelname == "WARNING"] == [
        ("of different triggers",),
        ("cut short",),
        ("cut short",),
    ]
