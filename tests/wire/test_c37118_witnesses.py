"""Witnesses that we did not write: tshark reads what we encode, and we read what a real PMU sent as tshark does."""

import math
import os
import random
import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import pytest

from drivers.c37118.capture import Recording
from drivers.c37118.envelope import Envelope, seal
from drivers.c37118.frames import (
    AnalogChannel,
    Configuration,
    DataFrame,
    DigitalWord,
    FrameType,
    Installation,
    PhasorChannel,
    PmuConfiguration,
    PmuData,
    Polar,
    Rect,
    ScaledAnalog,
    ScaledPhasor,
    TimeQuality,
    command,
    decode,
    encode,
    time_ns,
)

dpkt = pytest.importorskip("dpkt", reason="dpkt is not installed: pip install countinghouse[pcap]")


@pytest.fixture
def sample(sample: Callable[[str], Path]) -> Path:
    return sample("pmu/one-pmu-tcp.pcap")


@dataclass
class Dissected:
    """What tshark prints of one frame; lists run over all its PMUs."""

    stats: list[int] = field(default_factory=list)
    phasors: list[tuple[float, ...]] = field(default_factory=list)  # magnitude, angle in degrees, re, im
    freqs: list[float] = field(default_factory=list)
    rocofs: list[float] = field(default_factory=list)
    analogs: list[float] = field(default_factory=list)
    digitals: list[int] = field(default_factory=list)
    text: str = ""

    def number(self, label: str) -> int:
        found = re.search(rf"^ *{re.escape(label)} (-?\d+)", self.text, re.M)
        assert found, f"no {label!r} in {self.text}"
        return int(found[1])


def tshark(path: Path) -> Iterator[Dissected]:
    """All C37.118 frames of a pcap, in order."""
    program = shutil.which("tshark")
    if program is None:
        pytest.skip("tshark is not installed")
    ports = ["-d", "udp.port==4713,synphasor", "-d", "tcp.port==4712,synphasor"]
    arguments = [program, "-r", str(path), *ports, "-V", "-O", "synphasor"]
    done = subprocess.run(
        arguments, capture_output=True, text=True, check=True, timeout=60, env={**os.environ, "TZ": "UTC"}
    )
    for text in done.stdout.split("IEEE C37.118 Synchrophasor Protocol")[1:]:
        frame = Dissected(text=text)
        for block in text.split("            Flags\n")[1:]:
            stat = 0
            for bits in re.findall(r"^ *([01.]{4} [01.]{4} [01.]{4} [01.]{4}) = ", block.split("Phasors")[0], re.M)[:9]:
                stat |= int(bits.replace(" ", "").replace(".", "0"), 2)
            frame.stats.append(stat)
        for numbers in re.findall(r'Phasor #\d+: ".*?", *(\S+?)[VA] ∠ *(\S+?)° alt *(\S+?)\+j *(\S+?)[VA]', text):
            frame.phasors.append(tuple(map(float, numbers)))
        frame.freqs += map(float, re.findall(r"ctual frequency(?: value)?: (\S+?)(?:Hz\))?$", text, re.M))
        frame.rocofs += map(float, re.findall(r"Rate of change of frequency: (\S+?)(?:Hz/s)?$", text, re.M))
        frame.analogs += map(float, re.findall(r'Analog value #\d+: ".*?", (\S+)', text))
        frame.digitals += (int(word, 16) for word in re.findall(r"Digital status word #\d+: 0x(\w+)", text))
        yield frame


def assert_same(data: DataFrame, seen: Dissected) -> None:
    pmus = data.pmus
    assert "[Checksum Status: Good]" in seen.text
    assert seen.number("PMU/DC ID number (Stream source ID):") == data.idcode
    assert seen.number("Fraction of second (raw):") == data.fracsec
    assert seen.stats == [pmu.stat for pmu in pmus]
    ours = [
        (phasor.magnitude, math.degrees(phasor.angle), phasor.re, phasor.im) for pmu in pmus for phasor in pmu.phasors
    ]
    assert len(seen.phasors) == len(ours)
    for theirs, mine in zip(seen.phasors, ours, strict=True):
        apart = math.remainder(mine[1] - theirs[1], 360)  # tshark leaves turned angles beyond half a turn
        assert apart == pytest.approx(0, abs=6e-4 + 1e-5 * abs(theirs[1]))
        assert mine[::2] + mine[3:] == pytest.approx(theirs[::2] + theirs[3:], rel=1e-5, abs=6e-4)
    assert [pmu.freq for pmu in pmus] == pytest.approx(seen.freqs, rel=1e-5)
    assert [pmu.rocof for pmu in pmus] == pytest.approx(seen.rocofs, rel=1e-5, abs=6e-4)
    assert [value for pmu in pmus for value in pmu.analogs] == pytest.approx(seen.analogs, rel=1e-5, abs=6e-4)
    assert [word for pmu in pmus for word in pmu.digitals] == seen.digitals


