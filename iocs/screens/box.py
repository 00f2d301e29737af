"""A titled box of lines (pure): label, setpoint, readback in columns, and boxes packed into the columns of a screen."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from iocs.screens import text
from iocs.screens.bob import BACKGROUND, BOLD, COMMENT, HEADER, HEADER_TEXT, Widget
from iocs.screens.families import Line, is_switch, lines, place_of, words
from iocs.screens.widgets import GAP, LED, PITCH, is_button, label, readback, readback_width, setpoint, setpoint_width
from iocs.signals import Kind, Signal

TITLE = 26  # height of a box' title, px
TALL = 4  # lines that a long text gets
COLUMNS = 2  # of boxes: so wide that most lines have room for a sentence that says what they mean
BUTTON = 160  # widest button, px, unless its text is longer
MARGIN = 10


@dataclass(frozen=True, slots=True)
class Box:
    """What stands under one title.

    Attributes:
        title: as people read it.
        lines: label with setpoint and readbacks.
        lamps: switches that are only read, several to a line.
        commands: buttons, several to a line.
    """

    title: str
    lines: tuple[Line, ...]
    lamps: tuple[Line, ...]
    commands: tuple[Line, ...]

    @property
    def columns(self) -> tuple[int, int, int, int]:
        """Widths of the label, of the two cells of lines that have two, and of the only cell of the others."""
        labels = max((text.width(line.label) for line in self.lines), default=0)
        pairs = [line.signals for line in self.lines if len(line.signals) > 1]
        left = max((_needs(pair[0]) for pair in pairs), default=0)
        right = max((_needs(pair[1]) for pair in pairs), default=0)
        lone = max(
            (_needs(line.signals[0]) for line in self.lines if len(line.signals) == 1 and not _wide(line)), default=0
        )
        return labels, left, right, lone

    @property
    def natural(self) -> int:
        """The width that it needs."""
        labels, left, right, lone = self.columns
        long = max((_needs(line.signals[0]) for line in self.lines if _wide(line)), default=0)
        body = labels + GAP + max(left + GAP + right, lone, long)
        return 2 * MARGIN + max(text.width(self.title, BOLD), body, *(each for _, each in self._parts()))

    @staticmethod
    def _lamp(line: Line) -> int:
        return LED + GAP + text.width(line.label)

    def _grid(self, width: int, each: int, count: int) -> tuple[int, int]:
        """How many fit beside each other, and how many lines that makes."""
        beside = max(1, min(count, (width - 2 * MARGIN + GAP) // (each + GAP)))
        return beside, -(-count // beside)

    def height(self, width: int) -> int:
        """The height that it needs at a width."""
        rows = sum(_rows(line) for line in self.lines)
        for part, each in self._parts():
            rows += self._grid(width, each, len(part))[1] if part else 0
        return TITLE + MARGIN + rows * PITCH + MARGIN - (PITCH - 22)

    def _parts(self) -> tuple[tuple[tuple[Line, ...], int], ...]:
        lamps = max((self._lamp(line) for line in self.lamps), default=0)
        buttons = max((setpoint_width(line.signals[0]) for line in self.commands), default=0)
        return (self.lamps, lamps), (self.commands, buttons)

    def widget(self, prefix: str, x: int, y: int, width: int) -> Widget:
        """Give the box as a group."""
        height = self.height(width)
        frame = Widget("rectangle", "Frame", 0, 0, width, height, {"line_width": 1, "line_color": HEADER})
        frame.properties |= {"background_color": BACKGROUND}
        head = label(self.title, 0, 0, width, font=BOLD, height=TITLE, foreground_color=HEADER_TEXT)
        head.properties |= {"background_color": HEADER, "transparent": False, "horizontal_alignment": 1}
        inside = [frame, head]
        labels, first, second, lone = self.columns
        right = width - MARGIN  # values stand at the right edge, below each other
        at = TITLE + MARGIN
        for line in self.lines:
            inside += _line(line, prefix, at, right, (labels, first, second, lone))
            at += PITCH * _rows(line)
        for (part, each), kind in zip(self._parts(), ("lamp", "button"), strict=True):
            at = self._many(inside, part, each, kind, prefix, at, width)
        return Widget("group", self.title, x, y, width, height, {"style": 3}, inside)

    def _many(
        self, inside: list[Widget], part: Sequence[Line], each: int, kind: str, prefix: str, at: int, width: int
    ) -> int:
        if not part:
            return at
        beside, rows = self._grid(width, each, len(part))
        step = (width - 2 * MARGIN + GAP) // beside
        for place, line in enumerate(part):
            x, y = MARGIN + place % beside * step, at + place // beside * PITCH
            signal = line.signals[0]
            if kind == "lamp":
                inside.append(readback(signal, prefix, x, y, LED))
                inside.append(label(line.label, x + LED + GAP, y, step - LED - 2 * GAP, tooltip=signal.doc))
            else:
                inside.append(setpoint(signal, prefix, x, y, min(step - GAP, max(each, BUTTON)), words=line.label))
        return at + rows * PITCH


def _wide(line: Line) -> bool:
    """Whether the line is a text, which takes all the room that there is."""
    return len(line.signals) == 1 and line.signals[0].kind in (Kind.STR, Kind.TEXT)


def _needs(signal: Signal) -> int:
    return setpoint_width(signal) if signal.writable else readback_width(signal)


def _rows(line: Line) -> int:
    """How many lines it takes: a long text stands below its label."""
    return 1 + TALL if _wide(line) and line.signals[0].kind is Kind.TEXT else 1


def _line(line: Line, prefix: str, y: int, right: int, columns: tuple[int, int, int, int]) -> list[Widget]:
    labels, first, second, lone = columns
    signal, start = line.signals[0], MARGIN + labels + GAP
    show = setpoint if signal.writable else readback
    name = label(line.label, MARGIN, y, labels, tooltip=signal.doc)
    if _rows(line) > 1:
        long = show(signal, prefix, MARGIN, y + PITCH - 4, right - MARGIN)
        long.height = TALL * PITCH - 6
        return [name, long]
    if _wide(line):
        return [name, show(signal, prefix, start, y, right - start)]
    if len(line.signals) == 1:
        need = LED if show is readback and is_switch(signal) else lone
        left = right - need
        values = [show(signal, prefix, left, y, need)]
    else:
        left = right - second - GAP - first
        values = [show(signal, prefix, left, y, first)]
        values.append(readback(line.signals[1], prefix, right - second, y, second))
    return [name, *_comment(signal.doc, start, y, left - GAP - start), *values]


def _comment(doc: str, x: int, y: int, room: int) -> list[Widget]:
    """What a line means, in words, where there is room for it; the tooltip of its label has it always."""
    wide = text.width(doc, COMMENT)
    return [label(doc, x, y, wide, font=COMMENT)] if doc and wide <= room else []


def boxes(title: str, signals: Sequence[Signal]) -> list[Box]:
    """Put the scalars of a group into boxes: one, and one for each status word's bits."""
    place = place_of(signals)
    bits = words(signals)
    in_bits = {signal.name for found in bits.values() for signal in found}
    made = [_box(title, [signal for signal in signals if signal.name not in in_bits], place)]
    made += [_box(f"{title}: {parent.removeprefix(f'{place}:')}", found, parent) for parent, found in bits.items()]
    return [box for box in made if box.lines or box.lamps or box.commands]


def _box(title: str, signals: Sequence[Signal], place: str) -> Box:
    found = lines(signals, f"{place}:" if place else "")
    lamps = tuple(line for line in found if not line.setpoint and is_switch(line.readbacks[0]))
    commands = tuple(line for line in found if line.setpoint and is_button(line.setpoint))
    return Box(title, tuple(line for line in found if line not in lamps and line not in commands), lamps, commands)


def packed(all_boxes: Iterable[Box], prefix: str, x: int, y: int, width: int) -> tuple[list[Widget], int]:
    """Pack boxes into columns of one width, each into the shortest column so far; gives them and the lower end."""
    waiting = list(all_boxes)
    if not waiting:
        return [], y
    widest = max(box.natural for box in waiting)
    count = max(1, min(len(waiting), COLUMNS, (width + MARGIN) // (widest + MARGIN)))
    each = (width + MARGIN) // count - MARGIN
    ends = [y] * count
    placed = []
    for box in waiting:
        column = ends.index(min(ends))
        placed.append(box.widget(prefix, x + column * (each + MARGIN), ends[column], each))
        ends[column] += box.height(each) + MARGIN
    return placed, max(ends)
