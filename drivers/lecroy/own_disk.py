"""A LeCroy scope's own disk and memories: folders, files, AutoStore."""

import re

from drivers.lecroy.arguments import one_of, quoted, trace_name
from drivers.lecroy.session import Session

STORABLE = ("C1", "C2", "C3", "C4", "TA", "TB", "TC", "TD", "ALL_DISPLAYED")
DISKS = ("CARD", "FLPY", "HDD")
MEMORIES = ("M1", "M2", "M3", "M4")
FORMATS = ("BINARY", "SPREADSHEET", "MATHCAD", "MATLAB")


class OwnDisk(Session):
    """Verbs for what the scope keeps itself."""

    async def directory(self, disk: str, action: str, path: str) -> None:
        """CREATE, DELETE or SWITCH to a folder of a disk (CARD, FLPY, HDD)."""
        one_of("disk", disk, DISKS)
        one_of("action", action, ("CREATE", "DELETE", "SWITCH"))
        await self._command(f"DIR DISK,{disk.upper()},ACTION,{action.upper()},{quoted('path', path, 200)}")

    async def listing(self, disk: str) -> str:
        """Read what is on a disk, as the scope prints it."""
        return await self._read(f"DIR? DISK,{one_of('disk', disk, DISKS)}")

    async def delete_file(self, disk: str, path: str) -> None:
        """Delete a file of a disk."""
        await self._command(f"DEL DISK,{one_of('disk', disk, DISKS)},FILE,{quoted('path', path, 200)}")

    async def file_name(self, type: str, name: str) -> str:
        """Set the name of the files that the scope stores: of a trace (8 characters), of SETUP or HCOPY (5)."""
        word = one_of("type", type, (*STORABLE[:-1], "SETUP", "HCOPY"))
        text = quoted("name", name, 5 if word in ("SETUP", "HCOPY") else 8)
        return await self._command(f"FLNM TYPE,{word},FILE,{text}", f"FLNM? TYPE,{word}")

    async def store_setup(
        self, mode: str, trace: str | int = "ALL_DISPLAYED", trace_type: str = "BINARY", destination: str = "HDD"
    ) -> str:
        """Set AutoStore: OFF, WRAP or FILL; which trace, in which format, where to."""
        parts = (
            _stored(trace),
            one_of("destination", destination, (*DISKS, *MEMORIES)),
            "AUTO",
            one_of("AutoStore mode", mode, ("OFF", "WRAP", "FILL")),
            "FORMAT",
            one_of("format", trace_type, FORMATS),
        )
        return await self._word("STST", ",".join(parts))

    async def autostore_mode(self, mode: str) -> str:
        """Set AutoStore OFF, WRAP or FILL; which trace, in which format and where to stay as they are."""
        word = one_of("AutoStore mode", mode, ("OFF", "WRAP", "FILL"))
        now = await self.autostore()
        return await self._word("STST", re.sub(r"(?<=AUTO,)\w+", word, now))

    async def autostore(self) -> str:
        """Read the settings of AutoStore."""
        return await self._read("STST?")

    async def store(self, trace: str | int = "ALL_DISPLAYED", destination: str = "HDD") -> None:
        """Store a trace on the scope's disk, or in a memory."""
        await self._command(f"STO {_stored(trace)},{one_of('destination', destination, (*DISKS, *MEMORIES))}")

    async def waveform_text(self, trace: str | int, text: str) -> None:
        """Set the text that goes with a trace, 160 characters at most."""
        await self._command(f"{trace_name(trace, STORABLE[:-1])}:WFTX {quoted('text', text, 160)}")


def _stored(trace: str | int) -> str:
    return "ALL_DISPLAYED" if str(trace).lower() == "all" else trace_name(trace, STORABLE)
