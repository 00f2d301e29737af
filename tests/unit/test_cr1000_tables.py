"""Tables of loggers: every way of reading gives the same, what others read too, and bad input costs what is bad."""

import csv
import gzip
import io
import itertools
import struct
import tracemalloc
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.cr1000.follow import Follow
from ingest.cr1000.tables import Reader, Unreadable, read

ENGINES = ("pyarrow", "numpy", "rows")
NAMES = ("TIMESTAMP", "RECORD", "WS", "T", "SN")
HOUR = 3600 * 10**9
DAY0 = 1_472_688_000 * 10**9  # 2016-09-01


def head(names=NAMES, table="Met", station="SUM", serial="12345", program="CPU:met.CR1"):
    rows = [("TOA5", station, "CR1000", serial, "CR1000.Std.28", program, "51399", table), names]
    rows += [[""] * len(names)] * 2
    return "".join(",".join(f'"{cell}"' for cell in row) + "\r\n" for row in rows)


def row(minute, record=0, wind="1.5", warm="20.25", serial='"A12"'):
    return f'"2016-09-01 {minute // 60:02}:{minute % 60:02}:00",{record},{wind},{warm},{serial}\r\n'


def take(data, engine="numpy", size=1 << 20, final=False, **words):
    """Read bytes in pieces; give all columns joined, and the reader."""
    reader = Reader("file", engine=engine, **words)
    data = data.encode() if isinstance(data, str) else data
    blocks = []
    for at in range(0, len(data), size):
        blocks += reader.feed(data[at : at + size])
    blocks += reader.end(final)
    width = max((block.width for block in blocks), default=0)
    columns = {
        "time": [ns for block in blocks for ns in block.time_ns.tolist()],
        "line": [line for block in blocks for line in block.lines.tolist()],
        **{f: [x for block in blocks for x in block.number(f).tolist()] for f in range(1, width + 1)},
        **{f"{f}": [x for block in blocks for x in block.text(f)] for f in range(1, width + 1)},
    }
    for field in (1, 5):  # those of texts
        reader.counts.pop(f"no number in field {field}", None)
    return columns, reader


def minutes(columns):
    return [(ns - DAY0) // (60 * 10**9) for ns in columns["time"]]


@pytest.fixture(params=ENGINES)
def engine(request):
    if request.param == "pyarrow":
        pytest.importorskip("pyarrow", reason="pyarrow is absent; pip install pyarrow")
    return request.param


def test_a_table_is_read(engine):
    columns, reader = take(head() + row(1, 7) + row(2, 8, '"NAN"', "-.5") + row(3, 9, "", "7999"), engine)
    assert minutes(columns) == [1, 2, 3]
    assert columns["line"] == [5, 6, 7]
    assert np.array_equal(columns[3], [1.5, np.nan, np.nan], equal_nan=True)
    assert np.array_equal(columns[4], [20.25, -0.5, np.nan], equal_nan=True)
    assert columns["5"] == ["A12"] * 3 and columns["3"] == ["1.5", "NAN", ""]
    assert reader.header.names == NAMES and reader.header.table == "Met" and reader.header.serial == "12345"
    assert not reader.counts and not reader.notes


CELLS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.decimals(-10000, 10000, places=3).map(str),
    st.sampled_from(
        ['"NAN"', "NAN", "", "-7999", "7999", ".427", "-.036", "INF", "1e3", "5.", "+4", " 3 ", "-0", "x1"]
    ),
    st.integers(0, 10**20).map(str),
    st.text("ab ,", max_size=4).map(lambda text: f'"{text}"'),
)
FRACTIONS = st.sampled_from(["", ".2", ".05", ".005", ".123456789"])


@settings(deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS, FRACTIONS), min_size=1, max_size=12), st.integers(1, 400))
def test_every_way_and_any_pieces_give_the_same(cells, size):
    pytest.importorskip("pyarrow", reason="pyarrow is absent; pip install pyarrow")
    lines = [
        f'"2016-09-01 00:{n:02}:00{fraction}",{n},{one},{other},{n % 2}\r\n'
        for n, (one, other, fraction) in enumerate(cells)
    ]
    whole = head() + "".join(lines)
    told = [take(whole, engine)[0] for engine in ENGINES] + [take(whole, "numpy", size)[0]]
    for columns in told[1:]:
        assert columns.keys() == told[0].keys()
        for name, values in told[0].items():
            assert np.array_equal(values, columns[name], equal_nan=isinstance(name, int)), name
    # the csv module knows these lines as well
    theirs = list(csv.reader(io.StringIO("".join(lines))))
    assert told[0]["3"] == [line[2] for line in theirs] and told[0]["4"] == [line[3] for line in theirs]


