"""What a scope answers, taken apart (pure): replies with their headers, status registers in words."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields

from drivers.errors import DeviceError, ProtocolError

_LONG = {
    "VOLT_DIV": "VDIV",
    "OFFSET": "OFST",
    "TIME_DIV": "TDIV",
    "TRIG_DELAY": "TRDL",
    "TRIG_MODE": "TRMD",
    "TRIG_SELECT": "TRSE",
    "TRIG_LEVEL": "TRLV",
    "TRIG_SLOPE": "TRSL",
    "TRIG_COUPLING": "TRCP",
    "TRIG_WINDOW": "TRWI",
    "COUPLING": "CPL",
    "ATTENUATION": "ATTN",
    "BANDWIDTH_LIMIT": "BWL",
    "TRACE": "TRA",
    "SEQUENCE": "SEQ",
    "MEMORY_SIZE": "MSIZ",
    "WAVEFORM_SETUP": "WFSU",
    "COMM_HEADER": "CHDR",
    "COMM_FORMAT": "CFMT",
    "COMM_ORDER": "CORD",
    "PARAMETER_VALUE": "PAVA",
    "STORE_SETUP": "STST",
    "WAVEFORM_TEXT": "WFTX",
    "DIRECTORY": "DIR",
    "FILENAME": "FLNM",
    "ALL_STATUS": "ALST",
}
_REPLY = re.compile(r"\s*((?:\w+:)?)(\*?[A-Z_]+)\s+(.*?)\s*", re.S)
VAB = 4  # bit of STB: a value was adapted
NEW = 1  # bit of INR: a new signal was acquired and read into memory
_COMMAND_ERRORS = {
    1: "unknown command",
    2: "it does not go with this channel or source",
    3: "its number is not understood",
    4: "its suffix is not understood",
    5: "its keyword is not known",
    6: "its text is not understood",
}
_EXECUTION_ERRORS = {
    21: "no permission: the scope is in local mode",
    22: "not possible in the scope's present state",
    23: "an option of the scope is missing",
    25: "too many arguments",
    26: "not implemented in this scope",
    27: "an argument is missing",
    31: "there is no waveform",
}
_DEVICE_BITS = {
    0: "C1 overloaded",
    1: "C2 overloaded",
    2: "C3 overloaded",
    3: "C4 overloaded",
    7: "external input overloaded",
    8: "C1 failed",
    9: "C2 failed",
    10: "C3 failed",
    11: "C4 failed",
    12: "trigger failed",
    13: "time base failed",
}


@dataclass(frozen=True)
class Status:
    """The registers that `ALST?` reads and clears."""

    stb: int = 0
    esr: int = 0
    inr: int = 0
    ddr: int = 0
    cmr: int = 0
    exr: int = 0
    urr: int = 0

    @property
    def adapted(self) -> bool:
        """Whether the scope adapted a value that it was given."""
        return bool(self.stb & VAB)

    def refusal(self) -> str:
        """Say why the last command was refused; empty when it was not."""
        if self.cmr:
            return f"{_COMMAND_ERRORS.get(self.cmr, 'not understood')} (CMR {self.cmr})"
        if self.exr:
            kind = "the scope's disk refused" if 50 <= self.exr <= 62 else "refused"
            return f"{_EXECUTION_ERRORS.get(self.exr, kind)} (EXR {self.exr})"
        return ""


def troubles(ddr: int) -> str:
    """Say what hurts the device itself (bits of DDR); empty when nothing does."""
    return ", ".join(_DEVICE_BITS.get(bit, f"DDR bit {bit}") for bit in range(16) if ddr >> bit & 1)


def refuse_vicp(text: str) -> None:
    """See whether a reply is the warning of a scope that is set to another remote interface.

    Raises:
        DeviceError: it is; the message has the cure.
    """
    if "CURRENT REMOTE CONTROL INTERFACE" in text.upper():
        raise DeviceError(
            "the scope listens to VICP (TCPIP), not to VXI-11: on the scope, set Utilities > Utilities Setup > Remote "
            "to LXI (VXI-11)"
        )


def replies(text: str) -> dict[str, str]:
    """Take `C1:VDIV 100E-3 V;TDIV 1E-6 S` apart: short header with path -> value as text.

    Raises:
        DeviceError: the scope says that its remote interface is not set to VXI-11.
        ProtocolError: a reply has no header.
    """
    refuse_vicp(text)
    told = {}
    for reply in re.findall(r"""(?:[^;'"]|'[^']*'|"[^"]*"|['"])+""", text):
        match = _REPLY.fullmatch(reply)
        if match is None:
            raise ProtocolError(f"the reply {reply[:80]!r} has no header; has another program set CHDR OFF?")
        told[match[1] + _LONG.get(match[2], match[2])] = match[3]
    return told


def status(text: str) -> Status:
    """Read the value of an `ALST` reply: `STB,0,ESR,0,...`.

    Raises:
        ProtocolError: it is none.
    """
    words = text.split(",")
    try:
        told = {name.lower(): int(value) for name, value in zip(words[::2], words[1::2], strict=True)}
        return Status(**{field.name: told[field.name] for field in fields(Status)})
    except (ValueError, KeyError) as error:
        raise ProtocolError(f"{text!r} is no status (ALST): {error}") from error


def bandwidths(text: str, channels: Iterable[str]) -> dict[str, str]:
    """Read the value of a `BWL` reply: one mode for all, or pairs.

    Raises:
        ProtocolError: it is neither.
    """
    words = text.split(",")
    if len(words) == 1:
        return dict.fromkeys(channels, words[0])
    if len(words) % 2:
        raise ProtocolError(f"{text!r} is no list of bandwidth limits")
    return dict(zip(words[::2], words[1::2], strict=True))


def parameters(text: str) -> dict[str, tuple[str, str]]:
    """Read the value of a `PAVA` reply: name -> value as text, state (OK, IV = invalid, ...).

    Raises:
        ProtocolError: it is none.
    """
    words = [word.strip() for word in text.split(",")]
    if len(words) % 3:
        raise ProtocolError(f"{text!r} is no list of parameters (name, value, state)")
    return {words[n]: (words[n + 1], words[n + 2]) for n in range(0, len(words), 3)}
