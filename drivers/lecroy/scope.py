"""A LeCroy scope: settings, acquisitions, its disk, waveforms, as verbs that return what the scope confirms.

Session commands: `CFMT DEF9,WORD,BIN;CORD LO` at each connection, and `CHDR SHORT` before each question. Nothing else
is sent that was not asked for. Headers stay on because a reply then says what it is: a setting that a model does not
know is missed, and no other is taken for it. CHDR belongs to the scope, not to the link: other programs change it.

Every setting is written, read back, and the registers are read in one message; what is returned is what the scope has
made of it. Probe factors are not in VDIV and OFST.
"""

import asyncio
import mmap
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from drivers.errors import DeviceError, ProtocolError
from drivers.lecroy.instrument import NO_REPLY, Vxi11Error, parse_address, room
from drivers.lecroy.numbers import number, written
from drivers.lecroy.replies import NEW, Status, bandwidths, parameters, refuse_vicp, replies, status
from drivers.lecroy.vxi11 import Vxi11Link

SESSION = "CFMT DEF9,WORD,BIN;CORD LO"
SOURCES = ("C1", "C2", "C3", "C4", "EX", "EX10")
MODES = ("AUTO", "NORM", "SINGLE", "STOP")
BLOCKS = ("DESC", "TEXT", "TIME", "DAT1", "DAT2", "ALL")
STORABLE = ("C1", "C2", "C3", "C4", "TA", "TB", "TC", "TD", "ALL_DISPLAYED")
DISKS = ("CARD", "FLPY", "HDD")
MEMORIES = ("M1", "M2", "M3", "M4")
FORMATS = ("BINARY", "SPREADSHEET", "MATHCAD", "MATLAB")
DEVICE_SETTINGS = ("TDIV", "TRDL", "TRMD", "TRSE", "TRWI", "MSIZ", "SEQ", "WFSU", "BWL")
CHANNEL_SETTINGS = ("VDIV", "OFST", "CPL", "ATTN", "TRA", "TRLV", "TRSL", "TRCP")


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


