"""What a site needs of this host: a clock in step, room on disks, free ports, sound state. Nothing is changed."""

import ctypes
import errno
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from iocs.config import Finding
from iocs.state import StateError, peek

MEGABYTE = 1e6
TIME_ERROR = 5  # adjtimex(2): the clock is not in step
LISTENING = "0A"  # proc(5), /proc/net/tcp, column st


def report(findings: Iterable[tuple[str, Finding]], tell: Callable[[str], None]) -> bool:
    """Tell each finding, with whom it is about, as soon as it is made; gives whether all is well."""
    bad = 0
    for who, finding in findings:
        bad += not finding.good
        tell(f"{who}: {'' if finding.good else 'TO MEND: '}{finding.text}")
    tell(f"{bad} to mend" if bad else "all is well")
    return not bad


def kernel_clock() -> int:
    """Ask the kernel for the state of its clock (adjtimex(2), which sets nothing here).

    Raises:
        OSError: it does not say.
    """
    answer = (ctypes.c_long * 64)()  # struct timex, modes = 0
    library = ctypes.CDLL(None, use_errno=True)
    try:
        state = library.adjtimex(answer)
    except AttributeError:
        raise OSError(errno.ENOSYS, "this system has no adjtimex") from None
    if state < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return state


def clock(ask: Callable[[], int] = kernel_clock) -> Finding:
    """Say whether somebody keeps the clock in step with UTC."""
    try:
        state = ask()
    except OSError as error:
        return Finding(True, f"whether the clock is in step cannot be told: {error.strerror}; timedatectl may know")
    if state == TIME_ERROR:
        return Finding(
            False,
            "the clock is not kept in step with UTC, and time stamps go astray; install chrony, or "
            "sudo timedatectl set-ntp true, and see timedatectl",
        )
    return Finding(True, "the clock is kept in step with UTC")


def room(folder: Path) -> float | None:
    """Give the room on the disk of a folder, MB; of the nearest one above it that exists; None: it is not told."""
    for path in (folder, *folder.parents):
        with suppress(OSError):
            disk = os.statvfs(path)
            return disk.f_bavail * disk.f_frsize / MEGABYTE
    return None


def writable(folder: Path, what: str, least: float) -> Finding:
    """Say whether files can be made in a folder (or the folder itself), and whether there is room.

    Args:
        folder: where.
        what: is kept there, for people.
        least: MB of room that must be left.
    """
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not there.is_dir():
        return Finding(False, f"{what}: {there} is not a folder; move it away, or name another in the site file")
    if not os.access(there, os.W_OK | os.X_OK, effective_ids=True):
        disk = " on a disk that may only be read" if os.statvfs(there).f_flag & os.ST_RDONLY else ""
        return Finding(
            False,
            f"{what}: {there}{disk} cannot be written by user {os.geteuid()}; sudo chown -R {os.geteuid()} {there}, "
            "or name another in the site file",
        )
    free = room(there)
    if free is None:
        return Finding(False, f"{what}: the disk of {there} does not say what room it has; is it still mounted?")
    if free < least:
        return Finding(
            False,
            f"{what}: {free:.0f} MB are left for {folder}, fewer than {least:.0f}; make room, or take another disk",
        )
    return Finding(True, f"{what}: {folder} can be written, {free:.0f} MB are left")


def state(directory: Path, name: str) -> Finding:
    """Say whether what a device (or the archiver) has kept can be read by this version."""
    try:
        kept = peek(directory, name)
    except StateError as error:
        return Finding(False, str(error))
    return Finding(True, "its state can be read" if kept else "it has no state yet")


def listener(port: int) -> tuple[int, str] | None:
    """Give the process that listens on a TCP port, and its name; None where it is not to be seen."""
    sockets = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENING and int(fields[1].rsplit(":", 1)[1], 16) == port:
                    sockets.add(f"socket:[{fields[9]}]")
    if sockets:
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # another user's, or just ended
                if any(os.readlink(held) in sockets for held in (process / "fd").iterdir()):
                    return int(process.name), (process / "comm").read_text().strip()
    return None


def port(address: str, number: int, key: str, own: Callable[[int], str], cure: str = "") -> Finding:
    """Say whether a TCP port is free to listen on.

    Args:
        address: of ours, at which to listen.
        number: of the port.
        key: where the site file says so.
        own: says who a process of ours is, empty of others.
        cure: what to do where another program has it; empty: that does no harm, another one is taken.
    """
    where = f"TCP port {number} of {address}"
    error = _bound(socket.SOCK_STREAM, address, number)
    if error is None:
        return Finding(True, f"{where} is free")
    if error.errno == errno.EADDRINUSE:
        holder = listener(number)
        if holder and (who := own(holder[0])):
            return Finding(True, f"{where} is held by process {holder[0]}, {who}")
        by = (
            f"process {holder[0]} ({holder[1]})"
            if holder
            else f"a program not to be seen from here (ss -ltnp :{number})"
        )
        return Finding(not cure, f"{where} is held by {by}; {cure or 'another one is taken, and clients find it'}")
    if error.errno == errno.EACCES:
        cure = "ports below 1024 are root's: choose another"
    else:
        cure = f"{key} is to be an address of this host (ip addr)"
    return Finding(False, f"{where} cannot be used: {error.strerror or error}; {cure}")


def search_port(number: int) -> Finding:
    """Say whether searches for PVs can be heard; several servers may share that port."""
    error = _bound(socket.SOCK_DGRAM, "", number)
    if error is None:
        return Finding(True, f"UDP port {number}, by which PVs are found, can be shared")
    return Finding(
        False,
        f"UDP port {number}, by which PVs are found: {error.strerror}; end the program that has it alone "
        f"(ss -lunp sport = :{number}), or set EPICS_CA_SERVER_PORT for servers and clients",
    )


def _bound(kind: socket.SocketKind, address: str, number: int) -> OSError | None:
    """Bind, say nothing and let go; gives what stands in the way."""
    try:
        family = socket.getaddrinfo(address or None, number, type=kind)[0][0] if address else socket.AF_INET
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, number))
    except OSError as error:
        return error
    return None


def runs(process: int, module: str, command: str, site: Path) -> bool:
    """Whether a process is `python -m MODULE COMMAND SITE`."""
    with suppress(OSError):
        words = Path(f"/proc/{process}/cmdline").read_text(errors="replace").split("\0")
        folder = Path(os.readlink(f"/proc/{process}/cwd"))
        ours = any(Path(word).parent.name == module or word == module for word in words)
        return ours and command in words and any((folder / word).resolve() == site for word in words if word)
    return False


def own_devices(held: Mapping[str, int]) -> Callable[[int], str]:
    """Give the words for a process that runs devices of this site: `held` tells them by name, with their process."""

    def words(process: int) -> str:
        names = [name for name, holder in held.items() if holder == process]
        return f"this site's own IOC of {', '.join(names)}" if names else ""

    return words
