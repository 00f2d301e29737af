"""One signal as a widget (pure): what is read, what may be put, and how wide it has to be."""

from typing import Any

from iocs.screens import text
from iocs.screens.bob import BOLD, BUTTON, INVALID, MAJOR, MINOR, OFF, OK, ON, PLAIN, Color, Font, Widget
from iocs.screens.families import is_switch
from iocs.signals import Direction, Kind, Severity, Signal

ROW = 22  # height of a line's widgets, px; a line needs PITCH, so that alarm borders do not touch
PITCH = 28
GAP = 8
LED = 18
_PADDING = 12  # between a text and the edge of its widget, both sides together
_MOST = 200  # widest that a short text gets
_LONG = 260  # a text of unknown length
_COLORS = {Severity.NO_ALARM: None, Severity.MINOR: MINOR, Severity.MAJOR: MAJOR, Severity.INVALID: INVALID}
_EXPONENTIAL, _STRING = 2, 6  # property `format`
_LEFT, _CENTER, _RIGHT = 0, 1, 2  # property `horizontal_alignment`
_MIDDLE = 1  # property `vertical_alignment`
_BUTTONS = 3  # most states that stand as buttons side by side


def pv(prefix: str, signal: Signal) -> str:
    """Give the PV to show; of a text, the long form, which is not cut off after 39 bytes."""
    return f"{prefix}{signal.name}.VAL$" if signal.kind is Kind.STR else f"{prefix}{signal.name}"


def value_width(signal: Signal, unit: bool = True) -> int:
    """Give the pixels that the longest likely value of a signal needs, with its unit."""
    if signal.kind is Kind.ENUM:
        widest = max(text.width(state) for state in signal.states)
    elif signal.kind in (Kind.STR, Kind.TEXT):
        return _LONG
    else:
        widest = text.width(_longest(signal) + (f" {signal.unit}" if unit and signal.unit else ""))
    return widest + _PADDING


def _longest(signal: Signal) -> str:
    if signal.kind is Kind.INT and signal.limits is None:
        return "0" * 8
    if _tiny(signal):
        return "-0.000E-00"
    decimals = f".{'0' * signal.precision}" if signal.kind is Kind.FLOAT and signal.precision else ""
    if signal.limits is None:
        return "-" + "0" * 6 + decimals
    return max((f"{limit:.0f}" for limit in signal.limits), key=len) + decimals


def _tiny(signal: Signal) -> bool:
    return signal.kind is Kind.FLOAT and signal.precision > 8


def readback_width(signal: Signal, unit: bool = True) -> int:
    """Give the pixels that `readback` needs."""
    return LED if is_switch(signal) else value_width(signal, unit)


def is_button(signal: Signal) -> bool:
    """Whether it is a command that needs no words."""
    return signal.direction is Direction.COMMAND and signal.kind is Kind.ENUM


def setpoint_width(signal: Signal, unit: bool = True) -> int:
    """Give the pixels that `setpoint` needs."""
    if is_button(signal):
        return text.width(signal.name, BOLD) + 2 * _PADDING
    if signal.kind in (Kind.STR, Kind.TEXT):
        return _MOST
    if as_buttons(signal):
        return len(signal.states) * (max(text.width(state) for state in signal.states) + 2 * _PADDING)
    return value_width(signal, unit) + (36 if signal.kind is Kind.ENUM else 8)  # the combo's arrow


def as_buttons(signal: Signal) -> bool:
    """Whether a setpoint's states stand side by side."""
    if signal.kind is not Kind.ENUM or len(signal.states) > _BUTTONS:
        return False
    return len(signal.states) == 2 or sum(len(state) for state in signal.states) <= 12


