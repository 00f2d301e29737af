"""The table of a scope in the site file."""

from pathlib import Path

from pydantic import Field, field_validator

from drivers.lecroy.instrument import parse_address
from iocs.config import DeviceSettings, SitePath


class ScopeSettings(DeviceSettings):
    """Table of a scope."""

    link: str = Field(description="Its address, vxi11://host/inst0; with a port no port mapper is asked.")
    channels: int = Field(4, ge=1, le=4, description="How many inputs it has.")
    maxpts: int = Field(
        10_000, ge=100, le=1_000_000, description="Most points of WF, which is thinned to lows and highs."
    )
    fullpts: int = Field(1_000_000, ge=1000, le=16_000_000, description="Most points of WF:FULL.")
    poll: float = Field(0.02, gt=0, le=1, description="Seconds between two looks for a new event.")
    reread: float = Field(0.5, gt=0, le=10, description="Seconds between two readings of all settings.")
    rate: float = Field(10.0, gt=0, description="Most events a second that are read while no run is under way.")
    runs: SitePath = Field("runs", validate_default=True, description="Folder of the runs; made if missing.")  # type: ignore[assignment]
    run_pvs: list[str] = Field([], description="PVs whose values go beside a run, at its start and end.")

    @property
    def written_folders(self) -> list[Path]:
        """The folder of the runs."""
        return [self.runs]

    @field_validator("link")
    @classmethod
    def _link(cls, link: str) -> str:
        return str(parse_address(link))
