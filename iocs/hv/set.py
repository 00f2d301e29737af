"""`python -m iocs.hv set`: set one channel as a Channel Access client, and say what came of it.

The IOC owns the supply, checks every put and reads it back; this says what it does before and after. Nothing is sent
that is set already. Limits go before ON, OFF before everything, and a voltage is lowered before, raised after the
current limit.
"""

import argparse
import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

from iocs import config
from iocs.ca.client import Client
from iocs.hv.settings import HvSettings
from iocs.signals import Reading, Severity

ANSWER = 5.0  # s
CONFIRMED = 30.0  # s; the slowest line, many clients
SPARE = 30.0  # s that a ramp may take beyond what its rate says


class Stop(Exception):
    """It cannot go on; the text says why. `code` is the exit code."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


class Unknown(Stop):
    """The supply's readings cannot be taken at their word at present."""


@dataclass(frozen=True, slots=True)
class Step:
    """One put: PV, value, and how people read it before and after."""

    name: str
    value: float | str
    old: str
    new: str


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `set` to a parser."""
    parser.add_argument("site", type=Path, metavar="SITE", help="the site file")
    parser.add_argument("-c", type=int, required=True, metavar="N", dest="channel", help="channel, counted from 0")
    parser.add_argument("-b", type=int, metavar="N", dest="board", help="board, where there are several (default: 0)")
    parser.add_argument("-v", type=float, metavar="V", dest="volts", help="voltage, V")
    parser.add_argument("-i", type=float, metavar="uA", dest="microamperes", help="current limit, uA")
    switch = parser.add_mutually_exclusive_group()
    switch.add_argument("--on", action="store_const", const="On", dest="switch", help="switch the channel on")
    switch.add_argument("--off", action="store_const", const="Off", dest="switch", help="switch the channel off")
    parser.add_argument("--wait", action="store_true", help="wait until the ramp is done")
    parser.add_argument("--device", metavar="NAME", help="which supply, where the site has several")


def run(options: argparse.Namespace) -> int:
    """Carry out `set`; gives the exit code: 0 done, 1 refused or not confirmed, 2 bad usage or configuration."""
    try:
        site = config.load(options.site, kinds=True)
        prefix, place = _channel(site, options)
        asyncio.run(_set(prefix, place, options))
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except Stop as stop:
        print(stop, file=sys.stderr)
        return stop.code
    except (TimeoutError, PermissionError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _channel(site: config.Site, options: argparse.Namespace) -> tuple[str, str]:
    """Give the prefix of the supply's PVs and what stands before those of the channel."""
    supplies = {device.name: device.settings for device in site.devices if isinstance(device.settings, HvSettings)}
    known = ", ".join(supplies) or "none"
    if options.device is None and len(supplies) != 1:
        raise Stop(f"{site.path}: which supply? Name one with --device; there are: {known}", 2)
    name = options.device or next(iter(supplies))
    if name not in supplies:
        raise Stop(f"{site.path}: there is no supply {name!r}; there are: {known}", 2)
    settings = supplies[name]
    board = options.board if options.board is not None else (settings.boards[0] if len(settings.boards) == 1 else 0)
    if board not in settings.boards:
        raise Stop(f"{name} has no board {board}; the site file says boards = {settings.boards}", 2)
    return f"{site.prefix}{name}:{settings.head(board)}", settings.place(board, options.channel).split(":")[-2] + ":"


async def _set(prefix: str, channel: str, options: argparse.Namespace) -> None:
    async with Client() as client:
        pv = _Pvs(client, prefix, channel)
        try:
            await pv.check_channel(options.channel)
            now = {name: await pv.good(name) for name in ("VMON", "IMON", "VSET_RBV", "ISET_RBV", "ON_RBV")}
        except Unknown as unknown:
            if options.switch != "Off":
                raise Stop(f"{unknown}; nothing was sent") from None
            print(f"{unknown}; it is told to switch off all the same")
            await client.put(f"{prefix}{channel}ON", "Off", CONFIRMED)
            print("ON -> Off; the unit has confirmed it")
            if options.volts is not None or options.microamperes is not None or options.wait:
                raise Stop("that alone was done: the rest of what was asked needs the readings") from None
            return
        status = await pv.read("STATUS.VAL$")
        print(f"{prefix}{channel[:-1]}: VMON {now['VMON']:.1f} V, IMON {now['IMON']:.3f} uA, {status.value}")
        steps = _steps(now, options)
        if not steps:
            asked = options.volts is not None or options.microamperes is not None or options.switch is not None
            if not asked and not options.wait:
                raise Stop("nothing to set: give -v, -i, --on or --off; nothing was sent", 2)
            print("nothing new: it is set so already; nothing was sent")
        for step in steps:
            await client.put(f"{prefix}{channel}{step.name}", step.value, CONFIRMED)
            shown = await pv.good(f"{step.name}_RBV")
            said = ("Off", "On")[int(shown)] if step.name == "ON" else f"{shown:g}"
            print(f"{step.name} {step.old} -> {step.new}; reads back {said}")
        if options.wait:
            await _wait(pv)


