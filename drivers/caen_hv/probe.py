"""All that a supply says of itself, by questions alone: what to send along with a question about a unit.

Not all answers are in the manuals: the layout of BDALARM on eight channels, the limits of ISET in the LOW range,
whether zero-current compensation is there (ZCDTC, ZCADJ), how long an exchange takes. What a question can settle is
asked. What would need a SET, or a second connection, is not tried and is named at the end.
"""

import platform
from collections.abc import Callable

from drivers.caen_hv.client import Client, Unit
from drivers.caen_hv.line import Line, Priority
from drivers.caen_hv.parameters import N1470, alarm_bits, in_words, names
from drivers.caen_hv.protocol import ErrorReply, Reply, Request
from drivers.errors import LinkTimeout

UNDOCUMENTED = ("ZCDTC", "ZCADJ", "IMONH", "IMONL")  # of channels; with newer firmware, or not at all
ROUNDS = 20  # exchanges over which the latency is taken
UNTRIED = (
    "Not tried, as it would write or disturb: VSET above MAXV (refused or cut), a list of values in a SET, whether "
    "BDCLR or ON ends TRIP, what ends KILL, a second connection, the idle timeout."
)


async def probe(client: Client, tell: Callable[[int, int], None]) -> list[str]:
    """Ask everything of every board that answers; give the report as lines.

    Args:
        client: open.
        tell: is told of progress: questions answered, and how many there will be.

    Raises:
        LinkError: the link failed.
    """
    channel_pars = [par.name for par in N1470.values() if not par.board and par.kind != "order"]
    board_pars = [par.name for par in N1470.values() if par.board and par.kind != "order"]
    total = len(client.units) * (len(channel_pars) + len(UNDOCUMENTED) + len(board_pars) + ROUNDS)
    done = 0
    report = [f"link        {client.link.address}", f"driver      Python {platform.python_version()}"]
    for board, unit in client.units.items():
        report += ["", *_identity(unit)]
        for par in (*board_pars, *channel_pars, *UNDOCUMENTED):
            channel = None if par in board_pars else unit.channels
            report.append(f"{par:<11} {await _said(client.line, Request(board, par, channel))}{_unit_of(par)}")
            done += 1
            tell(done, total)
        report += [_stat(await client.read(board, "STAT")), _alarm(unit, await client.read(board, "BDALARM"))]
        latencies = []
        for _round in range(ROUNDS):
            await client.read(board, "VMON", Priority.SLOW)
            latencies.append(client.counts.latency * 1e3)
            done += 1
            tell(done, total)
        latencies.sort()
        report.append(
            f"latency     {latencies[0]:.1f} ms at best, {latencies[len(latencies) // 2]:.1f} in the middle, "
            f"{latencies[-1]:.1f} at worst, of {ROUNDS} reads of VMON"
        )
    silent = [str(board) for board in client.boards if board not in client.units]
    if silent:
        report += ["", f"no answer from board {', '.join(silent)}"]
    counts = client.counts
    report += [
        "",
        f"exchanges   {counts.exchanges}, timeouts {counts.timeouts}, out of step {counts.desyncs}, "
        f"stale bytes {counts.stale_bytes}",
        UNTRIED,
    ]
    return report


def _identity(unit: Unit) -> list[str]:
    lines = [
        f"board {unit.board}     {unit.model}, {unit.channels} channels, firmware {unit.firmware}, serial {unit.serial}"
    ]
    for name in ("VSET", "ISET", "MAXV", "RUP", "RDW", "TRIP"):
        ranges = {
            f"{each[name].minimum:g} .. {each[name].maximum:g} {N1470[name].unit} in steps of {each[name].step:g}"
            for each in unit.limits
            if name in each
        }
        lines.append(f"  {name:<9} {'; '.join(sorted(ranges)) or 'its limits are not told'}")
    return lines


async def _said(line: Line, request: Request) -> str:
    """Give the text of the answer as it came, or in words what came in its place."""
    said: list[str] = []

    def take(reply: Reply) -> None:
        said.append(";".join(reply.values))

    try:
        await line.ask(request, Priority.SLOW, take)
    except ErrorReply as error:
        return f"{error.kind}:ERR"
    except LinkTimeout as error:
        return f"no answer ({error})"
    return said[-1]


def _unit_of(par: str) -> str:
    return f" {N1470[par].unit}" if par in N1470 and N1470[par].unit else ""


def _stat(values: tuple[float | int | str, ...]) -> str:
    return "status      " + "; ".join(f"CH{n} {in_words(int(value))}" for n, value in enumerate(values))


def _alarm(unit: Unit, values: tuple[float | int | str, ...]) -> str:
    bits = alarm_bits(unit.channels)
    value = int(values[0])
    said = ", ".join(names(value, bits)) or "none"
    note = "" if bits else f" (the bits of {unit.channels} channels are not documented)"
    return f"alarms      {said}{note}"
