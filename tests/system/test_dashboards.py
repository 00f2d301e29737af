"""The Grafana dashboard: a real InfluxDB answers what it asks for, with what the example lab's archiver wrote."""

import json
import time
from pathlib import Path

import pytest

from archiver import dashboards, grafana
from iocs.archive_tables import ArchiveTable
from iocs.signals import MONITOR, Alarms, Catalogue, Severity, readback, setpoint
from tests.influx import running
from tests.processes import Process, ca_environment, free_port, wait_for

ROOT = Path(__file__).resolve().parents[2]


def panels(dashboard: dict) -> list[dict]:
    """All panels, folded ones too."""
    return [each for panel in dashboard["panels"] for each in (panel, *panel.get("panels", ()))]


def asked(query: str, start_ms: int, end_ms: int) -> str:
    """What Grafana makes of a query."""
    words = {
        "$timeFilter": f"time >= {start_ms}ms AND time <= {end_ms}ms",
        "$__interval": "1s",
        "${__from}": str(start_ms),
    }
    for word, text in words.items():
        query = query.replace(word, text)
    assert "$" not in query
    return query


def test_every_query_is_answered_with_the_example_labs_data(tmp_path: Path) -> None:
    environment = ca_environment(free_port())
    with running(tmp_path / "influx", "lab") as server:
        site = tmp_path / "site.toml"
        text = (ROOT / "site.example.toml").read_text(encoding="utf-8")
        (tmp_path / "docs").symlink_to(ROOT / "docs")  # the met station's files
        table = f'[archive.influx]\nurl = "{server.url}"\nversion = 1\nbucket = "lab"\nwrite_every = 0.2\n'
        site.write_text(text + table, encoding="utf-8")
        command = ("archiver", "dashboards", str(site), "-o", str(tmp_path / "grafana"))
        with Process(*command) as early:
            assert early.popen.wait(30) == 2
        assert "not seen by the archiver yet" in early.log()
        with (
            Process("iocs", "run", str(site), "--sim", environment=environment) as ioc,
            Process("archiver", "run", str(site), environment=environment) as archiver,
        ):
            ioc.line("serving PMU, HV, GAS, SCOPE, MET")
            wanted = {
                "LAB:PMU:ROW",
                "LAB:HV:ROW",
                "LAB:GAS:ROW",
                "LAB:SCOPE:C1:MEAN",
                "LAB:SCOPE:ONLINE",
                "LAB:HV:CH3:STATUS",
            }

            def seen() -> bool:
                told = server.ask('SHOW TAG VALUES WITH KEY = "pv"', "lab")["results"][0]
                return wanted <= {value for series in told.get("series", ()) for _, value in series["values"]}

            wait_for(seen, "all devices in the database")
            assert ioc.stop() == 0 and archiver.stop() == 0
        with Process(*command) as process:
            assert process.popen.wait(30) == 0, process.log()
        path = tmp_path / "grafana" / "countinghouse-lab.json"
        dashboard = json.loads(path.read_text())
        now = time.time_ns() // 10**6
        answered, empty = 0, []
        for panel in panels(dashboard):
            for target in panel.get("targets", ()):
                query = asked(target["query"], now - 600_000, now)
                (result,) = server.ask(query, "lab")["results"]
                assert "error" not in result, (query, result)
                values = [value for series in result.get("series", ()) for _, value, *_ in series["values"]]
                if any(value is not None for value in values):
                    answered += 1
                elif "__from" not in target["query"]:
                    empty.append(target["query"])
        # what is INVALID from the start has no number: the ratio to a baseline that was never taken, and its like
        assert answered > 150 and len(empty) < 0.1 * answered, empty
        for told in dashboard["annotations"]["list"]:
            assert "error" not in server.ask(asked(told["query"], now - 600_000, now), "lab")["results"][0]
        # what held before the time that is shown
        online = next(panel for panel in panels(dashboard) if panel["title"] == "HV: states")["targets"][1]["query"]
        (result,) = server.ask(asked(online, now + 1000, now + 2000), "lab")["results"]
        assert result["series"][0]["values"][0][1] in ("Online", "Offline")
        before = path.read_bytes()
        with Process(*command) as process:
            assert process.popen.wait(30) == 0
        assert path.read_bytes() == before  # it diffs


