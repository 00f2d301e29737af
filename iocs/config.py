"""The site file: one TOML for the whole house, checked as a whole before anything is touched.

`load` reads what every room needs to know. A device's own table is checked by its kind, which `kinds=True` looks up:
an entry point of the group `countinghouse.devices` (`hv`), or a dotted name (`mylab.foo:Foo`).
"""

import importlib
import ipaddress
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    field_validator,
)

from iocs.archive_tables import ArchiveTable, NotifyTable, ServeTable
from iocs.signals import HEAD_LENGTH, SIGNAL_LENGTH, Alarms, check_name
from iocs.tables import SitePath, Table

KINDS = "countinghouse.devices"
STATISTICS = "IOC"  # second part of the names of the PVs in which a server tells about itself
ARCHIVER = "ARC"  # the same of the archiver


class ConfigError(Exception):
    """The site file has mistakes; `mistakes` holds one sentence for each."""

    def __init__(self, path: Path, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(f"{path}: {mistake}" for mistake in mistakes))
        self.mistakes = list(mistakes)


class SiteTable(Table):
    """`[site]`."""

    name: str = Field(description="What people call the site.")
    prefix: str = Field(description="What stands before every PV name, e.g. 'LAB:'.")
    simulated: bool = Field(False, strict=True, description="Values from simulators may be archived.")
    state_dir: SitePath = Field(
        Path("state"), description="Where what must survive a restart is kept (sim/ with --sim)."
    )

    put_log: SitePath | None = Field(
        None, description="JSON lines of every put (PATH.1, PATH.2 ... are older); default: putlog.jsonl in state_dir."
    )
    put_log_megabytes: float = Field(10.0, gt=0, description="Size of the put log at which a new file is begun.")
    put_log_keep: int = Field(10, ge=0, le=1000, description="How many older put logs are kept.")
    engineer: str = Field("", description="Who looks after the site: the PV IOC:ENGINEER.")
    location: str = Field("", description="Where it stands: the PV IOC:LOCATION.")

    @field_validator("prefix")
    @classmethod
    def _prefix(cls, prefix: str) -> str:
        if not prefix.endswith(":"):
            raise ValueError("must end with ':', e.g. 'LAB:'")
        check_name(prefix[:-1])
        return prefix


class AlarmTable(Table):
    """`alarms."NAME" = { high = 2.0 }` of a device."""

    lolo: FiniteFloat | None = Field(None, description="MAJOR at or below this.")
    low: FiniteFloat | None = Field(None, description="MINOR at or below this.")
    high: FiniteFloat | None = Field(None, description="MINOR at or above this.")
    hihi: FiniteFloat | None = Field(None, description="MAJOR at or above this.")
    hysteresis: FiniteFloat = Field(0.0, description="How far back the value must come to end the alarm.")

    def model_post_init(self, context: Any) -> None:
        """Refuse limits in the wrong order."""
        self.alarms()

    def alarms(self) -> Alarms:
        """Give the limits as the signals have them."""
        return Alarms(self.lolo, self.low, self.high, self.hihi, self.hysteresis)


def _device_name(name: str) -> str:
    check_name(name)
    if ":" in name:
        raise ValueError(f"{name!r} must be one part of a PV name, without ':'")
    return name


DeviceName = Annotated[str, AfterValidator(_device_name)]


def _signal_name(name: str) -> str:
    check_name(name, SIGNAL_LENGTH)
    return name


SignalName = Annotated[str, AfterValidator(_signal_name)]


