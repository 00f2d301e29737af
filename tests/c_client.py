"""Clients in C against EPICS' own libca, of the PyPI package epicscorelibs, built with the system's compiler."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

CACHE = Path(__file__).parents[1] / ".cache"


class Absent(Exception):
    """Something that is needed is not there; the text says what."""


def build(source: Path) -> Path:
    """Compile a client into `.cache/`, unless that was done.

    Raises:
        Absent: no compiler, or no libca.
    """
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise Absent("a C compiler (cc)")
    found = importlib.util.find_spec("epicscorelibs")
    if found is None or not found.origin:
        raise Absent("the package epicscorelibs (pip install epicscorelibs)")
    package = Path(found.origin).parent
    key = hashlib.sha256(source.read_bytes() + str(package).encode()).hexdigest()[:12]
    client = CACHE / f"{source.stem}-{key}"
    if not client.exists():
        CACHE.mkdir(exist_ok=True)
        library, fresh = package / "lib", CACHE / f"{client.name}.{os.getpid()}"
        links = (f"-L{library}", "-lca", "-lCom", f"-Wl,-rpath,{library}")
        subprocess.run((compiler, "-O2", "-o", fresh, source, f"-I{package / 'include'}", *links), check=True)
        fresh.replace(client)  # whole for whoever else is building it
    return client
