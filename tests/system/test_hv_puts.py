"""Puts to a high-voltage supply: what is refused, what two clients do to each other, and that OFF goes first."""

import asyncio
import threading
import time

import pytest

from iocs.ca.server import Limits
from tests.hv_lab import CHANNEL, HvLab
from tests.libca import Libca
from tests.processes import wait_for
from tests.pvs import pvs


@pytest.fixture
def lab(tmp_path):
    with HvLab(tmp_path) as lab:
        yield lab


def test_what_cannot_be_is_refused_with_a_reason_and_nothing_is_sent(lab):
    lab.running()
    for name, value, why in (
        ("CH0:VSET", 1000.1, "beyond the limits 0 .. 1000 V"),
        ("CH2:VSET", 8000.1, "beyond the limits 0 .. 8000 V"),
        ("CH0:VSET", -0.1, "beyond the limits"),
        ("CH0:VSET", float("nan"), "nan is not a value that can be set"),
        ("CH0:VSET", float("inf"), "inf is not a value that can be set"),
        ("CH1:VSET", 100.1, "100.1 V is a larger step than the 100 V that one put may raise VSET"),
        ("CH1:ISET", 200.01, "beyond the limits 0 .. 200 uA"),
        ("CH0:PDWN", 2, "none of the states 0 = KILL, 1 = RAMP"),
        ("CH0:ON", 2, "none of the states"),
        ("CH0:TRIPCLEAR", 1, "no trip is latched"),
    ):
        lab.refused(name, value, why)
    refusals = [line for line in lab.put_log() if not line["accepted"]]
    assert len(refusals) == 10 and all(line["reason"] and "readback" not in line for line in refusals)
    assert refusals[0]["new"] == 1000.1 and refusals[3]["new"] == "nan"

    async def text():
        async with pvs(int(lab.environment["EPICS_CA_SERVER_PORT"]), f"{lab.prefix}HV:") as seen:
            await seen.client.put(f"{seen.prefix}CH0:VSET", "lots")

    with pytest.raises(PermissionError, match="'lots' is not a number"):
        asyncio.run(text())
    assert lab.requests() == []


def test_steps_up_are_bounded_and_steps_down_are_not(lab):
    lab.running()
    for volts in (100, 200, 300):
        lab.put("CH1:VSET", volts)
    lab.refused("CH1:VSET", 401, "(max_step; VSET is 300 V)")
    lab.put("CH1:VSET", 0)
    assert [text.split(":")[-1] for text in lab.requests()] == ["100.0", "200.0", "300.0", "0.0"]
    lab.say(channel={"number": 1, "vset": 500.0})
    lab.put("CH1:VSET", 550)
    assert lab.hv("CH1:VSET_RBV") == 550, "the step counts from what the unit says now"


def test_the_example_channel_takes_its_whole_range_in_one_step(lab):
    lab.running()
    lab.put("CH0:VSET", 1000)
    assert lab.hv("CH0:VSET_RBV") == 1000 and lab.requests() == ["CH:0,PAR:VSET,VAL:1000.0"]


def test_maxv_is_a_limit_too_also_when_the_panel_has_just_changed_it(lab):
    lab.running()
    lab.put("CH0:MAXV", 500)
    lab.refused("CH0:VSET", 501, "beyond the limits 0 .. 500 V (MAXV)")
    lab.put("CH0:VSET", 400)
    lab.refused("CH0:MAXV", 399, "MAXV = 399 V would be below VSET = 400 V; lower VSET first")
    assert lab.hv("CH0:VSET.DRVH") == lab.read("HV:CH0:VSET")["upper_ctrl_limit"] == 500
    lab.put("CH0:VSOFTMAX", 480)
    assert lab.hv("CH0:VSET.DRVH") == 480 and lab.hv("CH1:VSET.DRVH") == 600
    lab.say(channel={"number": 0, "maxv": 450.0})
    lab.refused("CH0:VSET", 460, "beyond the limits 0 .. 450 V (MAXV)")
    lab.say(channel={"number": 0, "maxv": 250.0, "vset": 1500.0})
    lab.refused("CH0:MAXV", 8000, "VSET = 1500 V is above MAXV = 250 V, which holds the output")


