"""The supply through a stand-in for CAEN's library: the same client, the same simulated unit, the library's faults."""

import asyncio
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from drivers.caen_hv.client import BoardSilent, Client, ErrorReply, LostReply, NotSent
from drivers.caen_hv.library import merged
from drivers.caen_hv.simulator import SimulatedBoard, Simulator
from drivers.errors import DriverError, LinkError
from drivers.link import parse_address
from tests import caen_library
from tests.hv_lab import HvLab
from tests.processes import wait_for
from tests.thermostat_lab import MINOR

SOFT = 15
STAND_IN = str(Path(__file__).parents[1] / "pycaenhv")
FAULTS = ("EVERY", "TYPES", "DOWN", "HANG", "NOLOW", "BOARDS")


@pytest.fixture(scope="module")
def library():
    return caen_library.build()


@pytest.fixture(params=["caen_libs", "pycaenhv"])
def binding(request, library, monkeypatch):
    """Have one of the two packages installed alone; the real pycaenhv where it is, else a stand-in for it."""
    if request.param == "caen_libs":
        return
    monkeypatch.setitem(sys.modules, "caen_libs", None)
    monkeypatch.setitem(sys.modules, "caen_libs.caenhvwrapper", None)
    monkeypatch.delitem(sys.modules, "pycaenhv.functions", raising=False)
    monkeypatch.delitem(sys.modules, "pycaenhv", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path, STAND_IN])


@asynccontextmanager
async def supply(library, *, opened=True, boards=1):
    for name in FAULTS:
        caen_library.fault(library, name, 0)
    caen_library.fault(library, "BOARDS", boards)
    async with Simulator({n: SimulatedBoard(serial=str(174 + n)) for n in range(boards)}, speed=50) as unit:
        client = Client(address(unit, library), tuple(range(boards)))
        try:
            if opened:
                await client.open()
            yield client, unit
        finally:
            await client.close()


def address(unit, library):
    return f"caen://N1470/TCPIP/{unit.host}:{unit.port}?library={library}"


def test_the_same_client_identifies_reads_sets_and_switches(library, binding):
    async def run():
        async with supply(library) as (client, unit):
            (board,) = client.units.values()
            assert (board.model, board.channels, board.serial, board.firmware) == ("R1470ET", 4, "174", "1.08")
            limits = board.limits[3]
            assert (limits["VSET"].maximum, limits["VSET"].decimals) == (8000.0, 1)
            assert (limits["ISET"].maximum, limits["ISET"].decimals) == (3000.0, 2) and limits["RUP"].minimum == 1.0
            assert unit.requests("SET") == []
            assert await client.set(0, 2, "VSET", 123.4) == 123.4
            assert await client.set(0, 2, "ISET", 12.34) == 12.34
            assert await client.set(0, 2, "MAXV", 900) == 900
            assert await client.set(0, 2, "PDWN", "KILL") == "KILL"
            assert await client.set(0, 2, "IMRANGE", "LOW") == "LOW"
            assert await client.read(0, "VSET") == (0.0, 0.0, 123.4, 0.0)
            assert await client.read(0, "POL") == ("+",) * 4
            assert await client.read(0, "BDCTR") == ("REMOTE",) and await client.read(0, "BDILK") == ("NO",)
            assert await client.on(0, 2) & 1
            unit.boards[0].channels[2].load = 1e8
            while (await client.read(0, "VMON"))[2] < 123.4:
                await asyncio.sleep(0.01)
            assert await client.read(0, "IMON") == (0.0, 0.0, 1.234, 0.0)
            assert (await client.off(0, 2))[2] & 1 == 0 or (await client.read(0, "STAT"))[2] & 4
            unit.boards[0].alarm = 16
            assert await client.read(0, "BDALARM") == (16,)
            assert await client.clear(0) == 16
            assert [text.split("PAR:")[1].split(",")[0] for text in unit.requests("SET")][-1].startswith("BDCLR")

    asyncio.run(run())