SIGNALS = (
    readback(
        "ONLINE", type=("Offline", "Online"), state_severities=(Severity.MAJOR, Severity.NO_ALARM), archive=MONITOR
    ),
    readback("ERROR", type=str, archive=MONITOR),
    readback("CH0:V", "V", precision=1, row="ROW", alarms=Alarms(lolo=1, low=2, high=8, hihi=9)),
    readback("CH1:V", "V", precision=2, row="ROW"),
    readback("T", "degC", archive=MONITOR, group="Gas"),
    setpoint("VSET", "V", archive=MONITOR),
    readback("OFF", "V"),
)


def made(**archive) -> dict:
    catalogue = Catalogue("HV", "hv", "LAB:HV:", 1, False, SIGNALS)
    return dashboards.of_site("lab", "LAB:", ArchiveTable.model_validate(archive), [catalogue])


def test_what_a_panel_says_comes_from_the_catalogue() -> None:
    dashboard = made()
    titles = [panel["title"] for panel in panels(dashboard)]
    assert titles[:4] == ["HV", "HV: states", "HV: V (V)", "HV: T (degC)"]
    assert titles[4:] == ["HV: settings, counters and all else", "HV: VSET (V)"]
    assert [each["name"] for each in dashboard["__inputs"]] == ["DS_LAB"]
    numbers = [panel["id"] for panel in panels(dashboard)]
    assert len(set(numbers)) == len(numbers) and dashboard["uid"] == "countinghouse-lab"
    states, volts, gas = panels(dashboard)[1:4]
    colours = states["fieldConfig"]["overrides"][0]["properties"][0]["value"][0]["options"]
    assert (colours["Offline"]["color"], colours["Online"]["color"]) == ("red", "green")
    assert volts["fieldConfig"]["defaults"]["unit"] == "volt" and gas["fieldConfig"]["defaults"]["unit"] == "celsius"
    assert volts["fieldConfig"]["overrides"][0]["matcher"]["options"] == "CH0:V"
    limits = volts["fieldConfig"]["overrides"][0]["properties"][0]["value"]["steps"]
    yellow = "#EAB839"
    assert [(step["color"], step["value"]) for step in limits] == [
        ("red", None), (yellow, 1), ("green", 2), (yellow, 8), ("red", 9),
    ]  # fmt: skip
    assert gas["fieldConfig"]["defaults"]["custom"]["spanNulls"] is False
    assert all(target["datasource"]["uid"] == "${DS_LAB}" for target in volts["targets"])
    assert "T (degC)" not in json.dumps(made(modes={"HV:T": "none"}))


@pytest.mark.parametrize(
    ("alarms", "told"),
    [
        (None, [("green", None)]),
        (Alarms(high=5), [("green", None), ("#EAB839", 5)]),
        (Alarms(hihi=5), [("green", None), ("red", 5)]),
        (Alarms(low=5), [("#EAB839", None), ("green", 5)]),
        (Alarms(lolo=5, hihi=6), [("red", None), ("green", 5), ("red", 6)]),
    ],
)
def test_thresholds_are_the_alarm_limits(alarms, told) -> None:
    assert [(step["color"], step["value"]) for step in grafana.steps(alarms)] == told


def test_values_under_names_of_ones_own_are_asked_for_there_in_the_units_of_the_pv() -> None:
    point = {"HV:T": {"measurement": "Temperature [K]", "field": "val", "offset": 273.15, "bucket": "old"}}
    influx = {"url": "http://127.0.0.1:1", "bucket": "lab", "version": 1, "point": point}
    (query,) = [target["query"] for target in panels(made(influx=influx))[3]["targets"]]
    assert query == 'SELECT ("val" - 273.15) AS "T" FROM "old".."Temperature [K]" WHERE $timeFilter'


def test_no_mean_is_taken_of_angles_and_words_of_bits() -> None:
    columns = (
        readback("VA:MAG", "V", row="ROW"),
        readback("VA:ANG", "deg", row="ROW"),
        readback("STAT", type=int, row="ROW"),
    )
    catalogue = Catalogue("PMU", "pmu", "LAB:PMU:", 1, False, columns)
    dashboard = dashboards.of_site("lab", "LAB:", ArchiveTable.model_validate({}), [catalogue])
    queries = [target["query"] for panel in panels(dashboard) for target in panel.get("targets", ())]
    assert [query.split()[1] for query in queries] == ['mean("VA:MAG")', 'last("VA:ANG")', 'last("STAT")']
