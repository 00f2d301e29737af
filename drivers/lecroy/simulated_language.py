"""Words and numbers of the simulated scope's command language (X-Stream remote control manual WM-RCM-E)."""

import re

import numpy as np

WARNING = "WARNING : CURRENT REMOTE CONTROL INTERFACE IS TCPIP"
LONG = {
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
    "WAVEFORM": "WF",
    "ARM_ACQUISITION": "ARM",
    "*TRG": "ARM",
    "FORCE_TRIGGER": "FRTR",
    "COMM_HEADER": "CHDR",
    "COMM_FORMAT": "CFMT",
    "COMM_ORDER": "CORD",
    "PARAMETER_VALUE": "PAVA",
    "STORE": "STO",
    "STORE_SETUP": "STST",
    "WAVEFORM_TEXT": "WFTX",
    "DIRECTORY": "DIR",
    "DELETE_FILE": "DEL",
    "FILENAME": "FLNM",
    "ALL_STATUS": "ALST",
}
NAMES = {short: long for long, short in LONG.items()}
COMMAND = re.compile(r"\s*(?:(\w+):)?\s*(\*?\w+)(\?)?\s*(.*?)\s*", re.S)
CHOICES = {
    "TRMD": ("AUTO", "NORM", "SINGLE", "STOP"),
    "CPL": ("A1M", "D1M", "D50", "GND"),
    "TRSL": ("POS", "NEG"),
    "TRCP": ("AC", "DC", "HFREJ", "LFREJ"),
    "TRA": ("ON", "OFF"),
    "BWL": ("OFF", "ON", "20MHZ", "200MHZ", "1GHZ"),
    "CHDR": ("LONG", "SHORT", "OFF"),
    "CORD": ("HI", "LO"),
}
RANGES = {
    "VDIV": (2e-3, 1.0),
    "OFST": (-10.0, 10.0),
    "TRDL": (-1e4, 100.0),
    "TRWI": (0.0, 25.0),
    "TRLV": (-41.0, 41.0),
}
UNITS = {"VDIV": "V", "OFST": "V", "TRLV": "V", "TDIV": "S", "TRDL": "PCT", "TRWI": "V"}
ATTENUATIONS = (1, 2, 5, 10, 20, 25, 50, 100, 200, 500, 1000, 10000)
REGISTERS = ("STB", "ESR", "INR", "DDR", "CMR", "EXR", "URR")


class Refusal(Exception):
    """A command that the scope does not take: register and number."""

    def __init__(self, register: str, number: int) -> None:
        super().__init__(register, number)
        self.register, self.number = register, number


def split(message: str) -> list[str]:
    """Split at semicolons that are not within quotes."""
    return [part for part in re.findall(r"""(?:[^;'"]|'[^']*'|"[^"]*"|['"])+""", message) if part.strip()]


def pairs(arguments: list[str]) -> list[tuple[str, str]]:
    """Take arguments two by two: keyword, value.

    Raises:
        Refusal: one is left.
    """
    if len(arguments) % 2:
        raise Refusal("EXR", 27)
    return [(key.upper(), value) for key, value in zip(arguments[::2], arguments[1::2], strict=True)]


def written(value: float) -> str:
    """Write a number as the scope does: 200E-3."""
    if value == 0:
        return "0"
    exponent = int(np.floor(np.log10(abs(value)) / 3)) * 3
    text = f"{value / 10.0**exponent:.6g}"
    return text + (f"E{exponent:+d}".replace("E+0", "") if exponent else "")