def test_several_boards_are_slots_and_one_that_falls_silent_takes_no_other_with_it(library, binding):
    async def run():
        async with supply(library, boards=3) as (client, unit):
            assert [board.serial for board in client.units.values()] == ["174", "175", "176"]
            assert await client.set(2, 3, "VSET", 77.7) == 77.7
            assert await client.on(1, 0) & 1
            assert await client.read(2, "VSET") == (0.0, 0.0, 0.0, 77.7) and await client.read(0, "VSET") == (0.0,) * 4
            assert await client.read(1, "BDCTR") == ("REMOTE",) and await client.clear(2) == 0
            asked = [text.replace("$BD:", "").split(",")[0] for text in unit.requests("SET")]
            assert asked == ["02", "01", "02"], unit.requests("SET")
            unit.boards[1].silent = True
            with pytest.raises(BoardSilent):
                await client.read(1, "VSET")
            assert await client.read(2, "VSET") == (0.0, 0.0, 0.0, 77.7) and client.is_open
            unit.boards[1].silent = False
            assert (await client.identify(1)).serial == "175"
            assert not (await client.off(1, 0))[0] & 1

    asyncio.run(run())


def test_what_the_unit_refuses_is_told_as_over_tcp(library, binding):
    async def run():
        async with supply(library) as (client, unit):
            with pytest.raises(NotSent, match=r"is not within 0 \.\. 8000 V"):
                await client.set(0, 0, "VSET", 8000.1)
            unit.boards[0].channels[0].maxv = 100
            with pytest.raises(ErrorReply, match="VAL:ERR"):
                await client.set(0, 0, "VSET", 200)
            assert await client.set(0, 0, "VSET", 50) == 50, "it goes on"
            with pytest.raises(ErrorReply, match="PAR:ERR"):
                await client.read(0, "BDTERM")

    asyncio.run(run())


@pytest.mark.parametrize("every", [2, 3, 7])
def test_calls_that_fail_with_a_timeout_cost_a_reading_and_never_a_wrong_value(library, binding, every):
    async def run():
        async with supply(library) as (client, unit):
            for number, channel in enumerate(unit.boards[0].channels):
                channel.vset = 100.0 + number
            caen_library.fault(library, "EVERY", every)
            lost = 0
            for _ in range(40):
                try:
                    assert await client.read(0, "VSET") == (100.0, 101.0, 102.0, 103.0)
                    assert await client.read(0, "ISET") == (100.0,) * 4
                except LostReply:
                    lost += 1
                assert client.is_open
            assert client.counts.timeouts > 5 and client.counts.desyncs > 5
            assert lost < 40
            caen_library.fault(library, "EVERY", 0)
            assert await client.set(0, 1, "VSET", 55.5) == 55.5

    asyncio.run(run())


def test_a_set_whose_call_failed_is_read_back_and_never_sent_again(library):
    async def run():
        async with supply(library) as (client, unit):
            await client.read(0, "VSET")
            caen_library.fault(library, "EVERY", 1)
            task = asyncio.create_task(client.set(0, 1, "VSET", 77.0))
            while client.counts.timeouts < 1:
                await asyncio.sleep(0.001)
            caen_library.fault(library, "EVERY", 0)
            with pytest.raises(DriverError, match=r"reads back 0\.0 V"):
                await task
            assert unit.requests("SET") == []

    asyncio.run(run())


def test_a_type_that_cannot_be_is_no_value(library, binding):
    async def run():
        async with supply(library, opened=False) as (client, unit):
            caen_library.fault(library, "TYPES", 1)
            with pytest.raises(DriverError, match="VSet is ONOFF; that cannot be"):
                await client.open()
            assert not client.is_open and unit.requests("SET") == []
            caen_library.fault(library, "TYPES", 0)
            await client.open()
            assert await client.read(0, "VSET") == (0.0,) * 4

    asyncio.run(run())


def test_a_session_that_is_lost_is_closed_and_opened_anew(library, binding):
    async def run():
        async with supply(library) as (client, unit):
            caen_library.fault(library, "DOWN", 1)
            with pytest.raises(LinkError, match="COMMUNICATIONERROR"):
                await client.read(0, "VSET")
            assert not client.is_open
            with pytest.raises(LinkError, match="COMMUNICATIONERROR"):
                await client.open()
            caen_library.fault(library, "DOWN", 0)
            await client.open()
            await unit.set(power=False)
            with pytest.raises(DriverError):
                await client.read(0, "VSET")
            await unit.set(power=True)
            await client.close()
            await client.open()
            assert await client.read(0, "VSET") == (0.0,) * 4

    asyncio.run(run())


