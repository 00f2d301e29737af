"""The page as people see it: a real browser, a real laboratory on simulators."""

import http.client
import json
import signal
import time
from pathlib import Path

import pytest

from iocs.state import peek
from tests.many import COUNT
from tests.page_lab import Complaints, PageLab, browser
from tests.processes import DEADLINE, free_port, wait_for

PMU = '[[device]]\nname = "PMU"\ntype = "pmu"\nlink = "tcp://127.0.0.1:{port}"\nidcode = 1\n'
HV = '[[device]]\nname = "HV"\ntype = "hv"\nlink = "tcp://127.0.0.1:{port}"\n'
SCOPE = '[[device]]\nname = "SCOPE"\ntype = "scope"\nlink = "vxi11://127.0.0.1:{port}/inst0"\n'
MANY = '[[device]]\nname = "MANY"\ntype = "tests.many:Many"\n'
ALARMS = 'alarms."CH0:T" = { high = 310.0, hihi = 320.0 }\n'
WITHIN = DEADLINE * 1000  # ms, of Playwright

FRAMES = """async () => {
    const gaps = [], count = new Map();
    const cells = [...document.querySelectorAll('tbody .value')].filter((cell) => cell.title.match(/MANY:N[0-9]/));
    const watch = new MutationObserver((changes) => changes.forEach((change) => {
        const cell = change.target.closest?.('.value') || change.target.parentElement?.closest('.value');
        if (cell) count.set(cell, (count.get(cell) || 0) + 1);
    }));
    watch.observe(document.querySelector('main'), { subtree: true, childList: true, characterData: true });
    let last = performance.now();
    const end = last + 4000;
    while (last < end) {
        const now = await new Promise(requestAnimationFrame);
        gaps.push(now - last);
        last = now;
    }
    watch.disconnect();
    gaps.sort((a, b) => a - b);
    return { cells: cells.length, fewest: Math.min(...cells.map((cell) => count.get(cell) || 0)),
             usual: gaps[Math.floor(gaps.length * 0.5)], late: gaps[Math.floor(gaps.length * 0.98)],
             frames: gaps.length };
}"""


def value(page, pv: str):
    """The shown value of a PV, with its alarm as an attribute and as a word."""
    return page.locator(f'main .value[title^="{pv}"]').first


def becomes(locator, text: str) -> None:
    wait_for(lambda: text in (locator.text_content(timeout=WITHIN) or ""), f"{text!r} on the page")


