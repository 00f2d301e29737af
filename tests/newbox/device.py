"""The thermostat as PVs."""

import asyncio
import time
from contextlib import contextmanager

from drivers.link import make_link, parse_address
from iocs.config import DeviceSettings
from iocs.device import Device
from iocs.signals import MONITOR, Bad, Refused, readback, setpoint
from iocs.simulation import simulator
from tests.newbox.driver import Thermostat as Box

MODES = ("Off", "Heat", "Cool")
LIMITS = (250.0, 350.0)


class ThermostatSettings(DeviceSettings):
    link: str
    poll: float = 0.05
    watches: str = ""


class Thermostat(Device):
    Settings = ThermostatSettings

    @staticmethod
    def signals(settings, shape):
        channels = (shape or {}).get("channels", 0)
        return [
            setpoint("TSET", "K", precision=2, limits=LIMITS, doc="Temperature asked for"),
            readback("TSET_RBV", "K", precision=2, limits=LIMITS, row="ROW", doc="Temperature that the box aims at"),
            setpoint("MODE", type=MODES, doc="What the box does"),
            readback("MODE_RBV", type=MODES, row="ROW", doc="What the box does, as it says"),
            readback("POLLS", type=int, doc="Polls since the connection"),
            readback("SEEN", type=str, doc="Last reading of the PV that is watched"),
            *(
                readback(f"CH{n}:T", "K", precision=3, archive=MONITOR, row="ROW", doc=f"Temperature of channel {n}")
                for n in range(channels)
            ),
        ]

    @staticmethod
    @contextmanager
    def simulate(settings):
        with simulator("tests.newbox.simulator") as address:
            yield settings.model_copy(update={"link": address})

    @property
    def lost_after(self):
        return self.settings.lost_after or 1.0

    async def run(self):
        link = make_link(parse_address(self.settings.link))
        self.box = Box(link, timeout=self.lost_after)
        end_watch = self.watch(self.settings.watches, self.see) if self.settings.watches else lambda: None
        try:
            await link.open(2)
            name, channels = await self.box.identify()
            if "BUG" in name:
                raise ZeroDivisionError("a bug of this kind of device")
            self.identify(name)
            self.reshape({"channels": channels})
            await self.poll()
        finally:
            end_watch()
            await link.close()

    async def poll(self):
        polls, last = 0, None
        while True:
            state = await self.box.read()
            polls += 1
            values = {"TSET_RBV": state.setpoint, "MODE_RBV": state.mode, "POLLS": polls}
            if (state.setpoint, state.mode) != last:
                last = (state.setpoint, state.mode)
                values |= {"TSET": state.setpoint, "MODE": state.mode}
            values |= {f"CH{n}:T": Bad("no sensor", value=t) if t == 0 else t for n, t in enumerate(state.temperatures)}
            self.post(time.time_ns(), values)
            await asyncio.sleep(self.settings.poll)

    def see(self, reading):
        if self.settings.watches.endswith("BROKEN"):
            raise ZeroDivisionError("a bug of a watcher")
        said = f"{reading.value} {reading.severity.name} {'here' if reading.local else 'far'} {reading.connected}"
        self.post(time.time_ns(), {"SEEN": said})

    async def put(self, signal, value, by):
        match signal.name:
            case "TSET":
                if value == 333.0:
                    raise ZeroDivisionError("a bug in put")
                return await self.box.set("SETPOINT", value)
            case "MODE":
                return int(await self.box.set("MODE", value))
        raise Refused(f"{signal.name} cannot be set")
