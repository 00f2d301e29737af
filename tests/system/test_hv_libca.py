"""A shift with EPICS' own client library, in C: get all, put, follow the ramp, trip, clear, all off."""

import subprocess
from pathlib import Path

import pytest

from iocs.signals import Catalogue
from tests.c_client import Absent, build
from tests.hv_lab import CHANNEL, HvLab

NORMAL, PUT_FAILED = 1, 160  # ECA_NORMAL, ECA_PUTFAIL (EPICS Base, caerr.h)


class Shift:
    """One C client, whose channels are those of a supply."""

    def __init__(self, lab, program):
        self.prefix = f"{lab.prefix}HV:"
        self.process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=lab.environment
        )

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.kill()
        self.process.communicate()

    def say(self, command, name, *value):
        self.process.stdin.write(f"{command} {self.prefix}{name} {' '.join(map(str, value))}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        assert answer and not answer.startswith("error"), f"{command} {name} {value}: {answer}"
        return answer

    def put(self, name, value):
        return int(self.say("put", name, value))


@pytest.fixture
def program():
    try:
        return build(Path(__file__).parent / "hv_client.c")
    except Absent as absent:
        pytest.skip(f"needs {absent}")


@pytest.mark.timeout(400)  # a channel for each of some hundred PVs
def test_a_shift(tmp_path, program):
    with HvLab(tmp_path) as lab:
        lab.site(CHANNEL)
        lab.supply("--speed", "20")
        lab.ioc()
        lab.online()
        signals = Catalogue.from_json(lab.hv("PVS")).signals
        with Shift(lab, program) as crew:
            for signal in signals:
                answer = crew.say("get", signal.name)
                known = signal.name.endswith(("IHIST", "IMONL", "AGE", "PVS"))
                assert known or answer.endswith(" 0") or answer == "0", (signal.name, answer)
            assert crew.put("CH0:VSET", 250) == NORMAL and crew.say("get", "CH0:VSET_RBV") == "250.0 0"
            assert crew.put("CH0:ON", "On") == NORMAL and crew.say("get", "CH0:ON_RBV") == "On 0"
            told = crew.say("until", "CH0:VMON", 250)
            assert told.startswith("250 after ") and told.endswith(" 0 backwards"), told
            crew.say("until", "CH0:ATTARGET", 1)
            assert crew.put("CH0:VSET", 1001) == PUT_FAILED and crew.put("CH0:VSET", -1) == PUT_FAILED
            assert crew.put("CH0:VSET", "many") == PUT_FAILED
            assert crew.say("get", "CH0:VSET") == "250.0 0"
            lab.say(channel={"number": 0, "load": 1e6})
            crew.say("until", "CH0:TRIPPED", 1)
            assert crew.say("get", "CH0:TRIPPED") == "Yes 2"
            assert crew.put("CH0:ON", 1) == PUT_FAILED
            lab.say(channel={"number": 0, "load": 1e9})
            assert crew.put("CH0:TRIPCLEAR", 1) == NORMAL
            crew.say("until", "CH0:TRIPPED", 0)
            for number in (0, 2, 3):
                assert crew.put(f"CH{number}:VSET", 100) == crew.put(f"CH{number}:ON", 1) == NORMAL
                crew.say("until", f"CH{number}:VMON", 100)
            assert crew.put("ALLOFF", 1) == NORMAL
            for number in range(4):
                assert crew.say("get", f"CH{number}:ON_RBV") == "Off 0"
                crew.say("until", f"CH{number}:VMON", 0)
        assert lab.requests()[-1] == "CH:4,PAR:OFF"
