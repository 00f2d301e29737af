"""The PVs of a supply (pure): what each channel has, each board, and the line as a whole.

Of several boards each has `Bn:` before its names; of one board nothing stands there.
"""

import math
from typing import Any

from drivers.caen_hv.parameters import STAT, alarm_bits
from iocs.hv.settings import HvSettings
from iocs.hv.shape import BoardShape, Range, from_plain
from iocs.hv.status import SEVERITY, WHILE_STEADY
from iocs.hv.trip import STEP, VALUES
from iocs.signals import MONITOR, Level, Severity, Signal, command, readback, setpoint

PDWN = ("KILL", "RAMP")
IMRANGE = ("HIGH", "LOW")
POL = ("+", "-")
ON = ("Off", "On")
NO_YES = ("No", "Yes")
GOOD = Severity.NO_ALARM
EXPERT, OPERATOR = Level.EXPERT, Level.OPERATOR

# name, unit, who may put, what it is
NUMBERS = (
    ("VSET", "V", OPERATOR, "Voltage asked for (magnitude)"),
    ("ISET", "uA", OPERATOR, "Current limit"),
    ("MAXV", "V", EXPERT, "Ceiling of VSET, kept in the unit"),
    ("RUP", "V/s", EXPERT, "Rate of ramping up"),
    ("RDW", "V/s", EXPERT, "Rate of ramping down"),
    ("TRIP", "s", EXPERT, "Over-current time until a trip"),
)
CHOICES = (
    ("PDWN", PDWN, EXPERT, "How OFF, trip and interlock end"),
    ("IMRANGE", IMRANGE, EXPERT, "Range of the current meter"),
    ("ON", ON, OPERATOR, "Output switched on"),
)
OF_A_CHANNEL = frozenset((*(name for name, *_ in NUMBERS), "VMON", "IMON", "IMONH", "IMONL", "RAMPETA"))


def signals(settings: HvSettings, shape: Any) -> list[Signal]:
    """Give the signals of all boards; those of a board's channels only when it has told them once."""
    boards = {board.board: board for board in from_plain(shape)}
    result: list[Signal] = []
    for number in settings.boards:
        board = boards.get(number)
        if board is not None:
            for channel in range(len(board.channels)):
                result += _channel(settings, board, channel)
        result += _board(settings, number, len(board.channels) if board is not None else 0)
    own_dog = settings.watchdog is not None and settings.watchdog.pv is None
    return result + list(LINE) + ([WATCHDOG] if own_dog else [])


def _channel(settings: HvSettings, board: BoardShape, number: int) -> list[Signal]:
    place, row = settings.place(board.board, number), f"{settings.head(board.board)}ROW"
    spans = board.channels[number]
    people = settings.table(board.board, number).name
    title = f"{people}: " if people else ""
    group = f"{place[:-1]} {people}".strip()

    def read(name: str, unit: str = "", *, doc: str, **options: Any) -> Signal:
        return readback(f"{place}{name}", unit, doc=title + doc, group=group, **options)

    result: list[Signal] = []
    for name, unit, level, doc in NUMBERS:
        span = spans.get(name)  # what the unit does not tell the limits of cannot be put
        in_row = row if name in ("VSET", "ISET") else ""
        shared = {"precision": span.decimals, "limits": (span.low, span.high)} if span else {}
        if (
            span and name == "ISET"
        ):  # its limits change with IMRANGE: those of the site file need not fit in both ranges
            widest = max(span.high, settings.ceiling(f"{place}{name}", math.inf, default=span.high))
            shared["limits"] = (span.low, widest)
        if span:
            title_doc = title + doc
            result.append(
                setpoint(f"{place}{name}", unit, level=level, row=in_row, doc=title_doc, group=group, **shared)
            )
        result.append(read(f"{name}_RBV", unit, doc=f"{doc}, as the unit says", archive=MONITOR, **shared))
    for name, states, level, doc in CHOICES:
        result += [
            setpoint(f"{place}{name}", type=states, level=level, confirm=name == "ON", doc=title + doc, group=group),
            read(f"{name}_RBV", type=states, doc=f"{doc}, as the unit says", archive=MONITOR),
        ]
    volts = spans.get("VSET", Range(0.0, 0.0, 1))
    full = (0.0, max(volts.high, 0.0))
    result += [
        read("VMON", "V", precision=volts.decimals, limits=full, row=row, doc="Measured voltage (magnitude)"),
        read("IMON", "uA", precision=3, row=row, doc="Measured current, whatever the range"),
        read("IMONH", "uA", precision=2, doc="IMON in the HIGH range, else INVALID"),
        read("IMONL", "uA", precision=3, doc="IMON in the LOW range, else INVALID"),
        read("POL", type=POL, archive=MONITOR, doc="Polarity switch"),
        read("STAT", type=int, row=row, doc="Status word"),
        *(
            read(
                f"STAT:{bit.name}",
                type=NO_YES,
                state_severities=() if bit.name in WHILE_STEADY else (GOOD, SEVERITY[bit.severity]),
                doc=f"STAT bit {bit.number}: {bit.doc}",
            )
            for bit in STAT
        ),
        read("STATUS", type=str, archive=MONITOR, doc="How the channel is, in words"),
        read("RAMPING", type=NO_YES, doc="Output is ramping, up or down"),
        read("ATTARGET", type=NO_YES, doc="On, not ramping, and VMON at VSET"),
        read("RAMPETA", "s", precision=0, doc="Time until the ramp is done"),
        read("LIVE", type=NO_YES, archive=MONITOR, doc="On, or VMON above the safe voltage"),
        *(
            setpoint(
                f"{place}{name[0]}SOFTMAX",
                unit,
                level=EXPERT,
                precision=spans[name].decimals,
                limits=(0.0, settings.ceiling(f"{place}{name}", spans[name].high)),
                archive=MONITOR,
                group=group,
                doc=f"{title}Experts' own ceiling of {name}",
            )
            for name, unit in (("VSET", "V"), ("ISET", "uA"))
            if name in spans
        ),
        read("TRIPPED", type=NO_YES, state_severities=(GOOD, Severity.MAJOR), archive=MONITOR, doc="A trip is latched"),
        read("TRIPCAUSE", type=str, archive=MONITOR, doc="Why it tripped last"),
        read("TRIPTIME", type=str, doc="When it tripped last (UTC)"),
        read("TRIPCOUNT", type=int, archive=MONITOR, doc="Trips so far"),
        read("IHIST", "uA", count=VALUES, doc=f"IMON before the trip, one each {STEP:g} s"),
        command(f"{place}TRIPCLEAR", confirm=True, doc=title + "Clear a trip: VSET 0, OFF, BDCLR", group=group),
    ]
    return result