class DeviceSettings(Table):
    """What every `[[device]]` may say; each kind adds its own keys."""

    name: DeviceName = Field(description="Second part of its PV names: PREFIX + NAME + ':' + SIGNAL.")
    type: str = Field(description="Kind of device: an installed one, or mylab.foo:Foo.")
    limits: dict[SignalName, tuple[FiniteFloat, FiniteFloat]] = Field(
        {}, description="limits.VSET = [0, 3000] narrows what may be put; a bare signal name means every channel."
    )
    alarms: dict[SignalName, AlarmTable] = Field(
        {}, description="alarms.IMON = { high = 2.0 }; a bare signal name means every channel."
    )
    lost_after: float | None = Field(
        None, gt=0, description="Seconds without good data until the device counts as lost."
    )

    @property
    def all_limits(self) -> dict[str, tuple[float, float]]:
        """`limits`, and what a kind's own tables say besides under the names of its signals."""
        return self.limits

    @property
    def signal_names(self) -> set[str]:
        """The signals that the table says something of."""
        return {*self.limits, *self.alarms}

    @property
    def sole_link(self) -> str:
        """The address of a box that bears one owner only, so that no other device may name it; empty otherwise."""
        return ""

    @property
    def written_folders(self) -> list[Path]:
        """The folders that the device writes files into, besides its state."""
        return []

    @property
    def believed(self) -> list[tuple[str, str]]:
        """PVs of other processes that are believed at one address alone, each with it, "host" or "host:port"."""
        return []

    @property
    def stop_takes(self) -> float:
        """Longest time that an orderly stop may take, s."""
        return 0.0

    @field_validator("limits")
    @classmethod
    def _limits(cls, limits: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        for name, (low, high) in limits.items():
            if not low <= high:
                raise ValueError(f"{name}: [{low:g}, {high:g}] is upside down")
        return limits


def fitting(table: Mapping[str, Any], name: str) -> Any:
    """Give the key of the entry for a signal: its whole name, else the longest end of it after a ':', else None."""
    while name not in table:
        if ":" not in name:
            return None
        name = name.split(":", 1)[1]
    return name


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a box says of itself, told for people, and whether it is as the site file says."""

    good: bool
    text: str


class DeviceTable(BaseModel):
    """A `[[device]]` table before its kind has looked at it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: DeviceName
    type: str


def _ipv4(address: str) -> str:
    try:
        return str(ipaddress.IPv4Address(address))
    except ValueError:
        raise ValueError("must be an IPv4 address of this host, or 0.0.0.0 for all of them") from None


_HOST = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*\.?")


def _host_or_network(text: str) -> str:
    if ":" in text:
        raise ValueError("Channel Access knows IPv4 alone")
    if not text.replace(".", "").replace("/", "").isdigit():
        if len(text) > 253 or not _HOST.fullmatch(text):
            raise ValueError("must be a host name, an IPv4 address, or a network such as 10.0.0.0/24")
        return text
    try:
        ipaddress.IPv4Network(text)
    except ValueError as error:
        raise ValueError(f"is no IPv4 address or network: {error}") from None
    return text


Hosts = list[Annotated[str, AfterValidator(_host_or_network)]]


class AccessTable(Table):
    """`[access]`: who may connect, read and put. This host is expert unless a list names its addresses."""

    interfaces: list[Annotated[str, AfterValidator(_ipv4)]] = Field(
        ["127.0.0.1"], min_length=1, description="Addresses to listen on; default: this host alone can connect."
    )
    read: Hosts = Field([], description="Hosts and networks that may read. The longest network that fits counts.")
    operator: Hosts = Field([], description="Hosts and networks that may put what operators may.")
    expert: Hosts = Field([], description="Hosts and networks that may put everything.")
    max_clients: int = Field(500, ge=1, description="Connections at a time.")
    max_clients_per_address: int | None = Field(
        None, ge=1, description="Connections at a time from one address; default: half of max_clients."
    )
    greeting_seconds: float = Field(
        10.0, gt=0, description="How long a connection may take until it has said its version; then it is closed."
    )
    max_channels: int = Field(50_000, ge=1, description="Channels (PVs) that one client may have open.")
    max_subscriptions: int = Field(50_000, ge=1, description="Subscriptions (monitors) of one client.")
    max_megabytes: int = Field(
        256, ge=16, description="Memory that all clients together may make the server hold; half of it for puts."
    )
    users: dict[str, Literal["none", "read", "operator", "expert"]] = Field(
        {}, description='What a claimed user name is narrowed to, never widened; "*" is everybody who is not named.'
    )


class SiteFile(Table):
    """The whole file; `device` tables are looked at by their kinds."""

    site: SiteTable
    access: AccessTable = Field({})  # type: ignore[assignment]  # validated as a table
    device: list[DeviceTable] = Field([])
    archive: ArchiveTable = Field({})  # type: ignore[assignment]  # validated as a table
    serve: ServeTable = Field({})  # type: ignore[assignment]  # validated as a table
    notify: NotifyTable | None = None


@dataclass(frozen=True)
class Device:
    """One `[[device]]`: its kind's class and checked settings where `load` was told to look up kinds, else None."""

    name: str
    type: str
    kind: Any = None
    settings: Any = None


@dataclass(frozen=True)
class Site:
    """A checked site file. Paths are absolute.

    Attributes:
        path: the file.
        name, prefix, simulated: as in `[site]`.
        state_dir: where state is kept.
        devices: in the order of the file.
        archive: `[archive]`.
        serve: `[serve]`.
        notify: `[notify]`, None where there is none.
        access: `[access]`.
        about: all of `[site]`.
    """

    path: Path
    name: str
    prefix: str
    simulated: bool
    state_dir: Path
    devices: tuple[Device, ...]
    archive: ArchiveTable
    access: AccessTable
    about: SiteTable
    serve: ServeTable
    notify: NotifyTable | None = None

    @property
    def put_log(self) -> Path:
        """The put log; that of simulators lies with their state."""
        return self.about.put_log or self.state_dir / "putlog.jsonl"

    @property
    def directory(self) -> Path:
        """The folder of the site file, from which relative paths count."""
        return self.path.parent

    def for_simulation(self) -> "Site":
        """The same site run on simulators: state and put log lie apart, in `sim/`; this host alone is served."""
        about = self.about.model_copy(update={"put_log": None})
        access = self.access.model_copy(update={"interfaces": ["127.0.0.1"]})
        return replace(self, state_dir=self.directory / "sim", about=about, access=access)


def load(path: Path | str, *, kinds: bool = False) -> Site:
    """Read and check a site file.

    Args:
        path: the file.
        kinds: look up each device's kind and let it check its table (this imports the kinds).

    Raises:
        ConfigError: all mistakes together.
    """
    path = Path(path).resolve()
    text = ""
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows begin a file with a byte order mark
        data = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(path, [f"cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            path, [f"is not UTF-8 text: line {line} has the byte {error.object[error.start]:#04x}; save it as UTF-8"]
        ) from error
    except tomllib.TOMLDecodeError as error:
        old = "; 'python -m iocs check' says what to write in place of an old PMU2CSV_config.txt"
        raise ConfigError(path, [f"is not TOML: {error}{old if 'PMU IP' in text else ''}"]) from error
    mistakes: list[str] = []
    file: SiteFile | None = None
    try:
        file = SiteFile.model_validate(data, context={"directory": path.parent})
    except ValidationError as error:
        mistakes += sentences(error, data)
    tables = data.get("device")
    tables = tables if isinstance(tables, list) else []
    devices = [_device(table, path.parent, kinds, mistakes) for table in tables if isinstance(table, dict)]
    names = [device.name for device in devices]
    mistakes += [
        f'[[device]] "{device.name}", key name: its PV names begin with {_head(file, device)!r}, '
        f"which has {len(_head(file, device))} characters; at most {HEAD_LENGTH} leave room for the signals"
        for device in devices
        if file is not None and len(_head(file, device)) > HEAD_LENGTH
    ]
    mistakes += [
        f'[[device]] "{name}": the name is used {names.count(name)} times'
        for name in sorted(set(names))
        if names.count(name) > 1
    ]
    mistakes += [
        f'[[device]] "{name}": the {who} itself has PVs of that name; choose another'
        for name, who in ((STATISTICS, "server"), (ARCHIVER, "archiver"))
        if name in names
    ]
    links = [device.settings.sole_link for device in devices if device.settings is not None]
    mistakes += [
        f"{links.count(link)} devices have the link {link}, which bears one owner only; several boards on one line "
        "are one device"
        for link in sorted(set(links) - {""})
        if links.count(link) > 1
    ]
    mistakes += [
        f"[archive.csv.row.{row}]: there is no device {row.split(':')[0]!r}; the site file has "
        f"{', '.join(names) or 'none'}"
        for row in (file.archive.csv.row if file is not None else ())
        if row.split(":")[0] not in names
    ]
    if file is None or mistakes:
        raise ConfigError(path, list(dict.fromkeys(mistakes)))
    site = file.site
    return Site(
        path=path,
        name=site.name,
        prefix=site.prefix,
        simulated=site.simulated,
        state_dir=site.state_dir,
        devices=tuple(devices),
        archive=file.archive,
        access=file.access,
        about=site,
        serve=file.serve,
        notify=file.notify,
    )


def _head(file: SiteFile, device: Device) -> str:
    return f"{file.site.prefix}{device.name}:"


def _device(table: dict[str, Any], directory: Path, kinds: bool, mistakes: list[str]) -> Device:
    name, type_name = str(table.get("name", "?")), str(table.get("type", "?"))
    if not kinds or not isinstance(table.get("type"), str):
        return Device(name, type_name)
    try:
        kind = find_kind(type_name)
    except LookupError as error:
        mistakes.append(f'[[device]] "{name}", key type: {error.args[0]}')
        return Device(name, type_name)
    try:
        settings = kind.Settings.model_validate(table, context={"directory": directory})
    except ValidationError as error:
        mistakes += sentences(error, table, f'[[device]] "{name}"')
        return Device(name, type_name, kind)
    return Device(name, type_name, kind, settings)


def installed_kinds() -> dict[str, Any]:
    """Name the kinds of device that are installed, with their entry points."""
    return {entry.name: entry for entry in entry_points(group=KINDS)}


def find_kind(type_name: str) -> Any:
    """Give the class of a kind of device.

    Raises:
        LookupError: there is none, or it cannot be loaded; the text says what there is.
    """
    installed = installed_kinds()
    module, _, attribute = type_name.partition(":")
    if type_name not in installed and not (module and attribute):
        known = ", ".join(sorted(installed)) or "none: is the package installed (make venv)?"
        raise LookupError(
            f"no kind of device is called {type_name!r}; known: {known}. Your own is written mylab.foo:Foo"
        )
    try:
        kind = (
            installed[type_name].load()
            if type_name in installed
            else getattr(importlib.import_module(module), attribute)
        )
    except Exception as error:  # whatever the code of a plug-in does, it is a mistake of this `type`
        raise LookupError(f"{type_name!r} cannot be loaded: {type(error).__name__}: {error}") from error
    settings = getattr(kind, "Settings", None)
    if not (isinstance(settings, type) and issubclass(settings, DeviceSettings)):
        raise LookupError(f"{type_name!r} is not a kind of device: it has no Settings made from DeviceSettings")
    return kind


def sentences(error: ValidationError, data: dict[str, Any], where: str = "") -> list[str]:
    """Say each mistake with its table and key."""
    return [
        f"{_place(problem['loc'], data, where)}: {_wording(problem)}" for problem in error.errors(include_url=False)
    ]


def _place(location: tuple[int | str, ...], data: dict[str, Any], where: str) -> str:
    parts = list(location)
    if not where and parts[:1] == ["device"] and len(parts) > 1 and isinstance(parts[1], int):
        table = data["device"][parts[1]]
        where, parts = f'[[device]] "{table.get("name", parts[1]) if isinstance(table, dict) else parts[1]}"', parts[2:]
    elif not where and parts:
        depth = max(1, len(parts) - 1)
        where, parts = "[" + ".".join(str(part) for part in parts[:depth]) + "]", parts[depth:]
    return where + (f", key {'.'.join(str(part) for part in parts)}" if parts else "")


def _wording(problem: Any) -> str:
    given = problem["input"]
    if problem["type"] == "extra_forbidden":
        return f"no such key (its value is {given!r}); is it spelled right?"
    if problem["type"] == "missing":
        return "is missing"
    if problem["type"] == "model_type":
        return f"must be a table of keys (given: {given!r})"
    if problem["type"] == "list_type":
        return "must be a list; of tables, each begins with the name in double brackets, as in [[device]]"
    if problem["type"] == "path_type":
        return f"must be a path, in quotes (given: {given!r})"
    text = problem["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return text if isinstance(given, dict) else f"{text} (given: {given!r})"


def schema() -> str:
    """Give the JSON schema of the site file with all installed kinds of device, for editors that complete and check."""
    whole = SiteFile.model_json_schema()
    definitions = whole.setdefault("$defs", {})
    choices = []
    for name in sorted(installed_kinds()):
        table = find_kind(name).Settings.model_json_schema(ref_template="#/$defs/{model}")
        definitions.update(table.pop("$defs", {}))
        table["properties"]["type"] = {"const": name, "title": "Type"}
        definitions[f"device.{name}"] = table
        choices.append({"$ref": f"#/$defs/device.{name}"})
    own = definitions.pop("DeviceTable")  # a kind that is not installed: its keys are its own
    own["properties"]["type"] |= {"pattern": ":"}
    choices.append(own)
    whole["properties"]["device"] = {"type": "array", "items": {"anyOf": choices}}
    return json.dumps(whole, indent=2)
