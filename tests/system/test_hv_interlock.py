"""Interlocks of a supply, from the source's process to the wire: what trips, what does not, what a kill leaves."""

import json
import signal
import subprocess
import time

import pytest

from iocs.interlock import State
from tests.hv_lab import HvLab
from tests.processes import free_port, wait_for, write_site
from tests.raw_ca import NORMAL, NOWTACCESS, PUTFAIL, RawClient
from tests.thermostat_lab import MAJOR, MINOR, NO_ALARM, THERMOSTAT

WAITING, ARMED, DELAY, ACTING, TRIPPED, BYPASSED = State
CH0 = "[device.channel.0]\nstandby = 100\n"
WARM = "high = 310\nhysteresis = 5\n"
ILK = '[[device.interlock]]\nname = "warm"\npv = "{pv}"\n{more}\n'


class InterlockLab(HvLab):
    """A supply and a thermostat whose temperature must stay below 310 K, in one process or in two."""

    def sites(
        self,
        more: str = "",
        *,
        interlock: str = "",
        server: bool = True,
        simulated: bool = True,
        pv: str = "T:CH0:T",
        good: str = WARM,
        rest: str = "",
    ) -> None:
        """Write the site file of the supply and the thermostat; `interlock` goes on with the interlock's table."""
        self.t_port = free_port()
        self.t_ca = free_port()
        interlock += f'\nserver = "127.0.0.1:{self.t_ca}"' if server else ""
        table = ILK.format(pv=f"{self.prefix}{pv}", more=good + interlock)
        link = f"tcp://127.0.0.1:{self.box_port}"
        hv = f'[[device]]\nname = "HV"\ntype = "iocs.hv:HV"\nlink = "{link}"\npoll = 0.3\npoll_ramping = 0.2\n'
        t = THERMOSTAT.format(name="T", port=self.t_port)
        path = write_site(self.directory, self.prefix, hv + more + CH0 + table + t, rest)
        if not simulated:
            path.write_text(path.read_text().replace("simulated = true", "simulated = false"))

    def thermometer(self):
        """Switch the simulated thermostat on."""
        self.t_box = self.process("tests.newbox.simulator", "--port", self.t_port, stdin=subprocess.PIPE)
        self.t_box.line("listening")
        return self.t_box

    def warm(self, kelvin: float) -> None:
        """Change the temperature that the interlock looks at."""
        self.t_box.say({"temperatures": [kelvin, 300.0]})

    def source(self, *options: object):
        """Start the thermostat's IOC on the port where the interlock expects it."""
        return self.ioc("--only", "T", "--port", self.t_ca, *options)

    def live(self) -> None:
        """Have channels 0 and 1 at 500 V, as somebody left them."""
        for number in (0, 1):
            self.say(channel={"number": number, "vset": 500.0, "volts": 500.0, "on": True})
        self.see("CH1:VMON", 500)

    def state(self, wanted: State, deadline: float = 30.0) -> dict:
        """Wait until the interlock is in a state."""
        return self.see("ILK1:STATE", int(wanted), deadline)

    def two(self) -> tuple:
        """Start everything, the supply and the thermostat in processes of their own; armed, and 500 V on."""
        self.supply("--speed", "20")
        self.thermometer()
        source = self.source()
        owner = self.ioc("--only", "HV")
        self.online()
        self.state(ARMED)
        self.live()
        return source, owner

    def tripped(self, cause: str) -> None:
        """See that it trips: all channels off on the wire, latched with its cause, and told."""
        reading = self.state(TRIPPED)
        assert reading["severity"] == MAJOR
        assert cause in self.hv("ILK1:CAUSE.VAL$")
        for number in (0, 1):
            assert f"CH:{number},PAR:OFF" in self.requests()
            self.see(f"CH{number}:LIVE", 0)

    def saved(self) -> dict:
        """Give what is saved of the interlock."""
        return json.loads((self.directory / "state" / "HV.json").read_text())["data"]["memory"]["interlocks"]["warm"]


@pytest.fixture
def lab(tmp_path):
    with InterlockLab(tmp_path) as lab:
        yield lab


def one(lab, more="", interlock=""):
    """Both devices in one process."""
    lab.sites(more, interlock=interlock, server=False)
    lab.supply("--speed", "20")
    lab.thermometer()
    ioc = lab.ioc()
    lab.online()
    lab.state(ARMED)
    lab.live()
    return ioc


