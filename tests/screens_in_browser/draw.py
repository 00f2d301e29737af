"""Draws the example laboratory's screens with a renderer that is not ours, and judges what it finds.

    python -m tests.screens_in_browser.draw -o DIR

cs-web-lib (npm) in headless Chromium reads the live values from `archiver serve`. Exit code 1: something is cut
off, missing or broken. What it cannot do: its XY plots know neither formulas nor x_pv, and draw a dozen points.
"""

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Page, Route, async_playwright
from playwright.async_api import TimeoutError as PlaywrightTimeoutError

from iocs.ca.client import Client
from tests.processes import Process, ca_environment, free_port

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MODULES = ROOT / ".cache" / "screens_in_browser"
CHROMIUM = "/usr/bin/chromium"
# The page is not from a server, so that Chromium takes it for one of a foreign network, which may not see this host.
FLAGS = ["--no-sandbox", "--disable-features=LocalNetworkAccessChecks"]
HTML = '<!doctype html><meta charset="utf-8"><style>body{margin:0}</style><div id="root"></div>'
NO_VALUE = "######"  # what cs-web-lib shows for a PV without a value
TEXT = "6"  # property `format` of what may be empty
PATIENCE = 15.0  # s for all values of a screen
PUTS = {"HV:CH0:VSET": 150, "HV:CH1:VSET": 80, "HV:CH2:VSET": 180, "HV:CH0:ON": 1, "HV:CH1:ON": 1, "HV:CH2:ON": 1}


def bundle(folder: Path) -> bytes:
    """Install cs-web-lib in a folder, once, and bundle the viewer with it; gives the script."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "node_modules").exists():
        shutil.copy(HERE / "package.json", folder)
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent"], cwd=folder, check=True)
    shutil.copy(HERE / "viewer.jsx", folder)
    options = ["--bundle", "--minify", "--log-level=error", "--outfile=viewer.js", "--alias:stream=stream-browserify"]
    options += ["--define:global=window", "--define:process.env={}", "--define:import.meta.env={}"]
    subprocess.run(["node_modules/.bin/esbuild", "viewer.jsx", *options], cwd=folder, check=True)
    return (folder / "viewer.js").read_bytes()


@contextmanager
def laboratory(directory: Path) -> Iterator[tuple[str, Path]]:
    """Run the example laboratory and its server; gives the server's address and the folder of screens."""
    site = directory / "site.toml"
    shutil.copy(ROOT / "site.example.toml", site)
    (directory / "docs").symlink_to(ROOT / "docs")  # the met station's files
    port, web = free_port(), free_port()
    text = site.read_text(encoding="utf-8").replace("127.0.0.1:5164", f"127.0.0.1:{port}")
    site.write_text(f"{text}\n[serve]\nport = {web}\n", encoding="utf-8")
    environment = ca_environment(port)
    with ExitStack() as stack:
        iocs = stack.enter_context(Process("iocs", "run", site, "--sim", "--port", port, environment=environment))
        iocs.line("serving")
        asyncio.run(prepare(port))
        screens = directory / "screens"
        drawing = stack.enter_context(Process("iocs", "screens", site, "--sim", "-o", screens, environment=environment))
        if drawing.popen.wait(60):
            raise RuntimeError(drawing.log())
        server = stack.enter_context(Process("archiver", "serve", site, environment=environment))
        server.line(str(web))
        yield f"http://127.0.0.1:{web}", screens


async def prepare(port: int) -> None:
    """Wait for all devices, and switch high voltage on: pictures shall show something."""
    async with Client(f"127.0.0.1:{port}") as client:
        for name in ("PMU:ONLINE", "HV:ONLINE", "GAS:ONLINE", "SCOPE:ONLINE", "MET:ONLINE", "HV:ILK1:STATE"):
            while (await client.get(f"LAB:{name}", 30)).value != 1:  # Online; ARMED
                await asyncio.sleep(0.1)
        for name, value in PUTS.items():
            await client.put(f"LAB:{name}", value, 30)
        while not all([(await client.get(f"LAB:HV:CH{n}:ATTARGET", 30)).value for n in range(3)]):
            await asyncio.sleep(0.2)


