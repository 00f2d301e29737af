"""The tables `[archive]`, `[archive.csv]`, `[archive.influx]`, `[serve]` and `[notify]` of the site file."""

import os
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, FiniteFloat, field_validator

from iocs.tables import SitePath, Table

LONGEST_PV = 200  # characters; EPICS has 60, and its field


def _digits(value: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, str) and value != "repr"):
        raise ValueError('write a number of significant figures, or "repr" for the exact value')
    return value


class CsvFilesTable(Table):
    """What may be said of the files of one row too: `[archive.csv.row.NAME]`."""

    directory: SitePath = Field(Path("data"), description="Folder of the files; made if missing.")
    name: str | None = Field(None, description="Beginning of the file names; default: the device's name and '_'.")
    time_format: Literal["seconds", "iso", "ns"] = Field("seconds", description="How the first column says UTC.")
    time_digits: int = Field(13, ge=10, le=19, description="Significant figures of the seconds: 13 = milliseconds.")
    value_digits: Annotated[int | Literal["repr"], BeforeValidator(_digits)] = Field(
        7, description='Significant figures of a value (never less than whole numbers), or "repr" for the exact value.'
    )
    new_file_every: float = Field(
        3600.0, ge=1, le=366 * 86400, description="Seconds from one file to the next, aligned to UTC."
    )
    new_file_megabytes: float | None = Field(None, gt=0, description="Size at which a new file is begun before that.")

    @field_validator("name")
    @classmethod
    def _name(cls, name: str | None) -> str | None:
        if name and ("/" in name or not name.isprintable()):
            raise ValueError(
                "is the beginning of a file name, without '/' and control characters; the folder is the key directory"
            )
        return name

    @field_validator("value_digits")
    @classmethod
    def _value_digits(cls, digits: int | str) -> int | str:
        if isinstance(digits, int) and not 1 <= digits <= 17:
            raise ValueError("at least 1 and at most 17 significant figures")
        return digits


class CsvTable(CsvFilesTable):
    """`[archive.csv]`."""

    enabled: bool = Field(True, strict=True, description="Whether CSV files are written at all.")
    write_every: float = Field(5.0, gt=0, le=3600, description="Seconds between writes to the files.")
    gzip: bool = Field(False, strict=True, description="Compress files that are closed.")
    keep_days: float | None = Field(None, gt=0, description="Delete closed files that are older.")
    keep_megabytes: float | None = Field(None, gt=0, description="Delete the oldest closed files beyond this size.")
    keep_free_megabytes: float | None = Field(
        None, gt=0, description="Delete the oldest closed files while the disk has less room than this."
    )
    row: dict[str, CsvFilesTable] = Field(
        {},
        description="[archive.csv.row.NAME]: the keys above for one row. NAME: its device, or its PV less the prefix.",
    )

    def for_row(self, name: str) -> CsvFilesTable:
        """Give the settings of one row, e.g. "PMU:ROW": its own table's keys over the general ones."""
        own = self.row.get(name) or self.row.get(name.split(":")[0])
        return self if own is None else self.model_copy(update={key: getattr(own, key) for key in own.model_fields_set})


class ModeTable(Table):
    """How a PV is recorded, where it is not every event: `{ deadband = 0.1 }` or `{ every = 10 }`."""

    deadband: FiniteFloat | None = Field(
        None, ge=0, description="Record a value that differs by more than this from the last one recorded."
    )
    every: FiniteFloat | None = Field(None, gt=0, description="Record the newest value every so many seconds.")

    def model_post_init(self, context: Any) -> None:
        """Refuse what says nothing, or two things."""
        if (self.deadband is None) == (self.every is None):
            raise ValueError("write either deadband or every")


Mode = Literal["none", "monitor"] | ModeTable


class PointTable(Table):
    """Where one quantity goes in InfluxDB: `[archive.influx.point."PATTERN"]`."""

    measurement: str = Field(min_length=1, description="Measurement.")
    field: str = Field(min_length=1, description="Field.")
    tags: dict[str, str] = Field({}, description="Tags; {channel} and {board} are the numbers in CH0 and B0.")
    bucket: str = Field("", description="Bucket, where it is another one.")
    scale: FiniteFloat = Field(1.0, description="The value is multiplied by this")
    offset: FiniteFloat = Field(0.0, description="and this is added.")

    @field_validator("tags")
    @classmethod
    def _tags(cls, tags: dict[str, str]) -> dict[str, str]:
        for tag in tags.values():
            try:
                tag.format_map({"channel": "0", "board": "0"})
            except (KeyError, ValueError, IndexError) as error:
                raise ValueError(f"{tag!r}: only {{channel}} and {{board}} may stand in braces ({error!r})") from None
        return tags


