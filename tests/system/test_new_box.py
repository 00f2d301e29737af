"""The life of a device, end to end, with a kind of device that is three small files (tests/newbox)."""

import json
import math
import signal
import subprocess
import sys
import time

import pytest

from iocs.signals import Catalogue, Kind
from iocs.state import peek
from tests.processes import Process, free_port, wait_for, write_site
from tests.thermostat_lab import COMM, DISABLE, INVALID, MAJOR, MINOR, NO_ALARM, UDF, Lab


@pytest.fixture
def lab(tmp_path):
    with Lab(tmp_path) as lab:
        yield lab


def own_names(lab):
    """Names of the PVs that come from the box, and of the row."""
    catalogue = Catalogue.from_json(lab.value("T:PVS"))
    return [s.name for s in catalogue.signals if s.group != "Device" and s.name != "SEEN"] + ["ROW"]


def online(lab):
    return lab.wait("T:ONLINE", 1)


def test_online_every_pv_has_unit_and_description_and_is_well(lab):
    lab.site()
    lab.box()
    ioc = lab.ioc()
    online(lab)
    lab.wait("T:AGE", lambda reading: reading["severity"] == NO_ALARM)
    catalogue = Catalogue.from_json(lab.value("T:PVS"))
    assert (catalogue.device, catalogue.prefix, catalogue.simulated) == ("T", f"{lab.prefix}T:", False)
    assert {"CH0:T", "CH1:T", "TSET", "ONLINE", "PVS"} <= {signal.name for signal in catalogue.signals}
    for signal_ in catalogue.signals:
        reading = lab.read(f"T:{signal_.name}")
        assert signal_.doc and (signal_.kind is not Kind.FLOAT or reading["units"] == signal_.unit != "")
        if signal_.name != "SEEN":
            assert reading["severity"] == NO_ALARM and abs(reading["timestamp"] - time.time()) < 30, signal_.name
    assert lab.read("T:SEEN")["status"] == UDF
    assert lab.value("T:IDN") == "THERMO 7" and lab.value("T:STATE") == 1 and lab.value("T:SIM") == 0
    beat = lab.value("T:HEARTBEAT")
    lab.wait("T:HEARTBEAT", lambda reading: reading["value"] > beat)
    assert ioc.stop() == 0


def test_lost_at_once_with_last_values_and_healed_without_a_restart(lab):
    lab.site()
    box = lab.box()
    ioc = lab.ioc()
    online(lab)
    names = own_names(lab)
    lab.wait("T:POLLS", lambda reading: reading["value"] > 3)
    box.kill()
    lab.wait("T:ONLINE", lambda reading: reading["value"] == 0 and reading["severity"] == MAJOR, 3)
    lost = {name: lab.read(f"T:{name}") for name in names}
    for name, reading in lost.items():
        assert (reading["severity"], reading["status"]) == (INVALID, COMM), name
        assert reading["timestamp"] > time.time() - 30
    assert lost["CH1:T"]["value"] == 300.0 and lost["ROW"]["value"][-1] == 300.0
    lab.wait("T:ERROR.VAL$", lambda reading: "connection refused" in reading["text"])
    text = lab.value("T:ERROR.VAL$")
    assert f"tcp://127.0.0.1:{lab.box_port}" in text and "nothing listens on that port" in text
    assert lab.read("T:STATE")["value"] == 2 and lab.read("T:STATE")["severity"] == MAJOR
    assert lab.value("T:RECONNECTS") == 0
    for name in names:  # not a word of it changes while the box is away
        now = lab.read(f"T:{name}")
        assert (now["value"], now["timestamp"]) == (lost[name]["value"], lost[name]["timestamp"])
    lab.box()
    online(lab)
    for name in names:
        lab.wait(f"T:{name}", lambda reading: reading["severity"] == NO_ALARM)
    assert lab.value("T:RECONNECTS") == 1 and lab.value("T:ERROR") == ""
    assert sum("nothing listens" in line for line in ioc.err) == 1, "the same failure is logged once"
    assert ioc.stop() == 0


