"""Screens for Phoebus: names that it knows, every signal shown, nothing on another or cut off, always the same text."""

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import matplotlib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageFont

from drivers.c37118.frames import FrameType
from drivers.c37118.simulated_pmu import SimulatedPmu
from drivers.c37118.simulated_stream import SimulatedStream
from drivers.caen_hv.simulated_unit import BOUNDS, FORMATS, LIMITS
from iocs import config
from iocs.__main__ import main
from iocs.device import all_signals
from iocs.hv.shape import BoardShape, Range, to_plain
from iocs.pmu.device import shape_of
from iocs.screens import screens, write
from iocs.signals import Catalogue, Direction, Kind, Level, Signal
from tests import phoebus_formula

ROOT = Path(__file__).resolve().parents[2]
COMMON = {"name", "x", "y", "width", "height", "tooltip", "visible"}
COLORS = {"background_color", "foreground_color"}
VALUE = {"pv_name", "format", "precision", "show_units", "wrap_words", "horizontal_alignment", "vertical_alignment"}
ASKED = {"show_confirm_dialog", "confirm_message"}
PLOT = {"title", "title_font", "show_legend", "y_axes", "traces"}
# Of the Phoebus sources: type -> version and the names of its properties (widgets/*.java, CommonWidgetProperties.java)
KNOWN = {
    "action_button": ("3.0.0", {"actions", "pv_name", "text", *COLORS, *ASKED}),
    "choice": ("2.0.0", {"pv_name", "horizontal", *ASKED}),
    "combo": ("2.0.0", {"pv_name", *ASKED}),
    "embedded": ("2.0.0", {"file", "macros", "resize"}),
    "group": ("3.0.0", {"style"}),
    "label": ("2.0.0", {"text", "font", "transparent", "horizontal_alignment", "vertical_alignment", *COLORS}),
    "led": ("2.0.0", {"pv_name", "off_color", "on_color"}),
    "rectangle": ("2.0.0", {"line_width", "line_color", "background_color"}),
    "stripchart": ("2.1.0", {"start", "end", "label_font", "scale_font", *PLOT}),
    "textentry": ("3.0.0", VALUE),
    "textupdate": ("2.0.0", VALUE),
    "xyplot": ("3.0.0", {"x_axis", *PLOT}),
}
AXIS = {"title", "autoscale", "log_scale", "minimum", "maximum", "show_grid", "visible"}
AXIS_XY = {*AXIS, "title_font", "scale_font", "on_right"}
TRACE = {"name", "x_pv", "y_pv", "axis", "trace_type", "color", "line_width", "point_type", "point_size", "visible"}
NAMED = {"OK", "MINOR", "MAJOR", "INVALID", "On", "Off", "Background", "Button_Background"}
NAMED |= {"Header_Background", "Header_ForeGround"}
# Wider than Liberation Sans, which Phoebus brings along: what fits in it fits everywhere.
DEJAVU = Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def shapes() -> dict[str, object]:
    """What the simulated boxes of the example tell about themselves."""
    stream = SimulatedStream([SimulatedPmu()], cfg3=True)
    spans = {name: Range(LIMITS[low], LIMITS[high], FORMATS[name][1]) for name, (low, high) in BOUNDS.items()}
    board = BoardShape(0, "R1470ET", "174", "1.08", (spans,) * 4)
    return {"pmu": shape_of(stream.configuration(FrameType.CFG3)), "hv": to_plain((board,))}


@pytest.fixture(scope="module")
def catalogues() -> list[Catalogue]:
    site = config.load(ROOT / "site.example.toml", kinds=True)
    told = shapes()
    made = []
    for device in site.devices:
        signals = all_signals(device.kind, device.settings, told.get(device.type))
        made.append(Catalogue(device.name, device.type, f"LAB:{device.name}:", 1, True, tuple(signals)))
    return made


@pytest.fixture(scope="module")
def files(catalogues) -> dict[str, ET.Element]:
    return {name: ET.fromstring(text) for name, text in screens("Example laboratory", catalogues).items()}


def number(element: ET.Element, name: str) -> int:
    return int(element.findtext(name))


def widgets(root: ET.Element) -> list[ET.Element]:
    return list(root.iter("widget"))


