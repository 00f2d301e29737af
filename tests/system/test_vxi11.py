"""The link to a VXI-11 box and the simulated scope on real TCP; the simulator with two foreign clients."""

import asyncio
import socket
import threading
import time

import pytest
import pyvisa
import vxi11

from drivers.errors import LinkError, LinkTimeout, ProtocolError
from drivers.lecroy.instrument import Instrument, Vxi11Error, parse_address, room
from drivers.lecroy.simulated_scope import SimulatedScope
from drivers.lecroy.simulated_wire import Simulator
from drivers.lecroy.vxi11 import Vxi11Link
from drivers.lecroy.wavedesc import decode
from tests.processes import wait_for
from tests.watched import until

IDN = "LECROY,WR610ZI,LCRY2801N12345,6.5.0"


@pytest.fixture
def simulator():
    with Simulator(SimulatedScope(rate=200.0), mapper_port=0) as it:
        yield it


@pytest.fixture
def instrument(simulator):
    it = Instrument(parse_address(simulator.address))
    it.timeout = 10.0
    yield it
    it.close()


def single(instrument) -> None:
    instrument.write("CHDR OFF;TRMD SINGLE;WAIT 10;*OPC?")
    assert instrument.read() == "1"


def block(instrument) -> bytes:
    instrument.write("C2:WF? ALL")
    buffer = room()
    return bytes(buffer[: instrument.read_into(buffer)])


def theirs(simulator) -> vxi11.Instrument:
    it = vxi11.Instrument(simulator.host)
    it.client = vxi11.vxi11.CoreClient(simulator.host, simulator.port)
    return it


def test_python_vxi11_reads_the_simulator(simulator, instrument, monkeypatch):
    single(instrument)
    whole = block(instrument)
    monkeypatch.setattr(vxi11.rpc, "PMAP_PORT", simulator.mapper_port)
    peer = vxi11.Instrument(simulator.host)  # by the port mapper
    assert peer.ask("*IDN?") == IDN
    peer.write("C2:WF? ALL")
    assert peer.read_raw() == whole
    assert decode(whole).points == 1002
    assert peer.read_stb() == 0
    peer.lock()
    peer.unlock()
    peer.clear()
    peer.trigger()
    peer.close()


def test_pyvisa_py_reads_the_simulator(simulator, instrument):
    """A whole other client: its own XDR, its own framing."""
    single(instrument)
    whole = block(instrument)
    manager = pyvisa.ResourceManager("@py")
    try:
        peer = manager.open_resource(f"TCPIP::{simulator.host},{simulator.port}::inst0::INSTR")
        peer.timeout = 10_000
        assert peer.query("*IDN?").strip() == IDN
        peer.write("C2:WF? ALL")
        assert peer.read_raw() == whole
        peer.timeout = 200
        with pytest.raises(pyvisa.errors.VisaIOError):
            peer.query("NONSENSE?")
        peer.timeout = 10_000
        assert peer.query("CMR?").strip() == "1"
        peer.close()
    finally:
        manager.close()


def test_a_large_trace_in_one_buffer_that_is_used_again(simulator, instrument):
    single(instrument)
    instrument.write("MSIZ 1E6;TRMD SINGLE;WAIT 10;C2:WF? ALL")
    buffer = room()
    length = instrument.read_into(buffer)
    assert decode(memoryview(buffer)[:length]).points == 1_000_002
    instrument.write("C2:WF? ALL")
    assert instrument.read_into(buffer) == length
    instrument.write("C2:WF? ALL")
    assert instrument.read_raw() == buffer[:length]
    peer = theirs(simulator)
    peer.write("C2:WF? ALL")
    assert peer.read_raw() == buffer[:length]
    peer.close()


def test_a_message_that_has_no_end_is_refused(simulator, instrument):
    single(instrument)
    instrument.write("C2:WF? ALL")
    with pytest.raises(ProtocolError, match="a message has no end after 1000 bytes"):
        instrument.read_into(bytearray(1000))
    assert instrument.link is None


