"""The clock of the machine is set while all runs: stamps follow it, and nothing else notices.

The processes see a wall clock that steps (`stepped_clock`); the machine's own cannot be set by a test.
"""

import asyncio
import contextlib
import itertools
import json
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from iocs.signals import Reading
from tests.libca import Libca
from tests.processes import Process, ca_environment, free_port, random_prefix, wait_for, write_site
from tests.pvs import Pvs, pvs

CONFIG = '[[device]]\nname = "KNOB"\ntype = "tests.system.knob:Knob"\n'
BEACON_PERIOD = 0.25  # s


def stepped(*arguments: str, environment: dict[str, str]) -> Process:
    return Process("tests.system.stepped_clock", *arguments, environment=environment, stdin=subprocess.PIPE)


def step(process: Process, seconds: float) -> None:
    said = len(process.out)
    process.tell(str(seconds))
    wait_for(lambda: any("the clock is shifted" in line for line in process.out[said:]), "step of the clock")


@contextlib.contextmanager
def heard_beacons(port: int) -> Iterator[socket.socket]:
    with socket.socket(type=socket.SOCK_DGRAM) as repeater:
        repeater.bind(("127.0.0.1", port))
        repeater.settimeout(10)
        yield repeater


@pytest.mark.parametrize("seconds", [-3600.0, 3600.0, -86400.0 * 365])
def test_a_clock_step_of_the_ioc_moves_the_stamps_and_nothing_else(tmp_path, seconds):
    async def story(pvs_: Pvs, ioc: Process, libca: Libca, repeater: socket.socket) -> None:
        pvs_.watch("KNOB:VMON", "KNOB:HEARTBEAT", "KNOB:AGE", "IOC:HEARTBEAT", "IOC:UPTIME")
        await pvs_.until("KNOB:VMON", lambda _: len(pvs_.seen["KNOB:VMON"]) > 10)
        await pvs_.until("IOC:HEARTBEAT", lambda reading: reading.connected and reading.value)
        for shift in (seconds, 0.0):
            began, known = time.monotonic(), {name: len(readings) for name, readings in pvs_.seen.items()}
            await asyncio.to_thread(step, ioc, shift)

            def of_now(reading: Reading, shift: float = shift) -> bool:
                return abs(reading.time_ns / 1e9 - time.time() - shift) < 60

            for name in known:
                await pvs_.until(name, of_now)
            heartbeat = pvs_["KNOB:HEARTBEAT"].value
            await pvs_.until("KNOB:HEARTBEAT", lambda reading, before=heartbeat: reading.value >= before + 3)
            await pvs_.client.put(pvs_.prefix + "KNOB:VSET", 42.0)
            await pvs_.client.put(pvs_.prefix + "KNOB:VSET", 41.0)
            read = await asyncio.to_thread(libca.read, pvs_.prefix + "KNOB:VSET")
            assert read["value"] == 41.0 and abs(read["timestamp"] - time.time() - shift) < 60
            passed = time.monotonic() - began
            new = {name: readings[known[name] :] for name, readings in pvs_.seen.items()}
            assert all(reading.connected for readings in new.values() for reading in readings)
            assert len(new["KNOB:VMON"]) > 20
            for name in ("KNOB:HEARTBEAT", "IOC:HEARTBEAT"):
                beats = [reading.value for reading in new[name]]
                assert all(later == earlier + 1 for earlier, later in itertools.pairwise(beats)), (name, beats)
                assert len(beats) <= passed + 2, "the heart races"
            assert all(0 <= reading.value < passed + 5 for reading in new["KNOB:AGE"])
        repeater.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while repeater.recv(100):
                pass
        for shift in (seconds, 0.0):
            await asyncio.to_thread(step, ioc, shift)
            loop, began = asyncio.get_running_loop(), time.monotonic()
            for _ in range(4):
                await asyncio.wait_for(loop.sock_recv(repeater, 100), 10)
            assert time.monotonic() - began > 2 * BEACON_PERIOD, "beacons came in a hurry"

    prefix, port, beacon_port = random_prefix(), free_port(), free_port()
    site = write_site(tmp_path, prefix, CONFIG)
    environment = ca_environment(port)
    environment |= {"EPICS_CAS_BEACON_PORT": str(beacon_port), "EPICS_CAS_BEACON_PERIOD": str(BEACON_PERIOD)}

    async def main(ioc: Process, libca: Libca, repeater: socket.socket) -> None:
        async with pvs(port, prefix) as watched:
            await story(watched, ioc, libca, repeater)

    with (
        heard_beacons(beacon_port) as repeater,
        stepped("iocs", "run", str(site), environment=environment) as ioc,
        Libca(environment) as libca,
    ):
        ioc.line("serving")
        asyncio.run(main(ioc, libca, repeater))
        assert ioc.stop() == 0
        assert not [line for line in ioc.err if "WARNING" in line or "ERROR" in line or "Traceback" in line]
    log = [json.loads(line) for line in (tmp_path / "state" / "putlog.jsonl").read_text().splitlines()]
    assert [line["new"] for line in log] == [42.0, 41.0] * 2 and all(line["accepted"] for line in log)
