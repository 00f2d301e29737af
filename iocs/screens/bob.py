"""The file format of Phoebus' screens, .bob: widgets and their properties as XML that diffs (pure).

Widget and property names, and the versions, are those of the Phoebus sources (app/display/model, widgets/*.java, 4.7).
What has Phoebus' default is not written.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

VERSIONS = {
    "action_button": "3.0.0",
    "choice": "2.0.0",
    "combo": "2.0.0",
    "embedded": "2.0.0",
    "group": "3.0.0",
    "label": "2.0.0",
    "led": "2.0.0",
    "rectangle": "2.0.0",
    "stripchart": "2.1.0",
    "textentry": "3.0.0",
    "textupdate": "2.0.0",
    "xyplot": "3.0.0",
}
NOTE = " made by python -m iocs screens; what is changed here is lost "


@dataclass(frozen=True, slots=True)
class Color:
    """A colour; one with a name is what the site's color.def says, else (and in renderers without one) RGB, 0..255."""

    red: int
    green: int
    blue: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Font:
    """A font by its name in font.def; size in pixels."""

    name: str
    style: str
    size: float


OK = Color(0, 255, 0, "OK")
MINOR = Color(255, 128, 0, "MINOR")
MAJOR = Color(255, 0, 0, "MAJOR")
INVALID = Color(255, 0, 255, "INVALID")
ON = Color(0, 255, 0, "On")
OFF = Color(60, 100, 60, "Off")
BACKGROUND = Color(255, 255, 255, "Background")
READ = Color(240, 240, 240, "Read_Background")
HEADER = Color(77, 77, 77, "Header_Background")
HEADER_TEXT = Color(255, 255, 255, "Header_ForeGround")
BUTTON = Color(210, 210, 210, "Button_Background")
# Traces: colours that are told apart by colour-blind people too (Okabe and Ito 2008), yellow left out.
TRACES = (
    Color(0, 114, 178),
    Color(213, 94, 0),
    Color(0, 158, 115),
    Color(204, 121, 167),
    Color(86, 180, 233),
    Color(230, 159, 0),
    Color(0, 0, 0),
    Color(128, 128, 128),
)

PLAIN = Font("Default", "REGULAR", 14.0)
BOLD = Font("Default Bold", "BOLD", 14.0)
COMMENT = Font("Comment", "ITALIC", 14.0)
TITLE = Font("Header 1", "BOLD", 22.0)


@dataclass(slots=True)
class Widget:
    """One widget: its place in pixels from the upper left corner of what it lies in, and its properties.

    Attributes:
        type: e.g. "textupdate".
        name: for people who edit the screen.
        x, y, width, height: pixels.
        properties: by name, as `element` takes them.
        children: widgets within (group).
    """

    type: str
    name: str
    x: int
    y: int
    width: int
    height: int
    properties: dict[str, Any] = field(default_factory=dict)
    children: list["Widget"] = field(default_factory=list)


def display(name: str, width: int, height: int, widgets: Iterable[Widget]) -> str:
    """Give the text of a .bob file."""
    root = ET.Element("display", version="2.0.0")
    root.append(ET.Comment(NOTE))
    for key, value in (("name", name), ("width", width), ("height", height)):
        root.append(element(key, value))
    root.extend(_widget(widget) for widget in widgets)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _widget(widget: Widget) -> ET.Element:
    made = ET.Element("widget", type=widget.type, version=VERSIONS[widget.type])
    place = {key: getattr(widget, key) for key in ("name", "x", "y", "width", "height")}
    made.extend(element(key, value) for key, value in (place | widget.properties).items())
    made.extend(_widget(child) for child in widget.children)
    return made


def element(name: str, value: Any) -> ET.Element:
    """Give a property as XML.

    Args:
        name: the tag.
        value: a text, number, truth value, `Color` or `Font`; a mapping for elements within (of keys that begin with @,
            attributes); a list of (tag, value) where tags repeat.
    """
    made = ET.Element(name)
    match value:
        case bool():
            made.text = "true" if value else "false"
        case Color():
            about = {"name": value.name} if value.name else {}
            rgb = {key: str(getattr(value, key)) for key in ("red", "green", "blue")}
            ET.SubElement(made, "color", about | rgb)
        case Font():
            about = {"name": value.name, "family": "Liberation Sans", "style": value.style, "size": str(value.size)}
            ET.SubElement(made, "font", about)
        case Mapping():
            for key, inner in value.items():
                if key.startswith("@"):
                    made.set(key[1:], inner)
                else:
                    made.append(element(key, inner))
        case list():
            made.extend(element(key, inner) for key, inner in value)
        case _:
            made.text = str(value)
    return made