PLAIN = st.one_of(
    st.decimals(-(10**9), 10**9, allow_nan=False).map(lambda d: f"{d:f}"[:20]),
    st.from_regex(r"-?(?:[0-9]{1,17}\.?[0-9]{0,17}|\.[0-9]{1,17})", fullmatch=True, alphabet="-.0123456789"),
)


@settings(deadline=None)
@given(st.lists(PLAIN, min_size=1))
def test_numbers_are_the_nearest_to_what_is_written(texts):
    columns, _ = take("".join(f"2016-09-01 00:00:{n % 60:02}.{n:03},{text}\n" for n, text in enumerate(texts)))
    order = sorted(range(len(texts)), key=lambda n: (n % 60, n))
    codes = (7999, -7999, 6999, -6999, -99999)
    expected = [np.nan if float(texts[n]) in codes else float(texts[n]) for n in order]
    assert np.array_equal(columns[2], expected, equal_nan=True)


def test_pandas_and_pyarrow_read_the_samples_as_we_do(sample, engine):
    pandas = pytest.importorskip("pandas", reason="pandas is absent; pip install pandas")
    for name in ("met-10min", "station-daily"):
        path = sample(f"cr1000/{name}.toa5.dat")
        reader = Reader(path.name, engine=engine)
        blocks = list(read(path, reader))
        theirs = pandas.read_csv(path, skiprows=[0, 2, 3], na_values=["NAN"], parse_dates=["TIMESTAMP"])
        theirs = theirs.drop_duplicates("TIMESTAMP", keep="last").sort_values("TIMESTAMP", kind="stable")
        stamps = theirs["TIMESTAMP"].to_numpy().astype("datetime64[ns]").astype(np.int64)
        assert np.array_equal(np.concatenate([block.time_ns for block in blocks]), stamps)
        for field, column in enumerate(theirs.columns, 1):
            if theirs[column].dtype.kind in "fi":
                ours = np.concatenate([block.number(field, codes=()) for block in blocks])
                assert np.allclose(ours, theirs[column].to_numpy(float), rtol=1e-15, atol=0, equal_nan=True), column
        assert list(reader.header.names) == list(theirs.columns)


def test_a_cut_last_line_is_held_back(engine):
    whole = head() + row(1) + row(2)
    columns, reader = take(whole[:-2], engine)  # all its fields are there, and it may still be cut within a number
    assert minutes(columns) == [1] and reader.counts == {"cut last line": 1}
    columns, reader = take(whole[:-2], engine, final=True)
    assert minutes(columns) == [1, 2] and not reader.counts
    columns, reader = take(whole[:-10], engine, final=True)
    assert minutes(columns) == [1] and reader.counts == {"wrong number of fields": 1}


