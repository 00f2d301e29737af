"""What an update costs in several Channel Access clients, against one C++ softIoc.

    python tests/benchmarks/ca_client.py [--seconds 4] [--rates 5000 20000 50000] [--clients ours caproto pyepics]

Every client watches the same counting PVs in the same run and keeps (time, value) of every update, as an archiver must;
gaps in a counter are updates lost on the way. `array` are waveforms of 40 float64, 2500 updates/s. Only CPU after all
have connected is counted. Loopback only; each client has a process of its own and is ended if it hangs.
"""

import argparse
import asyncio
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

PREFIX = "BENCH:"
SCALARS, ARRAYS, ELEMENTS = 100, 5, 40
PERIODS = (0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
CONNECT_WITHIN = 15.0  # s
SETTLE = 1.0  # s


def main() -> None:
    """Run the clients one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="how long each is measured")
    parser.add_argument("--rates", type=int, nargs="+", default=[5000, 20000, 50000], help="updates/s of 100 PVs")
    parser.add_argument("--clients", nargs="+", default=["ours", "caproto", "pyepics"], choices=list(CLIENTS))
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--client", help=argparse.SUPPRESS)
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
    elif options.client:
        CLIENTS[options.client](Keeper(options.kind, options.seconds))
    else:
        compare(options)


def compare(options: argparse.Namespace) -> None:
    """Print a table: one line a client and a rate."""
    print(f"{'updates':>16} {'client':>8} {'got/s':>8} {'lost':>8} {'us CPU':>7} {'age ms':>7} {'MB':>5}  CPU to ours")
    for kind, rate in [*(("scalar", rate) for rate in options.rates), ("array", 2500)]:
        period = SCALARS / rate if kind == "scalar" else ARRAYS / rate
        ours = None
        with Server(period) as environment:
            for client in options.clients:
                told = run(client, kind, options.seconds, environment)
                label = f"{kind} {rate}/s"
                if told is None:
                    print(f"{label:>16} {client:>8} did not end in time, or broke")
                    continue
                ours = told["us"] if client == "ours" else ours
                ratio = f"{told['us'] / ours:8.1f}" if ours else ""
                print(
                    f"{label:>16} {client:>8} {told['rate']:8.0f} {told['lost']:8d} {told['us']:7.2f} "
                    f"{told['age']:7.0f} {told['memory']:5.0f} {ratio}",
                    flush=True,
                )


def run(client: str, kind: str, seconds: float, environment: dict[str, str]) -> dict[str, float] | None:
    """Run one client in a process of its own; None if it hangs or breaks."""
    command = [sys.executable, __file__, "--client", client, "--kind", kind, "--seconds", str(seconds)]
    try:
        done = subprocess.run(
            command, env=environment, timeout=CONNECT_WITHIN + SETTLE + seconds + 10, capture_output=True, text=True
        )
        return json.loads(done.stdout.splitlines()[-1])
    except (subprocess.TimeoutExpired, IndexError, ValueError):
        return None


class Server:
    """A softIoc with counting records, for as long as the context lasts."""

    def __init__(self, period: float) -> None:
        self.period = min(PERIODS, key=lambda one: abs(one - period))

    def __enter__(self) -> dict[str, str]:
        from tests.processes import ca_environment, free_port

        environment = ca_environment(free_port())
        environment |= {
            "EPICS_CAS_INTF_ADDR_LIST": "127.0.0.1",
            "EPICS_CAS_BEACON_ADDR_LIST": "127.0.0.1",
            "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
        }
        self._folder = tempfile.TemporaryDirectory(prefix="softioc-")
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve", str(self.period)],
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.DEVNULL,
            env=environment | {"TMPDIR": self._folder.name},
        )
        assert self._process.stdout
        for line in self._process.stdout:
            if b"READY" in line:
                return environment
        raise SystemExit("the softIoc did not start; is epicscorelibs installed?")

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._folder.cleanup()


def serve(period: float) -> None:
    """Be the softIoc: 100 counting records and 5 circular buffers of the last 40 counts."""
    import epicscorelibs.ioc as ioc
    import epicscorelibs.path

    folder = Path(tempfile.mkdtemp())
    shutil.copytree(Path(epicscorelibs.path.base_path) / "dbd", folder / "dbd")
    menu = folder / "dbd" / "menuScan.dbd"
    text = menu.read_text()
    more = "".join(f'\tchoice(menuScan_{round(1e6 * one)}us,"{one:g} second")\n' for one in PERIODS)
    menu.chmod(0o600)
    menu.write_text(text[: text.rindex("}")] + more + "}\n")
    scan = f'field(CALC,"VAL+1") field(SCAN,"{period:g} second") field(MDEL,"-1") field(ADEL,"-1")'
    records = [f'record(calc,"{PREFIX}scalar{number}"){{{scan}}}' for number in range(SCALARS)]
    for number in range(ARRAYS):
        records.append(f'record(calc,"{PREFIX}count{number}"){{{scan} field(FLNK,"{PREFIX}array{number}")}}')
        records.append(
            f'record(compress,"{PREFIX}array{number}"){{field(INP,"{PREFIX}count{number}") field(NSAM,"{ELEMENTS}")'
            ' field(ALG,"Circular Buffer")}'
        )
    (folder / "bench.db").write_text("\n".join(records))
    ioc.DEFAULT_DBD_PATH = str(folder / "dbd")
    ioc.dbLoadDatabase(b"base.dbd", str(folder / "dbd").encode(), None)
    ioc.iocshRegisterCommon()
    ioc.registerRecordDeviceDriver(ioc.pdbbase)
    ioc.dbLoadRecords(str(folder / "bench.db").encode(), None)
    ioc.iocInit()
    print("READY", flush=True)
    sys.stdin.read()
    os._exit(0)


class Keeper:
    """What a client keeps of its updates, and the figures made from it."""

    def __init__(self, kind: str, seconds: float) -> None:
        count = SCALARS if kind == "scalar" else ARRAYS
        self.array = kind == "array"
        self.seconds = seconds
        self.names = [f"{PREFIX}{kind}{number}" for number in range(count)]
        self.kept: dict[str, list[tuple[float, float]]] = {name: [] for name in self.names}

    @property
    def complete(self) -> bool:
        """Whether every PV has been heard of."""
        return all(self.kept.values())

    def begin(self) -> None:
        """Forget all that came while connecting."""
        for kept in self.kept.values():
            kept.clear()
        self._cpu, self._started = time.process_time(), time.perf_counter()

    def end(self) -> None:
        """Print the figures and end the process; some clients would hang."""
        cpu, elapsed = time.process_time() - self._cpu, time.perf_counter() - self._started
        got = sum(map(len, self.kept.values()))
        lost = sum(round(kept[-1][1] - kept[0][1]) + 1 - len(kept) for kept in self.kept.values() if kept)
        lost += sum(round(elapsed) for kept in self.kept.values() if not kept)
        age = max((time.time() - kept[-1][0] for kept in self.kept.values() if kept), default=float("nan"))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        told = {"rate": got / elapsed, "lost": lost, "us": 1e6 * cpu / max(got, 1), "age": 1e3 * age, "memory": memory}
        print(json.dumps(told), flush=True)
        os._exit(0)


async def measure(keeper: Keeper) -> None:
    """Measure a client that lives in the event loop."""
    async with asyncio.timeout(CONNECT_WITHIN):
        while not keeper.complete:
            await asyncio.sleep(0.05)
    await asyncio.sleep(SETTLE)
    keeper.begin()
    await asyncio.sleep(keeper.seconds)
    keeper.end()


def ours(keeper: Keeper) -> None:
    """Our client."""
    from iocs.ca.client import Client

    def listener(name: str):
        keep = keeper.kept[name].append
        if keeper.array:
            return lambda reading: keep(
                (reading.time_ns * 1e-9, float(reading.value[-1])) if len(reading.value) else (0.0, 0.0)
            )
        return lambda reading: keep((reading.time_ns * 1e-9, reading.value))

    async def live() -> None:
        async with Client() as client:
            for name in keeper.names:
                client.watch(name, listener(name))
            await measure(keeper)

    asyncio.run(live())


def caproto(keeper: Keeper) -> None:
    """caproto's own asyncio client, with its default options."""
    from caproto.asyncio.client import Context

    async def live() -> None:
        context, held = Context(), []
        for pv in await context.get_pvs(*keeper.names):

            async def take(subscription, response, keep=keeper.kept[pv.name].append) -> None:
                keep((response.metadata.timestamp, float(response.data[-1])))

            subscription = pv.subscribe(data_type="time")
            subscription.add_callback(take)
            held.append((subscription, take))
        await measure(keeper)

    asyncio.run(live())


def pyepics(keeper: Keeper) -> None:
    """pyepics' PV objects."""
    import epics

    held = []
    for name in keeper.names:

        def take(value=None, timestamp=None, keep=keeper.kept[name].append, **rest) -> None:
            keep((timestamp, float(value[-1]) if keeper.array else value))

        held.append(epics.PV(name, callback=take, auto_monitor=True, form="time"))
    deadline = time.monotonic() + CONNECT_WITHIN
    while not keeper.complete and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(SETTLE)
    keeper.begin()
    time.sleep(keeper.seconds)
    keeper.end()


CLIENTS = {"ours": ours, "caproto": caproto, "pyepics": pyepics}

if __name__ == "__main__":
    main()
