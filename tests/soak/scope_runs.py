"""A run of a scope's IOC with faults at random, for minutes: no event half, none twice, none out of order.

`python -m tests.soak.scope_runs --minutes 10 [--seed N]`. Faults are those of the wire, of power and of the disk. At
the end: the same number of files for every channel, each whole and of one trigger with its siblings, in the order of
their triggers; the run's own count right; no traceback in the log, memory flat. Exit code 1 and the reason if not.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from drivers.errors import ProtocolError
from drivers.lecroy.wavedesc import read_descriptor
from tests.processes import wait_for
from tests.scope_lab import ScopeLab

FAULTS = (
    *({name: 1} for name in ("cut", "stall", "wrong_xid", "garbage", "endless", "truncated", "lying")),
    {"late": 1, "late_by": 8.0},
    {"error": 2, "error_code": 17},
    {"fragments": 1000},
    {"fragments": 0},
    {"short": 500},
    {"short": 0},
    {"slow": 0.05},
    {"slow": 0.0},
    {"unknown": True},
    {"unknown": False},
    {"drop": True},
    {"panel": "CHDR OFF"},
    {"panel": "CORD HI"},
    {"panel": "CFMT DEF9,BYTE,BIN"},
)
SETTLED = 90.0  # s within which events come again after a fault


def soak(minutes: float, seed: int) -> list[str]:
    """Run, and give what is wrong."""
    choice = random.Random(seed)
    with tempfile.TemporaryDirectory() as directory, ScopeLab(Path(directory)) as lab:
        ioc = lab.start("--rate", "200")
        lab.put("RUN:N", 0)
        lab.put("RUN:START", 1)
        runs, aside = lab.directory / "runs", lab.directory / "aside"
        memory: list[int] = []
        end, done, longest = time.monotonic() + minutes * 60, 0, 0.0
        while time.monotonic() < end:
            kind = choice.random()
            if kind < 0.1:
                runs.rename(aside)  # as a disk that has gone away
                time.sleep(choice.uniform(0.5, 3))
                aside.rename(runs)
            elif kind < 0.2:
                lab.scope.say({"power": False})
                time.sleep(choice.uniform(0.2, 3))
                lab.scope.say({"power": True})
            else:
                lab.scope.say(choice.choice(FAULTS))
            done, since = done + 1, time.monotonic()
            events = len(lab.files("C4-*"))
            wait_for(lambda events=events: len(lab.files("C4-*")) > events + 5, "events", deadline=SETTLED)
            longest = max(longest, time.monotonic() - since)
            if done % 20 == 0:
                memory.append(round(ioc.peak_memory))
                print(f"{(end - time.monotonic()) / 60:5.1f} min left, {done} faults, {events} events", flush=True)
        lab.wait("S:RUN:STATE", 1)
        lab.put("RUN:STOP", 1)
        counted = int(lab.value("S:RUN:EVENTS"))
        lost, reconnects = lab.value("S:LOST"), lab.value("S:RECONNECTS")
        wrong = looked_through(lab, counted)
        code, log = ioc.stop(), ioc.log()
    print(
        f"{done} faults (seed {seed}): {counted} events, {lost:.0f} left out, {reconnects} reconnects, "
        f"{longest:.1f} s at most until events came again"
    )
    print(f"memory of the IOC, MB: {memory[:1]} .. {memory[-1:]}")
    if code:
        wrong.append(f"exit code {code}")
    if "Traceback" in log:
        wrong.append("there is a traceback in the log:\n" + log)
    if len(memory) > 4 and memory[-1] > 1.2 * memory[2] + 5:
        wrong.append(f"the IOC's memory grew: {memory}")
    return wrong


def looked_through(lab: ScopeLab, counted: int) -> list[str]:
    """Give what is wrong with the files of the run."""
    wrong, triggers = [], []
    files = [lab.files(f"C{n}-*.trc") for n in range(1, 5)]
    if {len(each) for each in files} != {counted}:
        wrong.append(f"{[len(each) for each in files]} files of the channels, {counted} events were counted")
    for event in zip(*files, strict=False):
        try:
            whens = {str(read_descriptor(path.read_bytes()).triggered) for path in event}
        except ProtocolError as error:
            wrong.append(f"{event[0].name} or a sibling: {error}")
            continue
        if len(whens) > 1:
            wrong.append(f"{event[0].name}: its channels are of several triggers")
        triggers.append(min(whens))
    if triggers != sorted(set(triggers)):
        wrong.append("an event is there twice, or out of order")
    if left := lab.files("*.new"):
        wrong.append(f"unfinished files are left: {[path.name for path in left]}")
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 16))
    options = parser.parse_args()
    mistakes = soak(options.minutes, options.seed)
    print("\n".join(mistakes) or "as it should be")
    sys.exit(bool(mistakes))