def test_a_call_that_hangs_is_given_up_and_nothing_is_begun_until_it_is_back(library, monkeypatch):
    monkeypatch.setattr("drivers.caen_hv.wrapper.CALL", 0.5)

    async def run():
        async with supply(library) as (client, _):
            await client.read(0, "VSET")
            caen_library.fault(library, "HANG", 3)
            with pytest.raises(LinkError, match="has not come back for"):
                await client.read(0, "VSET")
            with pytest.raises(LinkError, match="has not come back yet"):
                await client.open()
            while True:
                try:
                    await client.open()
                    break
                except LinkError as error:
                    assert "has not come back yet" in str(error) or "no connection" in str(error)
                    await asyncio.sleep(0.1)
            assert await client.read(0, "VSET") == (0.0,) * 4

    asyncio.run(run())


HANG = """
import asyncio, sys
from drivers.caen_hv import wrapper
from drivers.caen_hv.client import Client
from drivers.errors import LinkError

wrapper.CALL = 0.3
try:
    asyncio.run(Client(sys.argv[1]).open())
except LinkError as error:
    print(error)
"""


def test_a_call_that_never_comes_back_does_not_hold_up_the_end_of_the_program(library):
    async def run():
        async with Simulator() as unit:
            arguments = (sys.executable, "-c", HANG, address(unit, library))
            program = await asyncio.create_subprocess_exec(
                *arguments, stdout=subprocess.PIPE, env={**os.environ, "STUB_HANG": "600"}
            )
            said, _ = await asyncio.wait_for(program.communicate(), 60)
            assert b"has not come back for" in said

    asyncio.run(run())


@pytest.mark.parametrize(
    ("high", "low", "now", "imon", "both"),
    [
        ("12.34", "0.000", "HIGH", "12.34", False),
        ("0.00", "1.234", "LOW", "1.234", False),
        ("0.00", "1.234", "HIGH", "1.234", False),
        ("0.00", "0.000", "LOW", "0.000", False),
        ("12.34", "1.234", "HIGH", "12.34", True),
        ("12.34", "1.234", "LOW", "1.234", True),
        ("0.00", "1.234", "", "1.234", False),
        ("12.34", "0.000", "", "12.34", False),
        ("0.00", "0.000", "", "0.00", False),
        ("9.34", "12.340", "", "12.340", True),
    ],
)
def test_imon_is_the_one_that_is_live(high, low, now, imon, both):
    got, doubt = merged(high, low, now)
    assert got == imon and bool(doubt) == both


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ("caen://N1470", "is not an address of the kind 'caen'"),
        ("caen://N1470/TCPIP/10.0.0.5?library=here", "cannot be 'here'"),
        ("caen:///TCPIP/10.0.0.5", "is not an address of the kind 'caen'"),
    ],
)
def test_addresses_that_are_none(link, why):
    with pytest.raises(ValueError, match=why):
        parse_address(link)


def test_an_address_is_written_as_it_was():
    link = "caen://N1470/USB_VCP/ttyACM0_9600_8_1_none_0?library=/opt/a/libcaenhvwrapper.so"
    assert str(parse_address(link, 1470)) == link


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ("caen://N1471/TCPIP/10.0.0.5", "the library knows no 'N1471'"),
        ("caen://N1470/TCPIP", "write caen://SYSTEM/LINK/ARGUMENT"),
        ("caen://N1470/TCPIP/127.0.0.1:1", "no connection"),
    ],
)
def test_what_cannot_be_opened_says_why(library, link, why):
    async def run():
        with pytest.raises(LinkError, match=why):
            await Client(f"{link}?library={library}").open()

    asyncio.run(run())


ALONE = "sys.modules['caen_libs'] = None\n"
NEITHER = "sys.modules['pycaenhv'] = None\n"
OPEN = "import asyncio, sys\nfrom drivers.caen_hv.client import Client\nasyncio.run(Client(sys.argv[1]).open())"


