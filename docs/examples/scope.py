"""Take one sequence of 100 pulses at the old working point: `python docs/examples/scope.py vxi11://192.168.0.30/inst0`."""

import asyncio
import sys
from pathlib import Path

from drivers.lecroy.scope import Scope, waveform_name
from drivers.lecroy.wavedesc import block, decode


def save(path: Path, data: memoryview) -> Path:
    """Write a file, never over an existing one."""
    with open(path, "xb") as file:
        file.write(data)
    return path


async def main(link: str) -> None:
    """Set the scope up, take a sequence on C2, save it, and say what is in it."""
    scope = Scope(link)
    try:
        print(await scope.open())
        await scope.trig_mode("STOP")
        await scope.sequence("ON", 100)
        print("time base:", await scope.time_div("100NS"), "s/div")
        print("C2:", await scope.volt_div(2, 0.1), "V/div, offset", await scope.offset(2, 0), "V")
        await scope.bandwidth_limit(2, "OFF")
        await scope.trig_select("EDGE", "C2")
        await scope.trig_coupling("C2", "DC")
        print("trigger level:", await scope.trig_level("C2", 0.7), "V")
        await scope.trig_slope("C2", "NEG")
        await scope.single()
        if not await scope.wait_acquisition(30):
            print("no trigger within 30 s")
            return
        reply = await scope.waveform("C2")
        path = save(waveform_name(".", "C2", "prova"), block(reply))
        waveform = decode(reply)
        print(f"{path}: {waveform.segments} segments of {waveform.points} points")
        print(f"lowest value {waveform.volts().min():.4f} V, last trigger after {waveform.trigger_times[-1]:.6f} s")
    finally:
        await scope.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
