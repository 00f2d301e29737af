"""The table of a met station in the site file."""

import os
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, FiniteFloat, field_validator

from ingest.cr1000.parameters import canonical
from iocs.config import DeviceSettings
from iocs.tables import SitePath


class StationSettings(DeviceSettings):
    """The table of a station: its configuration, and where its rows come from, `files` or a logger's `link`."""

    config: SitePath = Field(description="The folder of global.cfg, STATION.cfg and sensors/.")
    station: str = Field(min_length=1, description="Its name: that of STATION.cfg.")
    files: list[SitePath] = Field([], description="Tables of the logger that grow; all with the same columns.")
    link: str = Field("", description="http://host:port of a logger with a web server (CR1000X, CR6 ...), not files.")
    table: str = Field("", description="Which table to take; default: the first of a file. Needed with link.")
    user: str = Field("", description="Name for the logger's web server; default: none is told.")
    password_env: str = Field("", description="Environment variable that holds its password.")
    keep: SitePath | None = Field(
        None, description="With link: the TOA5 file in which all rows of the logger are kept, the station's record."
    )
    period: float = Field(5.0, ge=0.1, le=86400, description="Seconds from look to look.")
    timeout: float = Field(5.0, gt=0, le=60, description="Seconds for an answer of a logger.")
    stale_after: float | None = Field(
        None, gt=0, description="Seconds after which the newest row is old; default: three rows and two looks."
    )
    utc_offset: FiniteFloat = Field(0.0, ge=-24, le=24, description="Hours that the logger's clock is ahead of UTC.")
    missing: dict[str, list[FiniteFloat]] = Field(
        {}, description="missing.T1 = [-999]: numbers that mean missing, in place of the usual ones."
    )
    lenient: bool = Field(False, strict=True, description="A sensor type without a folder is identity, no fault.")
    replay: SitePath | None = Field(None, description="TOA5 file that --sim replays; default: the first of files.")

    @property
    def written_folders(self) -> list[Path]:
        """The folder of what is kept of a logger's rows."""
        return [self.keep.parent] if self.keep else []

    @field_validator("link")
    @classmethod
    def _link(cls, link: str) -> str:
        url = urlsplit(link)
        if link and (url.scheme not in ("http", "https") or not url.hostname or url.query):
            raise ValueError("is http://host, http://host:port or https://...")
        if url.username is not None:
            raise ValueError("holds a user; write it as user, and the password into the variable of password_env")
        return link.rstrip("/")

    @field_validator("missing")
    @classmethod
    def _missing(cls, missing: dict[str, list[float]]) -> dict[str, list[float]]:
        return {canonical(name): numbers for name, numbers in missing.items()}

    def model_post_init(self, context: object) -> None:
        """Refuse what does not go together."""
        if bool(self.files) is bool(self.link):
            raise ValueError("files or link must say where the rows come from, and not both")
        if self.link and not self.table:
            raise ValueError("link needs table: which of the logger's tables to ask for")
        for name in ("user", "password_env", "keep"):
            if getattr(self, name) and not self.link:
                raise ValueError(f"{name} is for link; files need none")
        if bool(self.user) is not bool(self.password_env):
            raise ValueError("user and password_env go together")

    @property
    def utc_offset_ns(self) -> int:
        """What the logger's clock is ahead of UTC, ns."""
        return round(self.utc_offset * 3600) * 10**9

    @property
    def password(self) -> str:
        """The password, as the environment has it.

        Raises:
            LookupError: it is not there.
        """
        if self.password_env and self.password_env not in os.environ:
            raise LookupError(f"key password_env: {self.password_env} is not set in the environment")
        return os.environ.get(self.password_env, "")

    @property
    def replayed(self) -> Path | None:
        """What a simulated logger replays."""
        return self.replay or (self.files or [None])[0]
