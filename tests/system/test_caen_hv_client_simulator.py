"""The client against the simulated supply over TCP and a pty: every fault, every order. All wait for conditions."""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from drivers.caen_hv.client import (
    BoardSilent,
    Client,
    ErrorReply,
    LostReply,
    NotConfirmed,
    NotSent,
    Priority,
    SessionStuck,
)
from drivers.caen_hv.simulator import SimulatedBoard, SimulatedChannel, Simulator
from drivers.errors import DriverError, LinkError

TIMEOUT = 0.4  # s for one exchange: long for a simulator on a loaded machine, short for the tests that wait for it
PATIENT = 10.0  # s where nothing is lost and nothing waits for it
LINKS = {"tcp": None, "pty": ""}
FAST = ("VMON", "IMON", "STAT", "BDALARM")


def different() -> SimulatedBoard:
    """A board none of whose values can be taken for another's: 100 V on CH0, 200 V on CH1 ..."""
    return SimulatedBoard(
        channels=[
            SimulatedChannel(vset=100.0 * n, iset=10.0 * n, load=1e8, on=True, volts=100.0 * n) for n in (1, 2, 3, 4)
        ]
    )


VOLTS = (100.0, 200.0, 300.0, 400.0)
AMPS = (1.0, 2.0, 3.0, 4.0)


@contextlib.asynccontextmanager
async def supply(link: str = "tcp", boards: dict[int, SimulatedBoard] | None = None) -> AsyncIterator[Simulator]:
    async with Simulator(boards or {0: different()}, pty=LINKS[link]) as simulator:
        yield simulator


@contextlib.asynccontextmanager
async def client(simulator: Simulator, boards: tuple[int, ...] = (0,), **settings: Any) -> AsyncIterator[Client]:
    client = Client(simulator.address, boards, **{"timeout": TIMEOUT, **settings})
    await client.open()
    try:
        yield client
    finally:
        await client.close()


