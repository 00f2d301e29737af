"""The simulator obeys published command frames, byte for byte, and drops in silence what a real PMU drops."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from drivers.c37118.simulator import SimulatedStream, Simulator

# IDCODE 100, commands 1 to 6; tshark reads them as such.
COMMANDS = {
    number: bytes.fromhex(raw)
    for number, raw in enumerate(
        (
            "aa41001200646553f1000f0000000001a594 aa41001200646553f1000f000000000295f7 "
            "aa41001200646553f1000f000000000385d6 aa41001200646553f1000f0000000004f531 "
            "aa41001200646553f1000f0000000005e510 aa41001200646553f1000f0000000006d573"
        ).split(),
        start=1,
    )
}
EXTENDED = bytes.fromhex("aa41001600646553f10000000000000812345678fba3")
OTHER_IDCODE = bytes.fromhex("aa4100120014562e8ec40001728f0005be07")  # IDCODE 20, "send CFG-2"


class Peer:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def frame(self) -> bytes:
        async with asyncio.timeout(10):
            head = await self.reader.readexactly(4)
            return head + await self.reader.readexactly(int.from_bytes(head[2:]) - 4)


@contextlib.asynccontextmanager
async def peer(simulator: Simulator) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    try:
        yield Peer(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()


def test_each_command_does_what_it_says() -> None:
    async def test() -> None:
        async with Simulator(SimulatedStream(idcode=100)) as simulator, peer(simulator) as pmu:
            pmu.writer.write(COMMANDS[3] + COMMANDS[4] + COMMANDS[5])
            answers = [await pmu.frame() for _ in range(3)]
            assert [frame[1] for frame in answers] == [0x11, 0x21, 0x31]
            assert answers[0][14:-2] == b"Countinghouse simulated PMU"
            assert [frame[4:6] for frame in answers] == [b"\0\x64"] * 3
            pmu.writer.write(COMMANDS[2])
            assert (await pmu.frame())[1] == 0x01
            pmu.writer.write(COMMANDS[1] + COMMANDS[3])
            while (frame := await pmu.frame())[1] == 0x01:
                pass
            assert frame[1] == 0x11
            pmu.writer.write(COMMANDS[3])
            assert (await pmu.frame())[1] == 0x11  # no data in between
            assert list(simulator.commands) == [3, 4, 5, 2, 1, 3, 3]

    asyncio.run(test())


@pytest.mark.parametrize(
    "dropped",
    [
        OTHER_IDCODE,
        COMMANDS[5][:-1] + b"\x11",
        COMMANDS[6],
        EXTENDED,
        b"\xaa" * 50,
        b"GET / HTTP/1.1\r\n\r\n",
        bytes.fromhex("aa41ffff0064"),
        bytes.fromhex("aa4100000064"),
    ],
    ids=["other IDCODE", "bad CRC", "CFG-3", "extended", "SYNC only", "HTTP", "FRAMESIZE 65535", "FRAMESIZE 0"],
)
def test_what_it_does_not_understand_it_drops_in_silence(dropped: bytes) -> None:
    async def test() -> None:
        async with Simulator(SimulatedStream(idcode=100)) as simulator, peer(simulator) as pmu:
            pmu.writer.write(dropped + COMMANDS[3])
            assert (await pmu.frame())[1] == 0x11

    asyncio.run(test())


def test_commands_in_any_chunking() -> None:
    async def test() -> None:
        async with Simulator(SimulatedStream(idcode=100)) as simulator, peer(simulator) as pmu:
            for byte in b"\xaa\x41" + COMMANDS[3] + COMMANDS[4]:
                pmu.writer.write(bytes([byte]))
                await pmu.writer.drain()
            assert [(await pmu.frame())[1] for _ in range(2)] == [0x11, 0x21]

    asyncio.run(test())


def test_faults_are_checked_when_they_are_set() -> None:
    async def test() -> None:
        simulator = Simulator()
        for wrong in ({"bad_crc": "3"}, {"mute": 1}, {"gap": True}, {"drop_after": 1.5}, {"nothing": 0}, {"refuse": 1}):
            with pytest.raises(ValueError, match="known: drop, refuse"):
                await simulator.set(**wrong)
        await simulator.set(bad_crc=3, slow=1, drop_after=None, mute=True, trigger=2, tq=15)
        assert (simulator.faults.bad_crc, simulator.faults.slow, simulator.faults.mute) == (3, 1, True)

    asyncio.run(test())
