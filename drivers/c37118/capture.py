"""Recordings -> frames: raw bytes as they came from a link, or pcap and pcapng files.

C37.118 is found on any port by SYNC and CRC. A sender (a TCP or UDP "address:port") without a good frame is other
traffic, and is not spoken of; nor is one whose good frames are less than 1 % of its bytes, since in every 150 MB of
encrypted traffic a chance pattern passes for a frame.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from drivers.c37118.data import announces_change, expected_size, stale
from drivers.c37118.frames import (
    Configuration,
    Fragment,
    Fragments,
    FrameType,
    Message,
    NoConfiguration,
    decode,
)
from drivers.c37118.packets import Datagram, Packets, RecordingError
from drivers.c37118.reassembly import Reassembly
from drivers.c37118.stream import Stream
from drivers.errors import ProtocolError

__all__ = ["Captured", "Configurations", "Recording", "RecordingError", "Run", "Sender"]

RAW = "raw"  # the sender of a recording that says nothing of senders
CHUNK = 1 << 16
CHANCE = 100  # times more bytes skipped than in frames: other traffic
HEAD = 6  # SYNC, FRAMESIZE and IDCODE: the same in all data frames of a run
CHANGE = 0x04  # STAT bit 10, in the word's first byte
CONNECTIONS = 512  # open at one time; beyond that the one that was silent for longest is taken to have ended

# microseconds, nanoseconds and Kuznetzov's, in both byte orders, and pcapng
_MAGICS = "a1b2c3d4 d4c3b2a1 a1b23c4d 4d3cb2a1 a1b2cd34 34cdb2a1 0a0d0d0a"
_PCAP_MAGICS = frozenset(map(bytes.fromhex, _MAGICS.split()))


class Run(NamedTuple):
    """Good data frames of one stream that follow each other, with the configuration that decodes them."""

    sender: str
    idcode: int
    configuration: Configuration
    frames: list[bytes]


class Captured(NamedTuple):
    """A good frame of a recording.

    `sender`: "tcp address:port", "udp address:port" or "raw"; `message`: the frame decoded, or None; `error`: why
    it could not be decoded; `configuration`: the one that a data frame was decoded with.
    """

    sender: str
    idcode: int
    type: FrameType
    frame: bytes
    message: Message | None
    error: ProtocolError | None
    configuration: Configuration | None


@dataclass
class Sender:
    """What was counted of one sender, over all its connections.

    `frames`: good frames by (IDCODE, type); `undecoded`: by IDCODE, the data frames without a configuration that fits.
    """

    name: str
    frames: Counter[tuple[int, FrameType]] = field(default_factory=Counter)
    undecoded: Counter[int] = field(default_factory=Counter)
    bad_crc: int = 0
    skipped_bytes: int = 0
    unsupported: int = 0
    holes: int = 0
    connections: int = 0

    def total(self, type: FrameType) -> int:
        """Give the good frames of a type, of all IDCODEs."""
        return sum(count for (_, kind), count in self.frames.items() if kind is type)


class Configurations:
    """The configurations of one recording, by sender and IDCODE; another port of the same host comes second.

    CFG-2 says what is sent; CFG-1 stands in only while there is no other. A CFG-3 says more than a CFG-2: it stays
    until one comes with another CFGCNT. A configuration that comes while STAT bit 10 announces a change counts from the
    first frame with the bit back at 0, or of another size.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], Configuration] = {}
        self._next: dict[tuple[str, int], Configuration] = {}
        self._changing: set[tuple[str, int]] = set()

    def add(self, sender: str, configuration: Configuration) -> None:
        """Take a configuration that was sent."""
        for key in self._keys(sender, configuration.idcode):
            known = self._known.get(key)
            if (
                known
                and known.type > configuration.type
                and (configuration.type is FrameType.CFG1 or _changes(known) == _changes(configuration))
            ):
                continue
            (self._next if key in self._changing else self._known)[key] = configuration

    def choose(self, sender: str, idcode: int, frame: bytes) -> Configuration:
        """Give the configuration that counts for a data frame.

        Raises:
            NoConfiguration: none was sent yet.
            StaleConfiguration: the frame has another size, and no new configuration was sent.
        """
        key = next((key for key in self._keys(sender, idcode) if key in self._known), None)
        if key is None:
            raise NoConfiguration(f"{sender}: data of stream {idcode} before its configuration")
        if len(frame) != expected_size(self._known[key]):
            if key not in self._next:
                raise stale(frame, self._known[key])
            self._known[key] = self._next.pop(key)
            if len(frame) != expected_size(self._known[key]):
                raise stale(frame, self._known[key])
        changing = announces_change(frame, self._known[key])
        if not changing and key in self._next:
            self._known[key] = self._next.pop(key)
            if len(frame) != expected_size(self._known[key]):
                raise stale(frame, self._known[key])
        (self._changing.add if changing else self._changing.discard)(key)
        return self._known[key]

    @staticmethod
    def _keys(sender: str, idcode: int) -> tuple[tuple[str, int], tuple[str, int]]:
        host = sender.partition(" ")[2].rpartition(":")[0]
        return (sender, idcode), (host, idcode)


