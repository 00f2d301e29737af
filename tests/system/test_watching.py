"""`list --watch`: the live table of what devices are about and of what is in alarm."""

import asyncio
import os
import pty
import sys
import time

import pytest
from rich.console import Console

from iocs.__main__ import main
from iocs.ca.client import Client
from iocs.signals import Alarms, Bad, Catalogue, Kind, Reading, Severity, Status, readback
from iocs.watching import Board, Line, age_text, table, value_text
from tests.house import house
from tests.processes import DEADLINE, ca_environment, free_port, random_prefix, write_site

TEMP = readback("TEMP", "degC", precision=2, row="ROW", alarms=Alarms(high=30.0), doc="Temperature")
COUNT = readback("COUNT", type=int, doc="Lines read")
MODE = readback("MODE", type=("Idle", "Running"), doc="What it does")
ERROR = readback("ERROR", type=str, doc="What is wrong")
PVS = readback("PVS", type=Kind.TEXT, doc="Catalogue")
LONG = "a reason that is longer than the 39 bytes that a text in EPICS has"


def drawn(board: Board, height: int = 40) -> list[str]:
    console = Console(width=160, height=height, force_terminal=False)
    with console.capture() as capture:
        console.print(table(board, time.time_ns(), height))
    return [" ".join(line.split()) for line in capture.get().splitlines()]


async def until(board: Board, *texts: str) -> list[str]:
    end = time.monotonic() + DEADLINE
    while not all(any(text in line for line in drawn(board)) for text in texts):
        assert time.monotonic() < end, drawn(board)
        await asyncio.sleep(0.02)
    return drawn(board)


def test_the_table_follows_values_alarms_catalogues_and_losses(monkeypatch):
    asyncio.run(follow(monkeypatch))


async def follow(monkeypatch):
    served = [TEMP, COUNT, MODE, ERROR, PVS]
    async with house(monkeypatch, []) as it, Client(f"127.0.0.1:{it.port}") as client:
        box = it.prefix + "BOX:"

        def post(**values):
            it.server.post(box, time.time_ns(), values)

        def catalogue(*signals):
            return Catalogue("BOX", "any", box, 1, False, signals).to_json()

        it.server.serve(box, served, it.put)
        board = Board(client, [box])
        assert "not served" in drawn(board)[1]
        post(PVS=catalogue(*served), TEMP=21.5, COUNT=3, MODE=1, ERROR="")
        lines = await until(board, "21.50 degC")
        assert [line.split()[0] for line in lines[1:]] == [box + "TEMP", box + "ERROR"]  # what the device is about
        assert lines[1].endswith("0 s Temperature")
        post(TEMP=31.0, MODE=Bad("it stopped", 0, Severity.MAJOR, Status.STATE), ERROR=LONG)
        lines = await until(board, "31.00 degC MINOR HIGH", "Idle MAJOR STATE", LONG)
        assert len(lines) == 4  # and what is in alarm
        named = Board(client, [box], ["BOX:C*"])
        lines = await until(named, "COUNT", "MODE", "TEMP")
        assert box + "COUNT 3 0 s Lines read" in lines
        post(TEMP=20.0, MODE=1, PVS=catalogue(TEMP, ERROR, PVS))  # the device has changed: COUNT and MODE are gone
        async with asyncio.timeout(DEADLINE):
            while [line.split()[0] for line in drawn(board)[1:]] != [box + "TEMP", box + "ERROR"]:
                await asyncio.sleep(0.02)
        it.server.withdraw([box + "PVS", box + "TEMP"])
        lines = await until(board, "nobody answers", "20.00 degC not served")
        assert lines[1].startswith(f"{box}* not served")


def test_what_does_not_fit_is_counted():
    class Nobody:
        def watch(self, name, on_reading):
            return None

    board = Board(Nobody(), ["LAB:BOX:"], ["*"])
    board.served["LAB:BOX:"] = True
    lines = [Line(f"LAB:BOX:N{n}", readback(f"N{n}")) for n in range(30)]
    board.lines["LAB:BOX:"] = {line.signal.name: line for line in lines}
    shown = drawn(board, 12)
    assert len(shown) == 11
    assert shown[-1].startswith("... 21 more")


@pytest.mark.parametrize(
    ("made", "value", "text"),
    [
        (readback("V", "V", precision=1), 12.34, "12.3 V"),
        (readback("T", "s", precision=12), 2.5e-9, "2.5e-09 s"),
        (readback("V", "V"), float("nan"), "-"),
        (readback("V", "V"), None, "-"),
        (MODE, 1, "Running"),
        (ERROR, "", ""),
    ],
)
def test_values_as_people_read_them(made, value, text):
    reading = Reading(value, 1, Severity.NO_ALARM, Status.NO_ALARM)
    assert value_text(Line("LAB:X", made, reading)) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-0.2, "0 s"), (59.4, "59 s"), (60, "1 min"), (7300, "2 h"), (200_000, "2 d")]
)
def test_ages(seconds, text):
    assert age_text(seconds) == text


def test_without_a_terminal_it_says_what_to_do(tmp_path, capsys):
    site = write_site(tmp_path, random_prefix(), "")
    assert main(["list", str(site), "--watch"]) == 2
    assert "needs a terminal" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # forkpty with threads; the child execs at once
def test_in_a_terminal_until_ctrl_c(tmp_path):
    prefix = random_prefix()
    device = '[[device]]\nname = "GAS"\ntype = "gas"\nlink = "tcp://127.0.0.1:1"\n'
    site = write_site(tmp_path, prefix, device)
    arguments = [sys.executable, "-m", "iocs", "list", str(site), "--watch"]
    environment = {**ca_environment(free_port()), "TERM": "xterm", "COLUMNS": "100", "LINES": "20"}
    child, terminal = pty.fork()
    if child == 0:
        os.execve(sys.executable, arguments, environment)
    said = b""
    while f"{prefix}GAS:*".encode() not in said:  # pytest's own deadline ends this if it never comes
        said += os.read(terminal, 65536)
    os.write(terminal, b"\x03")
    try:
        while said := os.read(terminal, 65536):
            pass
    except OSError:  # how Linux tells the end of a terminal
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(terminal)
