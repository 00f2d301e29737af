"""What every installed kind of device promises, with its own simulator and its table of site.example.toml."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from iocs.config import installed_kinds
from iocs.device import COMMON
from iocs.signals import Catalogue, Direction, Kind
from tests.processes import wait_for, write_site
from tests.thermostat_lab import COMM, INVALID, MAJOR, MINOR, UDF, Lab

EXAMPLE = Path(__file__).resolve().parents[2] / "site.example.toml"
SHORTER = {"gas": "period = 1\n"}  # keys that spare the test waiting
NEVER_SET = {  # undefined until somebody has set, or asked for, what they need
    "gas": {"BASELINE", "GASRATIO"},
    "hv": {f"CH{n}:IHIST" for n in range(4)},
    "scope": {"RUN:ETA", *(f"C{n}:WF:FULL" for n in range(1, 5))},
}
NOT_IN_USE = {"hv": {f"CH{n}:IMONL" for n in range(4)}}  # the range of the meter that is not the present one
OURS = {"hv": r"ILK\d:|RAMP\d:(?!APART)"}  # they tell of us, and hold whether the box answers or not


def table(kind: str) -> str:
    """The kind's table in the example, alone."""
    for table in re.split(r"(?m)^(?=\[\[?(?!device\.))", EXAMPLE.read_text(encoding="utf-8")):
        if table.startswith("[[device]]") and f'type = "{kind}"' in table:
            table = re.sub(r'(?m)^name = "\w+"', 'name = "X"', table).replace('"docs/', f'"{EXAMPLE.parent}/docs/')
            return table.replace("[[device]]\n", "[[device]]\n" + SHORTER.get(kind, ""), 1)
    raise AssertionError(f"site.example.toml has no device of the kind {kind}")


@pytest.mark.parametrize("kind", sorted(installed_kinds()))
def test_online_complete_lost_healed_and_guarded(kind, tmp_path):
    with Lab(tmp_path) as lab:
        write_site(tmp_path, lab.prefix, table(kind))
        ioc = lab.ioc("--sim")
        lab.wait("X:ONLINE", 1)
        catalogue = Catalogue.from_json(lab.value("X:PVS"))
        common = {each.name for each in COMMON}
        own = [each for each in catalogue.signals if each.name not in common]
        unset, unused = NEVER_SET.get(kind, set()), NOT_IN_USE.get(kind, set())
        never = unset | unused
        ours = re.compile(OURS.get(kind, "(?!)"))

        for each in catalogue.signals:
            reading = lab.wait(f"X:{each.name}", lambda r, n=each.name: r["severity"] <= MINOR or n in never)
            assert each.doc, each.name
            if each.kind is Kind.FLOAT:
                assert (reading["units"], reading["precision"]) == (each.unit, each.precision), each.name
            if each.name in unset:
                assert reading["status"] == UDF, each.name
            else:
                assert abs(reading["timestamp"] - time.time()) < 60, each.name

        for each in own:
            if each.direction is not Direction.READBACK and each.limits:
                before = lab.read(f"X:{each.name}")
                lab.libca.put(f"{lab.prefix}X:{each.name}", each.limits[1] * 2 + 1)
                after = lab.read(f"X:{each.name}")
                assert "beyond the limits" in lab.value("X:LASTREJECT.VAL$")
                assert lab.value("X:LASTREJECT").startswith(f"{each.name} = ")
                for key in ("severity", "status"):
                    assert after[key] == before[key], each.name

        (box,) = children(ioc.popen.pid)
        os.kill(box, signal.SIGSTOP)
        try:
            lab.wait("X:ONLINE", lambda reading: (reading["value"], reading["severity"]) == (0, MAJOR))
            for each in own:
                reading = lab.read(f"X:{each.name}")
                if each.name not in never and not ours.match(each.name):
                    assert (reading["severity"], reading["status"]) == (INVALID, COMM), each.name
            assert lab.value("X:ERROR.VAL$")
        finally:
            os.kill(box, signal.SIGCONT)  # stopped, it could not even end
        lab.wait("X:ONLINE", 1)
        for each in own:
            lab.wait(f"X:{each.name}", lambda r, n=each.name: r["severity"] <= MINOR or n in never)
        assert ioc.stop() == 0
        wait_for(lambda: not Path(f"/proc/{box}").exists(), "end of the simulator")


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
