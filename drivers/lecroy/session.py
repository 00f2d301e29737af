"""The conversation with a LeCroy scope: who it is, questions and their answers, what it refuses and why.

Session commands: `CFMT DEF9,WORD,BIN;CORD LO` at each connection, and `CHDR SHORT` before each question. Nothing else
is sent that was not asked for. Headers stay on because a reply then says what it is: a setting that a model does not
know is missed, and no other is taken for it. CHDR belongs to the scope, not to the link: other programs change it.

Every setting is written, read back, and the registers are read in one message; what is returned is what the scope has
made of it.
"""

from dataclasses import dataclass

from drivers.errors import DeviceError, ProtocolError
from drivers.lecroy.instrument import NO_REPLY, Vxi11Error, parse_address
from drivers.lecroy.numbers import number, written
from drivers.lecroy.replies import Status, refuse_vicp, replies, status, troubles
from drivers.lecroy.vxi11 import Vxi11Link

SESSION = "CFMT DEF9,WORD,BIN;CORD LO"


@dataclass(frozen=True)
class Identity:
    """What `*IDN?` says."""

    maker: str
    model: str
    serial: str
    firmware: str

    def __str__(self) -> str:
        """Say it in a line."""
        return f"{self.maker} {self.model}, serial {self.serial}, firmware {self.firmware}"


class Session:
    """A connection to one scope, over one link, for one task at a time.

    Args:
        link: `vxi11://host[:port]/inst0`, or a link, closed.
        channels: how many inputs it has.
        timeout: s for a question.

    Attributes:
        identity: after `open`.
        inr: bits of INR that came and were not taken yet. Reading clears them in the scope, so they are kept here.
    """

    def __init__(
        self,
        link: str | Vxi11Link,
        channels: int = 4,
        *,
        timeout: float = 5.0,
    ) -> None:
        self.link = Vxi11Link(parse_address(link)) if isinstance(link, str) else link
        self.channels = tuple(f"C{n}" for n in range(1, channels + 1))
        self.timeout = timeout
        self.identity = Identity("", "", "", "")
        self.inr = 0
        self._ddr = 0

    async def open(self) -> Identity:
        """Connect, see that it is a LeCroy scope that speaks VXI-11, and set the session's formats.

        Raises:
            DriverError: it cannot be reached, or is none.
        """
        await self.identify()
        await self._ask(f"{SESSION};CORD?;ALST?")
        return self.identity

    async def identify(self) -> Identity:
        """Connect, and ask what it is; nothing is set.

        Raises:
            DriverError: it cannot be reached, or is no LeCroy scope.
        """
        await self.link.open(self.timeout)
        words = (await self.link.ask("*IDN?", self.timeout)).removeprefix("*IDN ").split(",")
        if len(words) != 4 or "LECROY" not in words[0].upper():
            await self.link.close()
            raise DeviceError(f"{self.link.address}: *IDN? says {','.join(words)!r}: that is no LeCroy scope")
        self.identity = Identity(*(word.strip() for word in words))
        return self.identity

    async def missing_channels(self) -> list[str]:
        """Give those of `channels` that the scope does not know; nothing is set. Each costs `timeout` seconds.

        Raises:
            DriverError: the scope cannot be asked; its remote interface is not set to VXI-11.
        """
        missing = []
        for channel in self.channels:
            try:
                refuse_vicp(await self.link.ask(f"{channel}:TRA?", self.timeout))
            except Vxi11Error as error:
                if error.code != NO_REPLY:
                    raise
                missing.append(channel)
        return missing

    async def close(self) -> None:
        """Let go of the scope. Never raises."""
        await self.link.close()

    async def ask(self, text: str) -> str:
        """Send a question as it is, give the answer as it is.

        Raises:
            DeviceError: the scope does not answer; where it says why, with the reason.
        """
        try:
            return await self.link.ask(text, self.timeout)
        except Vxi11Error as error:
            raise await self._explained(error, text) from error

    async def write(self, text: str) -> None:
        """Send a command as it is, and see whether the scope takes it.

        Raises:
            DeviceError: it does not.
        """
        await self._command(text)

    async def status(self) -> Status:
        """Read and clear the registers; bits of INR are kept in `inr`, those of DDR for `take_troubles`."""
        return self._note(await self._ask("ALST?"))

    def take_troubles(self) -> str:
        """Give, in words, what has hurt the scope (DDR) since this was asked last: reading clears it in the scope."""
        bits, self._ddr = self._ddr, 0
        return troubles(bits)

    # For the verbs

    async def _number(self, header: str, value: float | str) -> float:
        asked = number(value) if isinstance(value, str) else value
        if asked != asked or abs(asked) == float("inf"):
            raise ValueError(f"{header}: {value!r} is not a number that can be set")
        return number(await self._command(f"{header} {written(asked)}", header))

    async def _word(self, header: str, word: str) -> str:
        return await self._command(f"{header} {word}", header)

    async def _command(self, command: str, question: str = "") -> str:
        """Send a command, read the setting and the registers back in the same message; give the setting as text.

        Raises:
            DeviceError: the scope did not take it.
        """
        asked = "" if not question else f";{question}" if "?" in question else f";{question}?"
        told = await self._ask(f"{command}{asked};ALST?")
        refusal = self._note(told).refusal()
        if refusal:
            raise DeviceError(f"{self.link.address}: {command!r}: {refusal}")
        return self._answer(told, question) if question else ""

    async def _read(self, question: str) -> str:
        return self._answer(await self._ask(question), question)

    def _answer(self, told: dict[str, str], question: str) -> str:
        header = question.split("?")[0]
        if header not in told:
            raise DeviceError(f"{self.link.address}: {header}? is not answered; this model does not know it")
        return told[header]

    async def _ask(self, message: str) -> dict[str, str]:
        """Ask, and take the replies apart: header with path -> value as text."""
        try:
            return replies(await self.link.ask(f"CHDR SHORT;{message}", self.timeout))
        except Vxi11Error as error:
            raise await self._explained(error, message) from error
        except ProtocolError as error:
            raise ProtocolError(f"{self.link.address}: {message[:80]!r}: {error}") from error
        except DeviceError as error:
            raise DeviceError(f"{self.link.address}: {error}") from error

    async def _explained(self, error: Vxi11Error, message: str) -> DeviceError:
        """Ask the scope why there was no answer."""
        if error.code != NO_REPLY:
            return error
        told = replies(await self.link.ask("CHDR SHORT;ALST?", self.timeout))
        refusal = self._note(told).refusal()
        return DeviceError(f"{self.link.address}: {message[:80]!r}: {refusal}") if refusal else error

    def _note(self, told: dict[str, str]) -> Status:
        """Take the registers out of the replies."""
        if "ALST" not in told:
            raise ProtocolError(f"{self.link.address}: ALST? is not answered, but {sorted(told)} are")
        registers = status(told.pop("ALST"))
        self.inr |= registers.inr
        self._ddr |= registers.ddr
        return registers
