"""The table of functions: the library that LD_LIBRARY_PATH names, loaded at import."""

import ctypes
import os
from pathlib import Path


def find():
    for directory in os.environ.get("LD_LIBRARY_PATH", "").split(":"):
        for found in sorted(Path(directory).glob("libcaenhvwrapper.so*")) if directory else ():
            return found
    raise ValueError("Cannot find libcaenhvwrapper.so in known library paths or LD_LIBRARY_PATH")


lib = ctypes.CDLL(str(find()))
