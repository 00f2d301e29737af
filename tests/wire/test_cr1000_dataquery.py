"""A logger's web server over a real socket: what is believed, and what is kept of it, each record once."""

import csv
from contextlib import closing, contextmanager

import pytest

from drivers.errors import DeviceError, LinkError, LinkTimeout, ProtocolError
from ingest.cr1000.dataquery import DataQuery, Kept
from ingest.cr1000.simulated_logger import MEMORY, SimulatedLogger
from ingest.cr1000.simulator import serving
from tests.processes import free_port

TABLE = [
    ["TOA5", "ridge", "CR1000X", "41207", "CR1000X.Std.07", "CPU:ridge.CR1X", "1", "TenMin"],
    ["TIMESTAMP", "RECORD", "T_Avg", "Note"],
    ["TS", "RN", "Deg C", ""],
    ["", "", "Avg", "Smp"],
    *([f"2026-10-13 00:{minute}:00", str(minute), f"{minute / 8}", 'a "b", c'] for minute in range(10, 17)),
]


class Clock:
    """Seconds since 1970 that a test sets."""

    def __init__(self) -> None:
        self.now = 1_760_000_000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def logger_of(interval: float = 1.0, **options):
    clock = Clock()
    logger = SimulatedLogger(TABLE, interval, clock=clock, **options)
    server = serving(logger)
    try:
        yield logger, clock, f"http://127.0.0.1:{server.server_port}"
    finally:
        logger.mute = False
        server.shutdown()
        server.server_close()


def records(table: bytes) -> list[int]:
    return [int(row[1]) for row in csv.reader(table.decode().splitlines()[4:])]


def test_the_newest_records_come_as_a_table():
    with logger_of(0.25) as (_, clock, link):
        clock.now += 0.25
        lines = DataQuery(link, "TenMin").newest(2).decode().split("\r\n")
        assert lines[0].startswith('"TOA5","ridge"') and lines[0].endswith('"TenMin"')
        assert len(lines) == 7 and lines[-1] == ""
        assert lines[4].startswith('"2025-10-09 08:53:20",100,')
        assert lines[5].startswith('"2025-10-09 08:53:20.25",101,')
        assert lines[5].endswith(',"a ""b"", c"')


@pytest.mark.parametrize(
    ("fault", "error", "text"),
    [
        ({"failing": "resource locked"}, ProtocolError, "resource locked"),
        ({"cut": True}, LinkError, "IncompleteRead"),
        ({"mute": True}, LinkTimeout, "no answer within 0.2 s"),
    ],
)
def test_what_is_no_table_is_told_as_what_it_is(fault, error, text):
    with logger_of() as (logger, _, link):
        for name, value in fault.items():
            setattr(logger, name, value)
        with pytest.raises(error, match=text):
            DataQuery(link, "TenMin", timeout=0.2).newest(1)
        for name in fault:
            setattr(logger, name, type(getattr(logger, name))())
        assert len(records(DataQuery(link, "TenMin").newest(1))) == 1


def test_a_table_that_is_not_there_a_wrong_password_and_a_dead_port():
    with logger_of(user="met", password="s3cret") as (_, _, link):
        with pytest.raises(DeviceError, match="password"):
            DataQuery(link, "TenMin", "met", "guess").newest(1)
        with pytest.raises(DeviceError, match="401"):
            DataQuery(link, "TenMin").newest(1)
        with pytest.raises(ProtocolError, match=r"'Hourly' came but .*Unrecognized"):
            DataQuery(link, "Hourly", "met", "s3cret").newest(1)
        assert records(DataQuery(link, "TenMin", "met", "s3cret").newest(3)) == [98, 99, 100]
    with pytest.raises(LinkError, match="refused"):
        DataQuery(f"http://127.0.0.1:{free_port()}", "TenMin").newest(1)


def test_every_record_is_kept_once_over_restarts_of_either_side(tmp_path):
    path = tmp_path / "kept" / "ridge.dat"
    with logger_of() as (logger, clock, link):
        query, kept = DataQuery(link, "TenMin"), Kept(path)
        assert records(kept.fetch(query)) == list(range(101))
        assert records(kept.fetch(query)) == []
        clock.now += 3
        assert records(kept.fetch(query)) == [101, 102, 103]
        clock.now += 2
        assert records(Kept(path).fetch(query)) == [104, 105]  # the program was started again

        whole = path.read_bytes()
        path.write_bytes(whole[:-9])  # killed while it wrote
        clock.now += 1
        assert records(Kept(path).fetch(query)) == [105, 106]
        assert records(path.read_bytes()) == list(range(107))

        logger.reset()  # a new program: it counts from 0 again
        clock.now += 4
        kept = Kept(path)
        assert records(kept.fetch(query)) == [0, 1, 2, 3, 4]
        logger.reset()
        clock.now += 8  # and has come past the number where it was
        assert records(kept.fetch(query)) == list(range(9))
        assert records(path.read_bytes()) == [*range(107), *range(5), *range(9)]
        stamps = [line.split(b",")[0] for line in path.read_bytes().splitlines()[4:]]
        assert len(set(stamps)) == len(stamps) - 2  # a reset begins with the row of its second

        clock.now += 5 * MEMORY  # away for longer than the logger remembers: what it has is taken
        assert len(records(kept.fetch(query))) == MEMORY


def test_a_torn_header_is_written_anew_and_a_changed_one_within_the_file(tmp_path):
    path = tmp_path / "ridge.dat"
    path.write_bytes(b'"TOA5","ridge"')
    with logger_of() as (logger, clock, link):
        kept = Kept(path)
        kept.fetch(DataQuery(link, "TenMin"))
        assert records(path.read_bytes()) == list(range(101))
        logger._header = [TABLE[0], ["TIMESTAMP", "RECORD", "Note", "T_Avg"], *TABLE[2:4]]
        clock.now += 1
        kept.fetch(DataQuery(link, "TenMin"))
    lines = path.read_bytes().splitlines()
    assert lines[106].startswith(b'"TIMESTAMP","RECORD","Note"') and len(lines) == 4 + 101 + 4 + 1


def test_a_table_without_record_numbers_is_not_kept(tmp_path):
    with logger_of() as (logger, _, link), closing((tmp_path / "x").open("w")):
        logger._header = [TABLE[0], ["TIMESTAMP", "N", "T_Avg", "Note"], *TABLE[2:4]]
        kept = Kept(tmp_path / "ridge.dat")
        with pytest.raises(ProtocolError, match="RECORD"):
            kept.fetch(DataQuery(link, "TenMin"))
            kept.fetch(DataQuery(link, "TenMin"))