@pytest.mark.parametrize(("fault", "why"), [("mute", "no complete answer|no good data"), ("garble", "not a number")])
def test_a_box_that_answers_nothing_or_nonsense_is_lost(lab, fault, why):
    lab.site()
    box = lab.box()
    lab.ioc()
    online(lab)
    lab.fault(box, **{fault: True})
    lab.wait("T:ONLINE", 0, 3)
    assert lab.read("T:CH0:T")["severity"] == INVALID and lab.value("T:CH0:T") == 290.0
    assert any(text in lab.value("T:ERROR.VAL$") for text in why.split("|"))
    lab.fault(box, **{fault: False})
    online(lab)


def test_before_the_first_good_value_everything_is_undefined(lab):
    lab.site()
    lab.ioc()
    lab.wait("T:STATE", 2)
    assert lab.value("T:RECONNECTS") == 0
    reading = lab.read("T:TSET_RBV")
    assert (reading["severity"], reading["status"]) == (INVALID, UDF) and math.isnan(reading["value"])
    lab.box()
    online(lab)
    lab.wait("T:TSET_RBV", 295.0)
    assert lab.value("T:RECONNECTS") == 0


def test_enable_releases_the_box_over_a_restart_and_takes_it_back(lab):
    lab.site()
    box = lab.box()
    ioc = lab.ioc()
    online(lab)
    lab.libca.put(f"{lab.prefix}T:ENABLE", 0)
    box.line("closed")
    assert lab.value("T:ENABLE") == 0 and lab.value("T:STATE") == 3 and lab.value("T:ONLINE") == 0
    assert lab.read("T:CH0:T")["status"] == DISABLE
    lab.libca.put(f"{lab.prefix}T:TSET", 300)
    assert "disabled" in lab.value("T:LASTREJECT") and not any("SETPOINT" in line for line in box.out)
    assert ioc.stop() == 0
    connections = box.out.count("connected")
    second = lab.ioc()
    lab.wait("T:STATE", 3)
    beat = lab.value("T:HEARTBEAT")
    lab.wait("T:HEARTBEAT", lambda reading: reading["value"] > beat)
    assert box.out.count("connected") == connections and "ENABLE" in lab.value("T:ERROR.VAL$")
    lab.libca.put(f"{lab.prefix}T:ENABLE", 1)
    online(lab)
    assert lab.value("T:STATE") == 1 and lab.value("T:ERROR") == ""
    assert second.stop(signal.SIGINT) == 0


def test_enable_again_does_not_wait_for_the_back_off(lab):
    lab.site()
    lab.ioc()
    lab.wait("T:STATE", 2)
    lab.libca.put(f"{lab.prefix}T:ENABLE", 0)
    lab.wait("T:STATE", 3)
    lab.box()
    lab.libca.put(f"{lab.prefix}T:ENABLE", 1)
    online(lab)


def test_puts(lab):
    lab.site(more="limits.TSET = [280, 320]\n")
    box = lab.box()
    ioc = lab.ioc()
    online(lab)
    tset = f"{lab.prefix}T:TSET"
    assert (lab.read("T:TSET")["lower_ctrl_limit"], lab.read("T:TSET")["upper_ctrl_limit"]) == (280, 320)
    lab.libca.put(tset, 300.5)
    assert lab.value("T:TSET") == 300.5
    lab.wait("T:TSET_RBV", 300.5)
    lab.libca.put(f"{lab.prefix}T:MODE", "Cool")
    assert lab.value("T:MODE") == 2
    for refused, why in ((321, "beyond the limits"), (279.9, "beyond the limits"), (math.nan, "nan")):
        before = lab.read("T:TSET")
        lab.libca.put(tset, refused)
        after = lab.read("T:TSET")
        assert [after[key] for key in ("value", "severity", "status")] == [
            before[k] for k in ("value", "severity", "status")
        ]
        assert lab.value("T:LASTREJECT").startswith("TSET = ") and why in lab.value("T:LASTREJECT.VAL$")
    asked = [line for line in box.out if line.startswith("<") and "IDN?" not in line]
    assert asked == ["< SETPOINT 300.5", "< MODE 2"], "nothing that was refused went to the box"
    lab.fault(box, refuse=True)
    lab.libca.put(tset, 301)
    assert lab.value("T:TSET") == 300.5 and "locked at the panel" in lab.value("T:LASTREJECT.VAL$")
    lab.fault(box, refuse=False)
    online(lab)
    lab.libca.put(tset, 310)  # "locked" came as a DeviceError of the put: the device went on
    lab.wait("T:TSET_RBV", 310)
    assert any("put of TSET = 300.5 by " in line and " T " in line for line in ioc.err)