def test_too_warm_for_the_delay_switches_off_latches_and_is_reset_by_an_expert(lab):
    one(lab, interlock="delay = 0.5")
    assert lab.hv("ILK1:CAUSE") == "" and lab.read("HV:ILK1:STATE")["severity"] == NO_ALARM
    lab.refused("ILK1:RESET", 1, "has not tripped")
    began = time.monotonic()
    lab.warm(310.5)
    lab.tripped(f"{lab.prefix}T:CH0:T is 310.5, above 310")
    assert time.monotonic() - began > 0.5
    since = lab.hv("ILK1:SINCE")
    assert abs(time.mktime(time.strptime(since, "%Y-%m-%d %H:%M:%S")) - time.mktime(time.gmtime())) < 60
    (noted,) = [line for line in lab.put_log() if line["pv"].endswith("HV:CH0:ON")]
    cause = f"interlock warm: {lab.prefix}T:CH0:T is 310.5, above 310"
    assert (noted["by"], noted["old"], noted["new"], noted["accepted"]) == (cause, "On", "Off", True)
    lab.refused("CH0:ON", 1, "the interlock warm has tripped")
    lab.warm(306.0)
    lab.refused("ILK1:RESET", 1, "the condition is still bad")
    sent = lab.requests()
    lab.warm(304.0)
    wait_for(lambda: reset(lab), "reset")
    assert lab.state(ARMED) and lab.requests() == sent, "what was on is not switched on again"
    lab.put("CH0:ON", 1)
    assert lab.hv("CH0:ON_RBV") == 1


def reset(lab):
    lab.put("ILK1:RESET", 1)
    return lab.hv("ILK1:STATE") == ARMED


def test_a_short_excursion_trips_nothing(lab):
    one(lab, interlock="delay = 60")
    lab.warm(311)
    reading = lab.state(DELAY)
    assert reading["severity"] == MINOR
    lab.refused("CH2:ON", 1, "is about to trip")
    lab.warm(300)
    lab.state(ARMED)
    assert lab.requests() == []


def test_a_bypass_has_an_expiry_and_an_alarm_and_refuses_nothing(lab):
    one(lab)
    lab.put("ILK1:BYPASS", 3600)
    assert lab.state(BYPASSED)["severity"] == MINOR
    reading = lab.see("ILK1:BYPASS", lambda reading: reading["severity"] == MINOR)
    assert 3500 < reading["value"] <= 3600
    lab.warm(400)
    lab.see("ILK1:CAUSE.VAL$", lambda reading: "above 310" in reading["text"] and "bypassed by" in reading["text"])
    lab.put("CH2:ON", 1)
    assert lab.hv("CH2:ON_RBV") == 1 and lab.requests() == ["CH:2,PAR:ON"]
    lab.refused("ILK1:BYPASS", 90000, "beyond the limits")
    lab.put("ILK1:BYPASS", 0.5)
    lab.tripped("above 310")
    assert lab.hv("ILK1:BYPASS") == 0


def test_a_bypass_outlasts_a_restart_and_never_becomes_longer(lab):
    ioc = one(lab)
    lab.put("ILK1:BYPASS", 3600)
    assert ioc.stop() == 0
    lab.warm(400)
    ioc = lab.ioc()
    lab.online()
    assert lab.state(BYPASSED)["severity"] == MINOR and 3000 < lab.hv("ILK1:BYPASS") <= 3600
    assert "interlock warm is still bypassed by " in ioc.log()
    lab.put("ILK1:BYPASS", 0)
    lab.state(WAITING)  # it has not been good since the start
    ioc.line("interlock warm is in force again")
    lab.refused("CH2:ON", 1, "is not armed")
    assert lab.requests() == []


OPERATOR = """[access]
read = ["127.0.0.0/8"]
operator = ["127.0.0.3"]
expert = ["127.0.0.1"]
"""
STACK = '[[device.ramp]]\nname = "stack"\nchannels = [2, 3]\napart = 100\nnominal = [10, 20]\n'


def refused(line: dict, pv: str) -> bool:
    return line["pv"] == pv and line["accepted"] is False