def _board(settings: HvSettings, number: int, channels: int) -> list[Signal]:
    head = settings.head(number)
    group = f"Board {number}" if head else "Supply"
    bits = alarm_bits(channels) if channels else ()

    def read(name: str, unit: str = "", **options: Any) -> Signal:
        return readback(f"{head}{name}", unit, group=group, **options)

    return [
        read("MODEL", type=str, doc="Model (BDNAME)"),
        read("SERIAL", type=str, archive=MONITOR, doc="Serial number (BDSNUM)"),
        read("FIRMWARE", type=str, archive=MONITOR, doc="Firmware release (BDFREL)"),
        read("NCH", type=int, doc="Number of channels (BDNCH)"),
        read(
            "CTRLMODE",
            type=("LOCAL", "REMOTE"),
            state_severities=(Severity.MINOR, GOOD),
            archive=MONITOR,
            doc="Who may set (BDCTR)",
        ),
        read(
            "INTERLOCK",
            type=("Clear", "Active"),
            state_severities=(GOOD, Severity.MAJOR),
            archive=MONITOR,
            doc="Interlock (BDILK)",
        ),
        read("ILKMODE", type=("OPEN", "CLOSED"), archive=MONITOR, doc="Contact that the interlock wants (BDILKM)"),
        read("ALARM", type=int, archive=MONITOR, doc="Alarm word of the board (BDALARM)"),
        *(
            read(
                f"ALARM:{bit.name}",
                type=NO_YES,
                state_severities=(GOOD, SEVERITY[bit.severity]),
                doc=f"BDALARM bit {bit.number}: {bit.doc}",
            )
            for bit in bits
        ),
        command(f"{head}CLEARALARM", group=group, doc="Clear the latched alarms of the board (BDCLR)"),
    ]


LINE = (
    command("ALLOFF", confirm=True, group="Line", doc="Switch all channels off, at once"),
    command("ALLSTANDBY", confirm=True, group="Line", doc="Lower all channels to standby; off where there is none"),
    setpoint("READONLY", type=NO_YES, level=EXPERT, group="Line", doc="1: nothing at all is written, OFF neither"),
    readback("LATENCY", "ms", precision=1, group="Line", doc="Time that the unit takes for an answer"),
    readback("TIMEOUTS", type=int, archive=MONITOR, group="Line", doc="Answers that did not come, since the start"),
    readback("DESYNCS", type=int, archive=MONITOR, group="Line", doc="Times that the line lost step, since the start"),
)
WATCHDOG = setpoint("WATCHDOG", type=int, group="Interlocks", doc="Must go on changing, or the supply goes to standby")
