"""A supply of four channels: exchanges for one reading of it, OFF under load, a put that is confirmed, and how long
an interlock takes from what is wrong with the gas to OFF on the wire.

    python -m tests.benchmarks.hv [--seconds 20] [--offs 20] [--trips 5]

The IOC, the simulator and the clients are processes on this host. The peer is what the old scripts did: for each
channel four reads (VMon, IMonH, VSet, ISet), each of two calls of the vendor's library, which asks for the type first.
Exchanges are counted on the wire; the times are those of this machine at this hour.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from iocs.hv.interlocks import PERIOD as LOOK
from iocs.hv.interlocks import SAVING
from iocs.interlock import State
from tests.gas_hv_lab import DELAY, HOW, LOST_AFTER, MAX_AGE, PERIOD, GasAndHv
from tests.hv_lab import HvLab
from tests.processes import wait_for

SCRIPT_CALLS = 4 * 4 * 2
FAST = ("VMON", "IMON", "STAT", "BDALARM")


def polling(lab: HvLab, seconds: float) -> None:
    """Count what goes over the wire while nothing changes."""
    begin = len(lab.wire())
    end = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() > end, "end of the measurement", seconds + 30)
    asked = [said["text"].split("PAR:")[1] for said in lab.wire()[begin:] if said["what"] == "request"]
    readings = asked.count("VMON")
    fast = sum(par in FAST for par in asked)
    print(f"exchanges for one reading of VMON, IMON, STAT of 4 channels and BDALARM: {fast / readings:.2f}")
    more = SCRIPT_CALLS * readings / fast
    print(f"  the scripts: {SCRIPT_CALLS} library calls for VMON, IMON, VSET, ISET: {more:.1f} x")
    print(f"all exchanges, with the settings now and then: {len(asked) / readings:.2f} a reading")


def off_under_load(lab: HvLab, offs: int) -> None:
    """Switch off while a client floods all channels with puts, and the unit takes 20 ms for an answer."""
    lab.say(slow=0.02)
    names = [f"{lab.prefix}HV:CH{n}:{name}" for n in range(4) for name in ("VSET", "ISET")]
    flood = lab.process("tests.system.put_flood", *names)
    flood.line("flooding")
    wait_for(lambda: len(lab.requests()) > 20, "flood on the wire")
    lab.put("CH3:ON", 0)  # the channel is open then
    between, took = [], []
    for _ in range(offs):
        seen, asked, begin = len(lab.wire()), time.time_ns(), time.monotonic()
        lab.put("CH3:ON", 0)
        took.append(time.monotonic() - begin)
        wire = lab.wire()[seen:]
        off = next(n for n, said in enumerate(wire) if said["what"] == "request" and "PAR:OFF" in said["text"])
        between.append(sum(said["what"] == "request" and said["time_ns"] > asked for said in wire[:off]))
    flood.kill()
    print(
        f"OFF under a flood of puts, {offs} times, unit of 20 ms: at most {max(between)} exchanges before it, median",
        end=" ",
    )
    print(f"{statistics.median(between):g}; confirmed within {1e3 * statistics.median(took):.1f} ms (median)")


def put(lab: HvLab, puts: int) -> None:
    """Put with a callback."""
    took = []
    for number in range(puts):
        begin = time.monotonic()
        lab.put("CH0:VSET", 100 + number)
        took.append(time.monotonic() - begin)
    print(f"put of VSET, checked, sent and read back: {1e3 * statistics.median(took):.1f} ms (median of {puts})")


def trips(lab: GasAndHv, times: int) -> None:
    """Let something be wrong with the gas, see the OFF on the wire, mend it, reset; and so on."""
    gas = lab.start()
    told = {
        "humid": (PERIOD + DELAY, "period of the sensor + delay"),
        "cable": (LOST_AFTER + DELAY, "lost_after of the sensor + delay"),
        "kill": (MAX_AGE + DELAY, "max_age + delay"),
        "freeze": (MAX_AGE + DELAY, "max_age + delay"),
    }
    for how in HOW:
        took = []
        for _ in range(times):
            seen = len(lab.wire())
            began = lab.spoil(how, gas)
            lab.see("ILK1:STATE", State.TRIPPED)
            took.append((lab.offs(seen)[0]["time_ns"] - began) / 1e9)
            gas = lab.mend(how, gas)
            wait_for(lambda: _reset(lab), "reset")
        bound, words = told[how]
        print(
            f"gas interlock, {how}, {times} times: OFF on the wire after {min(took):.2f} .. {max(took):.2f} s, median "
            f"{statistics.median(took):.2f}; told {bound:g} s ({words}), "
            f"with two looks and the latch on its way to the disk {bound + 2 * LOOK + SAVING:g} s at most"
        )


def _reset(lab: GasAndHv) -> bool:
    lab.put("ILK1:RESET", 1)
    return lab.hv("ILK1:STATE") == State.ARMED


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the count of exchanges")
    parser.add_argument("--offs", type=int, default=20, help="how often to switch off under load")
    parser.add_argument("--trips", type=int, default=5, help="how often to trip for each reason")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, HvLab(Path(directory)) as lab:
        lab.site()
        lab.supply("--speed", "20")
        lab.ioc()
        lab.online()
        polling(lab, options.seconds)
        put(lab, 50)
        off_under_load(lab, options.offs)
    with tempfile.TemporaryDirectory() as directory, GasAndHv(Path(directory)) as lab:
        trips(lab, options.trips)


if __name__ == "__main__":
    main()