def test_an_operator_resets_and_bypasses_nothing_and_confirms_no_ramp(lab):
    lab.sites(STACK, server=False, rest=OPERATOR)
    lab.supply("--speed", "20")
    lab.thermometer()
    lab.ioc()
    lab.online()
    lab.state(ARMED)
    lab.live()
    lab.warm(320)
    lab.tripped("above 310")
    lab.warm(300)
    lab.wait("T:CH0:T", 300)
    head = f"{lab.prefix}HV:"
    with RawClient(int(lab.environment["EPICS_CA_SERVER_PORT"]), "127.0.0.3") as operator:
        for name, value in (("ILK1:RESET", 1.0), ("ILK1:BYPASS", 60.0), ("RAMP1:GO", 1.0)):
            sid, rights = operator.open(f"{head}{name}")
            assert rights == 1 and operator.put(sid, value)[0] == NOWTACCESS, name
            wait_for(
                lambda name=name: any(refused(line, f"{head}{name}") for line in lab.put_log()), f"{name} in the log"
            )
        sid, _ = operator.open(f"{head}CH0:ON")
        assert operator.put(sid, 1.0)[0] == PUTFAIL  # he may put it, and the interlock refuses
        sid, _ = operator.open(f"{head}RAMP1:PRESET")
        assert operator.put(sid, 1.0)[0] == NORMAL
    assert lab.state(TRIPPED) and lab.hv("ILK1:BYPASS") == 0
    wait_for(lambda: reset(lab), "reset")


@pytest.mark.parametrize("server", [True, False])
def test_states_of_an_enum_are_named(lab, server):
    lab.sites(pv="T:ONLINE", good='values = ["Online"]\n', server=server)
    lab.supply("--speed", "20")
    lab.thermometer()
    if server:
        lab.source()
    lab.ioc(*(["--only", "HV"] if server else []))
    lab.online()
    lab.state(ARMED)
    lab.t_box.say({"mute": True})
    lab.state(TRIPPED)
    assert f"{lab.prefix}T:ONLINE is 'Offline', not 'Online'" in lab.hv("ILK1:CAUSE.VAL$")


@pytest.mark.parametrize("how", ["cable", "kill", "freeze"])
def test_a_source_that_goes_away_trips_the_supply_within_the_time_that_was_told(lab, how):
    lab.sites(interlock="max_age = 2\n")
    source, _ = lab.two()
    began = time.monotonic()
    match how:
        case "cable":
            lab.t_box.say({"mute": True})
        case "kill":
            source.popen.kill()
        case "freeze":
            source.popen.send_signal(signal.SIGSTOP)
    lab.state(TRIPPED)
    source.popen.send_signal(signal.SIGCONT)
    lab.tripped({"cable": "is INVALID (COMM)", "kill": "is not connected", "freeze": "has not changed for"}[how])
    off = next(said["time_ns"] for said in lab.wire() if "PAR:OFF" in said["text"])
    took = off / 1e9 - time.time() + time.monotonic() - began
    assert took < 10 and (how == "cable" or took > 0.9), f"{took} s; it is 2 s from the last beat"


def test_a_restart_of_the_source_shorter_than_max_age_trips_nothing(lab):
    lab.sites(interlock="max_age = 30\n")
    source, _ = lab.two()
    beat = lab.see("ILK1:STATE", int(ARMED)) and lab.value("T:HEARTBEAT")
    assert source.stop() == 0
    lab.source()
    lab.wait("T:HEARTBEAT", lambda reading: reading["value"] not in (0, beat))
    lab.wait("T:ONLINE", 1)
    lab.libca.monitor(f"{lab.prefix}HV:ILK1:STATE")
    lab.warm(309)
    lab.wait("T:CH0:T", 309)
    assert lab.hv("ILK1:STATE") == ARMED and lab.hv("CH0:LIVE") == 1 and lab.requests() == []
    lab.warm(311)
    lab.tripped("above 310")


def test_a_restart_of_the_supplys_ioc_trips_nothing_and_restores_nothing(lab):
    lab.sites(interlock="max_age = 2\n")
    source, owner = lab.two()
    assert owner.stop() == 0
    source.popen.kill()
    lab.ioc("--only", "HV")
    lab.online()
    reading = lab.state(WAITING)
    assert reading["severity"] == MINOR and "is not connected" in lab.hv("ILK1:CAUSE.VAL$")
    lab.refused("CH2:ON", 1, "the interlock warm is not armed")
    lab.refused("CH0:VSET", 600, "the interlock warm is not armed")
    lab.put("CH0:VSET", 400)
    beat = lab.hv("HEARTBEAT")
    lab.see("HEARTBEAT", lambda reading: reading["value"] > beat + 3)
    assert lab.state(WAITING) and lab.hv("CH1:LIVE") == 1 and lab.requests() == ["CH:0,PAR:VSET,VAL:400.0"]
    lab.source()
    lab.state(ARMED)
    assert lab.requests() == ["CH:0,PAR:VSET,VAL:400.0"]