def test_a_bug_in_put_refuses_the_put_and_nothing_else(lab):
    lab.site()
    lab.box()
    ioc = lab.ioc()
    online(lab)
    lab.libca.put(f"{lab.prefix}T:TSET", 333)
    assert "internal error" in lab.value("T:LASTREJECT.VAL$") and lab.value("T:TSET") == 295
    ioc.line("ZeroDivisionError: a bug in put")
    assert lab.read("T:TSET")["severity"] == NO_ALARM and lab.value("T:ONLINE") == 1


def test_a_put_while_the_box_is_lost_is_refused(lab):
    lab.site()
    box = lab.box()
    lab.ioc()
    online(lab)
    box.kill()
    lab.wait("T:ONLINE", 0)
    lab.libca.put(f"{lab.prefix}T:TSET", 300)
    assert "does not answer" in lab.value("T:LASTREJECT.VAL$") and lab.value("T:TSET") == 295


def test_the_panel_moves_the_setpoint(lab):
    lab.site()
    box = lab.box()
    lab.ioc()
    lab.wait("T:TSET", 295)
    lab.fault(box, setpoint=281.5)
    lab.wait("T:TSET", 281.5)


def test_the_box_grows_and_shrinks(lab):
    lab.site()
    box = lab.box()
    first = lab.ioc()
    online(lab)
    lab.libca.monitor(f"{lab.prefix}T:CH1:T")
    wait_for(lambda: [300.0, 0, 0, "time_double"] in lab.libca.events(f"{lab.prefix}T:CH1:T"), "event")
    version = Catalogue.from_json(lab.value("T:PVS")).version

    def restart(temperatures):
        nonlocal box
        box.kill()
        lab.wait("T:ONLINE", 0)
        box = (
            lab.box()
        )  # it may be asked before it has been changed: then it changes its mind, and drops the connection
        lab.fault(box, temperatures=temperatures)
        lab.libca.put(f"{lab.prefix}T:ENABLE", 0)
        lab.libca.put(f"{lab.prefix}T:ENABLE", 1)
        online(lab)

    restart([1.0, 2.0, 3.0])
    lab.wait("T:CH2:T", 3.0)
    grown = Catalogue.from_json(lab.value("T:PVS"))
    assert grown.version > version and "CH2:T" in [signal_.name for signal_ in grown.signals]
    row = lab.wait("T:ROW", lambda reading: reading["value"][-1] == 3.0 and reading["severity"] == NO_ALARM)
    assert row["value"][1] == grown.version and len(row["value"]) == 4 + 5
    restart([5.0])
    lab.wait("T:CH0:T", 5.0)
    shrunk = Catalogue.from_json(lab.value("T:PVS"))
    assert shrunk.version > grown.version and "CH1:T" not in [signal_.name for signal_ in shrunk.signals]
    wait_for(lambda: lab.libca.events(f"{lab.prefix}T:CH1:T")[-1] == "disconnected", "client told of the withdrawal")
    saved = peek(lab.directory / "state", "T")
    assert saved["version"] == shrunk.version and saved["shape"] == {"channels": 1}
    assert first.stop() == 0
    box.kill()
    second = lab.ioc()  # the PVs of a box that is away
    assert lab.read("T:CH0:T")["status"] == UDF
    assert Catalogue.from_json(lab.value("T:PVS")).version == shrunk.version
    box = lab.box()
    lab.wait("T:CH1:T", 300.0)
    assert Catalogue.from_json(lab.value("T:PVS")).version == shrunk.version + 1
    wait_for(lambda: lab.libca.events(f"{lab.prefix}T:CH1:T")[-1] == [300.0, 0, 0, "time_double"], "found again")
    assert second.stop() == 0


