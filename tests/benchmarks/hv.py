"""What a fast cycle of a high-voltage supply costs in exchanges, and how long OFF waits, both taken from the wire.

Run as `python -m tests.benchmarks.hv`. The cycle is VMON, IMON, STAT of all channels and BDALARM. The peer is what the
scripts did over the vendor's library: 16 reads (4 quantities of 4 channels) of two calls each, the parameter's type and
then its value; here each call is one single read over the same socket.
"""

import asyncio
import statistics
import time

from drivers.caen_hv.client import Client, Priority
from drivers.caen_hv.simulator import SimulatedBoard, Simulator

CYCLE = ("VMON", "IMON", "STAT", "BDALARM")
SCRIPT = ("VMON", "IMON", "VSET", "ISET")  # what the script read of each of 4 channels: 16 reads
CALLS = 2  # of the library for each read: the parameter's type, then its value
CYCLES = 500
OFFS = 200


async def cycles(client: Client, simulator: Simulator) -> tuple[float, float]:
    """Give exchanges a cycle and s a cycle."""
    for par in CYCLE:
        await client.read(0, par)
    begin, before = time.perf_counter(), len(simulator.requests())
    for _ in range(CYCLES):
        await asyncio.gather(*(client.read(0, par) for par in CYCLE))
    return (len(simulator.requests()) - before) / CYCLES, (time.perf_counter() - begin) / CYCLES


async def script(simulator: Simulator) -> tuple[float, float]:
    """Give the same for single reads, twice each."""
    reader, writer = await asyncio.open_connection(simulator.host, simulator.port)
    begin, before = time.perf_counter(), len(simulator.requests())
    for _ in range(CYCLES):
        for channel in range(4):
            for par in SCRIPT * CALLS:
                writer.write(f"$BD:00,CMD:MON,CH:{channel},PAR:{par}\r\n".encode())
                await reader.readline()
    result = (len(simulator.requests()) - before) / CYCLES, (time.perf_counter() - begin) / CYCLES
    writer.close()
    await writer.wait_closed()
    return result


async def off_under_load(client: Client, simulator: Simulator) -> list[int]:
    """Give the requests that went out between each order to switch off and OFF itself."""

    async def poll(priority: Priority) -> None:
        while True:
            for par in (*CYCLE, "VSET", "ISET"):
                await client.read(0, par, priority)

    async def put(channel: int) -> None:
        while True:
            for volts in (50.0, 60.0):
                await client.set(0, channel, "VSET", volts)

    busy = [asyncio.create_task(poll(each)) for each in (Priority.FAST, Priority.SLOW) * 10]
    busy += [asyncio.create_task(put(channel)) for channel in (0, 1, 2, 3) * 10]
    waits = []
    for _ in range(OFFS):
        seen = len(simulator.requests())
        while len(simulator.requests()) < seen + 7:
            await asyncio.sleep(0)
        before = len(simulator.requests())
        await client.off(0)
        waits.append(next(n for n, each in enumerate(simulator.requests()[before:]) if each.endswith("PAR:OFF")))
        simulator.log.clear()
    for task in busy:
        task.cancel()
    await asyncio.gather(*busy, return_exceptions=True)
    return waits


async def main() -> None:
    async with Simulator({0: SimulatedBoard()}) as simulator:
        client = Client(simulator.address, timeout=5.0)
        await client.open()
        ours, seconds = await cycles(client, simulator)
        waits = await off_under_load(client, simulator)
        await client.close()
        while simulator.log[-1].what != "closed":
            await asyncio.sleep(0.01)
        theirs, script_seconds = await script(simulator)
    print(f"fast cycle of 4 channels   {ours:5.1f} exchanges   {seconds * 1e3:6.2f} ms on a simulator without latency")
    print(f"single reads, two calls    {theirs:5.1f} exchanges   {script_seconds * 1e3:6.2f} ms")
    print(f"ratio                      {theirs / ours:5.1f}")
    print(
        f"OFF under 20 polls and 40 puts at once: {statistics.mean(waits):.2f} requests before it on average, "
        f"{max(waits)} at most, of {len(waits)}"
    )


if __name__ == "__main__":
    asyncio.run(main())