def readback(signal: Signal, prefix: str, x: int, y: int, width: int, *, unit: bool = True) -> Widget:
    """Show what is read: a lamp for a switch, else the value as text."""
    name = signal.name
    if is_switch(signal):
        return lamp(signal, prefix, x, y + (ROW - LED) // 2)
    properties: dict[str, Any] = {"pv_name": pv(prefix, signal)}
    if signal.kind in (Kind.STR, Kind.TEXT):
        properties["format"] = _STRING
    elif _tiny(signal):
        properties |= {"format": _EXPONENTIAL, "precision": 3}
    if not unit or signal.unit == "1":
        properties["show_units"] = False
    if signal.kind in (Kind.FLOAT, Kind.INT):
        properties["horizontal_alignment"] = _RIGHT
    properties["vertical_alignment"] = _MIDDLE if signal.kind is not Kind.TEXT else 0
    if signal.kind is not Kind.TEXT:
        properties["wrap_words"] = False
    return Widget("textupdate", name, x, y, width, ROW, properties)


def lamp(signal: Signal, prefix: str, x: int, y: int, size: int = LED) -> Widget:
    """Show a switch as a lamp, in the colour of an alarm where a state is one."""
    severities = signal.state_severities or (Severity.NO_ALARM, Severity.NO_ALARM)
    off, on = (_COLORS[severity] for severity in severities)
    colors: dict[str, Color] = {"off_color": off or OFF, "on_color": on or (OK if off else ON)}
    return Widget("led", signal.name, x, y, size, size, {"pv_name": prefix + signal.name, **colors})


def setpoint(signal: Signal, prefix: str, x: int, y: int, width: int, *, unit: bool = True, words: str = "") -> Widget:
    """Let a person put: a button for a command, buttons or a list for states, else an entry.

    Args:
        signal: what may be put.
        prefix: what stands before its name.
        x: pixels.
        y: pixels.
        width: pixels.
        unit: whether to show it.
        words: what a button says, if not the signal's name.
    """
    name, properties = signal.name, {"pv_name": prefix + signal.name}
    if is_button(signal):
        return command(signal, prefix, x, y, width, words or name)
    if signal.kind is Kind.ENUM:
        asked = {**properties, **confirmation(signal)}
        if as_buttons(signal):
            return Widget("choice", name, x, y, width, ROW, {**asked, "horizontal": True})
        return Widget("combo", name, x, y, width, ROW, asked)
    entry: dict[str, Any] = dict(properties)
    if signal.kind in (Kind.STR, Kind.TEXT):
        entry = {"pv_name": pv(prefix, signal), "format": _STRING}
    elif _tiny(signal):
        entry |= {"format": _EXPONENTIAL, "precision": 3}
    if signal.kind in (Kind.FLOAT, Kind.INT):
        entry["horizontal_alignment"] = _RIGHT
    if not unit or signal.unit == "1":
        entry["show_units"] = False
    entry["vertical_alignment"] = _MIDDLE
    return Widget("textentry", name, x, y, width, ROW, entry)


def command(signal: Signal, prefix: str, x: int, y: int, width: int, words: str) -> Widget:
    """A button that puts 1."""
    act = {"@type": "write_pv", "pv_name": "$(pv_name)", "value": "1", "description": words}
    properties: dict[str, Any] = {
        "actions": [("action", act)],
        "pv_name": prefix + signal.name,
        "text": words,
        "tooltip": f"{signal.doc}\n$(pv_name)",
        **confirmation(signal),
    }
    return Widget("action_button", signal.name, x, y, width, ROW, properties)


def confirmation(signal: Signal) -> dict[str, Any]:
    """Give the properties that make a widget ask before it puts, where the signal wants that."""
    if not signal.confirm:
        return {}
    return {"show_confirm_dialog": True, "confirm_message": f"{signal.doc}: really?\n$(pv_name)"}


def label(words: str, x: int, y: int, width: int, *, font: Font = PLAIN, height: int = ROW, **more: Any) -> Widget:
    """A text of one line."""
    properties: dict[str, Any] = {"text": words}
    if font is not PLAIN:
        properties["font"] = font
    told = {key: value for key, value in more.items() if value != ""}
    return Widget("label", words, x, y, width, height, {**properties, "vertical_alignment": _MIDDLE, **told})


def opens(
    words: str, file: str, x: int, y: int, width: int, *, height: int = ROW, macros: dict[str, str] | None = None
) -> Widget:
    """A button that opens another screen in the place of this one."""
    action: dict[str, Any] = {"@type": "open_display", "file": file}
    if macros:
        action["macros"] = macros
    action |= {"target": "replace", "description": words}
    properties = {"actions": [("action", action)], "text": words, "background_color": BUTTON, "tooltip": f"Open {file}"}
    return Widget("action_button", words, x, y, width, height, properties)