@pytest.mark.parametrize("fault", [{"fragments": 1}, {"fragments": 7}, {"fragments": 1001}, {"short": 100}])
def test_records_in_pieces(simulator, instrument, fault):
    single(instrument)
    whole = block(instrument)
    for name, value in fault.items():
        setattr(simulator.faults, name, value)
    assert block(instrument) == whole


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        ({"cut": 1}, LinkError, "connection"),
        ({"stall": 1}, LinkTimeout, "no answer in time"),
        ({"mute": True}, LinkTimeout, "no answer in time"),
        ({"wrong_xid": 1}, ProtocolError, "which was not made yet"),
        ({"garbage": 1}, ProtocolError, "nonsense on the wire"),
        ({"endless": 1}, ProtocolError, "nonsense on the wire"),
    ],
)
def test_what_leaves_the_link_in_doubt_drops_it(simulator, instrument, fault, error, said):
    single(instrument)
    whole = block(instrument)
    instrument.timeout = 1.0
    instrument.write("C2:WF? ALL")
    for name, value in fault.items():
        setattr(simulator.faults, name, value)
    began = time.monotonic()
    with pytest.raises(error, match=said) as caught:
        instrument.read_into(room())
    assert time.monotonic() - began < 10
    assert str(caught.value).startswith(simulator.address)
    assert instrument.link is None
    simulator.faults.mute = False
    instrument.timeout = 10.0
    assert block(instrument) == whole  # a new link, by itself
    wait_for(lambda: len(simulator.links) == 1, "end of the link that was dropped")


def test_late_replies_are_not_taken_for_the_next(simulator, instrument):
    instrument.timeout = 0.2
    instrument.open()
    simulator.faults.late, simulator.faults.late_by = 1, 2.0
    with pytest.raises(LinkTimeout):
        instrument.ask("TDIV?")
    instrument.timeout = 10.0
    assert instrument.ask("*IDN?").endswith(IDN)


def test_an_answer_that_the_box_gives_too_late_is_not_taken_for_the_next(simulator, instrument):
    simulator.scope.rate = 0.0
    instrument.timeout = 0.2
    with pytest.raises(Vxi11Error, match="error 15"):
        instrument.ask("TRMD SINGLE;WAIT 3;TDIV?")
    instrument.timeout = 10.0
    for _ in range(20):
        assert instrument.ask("*IDN?").endswith(IDN)


def test_an_error_in_the_middle_of_a_message_drops_the_link(simulator, instrument):
    single(instrument)
    whole = block(instrument)
    instrument.write("C2:WF? ALL")
    simulator.faults.short = 1000
    instrument.client.read_into(instrument.link, memoryview(bytearray(8)), 1000, 0)
    buffer = room()
    taken = simulator.faults.take

    def second_read_fails(name):
        count.append(name)
        return taken(name) if name != "error" or count.count("error") != 2 else True

    count: list[str] = []
    simulator.faults.take = second_read_fails
    with pytest.raises(Vxi11Error, match=r"read, after 1000 bytes: VXI-11 error 17"):
        instrument.read_into(buffer)
    simulator.faults.take, simulator.faults.short = taken, 0
    assert instrument.link is None
    assert block(instrument) == whole


def test_an_answer_of_the_box_leaves_the_link_as_it_is(simulator, instrument):
    instrument.timeout = 0.2
    with pytest.raises(Vxi11Error, match="error 15, io timeout") as caught:
        instrument.ask("NONSENSE?")
    assert caught.value.code == 15
    link = instrument.link
    assert instrument.ask("CMR?") == "CMR 1"
    simulator.faults.error, simulator.faults.error_code = 1, 17
    with pytest.raises(Vxi11Error, match="error 17"):
        instrument.write("CHDR OFF")
    assert instrument.link == link


def test_locks_are_waited_for(simulator, instrument):
    holder = theirs(simulator)
    holder.lock()
    with pytest.raises(Vxi11Error, match="another program holds the lock"):
        instrument.ask("*IDN?")
    instrument.lock_timeout = 20.0
    timer = threading.Timer(0.2, holder.unlock)
    timer.start()
    assert instrument.ask("*IDN?").endswith(IDN)
    timer.join()
    instrument.lock()
    with pytest.raises(vxi11.vxi11.Vxi11Exception):
        holder.ask("*IDN?")
    instrument.close()  # which gives the lock back
    wait_for(lambda: simulator.lock_holder is None, "end of the lock")
    assert holder.ask("*IDN?").endswith(IDN)
    holder.close()


