"""Recordings: raw, pcap and pcapng; what the network did to them; the decode command."""

import csv
import io
import json
import os
import random
import subprocess
import sys
from binascii import crc_hqx
from dataclasses import replace
from pathlib import Path

import numpy
import pytest

from drivers.c37118 import frames
from drivers.c37118.__main__ import main
from drivers.c37118.capture import Recording, RecordingError
from drivers.c37118.decoding import convert, read
from drivers.c37118.frames import Configuration, DataFrame, FrameType, decode, encode

dpkt = pytest.importorskip("dpkt", reason="dpkt is not installed: pip install countinghouse[pcap]")

VECTORS = {
    line.split()[0]: bytes.fromhex(line.split()[1])
    for line in (Path(__file__).parents[1] / "wire/c37118_vectors.txt").read_text().splitlines()
    if not line.startswith("#")
}
CFG2, ABSENT = VECTORS["int16_cfg2"], VECTORS["int16_absent"]
CONFIGURATION = decode(CFG2)
assert isinstance(CONFIGURATION, Configuration)
FIRST = decode(VECTORS["int16_data"], CONFIGURATION)
assert isinstance(FIRST, DataFrame)
DATA = [encode(replace(FIRST, soc=FIRST.soc + 2 * number), CONFIGURATION) for number in range(40)]
NEWER = b"\xaa\x83" + DATA[0][2:-2]
NEWER += crc_hqx(NEWER, 0xFFFF).to_bytes(2)
STREAM = CFG2 + b"".join(DATA)

PMU, CLIENT = b"\x0a\0\0\x05", b"\x0a\0\0\x63"
OTHER = {PMU: CLIENT, CLIENT: PMU}
PORTS = {PMU: 4712, CLIENT: 50000}
SYN, ACK, FIN = 2, 16, 1


def ip(source: bytes, protocol: int, layer) -> bytes:
    return bytes(dpkt.ip.IP(src=source, dst=OTHER[source], p=protocol, data=layer, len=20 + len(bytes(layer))))


def tcp(seq: int, data: bytes = b"", flags: int = ACK, source: bytes = PMU, port: int | None = None) -> bytes:
    ports = {"sport": port or PORTS[source], "dport": PORTS[OTHER[source]]}
    return ip(source, 6, dpkt.tcp.TCP(seq=seq % 2**32, flags=flags, data=data, **ports))


def udp(data: bytes, source: bytes = PMU, port: int = 4713) -> bytes:
    return ip(source, 17, dpkt.udp.UDP(sport=port, dport=40000, ulen=8 + len(data), data=data))


def ethernet(packet: bytes) -> bytes:
    return (bytes(12) + b"\x08\x00" + packet).ljust(60, b"\xaa")  # padded, as short frames on the wire are


def pcap(path: Path, packets, link_type: int = 1) -> Path:
    with path.open("wb") as file:
        writer = dpkt.pcap.Writer(file, linktype=link_type)
        for number, packet in enumerate(packets):
            writer.writepkt(packet, ts=number)
    return path


def pcapng(path: Path, packets) -> Path:
    with path.open("wb") as file:
        writer = dpkt.pcapng.Writer(file)
        for packet in packets:
            writer.writepkt(packet, ts=1.0)
    return path


def count(path: Path) -> dict[str, int]:
    """What `decode --json` prints, from the command itself."""
    out = io.StringIO()
    stdout, sys.stdout = sys.stdout, out
    try:
        main(["decode", "--json", str(path)])
    finally:
        sys.stdout = stdout
    (line,) = out.getvalue().splitlines()
    counts = json.loads(line)
    assert counts.pop("file") == str(path)
    assert list(counts) == "data header cfg1 cfg2 cfg3 command bad_crc skipped_bytes undecoded".split()
    assert all(type(value) is int for value in counts.values())
    return {name: value for name, value in counts.items() if value}


def pieces(size: int = 23, stream: bytes = STREAM) -> list[tuple[int, bytes]]:
    return [(at, stream[at : at + size]) for at in range(0, len(stream), size)]


