"""A recorded stream as the simulator's source: the recorded bytes at the recorded pace."""

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from drivers.c37118.capture import Recording
from drivers.c37118.frames import Command, FrameType, time_ns
from drivers.errors import ProtocolError

SECOND = 10**9
ANSWERS = {
    FrameType.HEADER: Command.SEND_HEADER,
    FrameType.CFG1: Command.SEND_CFG1,
    FrameType.CFG2: Command.SEND_CFG2,
    FrameType.CFG3: Command.SEND_CFG3,
}


@dataclass(frozen=True)
class Step:
    """One data frame, the frames that the recording has just before it, and the seconds since the data frame before."""

    before: tuple[bytes, ...]
    frame: bytes
    pause: float


class Replay:
    """The stream of a recording, byte for byte, paced by its own time stamps.

    Data begins when a client first switches it on, stands still while nobody has it on, and goes through once: then
    the connection stays open and silent. Configurations and headers are answered with the recorded ones, those that
    were in force at that point; a configuration that the recording has between data frames is sent there too. Steps
    back in time do not wait, those ahead at most `longest_pause`.

    Args:
        recorded: the frames of one stream, in order, whole and with good CRC.
        speed: so many times faster; 0 = as fast as the (slowest) client reads.
        loop: begin again at the end, with the recorded time stamps.

    Raises:
        ProtocolError: no data frame among them.
    """

    waits_for_listener = True
    longest_pause = 60.0

    def __init__(self, recorded: list[bytes], *, speed: float = 1.0, loop: bool = False) -> None:
        if speed < 0:
            raise ValueError(f"speed {speed}: 0 = as fast as the client reads, 10 = ten times faster")
        self.speed = speed
        self.loop = loop
        self._steps, self._answers = _steps(recorded, self.longest_pause)
        if not self._steps:
            raise ProtocolError(f"nothing to replay: no data frame among {len(recorded)} frames")
        self.idcode = int.from_bytes(self._steps[0].frame[4:6], "big")
        self._position = 0
        self._due: float | None = None  # of the frame before, by the monotonic clock

    @classmethod
    def of_file(cls, path: Path | str, *, speed: float = 1.0, loop: bool = False) -> Self:
        """Replay a raw recording, pcap or pcapng; of several streams the one with most data frames.

        Raises:
            OSError: the file cannot be read. ProtocolError: it holds no data frame.
        """
        recorded = list(Recording(Path(path)))
        counts = Counter((each.sender, each.idcode) for each in recorded if each.type is FrameType.DATA)
        if not counts:
            raise ProtocolError(f"{path}: no C37.118 data frame with a good CRC in it: is it a recording of a PMU?")
        ((sender, idcode), _) = counts.most_common(1)[0]
        # Data may come by UDP and its configuration by TCP: answers are those of the IDCODE, whatever port they left.
        own = [each for each in recorded if each.idcode == idcode and (each.sender == sender or each.type in ANSWERS)]
        return cls([each.frame for each in own], speed=speed, loop=loop)

    def due(self) -> float | None:
        """Give the seconds until the next frame is due, None when the recording is through."""
        if self._position == len(self._steps):
            if not self.loop:
                return None
            self._position = 0
        now = time.monotonic()
        if self._due is None or not self.speed:
            return 0.0
        wait = self._due + self._steps[self._position].pause / self.speed - now
        if wait < -1.0:  # nobody listened: go on from here, do not catch up
            self._due = now
            return 0.0
        return wait

    def step(self) -> list[bytes]:
        """Give the next data frame, after what the recording has before it."""
        step = self._steps[self._position]
        self._position += 1
        if self._due is None:
            self._due = time.monotonic()
            return [step.frame]  # what stands before the first frame are the answers to the recorded client
        if self.speed:
            self._due += step.pause / self.speed
        return [*step.before, step.frame]

    def answer(self, command: int) -> bytes | None:
        """Give the recorded answer that is in force at this point, else the first that comes later, else None."""
        known = self._answers.get(command, [])
        past = [frame for position, frame in known if position <= self._position]
        return (past[-1:] or [frame for _, frame in known[:1]] or [None])[0]


def _kind(frame: bytes) -> int:
    return frame[1] >> 4


def _steps(recorded: list[bytes], longest_pause: float) -> tuple[list[Step], dict[int, list[tuple[int, bytes]]]]:
    """Sort a recording into data frames with their pauses, and into answers with the data frame they come before."""
    steps: list[Step] = []
    answers: dict[int, list[tuple[int, bytes]]] = {command: [] for command in ANSWERS.values()}
    before: list[bytes] = []
    last: int | None = None
    time_base = next(
        (_time_base(frame) for frame in recorded if _kind(frame) in ANSWERS and _kind(frame) != FrameType.HEADER),
        1_000_000,
    )
    for frame in recorded:
        kind = _kind(frame)
        if kind in ANSWERS:
            known = answers[ANSWERS[FrameType(kind)]]
            if kind == FrameType.CFG3 and known and int.from_bytes(frame[14:16]) > 1:  # a further fragment
                known[-1] = known[-1][0], known[-1][1] + frame
                before.append(frame)
                continue
            known.append((len(steps), frame))
            before.append(frame)
            if kind != FrameType.HEADER:
                time_base = _time_base(frame)
        elif kind == FrameType.DATA:
            now = time_ns(int.from_bytes(frame[6:10], "big"), int.from_bytes(frame[11:14], "big"), time_base)
            pause = 0.0 if last is None else min(max((now - last) / SECOND, 0.0), longest_pause)
            steps.append(Step(tuple(before), frame, pause))
            before, last = [], now
    return steps, answers


def _time_base(frame: bytes) -> int:
    at = 17 if _kind(frame) == FrameType.CFG3 else 15  # CONT_IDX stands before it
    return int.from_bytes(frame[at : at + 3]) or 1_000_000