class InfluxTable(Table):
    """`[archive.influx]`: the table's presence turns it on."""

    url: str = Field(description="Where the server answers: http://127.0.0.1:8086.")
    version: Literal[1, 2] = Field(2, description="2: /api/v2/write, by influxdb-client; 1: /write, plain HTTP.")
    org: str = Field("", description="Organisation (version 2).")
    bucket: str = Field(description="Bucket, or database (version 1).")
    token_env: str | None = Field(
        None, description="Environment variable that holds the token (version 1: user:password)."
    )
    token_file: SitePath | None = Field(None, description="File that holds the token.")
    write_every: float = Field(1.0, gt=0, le=3600, description="Seconds between writes.")
    timeout: float = Field(10.0, gt=0, le=600, description="Seconds to wait for the server's answer.")
    gzip: bool = Field(False, strict=True, description="Compress what is sent.")
    names: Literal["countinghouse", "picosec"] = Field(
        "countinghouse", description='"picosec": measurements, tags, fields and units of the old gas and HV scripts.'
    )
    point: dict[str, PointTable] = Field(
        {},
        description='[archive.influx.point."HV:CH*:VMON"]: names of one\'s own, by pattern of the name without '
        "the site's prefix, for samples and for columns of rows.",
    )

    @field_validator("url")
    @classmethod
    def _url(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return url.rstrip("/")

    def token(self) -> str:
        """Read the token; empty where the table names none.

        Raises:
            LookupError: the environment variable is not set, or the file cannot be read; the text says so.
        """
        if self.token_env is not None:
            token = os.environ.get(self.token_env, "").strip()
            if not token:
                raise LookupError(f"[archive.influx], key token_env: {self.token_env} is not set in the environment")
            return token
        if self.token_file is None:
            return ""
        try:
            return self.token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise LookupError(f"[archive.influx], key token_file: {self.token_file} cannot be read: {error}") from error


class ArchiveTable(Table):
    """`[archive]`: what the archiver records, and where to."""

    pvs: list[str] = Field([], description="PVs of anybody's servers, by name, recorded as single samples.")
    modes: dict[str, Mode] = Field(
        {},
        description='"HV:*:IMON" = "none", "monitor", { deadband = 0.1 } or { every = 10 }: by pattern (* ? [..]) '
        "of the name without the site's prefix; the last one that fits counts, over what the catalogue says.",
    )
    spool_every: float = Field(
        0.25, gt=0, le=60, description="Seconds between writes to the spool: the most that a killed archiver loses."
    )
    sync_every: float = Field(
        1.0, gt=0, le=3600, description="Seconds between syncs of the disk: with spool_every, what a power cut costs."
    )
    spool_megabytes: float = Field(2000.0, gt=0, description="Most that waits on disk for one store.")
    spool_keep_free_megabytes: float = Field(
        500.0, ge=0, description="Room on the disk that the spool leaves to others."
    )
    spool_memory_megabytes: float = Field(
        64.0, gt=0, description="Most that waits in memory for one store while the spool cannot be written."
    )
    csv: CsvTable = Field({}, description="CSV files.")  # type: ignore[assignment]  # validated as a table
    influx: InfluxTable | None = Field(None, description="An InfluxDB.")

    @field_validator("pvs")
    @classmethod
    def _once(cls, pvs: list[str]) -> list[str]:
        for pv in pvs:
            if not pv or len(pv) > LONGEST_PV or not pv.isprintable() or " " in pv:
                raise ValueError(f"{pv!r} is not the name of a PV: 1 to {LONGEST_PV} characters, without blanks")
        return list(dict.fromkeys(pvs))  # a PV that is named twice is recorded once

    def mode(self, name: str) -> Mode | None:
        """Give what the patterns say of a PV, None if they say nothing.

        Args:
            name: the PV, without the site's prefix where it has that.
        """
        fits: list[Mode] = [mode for pattern, mode in self.modes.items() if fnmatchcase(name, pattern)]
        return fits[-1] if fits else None


class ServeTable(Table):
    """`[serve]`: the page, and what was recorded, over HTTP."""

    address: str = Field(
        "127.0.0.1", description="Address to listen on; default: this host alone. Nobody is asked who he is."
    )
    port: int = Field(8090, ge=0, le=65535, description="TCP port; 0: any that is free.")
    hosts: list[str] = Field(
        [], description="Names under which this server is reached, besides its addresses, localhost and its own name."
    )
    most_days: float = Field(3700.0, gt=0, description="Longest time that may be asked for at once.")
    most_samples: int = Field(
        100_000, ge=1, description="Most samples of an answer; where there are more, bins are given."
    )


class NotifyTable(Table):
    """`[notify]`: whom to wake."""

    command: list[str] = Field(
        min_length=1,
        description='Program and arguments: ["mail", "-s", "lab", "me@example.org"]. The text is its input.',
    )
    timeout: float = Field(30.0, gt=0, le=600, description="Seconds after which the program is ended.")
    most_per_hour: int = Field(10, ge=1, description="Messages; what is beyond comes with the next one.")
    lost_minutes: float = Field(5.0, ge=0, description="How long a device or a PV by name must be lost.")
    store_minutes: float = Field(1.0, ge=0, description="How long a store must take nothing.")
    spool_percent: float = Field(50.0, gt=0, le=100, description="How full a spool must be.")
    alarms: list[str] = Field(
        ["*:TRIPPED", "*:INTERLOCK*"],
        description="Recorded PVs whose MAJOR alarm is told at once, by pattern of the name without the site's prefix.",
    )