def check_names(root: ET.Element) -> None:
    for widget in widgets(root):
        version, properties = KNOWN[widget.get("type")]
        assert widget.get("version") == version
        names = [child.tag for child in widget if child.tag != "widget"]
        assert len(set(names)) == len(names)
        assert set(names) <= COMMON | properties, (widget.get("type"), widget.findtext("name"))
        for traces in widget.iter("trace"):
            assert {child.tag for child in traces} <= TRACE
        for axes in (*widget.iter("x_axis"), *widget.iter("y_axis")):
            assert {child.tag for child in axes} <= (AXIS if widget.get("type") == "stripchart" else AXIS_XY)
    for element in root.iter():
        if element.tag is not ET.Comment and not element.attrib and len(element) == 0 and element.tag != "name":
            assert element.text, f"<{element.tag}/> is empty: cs-web-lib loses the traces of a plot with one"
    for color in root.iter("color"):
        assert color.get("name", "On") in NAMED or "red" not in color.attrib


def check_places(container: ET.Element, width: int, height: int) -> None:
    """Nothing lies outside of what it is in, and nothing on another (frames apart)."""
    inside = [widget for widget in container.findall("widget") if widget.get("type") != "rectangle"]
    boxes = []
    for widget in inside:
        x, y, wide, high = (number(widget, side) for side in ("x", "y", "width", "height"))
        assert x >= 0 and y >= 0 and x + wide <= width and y + high <= height, widget.findtext("name")
        assert wide > 0 and high > 0, widget.findtext("name")
        boxes.append((x, y, x + wide, y + high, widget.findtext("name")))
        check_places(widget, wide, high)
    for one, other in combinations(boxes, 2):
        apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert apart, (one, other)


def length(text: str, font: ET.Element | None = None) -> float:
    size, bold = (float(font.get("size")), font.get("style") == "BOLD") if font is not None else (14.0, False)
    return _font(bold, size).getlength(text)


_fonts: dict[tuple[bool, float], ImageFont.FreeTypeFont] = {}


def _font(bold: bool, size: float) -> ImageFont.FreeTypeFont:
    if (bold, size) not in _fonts:
        name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
        _fonts[bold, size] = ImageFont.truetype(str(DEJAVU / name), size)
    return _fonts[bold, size]


def check_texts(root: ET.Element, signals: dict[str, Signal]) -> None:
    """What is written, and the longest of what may be read, has room."""
    for widget in widgets(root):
        words, room = widget.findtext("text"), number(widget, "width")
        if words and "$" not in words:
            assert length(words, widget.find("font/font")) <= room, words
        signal = signals.get(resolved(widget.findtext("pv_name", "")))
        if signal is None or signal.kind is not Kind.ENUM:
            continue
        longest = max(signal.states, key=length)
        if widget.get("type") in ("textupdate", "combo"):
            assert length(longest) <= room, (signal.name, longest)
        if widget.get("type") == "choice":
            assert length(longest) * len(signal.states) <= room, (signal.name, longest)


def resolved(pv: str, channel: str = "") -> str:
    return pv.replace("$(P=LAB:)", "LAB:").replace("$(CH)", channel).removesuffix(".VAL$")


def shown(files: dict[str, ET.Element]) -> set[str]:
    """All PVs that screens show, of every channel."""
    channels = {}
    for root in files.values():
        for row in root.iter("widget"):
            if row.get("type") == "embedded":
                channels.setdefault(row.findtext("file").removesuffix("_row.bob"), []).append(row.findtext("macros/CH"))
    found = set()
    for name, root in files.items():
        texts = [element.text or "" for tag in ("pv_name", "x_pv", "y_pv") for element in root.iter(tag)]
        texts = [text for text in texts if text != "$(pv_name)"]
        pvs = {pv for text in texts for pv in (phoebus_formula.pvs(text) if text.startswith("=") else [text])}
        places = channels.get(re.sub(r"(_row)?\.bob$", "", name), [""])
        found |= {resolved(pv, place) for pv in pvs for place in places}
    return found


def test_phoebus_knows_every_name(files):
    for root in files.values():
        check_names(root)


def test_nothing_lies_on_another_or_outside(files):
    for root in files.values():
        check_places(root, number(root, "width"), number(root, "height"))


def test_text_has_room_in_a_wider_font_too(files, catalogues):
    signals = {catalogue.prefix + each.name: each for catalogue in catalogues for each in catalogue.signals}
    for root in files.values():
        check_texts(root, signals)