def test_what_does_not_fit_the_site_file_is_told_and_not_served(lab):
    lab.site(more='alarms."CH0:T" = { high = 1 }\nlimits.TSET = [280, 320]\nlimits.TZET = [1, 2]\n')
    lab.box()
    ioc = lab.ioc()
    online(lab)
    assert "TZET" in ioc.line("fit none of the signals")
    assert ioc.stop() == 0
    lab.site(more="limits.TSET = [0, 320]\n")
    refused = lab.process("iocs", "run", lab.directory / "site.toml")
    assert refused.popen.wait(30) == 2
    refused.line("TSET: limits [0.0, 320.0] are not within [250.0, 350.0]")


def test_alarms_of_the_site_file(lab):
    lab.site(more='alarms.T = { high = 295, hihi = 305, hysteresis = 2 }\nalarms."CH0:T" = { low = 291 }\n')
    box = lab.box()
    lab.ioc()
    online(lab)
    lab.wait("T:CH0:T", lambda reading: (reading["severity"], reading["status"]) == (MINOR, 6))  # LOW: its own alarms
    reading = lab.wait("T:CH1:T", lambda reading: (reading["severity"], reading["status"]) == (MINOR, 4))  # HIGH
    assert (reading["upper_warning_limit"], reading["upper_alarm_limit"]) == (295, 305)
    for temperature, alarm in ((305.0, (MAJOR, 3)), (303.5, (MAJOR, 3)), (302.0, (MINOR, 4)), (290.0, (0, 0))):
        lab.fault(box, temperatures=[300.0, temperature])
        reading = lab.wait("T:CH1:T", temperature)
        assert (reading["severity"], reading["status"]) == alarm, temperature


def test_rows(lab):
    lab.site()
    box = lab.box()
    lab.ioc()
    row = f"{lab.prefix}T:ROW"
    lab.libca.monitor(row)
    online(lab)
    version = Catalogue.from_json(lab.value("T:PVS")).version
    lab.fault(box, temperatures=[290.0, 0.0])  # 0 is what this kind takes for a missing sensor

    def good(events):
        return [event[0] for event in events if isinstance(event, list) and event[1] == NO_ALARM]

    rows = wait_for(
        lambda: good(lab.libca.events(row)) if any(r[-1] != r[-1] for r in good(lab.libca.events(row))[-3:]) else None,
        "row with NaN",
    )
    numbers = [r[0] for r in rows]
    assert numbers == list(range(int(numbers[0]), int(numbers[0]) + len(numbers))) and numbers[0] <= 20
    assert {r[1] for r in rows} == {version} and all(0 <= r[3] < 1e9 for r in rows)
    assert [rows[0][4:], rows[-1][4:7]] == [[295.0, 1.0, 290.0, 300.0], [295.0, 1.0, 290.0]]
    reading = lab.wait("T:CH1:T", 0.0)
    assert (reading["severity"], lab.read("T:CH0:T")["severity"]) == (INVALID, NO_ALARM)
    stamp = lab.read("T:ROW")
    assert stamp["value"][2] == stamp["posixseconds"] and stamp["value"][3] == stamp["nanoseconds"]


def test_a_bug_makes_the_device_invalid_and_its_neighbour_does_not_notice(lab):
    lab.site(names=("N",))
    other = free_port()
    text = (lab.directory / "site.toml").read_text()
    table = f'[[device]]\nname = "T"\ntype = "tests.newbox.device:Thermostat"\nlink = "tcp://127.0.0.1:{other}"\n'
    (lab.directory / "site.toml").write_text(text + table)
    lab.box()
    box = lab.box(other)
    ioc = lab.ioc()
    online(lab)
    lab.wait("N:ONLINE", 1)
    box.kill()
    lab.wait("T:ONLINE", 0)
    box = lab.box(other)
    lab.fault(box, name="BUG 1")
    lab.libca.put(f"{lab.prefix}T:ENABLE", 0)
    lab.libca.put(f"{lab.prefix}T:ENABLE", 1)
    state = lab.wait("T:STATE", 4)
    assert state["severity"] == MAJOR and lab.read("T:CH0:T")["severity"] == INVALID
    assert "internal error: ZeroDivisionError: a bug of this kind" in lab.value("T:ERROR.VAL$")
    ioc.line("Traceback")
    asked = box.out.count("< IDN?")
    wait_for(lambda: box.out.count("< IDN?") >= asked + 2, "started again twice")
    assert ioc.log().count("Traceback") == 1, "the same bug is logged once"
    lab.fault(box, name="THERMO 8")
    online(lab)
    lab.wait("T:CH0:T", lambda reading: reading["severity"] == NO_ALARM)
    assert lab.value("N:RECONNECTS") == 0 and lab.value("N:ONLINE") == 1
    assert not any(" N " in line and ("WARNING" in line or "ERROR" in line) for line in ioc.err)
    assert ioc.stop() == 0


