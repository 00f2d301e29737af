import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.cr1000.quoting import Rule, split

D, T, L = Rule.DOUBLED, Rule.TRIPLED, Rule.LENIENT


@pytest.mark.parametrize(
    ("line", "fields", "rule"),
    [
        ('"A value with """quotes""" goes here",2', ['A value with "quotes" goes here', "2"], T),
        ('"A value with ""quotes"" goes here",2', ['A value with "quotes" goes here', "2"], D),
        ('"abc""",2', ['abc"', "2"], D),
        ('"abc"""",2', ['abc"', "2"], T),
        ('"""abc""",2', ['"abc"', "2"], D),
        ('""""abc"""",2', ['"abc"', "2"], T),
        ('"",2', ["", "2"], D),
        (",,", ["", "", ""], D),
        ("", [""], D),
        ('""', [""], D),
        ('"1,2,3",x', ["1,2,3", "x"], D),
        ('a,"5"" pipe",b', ["a", '5" pipe', "b"], D),
        ('a,"5""" pipe",b', ["a", '5" pipe', "b"], T),
        ('a,"5" pipe",b', ["a", '5" pipe', "b"], L),
        ('a,"open,b', ["a", "open", "b"], L),
        ('a,"open', ["a", "open"], L),
        ('"', [""], L),
        ('"a,', ["a", ""], L),
        ('"2016-09-01 00:00:00",0,"NAN",1.5', ["2016-09-01 00:00:00", "0", "NAN", "1.5"], D),
        (' "a" , "b,c" ,d', ["a", "b,c", "d"], L),
    ],
)
def test_one_line(line, fields, rule):
    assert split(line) == (fields, rule)


hostile = st.lists(st.text('ab", \t', max_size=5), min_size=1, max_size=4)


@given(hostile)
def test_what_was_written_with_doubled_quotes_is_read_back(row):
    assert split(",".join('"' + field.replace('"', '""') + '"' for field in row)) == (row, D)


@given(st.lists(st.text("ab, 1", max_size=5), min_size=1), st.sampled_from([2, 3]))
def test_a_field_quoted_inside_words_is_read_back_whichever_way_it_was_written(row, quotes):
    row = [f'{field}x"y"z' for field in row]
    line = ",".join('"' + field.replace('"', '"' * quotes) + '"' for field in row)
    assert split(line) == (row, D if quotes == 2 else T)


@given(st.text('a", ', max_size=30))
def test_any_line_is_read_and_an_unquoted_comma_outside_quotes_always_parts(line):
    fields, _ = split(line)
    assert 1 <= len(fields) <= line.count(",") + 1
    if '"' not in line:
        assert fields == line.split(",")


@pytest.mark.alone
@pytest.mark.parametrize("piece", ['"', '"a,', ' "a" x,', '"",', '" ', '""x,'])
def test_a_line_of_millions_of_quotes_takes_a_moment(piece):
    start = time.monotonic()
    split(piece * (2_000_000 // len(piece)))
    assert time.monotonic() - start < 20