BAD = {
    "a row too short": (row(2)[:-8] + "\r\n", "wrong number of fields"),
    "a row too long": (row(2)[:-2] + ",5\r\n", "wrong number of fields"),
    "two rows in one": (row(2)[:24] + row(3), "wrong number of fields"),
    "no stamp": (row(2).replace("2016-09", "2016-19"), "no time stamp"),
    "a year that no clock has": (row(2).replace("2016", "2716"), "no time stamp"),
    "a stamp that is cut": (row(0)[:14] + row(0)[20:], "no time stamp"),
    "NUL bytes": ("\0" * 300 + "\r\n", "NUL bytes in a row"),
    "NUL bytes within": (row(2).replace("1.5", "\0\0\0"), "NUL bytes in a row"),
    "rubbish": ("\x01\x02\xfe garbage \x7f,,,\r\n", "wrong number of fields"),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_is_bad_costs_itself_alone(engine, bad):
    line, reason = BAD[bad]
    columns, reader = take(head() + row(1, 1) + line + row(4, 2), engine)
    assert minutes(columns) == [1, 4] and reader.counts == {reason: 1}
    assert columns[3] == [1.5, 1.5]


def test_a_quote_that_is_not_closed_costs_no_other_line(engine):
    columns, reader = take(head() + row(1, 1) + row(2, 2, serial='"A12') + row(3, 3) + row(4, 4, serial='"B1"'), engine)
    assert minutes(columns) == [1, 2, 3, 4] and columns["5"] == ["A12", "A12", "A12", "B1"]
    assert reader.counts["quotes read leniently"] == 1


def test_what_lies_behind_a_quote_is_not_joined(engine):
    columns, reader = take(
        head() + row(1, 1, '"1.5"7') + row(2, 2, serial='"A12"1') + row(3, 3, serial='"A\r12"'), engine
    )
    assert columns[3] == [1.5, 1.5] and columns["5"] == ['A12"1', "A"]  # and never 1.57
    assert reader.counts["wrong number of fields"] == 2


def test_quotes_are_doubled_or_tripled(engine):
    said = 'A value with "quotes", here'
    for quote in ('""', '"""'):
        text = '"' + said.replace('"', quote) + '"'
        columns, _ = take(head() + row(1, 1, serial=text) + row(2, 2, serial='"5"" pipe"'), engine)
        assert columns["5"] == [said, '5" pipe'], quote


def test_a_text_in_a_column_of_numbers_is_missing_and_counted(engine):
    columns, reader = take(head() + row(1, 1) + row(2, 2, "wet") + row(3, 3), engine)
    assert np.array_equal(columns[3], [1.5, np.nan, 1.5], equal_nan=True)
    assert reader.counts["no number in field 3"] == 1


def test_a_field_beyond_the_row_is_missing(engine):
    reader = Reader("file", engine=engine)
    (block,) = reader.feed((head() + row(1)).encode())
    assert np.isnan(block.number(99)).all() and block.text(99) == [""] and np.isnan(block.number(0)).all()


def test_raw_counts_may_have_any_value(engine):
    reader = Reader("file", engine=engine)
    (block,) = reader.feed((head() + row(1, 1, "7999", "INF")).encode())
    assert np.isnan(block.number(3)[0]) and block.number(3, codes=())[0] == 7999
    assert np.isnan(block.number(4, codes=())[0])


def test_mixed_line_ends(engine):
    one, two, three, four = (row(n, n)[:-2] for n in (1, 2, 3, 4))
    columns, reader = take(head() + f"{one}\r{two}\n{three}\r\n\r\n{four}\n", engine)
    assert minutes(columns) == [1, 2, 3, 4] and not reader.counts


def test_only_old_line_ends(engine):
    columns, _ = take((head() + row(1, 1) + row(2, 2)).replace("\r\n", "\r") + "x", engine)
    assert minutes(columns) == [1, 2]


def test_a_comma_behind_the_last_value(engine):
    columns, reader = take(head() + row(1, 1)[:-2] + ",\r\n" + row(2, 2)[:-2] + ",\r\n", engine)
    assert minutes(columns) == [1, 2] and not reader.counts
    columns, reader = take(head() + row(1, 1)[:-2] + ",\r\n" + row(2, 2), engine)
    assert minutes(columns) == [1, 2] and not reader.counts


def test_24_00_is_the_next_day(engine):
    columns, reader = take(head() + row(1439, 1) + row(1440, 2).replace("01 24", "01 24"), engine)
    assert minutes(columns) == [1439, 1440] and reader.counts == {"24:00": 1}


def test_a_byte_order_mark_costs_nothing(engine):
    columns, reader = take("\ufeff" + head() + row(1), engine)
    assert minutes(columns) == [1] and reader.header.names == NAMES and not reader.counts


def test_a_text_that_is_not_utf8(engine):
    data = (head() + row(1, serial='"12°"')).encode("latin-1")
    columns, _ = take(data, engine)
    assert columns["5"] == ["12°"]


def test_rows_that_come_again_are_one(engine):
    columns, reader = take(head() + row(1, 1) + row(2, 2) + row(2, 2) + row(3, 3), engine)
    assert minutes(columns) == [1, 2, 3] and reader.counts["duplicate"] == 1
    columns, reader = take(head() + row(1, 1) + row(1, 1, "9"), engine)
    assert columns[3] == [9] and reader.counts["same time, other values"] == 1


def test_the_same_row_in_two_blocks_is_one(engine):
    reader = Reader("file", engine=engine)
    blocks = [*reader.feed((head() + row(1, 1)).encode()), *reader.feed((row(1, 1) + row(2, 2)).encode())]
    assert [len(block) for block in blocks] == [1, 1] and reader.counts["duplicate"] == 1 and not reader.order.late


def test_a_clock_that_goes_back(engine):
    reader = Reader("file", engine=engine)
    (block,) = reader.feed((head() + row(1, 1) + row(5, 2, "5") + row(3, 3, "3") + row(6, 4)).encode())
    assert block.number(3).tolist() == [1.5, 3, 5, 1.5] and block.lines.tolist() == [5, 7, 6, 8]
    assert reader.counts == {"out of order": 1, "clock put back": 1}
    assert block.clock is not None and block.clock.tolist() == [False, True, False, False]
    assert not reader.order.late
    list(reader.feed(row(2, 5).encode()))
    assert reader.order.late


def test_record_numbers_tell_of_losses_and_resets(engine):
    _, reader = take(head() + row(1, 1) + row(2, 2) + row(3, 6) + row(4, 0) + row(5, 1), engine)
    assert reader.counts == {"records lost": 3, "RECORD starts again": 1}
    _, reader = take(head() + row(1, 2**32 - 1) + row(2, 0) + row(3, 1), engine)
    assert not reader.counts


def test_a_header_that_changes_within_a_file(engine):
    other = head(("TIMESTAMP", "RECORD", "T", "WS", "SN"), serial="777")
    columns, reader = take(head() + row(1, 1) + other + row(2, 2) + row(3, 3), engine)
    assert minutes(columns) == [1, 2, 3] and reader.counts == {"header changes": 1}
    (note,) = reader.notes
    assert "line 6" in note and "serial '12345' -> '777'" in note and "field 3 'WS' -> 'T'" in note
    assert columns["line"] == [5, 10, 11]
    _, reader = take(head() + row(1, 1) + head() + row(2, 2), engine)  # two files of one program joined
    assert not reader.counts


def test_a_header_of_another_table(engine):
    data = head() + row(1, 1) + head(table="Daily") + row(2, 2) + row(3, 3) + head() + row(4, 2)
    columns, reader = take(data, engine)
    assert minutes(columns) == [1, 4]
    assert reader.counts == {"rows of another table": 2, "headers of others": 1}
    columns, reader = take(data, engine, table="Daily")
    assert minutes(columns) == [2, 3]


def test_two_loggers_in_one_file_lose_no_row(engine):
    data = head() + row(1, 1) + head(station="MLO", serial="9") + row(2, 70) + row(3, 71)
    columns, reader = take(data, engine)
    assert minutes(columns) == [1, 2, 3] and "station 'SUM' -> 'MLO'" in reader.notes[0]


def test_a_bare_csv(engine):
    columns, reader = take("2016-09-01 00:01,5\n2016-09-01 00:02:00,6\n2016-09-01T00:03:00Z,7\n", engine)
    assert minutes(columns) == [1, 2, 3] and columns[2] == [5, 6, 7] and not reader.header.names
    columns, reader = take("Time,RECORD,T\n2016-09-01 00:01:00,1,5\n2016-09-01 00:02:00,2,6\n", engine)
    assert reader.header.names == ("Time", "RECORD", "T") and columns[3] == [5, 6]
    columns, _ = take("2016-09-01 00:01:00,1,5\n2016-09-01 00:02:00,2\n", engine)
    assert np.array_equal(columns[3], [5, np.nan], equal_nan=True)


def test_arrays(engine):
    data = (
        "101,2016,245,1,.427\n110,2016,245,1,5,6\n101,2016,245,2,-.036\n101,2016,245,2400,6999\n101,2016,246,1,-6999\n"
    )
    columns, reader = take(data, engine)
    assert minutes(columns) == [1, 2, 1440, 1441]
    assert np.array_equal(columns[5], [0.427, -0.036, np.nan, np.nan], equal_nan=True)
    assert reader.counts == {"rows of other arrays": 1, "24:00": 1}
    columns, _ = take(data, engine, table="110")
    assert minutes(columns) == [1] and columns[6] == [6]


def test_the_clock_of_a_logger_that_is_not_in_utc(engine):
    columns, _ = take(head() + row(1), engine, utc_offset_ns=-10 * HOUR)
    assert columns["time"] == [DAY0 + 60 * 10**9 + 10 * HOUR]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes(range(256)) * 40, "no row with a time stamp"),
        (b"name,value\nx,5\n", "no row with a time stamp"),
        (b'"TOB3","SUM"\r\n', "CardConvert"),
        (b"<?xml version='1.0'?><csixml>", "CSIXML"),
        ("9/1/2016 19:18,5\n" * 3, "no row with a time stamp"),
    ],
)
def test_what_is_no_table_is_refused(engine, data, reason):
    with pytest.raises(Unreadable, match=reason):
        take(data, engine)


