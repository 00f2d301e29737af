"""What a server tells about itself as PVs, once a second, with the names of EPICS' iocStats.

SYSRESET is left out on purpose: nobody on the network may restart a server that holds interlocks. systemd does that.
"""

import asyncio
import errno
import json
import os
import resource
import socket
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any
from zlib import crc32

from iocs.ca import NS
from iocs.ca.access import Access
from iocs.ca.putlog import PutLog
from iocs.ca.server import Client, Server
from iocs.config import STATISTICS
from iocs.signals import (
    NAME_LENGTH,
    Alarms,
    Bad,
    Catalogue,
    Kind,
    Severity,
    Status,
    readback,
)

PERIOD = 1.0  # s

PROCESS, MEMORY, CLIENTS, PUTS = "Process", "Memory and files", "Clients", "Puts"

SIGNALS = (
    readback("HEARTBEAT", type=int, group=PROCESS, doc="Counts seconds while the server lives"),
    readback("UPTIME", type=str, group=PROCESS, doc="Time since the server started"),
    readback("STARTTOD", type=str, group=PROCESS, doc="When the server started (UTC)"),
    readback("TOD", type=str, group=PROCESS, doc="The server's clock (UTC)"),
    readback("HOSTNAME", type=str, group=PROCESS, doc="Host that the server runs on"),
    readback("PROCESS_ID", type=int, group=PROCESS, doc="Process number of the server"),
    readback("EPICS_VERS", type=str, group=PROCESS, doc="Versions of the server and of caproto"),
    readback("KERNEL_VERS", type=str, group=PROCESS, doc="Version of the operating system"),
    readback("ENGINEER", type=str, group=PROCESS, doc="Who looks after the site"),
    readback("LOCATION", type=str, group=PROCESS, doc="Where the site stands"),
    readback(
        "IOC_CPU_LOAD",
        "%",
        precision=1,
        alarms=Alarms(high=80, hihi=95),
        group=PROCESS,
        doc="Processor time of the server; 100 is one core, all that its event loop can use",
    ),
    readback("SYS_CPU_LOAD", "%", precision=1, group=PROCESS, doc="Processor time of all processes; 100 is all cores"),
    readback("CPU_CNT", type=int, group=PROCESS, doc="Processor cores of the host"),
    readback("MEM_USED", "B", precision=0, group=MEMORY, doc="Memory that the server holds (resident)"),
    readback("MEM_MAX", "B", precision=0, group=MEMORY, doc="Memory of the host"),
    readback("FD_CNT", type=int, group=MEMORY, doc="File descriptors in use"),
    readback("FD_FREE", type=int, alarms=Alarms(lolo=10, low=50), group=MEMORY, doc="File descriptors still free"),
    readback("FD_MAX", type=int, group=MEMORY, doc="File descriptors allowed"),
    readback("RECORD_CNT", type=int, group=CLIENTS, doc="PVs served"),
    readback("CA_CLNT_CNT", type=int, group=CLIENTS, doc="Clients connected"),
    readback("CA_CONN_CNT", type=int, group=CLIENTS, doc="Channels that clients have open"),
    readback("UPDATES", "1/s", precision=0, group=CLIENTS, doc="Updates sent to all clients together"),
    readback("DROPPED", precision=0, group=CLIENTS, doc="Updates dropped for slow clients, newer ones following"),
    readback("CLOSED", precision=0, group=CLIENTS, doc="Connections closed because the client broke the protocol"),
    readback(
        "TURNED_AWAY",
        precision=0,
        group=CLIENTS,
        doc="Connections, channels and subscriptions over a limit or not allowed",
    ),
    readback("SLOWEST", type=str, group=CLIENTS, doc="Slowest client: who, events waiting and dropped; empty if none"),
    readback("CLIENTS", type=Kind.TEXT, group=CLIENTS, doc="All clients (JSON)"),
    readback("ACCESS", type=str, group=PUTS, doc="Rules of access in force; MINOR when newer ones had mistakes"),
    readback("REFUSED", precision=0, group=PUTS, doc="Puts refused"),
    readback(
        "PUTLOG_DROPPED",
        precision=0,
        alarms=Alarms(high=1),
        group=PUTS,
        doc="Lines of the put log lost since the start",
    ),
    readback("PUTLOG_ERROR", type=str, group=PUTS, doc="Why the put log cannot be written, empty when well"),
    readback("PVS", type=Kind.TEXT, group=PROCESS, doc="Catalogue of these signals (JSON)"),
)