def test_a_local_unit_is_not_written_to_and_the_reason_is_told(lab):
    lab.running(CHANNEL + "\n")
    lab.say(board={"local": True})  # nothing has polled it yet: the put asks
    lab.refused("CH0:VSET", 10, "the unit is in LOCAL: turn it to REMOTE at its front panel")
    for name, value in (("CH0:ON", 1), ("CH0:RUP", 10), ("CH0:IMRANGE", 1), ("CLEARALARM", 1), ("CH0:MAXV", 1000)):
        lab.refused(name, value, "LOCAL")
    lab.say(board={"local": False})
    lab.put("CH0:VSET", 10)
    assert lab.hv("CH0:VSET_RBV") == 10


def test_what_keeps_a_channel_off(lab):
    lab.running()
    for state, why in (
        ({"disabled": True}, "front switch is off"),
        ({"disabled": False, "forced": 1 << 11}, "killed"),
        ({"forced": 0, "vset": 1500.0}, "put VSET first"),
    ):
        lab.say(channel={"number": 0, **state})
        lab.refused("CH0:ON", 1, why)
    lab.say(channel={"number": 0, "vset": 0.0}, board={"interlock": True})
    lab.refused("CH0:ON", 1, "the unit's interlock is active")


def test_a_put_while_the_unit_is_away_is_refused_and_not_kept_for_later(lab):
    lab.running()
    lab.say(power=False)
    lab.see("ONLINE", 0)
    lab.refused("CH0:VSET", 100, "does not answer")
    lab.refused("CH0:ON", 1, "does not answer")
    lab.refused("ALLOFF", 1, "does not answer")
    lab.say(power=True)
    lab.online()
    lab.see("CH0:VMON", lambda reading: reading["severity"] == 0)
    assert lab.requests() == [] and lab.hv("CH0:VSET") == 0


def test_puts_that_waited_when_the_unit_was_lost_are_refused(lab):
    lab.running("lost_after = 3\n")
    lab.say(slow=0.1)
    with Clients(lab, 4) as clients:
        puts = [clients.put(n, "CH0:VSET", 10 + n) for n in range(4)]
        wait_for(lambda: lab.requests(), "first SET")
        lab.say(mute=True)
        for put in puts:
            put.join(30)
        lab.see("ONLINE", 0)
        count = len(lab.requests())
        assert count < 4
        lab.say(mute=False, slow=0.0)
        lab.online()
        lab.see("CH0:VMON", lambda reading: reading["severity"] == 0)
        assert len(lab.requests()) == count, "none of those that waited came later"


def test_on_is_sent_once_and_not_to_a_channel_that_is_on(lab):
    lab.running()
    lab.put("CH0:ON", 1)
    lab.put("CH0:ON", 1)
    assert lab.requests() == ["CH:0,PAR:ON"] and lab.hv("CH0:ON") == 1


def test_an_order_that_is_not_obeyed_is_not_confirmed(lab):
    lab.running()
    lab.say(swallowed=1)
    lab.put("CH0:VSET", 100)
    assert "reads back 0.0 V" in lab.hv("LASTREJECT.VAL$") and lab.hv("CH0:VSET") == 0
    lab.say(refused=1)
    lab.put("CH0:VSET", 100)
    assert "VAL:ERR" in lab.hv("LASTREJECT.VAL$") and lab.hv("ONLINE") == 1
    lab.say(swallowed=1)
    lab.put("CH0:ON", 1)
    assert "was told to switch on and says: off" in lab.hv("LASTREJECT.VAL$") and lab.hv("CH0:ON") == 0
    sent = [text.split("PAR:")[1] for text in lab.requests()]
    assert sent == ["VSET,VAL:100.0", "VSET,VAL:100.0", "ON"], "nothing is sent again by itself"