def test_no_link_left_and_a_wrong_name(simulator, instrument):
    simulator.faults.links_full = True
    with pytest.raises(Vxi11Error, match="it has no link left"):
        instrument.open()
    simulator.faults.links_full = False
    other = Instrument(parse_address(simulator.address.replace("inst0", "inst7")))
    with pytest.raises(Vxi11Error, match="is the name after the host right"):
        other.open()
    assert instrument.ask("*IDN?").endswith(IDN)


def test_the_port_mapper_tells_the_port(simulator, monkeypatch):
    monkeypatch.setattr(vxi11.rpc, "PMAP_PORT", simulator.mapper_port)
    it = Instrument(parse_address(f"vxi11://{simulator.host}/inst0"))
    assert it.ask("*IDN?").endswith(IDN)
    it.close()
    with socket.create_server((simulator.host, 0)) as nothing:
        port = nothing.getsockname()[1]
    monkeypatch.setattr(vxi11.rpc, "PMAP_PORT", port)
    with pytest.raises(LinkError, match="no port mapper"):
        it.open()


def test_a_scope_that_is_off_is_told_within_the_deadline(simulator):
    with socket.create_server((simulator.host, 0), backlog=0) as full:  # takes no connection, as a box without power
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex((simulator.host, port))
        it = Instrument(parse_address(f"vxi11://{simulator.host}:{port}/inst0"))
        it.timeout = 0.5
        began = time.monotonic()
        with pytest.raises(LinkTimeout, match="is the box switched on"):
            it.open()
        assert time.monotonic() - began < 5
        for filler in fillers:
            filler.close()


def test_a_wait_for_a_trigger_that_never_comes_is_broken_off_at_once(simulator):
    async def story() -> None:
        link = Vxi11Link(parse_address(simulator.address))
        await link.open(5.0)
        simulator.scope.rate = 0.0
        asking = asyncio.create_task(link.ask("TRMD SINGLE;WAIT 100;*OPC?", 120.0))
        await until(lambda: any("WAIT" in message for message in simulator.messages), "WAIT")
        began = time.monotonic()
        await link.abort()
        with pytest.raises(Vxi11Error, match="error 23, abort"):
            await asking
        assert time.monotonic() - began < 5
        assert (await link.ask("*IDN?", 5.0)).endswith(IDN)  # on the same link
        await link.close()
        await link.close()

    asyncio.run(story())
    wait_for(lambda: not simulator.links, "end of all links")


def test_a_cancelled_call_hangs_up_at_once(simulator):
    async def story() -> None:
        link = Vxi11Link(parse_address(simulator.address))
        await link.open(5.0)
        simulator.scope.rate = 0.0
        asking = asyncio.create_task(link.ask("TRMD SINGLE;WAIT 100;*OPC?", 120.0))
        await until(lambda: any("WAIT" in message for message in simulator.messages), "WAIT")
        began = time.monotonic()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert time.monotonic() - began < 5
        assert not link.is_open
        with pytest.raises(LinkError, match="the link is closed"):
            await link.ask("*IDN?", 5.0)
        await link.open(5.0)
        assert (await link.ask("*IDN?", 5.0)).endswith(IDN)
        await link.close()

    asyncio.run(story())


def test_close_always_closes(simulator, instrument):
    instrument.open()
    simulator.drop()
    instrument.close()
    assert instrument.link is None
    for _ in range(30):
        instrument.open()
        instrument.close()
    wait_for(lambda: not simulator.links, "end of all links")


def test_power_off_and_on(simulator, instrument):
    assert instrument.ask("*IDN?").endswith(IDN)
    simulator.power_off()
    with pytest.raises(LinkError):
        instrument.ask("*IDN?")
    simulator.power_on()
    assert instrument.ask("*IDN?").endswith(IDN)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tcp://1.2.3.4:5", "is not the address of a VXI-11 box"),
        ("vxi11://", "is not the address"),
        ("vxi11://host:0/inst0", "port 0"),
        ("vxi11://host:99999", "port 99999"),
        ("vxi11://host/inst0?a=b", "is not the address"),
    ],
)
def test_addresses_that_are_none(text, said):
    with pytest.raises(ValueError, match=said):
        parse_address(text)


def test_addresses():
    assert str(parse_address("vxi11://host")) == "vxi11://host/inst0"
    assert str(parse_address("vxi11://[::1]:1861/inst3")) == "vxi11://[::1]:1861/inst3"