def _steps(now: dict[str, float], options: argparse.Namespace) -> list[Step]:
    """Give what is new, in an order that is safe at every moment."""
    steps = []
    for name, value, unit in (("ISET", options.microamperes, "uA"), ("VSET", options.volts, "V")):
        old = now[f"{name}_RBV"]
        if value is not None and value != old:
            steps.append(Step(name, value, f"{old:g}", f"{value:g} {unit}"))
    if options.volts is not None and options.volts < now["VSET_RBV"]:
        steps.reverse()
    old_switch = ("Off", "On")[int(now["ON_RBV"])]
    if options.switch not in (None, old_switch):
        step = Step("ON", options.switch, old_switch, options.switch)
        steps = [step, *steps] if options.switch == "Off" else [*steps, step]
    return steps


async def _wait(pv: "_Pvs") -> None:
    """Wait until the output is where it is to be; tells the voltage where stderr is a terminal."""
    is_on = bool(await pv.good("ON_RBV"))
    target = await pv.good("VSET_RBV") if is_on else 0.0
    way = target - await pv.good("VMON")
    rate = await pv.good("RUP_RBV" if way > 0 else "RDW_RBV")
    loop = asyncio.get_running_loop()
    end = loop.time() + 1.5 * abs(way) / max(rate, 1.0) + SPARE
    while True:
        volts = await pv.good("VMON")
        if await pv.good("TRIPPED"):
            raise Stop(f"the channel has tripped: {(await pv.read('TRIPCAUSE.VAL$')).value}")
        if is_on and not await pv.good("ON_RBV"):
            raise Stop("the channel has been switched off meanwhile")
        done = await pv.good("ATTARGET") if is_on else not await pv.good("RAMPING")
        if sys.stderr.isatty():
            print(f"\rVMON {volts:.1f} V of {target:g} V ", end="\n" if done else "", file=sys.stderr, flush=True)
        if done:
            print(f"VMON {volts:.1f} V, {'at' if is_on else 'off, target'} {target:g} V")
            return
        if loop.time() > end:
            raise Stop(f"VMON is {volts:.1f} V and does not reach {target:g} V")
        await asyncio.sleep(0.2)


class _Pvs:
    """The PVs of one channel."""

    def __init__(self, client: Client, prefix: str, channel: str) -> None:
        self._client, self._prefix, self._channel = client, prefix, channel

    async def read(self, name: str) -> Reading:
        return await self._client.get(f"{self._prefix}{self._channel}{name}", ANSWER)

    async def good(self, name: str) -> float:
        """Give a number that may be taken at its word.

        Raises:
            Stop: it is INVALID.
        """
        reading = await self.read(name)
        if reading.severity is Severity.INVALID:
            raise Unknown(f"{self._prefix}{self._channel}{name} is not known at present; is the supply online?")
        return float(reading.value)

    async def check_channel(self, number: int) -> None:
        """Refuse a channel that the unit does not have, before anything is asked of it."""
        try:
            count = await self._client.get(f"{self._prefix}NCH", ANSWER)
        except TimeoutError as error:
            raise Stop(f"{error}; is its IOC running (python -m iocs run)?") from None
        if count.severity is Severity.INVALID:
            raise Unknown(f"{self._prefix}NCH is not known: the supply does not answer")
        if not 0 <= number < count.value:
            raise Stop(f"there is no channel {number}: the unit has channels 0 to {int(count.value) - 1}", 2)