def test_nothing_is_no_error(engine):
    columns, reader = take("", engine)
    assert not columns["time"] and not reader.counts
    columns, reader = take(head()[:40], engine)
    assert not columns["time"] and reader.counts == {"cut last line": 1}


def test_a_line_of_ten_megabytes(engine):
    data = (head() + row(1, 1)).encode() + b"9" * 10_000_000 + b"\r\n" + row(2, 2).encode()
    tracemalloc.start()
    try:
        columns, reader = take(data, engine, 1 << 16)
        assert tracemalloc.get_traced_memory()[1] < 8e6
    finally:
        tracemalloc.stop()
    assert minutes(columns) == [1, 2] and reader.counts == {"line too long": 1}
    assert columns["line"] == [5, 7]


@settings(deadline=None)
@given(st.binary(max_size=400), st.integers(1, 50), st.sampled_from(ENGINES))
def test_rubbish_between_rows_ends_nothing(rubbish, size, way):
    if way == "pyarrow":
        pytest.importorskip("pyarrow", reason="pyarrow is absent; pip install pyarrow")
    data = (head() + row(1, 1)).encode() + rubbish + b"\n" + row(2, 2).encode()
    if b"TOA5" not in rubbish:
        columns, _ = take(data, way, size)
        assert minutes(columns)[0] == 1 and minutes(columns)[-1] == 2


