"""The `[[device]]` table of a high-voltage supply, and the tables of its channels."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, FiniteFloat, field_validator, model_validator

from drivers.link import parse_address
from iocs.config import DeviceSettings, SitePath, Table, fitting
from iocs.hv.protection import InterlockTable, RampTable, WatchdogTable
from iocs.hv.ramp import farthest

PORT = 1470
BOARDS = 32  # on one line: addresses 0..31
LIMITED = ("VSET", "ISET", "MAXV", "RUP", "RDW", "TRIP")

_KEY = re.compile(r"(?:B(?P<board>0|[1-9]\d?):)?(?:0|[1-9]\d?)")
_KEPT = re.compile(r"B(\d+):CH(\d+):")


class ExpectTable(Table):
    """`[device.channel.N.expect]`: what the unit should be set to. It is compared and alarmed on, never written."""

    VSET: FiniteFloat | None = Field(None, description="V")
    ISET: FiniteFloat | None = Field(None, description="uA")
    MAXV: FiniteFloat | None = Field(None, description="V")
    RUP: FiniteFloat | None = Field(None, description="V/s")
    RDW: FiniteFloat | None = Field(None, description="V/s")
    TRIP: FiniteFloat | None = Field(None, description="s")
    PDWN: Literal["KILL", "RAMP"] | None = Field(None, description="How OFF, trip and interlock end.")
    IMRANGE: Literal["HIGH", "LOW"] | None = Field(None, description="Range of the current meter.")
    POL: Literal["+", "-"] | None = Field(None, description="Polarity.")

    @property
    def given(self) -> dict[str, float | str]:
        """What the site file says, by the name of the parameter."""
        return {name: value for name, value in self if value is not None}


class ChannelTable(Table):
    """`[device.channel.N]`: one channel, named as on the unit (`3`); with several boards also the board (`"B1:3"`)."""

    name: str = Field("", max_length=24, description="What people call it; shown in DESC and on screens.")
    limits: dict[Literal["VSET", "ISET", "MAXV", "RUP", "RDW", "TRIP"], tuple[FiniteFloat, FiniteFloat]] = Field(
        {}, description="limits.VSET = [0, 1000] narrows what may be put; nobody widens it over the network."
    )
    max_step: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="V; by how much one put may raise VSET. Lowering is always allowed.",
    )
    polarity: Literal["+", "-"] | None = Field(
        None, description="What the polarity switch must say; if it says otherwise nothing is switched on or raised."
    )
    standby: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="V; the voltage at which the channel is safe to be left."
    )
    expect: ExpectTable = Field({}, description="What the unit should be set to: compared, never written.")  # type: ignore[assignment]  # validated as a table

    @model_validator(mode="after")
    def _within(self) -> "ChannelTable":
        for name, (low, high) in self.limits.items():
            if not low <= high:
                raise ValueError(f"limits.{name} = [{low:g}, {high:g}] is upside down")
            wanted = getattr(self.expect, name)
            if wanted is not None and not low <= wanted <= high:
                raise ValueError(f"expect.{name} = {wanted:g} is not within limits.{name} = [{low:g}, {high:g}]")
        low, high = self.limits.get("VSET", (0.0, float("inf")))
        if self.standby is not None and not low <= self.standby <= high:
            raise ValueError(f"standby = {self.standby:g} is not within limits.VSET = [{low:g}, {high:g}]")
        return self


def _board(number: int) -> int:
    if not 0 <= number < BOARDS:
        raise ValueError(f"{number}: boards on a line have the addresses 0 to {BOARDS - 1}")
    return number


class HvSettings(DeviceSettings):
    """The table of a CAEN N1470 family supply, or of several on one line."""

    link: str = Field(
        description=f"tcp://host:port (port {PORT} unless given) or serial:///dev/... of the supply; or, through the "
        "library of CAEN, caen://N1470/TCPIP/10.0.0.5."
    )
    library: SitePath | None = Field(
        None, description="Path of CAEN's libcaenhvwrapper.so, for a link caen://; default: where the loader finds it."
    )
    boards: list[Annotated[int, AfterValidator(_board)]] = Field(
        [0],
        min_length=1,
        max_length=BOARDS,
        description="Addresses of the boards on the line; several: PVs are Bn:CHn:.",
    )
    serials: list[str] = Field(
        [], description="Serial numbers that the boards must have, in the order of boards; another one is not touched."
    )
    channel: dict[str, ChannelTable] = Field({}, description='[device.channel.3]; with several boards "B1:3".')
    readonly: bool = Field(
        False, strict=True, description="Write nothing at all to the unit; nobody can lift it by CA."
    )
    poll: float = Field(1.0, ge=0.2, le=10, description="Seconds between readings of VMON, IMON and STAT.")
    poll_ramping: float = Field(0.25, ge=0.2, le=10, description="The same while ramping and for 30 s after a put.")
    poll_settings: float = Field(5.0, gt=0, le=60, description="Seconds between readings of what is set.")
    timeout: float = Field(0.6, gt=0, le=10, description="Seconds that the unit may take for an answer.")
    live_above: float = Field(30.0, ge=0, allow_inf_nan=False, description="V; above it LIVE, whatever the unit says.")
    tolerance: float = Field(
        5.0, gt=0, allow_inf_nan=False, description="V; how far VMON may be from VSET and be at it; farther alarms."
    )
    settle: float = Field(
        5.0, ge=0, allow_inf_nan=False, description="Seconds after a ramp in which VMON does not alarm."
    )
    low_full_scale: float | None = Field(
        None, gt=0, description="uA; full scale of the LOW current range, at which IMON alarms. That of HIGH is told."
    )

    interlock: list[InterlockTable] = Field(
        [], description="[[device.interlock]]: what must be good, and what is done to the channels when it is not."
    )
    watchdog: WatchdogTable | None = Field(
        None, description="[device.watchdog]: a PV that must go on changing; default: none."
    )
    ramp: list[RampTable] = Field(
        [], description="[[device.ramp]]: neighbours that are ramped together; a channel is in one of them at most."
    )
    at_stop: Literal["leave", "standby", "off"] = Field(
        "leave", description="What is done to the channels when this program is stopped in order."
    )
    at_stop_within: float = Field(
        30.0, gt=0, le=3600, description="Seconds that it may take; then the program ends all the same."
    )

    @field_validator("link")
    @classmethod
    def _link(cls, link: str) -> str:
        return str(parse_address(link, PORT))

    @model_validator(mode="after")
    def _library(self) -> "HvSettings":
        if self.library is not None and not self.link.startswith("caen://"):
            raise ValueError("library is for a link caen://SYSTEM/LINK/ARGUMENT; this one needs none")
        return self

    @property
    def address(self) -> str:
        """The link, with the library that it goes through."""
        return self.link if self.library is None else f"{self.link}?library={self.library.absolute()}"

    @model_validator(mode="after")
    def _channels(self) -> "HvSettings":
        if len(set(self.boards)) < len(self.boards):
            raise ValueError(f"boards = {self.boards}: an address is there twice")
        if self.serials and len(self.serials) != len(self.boards):
            raise ValueError(f"serials: {len(self.serials)} for {len(self.boards)} boards; one for each, or none")
        named: dict[str, str] = {}
        for key, table in self.channel.items():
            place = self._place(key)
            if place in named:
                raise ValueError(f"channel.{key} and channel.{named[place]} are the same channel")
            named[place] = key
            for name in table.limits:
                if f"{place}{name}" in self.limits:
                    raise ValueError(f"channel.{key}.limits.{name}: limits.{place}{name} says it too; write it once")
        for name, (low, high) in self.all_limits.items():
            if low < 0 or (low > 0 and name.split(":")[-1] == "VSET"):
                raise ValueError(f"limits.{name} = [{low:g}, {high:g}]: magnitudes from 0; VSET 0 must be allowed")
        return self

    @model_validator(mode="after")
    def _protection(self) -> "HvSettings":
        for what, tables in (("interlock", self.interlock), ("ramp", self.ramp)):
            names = [table.name for table in tables]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{what}: the name {twice[0]!r} is used twice")
            for table in tables:
                try:
                    places = [self._place(str(key)) for key in table.channels]
                except ValueError as error:
                    raise ValueError(f'{what} "{table.name}", channels: {error}') from None
                if len(set(places)) < len(places):
                    raise ValueError(f'{what} "{table.name}", channels: {table.channels} has one twice')
        taken: dict[str, str] = {}
        for ramp in self.ramp:
            for place in self.places(ramp.channels):
                if place in taken:
                    raise ValueError(f'ramp "{ramp.name}": {place[:-1]} is in "{taken[place]}" already')
                taken[place] = ramp.name
            standby = [self.table(self.on_board(str(key)), self.number(str(key))).standby for key in ramp.channels]
            volts = tuple(each for each in standby if each is not None)
            if len(volts) == len(standby) and farthest(volts) > ramp.apart:
                raise ValueError(
                    f'ramp "{ramp.name}": the standby voltages of neighbours are {farthest(volts):g} V apart, and '
                    f"{ramp.apart:g} V are allowed"
                )
        return self

    @property
    def believed(self) -> list[tuple[str, str]]:
        """What the interlocks and the watchdog watch at one address alone."""
        watched = [(table.pv, table.server) for table in (*self.interlock, *([self.watchdog] if self.watchdog else []))]
        return [(pv, server) for pv, server in watched if pv and server]

    @property
    def stop_takes(self) -> float:
        """Longest time that an orderly stop may take, s."""
        return 0.0 if self.at_stop == "leave" else self.at_stop_within

    @property
    def sole_link(self) -> str:
        """The unit has one session, a serial line one owner."""
        return self.link.partition("?")[0]

    @property
    def all_limits(self) -> dict[str, tuple[float, float]]:
        """`limits`, and those of the channels' tables: the longer name wins over that of all channels."""
        own = {
            f"{self._place(key)}{name}": span
            for key, table in self.channel.items()
            for name, span in table.limits.items()
        }
        return {**self.limits, **own}

    def _place(self, key: str) -> str:
        match = _KEY.fullmatch(key)
        if match is None:
            raise ValueError(f'channel.{key}: channels are named by number, as 3, or "B1:3" with several boards')
        board = self.on_board(key)
        if match["board"] is None and len(self.boards) > 1:
            raise ValueError(f'channel.{key}: of which board? Write "B{board}:{key}"')
        if board not in self.boards:
            raise ValueError(f"channel.{key}: boards = {self.boards} has no board {board}")
        return self.place(board, self.number(key))

    def on_board(self, key: str) -> int:
        """Give the board that a key of `channel` names."""
        return int(match["board"]) if (match := _KEY.fullmatch(key)) and match["board"] else self.boards[0]

    def places(self, channels: Sequence[int | str]) -> list[str]:
        """Give what stands before the names of PVs of the channels that a list in the site file names."""
        return [self.place(self.on_board(str(key)), self.number(str(key))) for key in channels]

    def kept_names(self, channels: Sequence[int | str]) -> list[str]:
        """Give the names by which the channels that a list in the site file names are kept over restarts."""
        return [kept(self.on_board(str(key)), self.number(str(key))) for key in channels]

    def number(self, key: str) -> int:
        """Give the channel that a key of `channel` names."""
        return int(key.split(":")[-1])

    def head(self, board: int) -> str:
        """Give what stands before the names of a board's PVs: "B1:", or nothing where there is one board only."""
        return f"B{board}:" if len(self.boards) > 1 else ""

    def place(self, board: int, channel: int) -> str:
        """Give what stands before the names of a channel's PVs: "CH3:" or "B1:CH3:"."""
        return f"{self.head(board)}CH{channel}:"

    def table(self, board: int, channel: int) -> ChannelTable:
        """Give what the site file says of a channel; all defaults if nothing."""
        keys = [f"B{board}:{channel}", *([str(channel)] if len(self.boards) == 1 else [])]
        return next((self.channel[key] for key in keys if key in self.channel), ChannelTable.model_validate({}))

    def ceiling(self, signal: str, unit: float, *, default: float | None = None) -> float:
        """Give the upper end of what may be put to a signal: that of the site file where it is below the unit's.

        Args:
            signal: name of the signal.
            unit: what the unit allows.
            default: what to give where the site file says nothing; `unit` unless given.
        """
        key = fitting(self.all_limits, signal)
        if key is None:
            return unit if default is None else default
        return min(unit, self.all_limits[key][1])


def kept(board: int, channel: int) -> str:
    """Give the name by which a channel is kept over restarts, "B0:CH3:": with its board, whether PVs say it or not."""
    return f"B{board}:CH{channel}:"


def of_kept(name: str) -> tuple[int, int]:
    """Give board and channel of a name that `kept` gave.

    Raises:
        ValueError: it is none.
    """
    match = _KEPT.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is the name of no channel")
    return int(match[1]), int(match[2])


def name_boards(memory: dict[str, Any], board: int) -> None:
    """Bring what an earlier version kept of a supply of one board, whose channels it named "CH3:", to names of `kept`.

    Args:
        memory: what was kept; changed in place.
        board: the address of that board.
    """

    def named(name: str) -> str:
        return name if name.startswith("B") else f"B{board}:{name}"

    memory["channels"] = {named(name): told for name, told in memory.get("channels", {}).items()}
    for interlock in memory.get("interlocks", {}).values():
        if (latch := interlock.get("latch")) is not None:
            action = latch["action"]
            action["channels"] = [named(name) for name in action["channels"]]
            action["standby"] = {named(name): volts for name, volts in action["standby"].items()}