@pytest.mark.parametrize("state", [7, -1])
def test_a_state_that_the_enum_does_not_have_is_invalid_and_told(lab, state):
    lab.site()
    box = lab.box()
    ioc = lab.ioc()
    lab.wait("T:MODE_RBV", 1)
    lab.fault(box, mode=state)
    reading = lab.wait("T:MODE_RBV", lambda reading: reading["severity"] == INVALID)
    assert reading["value"] == 1 and lab.value("T:ONLINE") == 1 and lab.read("T:CH0:T")["severity"] == NO_ALARM
    assert math.isnan(lab.wait("T:ROW", lambda reading: reading["value"][5] != 1)["value"][5])
    ioc.line("cannot be served, the PV is INVALID")
    polls = lab.value("T:POLLS")
    lab.wait("T:POLLS", lambda reading: reading["value"] > polls + 3)
    assert sum("MODE_RBV" in line for line in ioc.err) == 1
    lab.fault(box, mode=2)
    lab.wait("T:MODE_RBV", lambda reading: (reading["value"], reading["severity"]) == (2, NO_ALARM))


def test_a_second_process_for_the_same_device_is_refused_before_it_opens_the_box(lab):
    lab.site()
    box = lab.box()
    first = lab.ioc()
    online(lab)
    second = lab.process("iocs", "run", lab.directory / "site.toml")
    assert second.popen.wait(30) == 2
    second.line(f"T is already run by process {first.popen.pid}")
    assert box.out.count("connected") == 1 and first.popen.poll() is None


def test_sim_starts_a_simulator_and_keeps_its_state_apart(lab):
    lab.site()
    ioc = lab.ioc("--sim")
    online(lab)
    assert lab.value("T:SIM") == 1 and Catalogue.from_json(lab.value("T:PVS")).simulated
    assert "on simulators" in ioc.line("serving")
    assert (lab.directory / "sim" / "T.json").exists() and not (lab.directory / "state").exists()
    assert ioc.stop(signal.SIGINT) == 0


def test_watching_here_and_far(lab):
    far, there = lab.site(names=("F",)), free_port()
    environment = {**lab.environment, "EPICS_CAS_SERVER_PORT": str(free_port())}
    lab.environment["EPICS_CA_ADDR_LIST"] += f" 127.0.0.1:{environment['EPICS_CAS_SERVER_PORT']}"
    lab.box()
    lab.ioc()
    lab.wait("F:ONLINE", 1)
    table = '[[device]]\nname = "{}"\ntype = "tests.newbox.device:Thermostat"\nlink = "tcp://127.0.0.1:{}"\n'
    text = table.format("T", there) + f'watches = "{lab.prefix}F:MODE"\n' + table.format("U", there)
    text += f'watches = "{lab.prefix}T:MODE"\n' + table.format("V", there) + f'watches = "{lab.prefix}T:MODE"\n'
    directory = far.parent / "second"
    directory.mkdir()
    box = lab.box(there)
    path = write_site(directory, lab.prefix, text)
    with Process("iocs", "run", str(path), environment=environment) as second:
        second.line("serving")
        lab.wait("T:ONLINE", 1)
        lab.wait("T:SEEN", "1 NO_ALARM far True")
        lab.wait("U:SEEN", "1 NO_ALARM here True")
        lab.libca.put(f"{lab.prefix}F:MODE", 2)
        lab.wait("T:SEEN", "2 NO_ALARM far True")
        lab.libca.put(f"{lab.prefix}T:MODE", 0)
        lab.wait("U:SEEN", "0 NO_ALARM here True")
        lab.wait("V:SEEN", "0 NO_ALARM here True")
        box.kill()
        lab.wait("T:ONLINE", 0)
        assert second.stop() == 0