def tob1(rows, kinds=("ULONG", "ULONG", "ULONG", "FP2", "IEEE4", "ASCII(4)", "UINT2")):
    names = ("SECONDS", "NANOSECONDS", "RECORD", "WS", "T", "SN", "N")
    lines = [("TOB1", "SUM", "CR1000", "12345", "", "", "", "Met"), names, ("",) * 7, ("",) * 7, kinds]
    text = "".join(",".join(f'"{cell}"' for cell in line) + "\r\n" for line in lines)
    return text.encode() + b"".join(
        struct.pack("<III", *r[:3]) + r[3] + struct.pack("<f4s", *r[4:6]) + r[6] for r in rows
    )


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_tob1_is_the_same_table_in_binary(size):
    since = 1_472_688_000 - 631_152_000
    # FP2 by the CR1000 manual: sign, two bits of decimals, 13 bits: 0x6006 is 0.006, 0xC7D0 -20.00, 0x9FFE "NAN"
    rows = [
        (since + 60, 500_000_000, 1, b"\x60\x06", 20.25, b"A12", b"\x00\x05"),
        (since + 120, 0, 2, b"\xc7\xd0", float("nan"), b"A12", b"\xff\xff"),
        (since + 180, 0, 3, b"\x9f\xfe", 7999.0, b"B", b"\x01\x00"),
    ]
    columns, reader = take(tob1(rows) + b"\x01\x02", "numpy", size)
    assert [ns - DAY0 for ns in columns["time"]] == [60_500_000_000, 120 * 10**9, 180 * 10**9]
    nan = np.nan
    for field, values in {2: [1, 2, 3], 3: [0.006, -20, nan], 4: [20.25, nan, nan], 6: [5, nan, 256]}.items():
        assert np.array_equal(columns[field], values, equal_nan=True), field
    assert columns["5"] == ["A12", "A12", "B"] and reader.header.names == ("TIMESTAMP", "RECORD", "WS", "T", "SN", "N")
    assert reader.counts["cut last row"] == 1
    columns, _ = take(tob1(rows), "numpy", size, table="Daily")
    assert not columns["time"]