def ask(lab: PageLab, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", lab.port, timeout=20)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    told = answer.status, answer.read()
    connection.close()
    return told


def test_the_page(tmp_path: Path) -> None:
    with PageLab(tmp_path) as lab, browser() as chromium:
        ports = [free_port() for _ in range(3)]
        for module, port in zip(("c37118", "caen_hv", "lecroy"), ports, strict=True):
            lab.process(f"drivers.{module}.simulator", "--port", port).line("listening")
        lab.start(ALARMS + PMU.format(port=ports[0]) + HV.format(port=ports[1]) + SCOPE.format(port=ports[2]))
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        complaints = Complaints(page)
        overview(lab, page)
        devices_as_they_are(lab, page)
        one_pv(lab, page)
        on_a_phone_and_by_keyboard(lab, page)
        alarms_and_losses(lab, page)
        assert [text for text in complaints if "404" not in text and "ERR_" not in text] == []
        only_for_us_and_never_a_put(lab)
        screens_in_a_browser(lab)
        assert lab.page.stop() == 0
        becomes(page.locator("#link"), "no answer")
        assert (
            value(page, f"{lab.prefix}T:CH0:T").locator(".number").evaluate("it => getComputedStyle(it).opacity") < "1"
        )
        assert "Traceback" not in lab.page.log()


def overview(lab: PageLab, page) -> None:
    page.goto(lab.url)
    for name in ("T", "PMU", "HV", "SCOPE"):
        becomes(page.locator(".tile", has=page.get_by_role("link", name=name, exact=True)), "Online")
    becomes(page.locator("#link"), "live")
    assert page.locator(".tiles > .tile h2 a").all_text_contents() == ["T", "PMU", "HV", "SCOPE"]  # as in the site file
    changing = value(page, f"{lab.prefix}PMU:FREQ")
    before = changing.text_content()
    wait_for(lambda: changing.text_content() != before, "another frequency")
    assert changing.locator(".number").evaluate("it => getComputedStyle(it).opacity") == "1"
    assert "Hz" in before and changing.get_attribute("data-severity") == "0"
    page.wait_for_selector(".tile .spark path.line", state="attached", timeout=WITHIN)


def devices_as_they_are(lab: PageLab, page) -> None:
    page.get_by_role("navigation").get_by_role("link", name="PMU").click()
    page.wait_for_selector("svg.phasors line.arm", state="attached", timeout=WITHIN)
    told = page.locator("svg.phasors").get_attribute("aria-label")
    assert "VA 63500 V at" in told and page.locator("svg.phasors line.arm").count() == 8
    page.goto(f"{lab.url}#/SCOPE")
    page.wait_for_selector("svg.plot path.curve", state="attached", timeout=WITHIN)
    drawn = page.locator("svg.plot path.curve").first
    before = drawn.get_attribute("d")
    assert before.count("L") > 300  # a trace, not a few points
    wait_for(lambda: page.locator("svg.plot path.curve").first.get_attribute("d") != before, "the next trace")
    page.goto(f"{lab.url}#/HV")
    table = page.get_by_role("region", name="Channels", exact=True)
    assert table.locator("thead th").all_text_contents() == [f"CH{n}" for n in range(4)]
    rows = table.locator("tbody th").all_text_contents()
    assert rows[:2] == ["VMON", "IMON"] and {"VSET", "ON", "STATUS"} <= set(rows)
    wait_for(lambda: value(page, f"{lab.prefix}HV:CH0:ON").text_content().strip() == "Off", "the state of a channel")
    lab.libca.put(f"{lab.prefix}HV:CH0:VSET", 30.0)
    wait_for(lambda: value(page, f"{lab.prefix}HV:CH0:VSET").text_content().startswith("30.0 V"), "VSET on the page")


def one_pv(lab: PageLab, page) -> None:
    pv = f"{lab.prefix}T:CH0:T"
    wait_for(lambda: list((lab.directory / "data").glob("T_*.csv")), "rows on disk")
    wait_for(lambda: ask(lab, f"/archive/1/samples/{pv}?start=0&end={time.time_ns()}&count=600")[0] in (200, 400), "it")
    page.goto(f"{lab.url}#/pv/{pv}")
    page.get_by_role("button", name="10 min").click()
    page.wait_for_selector("svg.plot path.curve", state="attached", timeout=WITHIN)
    assert page.get_by_role("button", name="10 min").get_attribute("aria-pressed") == "true"
    page.locator("svg.plot").focus()
    page.keyboard.press("ArrowLeft")
    becomes(page.locator(".readout"), "290.000 K")
    becomes(page.locator("main"), f"caget {pv}")
    page.goto(f"{lab.url}#/pv/NO:SUCH:PV")
    becomes(page.locator("main"), "nothing is recorded of NO:SUCH:PV")


def on_a_phone_and_by_keyboard(lab: PageLab, page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    for place in ("", "PMU", "HV", "SCOPE", f"pv/{lab.prefix}T:CH0:T"):
        page.goto(f"{lab.url}#/{place}")
        page.wait_for_selector("main h1", state="attached", timeout=WITHIN)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, place
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(lab.url)
    page.wait_for_selector(".tile", timeout=WITHIN)
    page.keyboard.press("/")
    page.keyboard.type("tset")
    becomes(page.locator("main"), f"{lab.prefix}T:TSET_RBV")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    becomes(page.locator("h1"), f"{lab.prefix}T:TSET")
    page.keyboard.press("Escape")
    page.wait_for_selector(".tile", timeout=WITHIN)
    names = page.evaluate("[...document.querySelectorAll('a, button, input, svg[role=img]')].filter("
                          "(it) => !(it.textContent.trim() || it.getAttribute('aria-label'))).length")  # fmt: skip
    assert names == 0  # whatever can be reached has a name


def alarms_and_losses(lab: PageLab, page) -> None:
    pv = f"{lab.prefix}T:CH0:T"
    shown = value(page, pv)
    back = "cell => getComputedStyle(cell).backgroundColor"
    good = shown.evaluate(back)
    lab.fault(lab.thermostat, temperatures=[315.0, 300.0])
    wait_for(lambda: shown.get_attribute("data-severity") == "1", "the colour of MINOR")
    assert "MINOR HIGH" in shown.text_content() and shown.evaluate(back) != good
    lab.fault(lab.thermostat, temperatures=[325.0, 300.0])
    becomes(page.locator("#news"), f"{pv} MAJOR HIHI")  # for screen readers
    becomes(page.locator(".alarms"), f"MAJOR {pv} HIHI")
    lab.thermostat.kill()
    tile = page.locator(".tile", has=page.get_by_role("link", name="T", exact=True))
    becomes(tile, "Lost")
    wait_for(lambda: shown.get_attribute("data-severity") == "3", "INVALID")
    assert "325.000" in shown.text_content() and tile.locator(".error").text_content()
    becomes(page.locator(".alarms"), "LOST T")
    lab.thermostat = lab.box()
    becomes(tile, "Online")
    lab.server.kill()
    becomes(tile, "No IOC")
    wait_for(lambda: shown.get_attribute("data-severity") == "4", "a value that nobody serves")
    lab.server = lab.ioc()
    becomes(tile, "Online")


def only_for_us_and_never_a_put(lab: PageLab) -> None:
    for path in ("/", "/live", "/archive/", "/live/sparks?device=T"):
        assert ask(lab, path, Host="evil.example.org")[0] == 421
    assert ask(lab, "/", Host=f"localhost:{lab.port}")[0] == 200
    for method in ("POST", "PUT", "DELETE"):
        assert ask(lab, "/live/curve", method)[0] == 501
    assert ask(lab, f"/live/curve?y={lab.prefix}T:TSET")[0] == 404
    assert ask(lab, "/live/sparks?device=NONE")[0] == 404
    assert ask(lab, "/../site.toml")[0] == 404 and ask(lab, "/page.css/..%2f..%2fserver.py")[0] == 404


def screens_in_a_browser(lab: PageLab) -> None:
    """The pvws protocol, as spoken by a web socket that is not ours."""
    connect = pytest.importorskip("websockets.sync.client").connect
    url, pv = f"ws://127.0.0.1:{lab.port}/pvws/pv", f"{lab.prefix}T:TSET"
    with pytest.raises(Exception, match="403"):
        connect(url, origin="http://evil.example.org")
    before = len(Path(lab.directory / "state" / "putlog.jsonl").read_text().splitlines())
    with connect(url, origin="http://localhost:5173") as socket:

        def until(fits):
            end = time.monotonic() + DEADLINE
            while time.monotonic() < end:
                message = json.loads(socket.recv(timeout=DEADLINE))
                if fits(message):
                    return message
            raise AssertionError("no such message")

        socket.send(json.dumps({"type": "subscribe", "pvs": [pv, f"ca://{lab.prefix}T:MODE", f"{lab.prefix}T:IDN"]}))
        first = until(lambda it: it["pv"] == pv and "value" in it)
        assert first["value"] == 295.0 and first["units"] == "K" and first["readonly"] is True
        assert (first["min"], first["max"], first["severity"]) == (250.0, 350.0, "NONE")
        mode = until(lambda it: it["pv"].endswith("MODE") and "text" in it)
        assert mode["labels"] == ["Off", "Heat", "Cool"] and mode["text"] == "Heat"
        socket.send(json.dumps({"type": "write", "pv": pv, "value": 260}))
        assert "not written" in until(lambda it: it["type"] == "error")["message"]
        lab.libca.put(pv, 299.0)
        assert "units" not in until(lambda it: it.get("pv") == pv and it.get("value") == 299.0)
        socket.send(json.dumps({"type": "clear", "pvs": [pv]}))
        socket.send(json.dumps({"type": "list"}))
        assert pv not in until(lambda it: it["type"] == "list")["pvs"]
        lab.server.stop(signal.SIGTERM)
        assert "value" not in until(lambda it: it.get("severity") == "UNDEFINED")
        lab.server = lab.ioc()
        until(lambda it: it.get("pv", "").endswith("MODE") and "labels" in it)
    assert lab.value("T:TSET") == 299.0
    log = Path(lab.directory / "state" / "putlog.jsonl").read_text().splitlines()
    assert len(log) == before + 1  # ours by Channel Access, none by the page
    assert peek(lab.directory / "state", "T")


@pytest.mark.alone
def test_500_values_ten_times_a_second_stay_smooth_and_a_second_viewer_costs_the_ioc_nothing(tmp_path: Path) -> None:
    with PageLab(tmp_path) as lab, browser() as chromium:
        lab.start(MANY)
        lab.wait("MANY:ONLINE", 1)
        lab.wait("IOC:CA_CONN_CNT", lambda reading: reading["value"] > COUNT)
        nobody = cpu(lab)
        channels = lab.value("IOC:CA_CONN_CNT")
        pages = [chromium.new_page(viewport={"width": 1280, "height": 900}) for _ in range(2)]
        for page in pages:
            page.goto(f"{lab.url}#/MANY")
            wait_for(lambda page=page: page.locator("main .list tbody tr").count() >= COUNT, "all rows", 60)
        two = cpu(lab)
        told = pages[1].evaluate(FRAMES)
        print(f"IOC {nobody:.2f} s/s alone, {two:.2f} with two pages; {told}")
        assert lab.value("IOC:CA_CONN_CNT") == channels  # each PV is watched once, however many look
        assert two < 1.5 * nobody + 0.1
        assert told["cells"] == COUNT and told["fewest"] >= 4
        assert told["usual"] < 50 and told["late"] < 300, told


def cpu(lab: PageLab) -> float:
    """Processor time that the IOC takes a second."""
    before, began = lab.server.cpu_seconds, time.monotonic()
    wait_for(lambda: time.monotonic() > began + 2, "two seconds")
    return (lab.server.cpu_seconds - before) / (time.monotonic() - began)