def test_with_a_grace_at_the_start_it_arms_after_that_time_good_or_not(lab):
    lab.sites(interlock="startup_grace = 1.5\n")
    lab.supply("--speed", "20")
    lab.say(channel={"number": 0, "vset": 500.0, "volts": 500.0, "on": True})
    lab.ioc("--only", "HV")
    lab.online()
    lab.state(TRIPPED)
    assert "CH:0,PAR:OFF" in lab.requests() and "is not connected" in lab.hv("ILK1:CAUSE.VAL$")


def test_a_colleagues_simulator_on_the_same_network_is_not_believed(lab, tmp_path):
    lab.sites(interlock="max_age = 2\n")
    source, _ = lab.two()
    elsewhere = tmp_path / "colleague"
    elsewhere.mkdir()
    box = lab.process("tests.newbox.simulator")
    address = box.line("listening").split()[-1]
    table = THERMOSTAT.format(name="T", port=address.rsplit(":", 1)[1])
    site = write_site(elsewhere, lab.prefix, table)
    source.popen.kill()
    source.popen.wait()
    lab.process("iocs", "run", site).line("serving")
    lab.wait("T:CH0:T", 290)  # it answers whoever searches
    lab.tripped("is not connected")


def test_a_source_of_another_process_without_server_is_not_searched(lab):
    lab.sites(server=False)
    lab.supply()
    lab.thermometer()
    lab.source()
    lab.ioc("--only", "HV")
    lab.online()
    lab.wait("T:ONLINE", 1)
    lab.see("ILK1:CAUSE.VAL$", lambda reading: 'say server = "host:port"' in reading["text"])
    assert lab.hv("ILK1:STATE") == WAITING


def test_simulated_values_arm_nothing_on_a_real_site(lab):
    lab.sites(simulated=False, interlock=f'heartbeat = "{lab.prefix}T:HEARTBEAT"\n')
    lab.supply()
    lab.source("--sim")
    lab.ioc("--only", "HV")
    lab.online()
    lab.see("ILK1:CAUSE.VAL$", lambda reading: "comes from a simulator" in reading["text"])
    assert lab.hv("ILK1:STATE") == WAITING


def test_killed_between_the_latch_and_the_off(lab):
    lab.sites()
    _, owner = lab.two()
    lab.say(mute=True)  # the unit hears nothing any more
    lab.warm(320)
    lab.state(ACTING)
    assert lab.saved()["latch"]["confirmed"] is False
    owner.popen.kill()
    owner.popen.wait()
    lab.say(mute=False)
    lab.warm(300)
    assert not any("#BD" in said["text"] for said in lab.wire()[-1:]), "nothing of it was obeyed"
    count = len(lab.requests())
    lab.ioc("--only", "HV")
    lab.tripped("is 320, above 310")
    assert "PAR:OFF" in lab.requests()[count]
    assert lab.saved()["latch"]["confirmed"] is True
    lab.refused("CH0:ON", 1, "has tripped")


def test_killed_between_the_off_and_its_confirmation(lab):
    lab.sites("timeout = 5\nlost_after = 20\n")
    _, owner = lab.two()
    lab.say(slow=1.0)
    lab.warm(320)
    wait_for(lambda: "CH:0,PAR:OFF" in lab.requests() or "CH:1,PAR:OFF" in lab.requests(), "OFF")
    owner.popen.kill()
    owner.popen.wait()
    assert lab.saved()["latch"]["confirmed"] is False
    lab.say(slow=0.0)
    lab.warm(300)
    lab.ioc("--only", "HV")
    lab.tripped("is 320, above 310")
    count = len(lab.requests())
    lab.refused("CH0:ON", 1, "has tripped")
    assert lab.saved()["latch"]["confirmed"] is True and len(lab.requests()) == count