def connection(segments, isn: int = 100) -> list[bytes]:
    return [tcp(isn, flags=SYN), *(tcp(isn + 1 + at, data) for at, data in segments)]


def shuffled(segments, step: int = 3):
    return [segment for i in range(0, len(segments), step) for segment in reversed(segments[i : i + step])]


WHOLE = {"data": 40, "cfg2": 1}


@pytest.mark.parametrize(
    "packets",
    [
        connection(pieces()),
        connection(pieces(), isn=2**32 - 200),
        connection(shuffled(pieces())),
        connection([piece for piece in pieces() for _ in "twice"]),
        connection([(at, STREAM[at : at + 37]) for at, _ in pieces()]),
        connection(pieces())[1:],  # begins in mid-stream
    ],
    ids=["in order", "wrap", "out of order", "retransmissions", "overlaps", "no SYN"],
)
def test_tcp_whatever_the_network_did(tmp_path, packets):
    assert count(pcap(tmp_path / "x.pcap", map(ethernet, packets))) == WHOLE


def test_mid_stream_start_on_any_port(tmp_path):
    packets = [tcp(7 + at, data, port=9) for at, data in pieces() if at > 200]
    first = next(at for at, _ in pieces() if at > 200)
    counts = count(pcap(tmp_path / "x.pcap", map(ethernet, packets)))
    whole = (len(STREAM) - first) // 30
    assert counts == {"data": whole, "undecoded": whole, "skipped_bytes": (len(STREAM) - first) % 30}


