"""A kind of device without a box, for tests: a knob that holds what it is put to, and an interlock."""

import asyncio
import time

from iocs.config import DeviceSettings
from iocs.device import Device
from iocs.signals import Level, readback, setpoint


class Knob(Device):
    """`VSET` is an operator's, `TRIP` an expert's; beyond 90 V the device itself puts `TRIP` to 0 and notes that.

    66.5 V are never confirmed.
    """

    Settings = DeviceSettings

    @staticmethod
    def signals(settings, shape):
        return [
            readback("VMON", "V", doc="What it is"),
            setpoint("VSET", "V", limits=(0, 100), doc="What is asked"),
            setpoint("TRIP", "uA", level=Level.EXPERT, doc="Where it trips"),
        ]

    async def run(self):
        values = {"VSET": 0.0, "TRIP": 1.0}
        while True:
            self.post(time.time_ns(), {"VMON": time.time(), **values})
            values = {}
            await asyncio.sleep(0.1)

    async def put(self, signal, value, by):
        if signal.name == "VSET" and value > 90:
            self.note_unasked("TRIP", 0.0, "interlock TEST")
            self.post(time.time_ns(), {"TRIP": 0.0})
        if value == 66.5:
            await asyncio.Event().wait()
        return value