# the command


def iocs(lab, *arguments):
    command = [sys.executable, "-m", "iocs", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=lab.environment, timeout=60)


def test_only_and_except(lab):
    path = lab.site(names=("A", "B", "C"))
    lab.box()
    ioc = lab.ioc("--only", "A", "B", "--except", "B")
    lab.wait("A:ONLINE", 1)
    assert "serving A on 127.0.0.1 port" in ioc.line("serving")
    rest = iocs(lab, "run", path, "--only", "A", "--except", "A")
    assert rest.returncode == 2 and "no device is left" in rest.stderr
    wrong = iocs(lab, "run", path, "--only", "X")
    assert wrong.returncode == 2 and "no device 'X'; it has A, B, C" in wrong.stderr
    other = lab.process("iocs", "run", path, "--except", "A")
    other.line("serving B, C")
    assert ioc.stop() == 0 and other.stop() == 0


def test_log_files(lab):
    lab.site()
    file = lab.directory / "ioc.log"
    for options, starts in (
        (["--log-file"], 1),
        (["--log-file"], 2),
        (["--log-overwrite"], 1),
    ):
        ioc = lab.ioc(*options, file)
        wait_for(lambda: "T        lost: " in file.read_text(), "loss in the log")
        assert ioc.stop() == 0 and ioc.err == []
        assert file.read_text().count("start\n") == starts
    lines = file.read_text().splitlines()
    assert all(line[10] == "T" and line[23] == "Z" for line in lines) and lines[-1].endswith("stopped")
    ioc = lab.ioc("--log-level", "error")
    lab.wait("T:STATE", 2)
    assert ioc.stop() == 0 and ioc.err == []
    bad = iocs(lab, "run", lab.directory / "site.toml", "--log-file", lab.directory / "no" / "file")
    assert bad.returncode == 2 and "cannot be opened" in bad.stderr


def test_version_list_and_usage(lab):
    path = lab.site(more="limits.TSET = [280, 320]\n")
    version = iocs(lab, "--version")
    assert version.returncode == 0 and version.stdout.startswith("countinghouse ")
    assert iocs(lab).returncode == 2 and iocs(lab, "run").returncode == 2
    table = iocs(lab, "list", path, "--csv").stdout.splitlines()
    assert table[0] == "pv,direction,kind,unit,limits,level,description"
    assert f"{lab.prefix}T:TSET,setpoint,float,K,280..320,operator,Temperature asked for" in table
    plain = iocs(lab, "list", path)
    assert plain.returncode == 0 and len(plain.stdout.splitlines()) == len(table) - 1
    assert f"{lab.prefix}T:ROW" in plain.stdout and not (lab.directory / "state").exists()
    assert json.loads(iocs(lab, "schema").stdout)["properties"]["site"]


def test_list_knows_what_the_box_told_last_and_fits_into_a_pipe(lab):
    path = lab.site()
    lab.box()
    ioc = lab.ioc()
    online(lab)
    assert ioc.stop() == 0
    assert f"{lab.prefix}T:CH1:T" in iocs(lab, "list", path).stdout
    command = f"{sys.executable} -m iocs list {path} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=lab.environment, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_state_that_cannot_be_saved_does_not_take_the_device_down(lab):
    lab.site()
    lab.box()
    ioc = lab.ioc()
    online(lab)
    (lab.directory / "state" / "T.json.new").mkdir()  # what comes nearest to a full disk: it cannot be written
    lab.libca.put(f"{lab.prefix}T:ENABLE", 0)
    assert lab.value("T:STATE") == 3
    ioc.line("state could not be saved")
    lab.libca.put(f"{lab.prefix}T:ENABLE", 1)
    online(lab)
    assert ioc.stop() == 0
