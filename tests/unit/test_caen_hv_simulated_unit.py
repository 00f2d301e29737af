"""The simulated unit's physics and its manners, without a wire."""

import pytest

from drivers.caen_hv.simulated_unit import (
    DIS,
    ILK,
    KILL,
    MAXV,
    ON,
    OVC,
    OVV,
    RDW,
    RUP,
    TRIP,
    UNV,
    SimulatedBoard,
    SimulatedChannel,
    SimulatedRequest,
    understand,
)


def ask(board: SimulatedBoard, text: str) -> str:
    request = understand(text.encode())
    assert request is not None
    return board.answer(request)


def one(**settings: object) -> tuple[SimulatedBoard, SimulatedChannel]:
    channel = SimulatedChannel(**settings)  # type: ignore[arg-type]
    return SimulatedBoard(channels=[channel]), channel


def test_it_ramps_up_and_down_at_its_rates() -> None:
    board, channel = one(vset=500.0, rup=50.0, rdw=100.0, on=True)
    board.step(4)
    assert channel.volts == pytest.approx(200)
    assert channel.stat(False) == ON | RUP | UNV
    board.step(10)
    assert (channel.volts, channel.stat(False)) == (500.0, ON)
    channel.vset = 300.0
    board.step(1)
    assert channel.volts == pytest.approx(400)
    assert channel.stat(False) == ON | RDW | OVV
    ask(board, "$BD:00,CMD:SET,CH:0,PAR:OFF")
    board.step(1)
    assert channel.stat(False) == RDW
    board.step(10)
    assert (channel.volts, channel.stat(False)) == (0.0, 0)


def test_pdwn_kill_ends_at_once() -> None:
    board, channel = one(vset=500.0, volts=500.0, on=True, pdwn="KILL")
    ask(board, "$BD:00,CMD:SET,CH:0,PAR:OFF")
    board.step(0.1)
    assert (channel.volts, channel.stat(False)) == (0.0, 0)


def test_a_capacitance_takes_its_time_and_its_current() -> None:
    board, channel = one(vset=500.0, volts=500.0, on=True, pdwn="KILL", load=1e7, capacitance=1e-6)
    channel.on = False
    board.step(10)  # one time constant
    assert channel.volts == pytest.approx(500 / 2.718, rel=0.02)
    board, channel = one(vset=500.0, rup=100.0, iset=10.0, on=True, load=1e9, capacitance=1e-6, trip=1000.0)
    board.step(2)  # 1 uF at 100 V/s would take 100 uA
    assert channel.stat(False) & OVC


def test_over_current_holds_the_current_and_trips_after_its_time() -> None:
    board, channel = one(vset=500.0, volts=500.0, iset=10.0, on=True, load=1e7, trip=2.0, pdwn="KILL")
    board.step(1)
    assert channel.current == pytest.approx(10.0)
    assert channel.stat(False) & (ON | OVC | UNV) == ON | OVC | UNV
    board.step(2)
    assert channel.stat(False) == TRIP
    assert ask(board, "$BD:00,CMD:MON,PAR:BDALARM") == "CMD:OK,VAL:00001"
    assert ask(board, "$BD:00,CMD:SET,PAR:BDCLR") == "CMD:OK"
    assert ask(board, "$BD:00,CMD:MON,CH:0,PAR:STAT") == "CMD:OK,VAL:00000"
    assert ask(board, "$BD:00,CMD:MON,PAR:BDALARM") == "CMD:OK,VAL:00000"


def test_trip_at_its_maximum_never_trips() -> None:
    board, channel = one(vset=500.0, volts=500.0, iset=10.0, on=True, load=1e7, trip=1000.0)
    board.step(5000)
    assert channel.stat(False) & (ON | OVC) == ON | OVC


def test_maxv_holds_and_refuses_or_cuts() -> None:
    board, channel = one(vset=500.0, maxv=300.0, volts=300.0, on=True)
    board.step(1)
    assert channel.volts == 300.0
    assert channel.stat(False) & MAXV
    assert ask(board, "$BD:00,CMD:SET,CH:0,PAR:VSET,VAL:301") == "VAL:ERR"
    board.clips = True
    assert ask(board, "$BD:00,CMD:SET,CH:0,PAR:VSET,VAL:301") == "CMD:OK"
    assert channel.vset == 300.0


def test_three_gates_decide_about_volts() -> None:
    board, channel = one(vset=100.0, volts=100.0, on=True, disabled=True)
    board.step(1)
    assert (channel.volts, channel.stat(False)) == (0.0, DIS)
    ask(board, "$BD:00,CMD:SET,CH:0,PAR:ON")
    board.step(1)
    assert channel.stat(False) == DIS
    channel.disabled = False  # what was left on ramps up unannounced
    board.step(1)
    assert channel.stat(False) & (ON | RUP) == ON | RUP
    channel.kill()
    assert (channel.volts, channel.stat(False)) == (0.0, KILL)
    board.interlock = True
    board.step(1)
    ask(board, "$BD:00,CMD:SET,CH:0,PAR:ON")
    assert channel.stat(True) & (ON | ILK) == ILK
    assert ask(board, "$BD:00,CMD:MON,PAR:BDILK") == "CMD:OK,VAL:YES"


