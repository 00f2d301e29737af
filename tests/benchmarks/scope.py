"""How fast waveforms come: our link, python-vxi11 and bare TCP from the same simulated scope; scaling; events a second.

The simulator and each client are processes of their own; bare TCP is a sender of the same number of bytes. Ratios are
to python-vxi11 with its default options in the same run.
"""

import asyncio
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from drivers.lecroy.acquire import acquire, read_event
from drivers.lecroy.instrument import Instrument, parse_address, room
from drivers.lecroy.run import Run
from drivers.lecroy.scope import Scope
from drivers.lecroy.wavedesc import decode
from iocs.scope_waveforms import prepared

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import vxi11

SECONDS = 2.0
QUESTION = "C2:WF? DAT1"


def best(read: Callable[[], object]) -> tuple[float, float]:
    """Give the shortest time of many (s), and the mean processor time (s)."""
    read()
    shortest, count, cpu, end = 1e9, 0, time.process_time(), time.monotonic() + SECONDS
    while time.monotonic() < end or count < 3:
        began = time.perf_counter()
        read()
        shortest = min(shortest, time.perf_counter() - began)
        count += 1
    return shortest, (time.process_time() - cpu) / count


def bare(size: int) -> tuple[float, float]:
    """Receive `size` bytes into one buffer from a sender in a process of its own, one byte asking for them."""
    code = (
        "import socket, sys\n"
        "s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); c, _ = s.accept()\n"
        f"data = bytes({size})\n"
        "while c.recv(1): c.sendall(data)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as sender:
        port = int(sender.stdout.readline())
        buffer = memoryview(bytearray(size))
        with socket.create_connection(("127.0.0.1", port)) as sock:

            def read() -> None:
                sock.sendall(b"x")
                at = 0
                while at < size:
                    at += sock.recv_into(buffer[at:])

            result = best(read)
        sender.terminate()
    return result


def our_client(address: str) -> Callable[[], int]:
    """Our link, into one buffer that is used again."""
    ours = Instrument(parse_address(address))
    ours.timeout = 60.0
    buffer = room()

    def read() -> int:
        ours.write_raw(QUESTION.encode())
        return ours.read_into(buffer)

    return read


def python_vxi11(address: str) -> Callable[[], int]:
    """python-vxi11 as it is."""
    host, port = parse_address(address).host, parse_address(address).port
    theirs = vxi11.Instrument(host)
    theirs.client = vxi11.vxi11.CoreClient(host, port)
    theirs.timeout = 60

    def read() -> int:
        theirs.write(QUESTION)
        return len(theirs.read_raw())

    return read


def python_vxi11_warm(address: str) -> Callable[[], int]:
    """python-vxi11 in a process that has freed a larger block before: glibc then keeps the memory of its copies."""
    bytes(8 << 20)
    return python_vxi11(address)


CLIENTS = {"ours": our_client, "python-vxi11": python_vxi11, "python-vxi11, warm": python_vxi11_warm}


def measure(name: str, address: str) -> None:
    """What one client's process does: read again and again, and print size, shortest time, mean CPU, memory."""
    read = CLIENTS[name](address)
    size = read()
    print(size, *best(read), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, flush=True)
    os._exit(0)  # python-vxi11 complains of links that are not closed


def reading(address: str, points: int) -> None:
    """Read rates of one trace; each client in a fresh process, as what one did to the allocator changes the next."""
    ours = Instrument(parse_address(address))
    ours.timeout = 60.0
    ours.write(f"CHDR OFF;CORD LO;CFMT DEF9,WORD,BIN;SEQ OFF;MSIZ {points};TRMD SINGLE;WAIT 30;*OPC?")
    ours.read()
    ours.close()
    times: dict[str, tuple[float, float]] = {}
    size = 0
    for name in CLIENTS:
        command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.scope", name, address]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        size, memory = int(told[0]), int(told[3])
        times[name] = float(told[1]), float(told[2])
        said(name, size, times[name], f", {memory / 1e6:.0f} MB resident")
    times["bare TCP"] = bare(size)
    said("bare TCP", size, times["bare TCP"])
    mine, my_cpu = times["ours"]
    for name, (shortest, cpu) in times.items():
        if name != "ours":
            print(f"  ours to {name}: {shortest / mine:.2f} x the rate, {my_cpu / cpu:.2f} x the CPU")


def said(name: str, size: int, measured: tuple[float, float], more: str = "") -> None:
    """Print the absolutes of a client."""
    shortest, cpu = measured
    rate = size / shortest / 1e6
    print(f"  {size / 1e6:7.2f} MB {name:18} {rate:8.0f} MB/s  client CPU {cpu * 1e3:7.2f} ms{more}")


def scaling() -> None:
    """Codes to volts."""
    from tests.lecroy_blocks import trace

    waveform = decode(trace(4_000_000))
    for dtype in (np.float64, np.float32):
        out = np.empty(waveform.codes.shape, dtype)
        shortest, _ = best(lambda out=out: waveform.volts(out=out))
        print(f"  to {np.dtype(dtype).name}: {waveform.points / shortest / 1e6:.0f} Mpoints/s")


async def events(address: str) -> None:
    """Events a second to values as they are posted, and to files."""
    scope = Scope(address)
    await scope.open()
    await scope.sequence("OFF")
    for points in (500, 100_000):
        await scope.memory_size(points)
        began, count = time.monotonic(), 0
        while time.monotonic() < began + SECONDS:
            await scope.single()
            await scope.wait_acquisition(interval=0.0005)
            prepared(await read_event(scope, ["C2"]), 10_000, (), 0, 20_000)
            count += 1
        rate = count / (time.monotonic() - began)
        with tempfile.TemporaryDirectory() as folder:
            run = Run(Path(folder), "bench", ["C2"], seconds=SECONDS)
            await acquire(scope, run)
        print(
            f"  {points} points: {rate:.0f} events/s to values, {run.done / run.elapsed:.0f} events/s to synced files"
        )
    await scope.close()


def main() -> None:
    """Run all."""
    command = [sys.executable, "-W", "ignore", "-m", "drivers.lecroy.simulator", "--port", "0", "--rate", "10000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as simulator:
        try:
            address = simulator.stdout.readline().split()[2]
            threading.Thread(target=simulator.stdout.read, daemon=True).start()
            print("read rate:")
            for points in (500_000, 16_000_000):
                reading(address, points)
            print("scaling:")
            scaling()
            print("events (one channel; the simulator digitises each one):")
            asyncio.run(events(address))
        finally:
            simulator.terminate()


if __name__ == "__main__":
    measure(*sys.argv[1:]) if sys.argv[1:] else main()
