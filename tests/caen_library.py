"""The stand-in for CAEN's library, built from our own C with the system's compiler."""

import ctypes
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_suffix(".c")
CACHE = Path(__file__).parents[1] / ".cache"


def build() -> Path:
    """Give the library's path; compiles it unless that was done. Skips where something is absent."""
    pytest.importorskip("caen_libs", reason="the package caen-libs (pip install 'countinghouse[caen]')")
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        pytest.skip("a C compiler (cc) is needed")
    library = CACHE / f"caen-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]}" / "libcaenhvwrapper.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        fresh = library.with_suffix(f".{os.getpid()}")
        options = ("-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-O1", "-Wl,-soname,libcaenhvwrapper.so")
        subprocess.run((compiler, *options, "-o", fresh, SOURCE), check=True)
        fresh.replace(library)  # whole for whoever else is building it
    return library


def fault(library: Path, name: str, value: int) -> None:
    """Set a fault of the library that this process has loaded."""
    ctypes.CDLL(str(library)).stub_set(name.encode(), value)