def likely(site_prefix: str, devices: Sequence[str]) -> list[str]:
    """Give under which names the servers of a site tell of themselves: of all devices, of one, of all but one.

    Args:
        site_prefix: e.g. "LAB:".
        devices: their names, in the order of the site file.

    Returns:
        E.g. "IOC", "IOC:HV", "IOC:PMU_GAS".
    """
    parts = [(), *((name,) for name in devices), *(tuple(each for each in devices if each != name) for name in devices)]
    heads = (prefix(site_prefix, part) for part in parts)
    return list(dict.fromkeys(head.removeprefix(site_prefix).removesuffix(":") for head in heads))


def prefix(site_prefix: str, part: Sequence[str] = ()) -> str:
    """Give what stands before the names: `LAB:IOC:`, or `LAB:IOC:HV_GAS:` for a process that runs part of the devices.

    Where all names together are too long it is the first device's, which no other process can run.
    """
    if not part:
        return f"{site_prefix}{STATISTICS}:"
    longest = max(len(signal.name) for signal in SIGNALS)
    room = NAME_LENGTH - len(f"{site_prefix}{STATISTICS}::") - longest
    name = "_".join(part)
    return f"{site_prefix}{STATISTICS}:{name if len(name) <= room else part[0]}:"


@dataclass(frozen=True, slots=True)
class About:
    """What does not change while the process runs.

    Attributes:
        prefix: what stands before the PVs' names.
        simulated: whether simulators answer for the boxes.
        engineer, location: of `[site]`.
    """

    prefix: str
    simulated: bool = False
    engineer: str = ""
    location: str = ""


class Statistics:
    """The server's own PVs: `serve()` makes them, `run()` posts them once a second.

    Attributes:
        access_error: mistakes of rules that were not taken into force, for `ACCESS`; empty when well.
    """

    def __init__(self, server: Server, about: About, access: Access, put_log: PutLog) -> None:
        self.access_error = ""
        self._server = server
        self._about = about
        self._access = access
        self._put_log = put_log
        self._heartbeat = 0
        self._started = time.monotonic()
        self._usage = _Usage()
        self._updates = _Rate()
        self._updates_to: dict[tuple[str, int], _Rate] = {}

    def serve(self) -> None:
        """Serve the PVs, with all values that are known by now."""
        about = self._about
        self._server.serve(about.prefix, SIGNALS)
        catalogue = Catalogue(STATISTICS, "ioc", about.prefix, 0, about.simulated, SIGNALS)
        catalogue = replace(catalogue, version=crc32(catalogue.to_json().encode()))  # another one where they differ
        now = time.time_ns()
        host = os.uname()
        fixed = {
            "STARTTOD": _clock(now),
            "HOSTNAME": socket.gethostname(),
            "PROCESS_ID": os.getpid(),
            "EPICS_VERS": f"Countinghouse {version('countinghouse')}, caproto {version('caproto')}",
            "KERNEL_VERS": f"{host.sysname} {host.release} {host.machine}",
            "ENGINEER": about.engineer,
            "LOCATION": about.location,
            "CPU_CNT": os.cpu_count() or 1,
            "MEM_MAX": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
            "PVS": catalogue.to_json(),
        }
        self._server.post(about.prefix, now, fixed)
        self.post()

    async def run(self) -> None:
        """Post once a second, for ever."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + PERIOD, loop.time())  # after a halt: one, not all that were missed
            await asyncio.sleep(due - loop.time())
            self._heartbeat = (self._heartbeat + 1) % (1 << 31)
            self.post()

    def close(self) -> None:
        """Let go of the kernel's files; nothing can be posted after this."""
        self._usage.close()

    def post(self) -> None:
        """Post what is now; waits for nothing."""
        now, clients, counts = time.time_ns(), self._server.clients(), self._server.counts
        self._server.post(
            self._about.prefix,
            now,
            {
                "HEARTBEAT": self._heartbeat,
                "UPTIME": _duration(time.monotonic() - self._started),
                "TOD": _clock(now),
                **self._usage.now(),
                "RECORD_CNT": len(self._server.names),
                "CA_CLNT_CNT": len(clients),
                "CA_CONN_CNT": counts.channels,
                "SLOWEST": slowest(clients),
                "CLIENTS": self._clients(clients),
                "UPDATES": self._updates.now(counts.updates),
                "DROPPED": counts.dropped,
                "REFUSED": counts.refused_puts,
                "CLOSED": counts.malformed,
                "TURNED_AWAY": counts.refused,
                "ACCESS": _in_doubt(self._access.description, self.access_error, Severity.MINOR),
                "PUTLOG_DROPPED": self._put_log.dropped,
                "PUTLOG_ERROR": _in_doubt(self._put_log.error, self._put_log.error, Severity.MAJOR),
            },
        )

    def _clients(self, clients: Sequence[Client]) -> str:
        known, self._updates_to = self._updates_to, {}
        told = []
        for client in clients:
            who = client.address, client.port
            rate = self._updates_to[who] = known.get(who) or _Rate(client.updates)
            told.append({**asdict(client), "rate": round(rate.now(client.updates), 1)})
        return json.dumps(told, separators=(",", ":"))


