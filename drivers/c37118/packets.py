"""pcap and pcapng files -> TCP segments and UDP datagrams. dpkt does the file formats and the layers below."""

import struct
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

from drivers.errors import DriverError

FRAGMENTED = 64  # datagrams that may lie about in pieces at one time


class RecordingError(DriverError):
    """A recording that cannot be read at all; the message says why and what to try."""


class Segment(NamedTuple):
    """A TCP segment. `source`, `target`: "address:port"."""

    source: str
    target: str
    seq: int
    syn: bool
    data: bytes


class Datagram(NamedTuple):
    """A UDP datagram. `source`, `target`: "address:port"."""

    source: str
    target: str
    data: bytes


class _Watched:
    """A file that remembers a read that gave less than was asked for: dpkt takes a packet cut short for a whole one."""

    def __init__(self, file: BinaryIO) -> None:
        self.name = str(getattr(file, "name", ""))
        self.seek, self.tell = file.seek, file.tell
        self.short = False
        self._file = file

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.short = 0 < len(data) < size
        return data


class Packets:
    """Iterates over what a pcap or pcapng file holds of TCP and UDP, in the order of capture; reads as it goes.

    Ethernet (VLAN tags too), Linux cooked, loopback and raw IP captures; IPv4 fragments are joined. Of a pcapng file
    with several interfaces, all are read as the first one's link type.

    Attributes:
        damaged: packets whose layers could not be read.
        read: packets read from the file.
        truncated: behind those, the file is damaged or ends in the middle of a packet; what follows is not read.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Begin at the start of a file.

        Raises:
            RecordingError: dpkt is not installed, the file's head is damaged, or its link type is not known here.
        """
        try:
            import dpkt
        except ModuleNotFoundError as error:
            raise RecordingError("pcap files need dpkt: pip install countinghouse[pcap]") from error
        self._dpkt: Any = dpkt  # it carries no types
        self.damaged = 0
        self.read = 0
        self.truncated = False
        self._fragments: dict[tuple[bytes, bytes, int, int], dict[int, tuple[bytes, bool]]] = {}
        try:
            self._file = _Watched(file)
            self._reader = dpkt.pcap.UniversalReader(self._file)
        except (ValueError, dpkt.UnpackError, struct.error) as error:
            raise RecordingError(f"not a readable pcap or pcapng file: {error}") from error
        self._layer = self._link_layer(self._reader.datalink())

    def __iter__(self) -> Iterator[Segment | Datagram]:
        dpkt = self._dpkt
        packets = iter(self._reader)
        while True:
            try:
                _, packet = next(packets)
            except StopIteration:
                return
            except (dpkt.UnpackError, struct.error, ValueError):
                self.truncated = True
                return
            if self._file.short:
                self.truncated = True  # what there is of the last packet is used
            else:
                self.read += 1
            try:
                found = self._transport(packet)
            except (dpkt.UnpackError, struct.error, ValueError, IndexError):
                self.damaged += 1
                continue
            if found is not None:
                yield found

    def _link_layer(self, link_type: int) -> Callable[[bytes], Any]:
        dpkt = self._dpkt
        layers = {
            dpkt.pcap.DLT_EN10MB: dpkt.ethernet.Ethernet,
            dpkt.pcap.DLT_LINUX_SLL: dpkt.sll.SLL,
            dpkt.pcap.DLT_LINUX_SLL2: dpkt.sll2.SLL2,
            dpkt.pcap.DLT_NULL: dpkt.loopback.Loopback,
            dpkt.pcap.DLT_LOOP: dpkt.loopback.Loopback,
        }
        # Raw IP has three numbers: 101 in files, 12 and 14 as some systems wrote it.
        layers |= dict.fromkeys((12, 14, 101, dpkt.pcap.DLT_IPV4, dpkt.pcap.DLT_IPV6), self._raw_ip)
        if link_type not in layers:
            raise RecordingError(
                f"link type {link_type} is not known here: Ethernet, Linux cooked, loopback, raw IP are"
            )
        return layers[link_type]

    def _raw_ip(self, packet: bytes) -> Any:
        return (self._dpkt.ip6.IP6 if packet[0] >> 4 == 6 else self._dpkt.ip.IP)(packet)

    def _transport(self, packet: bytes) -> Segment | Datagram | None:
        dpkt = self._dpkt
        layer = self._layer(packet)
        while not isinstance(layer, dpkt.ip.IP | dpkt.ip6.IP6):
            if not isinstance(layer, dpkt.Packet):
                return None
            layer = layer.data
        source, target = dpkt.utils.inet_to_str(layer.src), dpkt.utils.inet_to_str(layer.dst)
        inner = layer.data
        if isinstance(layer, dpkt.ip.IP) and (layer.mf or layer.offset):
            inner = self._join(layer)
        if isinstance(inner, dpkt.tcp.TCP):
            flags = inner.flags
            return Segment(
                f"{source}:{inner.sport}",
                f"{target}:{inner.dport}",
                inner.seq,
                bool(flags & dpkt.tcp.TH_SYN),
                inner.data,
            )
        if isinstance(inner, dpkt.udp.UDP):
            return Datagram(f"{source}:{inner.sport}", f"{target}:{inner.dport}", inner.data)
        return None

    def _join(self, ip: Any) -> Any:
        """Collect the fragments of an IPv4 packet; give its TCP or UDP layer when they are complete, else None."""
        key = (ip.src, ip.dst, ip.id, ip.p)
        parts = self._fragments.setdefault(key, {})
        parts[ip.offset] = (bytes(ip.data), bool(ip.mf))
        if len(self._fragments) > FRAGMENTED:
            del self._fragments[next(iter(self._fragments))]
        whole, more = b"", True
        for offset in sorted(parts):
            data, more = parts[offset]
            if offset != len(whole):
                return None
            whole += data
        if more:
            return None
        del self._fragments[key]
        protocols = {self._dpkt.ip.IP_PROTO_TCP: self._dpkt.tcp.TCP, self._dpkt.ip.IP_PROTO_UDP: self._dpkt.udp.UDP}
        return protocols[ip.p](whole) if ip.p in protocols else None