def _changes(configuration: Configuration) -> list[int]:
    return [pmu.cfgcnt for pmu in configuration.pmus]


class Recording:
    """Iterates over the good frames of one recording, decoded, and counts. Memory does not grow with the file.

    Attributes:
        senders: after the iteration, those that sent at least one good frame (2024 edition included), by name; the one
            of a raw recording in any case.
        notes: after the iteration, what was wrong with the file itself, for people.
        position: bytes of the file read so far.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.senders: dict[str, Sender] = {}
        self.notes: list[str] = []
        self.position = 0
        self._configurations = Configurations()
        self._fragments: dict[tuple[str, int], Fragments] = {}

    def __iter__(self) -> Iterator[Captured]:
        """Read the file from its begin.

        Raises:
            OSError: the file cannot be read.
            RecordingError: it is empty, its head is damaged, or dpkt is missing.
        """
        for found in self.runs():
            if isinstance(found, Captured):
                yield found
                continue
            for frame in found.frames:
                message = decode(frame, found.configuration)
                yield Captured(found.sender, found.idcode, FrameType.DATA, frame, message, None, found.configuration)

    def runs(self) -> Iterator["Captured | Run"]:
        """Read the file from its begin, data frames many at a time and not decoded.

        Raises:
            OSError, RecordingError: as by iterating.
        """
        self.senders, self.notes, self._configurations, self._fragments = {}, [], Configurations(), {}
        self.position = 0
        with self.path.open("rb") as file:
            magic = file.read(4)
            file.seek(0)
            if not magic:
                raise RecordingError(f"{self.path}: the file is empty")
            yield from self._pcap(file) if magic in _PCAP_MAGICS else self._raw(file)

    def _raw(self, file: BinaryIO) -> Iterator[Captured | Run]:
        flow = _Flow(RAW)
        while chunk := file.read(CHUNK):
            self.position += len(chunk)
            yield from self._found(flow, flow.stream.feed(chunk))
        yield from self._close(flow)

    def _pcap(self, file: BinaryIO) -> Iterator[Captured | Run]:
        try:
            packets = Packets(file)
        except RecordingError as error:
            raise RecordingError(f"{self.path}: {error}") from error
        flows: dict[tuple[str, str], _Flow] = {}
        for packet in packets:
            self.position = file.tell()
            protocol = "udp" if isinstance(packet, Datagram) else "tcp"
            key = (f"{protocol} {packet.source}", packet.target)
            flow = flows.pop(key, None) or _Flow(key[0])
            flows[key] = flow  # at the end: the first one is always the one that was silent for longest
            if isinstance(packet, Datagram):
                # A datagram holds whole frames: nothing goes on in the next one.
                yield from self._found(flow, flow.stream.feed(packet.data) + flow.stream.flush())
            else:
                yield from self._found(flow, flow.order(flow.tcp.add(packet.seq, packet.syn, packet.data)))
            if len(flows) > CONNECTIONS:
                yield from self._close(flows.pop(next(iter(flows))))
        for flow in flows.values():
            yield from self._close(flow)
        if packets.truncated:
            self.notes.append(f"damaged or cut short behind packet {packets.read}: what follows is not read")
        if packets.damaged:
            self.notes.append(f"{packets.damaged} packets could not be read")

    def _found(self, flow: "_Flow", frames: Iterable[bytes]) -> Iterator[Captured | Run]:
        sender = flow.counts.name
        run: Run | None = None
        head, stat_at = b"", ()  # of the run's frames
        for frame in frames:
            if run is not None and frame[:HEAD] == head:
                for at in stat_at:
                    if frame[at] & CHANGE:
                        break
                else:
                    run.frames.append(frame)
                    continue
            if run is not None:
                yield self._counted(flow, run)
            run, head = None, b""
            idcode, kind = int.from_bytes(frame[4:6]), FrameType(frame[1] >> 4)
            if kind is not FrameType.DATA:
                yield self._other(flow, idcode, kind, frame)
                continue
            try:
                configuration = self._configurations.choose(sender, idcode, frame)
            except ProtocolError as error:
                flow.counts.undecoded[idcode] += 1
                flow.counts.frames[idcode, kind] += 1
                flow.frame_bytes += len(frame)
                yield Captured(sender, idcode, kind, frame, None, error, None)
                continue
            run = Run(sender, idcode, configuration, [frame])
            if not announces_change(frame, configuration):
                head, stat_at = frame[:HEAD], configuration.stat_at
        if run is not None:
            yield self._counted(flow, run)

    def _counted(self, flow: "_Flow", run: Run) -> Run:
        flow.counts.frames[run.idcode, FrameType.DATA] += len(run.frames)
        flow.frame_bytes += sum(map(len, run.frames))
        return run

    def _other(self, flow: "_Flow", idcode: int, kind: FrameType, frame: bytes) -> Captured:
        flow.counts.frames[idcode, kind] += 1
        flow.frame_bytes += len(frame)
        message, error = None, None
        try:
            message = decode(frame)
        except ProtocolError as problem:
            error = problem
        if isinstance(message, Fragment):
            try:
                whole = self._fragments.setdefault((flow.counts.name, idcode), Fragments()).add(message)
            except ProtocolError as problem:
                return Captured(flow.counts.name, idcode, kind, frame, None, problem, None)
            message = whole or message
        if isinstance(message, Configuration):
            self._configurations.add(flow.counts.name, message)
        return Captured(flow.counts.name, idcode, kind, frame, message, error, None)

    def _close(self, flow: "_Flow") -> Iterator[Captured | Run]:
        yield from self._found(flow, flow.order(flow.tcp.end()) + flow.stream.flush())
        counts, stream = flow.counts, flow.stream
        if counts.name != RAW and not counts.frames and not stream.unsupported:
            return
        if counts.name != RAW and stream.skipped_bytes > CHANCE * flow.frame_bytes:
            return
        total = self.senders.setdefault(counts.name, Sender(counts.name))
        total.frames += counts.frames
        total.undecoded += counts.undecoded
        total.bad_crc += stream.bad_crc
        total.skipped_bytes += stream.skipped_bytes
        total.unsupported += stream.unsupported
        total.holes += flow.tcp.holes
        total.connections += flow.tcp.connections


class _Flow:
    """From one sender to one receiver: all TCP connections between two ports, a row of datagrams, or raw bytes."""

    def __init__(self, sender: str) -> None:
        self.counts = Sender(sender)
        self.stream = Stream()
        self.tcp = Reassembly()
        self.frame_bytes = 0

    def order(self, pieces: Iterable[bytes | None]) -> list[bytes]:
        """Split bytes that are in order; at a BREAK nothing goes on."""
        frames: list[bytes] = []
        for piece in pieces:
            frames += self.stream.flush() if piece is None else self.stream.feed(piece)
        return frames