class Scope:
    """One scope, over one link, for one task at a time (`stop` and `abort` break off what another task waits for).

    Args:
        link: `vxi11://host[:port]/inst0`, or a link, closed.
        channels: how many inputs it has.
        timeout: s for a question.
        waveform_timeout: s for each MiB of a waveform, and for the scope to begin with it.

    Attributes:
        identity: after `open`.
        inr: bits of INR that came and were not taken yet. Reading clears them in the scope, so they are kept here.
        ddr: the troubles seen last, in words.
    """

    def __init__(
        self,
        link: str | Vxi11Link,
        channels: int = 4,
        *,
        timeout: float = 5.0,
        waveform_timeout: float = 10.0,
    ) -> None:
        self.link = Vxi11Link(parse_address(link)) if isinstance(link, str) else link
        self.channels = tuple(f"C{n}" for n in range(1, channels + 1))
        self.timeout = timeout
        self.waveform_timeout = waveform_timeout
        self.identity = Identity("", "", "", "")
        self.inr = 0
        self.ddr = ""
        self._buffers: dict[str, mmap.mmap] = {}

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
        """Read and clear the registers; bits of INR are kept in `inr`, troubles in `ddr`."""
        return self._note(await self._ask("ALST?"))

    # Settings

    async def time_div(self, seconds: float | str) -> float:
        """Set the time base, s/div (or a text such as "2.5 US"); adapted to 1-2-5 steps."""
        return await self._number("TDIV", seconds)

    async def trig_delay(self, value: float) -> float:
        """Set the trigger delay: >= 0 percent of the screen before the trigger; < 0 seconds after it."""
        return await self._number("TRDL", value)

    async def trig_mode(self, mode: str) -> str:
        """Set AUTO, NORM, SINGLE or STOP."""
        return await self._word("TRMD", _one_of("trigger mode", mode, MODES))

    async def trig_window(self, volts: float) -> float:
        """Set the trigger window, 0 to 25 V (older models)."""
        return await self._number("TRWI", _within("trigger window", volts, 0, 25, "V"))

    async def trig_select(self, type: str, source: str, **pairs: str) -> str:
        """Set the kind of trigger, e.g. `trig_select("EDGE", "C2", HT="OFF")`; pairs are HT, HV, HV2."""
        _one_of("trigger source", source, (*SOURCES, "LINE"))
        _one_of("trigger type", type, ("DROP", "EDGE", "GLIT", "INTV", "STD", "SNG", "SQ", "TEQ"))
        for key in pairs:
            _one_of("pair of TRSE", key, ("HT", "HV", "HV2"))
        rest = "".join(f",{key.upper()},{value}" for key, value in pairs.items())
        return await self._word("TRSE", f"{type.upper()},SR,{source.upper()}{rest}")

    async def trig_level(self, source: str | int, volts: float | str) -> float:
        """Set a source's trigger level, V."""
        return await self._number(f"{_trace(source, SOURCES)}:TRLV", volts)

    async def trig_slope(self, source: str | int, slope: str) -> str:
        """Set a source's trigger slope: POS, NEG."""
        return await self._word(f"{_trace(source, (*SOURCES, 'LINE'))}:TRSL", _one_of("slope", slope, ("POS", "NEG")))

    async def trig_coupling(self, source: str | int, coupling: str) -> str:
        """Set a source's trigger coupling: AC, DC, HFREJ, LFREJ."""
        word = _one_of("trigger coupling", coupling, ("AC", "DC", "HFREJ", "LFREJ"))
        return await self._word(f"{_trace(source, SOURCES)}:TRCP", word)

    async def volt_div(self, channel: str | int, volts: float | str) -> float:
        """Set a channel's V/div, probe factor not included."""
        return await self._number(f"{_trace(channel, self.channels)}:VDIV", volts)

    async def offset(self, channel: str | int, volts: float | str) -> float:
        """Set a channel's offset, V, probe factor not included."""
        return await self._number(f"{_trace(channel, self.channels)}:OFST", volts)

    async def coupling(self, channel: str | int, coupling: str) -> str:
        """Set a channel's input: A1M, D1M, D50, GND."""
        word = _one_of("coupling", coupling, ("A1M", "D1M", "D50", "GND"))
        return await self._word(f"{_trace(channel, self.channels)}:CPL", word)

    async def attenuation(self, channel: str | int, factor: float) -> float:
        """Set a channel's probe factor."""
        return await self._number(f"{_trace(channel, self.channels)}:ATTN", factor)

    async def display(self, channel: str | int, shown: str) -> str:
        """Show or hide a channel: ON, OFF."""
        return await self._word(f"{_trace(channel, self.channels)}:TRA", _one_of("display", shown, ("ON", "OFF")))

    async def bandwidth_limit(self, channel: str | int, mode: str) -> str:
        """Set a channel's bandwidth limit: OFF, ON, 20MHZ, 200MHZ, 1GHZ."""
        name = _trace(channel, self.channels)
        word = _one_of("bandwidth limit", mode, ("OFF", "ON", "20MHZ", "200MHZ", "1GHZ"))
        told = await self._command(f"BWL {name},{word}", "BWL")
        return bandwidths(told, self.channels)[name]

    async def memory_size(self, points: float) -> float:
        """Set the points of a single sweep; adapted to a legal number."""
        return await self._number("MSIZ", points)

    async def sequence(
        self, mode: str = "ON", segments: int | None = None, max_size: float | None = None
    ) -> tuple[str, int, float]:
        """Set sequence mode ON or OFF, number of segments, points of one; gives the three as the scope has them."""
        _one_of("sequence mode", mode, ("ON", "OFF"))
        if max_size is not None and segments is None:
            raise ValueError("max_size without segments: the scope takes it only after them")
        parts = [mode.upper()]
        parts += [] if segments is None else [str(int(segments))]
        parts += [] if max_size is None else [written(max_size)]
        words = (await self._command("SEQ " + ",".join(parts), "SEQ")).split(",")
        if len(words) != 3:
            raise ProtocolError(f"{self.link.address}: SEQ? says {','.join(words)!r}")
        return words[0], round(number(words[1])), number(words[2])

    async def waveform_setup(
        self, first_point: int = 0, number_points: int = 0, sparsing: int = 0, segment_number: int = 0
    ) -> str:
        """Set which points `waveform` reads: 0 = all. `first_point` counts within the segment."""
        values = {"SP": sparsing, "NP": number_points, "FP": first_point, "SN": segment_number}
        for key, value in values.items():
            _within(f"waveform setup {key}", value, 0, 10**9, "")
        return await self._word("WFSU", ",".join(f"{key},{int(value)}" for key, value in values.items()))

    async def wf_setup(self) -> str:
        """Read which points `waveform` reads."""
        return await self._read("WFSU?")

    async def settings(self) -> dict[str, str]:
        """Read all settings in one message: `TDIV`, `C1:VDIV` ... -> value as text. What the model lacks is missing."""
        questions = [f"{name}?" for name in DEVICE_SETTINGS]
        questions += [f"{channel}:{name}?" for channel in self.channels for name in CHANNEL_SETTINGS]
        told = await self._ask(";".join((*questions, "ALST?")))
        self._note(told)
        if "BWL" in told:
            modes = bandwidths(told.pop("BWL"), self.channels)
            told |= {f"{channel}:BWL": mode for channel, mode in modes.items()}
        return told

    # Acquisitions

    async def arm(self) -> None:
        """Arm: from STOP for one acquisition. Armed already, it forces a trigger."""
        await self._command("ARM")

    async def stop(self) -> None:
        """Stop acquiring; what a sequence has so far is kept."""
        await self._command("STOP")

    async def force(self) -> None:
        """Arm, and force one trigger."""
        await self._command("ARM;FRTR")

    async def single(self) -> None:
        """Arm for one acquisition; bits of earlier ones are forgotten."""
        await self.status()
        self.inr = 0
        await self._command("TRMD SINGLE")

    async def acquired(self) -> bool:
        """Tell whether a new acquisition is in memory; asked again it is False until there is another one."""
        await self.status()
        new, self.inr = bool(self.inr & NEW), self.inr & ~NEW
        return new

    async def wait_acquisition(self, seconds: float = 0.0, interval: float = 0.005) -> bool:
        """Wait until there is a new acquisition, 0 to 1000 s, 0 = for ever; False when there was none in time.

        The scope is asked again and again: unlike `WAIT` this leaves it free for STOP, and may be cancelled.
        """
        _within("time to wait", seconds, 0, 1000, "s")
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not await self.acquired():
            if seconds and loop.time() > end:
                return False
            await asyncio.sleep(interval)
        return True

    async def waveform(self, trace: str | int, block: str = "ALL") -> memoryview:
        """Read a trace (C1.., M1.., TA..) as the scope sends it; see `wavedesc.decode`.

        The memory is used again for the same trace once nothing refers to it any more.
        """
        name = _trace(trace, (*self.channels, *MEMORIES, "TA", "TB", "TC", "TD"))
        _one_of("block", block, BLOCKS)
        buffer = self._buffers.get(name) or room()
        try:
            buffer.resize(len(buffer))
        except BufferError:  # somebody still looks at the last one
            buffer = room()
        self._buffers[name] = buffer
        try:
            length = await self.link.ask_into(f"{name}:WF? {block.upper()}", buffer, self.waveform_timeout)
        except Vxi11Error as error:
            raise await self._explained(error, f"{name}:WF?") from error
        return memoryview(buffer)[:length]

    async def parameters(
        self, names: Sequence[str], channels: Sequence[str] = ()
    ) -> dict[str, dict[str, float | None]]:
        """Read what the scope measures of its traces (PAVA): channel -> name -> value; None = it has none."""
        channels = channels or self.channels
        told = await self._ask(";".join(f"{channel}:PAVA? {','.join(names)}" for channel in channels))
        return {
            channel: {
                name: number(value) if state == "OK" else None
                for name, (value, state) in parameters(told[f"{channel}:PAVA"]).items()
            }
            for channel in channels
            if f"{channel}:PAVA" in told
        }

    # The scope's own disk

    async def directory(self, disk: str, action: str, path: str) -> None:
        """CREATE, DELETE or SWITCH to a folder of a disk (CARD, FLPY, HDD)."""
        _one_of("disk", disk, DISKS)
        _one_of("action", action, ("CREATE", "DELETE", "SWITCH"))
        await self._command(f"DIR DISK,{disk.upper()},ACTION,{action.upper()},{_quoted('path', path, 200)}")

    async def listing(self, disk: str) -> str:
        """Read what is on a disk, as the scope prints it."""
        return await self._read(f"DIR? DISK,{_one_of('disk', disk, DISKS)}")

    async def delete_file(self, disk: str, path: str) -> None:
        """Delete a file of a disk."""
        await self._command(f"DEL DISK,{_one_of('disk', disk, DISKS)},FILE,{_quoted('path', path, 200)}")

    async def file_name(self, type: str, name: str) -> str:
        """Set the name of the files that the scope stores: of a trace (8 characters), of SETUP or HCOPY (5)."""
        word = _one_of("type", type, (*STORABLE[:-1], "SETUP", "HCOPY"))
        text = _quoted("name", name, 5 if word in ("SETUP", "HCOPY") else 8)
        return await self._command(f"FLNM TYPE,{word},FILE,{text}", f"FLNM? TYPE,{word}")

    async def store_setup(
        self, mode: str, trace: str | int = "ALL_DISPLAYED", trace_type: str = "BINARY", destination: str = "HDD"
    ) -> str:
        """Set AutoStore: OFF, WRAP or FILL; which trace, in which format, where to."""
        parts = (
            _stored(trace),
            _one_of("destination", destination, (*DISKS, *MEMORIES)),
            "AUTO",
            _one_of("AutoStore mode", mode, ("OFF", "WRAP", "FILL")),
            "FORMAT",
            _one_of("format", trace_type, FORMATS),
        )
        return await self._word("STST", ",".join(parts))

    async def autostore_mode(self, mode: str) -> str:
        """Set AutoStore OFF, WRAP or FILL; which trace, in which format and where to stay as they are."""
        word = _one_of("AutoStore mode", mode, ("OFF", "WRAP", "FILL"))
        now = await self.autostore()
        return await self._word("STST", re.sub(r"(?<=AUTO,)\w+", word, now))

    async def autostore(self) -> str:
        """Read the settings of AutoStore."""
        return await self._read("STST?")

    async def store(self, trace: str | int = "ALL_DISPLAYED", destination: str = "HDD") -> None:
        """Store a trace on the scope's disk, or in a memory."""
        await self._command(f"STO {_stored(trace)},{_one_of('destination', destination, (*DISKS, *MEMORIES))}")

    async def waveform_text(self, trace: str | int, text: str) -> None:
        """Set the text that goes with a trace, 160 characters at most."""
        await self._command(f"{_trace(trace, STORABLE[:-1])}:WFTX {_quoted('text', text, 160)}")

    # Within

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
        self.ddr = registers.troubles()
        return registers


