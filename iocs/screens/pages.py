"""The screens of a site (pure): all devices, one device, the channels of one kind, all from catalogues."""

from collections.abc import Sequence

from iocs.screens import plots, text
from iocs.screens.bob import BOLD, HEADER, HEADER_TEXT, TITLE, Widget, display
from iocs.screens.box import MARGIN, boxes, packed
from iocs.screens.families import Family, Line, families, groups, is_switch, key_signals, lines
from iocs.screens.widgets import (
    GAP,
    LED,
    PITCH,
    ROW,
    is_button,
    label,
    lamp,
    opens,
    readback,
    readback_width,
    setpoint,
    setpoint_width,
)
from iocs.signals import Archive, Catalogue, Direction, Kind, Level, Severity, Signal

WIDTH = 1400
INNER = WIDTH - 2 * MARGIN
PLOT = 320  # height of a plot
HEAD = 44  # height of a screen's head
MAIN = "main.bob"
_BUTTON = 90
_HEADED = ("ONLINE", "STATE", "SIM", "AGE", "ERROR", "LASTREJECT")  # what a device's head shows
_TEXT = 380  # least width of a text in a channel's row
_KEYS = 5  # values of a device on the main screen


def screens(site: str, catalogues: Sequence[Catalogue]) -> dict[str, str]:
    """Give the text of each file by its name.

    Args:
        site: the site's name, the title of the main screen.
        catalogues: of all devices, in the order in which they shall stand.
    """
    files = {MAIN: main(site, catalogues)}
    for catalogue in catalogues:
        files |= device(catalogue)
    return dict(sorted(files.items()))


def prefix_of(catalogue: Catalogue) -> str:
    """Give what stands before a device's PVs; the site's part is a macro that whoever opens the screen may set."""
    own = f"{catalogue.device}:"
    return f"$(P={catalogue.prefix.removesuffix(own)}){own}"


def _head(title: str, up: tuple[str, str] | None) -> list[Widget]:
    buttons = 2 * (_BUTTON + GAP) + MARGIN if up else 0
    bar = Widget("rectangle", "Head", 0, 0, WIDTH, HEAD, {"background_color": HEADER, "line_width": 0})
    room = WIDTH - 2 * MARGIN - buttons
    head = [bar, label(title, 2 * MARGIN, 0, room, font=TITLE, height=HEAD, foreground_color=HEADER_TEXT)]
    if up is None:
        return head
    at = WIDTH - buttons
    home = opens("Home", MAIN, at, 9, _BUTTON, height=26)
    return [*head, home, opens(up[0], up[1], at + _BUTTON + GAP, 9, _BUTTON, height=26)]


# Main


def main(site: str, catalogues: Sequence[Catalogue]) -> str:
    """Give the main screen: of each device whether it is online, what is wrong, some values, the way to its screen."""
    widgets = _head(site, None)
    names = max((text.width(catalogue.device, BOLD) for catalogue in catalogues), default=0) + 30
    y = HEAD + MARGIN
    heads = (("Device", 0, names), ("State", names + GAP + LED + GAP, 120), ("Error", names + 180, 400))
    widgets += [label(words, MARGIN + x, y, wide, font=BOLD) for words, x, wide in heads]
    y += PITCH
    for catalogue in catalogues:
        widgets += _device_row(catalogue, y, names)
        y += 2 * PITCH + GAP
    return display(site, WIDTH, y + MARGIN, widgets)


