"""Who is woken for what, how often, and what becomes of a command that does not do what it should."""

import asyncio
from types import SimpleNamespace
from typing import Any

from archiver.batch import Source
from archiver.notices import HOUR, Notices
from archiver.notify import Notifier, run_command
from archiver.outlet import Counts
from iocs.archive_tables import ArchiveTable, NotifyTable
from iocs.signals import Reading, Severity, Status


def test_a_trouble_is_told_once_when_it_has_lasted_and_once_when_it_is_over() -> None:
    notices = Notices(10)
    for now in range(0, 400, 100):
        notices.bad("HV", "HV is lost", now, after=250)
        assert notices.due(now) == ("HV is lost\n" if now == 300 else "")
    notices.good("HV")
    notices.good("HV")
    assert notices.due(400) == "over: HV is lost\n" and notices.due(401) == ""
    notices.bad("HV", "HV is lost", 500, after=250)
    notices.good("HV")  # too short to be told, and so is its end
    assert notices.due(900) == ""


def test_beyond_so_many_an_hour_they_come_together() -> None:
    notices = Notices(2)
    for number in range(5):
        notices.bad(str(number), f"trouble {number}", number)
        notices.due(number)
    assert notices.waiting == 3 and notices.due(100) == ""
    assert notices.due(HOUR + 1) == "trouble 2\ntrouble 3\ntrouble 4\n"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def notifier(**keys: Any) -> tuple[Notifier, Any, Clock]:
    device = SimpleNamespace(name="HV", expected=True, catalogue=object(), connected=True)
    server = SimpleNamespace(name="IOC", expected=False, catalogue=None, connected=False)
    counts = Counts(0, 0, 0, {})
    outlet = SimpleNamespace(
        sink=SimpleNamespace(name="csv"), error="", spool=SimpleNamespace(waiting_bytes=0), counts=lambda: counts
    )
    pv = SimpleNamespace(recorder=SimpleNamespace(source=SimpleNamespace(pv="X:T")), connected=True)
    recorder: Any = SimpleNamespace(devices=[device, server], outlets=[outlet], foreign=[pv])
    site: Any = SimpleNamespace(name="lab", archive=ArchiveTable.model_validate({"spool_megabytes": 10}))
    table, clock = NotifyTable.model_validate({"command": ["true"], "lost_minutes": 1, **keys}), Clock()
    return Notifier(site, table, recorder, clock), recorder, clock


def told(it: Notifier, clock: Clock, seconds: float) -> str:
    clock.now += seconds
    it.check()
    return it.notices.due(clock.now)


def test_devices_pvs_stores_and_spools() -> None:
    it, recorder, clock = notifier()
    assert told(it, clock, 1000) == ""
    recorder.devices[0].connected = False
    assert told(it, clock, 1) == "" and "HV is lost for 1 minutes or longer: its IOC" in told(it, clock, 61)
    recorder.devices[0].connected = True
    assert told(it, clock, 1).startswith("over: HV is lost")
    recorder.foreign[0].connected = False
    assert told(it, clock, 1) == "" and "X:T is lost" in told(it, clock, 61)
    recorder.outlets[0].error = "503 not now"
    assert told(it, clock, 1) == "" and "store csv: 503 not now" in told(it, clock, 61)
    recorder.outlets[0].spool.waiting_bytes = 6_000_000
    assert "holds 6 MB, 50 %" in told(it, clock, 1)
    recorder.outlets[0].counts = lambda: Counts(7, 0, 0, {"no room in the spool": 7})
    assert "events are dropped, 7" in told(it, clock, 1)
    assert told(it, clock, 1).startswith("over: store csv: events are dropped")


def test_a_box_that_is_away_and_a_trip() -> None:
    it, _, clock = notifier()

    def source(name: str, states: tuple[str, ...] = ()) -> Source:
        return Source(f"LAB:HV:{name}", "HV", name, f"HV:{name}", states)

    def reading(severity: Severity, connected: bool = True) -> Reading:
        return Reading(int(severity > 0), 1, severity, Status.STATE, connected)

    online, tripped = it.listener(source("ONLINE")), it.listener(source("CH0:TRIPPED", ("No", "Yes")))
    assert online is not None and tripped is not None and it.listener(source("CH0:VMON")) is None
    online(reading(Severity.MAJOR))
    assert told(it, clock, 1) == "" and "its box is lost" in told(it, clock, 61)
    online(reading(Severity.NO_ALARM))
    assert told(it, clock, 1).startswith("over:")
    tripped(reading(Severity.MAJOR))
    tripped(reading(Severity.NO_ALARM))  # shorter than any look at it
    assert (
        told(it, clock, 1) == "LAB:HV:CH0:TRIPPED is Yes: alarm STATE\nover: LAB:HV:CH0:TRIPPED is Yes: alarm STATE\n"
    )
    tripped(reading(Severity.INVALID, connected=False))
    assert told(it, clock, 1) == ""


def test_a_command_that_fails_says_how(tmp_path) -> None:
    def run(*command: str, **keys: Any) -> str:
        table = NotifyTable.model_validate({"command": list(command), **keys})
        return asyncio.run(run_command(table, "a message\n"))

    letter = tmp_path / "letter"
    assert run("tee", str(letter)) == "" and letter.read_text() == "a message\n"
    assert "ended with 3: no such box" in run("sh", "-c", "echo no such box >&2; exit 3")
    assert "cannot be run" in run(str(tmp_path / "none"))
    assert "took more than 0.2 s" in run("sleep", "60", timeout=0.2)
