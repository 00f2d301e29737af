import io
import re
import sys

import pytest

from ingest.cr1000 import jobs, progress
from ingest.cr1000.__main__ import main
from ingest.cr1000.configuration import load
from ingest.cr1000.jobs import Job, Reading
from ingest.cr1000.plan import Wanted
from ingest.cr1000.publish import Publication
from tests.cr1000 import write

HEAD = '"TOA5","sum","CR1000","1","OS","PROG","2","Met"\n"TIMESTAMP","RECORD","A","S"\n"TS","RN","",""\n"","","",""\n'
DATA = HEAD + "".join(f'"2016-09-01 00:{m:02}:00",{m},{m / 7},"{"ab"[m % 2]}"\n' for m in range(60))
FILES = {"sum.cfg": ",,T,hmp,4,3\n,,LOGGER,string,4\n", "sensors/hmp/a.cfg": ",,1:2\n", "sum.dat": DATA}


def by_a_worker(folder, wanted):
    """Give what a worker sends: rows, and their texts."""
    job = Job(folder / "sum.dat", load(folder, "sum"), Reading(), wanted=wanted)
    file = io.BytesIO()
    outcome = jobs._into(job, file)
    file.seek(0)
    assert outcome.rows == 60 and not outcome.error
    return list(jobs._rows(file))


@pytest.mark.parametrize("options", [[], ["--long"]])
def test_what_a_worker_formats_is_what_one_process_writes(tmp_path, options):
    folder = write(tmp_path, FILES)
    out = folder / "o.csv"
    assert (
        main([str(folder / "sum.dat"), "--config", str(folder), "--station", "sum", "--csv", str(out), *options]) == 0
    )
    wanted = Wanted("sum", "", out, long=bool(options))
    formatted = b"".join(texts.csv for _, _, texts in by_a_worker(folder, wanted))
    assert formatted == out.read_bytes().partition(b"\n")[2]


def test_rows_of_which_only_some_are_wanted_are_formatted_anew(tmp_path):
    folder = write(tmp_path, FILES)
    first = by_a_worker(folder, Wanted("sum", "", folder / "o.csv"))[0][0][50]
    wanted = Wanted("sum", "", folder / "o.csv", from_ns=int(first))
    with Publication(wanted, [folder / "sum.dat"]) as publication:
        for rows in by_a_worker(folder, wanted):
            publication.take(*rows)
        publication.finish()
    assert (folder / "o.csv").read_text().splitlines()[1].startswith("2016-09-01T00:50:00Z,")
    assert len((folder / "o.csv").read_text().splitlines()) == 11


def test_means_are_not_formatted_ahead(tmp_path):
    folder = write(tmp_path, FILES)
    assert [texts.csv for _, _, texts in by_a_worker(folder, Wanted("sum", "", folder / "o.csv", average_ns=1))] == [
        None
    ]


def test_jobs_are_begun_ahead_and_given_in_order():
    begun = []
    tasks = ((number, begun.append(number)) for number in range(6))
    given = jobs._ahead(tasks, 3)
    assert next(given)[0] == 0 and begun == [0, 1, 2]
    assert [number for number, _ in given] == [1, 2, 3, 4, 5]


def test_a_bar_where_stderr_is_a_terminal_and_nowhere_else(tmp_path, monkeypatch, capsys):
    path = write(tmp_path, FILES) / "sum.dat"
    monkeypatch.setattr(progress, "FIRST", 0)
    monkeypatch.setattr(progress, "NEXT", 0)
    for terminal in (False, True):
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal)
        bar = progress.Progress([path])
        bar.file(path)
        bar.at(path.stat().st_size // 2)
        bar.done(path)
        bar.end()
        shown = capsys.readouterr().err
        assert re.findall(r"sum\.dat \[(#*) *\] +(\d+)%", shown) == ([("#" * 20, "50"), ("#" * 40, "100")] * terminal)
        assert not shown or shown.endswith("\r\033[K")