def _device_row(catalogue: Catalogue, y: int, names: int) -> list[Widget]:
    prefix = prefix_of(catalogue)
    by_name = {signal.name: signal for signal in catalogue.signals}
    row = [opens(catalogue.device, f"{catalogue.device}.bob", MARGIN, y, names)]
    x = MARGIN + names + GAP
    if "ONLINE" in by_name:
        row.append(lamp(by_name["ONLINE"], prefix, x, y + (ROW - LED) // 2))
    x += LED + GAP
    if "STATE" in by_name:
        row.append(readback(by_name["STATE"], prefix, x, y, 130))
    if "ERROR" in by_name:
        at = MARGIN + names + 180
        row.append(readback(by_name["ERROR"], prefix, at, y, WIDTH - MARGIN - at))
    x = MARGIN + names + GAP
    for name, signal in _keys(catalogue):
        words, value = text.width(name), readback_width(signal)
        if x + words + GAP + value > WIDTH - MARGIN:
            break
        row.append(label(name, x, y + PITCH, words, tooltip=signal.doc))
        row.append(readback(signal, prefix, x + words + GAP, y + PITCH, value))
        x += words + GAP + value + 2 * GAP
    return row


def _keys(catalogue: Catalogue) -> list[tuple[str, Signal]]:
    return [(signal.name, signal) for signal in key_signals(catalogue.signals)][:_KEYS]


# A device


def device(catalogue: Catalogue) -> dict[str, str]:
    """Give the screen of a device, and those of its channels alike, by the name of their files."""
    prefix, name = prefix_of(catalogue), catalogue.device
    by_name = {signal.name: signal for signal in catalogue.signals}
    found, left = families(groups([each for each in catalogue.signals if each.name not in (*_HEADED, "PVS")]))
    urgent = [each for signals in left.values() for each in signals if _is_urgent(each)]
    left = {title: [each for each in left[title] if each not in urgent] for title in sorted(left, key=_last)}
    files: dict[str, str] = {}
    widgets = _head(f"{name}  ({catalogue.kind})", ("Up", MAIN))
    x = WIDTH - MARGIN
    for signal in reversed(urgent):
        wide = setpoint_width(signal) + 2 * GAP
        x -= wide + GAP
        widgets.append(setpoint(signal, prefix, x + GAP, HEAD + MARGIN, wide))
    y = _about(widgets, by_name, prefix, HEAD + MARGIN)
    for family in found:
        row, columns = _channel_row(family, prefix, name)
        files[f"{name}_{family.name}_row.bob"] = row
        files[f"{name}_{family.name}.bob"] = channel(family, prefix, name)
        y = _table(widgets, family, columns, name, y)
    y = _plots(widgets, catalogue, found, left, prefix, y)
    placed, y = packed(
        [box for title, signals in left.items() for box in boxes(title, signals)], prefix, MARGIN, y, INNER
    )
    files[f"{name}.bob"] = display(name, WIDTH, y + MARGIN, widgets + placed)
    return files


def _last(title: str) -> bool:
    """What every device has stands after what this one is about."""
    return title == "Device"


def _is_urgent(signal: Signal) -> bool:
    """Whether it stands at the top of a device's screen: what stops all, and an operator may need in a hurry."""
    return is_button(signal) and signal.confirm and signal.level is Level.OPERATOR


def _about(widgets: list[Widget], by_name: dict[str, Signal], prefix: str, y: int) -> int:
    """The lines below a device's head: whether it is online, what is wrong, what was refused."""
    x = MARGIN
    if "ONLINE" in by_name:
        widgets.append(lamp(by_name["ONLINE"], prefix, x, y + (ROW - LED) // 2))
        x += LED + GAP
    for name in ("STATE", "SIM", "AGE"):
        if name not in by_name:
            continue
        words, value = text.width(name), readback_width(by_name[name])
        widgets.append(label(name, x, y, words, tooltip=by_name[name].doc))
        widgets.append(readback(by_name[name], prefix, x + words + GAP, y, value))
        x += words + GAP + value + 3 * GAP
    labels = max(text.width(name) for name in ("ERROR", "LASTREJECT"))
    for name in ("ERROR", "LASTREJECT"):
        if name in by_name:
            y += PITCH
            widgets.append(label(name, MARGIN, y, labels, tooltip=by_name[name].doc))
            start = MARGIN + labels + GAP
            widgets.append(readback(by_name[name], prefix, start, y, WIDTH - MARGIN - start))
    return y + PITCH + MARGIN


def _plots(
    widgets: list[Widget],
    catalogue: Catalogue,
    found: Sequence[Family],
    left: dict[str, list[Signal]],
    prefix: str,
    y: int,
) -> int:
    """Strip chart, waveforms and phasors, two beside each other."""
    drawn = [plot for family in found for plot in plots.waveforms(family.signals, prefix, family)]
    drawn += [plot for signals in left.values() for plot in plots.waveforms(signals, prefix)]
    drawn += plots.phasors(catalogue.signals, prefix)
    curves = [(signal.name, prefix + signal.name, signal.unit) for signal in key_signals(catalogue.signals)]
    return _beside(widgets, curves, drawn, y)


def _beside(widgets: list[Widget], curves: list[tuple[str, str, str]], drawn: Sequence[plots.Plot], y: int) -> int:
    count = bool(curves) + len(drawn)
    beside = 1 if count < 2 else 3 if count == 3 else 2
    each = (INNER + MARGIN) // beside - MARGIN
    places = [
        (MARGIN + number % beside * (each + MARGIN), y + number // beside * (PLOT + MARGIN)) for number in range(count)
    ]
    if curves:
        widgets.append(plots.last_hour(curves, *places.pop(0), each, PLOT))
    widgets += [plots.xy(plot, *place, each, PLOT) for plot, place in zip(drawn, places, strict=True)]
    return y + -(-count // beside) * (PLOT + MARGIN)


# Channels alike


def channel(family: Family, prefix: str, name: str) -> str:
    """Give the screen of one channel with all its signals; which one is told by the macros CH and NAME."""
    prefix = f"{prefix}$(CH):"
    widgets = _head(f"{name}  $(NAME)", ("Up", f"{name}.bob"))
    y = _beside(widgets, _curves(family, prefix), plots.waveforms(family.signals, prefix), HEAD + MARGIN)
    puts = [line for line in lines(family.signals) if line.setpoint]
    asked = {signal.name for line in puts for signal in line.signals}
    parts = (
        ("Settings", [signal for signal in family.signals if signal.name in asked]),
        ("Readings", [signal for signal in family.signals if signal.name not in asked]),
    )
    placed, y = packed([box for title, part in parts for box in boxes(title, part)], prefix, MARGIN, y, INNER)
    return display(f"{name} {family.name}", WIDTH, y + MARGIN, widgets + placed)


def _curves(family: Family, prefix: str) -> list[tuple[str, str, str]]:
    return [(signal.name, prefix + signal.name, signal.unit) for signal in key_signals(family.signals)]


_Column = tuple[Line, int, int]  # what, x, width


def _channel_row(family: Family, prefix: str, name: str) -> tuple[str, list[_Column]]:
    """Give the row of a channel, to be embedded, and its columns."""
    prefix = f"{prefix}$(CH):"
    heading = max(text.width(title, BOLD) for _, title in family.members) + 30
    told = {"CH": "$(CH)", "NAME": "$(NAME)"}  # P, if the screen was opened with one, is handed on by itself
    row = [opens("$(NAME)", f"{name}_{family.name}.bob", 0, 2, heading, macros=told)]
    columns: list[_Column] = []
    x = heading + 2 * GAP
    for line in _in_order(family):
        wide = _width(line)
        if x + wide > INNER:
            continue
        columns.append((line, x, wide))
        x += wide + 2 * GAP
    declared = {line.label: number for number, line in enumerate(lines(family.signals))}
    texts = [column for column in columns if column[0].signals[0].kind is Kind.STR]
    columns.sort(key=lambda column: (column in texts, declared[column[0].label]))
    x, placed = heading + 2 * GAP, []
    for line, _, wide in columns:
        if (line, _, wide) == columns[-1] and line.signals[0].kind is Kind.STR:
            wide = INNER - x  # the last text has the rest of the row
        placed.append((line, x, wide))
        row += _cells(line, prefix, x, wide)
        x += wide + 2 * GAP
    return display(f"{name} {family.name} row", INNER, PITCH, row), placed


def _in_order(family: Family) -> list[Line]:
    """The lines of a channel, what operators need most first; what experts set, arrays and words are left out."""
    found = [line for line in lines(family.signals) if all(s.kind is not Kind.TEXT for s in line.signals)]
    return [
        line for _, line in sorted(((_rank(line), line) for line in found), key=lambda pair: pair[0]) if _rank(line) < 9
    ]


def _rank(line: Line) -> int:
    first = line.signals[0]
    if first.writable and first.level is Level.EXPERT:
        return 9
    if first.direction is Direction.SETPOINT and is_switch(first):
        return 0
    if first.row and first.kind is not Kind.INT:
        return 1
    if first.kind is Kind.ENUM and max(first.state_severities, default=0) == Severity.MAJOR and ":" not in first.name:
        return 2
    if first.kind is Kind.STR and first.archive is Archive.MONITOR:
        return 3
    if first.writable:
        return 4
    if first.kind is Kind.FLOAT and first.archive is Archive.MONITOR:
        return 5
    return 9


def _width(line: Line) -> int:
    first = line.signals[0]
    parts = [setpoint_width(line.setpoint, unit=False)] if line.setpoint else []
    parts += [_TEXT if each.kind is Kind.STR else readback_width(each, unit=False) for each in line.readbacks]
    return max(sum(parts) + GAP * (len(parts) - 1), text.width(_title(line), BOLD) if not is_button(first) else 0)


def _title(line: Line) -> str:
    unit = line.signals[0].unit
    return f"{line.label} ({unit})" if unit else line.label


def _cells(line: Line, prefix: str, x: int, wide: int) -> list[Widget]:
    cells, left = [], x
    for signal in line.signals:
        last = signal is line.signals[-1]
        need = setpoint_width(signal, unit=False) if signal.writable else readback_width(signal, unit=False)
        room = x + wide - left if last else need
        show = setpoint if signal.writable else readback
        cells.append(show(signal, prefix, left, 3, room, unit=False))
        left += need + GAP
    return cells


def _table(widgets: list[Widget], family: Family, columns: Sequence[_Column], name: str, y: int) -> int:
    """The channels below each other, with the columns' names above."""
    for line, x, wide in columns:
        if not is_button(line.signals[0]):
            widgets.append(label(_title(line), MARGIN + x, y, wide, font=BOLD, tooltip=line.signals[0].doc))
    y += PITCH
    for place, title in family.members:
        file = {"file": f"{name}_{family.name}_row.bob", "macros": {"CH": place, "NAME": title}, "resize": 0}
        widgets.append(Widget("embedded", title, MARGIN, y, INNER, PITCH, file))
        y += PITCH
    return y + MARGIN
