"""The simulated board: boots, hears single bytes, answers lines, and has the faults of real ones (no wire of its own).

A port gives it bytes and takes its own: `drivers.pty_port.PtyPort`, or `tcp_port.TcpPort`.
"""

import asyncio
import random
import time
from collections import Counter, deque
from dataclasses import dataclass, field, fields
from typing import Protocol

from drivers.bme680 import simulated_sketches as sketches
from drivers.bme680.simulated_sensor import SimulatedSensor
from drivers.knobs import fits


class Port(Protocol):
    """The board's side of a serial line."""

    async def read(self) -> bytes:
        """Wait for bytes from the computer."""
        ...

    def write(self, data: bytes) -> None:
        """Say bytes to the computer, if it listens."""
        ...


@dataclass
class Faults:
    """What can go wrong. Counts run down by themselves, the others stay until they are taken back.

    Attributes:
        mute: True = nothing is said at all.
        slow: seconds that each answer takes longer.
        swallow: so many answers are made and not sent.
        echo: True = every byte that comes is sent back at once.
        garbage: so many NUL and 0xFF bytes before the next line.
        garble: one character is changed in each of so many lines.
        half: of so many lines the second half is not sent.
        split: True = each line comes in two pieces, 50 ms apart.
        endless: so many times, 10 kB of digits without an end come instead of the line.
        duplicate: so many lines are sent twice, at once.
        swapped: in so many lines temperature and pressure have changed places.
        cr_only: True = lines end with CR alone.
        say: texts in place of fields, e.g. {"humidity": "nan"}.
        spike: values for one reading, in K, Pa, %, Ohm, e.g. {"humidity": 90}.
        begin_failed, reading_failed: so many readings fail, told in words.
    """

    mute: bool = False
    slow: float = 0.0
    swallow: int = 0
    echo: bool = False
    garbage: int = 0
    garble: int = 0
    half: int = 0
    split: bool = False
    endless: int = 0
    duplicate: int = 0
    swapped: int = 0
    cr_only: bool = False
    say: dict[str, str] = field(default_factory=dict)
    spike: dict[str, float] = field(default_factory=dict)
    begin_failed: int = 0
    reading_failed: int = 0

    def due(self, name: str) -> bool:
        """Tell whether a counted fault is to happen now, and count it down."""
        left = getattr(self, name)
        if left > 0:
            setattr(self, name, left - 1)
        return left > 0


