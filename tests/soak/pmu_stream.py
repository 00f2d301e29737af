"""The stream of a PMU with faults at random, for minutes: nothing may be lost but what was damaged on the wire.

`python -m tests.soak.pmu_stream --minutes 10 [--seed N] [--udp]`. At the end: each row of the CSV once, its
holes exactly the frames that the IOC counted as missing, no traceback in a log, memory flat. Exit code 1 and the reason
if not.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from tests.lab import Lab
from tests.processes import wait_for

RATE = 50
EXACT = '[archive.csv]\ntime_format = "ns"\nwrite_every = 1\n'
FAULTS = (
    {"bad_crc": 3},
    {"garble": 2},
    {"garbage": 400},
    {"gap": 5},
    {"duplicate": 4},
    {"split": True},
    {"split": False},
    {"merge": 7},
    {"merge": 1},
    {"drop": True},
    {"silence": True},
    *({"silence": False},) * 4,
    {"trigger": 4},
    {"trigger": None},
    {"stat": 0x2000},
    {"stat": 0},
)
WELL = ({"silence": False}, {"split": False}, {"merge": 1}, {"stat": 0}, {"trigger": None})


async def counted(lab: Lab) -> tuple[int, int]:
    """Give FRAMES and MISSED of the IOC."""
    async with lab.pvs() as watched:
        values = [await watched.until(name, lambda reading: reading.connected) for name in ("FRAMES", "MISSED")]
        return int(values[0].value), int(values[1].value)


UDP = ({"swap": 3}, {"swap": 7}, {"duplicate": 9})


def soak(minutes: float, seed: int, udp: bool) -> list[str]:
    """Run, and give what is wrong."""
    choice = random.Random(seed)
    faults = (*FAULTS, *UDP) if udp else FAULTS
    options = ("--cfg3", "--udp") if udp else ("--cfg3",)
    keys = 'link = "udp://127.0.0.1:PMU_PORT"\n' if udp else ""
    with tempfile.TemporaryDirectory() as directory, Lab(Path(directory), *options, keys=keys, rest=EXACT) as lab:
        lab.start_simulator()
        lab.start_ioc()
        lab.start_archiver()
        end = time.monotonic() + minutes * 60
        memory: list[tuple[int, int]] = []
        done = 0
        while time.monotonic() < end:
            lab.simulator.say(choice.choice(faults))
            done += 1
            time.sleep(choice.uniform(0.2, 1.5))
            if done % 20 == 0:
                memory.append((round(lab.ioc.peak_memory), round(lab.archiver.peak_memory)))
                print(
                    f"{(end - time.monotonic()) / 60:5.1f} min left, {done} faults, {len(lab.rows())} rows", flush=True
                )
        for fault in WELL:
            lab.simulator.say(fault)
        before = len(lab.rows())
        wait_for(lambda: len(lab.rows()) > before + 5 * RATE, "rows after the faults", deadline=60)
        lab.simulator.say({"silence": True})
        lab.ioc.line("lost: ")
        time.sleep(4)
        frames, missed = asyncio.run(counted(lab))
        codes = lab.archiver.stop(), lab.ioc.stop()
        index = [round(int(row[0]) * RATE / 1e9) for row in lab.rows()]
        logs = lab.ioc.log() + lab.archiver.log()
    first = int(
        next(line for line in lab.archiver.err if "first row is number" in line).split("number ")[1].split(",")[0]
    )
    holes = sum(later - earlier - 1 for earlier, later in pairwise(index))
    print(f"{done} faults (seed {seed}): {frames} frames, {missed} missed by the IOC's count")
    print(f"CSV: {len(index)} rows from number {first} on, {holes} missing")
    print(f"memory, IOC and archiver, MB: {memory[:1]} .. {memory[-1:]}")
    wrong = []
    if codes != (0, 0):
        wrong.append(f"exit codes {codes}")
    if len(index) != frames - first + 1:
        wrong.append(f"{frames - first + 1} frames were posted, {len(index)} rows are in the files")
    if sorted(set(index)) != index:
        wrong.append("a row is there twice, or out of order")
    if not 0 <= missed - holes <= first:
        wrong.append(f"{holes} rows are missing in the files, the IOC counted {missed}")
    if "Traceback" in logs:
        wrong.append("there is a traceback in a log:\n" + logs)
    if len(memory) > 4 and memory[-1][0] > 1.2 * memory[2][0] + 5:
        wrong.append(f"the IOC's memory grew: {memory}")
    if len(memory) > 4 and memory[-1][1] > 1.2 * memory[2][1] + 5:
        wrong.append(f"the archiver's memory grew: {memory}")
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 16))
    parser.add_argument("--udp", action="store_true", help="by UDP, with datagrams out of order")
    options = parser.parse_args()
    mistakes = soak(options.minutes, options.seed, options.udp)
    print("\n".join(mistakes) or "as it should be")
    sys.exit(bool(mistakes))
