"""One store's disk refuses, and no other's: that one waits, the others go on, nothing is lost, and it heals by itself.

The system's own errors, below one folder alone: by a library before the C library of a real archiver (`disk_fault.c`).
"""

import errno
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.influx import before, running
from tests.processes import wait_for
from tests.system.test_archiver_influx import SHORT, Book

SOURCE = Path(__file__).with_name("disk_fault.c")
CACHE = Path(__file__).parents[2] / ".cache"


def library() -> Path:
    """Give the library's path; compiles it unless that was done. Skips without a compiler."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        pytest.skip("a C compiler (cc) is needed")
    built = CACHE / f"disk-fault-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]}.so"
    if not built.exists():
        CACHE.mkdir(exist_ok=True)
        fresh = built.with_suffix(f".{os.getpid()}")
        subprocess.run((compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-O1", "-o", fresh, SOURCE), check=True)
        fresh.replace(built)  # whole for whoever else is building it
    return built


def test_a_disk_that_refuses_one_store_costs_neither_it_nor_the_other_an_event(tmp_path: Path) -> None:
    control = tmp_path / "fault"
    with running(tmp_path / "influx", "lab") as server, before(server) as shim:
        book = Book(tmp_path, server, shim, *SHORT, version=1)
        book.site.write_text(
            book.site.read_text()
            .replace("[archive]\n", "[archive]\nspool_megabytes = 0.05\nsync_every = 0.1\n")
            .replace("[archive.csv]\n", "[archive.csv]\nnew_file_every = 1\n")
        )
        book.environment |= {"LD_PRELOAD": str(library()), "DISK_FAULT": str(control)}
        try:
            book.counting(50)
            archiver = book.archiver()

            def told(text: str) -> Callable[[], bool]:
                """Give what tells whether a line has come since."""
                known = archiver.log().count(text)
                return lambda: archiver.log().count(text) > known

            def fault(number: int, folder: Path) -> None:
                fresh = control.with_suffix(".new")
                fresh.write_text(f"{number} {folder}\n")
                fresh.replace(control)

            def grows(store: Callable[[], dict[str, list[float]]], what: str) -> None:
                newest = store()["PV0"][-1]
                wait_for(lambda: store()["PV0"][-1] > newest + 10, what)

            wait_for(lambda: book.stored().keys() == book.numbers().keys() == set(SHORT), "values in both stores")
            for number in (errno.ENOSPC, errno.EACCES):
                away, back = told("csv: cannot write to"), told("csv: writing again")
                fault(number, book.data)
                wait_for(away, f"word of {errno.errorcode[number]} on the files")
                at = book.numbers()["PV0"][-1]
                grows(book.stored, f"values in the database while the files meet {errno.errorcode[number]}")
                assert book.numbers()["PV0"][-1] == at, "the files took something all the same"
                control.unlink()
                wait_for(back, "files that are written again")
                for store in ("csv", "influx"):
                    spool = tmp_path / "state" / "spool" / store
                    away = told(f"{store}: the spool {spool} cannot be written")
                    back = told(f"{store}: the spool is written again")
                    fault(number, spool)
                    wait_for(away, f"word of {errno.errorcode[number]} on the spool of {store}")
                    grows(book.stored, "values in the database, out of memory")
                    grows(book.numbers, "values in the files, out of memory")
                    control.unlink()
                    wait_for(back, f"a spool of {store} that is written again")
            assert archiver.stop() == 0
            assert book.stored() == book.numbers()
            for pv, found in book.numbers().items():
                assert found == [found[0] + n for n in range(len(found))], pv
            assert "dropped" not in archiver.log() and archiver.log().count(", 0 waiting") >= 2
        finally:
            book.close()
