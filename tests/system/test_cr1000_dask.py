"""A real scheduler and two workers on this machine."""

import os
import re
import subprocess
import sys
import threading
from functools import partial

import pytest

from ingest.cr1000 import __main__ as command
from ingest.cr1000.__main__ import main
from ingest.cr1000.jobs import Dask
from tests.cr1000 import write
from tests.processes import wait_for

HEAD = '"TOA5","sum","CR1000","1","OS","PROG","2","Met"\n"TIMESTAMP","RECORD","A","S"\n"TS","RN","",""\n"","","",""\n'
CLUSTER = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster("127.0.0.1", n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


@pytest.fixture
def cluster(tmp_path):
    script = tmp_path / "cluster.py"
    script.write_text(CLUSTER)
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        cwd=tmp_path,
    )
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(iter(process.stdout.readline, "")))
    reader.start()
    try:
        yield wait_for(lambda: said and said[0].strip(), "address of a scheduler", 90)
    finally:
        process.stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(10)
        process.stdout.close()


def test_a_cluster_gives_what_one_process_gives(cluster, tmp_path, capfd):
    write(
        tmp_path,
        {
            "sum.cfg": ",,T,hmp,4,3\n,,LOGGER,string,4\n",
            "sensors/hmp/a.cfg": ",,1:2\n",
            **{
                f"{n}.dat": HEAD
                + "".join(f'"2016-09-{n:02} 00:{m:02}:00",{m},{m},"{"ab"[m % 2]}"\n' for m in range(60))
                for n in (3, 1, 2, 4)
            },
            "5.dat": "nothing\n",
        },
    )
    data = [str(tmp_path / f"{n}.dat") for n in (3, 1, 2, 4, 5)]
    results = []
    for how in ((), ("--dask", cluster)):
        out = tmp_path / f"{len(how)}.csv"
        assert main([*data, "--config", str(tmp_path), "--station", "sum", "--csv", str(out), *how]) == 1
        results.append((out.read_bytes(), capfd.readouterr().err))
    assert results[0] == results[1] and results[0][0].count(b"\n") == 241
    assert re.search(r"T1: serial 'b' has no file in sensors/hmp.*: 120 rows", results[1][1])


def test_a_scheduler_that_is_not_there_is_told(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(command, "Dask", partial(Dask, timeout=0.2))
    write(tmp_path, {"sum.cfg": ",,T,calibration,3\n"})
    status = main(["x.dat", "--config", str(tmp_path), "--station", "sum", "--dask", "tcp://127.0.0.1:1"])
    assert status == 2 and "--dask tcp://127.0.0.1:1" in capfd.readouterr().err