def test_every_signal_is_on_a_screen_and_nothing_else(files, catalogues):
    served = {catalogue.prefix + each.name: each for catalogue in catalogues for each in catalogue.signals}
    found = shown(files)
    assert found <= served.keys()
    left_out = {name.rpartition(":")[2] for name in served.keys() - found}
    assert left_out == {"PVS", "FULL", "TRIGTIMES"}  # the catalogue, and arrays that are not for the eye


def test_columns_are_aligned(files):
    for root in files.values():
        for box in (each for each in widgets(root) if each.get("type") == "group"):
            read = [each for each in box if each.get("type") == "textupdate"]
            ends = {number(each, "x") + number(each, "width") for each in read}
            pairs = any(each.get("type") in ("textentry", "choice", "combo") for each in box)
            assert len(ends) <= 2 if pairs or len(read) > 1 else len(ends) <= 1, box.findtext("name")


def test_links_lead_to_files_and_back(files):
    rows = {name for name in files if name.endswith("_row.bob")}
    for name, root in files.items():
        opened = [action.findtext("file") for action in root.iter("action") if action.get("type") == "open_display"]
        opened += [each.findtext("file") for each in widgets(root) if each.get("type") == "embedded"]
        assert set(opened) <= files.keys()
        if name not in {*rows, "main.bob"}:
            labels = {each.findtext("text"): each for each in widgets(root) if each.get("type") == "action_button"}
            assert labels["Home"].findtext("actions/action/file") == "main.bob"
            above = "main.bob" if "_" not in name else name.partition("_")[0] + ".bob"
            assert labels["Up"].findtext("actions/action/file") == above
    first = [each.findtext("actions/action/file") for each in widgets(files["main.bob"]) if each.find("actions")]
    assert first == ["PMU.bob", "HV.bob", "GAS.bob", "SCOPE.bob"][: len(first)] + first[4:]


def test_rows_have_the_size_that_they_are_embedded_with(files):
    for root in files.values():
        for widget in widgets(root):
            if widget.get("type") == "embedded":
                row = files[widget.findtext("file")]
                assert [number(widget, side) for side in ("width", "height")] == [
                    number(row, side) for side in ("width", "height")
                ]


def test_high_voltage_asks_before_it_is_switched(files):
    asking = {
        resolved(each.findtext("pv_name"), "CH0")
        for name, root in files.items()
        for each in widgets(root)
        if each.findtext("show_confirm_dialog") == "true"
    }
    assert asking == {f"LAB:HV:{name}" for name in ("ALLOFF", "ALLSTANDBY", "CH0:ON", "CH0:TRIPCLEAR", "RAMP1:GO")}
    for each in (each for root in files.values() for each in widgets(root) if each.findtext("show_confirm_dialog")):
        assert each.findtext("confirm_message")


def test_a_phasor_is_a_line_from_the_origin_to_its_tip(files):
    volts, _ = [each for each in widgets(files["PMU.bob"]) if each.get("type") == "xyplot"]
    traces = {trace.findtext("name"): trace for trace in volts.iter("trace")}
    assert [*traces][:4] == ["VA", "VB", "VC", "V1"]
    values = {f"$(P=LAB:)PMU:{name}:MAG": 100.0 for name in ("VA", "VB", "VC", "V1")}
    values["$(P=LAB:)PMU:VB:ANG"] = -120.0
    x, y = (phoebus_formula.compute(traces["VB"].findtext(axis), values) for axis in ("x_pv", "y_pv"))
    assert x == pytest.approx([0, -50])
    assert y == pytest.approx([0, -100 * math.sqrt(0.75)])
    span = [trace for trace in volts.iter("trace") if not trace.findtext("name")]
    assert phoebus_formula.compute(span[0].findtext("x_pv"), values) == pytest.approx([-120, 120])
    assert span[0].findtext("trace_type") == span[0].findtext("point_type") == "0"


def test_more_phasors_than_one_plot_takes_are_in_the_next():
    names = [f"P{n}" for n in range(11)]
    pairs = [Signal(f"{name}:{part}", unit=unit) for name in names for part, unit in (("MAG", "V"), ("ANG", "rad"))]
    root = ET.fromstring(screens("lab", [Catalogue("BOX", "any", "LAB:BOX:", 1, False, tuple(pairs))])["BOX.bob"])
    drawn = [[trace.findtext("name") for trace in plot.iter("trace")] for plot in widgets(root) if plot.find("x_axis")]
    assert [name for plot in drawn for name in plot if name] == names
    assert len(drawn) == 2


