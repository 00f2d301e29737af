"""Simulators for `--sim`: each in a process of its own that ends with us, however we end."""

import contextlib
import ctypes
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@contextlib.contextmanager
def simulator(module: str, arguments: Sequence[str] = (), *, timeout: float = 20.0) -> Iterator[str]:
    """Run `python -m MODULE ARGUMENTS` as long as the context lasts; yields the address it listens on.

    The simulator's first line on stdout is `listening on ADDRESS ...`, or `sending to ADDRESS ...`.

    Raises:
        RuntimeError: it ended, or said nothing within `timeout` seconds.
    """
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for us: we end the simulator when we have let go of it
        preexec_fn=_end_with_parent,
    )
    try:
        yield _address(process, module, timeout)
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


def _address(process: "subprocess.Popen[str]", module: str, timeout: float) -> str:
    output = process.stdout
    if output is None:
        raise RuntimeError(f"the simulator {module} has no stdout")
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        line = output.readline() if selector.select(timeout) else ""
    words = line.split()
    if words[:2] not in (["listening", "on"], ["sending", "to"]):
        raise RuntimeError(f"the simulator {module} did not start: {line.strip() or 'it said nothing'}")
    return words[2]


def _end_with_parent() -> None:
    """Have the kernel end the simulator when this process dies (in the child, before it starts)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