def values(root: ET.Element, files: dict[str, bytes]) -> int:
    """Count the values that a screen shows and that cannot be empty, with those of the rows that are embedded."""
    shown = [widget for widget in root.iter("widget") if widget.get("type") == "textupdate"]
    own = sum(widget.findtext("format") != TEXT for widget in shown)
    rows = [widget.findtext("file", "") for widget in root.iter("widget") if widget.get("type") == "embedded"]
    return own + sum(values(ET.fromstring(files[row]), files) for row in rows)


async def judge(page: Page, root: ET.Element, count: int) -> list[str]:
    """Wait for all values of a screen, so many; gives what is wrong with the picture."""
    shown = "[...document.querySelectorAll('input, textarea')]"
    full, none = f"{shown}.filter(each => each.value)", f"{shown}.some(each => each.value === '{NO_VALUE}')"
    filled = f"() => {full}.length >= {count} && !{none}"
    wrong = []
    try:
        await page.wait_for_function(filled, timeout=PATIENCE * 1000)
    except PlaywrightTimeoutError:
        wrong.append("some values did not come")
    text = await page.inner_text("body")
    plots = [[y.text or "" for y in plot.iter("y_pv")] for plot in root.iter("widget") if plot.get("type") == "xyplot"]
    formulas = sum(any(y.startswith("=") for y in curves) for curves in plots)
    if text.count("could not be displayed") != formulas:  # it knows no formulas; Phoebus does
        wrong.append("a plot cannot be drawn")
    if "Error loading" in text:
        wrong.append("a file cannot be loaded")
    labels = [widget.findtext("text", "") for widget in root.iter("widget") if widget.get("type") == "label"]
    wrong += [f"the label {label!r} is not there" for label in labels if "$" not in label and label not in text]
    cut = f"() => {shown}.filter(each => each.scrollWidth > each.clientWidth + 1).map(each => each.value)"
    return wrong + [f"cut off: {value!r}" for value in await page.evaluate(cut)]


async def draw(address: str, screens: Path, script: bytes, output: Path, only: list[str]) -> list[str]:
    """Draw all screens of a folder as pictures, or only some; gives what is wrong."""
    wrong: list[str] = []
    files = {path.name: path.read_bytes() for path in sorted(screens.glob("*.bob"))}  # noqa: ASYNC240

    async def serve(route: Route) -> None:
        path = urllib.parse.urlsplit(route.request.url).path
        name = path.rpartition("/")[2]
        if path == "/viewer.js":
            await route.fulfill(body=script, content_type="text/javascript")
        elif path == "/viewer":
            await route.fulfill(body=f'{HTML}<script src="/viewer.js"></script>', content_type="text/html")
        elif path.startswith("/screens/") and name in files:
            await route.fulfill(body=files[name], content_type="application/xml")
        else:
            await route.fulfill(status=404)

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for name, content in files.items():
            if name.endswith("_row.bob") or (only and name.removesuffix(".bob") not in only):
                continue  # a row is drawn as a part of others
            root = ET.fromstring(content)
            width, height = (int(root.findtext(side, "0")) for side in ("width", "height"))
            page = await browser.new_page(viewport={"width": width, "height": height})
            await page.route(f"{address}/**", serve)
            await page.goto(f"{address}/viewer?{urllib.parse.urlencode(query(name.removesuffix('.bob')))}")
            found = await judge(page, root, values(root, files))
            wrong += [f"{name}: {each}" for each in found]
            picture = output / name.replace(".bob", ".png")
            await page.screenshot(path=picture)
            print(picture, flush=True)
            await page.close()
        await browser.close()
    return wrong


def query(screen: str) -> dict[str, Any]:
    """Give what the viewer is told: cs-web-lib does not know macros with a default, so that they are named whole."""
    macros = {"P=LAB:": "LAB:"}
    _, _, family = screen.partition("_")
    if family:
        macros |= {"CH": f"{family}1", "NAME": f"{family}1"}
    return {"file": f"{screen}.bob", "macros": json.dumps(macros)}


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder of the pictures")
    parser.add_argument(
        "--modules", type=Path, default=ROOT / ".cache" / "screens_in_browser", help="for npm's packages"
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="draw these: main, HV, HV_CH ...")
    options = parser.parse_args()
    script = bundle(options.modules)
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, laboratory(Path(directory)) as (address, screens):
        wrong = asyncio.run(draw(address, screens, script, options.output, options.only))
    for each in wrong:
        print(each, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