class Clients:
    """Several libca clients, each a process, each put in a thread of its own."""

    def __init__(self, lab, count):
        self.lab = lab
        self.clients = [Libca(lab.environment) for _ in range(count)]
        for client in self.clients:
            client.read(f"{lab.prefix}HV:ONLINE")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for client in self.clients:
            client.__exit__()

    def put(self, number, name, value):
        thread = threading.Thread(target=self.clients[number].put, args=(f"{self.lab.prefix}HV:{name}", value))
        thread.start()
        return thread


def test_two_clients_at_once_are_serial_on_the_wire_and_both_confirmed(lab):
    lab.running()
    with Clients(lab, 2) as clients:
        puts = [clients.put(0, "CH0:VSET", 111), clients.put(1, "CH2:VSET", 222)]
        for put in puts:
            put.join(30)
    assert (lab.hv("CH0:VSET_RBV"), lab.hv("CH2:VSET_RBV")) == (111, 222)
    assert sorted(lab.requests()) == ["CH:0,PAR:VSET,VAL:111.0", "CH:2,PAR:VSET,VAL:222.0"]
    wire = [said["what"] for said in lab.wire() if said["what"] in ("request", "reply")]
    assert wire == ["request", "reply"] * (len(wire) // 2), "one exchange at a time"
    assert [line["accepted"] for line in lab.put_log()] == [True, True]


def test_off_is_on_the_wire_within_one_exchange_under_full_polling_and_a_flood_of_puts(lab):
    lab.running("")
    lab.put("CH3:VSET", 500)
    lab.put("CH3:ON", 1)
    lab.say(slow=0.02)
    names = [f"{lab.prefix}HV:CH{n}:{name}" for n in range(4) for name in ("VSET", "ISET")]
    flood = lab.process("tests.system.put_flood", *names)
    flood.line("flooding")
    wait_for(lambda: len(lab.requests()) > 20, "flood on the wire")
    asked = time.time_ns()
    lab.put("CH3:ON", 0)
    assert lab.hv("CH3:ON") == 0
    wire = lab.wire()
    flood.kill()
    off = next(n for n, said in enumerate(wire) if said["what"] == "request" and "CH:3,PAR:OFF" in said["text"])
    between = [said["text"] for said in wire[:off] if said["what"] == "request" and said["time_ns"] > asked]
    assert len(between) <= 1, between
    lab.see("CH3:STAT:ON", 0)


def test_what_waited_for_its_turn_when_an_off_came_does_not_switch_on_after_it(lab):
    lab.running("")
    lab.say(slow=0.1)

    async def both():
        async with pvs(int(lab.environment["EPICS_CA_SERVER_PORT"]), f"{lab.prefix}HV:") as seen:
            names = [f"{seen.prefix}{name}" for name in ("CH1:RUP", "CH0:ON", "ALLOFF")]
            for name in names:
                await seen.client.get(name)
            values = zip(names, (20, "On", "Do"), strict=True)
            tasks = [asyncio.create_task(seen.client.put(name, value, 30)) for name, value in values]  # in this order
            return await asyncio.gather(*tasks, return_exceptions=True)

    set_rate, on, all_off = asyncio.run(both())
    assert set_rate is all_off is None
    assert isinstance(on, PermissionError) and "switched off while this put waited for its turn" in str(on)
    assert "CH:0,PAR:ON" not in lab.requests() and "CH:4,PAR:OFF" in lab.requests()


@pytest.mark.parametrize("off", [("CH0:ON", 0), ("ALLOFF", 1)])
def test_an_off_during_the_checks_of_an_on_is_not_followed_by_that_on(lab, off):
    lab.site("poll_settings = 60\n", poll=5)
    lab.supply()
    lab.ioc()
    lab.online()
    wait_for(lambda: lab.requests("MON").count("PAR:BDILKM") > 0, "all settings read")
    with Clients(lab, 1) as clients:
        lab.say(slow=0.1)
        before = lab.requests("MON").count("CH:4,PAR:MAXV")
        switching = clients.put(0, "CH0:ON", 1)
        wait_for(lambda: lab.requests("MON").count("CH:4,PAR:MAXV") > before, "the checks of the ON under way")
        lab.put(*off)
        switching.join(30)
    assert [text.split("PAR:")[1] for text in lab.requests()] == ["OFF"]
    assert lab.hv("CH0:ON") == 0
    (refusal,) = [line for line in lab.put_log() if not line["accepted"]]
    assert "ON was overtaken by an OFF; nothing was sent" in refusal["reason"]


@pytest.mark.parametrize("off", [("CH0:ON", "Off"), ("ALLOFF", "Do")])
def test_off_overtakes_a_queue_of_ons_and_none_of_them_comes_after_it(lab, off):
    lab.running("lost_after = 3\n")
    lab.say(slow=0.05)

    async def queue():
        async with pvs(int(lab.environment["EPICS_CA_SERVER_PORT"]), f"{lab.prefix}HV:") as seen:
            for name in ("CH0:ON", "CH0:VSET", off[0]):
                await seen.client.get(f"{seen.prefix}{name}")
            puts = [("CH0:VSET", 10.0), *[("CH0:ON", "On")] * 10, off]
            tasks = [asyncio.create_task(seen.client.put(f"{seen.prefix}{n}", v, 60)) for n, v in puts]
            return await asyncio.gather(*tasks, return_exceptions=True)

    answers = asyncio.run(queue())
    sent = lab.requests()
    assert answers[-1] is None and all(isinstance(answer, PermissionError) for answer in answers[1:-1]), answers
    assert sent[0].endswith("OFF") and not any(text.endswith("PAR:ON") for text in sent), sent


def test_off_is_carried_out_though_its_client_has_far_too_many_puts_waiting(lab):
    lab.running("lost_after = 3\n")
    lab.say(slow=0.05)

    async def flood():
        async with pvs(int(lab.environment["EPICS_CA_SERVER_PORT"]), f"{lab.prefix}HV:") as seen:
            vset, on = f"{seen.prefix}CH0:VSET", f"{seen.prefix}CH0:ON"
            await asyncio.gather(seen.client.get(vset), seen.client.get(on))
            puts = [(vset, 10.0)] * (Limits().puts + 50) + [(on, "Off")]
            tasks = [asyncio.create_task(seen.client.put(name, value, 60)) for name, value in puts]
            return await asyncio.gather(*tasks, return_exceptions=True)

    *_, before, off = asyncio.run(flood())
    assert off is None and "puts of this client wait already" in str(before)
    sent = [text.split("PAR:")[1] for text in lab.requests()]
    assert sent.count("OFF") == 1 and sent.count("VSET,VAL:10.0") <= 1, "the one that was under way"


def test_off_goes_to_a_unit_that_is_so_slow_that_it_counts_as_lost(lab):
    lab.running()
    lab.put("CH0:ON", 1)
    lab.say(slow=0.5)
    lab.see("ONLINE", 0)
    lab.put("CH0:ON", 0)
    assert lab.requests() == ["CH:0,PAR:ON", "CH:0,PAR:OFF"] and lab.hv("CH0:ON") == 0


def test_experts_alone_change_what_protects_the_detector(lab):
    lab.site(CHANNEL, rest='[access]\noperator = ["127.0.0.1"]\n')
    lab.supply("--speed", "20")
    lab.ioc()
    lab.online()
    for name in ("MAXV", "RUP", "RDW", "TRIP", "PDWN", "IMRANGE", "VSOFTMAX", "ISOFTMAX"):
        assert not lab.read(f"HV:CH0:{name}")["write"], name
    assert not lab.read("HV:READONLY")["write"]
    lab.put("CH0:VSET", 10)
    lab.put("CH0:ISET", 10)
    lab.put("CH0:ON", 1)
    lab.put("ALLOFF", 1)
    assert [text.split("PAR:")[1] for text in lab.requests()] == ["VSET,VAL:10.0", "ISET,VAL:10.00", "ON", "OFF"]
