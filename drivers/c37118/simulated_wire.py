"""The wire of the simulated PMU: connections, commands, faults, bounded buffers.

What is said on it comes from a source: a `SimulatedStream` (behaviour) or a `Replay` (a recording). Commands are read
by a small parser here and not by the driver's decoder, so that a mistake in the one is not hidden by the same in
the other.
"""

import asyncio
import binascii
import contextlib
import logging
from collections import deque
from dataclasses import fields
from typing import Protocol, Self

from drivers.c37118.faults import Faults
from drivers.c37118.frames import Command
from drivers.c37118.simulated_datagrams import Datagrams, Peer, send_to
from drivers.c37118.simulated_stream import SimulatedStream
from drivers.knobs import fits

log = logging.getLogger(__name__)


class Source(Protocol):
    """Where the frames come from. `waits_for_listener`: it stands still while nobody has data on, and loses nothing."""

    idcode: int
    waits_for_listener: bool

    def due(self) -> float | None:
        """Give the seconds until the next frame is due, None when there is no more."""
        ...

    def step(self) -> list[bytes]:
        """Give the next frame (and what goes before it)."""
        ...

    def answer(self, command: int) -> bytes | None:
        """Give the answer to a command, or None."""
        ...


class Commands:
    """Reads command frames out of bytes (clause 6.6)."""

    def __init__(self) -> None:
        self._received = b""

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """Take received bytes; give IDCODE, CMD and EXTFRAME of each whole command frame with a good CRC."""
        self._received = (self._received + data)[-65536:]
        found = []
        while (at := self._received.find(b"\xaa")) >= 0:
            frame = self._received = self._received[at:]
            if len(frame) < 4:
                return found
            size = int.from_bytes(frame[2:4], "big")
            if frame[1] not in (0x41, 0x42) or not 18 <= size <= 1024:
                self._received = frame[1:]
            elif len(frame) < size:
                return found
            elif binascii.crc_hqx(frame[:size], 0xFFFF):
                self._received = frame[1:]
            else:
                found.append((int.from_bytes(frame[4:6]), int.from_bytes(frame[14:16]), frame[16 : size - 2]))
                self._received = frame[size:]
        self._received = b""
        return found


class Connection:
    """One connection to the simulator: its own data-on state, its own bounded buffer, its own half-read command."""

    limit = 1 << 18  # bytes that may wait for a client that does not read; further frames are not sent to it

    def __init__(self, writer: asyncio.StreamWriter, data_on: bool) -> None:
        self.writer = writer
        self.data_on = data_on
        self.dropped = 0
        self.commands = Commands().feed
        self._held: list[bytes] = []

    def abort(self) -> None:
        """Cut it."""
        self.writer.transport.abort()

    def send(self, frame: bytes, split: bool = False, merge: int = 1) -> None:
        """Send a frame, or hold (a part of) it back for the next call."""
        if self.writer.transport.is_closing():
            return
        if self.writer.transport.get_write_buffer_size() > self.limit:
            self.dropped += 1
            return
        self._held.append(frame)
        if len(self._held) < merge:
            return
        data, self._held = b"".join(self._held), []
        if split:
            cut = len(data) - len(frame) // 2
            data, self._held = data[:cut], [data[cut:]]
        self.writer.write(data)