def test_a_scope_draws_its_channels_over_their_times(files):
    (plot,) = [each for each in widgets(files["SCOPE.bob"]) if each.get("type") == "xyplot"]
    pvs = [(trace.findtext("x_pv"), trace.findtext("y_pv")) for trace in plot.iter("trace")]
    assert pvs == [(f"$(P=LAB:)SCOPE:C{n}:TIME", f"$(P=LAB:)SCOPE:C{n}:WF") for n in range(1, 5)]


def test_the_last_hour_has_what_a_device_measures(files):
    (chart,) = [each for each in widgets(files["HV.bob"]) if each.get("type") == "stripchart"]
    assert chart.findtext("start") == "1 hour"
    traces = [(trace.findtext("name"), trace.findtext("axis")) for trace in chart.iter("trace")]
    assert traces == [(f"CH{n}:{name}", axis) for name, axis in (("VMON", "0"), ("IMON", "1")) for n in range(4)]


def test_the_same_catalogues_give_the_same_text(catalogues, tmp_path):
    once = screens("lab", catalogues)
    again = screens("lab", [Catalogue.from_json(catalogue.to_json()) for catalogue in catalogues])
    assert once == again
    assert list(once) == sorted(once)
    write(once, tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    write(again, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == times


def test_one_more_channel_changes_no_line_of_another_device(catalogues):
    before = screens("lab", catalogues)
    gas = next(catalogue for catalogue in catalogues if catalogue.device == "GAS")
    more = replace(gas, signals=(*gas.signals, Signal("NEW", unit="V", doc="Something new", group="Gas")))
    after = screens("lab", [more if catalogue is gas else catalogue for catalogue in catalogues])
    assert {name for name in after if after[name] != before[name]} == {"GAS.bob"}


def signal_strategy() -> st.SearchStrategy[Signal]:
    names = st.from_regex(r"[A-Z]{1,12}(:[A-Z0-9]{1,12}){0,1}", fullmatch=True)
    states = st.lists(
        st.text("abcXYZ 01", min_size=1, max_size=25).filter(str.strip), min_size=1, max_size=16, unique=True
    )
    plain = st.builds(
        Signal,
        name=names,
        direction=st.sampled_from(Direction),
        kind=st.sampled_from([Kind.FLOAT, Kind.INT, Kind.STR, Kind.TEXT]),
        unit=st.sampled_from(["", "V", "degC", "1"]),
        doc=st.text("abc xyz", max_size=80),
        precision=st.integers(0, 12),
        level=st.sampled_from(Level),
        group=st.sampled_from(["", "One", "A group with quite a long name"]),
        confirm=st.booleans(),
    )
    return plain | st.builds(
        lambda signal, labels: replace(signal, kind=Kind.ENUM, states=tuple(labels)), plain, states
    )


@settings(max_examples=60, deadline=None)
@given(signals=st.lists(signal_strategy(), max_size=30, unique_by=lambda signal: signal.name))
def test_any_catalogue_gives_screens_in_order(signals):
    catalogue = Catalogue("BOX", "any", "LAB:BOX:", 1, False, tuple(signals))
    for text in screens("lab", [catalogue]).values():
        root = ET.fromstring(text)
        check_names(root)
        check_places(root, number(root, "width"), number(root, "height"))


def test_the_command(tmp_path, capsys):
    site = tmp_path / "site.toml"
    site.write_text((ROOT / "site.example.toml").read_text(encoding="utf-8"), encoding="utf-8")
    assert main(["screens", str(site), "-o", str(tmp_path / "bob")]) == 0
    out, err = capsys.readouterr()
    assert "main.bob" in out
    assert "note: HV has never been connected here" in err  # its channels are what the box tells
    assert {path.name for path in (tmp_path / "bob").iterdir()} >= {"main.bob", "PMU.bob", "HV.bob", "GAS.bob"}
    (tmp_path / "file").touch()
    assert main(["screens", str(site), "-o", str(tmp_path / "file")]) == 1
    assert "choose another folder with -o" in capsys.readouterr().err