def test_a_confirmed_latch_only_refuses_after_a_restart(lab):
    lab.sites()
    _, owner = lab.two()
    lab.warm(320)
    lab.tripped("above 310")
    assert owner.stop() == 0
    lab.say(channel={"number": 0, "on": True})
    count = len(lab.requests())
    lab.ioc("--only", "HV")
    lab.online()
    lab.state(TRIPPED)
    lab.see("CH0:LIVE", 1)
    lab.see("CH1:ON", lambda reading: reading["severity"] == NO_ALARM)
    lab.refused("CH1:ON", 1, "has tripped")
    assert len(lab.requests()) == count


def test_an_action_that_the_unit_refuses_is_told_and_tried_until_it_is_confirmed(lab):
    one(lab)
    lab.say(board={"local": True})
    lab.warm(320)
    lab.state(ACTING)
    lab.see("ILK1:CAUSE.VAL$", lambda reading: "not confirmed" in reading["text"] and "LOCAL" in reading["text"])
    lab.refused("ILK1:RESET", 1, "not confirmed yet")
    lab.refused("ILK1:BYPASS", 100, "it goes first")
    lab.say(board={"local": False})
    lab.tripped("above 310")
    noted = [line for line in lab.put_log() if line.get("by") and line["pv"].endswith("CH0:ON")]
    assert [line["accepted"] for line in noted] == [False, True] and "LOCAL" in noted[0]["reason"]


def test_a_unit_that_is_lost_is_switched_off_first_when_it_is_back(lab):
    one(lab)
    lab.say(mute=True)
    lab.see("ONLINE", 0)
    lab.warm(320)
    lab.state(ACTING)
    assert lab.read("HV:CH0:VMON")["severity"] == 3 and lab.read("HV:ILK1:STATE")["severity"] == MAJOR
    lab.say(mute=False)
    lab.tripped("above 310")


def test_standby_lowers_and_what_has_no_standby_is_switched_off(lab):
    one(lab, interlock='action = "standby"\nchannels = [0, 1]')
    lab.warm(320)
    lab.state(TRIPPED)
    assert sorted(lab.requests()) == ["CH:0,PAR:VSET,VAL:100.0", "CH:1,PAR:OFF"]
    lab.see("CH0:VMON", 100)
    assert lab.hv("CH0:ON_RBV") == 1 and lab.hv("CH0:VSET") == 100
    lab.refused("CH0:VSET", 101, "the interlock warm has tripped")
    lab.put("CH0:VSET", 50)
    lab.put("CH2:ON", 1)
    assert lab.hv("CH2:ON_RBV") == 1, "it protects channels 0 and 1 alone"
    (noted,) = [line for line in lab.put_log() if line.get("by") and "VSET" in line["pv"]]
    assert (noted["old"], noted["new"]) == (500, 100) and noted["by"].startswith("interlock warm: ")


def test_ramp_lowers_to_what_the_site_file_says_and_raises_nothing(lab):
    one(lab, interlock='action = "ramp"\nto = 200\n')
    lab.say(channel={"number": 3, "vset": 50.0})
    lab.warm(320)
    lab.state(TRIPPED)
    assert sorted(lab.requests()) == ["CH:0,PAR:VSET,VAL:200.0", "CH:1,PAR:VSET,VAL:200.0"]


def test_what_cannot_be_lowered_is_switched_off(lab):
    one(lab, interlock='action = "ramp"\nto = 200\nchannels = [0]')
    lab.say(refused=1)
    lab.warm(320)
    lab.state(TRIPPED)
    assert lab.requests() == ["CH:0,PAR:VSET,VAL:200.0", "CH:0,PAR:OFF"]
    lab.see("CH0:LIVE", 0)


def test_a_channel_that_the_unit_has_not_is_told_and_keeps_no_other_from_being_switched_off(lab):
    ioc = one(lab, interlock="channels = [0, 1, 9]")
    lab.warm(320)
    lab.see("ILK1:CAUSE.VAL$", lambda reading: "the unit has no CH9" in reading["text"])
    assert lab.hv("ILK1:STATE") == ACTING and {"CH:0,PAR:OFF", "CH:1,PAR:OFF"} <= set(lab.requests())
    assert ioc.stop() == 0
    path = lab.directory / "site.toml"
    path.write_text(path.read_text().replace("[0, 1, 9]", "[0, 1]"))
    ioc = lab.ioc()
    lab.tripped("above 310")
    assert "neither unit nor site file has B0:CH9 any more" in ioc.log()