@pytest.mark.parametrize("kinds", [("ULONG", "ULONG"), ("ULONG",) * 6 + ("HALF",)])
def test_tob1_with_types_that_nobody_knows(kinds):
    with pytest.raises(Unreadable, match="type"):
        take(tob1([], kinds), "numpy")


def test_packed_files(tmp_path: Path, engine):
    data = (head() + "".join(row(minute, minute) for minute in range(1440))).encode()
    whole = gzip.compress(data)
    cut, wrong = whole[: len(whole) * 3 // 4], whole[:-8] + b"some sum"
    for what, least in ((whole, 1440), (wrong, 1440), (cut, 700), (whole[:9], 0)):
        path = tmp_path / "packed.dat"
        path.write_bytes(what)
        seen, reader = set(), Reader(path.name, engine=engine)
        with nullcontext() if what is whole else pytest.raises(Unreadable, match="the rest of it cannot be unpacked"):
            for block in read(path, reader):
                seen |= set(block.time_ns.tolist())
        assert len(seen) >= least


def test_only_what_was_asked_for_is_converted():
    pytest.importorskip("pyarrow", reason="pyarrow is absent; pip install pyarrow")
    names = ("TIMESTAMP", "RECORD", "A", "B", "of this test alone")
    reader = Reader("file", engine="pyarrow")
    (first,) = reader.feed((head(names) + row(1, 1)).encode())
    assert set(reader._plan.types) == {0, 1}
    first.number(3)
    (second,) = reader.feed(row(2, 2).encode())
    assert set(second._cells._cells._columns) == {0, 1, 2} and second.number(3).tolist() == [1.5]
    (next_file,) = Reader("file", engine="pyarrow").feed((head(names) + row(1, 1)).encode())
    assert set(next_file._cells._cells._columns) == {0, 1, 2}


class Growing:
    def __init__(self, path: Path):
        self.path = path
        self.follow = Follow(path, lambda: Reader(path.name, engine="numpy"))

    def add(self, text: str):
        with self.path.open("a", newline="") as file:
            file.write(text)

    def poll(self):
        return [(ns - DAY0) // (60 * 10**9) for block in self.follow.poll() for ns in block.time_ns.tolist()]


@pytest.fixture
def file(tmp_path: Path):
    growing = Growing(tmp_path / "met.dat")
    yield growing
    growing.follow.close()


def test_a_growing_file_is_followed(file):
    assert file.poll() == [] and not file.follow.seen
    whole = head() + row(1, 1) + row(2, 2) + row(3, 3)
    cut = len(head()) - 30, len(head()) + 20, len(head()) + 60, len(whole) - 1
    seen = []
    for start, end in itertools.pairwise((0, *cut, len(whole))):
        file.add(whole[start:end])
        seen.append(file.poll())
    assert seen == [[], [], [1], [2], [3]] and not file.follow.counts


def test_a_roll_gives_what_was_held_back_and_goes_on(file, tmp_path: Path):
    file.add(head() + row(1, 1) + row(2, 2)[:-2])
    assert file.poll() == [1]
    file.path.rename(tmp_path / "met.dat.backup")
    assert file.poll() == []
    file.add(head(("TIMESTAMP", "RECORD", "T", "WS", "SN")) + row(3, 0))
    assert file.poll() == [2, 3] and file.follow.rolls == 1 and file.follow.reader.header.names[2] == "T"


def test_a_file_that_is_written_anew_is_read_anew(file):
    file.add(head() + row(1, 1) + row(2, 2))
    assert file.poll() == [1, 2]
    file.path.write_bytes(b"")
    file.add(head() + row(3, 3))
    assert file.poll() == [3]
    other = head(program="CPU:new.CR1") + row(4, 4) + row(5, 5) + row(6, 6)
    with file.path.open("r+", newline="") as same:  # longer than before, the same inode
        same.write(other)
    assert file.poll() == [4, 5, 6] and file.follow.rolls == 2
