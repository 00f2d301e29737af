"""`python -m iocs check SITE --online`: boxes of other kinds (high voltage: test_hv_set.py)."""

from tests.lab import Lab
from tests.processes import Process
from tests.scope_lab import ScopeLab
from tests.thermostat_lab import Lab as Thermostats


def check(site, environment=None, code=0):
    process = Process("iocs", "check", site, "--online", environment=environment)
    with process:
        assert process.popen.wait(60) == code, process.log()
    return process.out


def test_a_pmu_tells_its_stations(tmp_path):
    with Lab(tmp_path) as lab:
        assert "nothing listens on that port" in check(lab.site, code=1)[-1]
        lab.start_simulator()
        assert check(lab.site)[-1].startswith("PMU: sends ")


def test_a_scope_tells_what_it_is(tmp_path):
    with ScopeLab(tmp_path) as lab:
        site = lab.site()
        assert "connection refused" in check(site, code=1)[-1]
        box = lab.box()
        assert check(site)[-1].endswith("inst0 is LECROY WR610ZI, serial LCRY2801N12345, firmware 6.5.0")
        box.say({"vicp": True})
        assert "Remote to LXI" in check(site, code=1)[-1]


def test_a_kind_that_cannot_be_asked_says_so(tmp_path):
    with Thermostats(tmp_path) as lab:
        lab.site()
        assert check(tmp_path / "site.toml")[-1] == (
            "T: devices of the type tests.newbox.device:Thermostat cannot be checked on line"
        )


def test_a_box_that_an_ioc_holds_is_not_touched(tmp_path):
    with Lab(tmp_path) as lab:
        lab.start_simulator()
        lab.start_ioc()
        assert "already run by process" in check(lab.site, code=1)[-1]