class SimulatedBoard:
    """An Arduino with a BME680 and one of the `sketches.SKETCHES`.

    Attributes:
        sensor: what it reads. faults: see `Faults`.
        boot: seconds from a reset until it hears. conversion: seconds of a reading. interval: seconds between lines of
            the sketches that stream.
        noise: a reset sends NUL and 0xFF bytes.
        asked: how often each byte came, while it heard.
        resets: times that it was reset.
        lines: the last 1000 lines that were sent whole.
        age: seconds since the power came on, before the first reset.
    """

    def __init__(
        self,
        port: Port,
        sketch: str = "countinghouse",
        *,
        boot: float = 1.5,
        conversion: float = 0.183,
        interval: float = 1.0,
        speed: float = 1.0,
        age: float = 0.0,
    ) -> None:
        if sketch not in sketches.SKETCHES:
            raise ValueError(f"the sketch {sketch!r} is not known; known: {', '.join(sketches.SKETCHES)}")
        self.port = port
        self.sketch = sketch
        self.sensor = SimulatedSensor()
        self.faults = Faults()
        self.boot = boot
        self.conversion = conversion
        self.interval = interval
        self.noise = True
        self.asked: Counter[str] = Counter()
        self.resets = 0
        self.lines: deque[str] = deque(maxlen=1000)
        self._speed = speed
        self._started = time.monotonic() - age
        self._stepped = time.monotonic()
        self._sequence = 0
        self._heard: asyncio.Queue[int] = asyncio.Queue()
        self._deaf = False
        self._program: asyncio.Task[None] | None = None
        self._random = random.Random(680)

    @property
    def uptime(self) -> int:
        """Seconds since the last reset."""
        return int((time.monotonic() - self._started) * self._speed)

    async def run(self) -> None:
        """Live until cancelled: hear the port, run the sketch."""
        if self._program is None:
            self._program = asyncio.create_task(self._sketch(booting=False))
        try:
            while True:
                for byte in await self.port.read():
                    if self.faults.echo:
                        self.port.write(bytes([byte]))
                    if not self._deaf:
                        self.asked[chr(byte)] += 1
                        self._heard.put_nowait(byte)
                if self._program.done():
                    self._program.result()
        finally:
            self._program.cancel()

    def reset(self) -> None:
        """DTR rose, or the power came back: the sketch begins anew."""
        self.resets += 1
        self._started = time.monotonic()
        self._sequence = 0
        self.sensor.reset()
        self._heard = asyncio.Queue()
        if self._program is not None:
            self._program.cancel()
        self._program = asyncio.create_task(self._sketch(booting=True))

    async def _sketch(self, booting: bool) -> None:
        """What setup() and loop() do."""
        if booting:
            self._deaf = True
            if self.noise and not self.faults.mute:
                self.port.write(b"\x00\xff\xff\x00")
            await self._wait(self.boot)
            self._deaf = False
            if self.sketch == "countinghouse":
                await self._say("\r\n" + sketches.identity(self.uptime))
        if self.sensor.absent and self.sketch != "countinghouse":
            await self._say(sketches.NOT_FOUND)
            self._deaf = True
            return  # while (1);
        while True:
            if self.sketch not in sketches.POLLED:
                await self._wait(self.interval)
                await self._answer()
                continue
            match chr(await self._heard.get()):
                case "R":
                    await self._answer()
                case "I" if self.sketch == "countinghouse":
                    await self._say(sketches.identity(self.uptime))
                case _ if self.sketch == "picosec":
                    await self._wait(0.1)

    async def _answer(self) -> None:
        """Take a reading and say it, or what went wrong."""
        faults = self.faults
        if self.sensor.absent and self.sketch == "countinghouse":  # it looks for the sensor at every request
            return await self._say(sketches.trouble(self.sketch, sketches.NOT_FOUND))
        if self.sensor.absent or faults.due("begin_failed"):
            return await self._say(sketches.trouble(self.sketch, sketches.BEGIN_FAILED))
        await self._wait(self.conversion + faults.slow)
        if faults.due("reading_failed"):
            return await self._say(sketches.trouble(self.sketch, sketches.READING_FAILED))
        now = time.monotonic()
        self.sensor.step((now - self._stepped) * self._speed)
        self._stepped = now
        self._sequence += 1
        said = sketches.line(
            self.sketch, self._spiked(), faults.say, self._sequence, self.uptime, faults.due("swapped")
        )
        if faults.due("swallow"):
            return None
        if faults.due("endless"):
            return self._write(b"4" * 10_000)
        return await self._say(said)

    def _spiked(self) -> tuple[float, float, float, float]:
        spike, self.faults.spike = self.faults.spike, {}
        t, p, rh, gas = self.sensor.read()
        return (
            spike.get("temperature", t),
            spike.get("pressure", p),
            spike.get("humidity", rh),
            spike.get("gas", gas),
        )

    async def _say(self, text: str) -> None:
        faults = self.faults
        data = text.encode("ascii") + (b"\r" if faults.cr_only else b"\r\n")
        if faults.garbage:
            data = bytes(self._random.choice((0x00, 0xFF)) for _ in range(faults.garbage)) + data
            faults.garbage = 0
        if faults.due("garble"):
            place = len(data) // 2
            data = data[:place] + b"?" + data[place + 1 :]
        if faults.due("half"):
            self._write(data[: len(data) // 2])
            return
        if faults.due("duplicate"):
            data += data
        if faults.split:
            self._write(data[: len(data) // 2])
            await self._wait(0.05)
            data = data[len(data) // 2 :]
        self._write(data)
        self.lines.append(text)

    def _write(self, data: bytes) -> None:
        if not self.faults.mute:
            self.port.write(data)

    async def _wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._speed)

    def set(self, **changes: object) -> None:
        """Set attributes by name: those of `Faults`, of the sensor, `boot conversion interval noise`, or `reset=True`.

        Raises:
            ValueError: there is no such name, or the value is of another kind; the message says which there are.
        """
        known: dict[str, object] = {each.name: self.faults for each in fields(self.faults)}
        known |= {each.name: self.sensor for each in fields(self.sensor) if each.name[0] != "_"}
        known |= dict.fromkeys(("boot", "conversion", "interval", "noise"), self)
        for key, value in changes.items():
            if key in known and fits(getattr(known[key], key), value) and _of_quantities(key, value):
                setattr(known[key], key, value)
            elif key == "reset" and value is True:
                self.reset()
            else:
                names = ", ".join([*known, "reset"])
                raise ValueError(f"{key}={value!r} is not known here, or not with that value; known: {names}")


def _of_quantities(key: str, value: object) -> bool:
    """Tell whether the keys and values of `say` and `spike` make sense; others have none."""
    kinds = {"say": str, "spike": int | float}
    return not isinstance(value, dict) or all(
        each in ("temperature", "pressure", "humidity", "gas") and isinstance(said, kinds[key])
        for each, said in value.items()
    )
