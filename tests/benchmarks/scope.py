"""How fast waveforms come: our link, python-vxi11 and bare TCP from the same simulated scope; scaling; events a second.

The simulator is a process of its own; bare TCP is a sender of the same number of bytes. Ratios are to python-vxi11 with
its default options in the same run.
"""

import asyncio
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
from drivers.lecroy.run import Run
from drivers.lecroy.scope import Scope
from drivers.lecroy.vxi11 import Instrument, parse_address
from drivers.lecroy.wavedesc import decode
from iocs.scope_waveforms import prepared

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import vxi11

SECONDS = 2.0


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


def reading(address: str, points: int) -> None:
    """Read rates of one trace."""
    ours = Instrument(parse_address(address))
    ours.timeout = 60.0
    ours.write(f"CHDR OFF;CORD LO;CFMT DEF9,WORD,BIN;SEQ OFF;MSIZ {points};TRMD SINGLE;WAIT 30;*OPC?")
    ours.read()
    theirs = vxi11.Instrument(ours.host)
    theirs.client = vxi11.vxi11.CoreClient(ours.host, ours.address.port)
    theirs.timeout = 60
    buffer = bytearray()

    def our_read() -> int:
        ours.write_raw(b"C2:WF? DAT1")
        return ours.read_into(buffer)

    def their_read() -> bytes:
        theirs.write("C2:WF? DAT1")
        return theirs.read_raw()

    size = our_read()
    assert their_read() == buffer[:size]
    rates = {"ours": best(our_read), "python-vxi11": best(their_read), "bare TCP": bare(size)}
    for name, (shortest, cpu) in rates.items():
        print(f"  {size / 1e6:7.2f} MB {name:13} {size / shortest / 1e6:8.0f} MB/s  client CPU {cpu * 1e3:7.2f} ms")
    (mine, my_cpu), (peers, peers_cpu), (least, _) = rates.values()
    print(
        f"  rate: {peers / mine:.2f} x python-vxi11, {least / mine:.2f} x bare TCP; CPU {my_cpu / peers_cpu:.2f} of it"
    )
    ours.close()
    theirs.close()


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
        address = simulator.stdout.readline().split()[2]
        threading.Thread(target=simulator.stdout.read, daemon=True).start()
        print("read rate:")
        for points in (500_000, 16_000_000):
            reading(address, points)
        print("scaling:")
        scaling()
        print("events (one channel; the simulator digitises each one):")
        asyncio.run(events(address))
        simulator.terminate()


if __name__ == "__main__":
    main()