def single(value: float) -> float:
    return struct.unpack(">f", struct.pack(">f", value))[0]


def random_configuration(rng: random.Random, number: int) -> Configuration:
    def pmu(index: int) -> PmuConfiguration:
        return PmuConfiguration(
            station=f"STATION {index}",
            idcode=number + index,
            format=(number + 5 * index) % 16,
            phasors=tuple(
                PhasorChannel(f"PH{i}", rng.random() < 0.5, rng.randrange(1, 1 << 24)) for i in range(rng.randrange(5))
            ),
            analogs=tuple(
                AnalogChannel(f"AN{i}", rng.randrange(3), rng.randrange(-1 << 23, 1 << 23))
                for i in range(rng.randrange(4))
            ),
            digitals=tuple(
                DigitalWord(tuple(f"BIT{bit}" for bit in range(16)), rng.randrange(1 << 16), rng.randrange(1 << 16))
                for _ in range(rng.randrange(3))
            ),
            fnom=rng.randrange(2),
            cfgcnt=rng.randrange(1 << 16),
        )

    return Configuration(
        type=FrameType.CFG2,
        idcode=100 + number,
        soc=1_700_000_000 + number,
        tq=TimeQuality(rng.choice([0, 0x0B, 0x2F])),
        fracsec=rng.randrange(1 << 24),
        time_base=rng.choice([1_000_000, 16_777_215, 7]),
        pmus=tuple(pmu(index) for index in range(rng.randrange(1, 4))),
        data_rate=rng.choice([1, 50, 240, -5]),
        version=rng.choice([1, 2]),
    )


def random_data(rng: random.Random, configuration: Configuration) -> DataFrame:
    def pmu(block: PmuConfiguration) -> PmuData:
        def phasor(channel: PhasorChannel):
            scale = 1e5 if block.phasors_float else channel.factor * 0.32
            if block.polar:
                return Polar(single(rng.uniform(0, scale)), single(rng.uniform(-math.pi, math.pi)))
            return Rect(single(rng.uniform(-scale, scale)), single(rng.uniform(-scale, scale)))

        return PmuData(
            stat=rng.randrange(1 << 16),
            phasors=tuple(map(phasor, block.phasors)),
            freq=single(block.nominal + rng.uniform(-5, 5)),
            rocof=single(rng.uniform(-9, 9)),
            analogs=tuple(
                single(rng.uniform(-1000, 1000)) if block.analogs_float else rng.randrange(-32767, 32768)
                for _ in block.analogs
            ),
            digitals=tuple(rng.randrange(1 << 16) for _ in block.digitals),
        )

    soc, fracsec = configuration.soc, rng.randrange(configuration.time_base)
    return DataFrame(
        idcode=configuration.idcode,
        soc=soc,
        tq=TimeQuality(rng.choice([0, 0x0F])),
        fracsec=fracsec,
        time_ns=time_ns(soc, fracsec, configuration.time_base),
        pmus=tuple(map(pmu, configuration.pmus)),
        version=configuration.version,
    )


def write_pcap(path: Path, streams: list[list[bytes]]) -> None:
    """Write the frames of streams, each from a UDP port of its own."""
    with path.open("wb") as file:
        writer = dpkt.pcap.Writer(file, linktype=101)
        for number, stream in enumerate(streams):
            for frame in stream:
                udp = dpkt.udp.UDP(sport=20_000 + number, dport=4713, data=frame, ulen=8 + len(frame))
                packet = dpkt.ip.IP(src=b"\x0a\0\0\1", dst=b"\x0a\0\0\2", p=17, data=udp, len=28 + len(frame))
                writer.writepkt(bytes(packet), ts=number)


