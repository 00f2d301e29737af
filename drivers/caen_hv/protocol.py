"""The native protocol of the CAEN N1470 family: requests to bytes, bytes to replies. Pure: no wire, no clock.

A request is `$BD:bb,CMD:MON,CH:c,PAR:name` or `$BD:bb,CMD:SET,CH:c,PAR:name,VAL:value`, a reply `#BD:bb,CMD:OK`,
`#BD:bb,CMD:OK,VAL:v0;v1;...` or `#BD:bb,XXX:ERR`; all end with CR LF. The number of channels in place of a channel
asks for all of them. A reply says neither channel nor parameter: it belongs to a request by order alone, so whoever
asks must not trust a stream in which anything was late, lost or doubled. Source: CAEN N1470 user's manual, "Remote
control"; what the replies of real units look like: public logs.
"""

import math
import re
from dataclasses import dataclass

from drivers.caen_hv.parameters import Parameter
from drivers.errors import DeviceError, ProtocolError

LONGEST = 1024  # bytes of a line; that of eight channels has about 100

CURES = {
    "CMD": "bad format or unknown command; is this a supply of the N1470 family?",
    "CH": "this channel is missing or out of range; channels count from 0",
    "PAR": "this parameter is unknown here or cannot be set; a firmware of another age?",
    "VAL": "this value is below the minimum or above the maximum; for VSET look at MAXV",
    "LOC": "the unit is in LOCAL; turn it to REMOTE at the front panel",
}
"""Error replies: who is named in front of `:ERR`, and what that means and what to do."""


class ErrorReply(DeviceError):
    """The unit answered with an error. `kind` is the word in front of `:ERR`: CMD, CH, PAR, VAL or LOC."""

    def __init__(self, where: str, request: "Request", kind: str) -> None:
        super().__init__(f"{where}: the unit answered {kind}:ERR to {request}: {CURES[kind]}")
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Request:
    """One question or order.

    Attributes:
        board: 0..31.
        par: name of the parameter.
        channel: 0..; the number of channels = all; None = a parameter of the board.
        value: text of VAL.
        setting: True = SET, False = MON.
    """

    board: int
    par: str
    channel: int | None = None
    value: str | None = None
    setting: bool = False

    def __str__(self) -> str:
        parts = [f"$BD:{self.board:02d}", f"CMD:{'SET' if self.setting else 'MON'}"]
        if self.channel is not None:
            parts.append(f"CH:{self.channel}")
        parts.append(f"PAR:{self.par}")
        if self.value is not None:
            parts.append(f"VAL:{self.value}")
        return ",".join(parts)


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole reply: `error` is None or the word in front of `:ERR`; `values` is empty where there is no VAL."""

    board: int
    values: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Nonsense:
    """A line that is no reply (its first bytes), or the head of one that would not end."""

    data: bytes


def encode(request: Request) -> bytes:
    """Give the bytes of a request, exactly as the manual writes them.

    Raises:
        ValueError: a board or channel that cannot be written, or a parameter or value that would break the line.
    """
    words = (request.par, *(() if request.value is None else (request.value,)))
    if not 0 <= request.board <= 31 or (request.channel is not None and not 0 <= request.channel <= 99):
        raise ValueError(f"{request}: boards are 0 to 31, channels count from 0")
    if not all(re.fullmatch(r"[A-Za-z0-9+.-]+", word) for word in words):
        raise ValueError(f"{str(request)!r}: a parameter or value is empty or would break the line")
    return str(request).encode("ascii") + b"\r\n"


_REPLY = re.compile(
    rb"#BD:(?P<board>\d\d),(?:(?P<error>CMD|CH|PAR|VAL|LOC):ERR|CMD:OK(?:,VAL:(?P<values>[^\x00-\x1f\x7f-\xff#$,:]+))?)"
)


class Replies:
    """A byte stream in any chunking -> whole replies. Memory is bounded; after nonsense the next line is read again."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._skipping = False

    @property
    def pending(self) -> bool:
        """Tell whether a line has begun and not ended."""
        return bool(self._line) or self._skipping

    def feed(self, data: bytes) -> list[Reply | Nonsense]:
        """Take bytes; give the lines that are complete, in order."""
        found: list[Reply | Nonsense] = []
        *whole, rest = data.split(b"\n")
        for piece in whole:
            self._line += piece
            if self._skipping or len(self._line) > LONGEST:
                if not self._skipping:
                    found.append(Nonsense(bytes(self._line[:80])))
            else:
                found.append(_parse(bytes(self._line.removesuffix(b"\r"))))
            self.reset()
        if not self._skipping:
            self._line += rest
            if len(self._line) > LONGEST:
                found.append(Nonsense(bytes(self._line[:80])))
                self._line.clear()
                self._skipping = True
        return found

    def reset(self) -> None:
        """Forget the line that has begun."""
        self._line.clear()
        self._skipping = False


def _parse(line: bytes) -> Reply | Nonsense:
    match = _REPLY.fullmatch(line)
    if match is None:
        return Nonsense(line[:80])
    values = () if match["values"] is None else tuple(match["values"].decode("ascii").split(";"))
    return Reply(int(match["board"]), values, match["error"].decode() if match["error"] else None)


def number(text: str) -> float:
    """Read a decimal such as `0700.0`, `-000.12` or `02048`: zero-padded, base 10.

    Raises:
        ProtocolError: it is none.
    """
    if re.fullmatch(r"-?\d+(\.\d+)?", text, re.ASCII) is None:
        raise ProtocolError(f"{text!r} is not a decimal number")
    return float(text)


def decimals(text: str) -> int:
    """Give the number of digits behind the point."""
    return len(text.partition(".")[2])


def decode(parameter: Parameter, text: str) -> float | int | str:
    """Give the value that a reply's text means: float for numbers, int for bits, str for words and texts.

    Raises:
        ProtocolError: a text that this parameter cannot have.
    """
    match parameter.kind:
        case "number":
            return number(text)
        case "bits":
            if re.fullmatch(r"\d{1,5}", text, re.ASCII) is None or int(text) > 0xFFFF:
                raise ProtocolError(f"{text!r} is no bit field for {parameter.name}")
            return int(text)
        case "word" if text not in parameter.words:
            raise ProtocolError(f"{text!r} is not what {parameter.name} can say: {', '.join(parameter.words)}")
        case "word":
            return text
        case "text" if text.strip():
            return text.strip()
    raise ProtocolError(f"{text!r} is no value for {parameter.name}")


def written(value: float, digits: int) -> str:
    """Write a number for a SET with so many decimals.

    Raises:
        ValueError: it is not finite or negative.
    """
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{value:g} cannot be sent: values are magnitudes, 0 or above; the sign is that of POL")
    return f"{value + 0.0:.{digits}f}"  # -0.0 is 0 too, and is not written with a sign
