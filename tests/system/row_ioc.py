"""A process that serves a catalogue and a row PV and does what its standard input says: for tests of the archiver.

    python row_ioc.py LAB:PMU: [--simulated] [--version 1]

Lines on stdin: `rows N` (posts N rows, 20 ms of data time apart), `skip N` (numbers that are never sent), `columns`
(a new catalogue version with one column more; its rows may come before it), `step N` (the clock of the data by N s),
`lost` (all INVALID). Each is answered by a line with the last sequence number.
"""

import argparse
import asyncio
import sys

from iocs.ca.server import Server
from iocs.signals import MONITOR, ROW_COUNT, Catalogue, Kind, Signal, Status

START = 1_790_000_000_000_000_000
STEP = 20_000_000


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("prefix")
    parser.add_argument("--simulated", action="store_true")
    parser.add_argument("--version", type=int, default=1)
    options = parser.parse_args()
    columns = [
        Signal("FREQ", unit="Hz", row="ROW", archive=MONITOR),
        Signal("STAT", kind=Kind.INT, row="ROW", archive=MONITOR),
    ]
    version, sequence, time_ns = options.version, 0, START
    server = Server()
    server.serve(options.prefix, [Signal("PVS", kind=Kind.TEXT), Signal("ROW", count=ROW_COUNT)])

    def post_catalogue() -> None:
        catalogue = Catalogue("PMU", "test", options.prefix, version, options.simulated, tuple(columns))
        server.post(options.prefix, START, {"PVS": catalogue.to_json()})

    post_catalogue()
    await server.start()
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        word, _, number = line.strip().partition(" ")
        if word == "rows":
            for _ in range(int(number)):
                sequence += 1
                time_ns += STEP
                head = [float(sequence), float(version), float(time_ns // 10**9), float(time_ns % 10**9)]
                values = [50.0 + sequence * 1e-6] + [float(sequence)] * (len(columns) - 1)
                server.post(options.prefix, time_ns, {"ROW": head + values})
                if sequence % 20 == 0:
                    await asyncio.sleep(0.005)
        elif word == "skip":
            sequence += int(number)
        elif word == "step":
            time_ns += int(number) * 1_000_000_000
        elif word == "columns":
            version += 1
            columns.append(Signal(f"A{version}", unit="V", row="ROW", archive=MONITOR))
            loop.call_later(0.3, post_catalogue)
        elif word == "lost":
            server.invalidate([options.prefix + "ROW"], Status.COMM)
        print(sequence, flush=True)


asyncio.run(main())