@pytest.mark.parametrize(
    ("link", "hidden", "why"),
    [
        ("caen://N1470/TCPIP/10.0.0.5", "", "Install libcaenhvwrapper.so where the loader finds it"),
        ("caen://N1470/TCPIP/10.0.0.5?library=/nowhere.so", "", "the library cannot be loaded"),
        (
            "caen://N1470/TCPIP/10.0.0.5",
            f"{ALONE}sys.modules['pycaenhv'] = None\n",
            "pip install 'countinghouse[caen]'",
        ),
        ("caen://N1470/TCPIP/10.0.0.5", f"{ALONE}sys.path.append({STAND_IN!r})\n", "Cannot find libcaenhvwrapper.so"),
    ],
)
def test_what_is_missing_is_told_with_its_cure(library, link, hidden, why):
    code = OPEN.replace("from drivers", f"{hidden}from drivers", 1)
    done = subprocess.run([sys.executable, "-c", code, link], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and why in done.stderr, done.stderr


def test_a_supply_through_the_library_as_pvs(tmp_path, library):
    with HvLab(tmp_path) as lab:
        link = f"caen://N1470/TCPIP/127.0.0.1:{lab.box_port}"
        lab.site(f'library = "{library}"\n', link=link)
        lab.supply("--speed", "20")
        ioc = lab.ioc()
        lab.online()
        lab.see("CH3:VSET", lambda reading: reading["severity"] == 0)
        lab.put("CH0:VSET", 250)
        lab.put("CH0:ON", 1)
        lab.see("CH0:VMON", 250)
        lab.say(channel={"number": 0, "load": 25e6})
        assert lab.see("CH0:IMON", 10.0)["severity"] == 0
        assert lab.read("HV:CH0:IMONL")["severity"] == 3
        lab.refused("CH0:VSET", 8000.1, "beyond the limits")
        lab.put("CH0:ON", 0)
        lab.see("CH0:LIVE", 0)
        assert [text.split("PAR:")[1] for text in lab.requests()] == ["VSET,VAL:250.000", "ON", "OFF"]
        lab.say(power=False)
        lab.see("ONLINE", 0)
        lab.say(power=True)
        lab.online()
        wait_for(lambda: lab.read("HV:CH0:VMON")["severity"] == 0, "values")
        assert ioc.stop() == 0
        assert len(lab.requests()) == 3


def test_what_the_library_does_not_tell_is_invalid_what_is_in_doubt_alarms_and_puts_go_on(tmp_path, library):
    with HvLab(tmp_path) as lab:
        lab.environment |= {"STUB_BARE": "1", "STUB_NOLOW": "1"}
        lab.site(f'library = "{library}"\n', link=f"caen://N1470/TCPIP/127.0.0.1:{lab.box_port}")
        lab.supply("--speed", "20")
        lab.ioc()
        lab.online()
        lab.see("CH0:VMON", lambda reading: reading["severity"] == 0)
        assert lab.read("HV:CTRLMODE")["severity"] == lab.read("HV:ALARM")["severity"] == 3
        lab.say(channel={"number": 1, "vset": 500.0, "volts": 500.0, "on": True, "load": 1e8})
        both = lab.see("CH1:IMON", 5.0)
        assert (both["severity"], both["status"]) == (MINOR, SOFT), "IMonH and IMonL are both live"
        assert lab.read("HV:CH0:IMON")["severity"] == 0
        lab.put("CH0:VSET", 250)
        assert lab.hv("CH0:VSET_RBV") == 250
        lab.say(board={"local": True})
        lab.put("CH0:VSET", 260)
        assert lab.hv("CH0:VSET_RBV") == 250 and lab.hv("LASTREJECT.VAL$")


def test_without_the_library_the_device_says_so_and_the_program_goes_on(tmp_path):
    with HvLab(tmp_path) as lab:
        lab.site('library = "nowhere.so"\n', link="caen://N1470/TCPIP/10.0.0.5")
        lab.ioc()
        lab.see("ERROR.VAL$", lambda reading: "the library cannot be loaded" in reading["text"])
        assert lab.hv("ONLINE") == 0
