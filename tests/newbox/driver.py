"""A thermostat's line protocol over TCP: a question a line, an answer a line."""

from dataclasses import dataclass

from drivers.errors import DeviceError, ProtocolError
from drivers.link import Link


@dataclass(frozen=True)
class State:
    temperatures: tuple[float, ...]  # K, one a channel
    setpoint: float  # K
    mode: int  # 0 off, 1 heat, 2 cool


class Thermostat:
    """Verbs of the box."""

    def __init__(self, link: Link, timeout: float = 1.0) -> None:
        self.link = link
        self.timeout = timeout

    async def identify(self) -> tuple[str, int]:
        """Give its name and its number of channels."""
        name, _, channels = (await self._ask("IDN?")).rpartition(" ")
        return name, self._number(channels, int)

    async def read(self) -> State:
        """Read all of it."""
        words = (await self._ask("READ?")).split()
        if len(words) < 2:
            raise ProtocolError(f"{self.link.address}: {words} is not a number of temperatures, setpoint and mode")
        *temperatures, setpoint, mode = words
        return State(
            tuple(self._number(text, float) for text in temperatures),
            self._number(setpoint, float),
            self._number(mode, int),
        )

    async def set(self, what: str, value: float) -> float:
        """Set SETPOINT (K) or MODE; give what the box has taken over."""
        return self._number(await self._ask(f"{what} {value:g}"), float)

    def _number(self, text, kind):
        try:
            return kind(text)
        except ValueError:
            raise ProtocolError(f"{self.link.address}: {text!r} is not a number") from None

    async def _ask(self, question: str) -> str:
        answer = await self.link.exchange(
            question.encode() + b"\n", lambda reply: reply.find(b"\n") + 1 or None, self.timeout
        )
        text = answer.decode("ascii", "replace").strip()
        if text.startswith("ERR"):
            raise DeviceError(f"{self.link.address}: the box refused {question!r}: {text}")
        return text
