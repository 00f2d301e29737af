"""How many PMUs (50 frames/s, 8 phasors) one IOC and one archiver bring to CSV without a missing row.

`python -m tests.benchmarks.pmu_many [SECONDS [PMUS ...]]`. The simulated PMUs are one process; each has its own port,
all send the same bytes, so that they take little of the two cores that the three processes share.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections import deque
from pathlib import Path

from drivers.c37118.simulator import SimulatedStream, Simulator
from tests.processes import Process, ca_environment, free_port, random_prefix, wait_for, write_site

RATE = 50
EXACT = '[archive.csv]\ntime_format = "ns"\n'


class Copy:
    """A source that sends what another one makes."""

    waits_for_listener = False
    idcode = 1

    def __init__(self, stream: SimulatedStream, made: deque[tuple[int, list[bytes]]]) -> None:
        self._stream, self._made = stream, made
        self._next = 0

    def due(self) -> float:
        newest = self._made[-1][0] if self._made else -1
        return 0.0 if self._next <= newest else self._stream.due()

    def step(self) -> list[bytes]:
        newest = self._made[-1][0] if self._made else -1
        if self._next > newest:
            self._made.append((self._next, self._stream.step()))
        frames = next(frames for number, frames in reversed(self._made) if number == self._next)
        self._next += 1
        return frames

    def answer(self, command: int) -> bytes | None:
        return self._stream.answer(command)


async def serve(count: int) -> None:
    stream, made = SimulatedStream(rate=RATE, cfg3=True), deque(maxlen=1000)
    simulators = [Simulator(Copy(stream, made)) for _ in range(count)]
    for simulator in simulators:
        await simulator.__aenter__()
    print("ports", *(simulator.port for simulator in simulators), flush=True)
    await asyncio.Event().wait()


def rows(directory: Path) -> dict[str, int]:
    return {
        path.name.split("_")[0]: int(
            subprocess.run(["wc", "-l", path], capture_output=True, check=True).stdout.split()[0]
        )
        for path in directory.glob("data/*.csv")
    }


def measure(count: int, seconds: float) -> None:
    """Run so many PMUs and print a line."""
    environment = ca_environment(free_port())
    with (
        tempfile.TemporaryDirectory() as name,
        Process("tests.benchmarks.pmu_many", "serve", str(count)) as pmus,
    ):
        directory = Path(name)
        ports = pmus.line("ports").split()[1:]
        devices = [
            f'[[device]]\nname = "PMU{n}"\ntype = "pmu"\nlink = "tcp://127.0.0.1:{port}"\nidcode = 1\n'
            for n, port in enumerate(ports)
        ]
        site = write_site(directory, random_prefix(), "\n".join(devices), EXACT)
        with (
            Process("iocs", "run", str(site), environment=environment) as ioc,
            Process("archiver", "run", str(site), environment=environment) as archiver,
        ):
            ioc.line("serving PMU0", deadline=120)
            wait_for(lambda: len(rows(directory)) == count, "files", deadline=180)
            begun = [process.cpu_seconds for process in (ioc, archiver, pmus)]
            first = rows(directory)
            wait_for(
                lambda: min(rows(directory).values()) >= max(first.values()) + RATE * seconds,
                "rows",
                deadline=4 * seconds + 120,
            )
            used = [process.cpu_seconds - before for process, before in zip((ioc, archiver, pmus), begun, strict=True)]
            memory = round(ioc.peak_memory), round(archiver.peak_memory)
            if archiver.stop() != 0:
                raise RuntimeError(archiver.log())
        total = missing = twice = 0
        for path in directory.glob("data/*.csv"):
            index = [round(int(line.split(",")[0]) * RATE / 1e9) for line in path.read_text().splitlines()[1:]]
            total += len(index)
            missing += index[-1] - index[0] + 1 - len(set(index))
            twice += len(index) - len(set(index))
    share = ", ".join(
        f"{who} {cpu / total * 1e6:.0f} us a row" for who, cpu in zip(("IOC", "archiver", "PMUs"), used, strict=True)
    )
    print(
        f"{count:3} PMUs: {total} rows, {missing} missing, {twice} twice; processor: {share}; "
        f"memory {memory[0]} and {memory[1]} MB; {os.cpu_count()} cores",
        flush=True,
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve(int(sys.argv[2])))
    else:
        span = float(sys.argv[1]) if len(sys.argv) > 1 else 60
        for number in [int(text) for text in sys.argv[2:]] or [50, 100]:
            measure(number, span)
