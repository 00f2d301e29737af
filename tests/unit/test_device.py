import asyncio
import os
import time

import pytest

from drivers.errors import DeviceError
from iocs.ca.server import Server
from iocs.device import Device, Place, all_signals
from iocs.signals import Severity, readback
from iocs.state import open_state, peek
from tests.loop_lag import LoopLag
from tests.newbox.device import Thermostat, ThermostatSettings


def settings(**more):
    return ThermostatSettings.model_validate({"name": "T", "type": "x:Y", "link": "tcp://h:1", **more})


def with_device(tmp_path, test, **more):
    async def run():
        server = Server()
        with open_state(tmp_path, "T") as state:
            await test(Thermostat(settings(**more), Place("P:", server, state, False, lambda: None)))
        await server.stop()

    asyncio.run(run())


def test_a_shape_that_cannot_be_served_is_refused_each_time_and_changes_nothing(tmp_path):
    async def test(device):
        device.reshape({"channels": 2})
        before = device.catalogue
        for _again in range(2):
            with pytest.raises(DeviceError, match=r"cannot be served: .*columns"):
                device.reshape({"channels": 5000})
            assert device.catalogue == before and device.state.load()["shape"] == {"channels": 2}

    with_device(tmp_path, test)


@pytest.mark.alone
def test_a_slow_disk_does_not_stop_the_loop_and_a_put_is_confirmed_once_it_is_saved(tmp_path, monkeypatch):
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (time.sleep(0.2), real(handle))[1])

    async def test(device):
        async with LoopLag() as lag:
            device.reshape({"channels": 2})
            await device.handle_put("P:T:ENABLE", 0, "anna@127.0.0.1")
            saved = peek(tmp_path, "T")
        assert (saved["enable"], saved["shape"]) == (False, {"channels": 2})
        assert lag.longest < 0.05, lag.longest

    with_device(tmp_path, test)


def test_the_same_reason_with_other_numbers_is_told_and_not_logged_again(tmp_path, caplog):
    async def test(device):
        for reason in ("refused: 29x.11;98117", "refused: 29x.12;98093", "no answer"):
            device.lost(reason)
            assert device._server.reading("P:T:ERROR").value == reason

    with_device(tmp_path, test)
    assert [line.getMessage() for line in caplog.records] == ["lost: refused: 29x.11;98117", "lost: no answer"]


def test_a_late_post_of_a_thread_is_dropped(tmp_path):
    async def test(device):
        device.post_threadsafe(asyncio.get_running_loop(), time.time_ns(), {"TSET": 300.0})
        await asyncio.sleep(0)
        assert device._server.reading("P:T:TSET").time_ns == 0

    with_device(tmp_path, test)


def test_a_name_that_is_no_signal_is_a_bug_and_nothing_is_posted(tmp_path):
    async def test(device):
        with pytest.raises(KeyError, match="TZET"):
            device.post(time.time_ns(), {"TSET": 300.0, "TZET": 1.0})
        assert device._server.reading("P:T:TSET").time_ns == 0 and device._server.reading("P:T:ONLINE").value == 0

    with_device(tmp_path, test)


def test_puts_leave_a_bounded_number_of_lines_in_the_log(tmp_path, caplog):
    async def test(device):
        for _ in range(100):
            device._on_refused("P:T:ENABLE", 7, "anna@127.0.0.1", "7 is none of the states")

    with_device(tmp_path, test)
    assert 0 < len([record for record in caplog.records if "refused" in record.message]) <= 20


def test_a_catalogue_that_pvs_cannot_hold_is_refused():
    class Huge(Device):
        @staticmethod
        def signals(settings, shape):
            return [readback(f"S{n}", doc="x" * 1000) for n in range(1100)]

    with pytest.raises(ValueError, match="catalogue of its"):
        all_signals(Huge, settings(), None)


def test_what_is_told_of_a_lost_box_is_new_and_invalid_and_no_sign_of_life(tmp_path):
    async def test(device):
        def reading(name):
            return device._server.reading(f"P:T:{name}")

        device.tell({"POLLS": 3})
        assert (reading("POLLS").value, reading("POLLS").severity) == (3, Severity.INVALID) and not device.online
        device.post(time.time_ns(), {"MODE_RBV": 1})
        device.tell({"POLLS": 4})
        assert (reading("POLLS").value, reading("POLLS").severity) == (4, Severity.NO_ALARM)
        device.lost("cable pulled")
        device.tell({"POLLS": 5})
        assert (reading("POLLS").value, reading("POLLS").severity) == (5, Severity.INVALID) and not device.online

    with_device(tmp_path, test)


def test_a_shape_that_changes_no_signal_keeps_the_version_of_the_catalogue(tmp_path):
    async def test(device):
        device.reshape({"channels": 2})
        before = device.catalogue
        device.reshape({"channels": 2, "firmware": "1.1"})
        assert device.catalogue == before and device.state.load()["shape"] == {"channels": 2, "firmware": "1.1"}

    with_device(tmp_path, test)
