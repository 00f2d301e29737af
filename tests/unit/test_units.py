"""A site as systemd units: who runs what, fenced how, by the rules of systemd's manual pages; and the containers."""

import json
import re
import shlex
from pathlib import Path

import pytest

from ingest.cr1000.station_settings import StationSettings
from iocs import config, units
from iocs.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "site.example.toml"
PYTHON = "/opt/countinghouse/.venv/bin/python"
NAMES = ("ioc-pmu", "ioc-hv", "ioc-gas", "ioc-scope", "ioc-met", "archiver", "page")


def made(path: Path = EXAMPLE, *groups: list[str]) -> dict[str, str]:
    return units.files(config.load(path, kinds=True), groups, python=PYTHON, user="countinghouse")


def directives(text: str) -> dict[str, list[str]]:
    """Values by their key; each key stands in one section only (systemd.syntax(7))."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line and not line.startswith("["):
            key, equals, value = line.partition("=")
            assert equals and re.fullmatch(r"[A-Za-z]+", key), line
            found.setdefault(key, []).append(value)
    return found


def words(value: str) -> list[str]:
    """What systemd makes of a command: words, quotes, specifiers, variables (systemd.service(5), COMMAND LINES)."""
    assert not re.search(r"(?<!%)(%%)*%(?!%)", value) and not re.search(r"(?<!\$)(\$\$)*\$(?!\$)", value)
    return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(value)]


def write(folder: Path, more: str = "", name: str = "lab") -> Path:
    path = folder / "site.toml"
    gas = '[[device]]\nname = "GAS"\ntype = "gas"\nlink = "serial:///dev/ttyACM0"\n'
    pmu = '[[device]]\nname = "PMU"\ntype = "pmu"\nlink = "tcp://10.0.0.2"\nidcode = 1\nrecord = "raw/pmu.bin"\n'
    path.write_text(f'[site]\nname = "{name}"\nprefix = "A:B:"\n{gas}{pmu}{more}', encoding="utf-8")
    return path


def hv(*interlocks: tuple[str, str], more: str = "", name: str = "HV") -> str:
    tables = "".join(
        f'[[device.interlock]]\nname = "i{n}"\npv = "{pv}"\nserver = "{server}"\nhigh = 5\n'
        for n, (pv, server) in enumerate(interlocks)
    )
    return f'[[device]]\nname = "{name}"\ntype = "hv"\nlink = "tcp://10.0.0.3/{name}"\n{more}{tables}'.replace(
        f"/{name}", "" if name == "HV" else f":{1470 + len(name)}"
    )


def test_each_device_has_a_process_and_no_start_waits_for_another():
    files = made()
    assert {name for name in files if name.endswith(".service")} == {f"lab-{name}.service" for name in NAMES}
    commands = {name: words(directives(files[f"lab-{name}.service"])["ExecStart"][0]) for name in NAMES}
    site = str(EXAMPLE)
    assert commands["ioc-hv"] == [PYTHON, "-m", "iocs", "run", site, "--only", "HV"]
    # the interlock of the example believes the gas sensor at this port alone
    assert commands["ioc-gas"] == [PYTHON, "-m", "iocs", "run", site, "--only", "GAS", "--port", "5164"]
    assert commands["archiver"] == [PYTHON, "-m", "archiver", "run", site]
    assert commands["page"] == [PYTHON, "-m", "archiver", "serve", site]
    for name in NAMES:
        unit = directives(files[f"lab-{name}.service"])
        assert unit["After"] == ["network.target"] and not {"Requires", "Wants", "BindsTo", "Before"} & set(unit)
        assert unit["PartOf"] == unit["WantedBy"] == ["lab.target"]
        assert unit["Restart"] == ["always"] and unit["StartLimitIntervalSec"] == ["0"]
        assert unit["Type"] == ["notify"] and int(unit["WatchdogSec"][0]) > 0
        assert ("ExecReload" in unit) is name.startswith("ioc"), "SIGHUP ends what does not know it"
    assert directives(files["lab.target"])["WantedBy"] == ["multi-user.target"]


def test_a_loggers_record_is_written_where_the_site_file_says():
    station = {"name": "MET", "type": "cr1000", "station": "ridge", "config": ROOT / "docs/examples/station/config"}
    kept = StationSettings.model_validate(
        station | {"link": "http://10.0.0.4", "table": "T", "keep": "/srv/met/record.dat"}
    )
    assert kept.written_folders == [Path("/srv/met")]


def test_nobody_is_root_and_each_writes_its_own_folders_only():
    files = made()
    for name in NAMES:
        unit = directives(files[f"lab-{name}.service"])
        assert unit["User"] == unit["Group"] == ["countinghouse"]
        assert unit["ProtectSystem"] == ["strict"] and unit["NoNewPrivileges"] == ["yes"]
        assert unit["CapabilityBoundingSet"] == unit["AmbientCapabilities"] == [""]
        written = {"archiver": ["state", "data"], "page": [], "ioc-scope": ["state", "runs"]}.get(name, ["state"])
        assert unit.get("ReadWritePaths", []) == [f"-{ROOT / folder}" for folder in written]
        serial = name == "ioc-gas"
        assert ("PrivateDevices" in unit) is not serial and ("DevicePolicy" in unit) is serial
        assert ("SupplementaryGroups" in unit) is serial
    made_folders = [line.split() for line in files["lab.tmpfiles.conf"].splitlines()]
    assert [line[1] for line in made_folders] == [str(ROOT / folder) for folder in ("state", "runs", "data")]
    assert all(line[0] == "d" and line[2:] == ["0750", "countinghouse", "countinghouse", "-"] for line in made_folders)
    assert files["lab.sysusers.conf"] == 'u countinghouse - "Example laboratory"\n'


def test_devices_share_a_process_where_told_and_a_slow_stop_has_its_time(tmp_path):
    stop = 'at_stop = "off"\nat_stop_within = 300\n'
    files = made(write(tmp_path, hv(("A:B:GAS:RH", "10.0.0.1:5200"), more=stop)), ["PMU", "GAS"])
    shared = directives(files["a-b-ioc-gas-pmu.service"])
    assert words(shared["ExecStart"][0])[5:] == ["--only", "GAS", "PMU", "--port", "5200"]
    assert shared["ReadWritePaths"] == [f"-{tmp_path}/state", f"-{tmp_path}/raw"] and "SupplementaryGroups" in shared
    assert directives(files["a-b-ioc-hv.service"])["TimeoutStopSec"] == ["360"]
    assert "a-b-ioc-gas.service" not in files and "a-b-ioc-pmu.service" not in files


@pytest.mark.parametrize(
    ("more", "groups", "why"),
    [
        (hv(), [["HV", "GAS"]], "HV (hv) runs in a process of its own"),
        ("", [["GAS", "NO"]], "no device 'NO'; there are GAS, PMU"),
        ("", [["GAS"], ["PMU", "GAS"]], "GAS is in two groups"),
        (hv(("A:B:GAS:RH", "10.0.0.1")), [], "the port of whichever IOC starts first"),
        (hv(("A:B:GAS:RH", "h:5200"), ("A:B:GAS:TEMP", "h:5201")), [], "serves on port 5200 for another"),
        (hv(("A:B:GAS:RH", "h:5200"), ("A:B:PMU:FREQ", "h:5200")), [], "port 5200 is that of several IOCs"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path, more, groups, why):
    with pytest.raises(config.ConfigError, match=re.escape(why)):
        made(write(tmp_path, more), *groups)


def test_a_foreign_source_and_one_of_the_same_process_need_no_port(tmp_path):
    files = made(write(tmp_path, hv(("OTHER:RH", "10.0.0.9"), ("A:B:HV:CH0:VMON", "127.0.0.1:5300"))))
    assert "--port" not in "".join(files.values())


def test_paths_of_any_characters_stay_what_they_are(tmp_path):
    folder = tmp_path / 'a "lab" 100 % $HOME \\n'
    folder.mkdir()
    files = made(write(folder, "[serve]\nport = 80\n", name="50 % \\\\ two\\nlines"))
    unit = directives(files["a-b-ioc-gas.service"])
    assert words(unit["ExecStart"][0])[4] == str(folder / "site.toml")
    assert unit["WorkingDirectory"] == [str(folder).replace("%", "%%")]
    assert unit["Description"] == ["50 %% \\ two lines: IOC of GAS"]
    (written,) = shlex.split(unit["ReadWritePaths"][0])
    assert written.replace("%%", "%") == f"-{folder}/state"
    assert shlex.split(files["a-b.tmpfiles.conf"].splitlines()[0])[1].replace("%%", "%") == f"{folder}/state"
    page = directives(files["a-b-page.service"])
    assert page["CapabilityBoundingSet"] == page["AmbientCapabilities"] == ["CAP_NET_BIND_SERVICE"]


def test_the_image_copies_what_there_is_and_each_process_is_run_from_it():
    text = made()["Containerfile"]
    steps = [line.split(None, 1) for line in text.splitlines() if line and not line.startswith("#")]
    copied = [words for step, rest in steps if step == "COPY" for words in rest.split()[:-1]]
    assert {"pyproject.toml", "iocs", "archiver", "drivers", "ingest"} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)
    user = next(rest for step, rest in steps if step == "USER")
    assert user.split(":")[0] not in ("0", "root")
    extras = re.search(r"'\.\[(.*)\]'", text)
    assert extras and extras[1] == "cr1000,scope,web"
    assert json.loads(next(rest for step, rest in steps if step == "CMD"))[:2] == ["iocs", "run"]
    runs = [shlex.split(line[1:]) for line in text.splitlines() if line.startswith("#   podman run")]
    units_run = [words(directives(made()[f"lab-{name}.service"])["ExecStart"][0])[2:] for name in NAMES]
    assert [run[run.index("countinghouse") + 1 :] for run in runs] == units_run
    assert ["--group-add=dialout" in run for run in runs] == [name == "ioc-gas" for name in NAMES]


def test_the_command_writes_them(tmp_path, capsys):
    assert main(["units", str(EXAMPLE), "-o", str(tmp_path / "u"), "--group", "GAS", "MET", "--user", "lab"]) == 0
    said = capsys.readouterr().out
    names = {path.name for path in (tmp_path / "u").iterdir()}
    assert "lab-ioc-gas-met.service" in names and "User=lab" in (tmp_path / "u" / "lab-page.service").read_text()
    assert all(name in said for name in names)
    assert main(["units", str(EXAMPLE), "-o", str(tmp_path / "v"), "--user", "root"]) == 2
    assert "not root" in capsys.readouterr().err and not (tmp_path / "v").exists()
    assert main(["units", str(EXAMPLE), "-o", str(tmp_path / "v"), "--group", "HV", "GAS"]) == 2