def test_a_hole_costs_what_is_missing(tmp_path):
    segments = pieces()
    del segments[20]
    path = pcap(tmp_path / "x.pcap", map(ethernet, connection(segments)))
    torn = {(at - len(CFG2)) // 30 for at in (20 * 23, 21 * 23 - 1)}
    counts = count(path)
    assert counts == {"data": 40 - len(torn), "cfg2": 1, "skipped_bytes": 30 * len(torn) - 23}
    recording = Recording(path)
    assert len([*recording]) == 41 - len(torn)
    assert recording.senders["tcp 10.0.0.5:4712"].holes == 1


def test_reconnect_without_asking_for_the_configuration_again(tmp_path):
    first = [tcp(100, flags=SYN), tcp(101, STREAM[:-7])]
    second = [tcp(1, flags=SYN), tcp(2, DATA[3] + DATA[4])]
    path = pcap(tmp_path / "x.pcap", map(ethernet, first + second))
    assert count(path) == {"data": 41, "cfg2": 1, "skipped_bytes": 23}
    recording = Recording(path)
    assert len([*recording]) == 42
    assert recording.senders["tcp 10.0.0.5:4712"].connections == 2


def test_both_directions_and_other_traffic(tmp_path):
    http = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n" * 20
    packets = [
        tcp(1, VECTORS["send_cfg2"], source=CLIENT),
        tcp(1, http, port=80),
        tcp(1, STREAM),
        udp(b"\x12\x34 a question", port=53),
        ip(PMU, 1, b"\x08\x00 ping"),
        tcp(1 + len(http), http, port=80),
        tcp(1, b"", flags=FIN),
    ]
    arp = bytes(12) + b"\x08\x06" + bytes(28)
    path = pcap(tmp_path / "x.pcap", [*map(ethernet, packets), arp])
    assert count(path) == {**WHOLE, "command": 1}
    recording = Recording(path)
    senders = [captured.sender for captured in recording]
    assert senders == ["tcp 10.0.0.99:50000"] + ["tcp 10.0.0.5:4712"] * 41
    assert sorted(recording.senders) == ["tcp 10.0.0.5:4712", "tcp 10.0.0.99:50000"]


def test_a_chance_frame_in_other_traffic_is_no_stream(tmp_path):
    noise = random.Random(1).randbytes(60_000)
    packets = [tcp(1 + at, data, port=443) for at, data in pieces(1000, noise + DATA[0] + noise)]
    assert count(pcap(tmp_path / "x.pcap", map(ethernet, [*packets, tcp(1, STREAM)]))) == WHOLE


def fragments(packet: bytes, at: int = 64) -> list[bytes]:
    """An IPv4 packet in two pieces, the second one first."""
    whole = dpkt.ip.IP(packet)
    body = packet[20:]
    halves = []
    for offset, data in ((at, body[at:]), (0, body[:at])):
        part = dpkt.ip.IP(src=whole.src, dst=whole.dst, p=17, id=77, data=data, len=20 + len(data))
        part.offset, part.mf = offset, int(offset == 0)
        halves.append(bytes(part))
    return halves


def test_udp(tmp_path):
    packets = [udp(CFG2), *map(udp, DATA[:20]), udp(b"".join(DATA[20:]))]
    assert count(pcap(tmp_path / "x.pcap", map(ethernet, packets))) == WHOLE
    # Nothing goes on in the next datagram.
    torn = [udp(CFG2), udp(DATA[0] + DATA[1][:12]), udp(DATA[1][12:]), udp(DATA[2])]
    assert count(pcap(tmp_path / "y.pcap", map(ethernet, torn))) == {"data": 2, "cfg2": 1, "skipped_bytes": 30}
    joined = [*fragments(udp(CFG2)), udp(DATA[0])]
    assert count(pcap(tmp_path / "z.pcap", map(ethernet, joined))) == {"data": 1, "cfg2": 1}


def test_configuration_by_tcp_data_by_udp(tmp_path):
    packets = [tcp(1, CFG2), *map(udp, DATA), udp(DATA[0], source=CLIENT)]
    counts = count(pcap(tmp_path / "x.pcap", map(ethernet, packets)))
    assert counts == {"data": 41, "cfg2": 1, "undecoded": 1}


def ip6(packet: bytes) -> bytes:
    layer = dpkt.ip.IP(packet).data
    return bytes(dpkt.ip6.IP6(src=bytes(15) + b"\1", dst=bytes(15) + b"\2", nxt=6, plen=len(layer), data=layer))


@pytest.mark.parametrize(
    ("link_type", "wrap"),
    [
        (1, lambda p: bytes(12) + bytes.fromhex("8100 0005 0800") + p),
        (1, lambda p: bytes(12) + bytes.fromhex("88a8 0005 8100 0007 0800") + p),
        (1, lambda p: bytes(12) + b"\x86\xdd" + ip6(p)),
        (0, lambda p: b"\2\0\0\0" + p),
        (108, lambda p: b"\0\0\0\2" + p),
        (101, lambda p: p),
        (101, ip6),
        (12, lambda p: p),
        (228, lambda p: p),
        (113, lambda p: bytes(14) + b"\x08\x00" + p),
        (276, lambda p: b"\x08\x00" + bytes(18) + p),
    ],
    ids="vlan qinq ipv6 null loop raw raw6 raw12 ipv4 sll sll2".split(),
)
def test_layers(tmp_path, link_type, wrap):
    packets = map(wrap, connection(pieces(200)))
    assert count(pcap(tmp_path / "x.pcap", packets, link_type)) == WHOLE


def test_pcapng_and_nanosecond_pcap(tmp_path):
    packets = [ethernet(packet) for packet in connection(pieces(200))]
    assert count(pcapng(tmp_path / "x.pcapng", packets)) == WHOLE
    nano = pcap(tmp_path / "n.pcap", packets)
    nano.write_bytes((b"\xa1\xb2\x3c\x4d" if sys.byteorder == "big" else b"\x4d\x3c\xb2\xa1") + nano.read_bytes()[4:])
    assert count(nano) == WHOLE


def test_raw_recording(tmp_path):
    path = tmp_path / "x.raw"
    path.write_bytes(b"\xaa\x01\xff\xff noise" + STREAM + VECTORS["header"] + VECTORS["cfg3"] + DATA[0][:-1] + b"\0")
    assert count(path) == {**WHOLE, "header": 1, "cfg3": 1, "bad_crc": 2, "skipped_bytes": 10 + 30}


def test_many_connections_at_one_time(tmp_path, monkeypatch):
    monkeypatch.setattr("drivers.c37118.capture.CONNECTIONS", 4)
    packets = [tcp(1, STREAM if port % 10 == 0 else b"x" * 50, port=port) for port in range(1000, 1100)]
    assert count(pcap(tmp_path / "x.pcap", map(ethernet, packets))) == {"data": 400, "cfg2": 10}


def changed(name: str, **pmu) -> tuple[bytes, Configuration]:
    new = replace(CONFIGURATION, pmus=(replace(CONFIGURATION.pmus[0], station=name, cfgcnt=1, **pmu),))
    return encode(new), new


def test_configuration_change(tmp_path):
    """A configuration announced by STAT bit 10 counts from the frame with the bit back at 0, not before."""
    frame, new = changed("NEW")
    announced = encode(replace(FIRST, pmus=(replace(FIRST.pmus[0], stat=0x0400),)), CONFIGURATION)
    path = tmp_path / "x.raw"
    path.write_bytes(CFG2 + DATA[0] + announced + frame + announced + DATA[1] + announced + DATA[2])
    used = [c.configuration.pmus[0].station for c in Recording(path) if c.configuration]
    assert used == ["UNIT-D", "UNIT-D", "UNIT-D", "NEW", "NEW", "NEW"]
    frame, new = changed("WIDE", format=2)
    path.write_bytes(CFG2 + announced + frame + announced + encode(FIRST, new))
    used = [c.configuration.pmus[0].station for c in Recording(path) if c.configuration]
    assert used == ["UNIT-D", "UNIT-D", "WIDE"]


def test_cfg1_stands_in_until_cfg2(tmp_path):
    cfg1 = encode(replace(changed("CAN")[1], type=FrameType.CFG1))
    path = tmp_path / "x.raw"
    path.write_bytes(cfg1 + DATA[0] + CFG2 + DATA[1] + cfg1 + DATA[2])
    used = [c.configuration.pmus[0].station for c in Recording(path) if c.configuration]
    assert used == ["CAN", "UNIT-D", "UNIT-D"]


def test_stale_data_and_nonsense_are_told_once(tmp_path, capsys):
    stale = DATA[0][:2] + b"\0\x20" + DATA[0][4:-2] + b"\0\0"
    stale += crc_hqx(stale, 0xFFFF).to_bytes(2)
    nonsense = CFG2[:18] + b"\0\0" + CFG2[20:-2]
    nonsense += crc_hqx(nonsense, 0xFFFF).to_bytes(2)
    path = tmp_path / "x.raw"
    path.write_bytes(CFG2 + DATA[0] + stale * 5 + nonsense * 3 + DATA[1])
    assert count(path) == {"data": 7, "cfg2": 4, "undecoded": 5}
    errors = capsys.readouterr().err.splitlines()
    assert ["32 bytes" in line or "NUM_PMU" in line for line in errors] == [True, True]


# The command


TITLES = "time,stream,pmu,station,stat,tq,freq (Hz),rocof (Hz/s),VA:MAG (V),VA:ANG (deg),A1 (raw),A2 (raw)".split(",")


def test_csv_a_file_for_each_pmu_and_layout(tmp_path, capsys):
    pmu = CONFIGURATION.pmus[0]
    two = replace(CONFIGURATION, idcode=70, pmus=(pmu, replace(pmu, station="S", idcode=71, format=0xF)))
    both = replace(FIRST, idcode=70, pmus=FIRST.pmus * 2)
    path, out = tmp_path / "x.raw", tmp_path / "out.csv"
    path.write_bytes(CFG2 + DATA[0] + ABSENT + encode(two) + encode(both, two) * 2 + DATA[1])
    assert main(["decode", str(path), "--csv", str(out)]) == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out-2.csv", "out-3.csv", "out.csv", "x.raw"]
    assert f"{out}: 3 rows" in capsys.readouterr().err
    header, *rows = csv.reader(out.read_text().splitlines())
    assert header == TITLES
    first = "1700000000.000,9,9,UNIT-D,0,0,60.012,1.5,5000,-53.1301,500,-8".split(",")
    absent = "1700000002.000,9,9,UNIT-D,32768,0,,,,,,".split(",")
    assert rows == [first, absent, ["1700000002.000", *first[1:]]]
    header, *rows = csv.reader((tmp_path / "out-2.csv").read_text().splitlines())
    assert (header, rows) == (TITLES, [[first[0], "70", *first[2:]]] * 2)
    header, *rows = csv.reader((tmp_path / "out-3.csv").read_text().splitlines())
    assert header[-2:] == ["A1", "A2"]
    assert [row[:4] for row in rows] == [[first[0], "70", "71", "S"]] * 2


def test_csv_digits_and_times_are_chosen_as_in_the_archive(tmp_path):
    path, out = tmp_path / "x.raw", tmp_path / "out.csv"
    path.write_bytes(STREAM)
    assert main(["decode", str(path), "--csv", str(out), "--digits", "repr", "--time", "ns"]) == 0
    assert out.read_text().splitlines()[1] == (
        "1700000000000000000,9,9,UNIT-D,0,0,60.012,1.5,5000.0,-53.13010235415598,500.0,-8.0"
    )
    assert main(["decode", str(path), "--csv", str(out), "--digits", "3", "--time-digits", "16"]) == 0
    assert out.read_text().splitlines()[1] == "1700000000.000000,9,9,UNIT-D,0,0,60,1.5,5000,-53.1,500,-8"


def test_two_recordings_of_one_pmu_go_into_one_file_and_interleaved_streams_apart(tmp_path):
    other = replace(CONFIGURATION, idcode=10)
    mixed = b"".join(frame + encode(replace(FIRST, idcode=10, soc=n), other) for n, frame in enumerate(DATA))
    first, second, out = tmp_path / "1.raw", tmp_path / "2.raw", tmp_path / "out.csv"
    first.write_bytes(CFG2 + encode(other) + mixed)
    second.write_bytes(STREAM)
    assert main(["decode", str(first), str(second), "--csv", str(out)]) == 0
    rows = list(csv.reader(out.read_text().splitlines()))[1:]
    assert [row[0] for row in rows] == [f"{1_700_000_000 + 2 * n}.000" for n in range(40)] * 2
    rows = list(csv.reader((tmp_path / "out-2.csv").read_text().splitlines()))[1:]
    assert [row[1] for row in rows] == ["10"] * 40 and rows[7][0] == "7.000000000"


def test_npz_and_the_calls(tmp_path, capsys):
    path, out = tmp_path / "x.raw", tmp_path / "out.npz"
    path.write_bytes(STREAM)
    assert main(["decode", str(path), "--npz", str(out)]) == 0
    assert f"{out}: stream9_pmu9: 40 rows" in capsys.readouterr().err
    with numpy.load(out) as saved:
        array, channels = saved["stream9_pmu9"], saved["stream9_pmu9_channels"]
    assert channels.tolist() == ["VA", "A1", "A2"]
    assert array["time_ns"].tolist() == [(1_700_000_000 + 2 * n) * 10**9 for n in range(40)]
    assert array["phasors"][7].tolist() == [3000 - 4000j] and array["analogs"][7].tolist() == [500, -8]
    assert (array["freq"][0], array["rocof"][0], array["stat"][0]) == (60.012, 1.5, 0)
    again = read(path)
    assert sorted(again) == ["stream9_pmu9", "stream9_pmu9_channels"]
    assert again["stream9_pmu9"].tobytes() == array.tobytes()
    assert again["stream9_pmu9_channels"].tolist() == channels.tolist()
    out.write_bytes(b"old")
    recording = convert(path, csv=tmp_path / "out.csv", npz=out)
    assert recording.senders["raw"].total(FrameType.DATA) == 40
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 41
    with numpy.load(out) as saved:
        assert saved["stream9_pmu9"].tobytes() == array.tobytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out.csv", "out.npz", "x.raw"]


def test_npz_keeps_layouts_apart(tmp_path):
    frame, new = changed("UNIT-D", analogs=())
    path = tmp_path / "x.raw"
    later = replace(FIRST, pmus=(replace(FIRST.pmus[0], analogs=()),))
    path.write_bytes(STREAM + frame + encode(later, new))
    arrays = read(path)
    assert {name: len(array) for name, array in arrays.items() if "channels" not in name} == {
        "stream9_pmu9": 40,
        "stream9_pmu9_2": 1,
    }


def test_a_progress_bar_where_stderr_is_a_terminal(tmp_path, monkeypatch):
    path = tmp_path / "x.raw"
    path.write_bytes(STREAM * 200)
    monkeypatch.setattr("drivers.c37118.__main__.FIRST_BAR", 0.0)
    leader, follower = os.openpty()
    with os.fdopen(follower, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        assert main(["decode", "--json", str(path)]) == 0
        terminal.flush()
        shown = os.read(leader, 65536).decode()
    os.close(leader)
    assert "x.raw [####" in shown and "%, " in shown and shown.endswith("\r\033[K")


def test_csv_names_are_unique_and_digital_words_whole(tmp_path):
    pmu = CONFIGURATION.pmus[0]
    word = frames.DigitalWord(("",) * 16, 0, 0)
    twice = replace(
        CONFIGURATION,
        pmus=(replace(pmu, phasors=(*pmu.phasors, replace(pmu.phasors[0], current=True)), digitals=(word,)),),
    )
    data = replace(FIRST.pmus[0], phasors=FIRST.pmus[0].phasors * 2, digitals=(0xFFFF,))
    path, out = tmp_path / "x.raw", tmp_path / "out"
    path.write_bytes(encode(twice) + encode(replace(FIRST, pmus=(data,)), twice))
    assert main(["decode", str(path), "--csv", str(out)]) == 0
    header, row = csv.reader(out.read_text().splitlines())
    assert header[8:] == "VA:MAG (V)|VA:ANG (deg)|VA_2:MAG (A)|VA_2:ANG (deg)|A1 (raw)|A2 (raw)|DIG1".split("|")
    assert row[-1] == "65535"


def test_report(tmp_path, capsys):
    path = tmp_path / "x.raw"
    path.write_bytes(DATA[0] + STREAM + NEWER + b"abc")
    assert main(["decode", str(path)]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[1:] == [
        "  raw",
        "    stream 9: 41 data, 1 cfg2, 1 data undecoded",
        "    0 bad CRC, 3 bytes skipped",
        "    1 frames of the 2024 edition, unsupported",
    ]
    assert "before its configuration" in err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"", "the file is empty"),
        (b"not a frame in it", "no C37.118 frame"),
        (NEWER, "1 of the 2024 edition, unsupported"),
        (bytes.fromhex("d4c3b2a1 0200 0400"), "not a readable pcap"),
        (bytes.fromhex("0a0d0d0a 0200 0400"), "not a readable pcap"),
        (bytes.fromhex("d4c3b2a1 0200 0400 00000000 00000000 ffff0000 93000000"), "link type 147"),
    ],
)
def test_what_cannot_be_decoded(tmp_path, capsys, content, message):
    path = tmp_path / "x"
    if content is not None:
        path.write_bytes(content)
    assert main(["decode", str(path)]) == 1
    out, err = capsys.readouterr()
    assert "data" not in out
    assert str(path) in err
    assert message in err