def test_a_reply_that_is_lost_is_no_reason_to_switch_off(lab):
    one(lab, interlock='action = "ramp"\nto = 200\nchannels = [0, 1]')
    lab.say(ignored=4)
    lab.warm(320)
    lab.state(TRIPPED)
    lab.see("CH0:VMON", 200)
    lab.see("CH1:VMON", 200)
    assert {text.split("PAR:")[1] for text in lab.requests()} == {"VSET,VAL:200.0"}


def test_a_board_that_is_silent_keeps_no_other_from_being_switched_off(lab):
    lab.sites("boards = [0, 1]\n", server=False)
    path = lab.directory / "site.toml"
    path.write_text(path.read_text().replace("[device.channel.0]", '[device.channel."B0:0"]'))
    lab.supply("--speed", "20", "--boards", 2)
    lab.thermometer()
    lab.ioc()
    lab.online()
    lab.state(ARMED)
    lab.say(channel={"board": 1, "number": 2, "vset": 500.0, "volts": 500.0, "on": True})
    lab.see("B1:CH2:LIVE", 1)
    lab.say(board={"number": 0, "silent": True})
    lab.see("B0:CH0:VMON", lambda reading: reading["severity"] == 3)
    lab.warm(320)
    lab.see("B1:CH2:LIVE", 0)
    lab.see("ILK1:CAUSE.VAL$", lambda reading: "not confirmed: " in reading["text"])
    assert lab.hv("ILK1:STATE") == ACTING
    lab.say(board={"number": 0, "silent": False})
    lab.state(TRIPPED)


def test_readonly_is_stronger_and_is_told(lab):
    one(lab)
    lab.put("READONLY", 1)
    lab.warm(320)
    lab.state(ACTING)
    lab.see("ILK1:CAUSE.VAL$", lambda reading: "READONLY is set" in reading["text"])
    assert lab.requests() == []
    lab.put("READONLY", 0)
    lab.tripped("above 310")


DOG = "[device.watchdog]\nmax_age = 1.5\n"


def test_a_watchdog_that_is_no_longer_fed_brings_the_supply_to_standby(lab):
    lab.site("[device.channel.0]\nstandby = 100\n" + DOG)
    lab.supply("--speed", "20")
    lab.ioc()
    lab.online()
    lab.live()
    lab.state(WAITING)
    for number in range(1, 4):
        lab.put("WATCHDOG", number)
    lab.state(ARMED)
    assert lab.hv("WATCHDOG") == 3
    lab.state(TRIPPED)
    assert lab.requests()[0] == "CH:1,PAR:OFF" and "CH:0,PAR:VSET,VAL:100.0" in lab.requests()
    assert "has not changed for" in lab.hv("ILK1:CAUSE.VAL$")
    noted = [line["by"] for line in lab.put_log() if line.get("by")]
    assert noted and all(by.startswith("watchdog: ") for by in noted)
    lab.put("WATCHDOG", 77)
    lab.put("WATCHDOG", 78)
    wait_for(lambda: reset(lab), "reset")


@pytest.mark.parametrize(
    ("at_stop", "sent"),
    [
        ("leave", []),
        ("off", ["CH:0,PAR:OFF", "CH:1,PAR:OFF"]),
        ("standby", ["CH:0,PAR:VSET,VAL:100.0", "CH:1,PAR:OFF"]),
    ],
)
def test_what_a_stop_does_is_what_the_site_file_says(lab, at_stop, sent):
    lab.site(f'at_stop = "{at_stop}"\n[device.channel.0]\nstandby = 100\n')
    lab.supply("--speed", "20")
    ioc = lab.ioc()
    lab.online()
    lab.live()
    assert ioc.stop() == 0
    assert sorted(text for text in lab.requests() if text.startswith(("CH:0", "CH:1"))) == sent
    noted = [line for line in lab.put_log() if line.get("by") == "stop of the program"]
    assert bool(noted) == bool(sent)


def test_a_stop_does_not_wait_for_ever_nor_for_a_unit_that_is_away(lab):
    lab.site('at_stop = "off"\nat_stop_within = 1\nlost_after = 60\ntimeout = 10\n')
    ioc = lab.ioc()
    assert ioc.stop() == 0
    assert "at_stop = 'off' was not carried out: the unit does not answer" in ioc.log()
    lab.supply()
    ioc = lab.ioc()
    lab.online()
    lab.say(slow=5.0)
    assert ioc.stop() == 0
    assert "at_stop = 'off' was not confirmed within 1 s" in ioc.log()