def run(test: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test

    asyncio.run(bounded())


async def eventually(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for something that announces itself to nobody."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


both_links = pytest.mark.parametrize("link", ["tcp", "pty"])


@both_links
def test_the_unit_says_who_it_is_and_what_it_takes(link: str) -> None:
    async def test() -> None:
        async with supply(link, {0: SimulatedBoard(channels=[SimulatedChannel() for _ in range(8)])}) as simulator:
            async with client(simulator) as hv:
                unit = hv.units[0]
                assert (unit.model, unit.channels, unit.firmware, unit.serial) == ("R1470ET", 8, "1.08", "174")
                assert len(unit.limits) == 8
                bounds = {name: (b.minimum, b.maximum, b.decimals) for name, b in unit.limits[7].items()}
                assert bounds == {
                    "VSET": (0.0, 8000.0, 1),
                    "ISET": (0.0, 3000.0, 2),
                    "MAXV": (0.0, 8100.0, 0),
                    "RUP": (1.0, 500.0, 0),
                    "RDW": (1.0, 500.0, 0),
                    "TRIP": (0.0, 1000.0, 1),
                }
                assert unit.imon_decimals == (2,) * 8
                assert unit.replaced == ""
            assert simulator.requests("SET") == []
            if link == "tcp":
                await eventually(lambda: simulator.log[-1].what == "closed")

    run(test())


@both_links
def test_a_voltage_is_set_switched_on_ramped_and_switched_off(link: str) -> None:
    async def test() -> None:
        async with supply(link, {0: SimulatedBoard()}) as simulator, client(simulator) as hv:
            assert await hv.set(0, 3, "VSET", 250.04) == 250.0
            assert await hv.set(0, 3, "RUP", 500.0) == 500.0
            assert simulator.requests("SET")[0] == "$BD:00,CMD:SET,CH:3,PAR:VSET,VAL:250.0"
            assert await hv.on(0, 3) & 1
            simulator.speed = 100
            async with asyncio.timeout(20):
                while (await hv.read(0, "VMON"))[3] != 250.0:
                    pass
            assert (await hv.read(0, "STAT"))[3] == 1
            assert (await hv.read(0, "STAT"))[:3] == (0, 0, 0)
            stat = await hv.off(0, 3)
            assert not stat[3] & 1
            async with asyncio.timeout(20):
                while (await hv.read(0, "VMON"))[3] != 0.0:
                    pass
            assert simulator.requests("SET")[1:] == [
                "$BD:00,CMD:SET,CH:3,PAR:RUP,VAL:500",
                "$BD:00,CMD:SET,CH:3,PAR:ON",
                "$BD:00,CMD:SET,CH:3,PAR:OFF",
            ]

    run(test())


def test_words_and_the_range_of_the_current_meter() -> None:
    async def test() -> None:
        async with supply() as simulator, client(simulator, timeout=PATIENT) as hv:
            assert await hv.read(0, "IMON") == AMPS
            assert await hv.set(0, 1, "IMRANGE", "LOW") == "LOW"
            assert hv.units[0].imon_decimals == (2, 3, 2, 2)
            assert await hv.read(0, "IMON") == AMPS
            assert await hv.set(0, 2, "PDWN", "KILL") == "KILL"
            assert await hv.read(0, "PDWN") == ("RAMP", "RAMP", "KILL", "RAMP")
            assert await hv.set(0, None, "BDILKM", "OPEN") == "OPEN"
            assert await hv.read(0, "BDILKM") == ("OPEN",)
            assert hv.counts.desyncs == 0
            await simulator.set(channel={"number": 3, "imrange": "LOW"})  # at the panel: other decimals, once checked
            assert await hv.read(0, "IMON") == AMPS
            assert await hv.read(0, "IMON") == AMPS
            assert hv.counts.desyncs == 1

    run(test())


@both_links
@pytest.mark.parametrize(
    "fault",
    [
        {"lost": 1},
        {"late": 1, "late_by": 1.5 * TIMEOUT},
        {"late": 3, "late_by": 0.8 * TIMEOUT},
        {"late": 1, "late_by": 2.2 * TIMEOUT},
        {"doubled": 1},
        {"doubled": 1, "doubled_by": 0.002},
        {"doubled": 3, "doubled_by": 0.01},
        {"merged": 1},
        {"split": True},
        {"garbled": 1},
        {"non_ascii": 1},
        {"truncated": 1},
        {"elements": 1},
        {"another_board": 1},
        {"flipped": 1},
        {"ignored": 1},
        {"noise": 40},
        {"noise": 5000},
    ],
    ids=str,
)
def test_no_value_under_another_name_whatever_happens_to_replies(link: str, fault: dict[str, Any]) -> None:
    """The readings go on, and every one that is given is right."""

    harmless = "split" in fault or "flipped" in fault

    async def test() -> None:
        async with supply(link) as simulator, client(simulator, timeout=PATIENT if harmless else TIMEOUT) as hv:
            rightly = {"VMON": VOLTS, "IMON": AMPS, "STAT": (1,) * 4, "BDALARM": (0,)}
            rightly |= {"VSET": VOLTS, "ISET": tuple(10 * a for a in AMPS), "RUP": (50.0,) * 4, "POL": ("+",) * 4}
            for par in rightly:
                assert await hv.read(0, par) == rightly[par]
            for faulty in ("VMON", "STAT", "BDALARM", "ISET"):
                await simulator.set(**fault)
                for par in (faulty, *rightly):
                    with contextlib.suppress(LostReply):
                        assert await hv.read(0, par) == rightly[par], (faulty, par)
            while True:  # until the second copies have come
                for par in rightly:
                    with contextlib.suppress(LostReply):
                        assert await hv.read(0, par) == rightly[par]
                if harmless or hv.counts.desyncs or fault.get("late_by") == 0.8 * TIMEOUT:
                    break
            assert hv.is_open
            if harmless:
                assert hv.counts.desyncs == 0
            assert simulator.requests("SET") == []

    run(test())


def test_a_unit_that_is_always_late_is_given_up_and_not_believed() -> None:
    async def test() -> None:
        async with supply() as simulator, client(simulator) as hv:
            await simulator.set(slow=3.5 * TIMEOUT)
            with pytest.raises(LinkError, match=r"silent|out of step|no reply"):
                for _ in range(5):
                    await hv.read(0, "VMON")
            await eventually(lambda: not hv.is_open)
            with pytest.raises(LinkError):
                await hv.read(0, "IMON")
            await simulator.set(slow=0.0)
            await hv.close()
            await eventually(lambda: simulator.log[-1].what in ("closed", "reset"))
            await hv.open()
            assert await hv.read(0, "VMON") == VOLTS

    run(test())


@both_links
def test_a_lost_reply_to_a_set_is_read_back_and_never_sent_again(link: str) -> None:
    async def test() -> None:
        async with supply(link) as simulator, client(simulator) as hv:
            await simulator.set(lost=1)
            assert await hv.set(0, 1, "VSET", 210.0) == 210.0
            await simulator.set(ignored=1)
            with pytest.raises(NotConfirmed, match=r"VSET was set to 220.* reads back 210.*lost"):
                await hv.set(0, 1, "VSET", 220.0)
            assert [each[-9:] for each in simulator.requests("SET")] == ["VAL:210.0", "VAL:220.0"]

    run(test())


def test_on_is_never_sent_again() -> None:
    async def test() -> None:
        async with supply(boards={0: SimulatedBoard()}) as simulator, client(simulator) as hv:
            await simulator.set(ignored=1)
            with pytest.raises(NotConfirmed, match="switch on and says: off"):
                await hv.on(0, 2)
            await simulator.set(lost=1)
            assert await hv.on(0, 1) & 1
            assert [each[-4:] for each in simulator.requests("SET")] == ["R:ON"] * 2

    run(test())


def test_off_is_sent_once_more_when_it_was_lost() -> None:
    async def test() -> None:
        async with supply() as simulator, client(simulator) as hv:
            await simulator.set(ignored=1)
            assert not (await hv.off(0, 2))[2] & 1
            assert [each[-10:] for each in simulator.requests("SET")] == [":2,PAR:OFF"] * 2

    run(test())


def test_all_off_is_one_order_for_all() -> None:
    async def test() -> None:
        async with supply() as simulator, client(simulator) as hv:
            simulator.speed = 100
            await hv.off_all(0)
            assert simulator.requests("SET") == ["$BD:00,CMD:SET,CH:4,PAR:OFF"]
            async with asyncio.timeout(20):
                while await hv.read(0, "VMON") != (0.0,) * 4:
                    pass
            assert not any(stat & 1 for stat in await hv.read(0, "STAT"))
            await simulator.set(swallowed=1, channel={"on": True})
            await hv.off_all(0)  # the order for all did nothing: each is told by itself
            assert simulator.requests("SET")[1:] == [
                f"$BD:00,CMD:SET,CH:{channel},PAR:OFF" for channel in (4, 0, 1, 2, 3)
            ]

    run(test())


@pytest.mark.parametrize(
    ("par", "value", "says"),
    [
        ("VSET", 8000.1, "not within 0 .. 8000 V"),
        ("VSET", -1.0, "not within 0 .. 8000 V"),
        ("VSET", float("nan"), "not a number"),
        ("VSET", float("inf"), "not a number"),
        ("VSET", "250", "not a number"),
        ("VMON", 1.0, "cannot be set"),
        ("ON", 1.0, "cannot be set"),
        ("BDILKM", "OPEN", "for the board"),
        ("PDWN", "OFF", "none of KILL, RAMP"),
        ("NOPE", 1.0, "no parameter 'NOPE'"),
    ],
)
def test_what_the_unit_does_not_take_is_not_sent(par: str, value: Any, says: str) -> None:
    async def test() -> None:
        async with supply() as simulator, client(simulator) as hv:
            with pytest.raises(NotSent, match=says):
                await hv.set(0, 0, par, value)
            with pytest.raises(NotSent, match="has channels 0 to 3"):
                await hv.set(0, 4, "VSET", 1.0)
            with pytest.raises(NotSent, match="has channels 0 to 3"):
                await hv.on(0, 4)
            assert simulator.requests("SET") == []

    run(test())


def test_what_the_unit_refuses_or_does_not_do_is_told() -> None:
    async def test() -> None:
        async with supply() as simulator, client(simulator) as hv:
            await simulator.set(refused=1)
            with pytest.raises(ErrorReply, match=r"VAL:ERR to \$BD:00,CMD:SET,CH:0,PAR:VSET,VAL:50.0: .*look at MAXV"):
                await hv.set(0, 0, "VSET", 50.0)
            await simulator.set(swallowed=1)
            with pytest.raises(NotConfirmed, match=r"VSET was set to 50.0 and reads back 100.0 V"):
                await hv.set(0, 0, "VSET", 50.0)
            await simulator.set(channel={"number": 0, "maxv": 500.0}, board={"clips": True})
            with pytest.raises(NotConfirmed, match=r"reads back 500.0 V"):
                await hv.set(0, 0, "VSET", 600.0)
            await simulator.set(board={"clips": False})
            with pytest.raises(ErrorReply):
                await hv.set(0, 0, "VSET", 600.0)
            await simulator.set(channel={"number": 1, "on": False, "disabled": True})
            with pytest.raises(NotConfirmed, match="disabled by the front switch"):
                await hv.on(0, 1)

    run(test())


def test_a_local_unit_is_told_once_and_then_asked_first() -> None:
    async def test() -> None:
        async with supply() as simulator, client(simulator) as hv:
            await simulator.set(board={"local": True})
            with pytest.raises(ErrorReply, match=r"LOC:ERR.*turn it to REMOTE"):
                await hv.set(0, 0, "VSET", 50.0)
            assert (hv.local, hv.counts.local_errors) == ({0: True}, 1)
            sent = len(simulator.requests("SET"))
            with pytest.raises(NotSent, match="LOCAL"):
                await hv.set(0, 0, "VSET", 50.0)
            with pytest.raises(NotSent, match="LOCAL"):
                await hv.on(0, 0)
            with pytest.raises(NotSent, match="LOCAL"):
                await hv.clear(0)
            assert len(simulator.requests("SET")) == sent
            with pytest.raises(ErrorReply, match="LOC:ERR"):
                await hv.off(0)
            assert simulator.requests("SET")[-1].endswith("CH:4,PAR:OFF")  # OFF is tried nevertheless
            await simulator.set(board={"local": False})
            assert await hv.set(0, 0, "VSET", 50.0) == 50.0
            assert hv.local == {0: False}

    run(test())


def test_a_trip_is_seen_and_cleared() -> None:
    async def test() -> None:
        async with supply() as simulator, client(simulator) as hv:
            simulator.speed = 100
            await simulator.set(channel={"number": 2, "load": 1e6})
            async with asyncio.timeout(20):
                while not (await hv.read(0, "STAT"))[2] & 1 << 7:
                    pass
            assert await hv.read(0, "BDALARM") == (4,)
            assert await hv.clear(0) == 0
            assert not (await hv.read(0, "STAT"))[2] & 1 << 7

    run(test())


@both_links
def test_off_waits_for_one_exchange_whatever_else_is_asked(link: str) -> None:
    """Proved by the wire log: between the moment of the order and OFF on the wire no more than one request is sent."""

    async def test() -> None:
        async with supply(link) as simulator, client(simulator, timeout=5.0) as hv:

            async def poll(priority: Priority) -> None:
                while True:
                    for par in (*FAST, "VSET", "ISET", "MAXV", "TRIP"):
                        await hv.read(0, par, priority)

            async def put(channel: int) -> None:
                while True:
                    for volts in (50.0, 60.0):
                        await hv.set(0, channel, "VSET", volts)

            busy = [asyncio.create_task(poll(priority)) for priority in (Priority.FAST, Priority.SLOW) * 5]
            busy += [asyncio.create_task(put(channel)) for channel in (0, 1, 2, 3) * 10]
            for _ in range(20):
                seen = len(simulator.requests())
                await eventually(lambda seen=seen: len(simulator.requests()) > seen + 10)
                before = len(simulator.requests())
                stat = asyncio.create_task(hv.off(0, 1))
                await asyncio.sleep(0)  # the order is given now
                asked = len(simulator.requests())
                assert asked == before
                assert not (await stat)[1] & 1
                later = simulator.requests()[asked:]
                place = next(n for n, each in enumerate(later) if each.endswith("PAR:OFF"))
                # What was on its way when the order came may still arrive, and so may one whole exchange.
                assert place <= 1, later[: place + 1]
                assert not any(each.endswith("PAR:ON") for each in later)
            for task in busy:
                task.cancel()
            results = await asyncio.gather(*busy, return_exceptions=True)
            assert all(isinstance(each, asyncio.CancelledError) for each in results), results
            assert hv.counts.desyncs == 0

    run(test())


@both_links
def test_off_does_not_wait_until_the_line_is_in_step_again(link: str) -> None:
    """Proved by the wire log: after the question that is lost OFF is the next that is said, before any check."""

    async def test() -> None:
        async with supply(link) as simulator, client(simulator) as hv:
            await simulator.set(ignored=3)
            seen = len(simulator.requests())
            read = asyncio.create_task(hv.read(0, "VMON"))
            await eventually(lambda: len(simulator.requests()) > seen)
            offs = [asyncio.create_task(hv.off(0, channel)) for channel in (1, 2)]
            await eventually(lambda: len(simulator.requests()) > seen + 2)
            asked = [each.split(",", 1)[1] for each in simulator.requests()[seen:]]
            assert asked[0] == "CMD:MON,CH:4,PAR:VMON"
            assert sorted(asked[1:3]) == ["CMD:SET,CH:1,PAR:OFF", "CMD:SET,CH:2,PAR:OFF"], asked
            assert hv.counts.desyncs == 1
            for channel, stat in zip((1, 2), await asyncio.gather(*offs), strict=True):
                assert not stat[channel] & 1  # sent again in its turn, and confirmed
            assert (await read)[0] == 100.0

    run(test())


def test_off_wins_over_an_on_that_waits() -> None:
    async def test() -> None:
        async with supply(boards={0: SimulatedBoard()}) as simulator, client(simulator) as hv:
            await simulator.set(slow=0.05)
            ons = [asyncio.create_task(hv.on(0, channel)) for channel in (0, 1)]
            others = [asyncio.create_task(hv.set(0, 2, "VSET", volts)) for volts in (1.0, 2.0)]
            await asyncio.sleep(0)
            assert not any(stat & 1 for stat in await hv.off(0))
            results = await asyncio.gather(*ons, return_exceptions=True)
            assert all(isinstance(each, NotSent | NotConfirmed) for each in results), results
            assert any("overtaken by an OFF" in str(each) for each in results)
            assert await asyncio.gather(*others) == [1.0, 2.0]
            orders = simulator.requests("SET")
            assert not any(each.endswith("PAR:ON") for each in orders[orders.index("$BD:00,CMD:SET,CH:4,PAR:OFF") :])

    run(test())


def test_two_who_put_at_once_are_both_confirmed() -> None:
    async def test() -> None:
        async with supply() as simulator, client(simulator) as hv:
            values = await asyncio.gather(*(hv.set(0, 0, "VSET", volts) for volts in (10.0, 20.0, 30.0)))
            assert values == [10.0, 20.0, 30.0]
            spoken = [said.what for said in simulator.log if said.what in ("request", "reply")]
            assert spoken == ["request", "reply"] * (len(spoken) // 2)  # one outstanding, always

    run(test())


@both_links
def test_power_cut_in_mid_ramp_and_back_only_reads(link: str) -> None:
    async def test() -> None:
        async with supply(link, {0: SimulatedBoard()}) as simulator, client(simulator) as hv:
            await hv.set(0, 0, "VSET", 1000.0)
            await hv.on(0, 0)
            orders = len(simulator.requests("SET"))
            assert (await hv.read(0, "STAT"))[0] & 2
            await simulator.set(power=False)
            with pytest.raises(LinkError):
                while True:
                    await hv.read(0, "VMON")
            assert not hv.is_open
            with pytest.raises(DriverError):
                await hv.open()
            await simulator.set(power=True)
            async with asyncio.timeout(20):
                while not hv.is_open:
                    with contextlib.suppress(DriverError):
                        await hv.open()
                        break
                    await asyncio.sleep(0.05)
            assert await hv.read(0, "VMON") == (0.0,) * 4
            assert await hv.read(0, "VSET") == (1000.0, 0.0, 0.0, 0.0)
            assert len(simulator.requests("SET")) == orders

    run(test())


@both_links
@pytest.mark.parametrize("fault", [{"mute": True}, {"cut": 1}], ids=str)
def test_a_dead_line_is_noticed_and_opened_again(link: str, fault: dict[str, Any]) -> None:
    async def test() -> None:
        async with supply(link) as simulator, client(simulator) as hv:
            begin = time.monotonic()
            await simulator.set(**fault)
            with pytest.raises(LinkError, match=r"silent|closed|gone|reset") as caught:
                while True:
                    await hv.read(0, "VMON")
            assert not isinstance(caught.value, LostReply)
            assert time.monotonic() - begin < 15
            await simulator.set(mute=False)
            await hv.close()
            await hv.open()
            assert await hv.read(0, "VMON") == VOLTS

    run(test())


def test_another_unit_at_the_same_address_is_noticed() -> None:
    async def test() -> None:
        async with supply() as simulator, client(simulator) as hv:
            await simulator.set(board={"serial": "9"}, lost=1)
            with pytest.raises(LinkError, match=r"expected 174.*[Aa]nother unit"):
                await hv.read(0, "VMON")
            await hv.close()
            units = await hv.open()
            assert (units[0].serial, units[0].replaced) == ("9", "174")

    run(test())


@both_links
def test_an_absent_board_does_not_lose_the_others(link: str) -> None:
    async def test() -> None:
        boards = {0: different(), 5: SimulatedBoard(serial="205")}
        async with supply(link, boards) as simulator, client(simulator, (0, 3, 5)) as hv:
            assert {board: unit.serial for board, unit in hv.units.items()} == {0: "174", 5: "205"}
            with pytest.raises(BoardSilent, match="board 3"):
                await hv.read(3, "VMON")
            assert await hv.read(0, "VMON") == VOLTS
            assert await hv.read(5, "VMON") == (0.0,) * 4
            gone = simulator.boards.pop(5)
            with pytest.raises(BoardSilent, match=r"board 5 is silent, board 0 answers"):
                await hv.read(5, "VMON")
            assert await hv.read(0, "VMON") == VOLTS
            with pytest.raises(BoardSilent):
                await hv.identify(5)
            simulator.boards[5] = gone
            assert (await hv.identify(5)).serial == "205"
            assert await hv.set(5, 1, "VSET", 5.0) == 5.0
            assert simulator.requests("SET") == ["$BD:05,CMD:SET,CH:1,PAR:VSET,VAL:5.0"]

    run(test())


def test_the_session_is_ended_in_order_on_every_path() -> None:
    """A sticky unit stays taken after a reset: were one session not closed in order, the next could not begin."""

    async def test() -> None:
        async with supply() as simulator:
            await simulator.set(sticky=True)
            for spoil in ({}, {"slow": 0.05}, {"doubled": 1}, {"garbled": 1}, {"late": 1, "late_by": TIMEOUT * 1.2}):
                hv = Client(simulator.address, timeout=TIMEOUT)
                await hv.open()
                await simulator.set(**spoil)
                read = asyncio.create_task(hv.read(0, "VMON"))
                await asyncio.sleep(0)
                await hv.close()  # in the middle of an exchange
                with contextlib.suppress(DriverError):
                    assert await read == VOLTS
                await simulator.set(slow=0.0)
                await eventually(lambda: simulator.log[-1].what in ("closed", "reset"))
                assert simulator.log[-1].what == "closed", spoil
            hv = Client(simulator.address, timeout=TIMEOUT)
            await simulator.set(board={"serial": "no;number"})
            with pytest.raises(LostReply, match="2 values instead of 1"):
                await hv.open()
            await eventually(lambda: simulator.log[-1].what in ("closed", "reset"))
            assert simulator.log[-1].what == "closed"

    run(test())


def test_a_stuck_session_says_what_to_do_and_power_frees_it() -> None:
    async def test() -> None:
        async with supply() as simulator:
            await simulator.set(sticky=True)
            rude = socket.create_connection((simulator.host, simulator.port))
            await eventually(lambda: simulator.log[-1].what == "connected")
            hv = Client(simulator.address, timeout=TIMEOUT)
            with pytest.raises(SessionStuck, match=r"one session: close the program"):
                await hv.open()  # taken
            rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            rude.close()
            await eventually(lambda: simulator.stuck)
            with pytest.raises(SessionStuck, match=r"does not answer.*switching the unit off and on frees it"):
                await hv.open()
            await simulator.set(power=False)
            with pytest.raises(SessionStuck, match="refuses the connection"):
                await hv.open()
            await simulator.set(power=True)
            assert set(await hv.open()) == {0}
            await hv.close()

    run(test())


def test_who_gives_up_waiting_harms_nobody() -> None:
    async def test() -> None:
        async with supply() as simulator, client(simulator, timeout=PATIENT) as hv:
            await simulator.set(slow=0.1)
            for par in ("VMON", "IMON", "VSET"):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.03):
                        await hv.read(0, par)
            await simulator.set(slow=0.0)
            assert await hv.read(0, "VMON") == VOLTS
            assert await hv.read(0, "IMON") == AMPS
            assert hv.counts.desyncs == 0

    run(test())


def test_a_second_owner_is_refused_in_process() -> None:
    async def test() -> None:
        async with supply() as simulator, client(simulator) as hv:
            with pytest.raises(LinkError, match="already open"):
                await hv.open()
            assert await hv.read(0, "VMON") == VOLTS

    run(test())


def test_the_unflagged_trip_and_the_panel() -> None:
    async def test() -> None:
        async with supply() as simulator, client(simulator) as hv:
            simulator.speed = 100
            await simulator.set(channel={"number": 0, "broken": True})
            async with asyncio.timeout(20):
                while (await hv.read(0, "VMON"))[0] > 1:
                    pass
            assert (await hv.read(0, "STAT"))[0] == 33
            assert await hv.read(0, "BDALARM") == (0,)
            await simulator.set(kill=True)
            assert [stat & 1 << 11 for stat in await hv.read(0, "STAT")] == [1 << 11] * 4
            await simulator.set(board={"interlock": True, "alarm": 64}, channel={"number": 1, "forced": 1 << 9})
            assert await hv.read(0, "BDILK") == ("YES",)
            assert (await hv.read(0, "BDALARM"))[0] & 64
            stat = await hv.read(0, "STAT")
            assert [each & 1 << 12 for each in stat] == [1 << 12] * 4
            assert stat[1] & 1 << 9

    run(test())
