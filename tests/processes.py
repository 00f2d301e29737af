"""Real processes for system tests: on free ports of 127.0.0.1, waited for by condition, never by sleeping."""

import json
import os
import random
import signal
import socket
import string
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

DEADLINE = 30.0  # s; far more than anything takes, so that a loaded machine does not fail a good program


# Below the ports that the kernel gives to outgoing connections, and a range of its own for each of pytest's workers.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
_PORTS = range(20000 + 1500 * _WORKER, 20000 + 1500 * (_WORKER + 1))


def free_port() -> int:
    """Give a port that is free for TCP and UDP on 127.0.0.1."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def random_prefix() -> str:
    """Give a PV prefix that nobody else uses."""
    return "T" + "".join(random.choices(string.ascii_uppercase + string.digits, k=8)) + ":"


def wait_for(condition: Callable[[], object], what: str, deadline: float = DEADLINE):
    """Wait until `condition()` is true; give its value. Fails, saying what was awaited, after `deadline` seconds."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"within {deadline} s there was no {what}; last value: {value!r}")
        time.sleep(0.02)


def ca_environment(port: int) -> dict[str, str]:
    """Give an environment in which clients and servers meet at `port` of 127.0.0.1 alone."""
    return {
        **os.environ,
        "EPICS_CA_ADDR_LIST": "127.0.0.1",
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_SERVER_PORT": str(port),
        "EPICS_CAS_SERVER_PORT": str(port),
        "EPICS_CA_REPEATER_PORT": str(free_port()),
        "PYTHONUNBUFFERED": "1",
    }


class Process:
    """A program of ours: its lines are collected, its end is awaited, it never outlives the test."""

    def __init__(self, *arguments: str, environment: dict[str, str] | None = None, stdin: int | None = None) -> None:
        command = [sys.executable, "-m", *(str(argument) for argument in arguments)]
        pipe = subprocess.PIPE
        self.popen = subprocess.Popen(
            command, stdout=pipe, stderr=pipe, stdin=stdin or subprocess.DEVNULL, text=True, env=environment, bufsize=1
        )
        self.out: list[str] = []
        self.err: list[str] = []
        self._readers = [
            threading.Thread(target=_collect, args=(stream, lines), daemon=True)
            for stream, lines in ((self.popen.stdout, self.out), (self.popen.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()

    def line(self, text: str, *, deadline: float = DEADLINE) -> str:
        """Wait for a line of stdout or stderr that holds `text`; give it."""

        def found() -> str | None:
            line = next((line for line in (*self.out, *self.err) if text in line), None)
            if line is None and self.popen.poll() is not None:
                raise AssertionError(f"ended with {self.popen.returncode} before saying {text!r}:\n{self.log()}")
            return line

        try:
            return wait_for(found, f"line with {text!r}", deadline)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from None

    def log(self) -> str:
        """Give all that it has said."""
        return "\n".join([*self.out, *self.err])

    @property
    def memory(self) -> float:
        """Resident memory, MB."""
        return self._status("VmRSS")

    @property
    def peak_memory(self) -> float:
        """Most resident memory since the start or the last `forget_peak`, MB."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        """Let `peak_memory` begin anew."""
        Path(f"/proc/{self.popen.pid}/clear_refs").write_text("5")

    @property
    def descriptors(self) -> int:
        """Open files and sockets."""
        return len(os.listdir(f"/proc/{self.popen.pid}/fd"))

    @property
    def cpu_seconds(self) -> float:
        """Processor time used so far, s."""
        fields = Path(f"/proc/{self.popen.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _status(self, key: str) -> float:
        status = Path(f"/proc/{self.popen.pid}/status").read_text()
        return int(status.split(key + ":")[1].split()[0]) / 1024

    def say(self, fault: dict[str, object]) -> None:
        """Send a line of JSON to its stdin (a simulator's fault)."""
        self.tell(json.dumps(fault))

    def tell(self, line: str) -> None:
        """Send a line to its stdin."""
        self.popen.stdin.write(line + "\n")
        self.popen.stdin.flush()

    def stop(self, number: int = signal.SIGTERM, deadline: float = DEADLINE) -> int:
        """Send a signal, wait for the end; give the exit code."""
        self.popen.send_signal(number)
        code = self.popen.wait(deadline)
        self._finish()
        return code

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
        self._finish()

    def _finish(self) -> None:
        for reader in self._readers:
            reader.join()
        for stream in (self.popen.stdout, self.popen.stderr, self.popen.stdin):
            if stream:
                stream.close()


def _collect(stream, lines: list[str]) -> None:
    for line in stream:
        lines.append(line.rstrip("\n"))


def write_site(directory: Path, prefix: str, devices: str, rest: str = "") -> Path:
    """Write a site file of a test; gives its path."""
    path = directory / "site.toml"
    path.write_text(
        f'[site]\nname = "test"\nprefix = "{prefix}"\nsimulated = true\n\n{devices}\n{rest}\n', encoding="utf-8"
    )
    return path
