"""Who a board is and what it takes: asked at each connection, never assumed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from drivers.caen_hv.line import Line, Priority
from drivers.caen_hv.parameters import N1470, Parameter
from drivers.caen_hv.protocol import ErrorReply, Reply, Request, number, written
from drivers.errors import DriverError, ProtocolError

SETTINGS = ("VSET", "ISET", "MAXV", "RUP", "RDW", "TRIP")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a unit takes for one setting: from `minimum` to `maximum` in its unit, in steps of 10^-`decimals`."""

    minimum: float
    maximum: float
    decimals: int

    @property
    def step(self) -> float:
        """Smallest difference between two values."""
        return 10.0**-self.decimals


@dataclass(frozen=True, slots=True)
class Unit:
    """What a board said of itself when it was identified.

    Attributes:
        board: its number on the line, 0..31.
        model: BDNAME. channels: BDNCH. firmware: BDFREL. serial: BDSNUM.
        limits: for each channel those of VSET (V), ISET (uA), MAXV (V), RUP, RDW (V/s) and TRIP (s); a setting whose
            limits the unit does not tell is absent. ISET's may change with IMRANGE; `Client.set` reads them again.
        imon_decimals: IMDEC of each channel in its present range.
        replaced: serial number that answered here before, where it was another; else empty.
    """

    board: int
    model: str
    channels: int
    firmware: str
    serial: str
    limits: tuple[Mapping[str, Limits], ...]
    imon_decimals: tuple[int, ...]
    replaced: str = ""


class NotSent(DriverError):
    """This cannot be asked of this unit; nothing was sent."""


async def identify(line: Line, board: int) -> Unit:
    """Ask a board who it is and what it takes; from then on `line` checks itself by its serial number and model.

    About 25 exchanges, all MON. BDSNUM is asked first and last, and if the line was out of step in between all is asked
    anew, once: what was read then might be the answer to another question.

    Raises:
        ProtocolError: what answers is no supply of this family. DriverError: as `Line.ask`.
    """
    line.identities.pop(board, None)
    before = line.wire.counts.desyncs
    unit = await _identify(line, board)
    if line.wire.counts.desyncs != before:
        before = line.wire.counts.desyncs
        unit = await _identify(line, board)
        if line.wire.counts.desyncs != before:
            raise ProtocolError(
                f"{line.link.address}: board {board} could not be identified: replies are lost or garbled"
            )
    line.identities[board] = (unit.serial, unit.model)
    return unit


async def _identify(line: Line, board: int) -> Unit:
    where = f"{line.link.address}: board {board}"
    serial, model, count, firmware = [
        (await ask(line, Request(board, par), 1))[0] for par in ("BDSNUM", "BDNAME", "BDNCH", "BDFREL")
    ]
    channels = int(count) if count.isascii() and count.isdigit() else 0
    if not 1 <= channels <= 32:
        raise ProtocolError(f"{where} says it has {count!r} channels")
    limits: list[dict[str, Limits]] = [{} for _ in range(channels)]
    for name in SETTINGS:
        for channel, bounds in enumerate(await read_limits(line, board, channels, name)):
            limits[channel][name] = bounds
    imon_decimals = await read_imon_decimals(line, board, channels)
    (again,) = await ask(line, Request(board, "BDSNUM"), 1)
    if again != serial:
        raise ProtocolError(f"{where} says BDSNUM {serial!r} and then {again!r}")
    frozen = tuple(MappingProxyType(each) for each in limits)
    return Unit(board, model, channels, firmware, serial, frozen, imon_decimals)


async def read_limits(line: Line, board: int, channels: int, name: str) -> list[Limits]:
    """Give the limits of a setting for each channel; empty where the unit does not know the question.

    Raises:
        ProtocolError: they make no sense. DriverError: as `Line.ask`.
    """
    parameter = N1470[name]
    try:
        low = await _numbers(line, board, channels, parameter.minimum)
        high = await _numbers(line, board, channels, parameter.maximum)
        digits = await _numbers(line, board, channels, parameter.decimals)
    except ErrorReply as error:
        if error.kind != "PAR":
            raise
        return []
    if any(a > b for a, b in zip(low, high, strict=True)) or any(d not in range(7) for d in digits):
        raise ProtocolError(
            f"{line.link.address}: board {board} says {name} goes from {low} to {high} with {digits} decimals"
        )
    return [Limits(a, b, int(d)) for a, b, d in zip(low, high, digits, strict=True)]


async def read_imon_decimals(line: Line, board: int, channels: int) -> tuple[int, ...]:
    """Give IMDEC of each channel.

    Raises:
        DriverError: as `Line.ask`.
    """
    return tuple(int(each) for each in await _numbers(line, board, channels, "IMDEC"))


async def ask(line: Line, request: Request, count: int) -> tuple[str, ...]:
    """Ask for `count` texts.

    Raises:
        DriverError: as `Line.ask`.
    """
    found: list[tuple[str, ...]] = []

    def take(reply: Reply) -> None:
        if len(reply.values) != count:
            raise ProtocolError(f"{line.link.address}: {len(reply.values)} values instead of {count} to {request}")
        found.append(reply.values)

    await line.ask(request, Priority.SLOW, take)
    return found[-1]


async def _numbers(line: Line, board: int, channels: int, par: str) -> tuple[float, ...]:
    return tuple(number(text) for text in await ask(line, Request(board, par, channels), channels))


def check_channel(where: str, unit: Unit, channel: int) -> None:
    """See that a unit has this channel.

    Raises:
        NotSent: it has not.
    """
    if not 0 <= channel < unit.channels:
        raise NotSent(f"{where}: {unit.model} has channels 0 to {unit.channels - 1}; nothing was sent")


def text_of(where: str, unit: Unit, channel: int | None, parameter: Parameter, value: float | str) -> str:
    """Give the text of a value for a SET.

    Raises:
        NotSent: the unit does not take it.
    """
    where = f"{where} {parameter.name}"
    if not parameter.settable or parameter.kind == "order":
        raise NotSent(f"{where} cannot be set")
    if parameter.board != (channel is None):
        raise NotSent(f"{where} is set {'for the board: no channel' if parameter.board else 'for one channel'}")
    if channel is not None:
        check_channel(where, unit, channel)
    if parameter.kind == "word":
        if value not in parameter.words:
            raise NotSent(f"{where}: {value!r} is none of {', '.join(parameter.words)}; nothing was sent")
        return str(value)
    if isinstance(value, str) or not math.isfinite(value):
        raise NotSent(f"{where}: {value!r} is not a number; nothing was sent")
    limits = unit.limits[channel or 0].get(parameter.name)
    if limits is None:
        raise NotSent(f"{where}: the unit does not tell its limits; nothing was sent")
    if not limits.minimum <= value <= limits.maximum:
        raise NotSent(
            f"{where}: {value:g} is not within {limits.minimum:g} .. {limits.maximum:g} {parameter.unit}, which "
            "the unit takes; nothing was sent"
        )
    return written(value, limits.decimals)