class Simulator:
    """A PMU (or concentrator) that obeys commands 1 to 6 as a real one does: what it does not understand it drops.

    Several clients may connect. Use it as `async with Simulator(...) as simulator:` and connect to `simulator.port`.
    It takes commands by TCP or UDP and sends data to who switched them on; or, with `data_to`, by UDP to a place agreed
    upon, and then, with `listens=False`, by itself and for nobody's asking.

    Args:
        source: what it sends; None = a `SimulatedStream` with its defaults.
        host, port: where it listens; port 0 = any free one.
        udp: take commands by UDP instead of TCP.
        data_to: host (or multicast group) and port to which data go by UDP.
        listens: whether it takes commands at all.

    Attributes:
        source: as given. faults: see `Faults`; may be changed at any time.
        port: the port in use.
        sent: data frames made so far.
        commands: the last 1000 commands received for its IDCODE.
        extended: the data of the last 1000 extended frames.
        clients: the connections.
    """

    def __init__(
        self,
        source: Source | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        udp: bool = False,
        data_to: tuple[str, int] | None = None,
        listens: bool = True,
    ) -> None:
        self.source: Source = SimulatedStream() if source is None else source
        self.host = host
        self.port = port
        self.faults = Faults()
        self.sent = 0
        self.commands: deque[int] = deque(maxlen=1000)
        self.extended: deque[bytes] = deque(maxlen=1000)
        self.clients: set[Connection | Peer] = set()
        self._udp = udp
        self._data_to = data_to
        self._listens = listens
        self._target: Peer | None = None  # where data go that are sent to a place agreed upon
        self._datagrams: Datagrams | None = None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._producer: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()  # somebody has data on

    async def __aenter__(self) -> Self:
        if self._data_to is not None:
            self._target = await send_to(self._data_to, self.host)
        if self._listens:
            await self.listen()
        else:
            self._listening.set()
        self._producer = asyncio.create_task(self._produce())
        self._producer.add_done_callback(_report)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()
        tasks = [*self._tasks] + ([self._producer] if self._producer else [])
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
        if self._target is not None:
            self._target.close()

    async def listen(self) -> None:
        """Take connections (again), on the same port."""
        if self._udp:
            if self._datagrams is None:
                self._datagrams = await Datagrams.open(self.host, self.port, self._datagram)
                self.port = self._datagrams.port
        elif self._server is None:
            self._server = await asyncio.start_server(self._accept, self.host, self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Refuse further connections; those that stand go on."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._datagrams is not None:
            self._datagrams.close()
            self._datagrams = None
            self.clients.clear()

    def drop(self) -> None:
        """Cut every connection."""
        for client in set(self.clients):
            client.abort()
        if self._udp:
            self.clients.clear()
            self._update_listening()

    async def set(self, **changes: object) -> None:
        """Set faults and states by name: what one line on stdin does.

        The attributes of `Faults` (`bad_crc=3`, `silence=True` ...); those of every `SimulatedPmu` that hold a state
        (`stat trigger absent words voltage current lag`) and of the stream (`tq`); and the deeds `drop=True`,
        `refuse=True` or `False`, `time_jump=SECONDS`, `leap_second="insert"` or `"delete"`, `reconfigure={"phasors":
        [...], "notice": 60}`.

        Raises:
            ValueError: there is no such name; the message says which there are.
        """
        names = [field.name for field in fields(Faults) if not field.name.startswith("_")]
        states = ("stat", "trigger", "absent", "words", "voltage", "current", "lag")
        stream = self.source if isinstance(self.source, SimulatedStream) else None
        for key, value in changes.items():
            match key, value:
                case ("drop", True):
                    self.drop()
                case ("refuse", bool()):
                    await (self.refuse() if value else self.listen())
                case (_, _) if key in names and fits(getattr(Faults(), key), value):
                    setattr(self.faults, key, value)
                case ("time_jump", int() | float()) if stream:
                    stream.jump(value)
                case ("leap_second", str()) if stream:
                    stream.leap_second(value)
                case ("reconfigure", dict()) if stream:
                    stream.reconfigure(**value)
                case ("tq", int()) if stream:
                    stream.tq = value
                case (_, _) if stream and key in states:
                    for pmu in stream.pmus:
                        setattr(pmu, key, value)
                case _:
                    deeds = ("drop", "refuse", "time_jump", "leap_second", "reconfigure", "tq")
                    known = ", ".join((*deeds, *states, *names) if stream else (*deeds[:2], *names))
                    raise ValueError(f"{key}={value!r} is not known here, or not with that value; known: {known}")

    async def _produce(self) -> None:
        """Send each frame when it is due; when late, send all that are due at once."""
        while True:
            if self.source.waits_for_listener:
                await self._listening.wait()
            wait = self.source.due()
            if wait is None:
                return
            await asyncio.sleep(max(wait, 0.0))  # sleep(0) too: clients get their turn while we catch up
            if wait > 0:
                continue
            for frame in self.source.step():
                self._send(frame)
            self.sent += 1
            if self.source.waits_for_listener:
                await self._drain()

    def _send(self, frame: bytes) -> None:
        faults = self.faults
        if faults.mute or faults.silence:
            return
        pieces = faults.frames(frame)
        receivers = [client for client in self.clients if client.data_on]
        if self._target is not None:
            receivers = [self._target] if receivers or not self._listens else []
        for receiver in receivers:
            for piece in pieces:
                receiver.send(piece, faults.split, faults.merge)
        if faults.drop_after is not None and any(client.data_on for client in self.clients):
            faults.drop_after -= 1
            if faults.drop_after <= 0:
                faults.drop_after = None
                self.drop()

    async def _drain(self) -> None:
        """Wait for the slowest listener: a replay loses nothing."""
        for client in [client for client in self.clients if isinstance(client, Connection) and client.data_on]:
            with contextlib.suppress(OSError):  # it went away; its own task sees that
                await client.writer.drain()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        client = Connection(writer, self.faults.unasked)
        self.clients.add(client)
        self._update_listening()
        try:
            while data := await reader.read(4096):
                for idcode, command, rest in client.commands(data):
                    if idcode == self.source.idcode or self.faults.stranger:
                        await self._obey(client, command, rest)
        except OSError as error:
            log.debug("a client went away: %s", error)
        except asyncio.CancelledError:
            pass  # we are leaving; asyncio's own callback would report the cancellation as an error
        finally:
            self.clients.discard(client)
            self._update_listening()
            writer.transport.abort()

    def _datagram(self, client: "Peer", data: bytes) -> None:
        """Take a datagram; whoever sends one for the first time is a new client."""
        known = next((peer for peer in self.clients if isinstance(peer, Peer) and peer.address == client.address), None)
        if known is None:
            client.data_on = self.faults.unasked
            self.clients.add(client)
            known = client
        for idcode, command, rest in Commands().feed(data):
            if idcode == self.source.idcode or self.faults.stranger:
                task = asyncio.create_task(self._obey(known, command, rest))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _obey(self, client: "Connection | Peer", command: int, extended: bytes) -> None:
        """Do what a command asks; unknown ones are dropped without a word, as the standard says."""
        faults = self.faults
        self.commands.append(command)
        if command == Command.EXTENDED:
            self.extended.append(extended)
        if faults.slow:
            await asyncio.sleep(faults.slow)
        if command == Command.DATA_ON:
            client.data_on = True
        elif command == Command.DATA_OFF:
            client.data_on = client.data_on and faults.ignore_off
        elif not faults.mute and not (faults.shy and client.data_on):
            answer = self.source.answer(command)
            if answer is not None:
                client.send(answer)
        self._update_listening()

    def _update_listening(self) -> None:
        if any(client.data_on for client in self.clients):
            self._listening.set()
        else:
            self._listening.clear()


def _report(producer: asyncio.Task[None]) -> None:
    """Say at once why no more frames come; leaving the simulator raises it."""
    if not producer.cancelled() and (error := producer.exception()) is not None:
        log.error("no more frames: %s: %s", type(error).__name__, error)