def waveform_name(directory: str | Path, channel: str | int, name: str, extension: str = "trc") -> Path:
    """Give `<directory>/<Cn>-<name>.<extension>`, the name that the users' analysis looks for."""
    return Path(directory) / f"{_trace(channel, SOURCES[:4])}-{name}.{extension}"


def _one_of(what: str, word: str, words: Sequence[str]) -> str:
    if str(word).upper() not in words:
        raise ValueError(f"{what} {word!r}: it may be {', '.join(words)}")
    return str(word).upper()


def _within(what: str, value: float, low: float, high: float, unit: str) -> float:
    if not low <= value <= high:
        raise ValueError(f"{what} {value!r}: it may be {low:g} .. {high:g} {unit}".rstrip())
    return value


def _trace(trace: str | int, known: Sequence[str]) -> str:
    return _one_of("trace", f"C{trace}" if isinstance(trace, int) else trace, known)


def _stored(trace: str | int) -> str:
    return "ALL_DISPLAYED" if str(trace).lower() == "all" else _trace(trace, STORABLE)


def _quoted(what: str, text: str, most: int) -> str:
    if len(text) > most or re.search(r"['\"\x00-\x1f]", text) or not text.isascii():
        raise ValueError(f"{what} {text!r}: at most {most} ASCII characters without quotes")
    return f"'{text}'"
