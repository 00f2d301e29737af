"""Loading CAEN's C library with whichever of its Python packages is installed, when it is needed and not before."""

import contextlib
import ctypes
import importlib
import os
from typing import Any

from drivers.caen_hv import pycaenhv_binding
from drivers.errors import LinkError


def load(where: str, path: str) -> Any:
    """Import the binding: caen-libs, or pycaenhv where only that is installed; the library is loaded with it.

    Raises:
        LinkError: the text says what is missing.
    """
    if path:
        try:
            ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)  # its soname is known from now on, wherever it lies
        except OSError as error:
            raise LinkError(f"{where}: the library cannot be loaded: {error}") from error
    try:
        with contextlib.suppress(ModuleNotFoundError):
            return importlib.import_module("caen_libs.caenhvwrapper")
        _load_pycaenhv(where, path)
    except ModuleNotFoundError as error:
        raise LinkError(
            f"{where}: caen:// needs the package caen-libs (pip install 'countinghouse[caen]') or pycaenhv; tcp:// "
            "needs neither it nor CAEN's library"
        ) from error
    except (RuntimeError, AttributeError, ValueError, OSError) as error:
        raise LinkError(
            f"{where}: CAEN's library could not be used: {error}. Install libcaenhvwrapper.so where the loader finds "
            'it, or say library = "PATH"; tcp:// does without'
        ) from error
    return pycaenhv_binding


def _load_pycaenhv(where: str, path: str) -> None:
    """Have pycaenhv find and load the library: it looks where LD_LIBRARY_PATH says when it is imported."""
    before = os.environ.get("LD_LIBRARY_PATH")
    try:
        if path:
            os.environ["LD_LIBRARY_PATH"] = os.path.dirname(path)
        loaded = importlib.import_module("pycaenhv.functions").lib._name
    finally:
        if before is not None:
            os.environ["LD_LIBRARY_PATH"] = before
        elif path:
            os.environ.pop("LD_LIBRARY_PATH", None)
    if path and not os.path.samefile(path, loaded):
        raise LinkError(
            f"{where}: pycaenhv has loaded {loaded}; move that away, or install caen-libs, which takes the one you name"
        )