def test_a_truncated_pcap_gives_what_is_in_it(tmp_path, capsys):
    path = pcap(tmp_path / "x.pcap", map(ethernet, [tcp(1, STREAM), tcp(1 + len(STREAM), DATA[0])]))
    path.write_bytes(path.read_bytes()[: -len(ethernet(tcp(0, DATA[0]))) - 10])
    assert count(path) == WHOLE
    assert "cut short behind packet 1" in capsys.readouterr().err
    path = pcap(tmp_path / "z.pcap", map(ethernet, [tcp(1, STREAM), tcp(1 + len(STREAM), DATA[0])]))
    path.write_bytes(path.read_bytes()[:-10])  # within the bytes of the last packet
    assert count(path)["data"] == WHOLE["data"]
    assert "cut short behind packet 1" in capsys.readouterr().err
    path = pcapng(tmp_path / "y.pcapng", [ethernet(tcp(1, STREAM))])
    with path.open("ab") as file:
        file.write(bytes.fromhex("06000000 04000000"))  # a block shorter than its own head
    assert count(path) == WHOLE
    assert "damaged" in capsys.readouterr().err


def test_the_bytes_of_a_raw_file_without_a_frame_are_counted(tmp_path, capsys):
    path = tmp_path / "x.raw"
    path.write_bytes(b"no frame" * 100)
    assert main(["decode", "--json", str(path)]) == 1
    assert json.loads(capsys.readouterr().out)["skipped_bytes"] == 800


