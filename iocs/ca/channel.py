"""What a circuit and its users say to each other: a channel to one PV, answers, and losses."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from iocs.ca.circuit import Circuit


class Lost(Exception):
    """The circuit ended before the answer came."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for a read or a write.

    Attributes:
        good: whether it was carried out.
        text: why it was not.
        value: what was read.
    """

    good: bool
    text: str = ""
    value: Any = None


Decode = Callable[[Any, bytes], Any]
"""From caproto's message of a read and the whole frame to what was read; whatever it raises means: that is none."""


class Owner(Protocol):
    """Whoever a channel belongs to is told what becomes of it."""

    def opened(self, channel: "Channel") -> None:
        """It can be used."""

    def gone(self, channel: "Channel") -> None:
        """The server has closed it, or refuses to open it."""


@dataclass(slots=True, eq=False)
class Channel:
    """One PV on one circuit.

    Attributes:
        cid: our number for it.
        sid: the server's number for it, once it is open.
        kind: native type, 0 to 6.
        count: most elements.
        writable: whether the server says that we may put.
    """

    name: str
    cid: int
    owner: Owner
    circuit: "Circuit"
    sid: int = -1
    kind: int = 0
    count: int = 0
    writable: bool = True
