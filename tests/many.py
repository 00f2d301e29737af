"""A device of 500 values that all change ten times a second."""

import asyncio
import time

from iocs.config import DeviceSettings
from iocs.device import Device
from iocs.signals import readback

COUNT, EVERY = 500, 0.1


class Many(Device):
    class Settings(DeviceSettings):
        pass

    @staticmethod
    def signals(settings, shape):
        return [readback(f"N{n}", "V", precision=0, group="Many", doc=f"Number {n}") for n in range(COUNT)]

    async def run(self):
        self.identify("500 values")
        count = 0
        while True:
            count += 1
            self.post(time.time_ns(), {f"N{n}": float(count + n) for n in range(COUNT)})
            await asyncio.sleep(EVERY)
