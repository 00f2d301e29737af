"""Tables of the site file that protect what hangs on a supply: interlocks, the watchdog, ramps of neighbours."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, FiniteFloat, model_validator

from iocs.config import Table
from iocs.hv.ramp import farthest
from iocs.interlock import LONGEST_BYPASS, Condition

Kind = Literal["off", "standby", "ramp"]


def _server(server: str) -> str:
    if re.fullmatch(r"[^:\s]+(:\d{1,5})?", server) is None:
        raise ValueError('must be the address of one server, "host" or "host:port"')
    return server


def _pv(name: str) -> str:
    if not name or not name.isprintable() or " " in name:
        raise ValueError("must be the whole name of a PV, e.g. 'LAB:GAS:HUMIDITY'")
    return name


Server = Annotated[str, AfterValidator(_server)]
PvName = Annotated[str, AfterValidator(_pv)]


class InterlockTable(Table):
    """`[[device.interlock]]`: what is good, and what is done when it is not. It protects equipment, not people."""

    name: str = Field(min_length=1, max_length=20, description="What people call it; part of its PVs' descriptions.")
    pv: PvName = Field(description="The PV that must be good.")
    server: Server | None = Field(
        None, description='"host:port" of the only server that is believed, if another process serves the PV.'
    )
    heartbeat: PvName | None = Field(
        None,
        description="PV that must go on changing; default: HEARTBEAT of the device, for PVs of this site, else the "
        "PV's own updates.",
    )
    max_age: float = Field(
        5.0, gt=0, allow_inf_nan=False, description="Seconds that the last sign of life may be old; then it is bad."
    )
    low: FiniteFloat | None = Field(None, description="A value below it is bad.")
    high: FiniteFloat | None = Field(None, description="A value above it is bad.")
    values: list[FiniteFloat | str] = Field(
        [], description="Only these are good: numbers or texts; of an enum numbers or names of its states."
    )
    hysteresis: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="How far inside the bounds a value must come to be good again."
    )
    delay: float = Field(0.0, ge=0, allow_inf_nan=False, description="Seconds that it must be bad before it trips.")
    action: Kind = Field(
        "off", description="off; standby: VSET of each channel lowered to its standby; ramp: lowered to the key to."
    )
    to: float | None = Field(None, ge=0, allow_inf_nan=False, description="V; for the action ramp.")
    channels: list[int | str] = Field(
        [], description='Which channels, by number; with several boards "B1:3". Default: all.'
    )
    startup_grace: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="Seconds after the start when it arms, good or not; default: when it has been good once.",
    )
    longest_bypass: float = Field(
        86400.0, ge=0, le=LONGEST_BYPASS, description="Seconds for which an expert may bypass it at most."
    )

    @model_validator(mode="after")
    def _sense(self) -> "InterlockTable":
        if self.low is None and self.high is None and not self.values:
            raise ValueError(f'interlock "{self.name}": what is good? Write low, high or values')
        if self.low is not None and self.high is not None and self.low + 2 * self.hysteresis > self.high:
            raise ValueError(
                f'interlock "{self.name}": low = {self.low:g} and high = {self.high:g} with hysteresis = '
                f"{self.hysteresis:g} leave nothing that is good"
            )
        if (self.action == "ramp") != (self.to is not None):
            raise ValueError(f'interlock "{self.name}": the key to (V) belongs to the action ramp')
        if self.name == "watchdog":
            raise ValueError('the name "watchdog" is that of [device.watchdog]; choose another')
        return self

    @property
    def condition(self) -> Condition:
        """What is good."""
        return Condition(self.low, self.high, tuple(self.values), self.hysteresis)


class WatchdogTable(Table):
    """`[device.watchdog]`: a PV that somebody must go on changing; if it stops, the supply goes to standby."""

    pv: PvName | None = Field(
        None, description="The agreed PV; default: the supply's own PV WATCHDOG, which a client puts to."
    )
    server: Server | None = Field(None, description='"host:port" of its only server, if another process serves it.')
    max_age: float = Field(30.0, gt=0, allow_inf_nan=False, description="Seconds without a change.")
    action: Literal["off", "standby"] = Field("standby", description="What is done then.")


class RampTable(Table):
    """`[[device.ramp]]`: channels that arrive together, neighbours never too far apart on the way."""

    name: str = Field(min_length=1, max_length=20, description="What people call it; part of its PVs' descriptions.")
    channels: list[int | str] = Field(min_length=2, description="Which channels, in the order in which they neighbour.")
    apart: float = Field(gt=0, allow_inf_nan=False, description="V; how far neighbours may be apart, all the way.")
    rate: float = Field(
        10.0, gt=0, allow_inf_nan=False, description="V/s of the channel with the longest way; RUP and RDW stay."
    )
    nominal: list[Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        [], description="V of each channel for the preset Nominal; Standby is what the channels' tables say."
    )

    @model_validator(mode="after")
    def _sense(self) -> "RampTable":
        if self.nominal and len(self.nominal) != len(self.channels):
            raise ValueError(f'ramp "{self.name}": {len(self.nominal)} voltages for {len(self.channels)} channels')
        if farthest(tuple(self.nominal)) > self.apart:
            raise ValueError(
                f'ramp "{self.name}": nominal has neighbours {farthest(tuple(self.nominal)):g} V apart, and '
                f"{self.apart:g} V are allowed"
            )
        return self