def scaled(rng: random.Random, configuration: Configuration) -> Configuration:
    """The configuration as a CFG-3: long names, each integer channel scaled and turned.

    The scaling of floats is 1 by the standard, so tshark does not apply it.
    """

    def pmu(block: PmuConfiguration) -> PmuConfiguration:
        return replace(
            block,
            station=f"{block.station} with a long name",
            phasors=tuple(
                ScaledPhasor(
                    f"A phasor of a long name {index}",
                    rng.randrange(1 << 16),
                    8 * phasor.current + rng.choice([0, 1, 2, 4, 5, 6]),
                    rng.randrange(256),
                    1.0 if block.phasors_float else single(rng.uniform(0.001, 20)),
                    0.0 if block.phasors_float else single(rng.choice([0.0, rng.uniform(-3, 3)])),
                )
                for index, phasor in enumerate(block.phasors)
            ),
            analogs=tuple(
                ScaledAnalog(
                    f"AN{index}",
                    1.0 if block.analogs_float else single(rng.uniform(-2, 2)),
                    0.0 if block.analogs_float else single(rng.uniform(-100, 100)),
                )
                for index, _ in enumerate(block.analogs)
            ),
            installation=Installation(
                rng.randbytes(16),
                single(rng.uniform(-90, 90)),
                math.inf,
                single(rng.uniform(0, 3000)),
                rng.choice("MP"),
                rng.randrange(1 << 20),
                rng.randrange(1 << 20),
            ),
        )

    return replace(configuration, type=FrameType.CFG3, version=2, pmus=tuple(map(pmu, configuration.pmus)))


def raw_data(rng: random.Random, configuration: Configuration) -> bytes:
    """A data frame of a configuration: whatever its fields can hold and that is not absent."""
    words: list[float] = []
    for block in configuration.pmus:
        words.append(rng.randrange(1 << 16))
        for _ in block.phasors:
            if block.polar:
                magnitude = single(rng.uniform(0, 1e5)) if block.phasors_float else rng.randrange(1 << 16)
                words += [
                    magnitude,
                    single(rng.uniform(-3, 3)) if block.phasors_float else rng.randrange(-31415, 31416),
                ]
            else:
                words += [
                    single(rng.uniform(-1e5, 1e5)) if block.phasors_float else rng.randrange(-32767, 32768)
                    for _ in "xy"
                ]
        words.append(single(rng.uniform(45, 65)) if block.freq_float else rng.randrange(-5000, 5000))
        words.append(single(rng.uniform(-9, 9)) if block.freq_float else rng.randrange(-900, 900))
        words += [
            single(rng.uniform(-999, 999)) if block.analogs_float else rng.randrange(-32767, 32768)
            for _ in block.analogs
        ]
        words += [rng.randrange(1 << 16) for _ in block.digitals]
    head = Envelope(
        FrameType.DATA, 2, configuration.idcode, configuration.soc, 0, rng.randrange(configuration.time_base)
    )
    return seal(head, configuration.data_struct.pack(*words))


def test_tshark_reads_a_cfg3_and_its_data_as_we_do(tmp_path):
    rng = random.Random(31415)
    path = tmp_path / "corpus.pcap"
    configurations = [scaled(rng, random_configuration(rng, number)) for number in range(32)]
    data = [[raw_data(rng, configuration) for _ in range(3)] for configuration in configurations]
    write_pcap(path, [[encode(c), *own] for c, own in zip(configurations, data, strict=True)])
    seen = tshark(path)
    for configuration, own in zip(configurations, data, strict=True):
        described = next(seen)
        assert "[Checksum Status: Good]" in described.text
        assert described.number("Number of PMU blocks included in the frame:") == len(configuration.pmus)
        counts = [int(count) for count in re.findall(r"Configuration change count: (\d+)", described.text)]
        assert counts == [pmu.cfgcnt for pmu in configuration.pmus]
        for pmu in configuration.pmus:
            assert f"Station name: {pmu.station}\n" in described.text
        pmus, places = configuration.pmus, [pmu.installation for pmu in configuration.pmus if pmu.installation]
        for label, ours in (
            ("Phasor scale factor", [phasor.scale for pmu in pmus for phasor in pmu.phasors]),
            ("Phasor angle offset", [phasor.offset for pmu in pmus for phasor in pmu.phasors]),
            ("PMU Latitude", [place.latitude for place in places]),
            ("PMU Elevation", [place.elevation for place in places]),
            ("PM window length", [place.window for place in places]),
            ("PM group delay", [place.delay for place in places]),
        ):
            theirs = [float(number) for number in re.findall(rf"{label}: (\S+)", described.text)]
            assert theirs == pytest.approx(ours, rel=1e-5), label
        assert described.text.count("PMU Longitude: Unspecified Location") == len(pmus)
        for frame in own:
            message = decode(frame, configuration)
            assert isinstance(message, DataFrame)
            assert_same(message, next(seen))
    assert next(seen, None) is None