def test_damaged_packets_are_counted(tmp_path, capsys):
    packets = [ethernet(tcp(1, STREAM)), bytes(5), bytes(12) + b"\x88\x47" + bytes.fromhex("00001100")]
    assert count(pcap(tmp_path / "x.pcap", packets)) == WHOLE
    assert "2 packets could not be read" in capsys.readouterr().err


def test_without_dpkt(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dpkt", None)
    path = tmp_path / "x.pcap"
    path.write_bytes(bytes.fromhex("d4c3b2a1"))
    with pytest.raises(RecordingError, match=r"pip install countinghouse\[pcap\]"):
        [*Recording(path)]


def test_nothing_that_is_needed_is_overwritten(tmp_path, capsys, monkeypatch):
    path = tmp_path / "x.raw"
    path.write_bytes(STREAM)
    (tmp_path / "link").symlink_to(path)
    monkeypatch.chdir(tmp_path)
    out = str(tmp_path / "out")
    for arguments, message in (
        (("x.raw", "--csv", str(path)), "would overwrite the recording"),
        (("link", "--npz", "x.raw"), "would overwrite the recording"),
        (("x.raw", "--csv", "out", "--npz", out), f"--npz {out} would overwrite the file of --csv"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["decode", *arguments])
        assert ended.value.code == 2 and message in capsys.readouterr().err
    assert path.read_bytes() == STREAM


@pytest.mark.parametrize("option", ["--csv", "--npz"])
def test_a_file_that_cannot_be_written_is_named_and_no_other(tmp_path, capsys, option):
    path, out = tmp_path / "x.raw", tmp_path / "no" / "out"
    path.write_bytes(STREAM)
    assert main(["decode", str(path), option, str(out)]) == 1
    assert capsys.readouterr().err == f"{out}: No such file or directory\n{out}: not written\n"
    if option == "--csv":
        path.write_bytes(CFG2 + b"".join(DATA) * 100)
        assert main(["decode", str(path), "--csv", "/dev/full"]) == 1
        assert set(capsys.readouterr().err.splitlines()) == {"/dev/full: No space left on device"}


def test_the_command_line(tmp_path):
    path = tmp_path / "x.raw"
    path.write_bytes(STREAM)

    def run(*arguments):
        command = [sys.executable, "-m", "drivers.c37118", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])

    done = run("decode", "--json", str(path), str(path))
    assert (done.returncode, len(done.stdout.splitlines()), done.stderr) == (0, 2, "")
    assert run("decode").returncode == 2
    assert run("decode", str(path), "--csv", str(path)).returncode == 2
    assert run("decode", str(path), "--npz", str(path)).returncode == 2
    assert 'neither a number from 1 to 17 nor "repr"' in run("decode", str(path), "--digits", "18").stderr
    assert run("decode", str(path), "--csv", str(tmp_path / "no/out.csv")).returncode == 1
    assert "examples:" in run("decode", "--help").stdout
