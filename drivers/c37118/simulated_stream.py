"""The behaviour of a simulated stream: frames on the grid of the second, configurations, leap seconds (no wire).

Nothing here waits or sends: `SimulatedStream.step()` gives the next frame, `due()` says when it is due. It shares
with the driver the message dataclasses and the encoder (proved by published vectors and by tshark), never the decoder.
"""

import math
import time
from collections.abc import Callable
from dataclasses import replace

from drivers.c37118 import frames
from drivers.c37118.frames import Command, Configuration, DataFrame, FrameType, HeaderFrame, TimeQuality
from drivers.c37118.simulated_pmu import Grid, SimulatedPmu

SECOND = 10**9
LEAP_PENDING, LEAP_OCCURRED, LEAP_DELETED = 0x10, 0x20, 0x40


class SimulatedStream:
    """A stream of one or more simulated PMUs: configuration, frames on the k/N grid of the second, changes, leap
    seconds.

    Args:
        pmus: the PMUs, one block each; None = one `SimulatedPmu`.
        idcode: of the stream.
        rate: DATA_RATE: above 0 frames per second, below 0 seconds per frame.
        time_base: FRACSEC units per second; None = one in which the grid is exact.
        header: text of the header frame; None = a PMU that has none to send.
        version: 1 (2005) or 2 (2011).
        cfg3: whether it knows CFG-3.
        fragment: bytes of a CFG-3 in one frame, behind CONT_IDX; None = all of it.
        repeat: seconds from one configuration frame sent unasked to the next; None = never.
        speed: how much faster than the clock time goes.
        clock: the time, integer ns since 1970.

    Attributes:
        grid: the power grid that all PMUs measure.
        tq: time quality code 0..15 (MSG_TQ).
        skipped: frames never made because the process stood still for longer than `catch_up` seconds.
    """

    waits_for_listener = False
    catch_up = 60.0

    def __init__(
        self,
        pmus: list[SimulatedPmu] | None = None,
        *,
        idcode: int = 1,
        rate: int = 50,
        time_base: int | None = None,
        header: str | None = "Countinghouse simulated PMU",
        version: int = 1,
        cfg3: bool = False,
        fragment: int | None = None,
        repeat: float | None = None,
        speed: float = 1.0,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        if rate == 0 or not -32768 <= rate <= 32767:
            raise ValueError(f"rate {rate}: frames per second above 0, seconds per frame below 0")
        if speed <= 0:
            raise ValueError(f"speed {speed}: above 0")
        self.pmus = [SimulatedPmu()] if pmus is None else pmus
        self.idcode = idcode
        self.rate = rate
        exact = 1_000_000 if rate < 0 or 1_000_000 % rate == 0 else min(rate * 10_000, 0xFFFFFF // rate * rate)
        self.time_base = exact if time_base is None else time_base
        self.header = header
        self.version = version
        self.cfg3 = cfg3
        self.fragment = fragment
        self.repeat = repeat
        self.speed = speed
        self.grid = Grid(self.pmus[0].nominal)
        self.tq = 0
        self.skipped = 0
        self._clock = clock
        self._start = clock()
        self._index = self._index_at(self._start)
        self._offset = 0  # ns by which the stamps differ from the clock: leap seconds and time jumps
        self._leap: str | None = None
        self._leap_index = 0
        self._leap_bits = 0
        self._next_pmus: list[SimulatedPmu] | None = None
        self._change_index = 0
        self._unsolicited = False

    def now(self) -> int:
        """Give the simulated time, ns since 1970."""
        return self._start + int((self._clock() - self._start) * self.speed)

    def due(self) -> float:
        """Give the seconds of real time until the next frame is due; at or below 0 = now."""
        ahead = self._time_ns(self._index) - self.now()
        if abs(ahead) > (self.catch_up + 2 * self._period) * SECOND * max(self.speed, 1.0):
            index = self._index_at(self.now())  # the clock was set, or the process slept: begin anew, visibly
            self.skipped += max(index - self._index, 0)
            self._index, ahead = index, 0
        return ahead / self.speed / SECOND

    def step(self) -> list[bytes]:
        """Make the next data frame, with a configuration frame before it where one is sent unasked."""
        sent = []
        if self._next_pmus is not None and self._index >= self._change_index:
            self.pmus, self._next_pmus = self._next_pmus, None
            if self._unsolicited:
                sent += self._own_configuration()
        if self.repeat and self._index % max(round(self.repeat / self._period), 1) == 0:
            sent += self._own_configuration()
        if self._leap and self._index >= self._leap_index:
            self._take_leap()
        announcing = self._next_pmus is not None
        soc, fracsec = self._stamp()
        frame = DataFrame(
            idcode=self.idcode,
            soc=soc,
            tq=TimeQuality(self.tq | self._leap_bits),
            fracsec=fracsec,
            time_ns=frames.time_ns(soc, fracsec, self.time_base),
            pmus=tuple(pmu.measure(self.grid, announcing) for pmu in self.pmus),
            version=self.version,
        )
        sent.append(frames.encode(frame, self.configuration()))
        self._index += 1
        self.grid.step(self._period)
        return sent

    def answer(self, command: int) -> bytes | None:
        """Give the answer to a request for a header or a configuration, None for what this PMU does not know."""
        if command == Command.SEND_HEADER and self.header is not None:
            soc, fracsec = self._stamp()
            message = HeaderFrame(self.idcode, soc, TimeQuality(self.tq), fracsec, self.header, self.version)
            return frames.encode(message)
        if command == Command.SEND_CFG1:
            return self._configuration_frame(FrameType.CFG1)
        if command == Command.SEND_CFG2:
            return self._configuration_frame(FrameType.CFG2)
        if command == Command.SEND_CFG3 and self.cfg3:
            return b"".join(self._configuration_frames3())
        return None

    def configuration(self, kind: FrameType = FrameType.CFG2, pmus: list[SimulatedPmu] | None = None) -> Configuration:
        """Give the configuration in force (or that of `pmus`) as a message."""
        soc, fracsec = self._stamp()
        return Configuration(
            type=kind,
            idcode=self.idcode,
            soc=soc,
            tq=TimeQuality(self.tq | self._leap_bits),
            fracsec=fracsec,
            time_base=self.time_base,
            pmus=tuple(
                pmu.configuration3(self.idcode) if kind is FrameType.CFG3 else pmu.configuration(self.idcode)
                for pmu in pmus or self.pmus
            ),
            data_rate=self.rate,
            version=2 if kind is FrameType.CFG3 else self.version,
        )

    def reconfigure(self, pmu: int = 0, *, notice: float = 60.0, unsolicited: bool = False, **changes: object) -> None:
        """Change what a PMU sends, as the standard prescribes: STAT bit 10 for `notice` seconds, then the new layout.

        While the bit is set, requests are answered with the configuration to come. Its CFGCNT is one higher.

        Args:
            pmu: which one, from 0.
            notice: seconds (simulated) of announcement; 0 = a PMU that changes without a word.
            unsolicited: send the new CFG-2 unasked, before its first data frame.
            changes: attributes of `SimulatedPmu`, e.g. `phasors=("VA",)`.
        """
        changes = {
            key: _tuples(value) if key in ("phasors", "analogs", "digitals") else value
            for key, value in changes.items()
        }
        new = replace(self.pmus[pmu], cfgcnt=(self.pmus[pmu].cfgcnt + 1) % 65536, **changes)  # pyright: ignore
        self._next_pmus = [*self.pmus[:pmu], new, *self.pmus[pmu + 1 :]]
        self._change_index = self._index + math.ceil(notice / self._period)
        self._unsolicited = unsolicited

    def jump(self, seconds: float) -> None:
        """Let the PMU's clock jump: all further stamps are `seconds` later (below 0: earlier)."""
        self._offset += round(seconds * SECOND)

    def leap_second(self, direction: str = "insert") -> None:
        """Announce a leap second that comes at the next whole second (and not at midnight): "insert" or "delete"."""
        if direction not in ("insert", "delete"):
            raise ValueError(f"leap second {direction!r}: insert or delete")
        self._leap = direction
        self._leap_bits = LEAP_PENDING | (LEAP_DELETED if direction == "delete" else 0)
        self._leap_index = self._second_after(self._index)

    @property
    def _period(self) -> float:
        return 1 / self.rate if self.rate > 0 else float(-self.rate)

    def _index_at(self, time_ns: int) -> int:
        """Give the first frame at or after a time; frames are counted from 1970."""
        if self.rate > 0:
            second, rest = divmod(time_ns, SECOND)
            return second * self.rate + -(-rest * self.rate // SECOND)
        return -(-time_ns // (-self.rate * SECOND))

    def _time_ns(self, index: int) -> int:
        if self.rate > 0:
            second, k = divmod(index, self.rate)
            return second * SECOND + (k * SECOND + self.rate // 2) // self.rate
        return index * -self.rate * SECOND

    def _stamp(self) -> tuple[int, int]:
        return frames.soc_fracsec(self._time_ns(self._index) + self._offset, self.time_base)

    def _second_after(self, index: int) -> int:
        """Give the first frame of the next whole second."""
        return index - index % self.rate + self.rate if self.rate > 0 else index + 1

    def _take_leap(self) -> None:
        """Take the next step of the leap second, at a whole second (C37.118.2-2011, table 3).

        Inserted: the second 23:59:60 carries the SOC of the following 00:00:00 with the pending bit still set; then the
        same SOC comes again with the bit for "occurred". Deleted: SOC skips one value.
        """
        if self._leap == "insert":
            self._leap, self._leap_index = "repeat", self._second_after(self._index)
        elif self._leap == "repeat":
            self._offset -= SECOND
            self._leap, self._leap_bits = None, LEAP_OCCURRED
        else:
            self._offset += SECOND
            self._leap, self._leap_bits = None, LEAP_OCCURRED | LEAP_DELETED

    def _own_configuration(self) -> list[bytes]:
        return self._configuration_frames3() if self.cfg3 else [self._configuration_frame(FrameType.CFG2)]

    def _configuration_frames3(self) -> list[bytes]:
        whole = self.configuration(FrameType.CFG3, self._next_pmus)
        if self.fragment is None:
            return [frames.encode(whole)]
        return [frames.encode(fragment) for fragment in frames.fragments(whole, self.fragment)]

    def _configuration_frame(self, kind: FrameType) -> bytes:
        return frames.encode(self.configuration(kind, self._next_pmus))


def _tuples(value: object) -> object:
    """Turn JSON's lists into the tuples of a configuration."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value