def test_tshark_reads_what_we_encode(tmp_path):
    rng = random.Random(37118)
    sent: list[tuple[Configuration, list[DataFrame]]] = []
    path = tmp_path / "corpus.pcap"
    streams = []
    for number in range(48):  # each of the 16 formats three times
        configuration = random_configuration(rng, number)
        data = [random_data(rng, configuration) for _ in range(3)]
        sent.append((configuration, data))
        messages = [command(5, configuration.idcode, 10**18), configuration, *data]
        streams.append([encode(message, configuration) for message in messages])
    write_pcap(path, streams)
    seen = tshark(path)
    ours = (captured.message for captured in Recording(path))
    for configuration, data in sent:
        asked = next(seen)
        next(ours)
        assert asked.number("PMU/DC ID number (Stream source ID):") == configuration.idcode
        assert "Command: send CFG-2 frame (0x0005)" in asked.text
        described = next(seen)
        assert next(ours) == configuration
        assert "[Checksum Status: Good]" in described.text
        assert described.number("Resolution of fractional second time stamp:") == configuration.time_base
        assert described.number("Number of PMU blocks included in the frame:") == len(configuration.pmus)
        counts = [int(count) for count in re.findall(r"Configuration change count: (\d+)", described.text)]
        assert counts == [pmu.cfgcnt for pmu in configuration.pmus]
        factors = [int(n) for n in re.findall(r"Factor for analog value #\d+: .*?, value: (-?\d+)", described.text)]
        assert factors == [analog.factor for pmu in configuration.pmus for analog in pmu.analogs]
        units = re.findall(r"#\d+ factor: (\d+) \* 10\^-5, unit: (\w)", described.text)
        assert units == [(str(p.factor), "VA"[p.current]) for pmu in configuration.pmus for p in pmu.phasors]
        for _ in data:
            message = next(ours)
            assert isinstance(message, DataFrame)
            assert_same(message, next(seen))
    assert next(seen, None) is None
    assert next(ours, None) is None


def test_the_sample_is_read_whole(sample):
    recording = Recording(sample)
    captured = [*recording]
    data = [c.message for c in captured if isinstance(c.message, DataFrame)]
    assert len(data) == 252
    pmu = recording.senders["tcp 192.168.0.241:4712"]
    assert pmu.frames == {(241, FrameType.DATA): 252, (241, FrameType.CFG2): 1}
    for sender in recording.senders.values():
        assert (sender.bad_crc, sender.skipped_bytes, sender.holes, sender.undecoded.total()) == (0, 0, 0, 0)
    steps = {round((b.time_ns - a.time_ns) / 1e6) for a, b in pairwise(data)}
    assert steps == {20}
    # As tshark prints the first one.
    (first,) = data[0].pmus
    assert data[0].soc == 1217606730
    assert data[0].fracsec == 2013266
    assert [round(phasor.magnitude, 3) for phasor in first.phasors] == [100044.349, 100038.474, 100044.419, 100050.144]
    assert [round(math.degrees(p.angle), 3) for p in first.phasors] == [-89.929, -89.926, 150.069, 30.069]
    assert (first.stat, first.freq, first.rocof) == (0x0800, 50.0, 0.0)


def test_the_sample_reads_as_tshark_reads_it(sample):
    ours = [c.message for c in Recording(sample) if isinstance(c.message, DataFrame)]
    theirs = [frame for frame in tshark(sample) if "Measurement data" in frame.text]
    assert len(ours) == len(theirs) == 252
    for data, seen in zip(ours, theirs, strict=True):
        assert_same(data, seen)
