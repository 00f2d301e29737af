"""A LeCroy scope: settings, acquisitions, waveforms, as verbs that return what the scope confirms.

Probe factors are not in VDIV and OFST. What is sent unasked is told in `session`.
"""

import asyncio
import mmap
from collections.abc import Sequence
from pathlib import Path

from drivers.errors import ProtocolError
from drivers.lecroy.arguments import one_of, trace_name, whole, within
from drivers.lecroy.instrument import Vxi11Error, room
from drivers.lecroy.numbers import number, written
from drivers.lecroy.own_disk import MEMORIES, OwnDisk
from drivers.lecroy.replies import NEW, bandwidths, parameters
from drivers.lecroy.vxi11 import Vxi11Link

SOURCES = ("C1", "C2", "C3", "C4", "EX", "EX10")
MODES = ("AUTO", "NORM", "SINGLE", "STOP")
HOLDS = ("TI", "TL", "EV", "PS", "PL", "IS", "IL", "P2", "I2", "OFF")
BLOCKS = ("DESC", "TEXT", "TIME", "DAT1", "DAT2", "ALL")
DEVICE_SETTINGS = ("TDIV", "TRDL", "TRMD", "TRSE", "TRWI", "MSIZ", "SEQ", "WFSU", "BWL")
CHANNEL_SETTINGS = ("VDIV", "OFST", "CPL", "ATTN", "TRA", "TRLV", "TRSL", "TRCP")


class Scope(OwnDisk):
    """One scope, for one task at a time (`stop` and `abort` break off what another task waits for).

    Args:
        link, channels, timeout: as of `Session`.
        waveform_timeout: s for each MiB of a waveform, and for the scope to begin with it.
    """

    def __init__(
        self,
        link: str | Vxi11Link,
        channels: int = 4,
        *,
        timeout: float = 5.0,
        waveform_timeout: float = 10.0,
    ) -> None:
        super().__init__(link, channels, timeout=timeout)
        self.waveform_timeout = waveform_timeout
        self._buffers: dict[str, mmap.mmap] = {}

    # Settings

    async def time_div(self, seconds: float | str) -> float:
        """Set the time base, s/div (or a text such as "2.5 US"); adapted to 1-2-5 steps."""
        return await self._number("TDIV", seconds)

    async def trig_delay(self, value: float) -> float:
        """Set the trigger delay: >= 0 percent of the screen before the trigger; < 0 seconds after it."""
        return await self._number("TRDL", value)

    async def trig_mode(self, mode: str) -> str:
        """Set AUTO, NORM, SINGLE or STOP."""
        return await self._word("TRMD", one_of("trigger mode", mode, MODES))

    async def trig_window(self, volts: float) -> float:
        """Set the trigger window, 0 to 25 V (older models)."""
        return await self._number("TRWI", within("trigger window", volts, 0, 25, "V"))

    async def trig_select(self, type: str, source: str, **pairs: str) -> str:
        """Set the kind of trigger, e.g. `trig_select("EDGE", "C2", HT="OFF")`; pairs are HT, HV, HV2."""
        one_of("trigger source", source, (*SOURCES, "LINE"))
        one_of("trigger type", type, ("DROP", "EDGE", "GLIT", "INTV", "STD", "SNG", "SQ", "TEQ"))
        for key, value in pairs.items():
            if one_of("pair of TRSE", key, ("HT", "HV", "HV2")) == "HT":
                one_of("hold type", value, HOLDS)
            else:
                number(value)
        rest = "".join(f",{key.upper()},{value}" for key, value in pairs.items())
        return await self._word("TRSE", f"{type.upper()},SR,{source.upper()}{rest}")

    async def trig_level(self, source: str | int, volts: float | str) -> float:
        """Set a source's trigger level, V."""
        return await self._number(f"{trace_name(source, SOURCES)}:TRLV", volts)

    async def trig_slope(self, source: str | int, slope: str) -> str:
        """Set a source's trigger slope: POS, NEG."""
        return await self._word(
            f"{trace_name(source, (*SOURCES, 'LINE'))}:TRSL", one_of("slope", slope, ("POS", "NEG"))
        )

    async def trig_coupling(self, source: str | int, coupling: str) -> str:
        """Set a source's trigger coupling: AC, DC, HFREJ, LFREJ."""
        word = one_of("trigger coupling", coupling, ("AC", "DC", "HFREJ", "LFREJ"))
        return await self._word(f"{trace_name(source, SOURCES)}:TRCP", word)

    async def volt_div(self, channel: str | int, volts: float | str) -> float:
        """Set a channel's V/div, probe factor not included."""
        return await self._number(f"{trace_name(channel, self.channels)}:VDIV", volts)

    async def offset(self, channel: str | int, volts: float | str) -> float:
        """Set a channel's offset, V, probe factor not included."""
        return await self._number(f"{trace_name(channel, self.channels)}:OFST", volts)

    async def coupling(self, channel: str | int, coupling: str) -> str:
        """Set a channel's input: A1M, D1M, D50, GND."""
        word = one_of("coupling", coupling, ("A1M", "D1M", "D50", "GND"))
        return await self._word(f"{trace_name(channel, self.channels)}:CPL", word)

    async def attenuation(self, channel: str | int, factor: float) -> float:
        """Set a channel's probe factor."""
        return await self._number(f"{trace_name(channel, self.channels)}:ATTN", factor)

    async def display(self, channel: str | int, shown: str) -> str:
        """Show or hide a channel: ON, OFF."""
        return await self._word(f"{trace_name(channel, self.channels)}:TRA", one_of("display", shown, ("ON", "OFF")))

    async def bandwidth_limit(self, channel: str | int, mode: str) -> str:
        """Set a channel's bandwidth limit: OFF, ON, 20MHZ, 200MHZ, 1GHZ."""
        name = trace_name(channel, self.channels)
        word = one_of("bandwidth limit", mode, ("OFF", "ON", "20MHZ", "200MHZ", "1GHZ"))
        told = await self._command(f"BWL {name},{word}", "BWL")
        return bandwidths(told, self.channels)[name]

    async def memory_size(self, points: float) -> float:
        """Set the points of a single sweep; adapted to a legal number."""
        return await self._number("MSIZ", points)

    async def sequence(
        self, mode: str = "ON", segments: int | None = None, max_size: float | None = None
    ) -> tuple[str, int, float]:
        """Set sequence mode ON or OFF, number of segments, points of one; gives the three as the scope has them."""
        one_of("sequence mode", mode, ("ON", "OFF"))
        if max_size is not None and segments is None:
            raise ValueError("max_size without segments: the scope takes it only after them")
        parts = [mode.upper()]
        parts += [] if segments is None else [str(whole("segments", segments, 1, 10**6))]
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
        pairs = [f"{key},{whole(f'waveform setup {key}', value, 0, 10**9)}" for key, value in values.items()]
        return await self._word("WFSU", ",".join(pairs))

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
        within("time to wait", seconds, 0, 1000, "s")
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
        name = trace_name(trace, (*self.channels, *MEMORIES, "TA", "TB", "TC", "TD"))
        one_of("block", block, BLOCKS)
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


def waveform_name(directory: str | Path, channel: str | int, name: str, extension: str = "trc") -> Path:
    """Give `<directory>/<Cn>-<name>.<extension>`, the name that the users' analysis looks for."""
    return Path(directory) / f"{trace_name(channel, SOURCES[:4])}-{name}.{extension}"
