"""The table of a PMU in the site file."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from drivers.c37118.channels import AnunitRule
from drivers.c37118.transport import COMMAND_PORT, DATA_PORT, comes_by_itself
from drivers.link import Address, parse_address
from iocs.config import DeviceSettings, SignalName, SitePath
from iocs.pmu.quality import INVALID_WHEN, MINOR_WHEN, Condition


def stream_address(text: str) -> Address:
    """Read the address of a stream; the port is 4712 (TCP) or 4713 (UDP) unless given.

    Raises:
        ValueError: it is none.
    """
    return parse_address(text, DATA_PORT if text.startswith("udp:") else COMMAND_PORT)


class PmuSettings(DeviceSettings):
    """The table of a PMU."""

    link: str = Field(
        description=f"tcp://host:port of the PMU (port {COMMAND_PORT} unless given), or udp://host:port (port"
        f" {DATA_PORT} unless given); udp://host:port?commands=off: host sends to this port of ours by itself;"
        " udp://group:port: multicast."
    )
    data: str | None = Field(
        None, description="With a tcp link: udp://host:port, host sends the data to this port of ours (or a group)."
    )
    idcode: int = Field(strict=True, ge=1, le=65534, description="The stream's IDCODE, as set in the PMU.")
    configuration: Literal["cfg3", "cfg2"] = Field(
        "cfg3", description="What to ask for: CFG-3 and, without an answer, CFG-2; or CFG-2 alone."
    )
    header: bool = Field(False, description="Ask for the header frame and serve it as HEADER.")
    angle: Literal["deg", "rad"] = Field("deg", description="Unit of the phasors' angles.")
    invalid_when: tuple[Condition, ...] = Field(INVALID_WHEN, description="What makes the values of a frame INVALID.")
    minor_when: tuple[Condition, ...] = Field(MINOR_WHEN, description="What makes the values of a frame MINOR.")
    anunit: dict[SignalName, AnunitRule] = Field(
        {},
        description='anunit.MW = "factor": integer analogs times the factor of ANUNIT; "factor_1e-5": 10^-5 of that;'
        ' "raw" (default): counts. A bare signal name means that of every station.',
    )
    max_time_error: float | None = Field(
        None, gt=0, description="s; values whose time may be wrong by more are MINOR (MSG_TQ and PMU_TQ)."
    )
    max_ahead: float = Field(
        86400.0, gt=0, description="s; frames stamped so far ahead of this host's clock are not posted (BADTIMES)."
    )
    reorder_wait: float = Field(
        0.1, ge=0, le=10, description="s that a datagram is waited for when a later one has come."
    )
    scalar_rate: float = Field(10.0, gt=0, description="Most updates a second of the single PVs; ROW has every frame.")
    record: SitePath | None = Field(None, description="Keep the raw stream in this file (and FILE.1), 100 MB each.")

    @property
    def written_folders(self) -> list[Path]:
        """The folder of the recording."""
        return [self.record.parent] if self.record else []

    @property
    def signal_names(self) -> set[str]:
        """The signals that the table says something of."""
        return {*super().signal_names, *self.anunit}

    @field_validator("link")
    @classmethod
    def _link(cls, link: str) -> str:
        return str(stream_address(link))

    @field_validator("data")
    @classmethod
    def _data(cls, data: str | None) -> str | None:
        if data is None:
            return None
        address = stream_address(data)
        if address.scheme != "udp":
            raise ValueError(f"{data!r}: data that do not come by the link come by UDP: write udp://host:port")
        return str(address)

    @model_validator(mode="after")
    def _ways(self) -> "PmuSettings":
        if self.data is not None and comes_by_itself(stream_address(self.link)):
            raise ValueError(f"data: {self.link} takes no commands, its data come there; leave data out")
        return self