def test_a_collapse_that_nothing_flags() -> None:
    board, channel = one(vset=2400.0, volts=2400.0, on=True)
    channel.broken = True
    board.step(10)
    assert 100 < channel.volts < 300
    assert channel.stat(False) == ON | UNV
    assert ask(board, "$BD:00,CMD:MON,PAR:BDALARM") == "CMD:OK,VAL:00000"
    ask(board, "$BD:00,CMD:SET,CH:0,PAR:OFF")
    ask(board, "$BD:00,CMD:SET,CH:0,PAR:ON")
    board.step(60)
    assert channel.volts < 0.1
    board.power_cycle()
    ask(board, "$BD:00,CMD:SET,CH:0,PAR:ON")
    board.step(60)
    assert channel.volts == 2400.0


def test_the_range_of_the_current_meter() -> None:
    board, channel = one(volts=1000.0, vset=1000.0, on=True, iset=1000.0, load=1e8)
    assert ask(board, "$BD:00,CMD:MON,CH:0,PAR:IMON") == "CMD:OK,VAL:0010.00"
    assert ask(board, "$BD:00,CMD:SET,CH:0,PAR:IMRANGE,VAL:LOW") == "CMD:OK"
    assert ask(board, "$BD:00,CMD:MON,CH:0,PAR:IMON") == "CMD:OK,VAL:010.000"
    assert ask(board, "$BD:00,CMD:MON,CH:0,PAR:IMDEC") == "CMD:OK,VAL:3"
    channel.load = 2e6
    assert ask(board, "$BD:00,CMD:MON,CH:0,PAR:IMON") == "CMD:OK,VAL:300.000"  # saturated


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        ("$BD:00,CMD:MON,CH:1,PAR:VSET", "CMD:OK,VAL:0000.0"),
        ("$BD:00,CMD:MON,CH:4,PAR:POL", "CMD:OK,VAL:+;+;+;+"),
        ("$BD:00,CMD:MON,PAR:BDSNUM", "CMD:OK,VAL:174"),
        ("$BD:00,CMD:MON,PAR:BDFREL", "CMD:OK,VAL:1.08"),
        ("$BD:00,CMD:MON,CH:0,PAR:TRIPMAX", "CMD:OK,VAL:1000.0"),
        ("$BD:0,CMD:MON,CH:0,PAR:VMON", "CMD:OK,VAL:0000.0"),  # what units were seen to take
        ("$BD,00,CMD:MON,PAR:VMON,CH:0", "CMD:OK,VAL:0000.0"),
        ("$BD:00,CMD:SET,CH:0,PAR:VSET,VAL:  10.123456", "CMD:OK"),
        ("$BD:00,CMD:MON,CH:5,PAR:VMON", "CH:ERR"),
        ("$BD:00,CMD:MON,PAR:VMON", "CH:ERR"),
        ("$BD:00,CMD:MON,CH:0,PAR:NOPE", "PAR:ERR"),
        ("$BD:00,CMD:SET,CH:0,PAR:VMON,VAL:1", "PAR:ERR"),
        ("$BD:00,CMD:SET,CH:0,PAR:VSET,VAL:8001", "VAL:ERR"),
        ("$BD:00,CMD:SET,CH:0,PAR:VSET,VAL:-1", "VAL:ERR"),
        ("$BD:00,CMD:SET,CH:0,PAR:VSET", "VAL:ERR"),
        ("$BD:00,CMD:SET,CH:9,PAR:VSET,VAL:1", "CH:ERR"),
        ("$BD:00,CMD:SET,CH:0,PAR:PDWN,VAL:SOFT", "VAL:ERR"),
        ("$BD:00,CMD:SET,PAR:BDILKM,VAL:AJAR", "VAL:ERR"),
        ("$BD:00,CMD:GET,PAR:VMON", "CMD:ERR"),
    ],
)
def test_its_manners(request_: str, reply: str) -> None:
    assert ask(SimulatedBoard(), request_) == reply


def test_local_refuses_to_set_and_lets_itself_be_asked() -> None:
    board = SimulatedBoard(local=True)
    assert ask(board, "$BD:00,CMD:SET,CH:0,PAR:VSET,VAL:1") == "LOC:ERR"
    assert ask(board, "$BD:00,CMD:MON,PAR:BDCTR") == "CMD:OK,VAL:LOCAL"
    assert ask(board, "$BD:00,CMD:MON,CH:0,PAR:VSET") == "CMD:OK,VAL:0000.0"


def test_a_line_without_a_board_number_is_nobodys() -> None:
    assert understand(b"VMON?") is None
    assert understand(b"\xff\xfe") is None
    assert understand(b"$BD:07,CMD:SET,CH:2,PAR:ON") == SimulatedRequest(7, "SET", "ON", 2)