class _Rate:
    """A counter's increase a second since it was asked last."""

    def __init__(self, count: int = 0) -> None:
        self._count, self._at = count, time.monotonic()

    def now(self, count: int) -> float:
        """Give the increase a second, up to now."""
        at = time.monotonic()
        rate = (count - self._count) / max(at - self._at, 1e-3)
        self._count, self._at = count, at
        return rate


def slowest(clients: Sequence[Client]) -> str:
    """Name the client for whom most events wait, or were dropped; empty if nobody is behind."""
    slow = max(clients, key=lambda client: (client.backlog, client.dropped), default=None)
    if slow is None or not (slow.backlog or slow.dropped):
        return ""
    return f"{slow.user or '?'}@{slow.address}:{slow.port}: {slow.backlog} events wait, {slow.dropped} dropped"


class _Usage:
    """Processor, memory and files of this process, from the kernel."""

    def __init__(self) -> None:
        self._own, self._at = time.process_time(), time.monotonic()
        # kept open, as no file can be opened when the limit is reached, which is when these numbers are wanted
        self._stat, self._statm = (
            os.open(f"/proc/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in ("stat", "self/statm")
        )
        self._busy, self._total = _processor_ticks(self._stat)
        self._page = os.sysconf("SC_PAGE_SIZE")

    def now(self) -> dict[str, float]:
        """Give what is now, the loads since the last call."""
        own, at = time.process_time(), time.monotonic()
        busy, total = _processor_ticks(self._stat)
        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        allowed = (1 << 31) - 1 if allowed == resource.RLIM_INFINITY else min(allowed, (1 << 31) - 1)
        try:
            files = len(os.listdir("/proc/self/fd")) - 1
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            files = allowed
        resident = int(os.pread(self._statm, 200, 0).split()[1]) * self._page
        usage = {
            "IOC_CPU_LOAD": 100 * (own - self._own) / max(at - self._at, 1e-3),
            "SYS_CPU_LOAD": 100 * (busy - self._busy) / max(total - self._total, 1),
            "MEM_USED": resident,
            "FD_CNT": files,
            "FD_FREE": allowed - files,
            "FD_MAX": allowed,
        }
        self._own, self._at, self._busy, self._total = own, at, busy, total
        return usage

    def close(self) -> None:
        """Close the kernel's files."""
        os.close(self._stat)
        os.close(self._statm)


def _processor_ticks(stat: int) -> tuple[int, int]:
    """Give busy and all ticks of the host's processors (proc(5), /proc/stat)."""
    ticks = [int(word) for word in os.pread(stat, 500, 0).splitlines()[0].split()[1:9]]
    idle = ticks[3] + ticks[4]  # idle, iowait
    return sum(ticks) - idle, sum(ticks)


def _in_doubt(text: str, error: str, severity: Severity) -> Any:
    """Give a text, in alarm when there is an error to it."""
    return Bad(error, text, severity, Status.STATE) if error else text


def _clock(time_ns: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time_ns // NS))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{f'{days} days, ' if days else ''}{hours:02}:{minutes:02}:{rest:02}"
