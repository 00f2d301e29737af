from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.cr1000.times import bound, moment


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("2016-09-01T19:18:01Z", "2016-09-01T19:18:01"),
        ("2016-09-01 19:18:01", "2016-09-01T19:18:01"),
        ("2016-09-01T19:18:01", "2016-09-01T19:18:01"),
        (" 2016-09-01 19:18:01Z ", "2016-09-01T19:18:01"),
        ("2016-09-01 19:18:01.25", "2016-09-01T19:18:01.25"),
        ("2016-09-01 19:18:01.", "2016-09-01T19:18:01"),
        ("20160901T191801Z", "2016-09-01T19:18:01"),
        ("20160901 1918", "2016-09-01T19:18"),
        ("20160901", "2016-09-01"),
        ("2016-09-01", "2016-09-01"),
        ("2016-09-01 19:18", "2016-09-01T19:18"),
        ("2016-9-1", "2016-09-01"),
        ("2016-9-1 1:2:3", "2016-09-01T01:02:03"),
        ("2016", "2016-01-01"),
        ("2016:245", "2016-09-01"),
        ("2016:245.5", "2016-09-01T12:00"),
        ("2016:245.51", "2016-09-01T12:00"),
        ("2016:245.510", "2016-09-01T12:14"),
        ("2016:245.999", "2016-09-01T23:59"),
        ("2016 245", "2016-09-01"),
        ("2016w35", "2016-08-29"),
        ("2016W1", "2016-01-04"),
        ("2015w53", "2015-12-28"),
        ("2016Q3", "2016-06-30"),
        ("2015q3", "2015-07-01"),
        ("2016Q1", "2016-01-01"),
        ("2015Q2", "2015-04-01"),
        ("2015Q4", "2015-10-01"),
        ("2016.5", "2016-07-02"),
        ("2016.667", "2016-09-01T02:55:40.8"),
        ("E:1472757481", "2016-09-01T19:18:01"),
        ("E:1472757481.5", "2016-09-01T19:18:01.5"),
        ("EM:1472757481500", "2016-09-01T19:18:01.5"),
        ("2016-09-01T19:18:01+02:00", "2016-09-01T17:18:01"),
        ("2016-09-01T19:18:01-0330", "2016-09-01T22:48:01"),
        ("2016-09-01 19:18 +02", "2016-09-01T17:18"),
        ("2016-08-31 24:00:00", "2016-09-01"),
        ("2016-12-31 24:00", "2017-01-01"),
        ("2016/09/01", "2016-09-01"),
        ("2016/9/1 19:18", "2016-09-01T19:18"),
    ],
)
def test_forms_of_a_time(text, meaning):
    expected = datetime.fromisoformat(meaning).replace(tzinfo=UTC).timestamp()
    assert moment(text) == bound(text) == round(expected * 1000) * 1_000_000


@pytest.mark.parametrize("text", ["", "  ", "undef", "INF", "none", "∞", "-inf", "Infinity"])
def test_an_open_bound(text):
    assert bound(text) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("9/1/2016 19:18", "day or with the month"),
        ("1.9.2016", "day or with the month"),
        ("1472757481", "E:1472757481"),
        ("2016-02-31", "day"),
        ("2016-13-01", "month"),
        ("2016-09-01 19:18:60", "second"),
        ("2016-09-01 24:00:01", "hour"),
        ("2016-09-01 25:00", "hour"),
        ("2015:366", "2015 has no day 366"),
        ("2016:0", "no day 0"),
        ("2015w54", "week"),
        ("2016Q5", "write for instance"),
        ("yesterday", "write for instance"),
        ("2016-09/01", "write for instance"),
        ("2016-09-01T19:18:01+25:00", "offset"),
        ("1066-10-14", "1678"),
        ("E:99999999999", "1678"),
        ("0000", "year"),
        ("٢٠١٦", "not a time"),
    ],
)
def test_what_is_no_time_is_refused_with_a_reason_and_a_cure(text, why):
    with pytest.raises(ValueError, match=r"is not a time|may begin") as error:
        bound(text)
    assert why in str(error.value) and repr(text) in str(error.value)


def test_an_empty_text_is_no_moment():
    with pytest.raises(ValueError, match="not a time"):
        moment("")


@given(st.datetimes(datetime(1678, 1, 1), datetime(2261, 12, 31)), st.sampled_from("T "))
def test_what_python_writes_is_read_to_the_microsecond(when, sign):
    since = when - datetime(1970, 1, 1)
    assert moment(when.isoformat(sign)) == (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000


@given(st.text(max_size=25))
def test_any_text_is_a_time_or_a_reason(text):
    try:
        assert isinstance(bound(text), int | None)
    except ValueError as error:
        assert str(error)
