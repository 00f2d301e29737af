"""Whether a supply is set as the site file says (pure): what `iocs check --online` reports."""

from collections.abc import Mapping, Sequence
from typing import Any

from iocs.config import Finding
from iocs.hv.channel import same
from iocs.hv.limits import UNITS
from iocs.hv.settings import HvSettings
from iocs.hv.shape import BoardShape, Range

Read = Mapping[str, Sequence[Any]]


def compare(settings: HvSettings, board: BoardShape, read: Read) -> list[Finding]:
    """Compare one board with the site file.

    Args:
        settings: the supply's table.
        board: what the board says it is.
        read: what it is set to: for each parameter (VSET in V, ISET in uA, POL ...) a value a channel.
    """
    found = _identity(settings, board)
    count = len(board.channels)
    for key in settings.channel:
        if settings.on_board(key) == board.board and settings.number(key) >= count:
            found.append(Finding(False, f"[device.channel.{key}]: the unit has channels 0 to {count - 1}"))
    for number in range(count):
        place = settings.place(board.board, number)
        found += _channel(settings, board, number, place, {name: values[number] for name, values in read.items()})
    return found


def _identity(settings: HvSettings, board: BoardShape) -> list[Finding]:
    found = [Finding(True, f"board {board.board}: {board}")]
    if settings.serials:
        wanted = settings.serials[settings.boards.index(board.board)]
        good = wanted == board.serial
        text = "as expected" if good else f"the site file says {wanted}"
        found.append(Finding(good, f"board {board.board}: serial number {board.serial}, {text}"))
    return found


def _channel(
    settings: HvSettings, board: BoardShape, number: int, place: str, read: Mapping[str, Any]
) -> list[Finding]:
    table, spans = settings.table(board.board, number), board.channels[number]
    wanted = table.expect.given
    if table.polarity is not None:
        wanted["POL"] = table.polarity
    found = [_compared(place, name, read[name], value, spans.get(name)) for name, value in wanted.items()]
    for name, span in sorted(spans.items()):
        highest = settings.ceiling(f"{place}{name}", span.high)
        if isinstance(read.get(name), float) and read[name] > highest:
            text = (
                f"{place}{name} is {read[name]:g} {UNITS[name]}, above the {highest:g} {UNITS[name]} that are allowed"
            )
            found.append(Finding(False, text))
    return found


def _compared(place: str, name: str, value: Any, wanted: Any, span: Range | None) -> Finding:
    unit = f" {UNITS[name]}" if name in UNITS else ""
    said = f"{place}{name} is {value:g}{unit}" if isinstance(value, float) else f"{place}{name} is {value}"
    if same(wanted, value, span):
        return Finding(True, f"{said}, as expected")
    return Finding(False, f"{said}, expected {wanted:g}{unit}" if unit else f"{said}, expected {wanted}")
