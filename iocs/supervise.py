"""Many devices in one process: each a supervised task, one event loop, one server, an orderly end."""

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager

from drivers.link import Backoff
from iocs import config, sd_notify
from iocs.ca.access import Access
from iocs.ca.client import Client
from iocs.ca.hosts import is_own
from iocs.ca.putlog import PutLog
from iocs.ca.server import Limits, Server
from iocs.ca.statistics import About, Statistics
from iocs.ca.statistics import prefix as statistics_prefix
from iocs.device import Device, Life, Place, all_signals
from iocs.log import device as device_of_log
from iocs.rules import on_hangup, reload_on, rules
from iocs.state import State, StateError, open_state

log = logging.getLogger(__name__)


class StartError(Exception):
    """The process cannot start: configuration, state, or PVs that somebody else serves. The text says what to do."""


def choose(site: config.Site, only: Sequence[str], without: Sequence[str]) -> list[config.Device]:
    """Give the site's devices that this process is to run.

    Raises:
        StartError: a name is none of the site's devices, or none is left.
    """
    names = [device.name for device in site.devices]
    for name in (*only, *without):
        if name not in names:
            raise StartError(f"the site file has no device {name!r}; it has {', '.join(names) or 'none'}")
    chosen = [device for device in site.devices if (not only or device.name in only) and device.name not in without]
    if not chosen:
        raise StartError("no device is left to run")
    return chosen


async def run(
    site: config.Site,
    devices: Sequence[config.Device],
    *,
    sim: bool,
    tell: Callable[[str], None],
    port: int | None = None,
) -> None:
    """Serve the devices until SIGINT or SIGTERM; SIGHUP reads the rules of `[access]` again.

    Args:
        site: the checked site file, with kinds.
        devices: those of it that this process runs.
        sim: run each device on its simulator.
        tell: called with the lines for people once everything is served.
        port: TCP port to serve on and no other; None: the usual one if it is free, else any.

    Raises:
        StartError: something stands in the way; no box has been touched.
        ConfigError: the rules of `[access]` cannot be used.
    """
    stop, reload = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    on_hangup(reload.set, stop.set)
    access = Access(is_own)
    access.replace(*rules(site))
    _warn_of_closed_doors(site.access)
    with ExitStack() as held:
        states = {device.name: _open_state(held, site, device) for device in devices}
        settings = {device.name: _settings(held, device, sim) for device in devices}
        put_log = held.enter_context(_put_log(site))
        async with Client() as searching:  # one of its own: a client goes on searching what it did not find
            await _refuse_doubles(searching, site, devices)
            prefix = await _statistics_prefix(searching, site, devices)
        about = About(prefix, sim, site.about.engineer, site.about.location)
        async with Client() as client, sd_notify.watchdog():
            server = Server(
                site.access.interfaces, access=access, put_log=put_log, limits=_limits(site.access), port=port
            )
            statistics = held.enter_context(closing(Statistics(server, about, access, put_log)))
            statistics.serve()
            built = []
            for device in devices:
                device_of_log.set(device.name)
                place = Place(site.prefix, server, states[device.name], sim, lambda: client, put_log, site.simulated)
                built.append(device.kind(settings[device.name], place))
            device_of_log.set("-")
            try:
                await server.start()
            except OSError as error:
                raise StartError(str(error)) from error
            tasks = [asyncio.create_task(_supervise(device)) for device in built]
            tasks.append(asyncio.create_task(_keep_posting(statistics)))
            tasks.append(asyncio.create_task(reload_on(reload, site.path, access, server, statistics)))
            try:
                lines = _announcement(site, server, built, sim)
                for line in lines:
                    tell(line)
                sd_notify.ready(lines[0])
                ended = asyncio.create_task(server.wait())
                stopped = asyncio.create_task(stop.wait())
                await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
                stopped.cancel()
                if ended.done():
                    ended.result()
                ended.cancel()
                log.info("stopping")
                sd_notify.stopping()
                await asyncio.gather(*(_at_stop(device) for device in built))
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await server.stop()
    log.info("stopped")


async def _supervise(device: Device) -> None:
    """Let a device live. A bug in it makes it INVALID, is logged with its traceback, and starts it again."""
    device_of_log.set(device.name)
    log.info("start%s", " on its simulator" if device.simulated else "")
    try:
        await asyncio.gather(*(_restart(device, duty) for duty in (device.live, device.beat, device.guard)))
    finally:
        await device.end_puts()
        log.info("stop")


async def _restart(device: Device, live: Callable[[], Awaitable[None]]) -> None:
    waits = Backoff(first=0.5)
    last = ""
    while True:
        began = time.monotonic()
        try:
            await live()
        except Exception as error:
            bug = f"internal error: {type(error).__name__}: {error}"
            if time.monotonic() - began > 60:
                waits.reset()
            if bug != last:
                log.exception("internal error; the device is started again")
            last = bug
            device.lost(f"{bug} (see the log)", life=Life.FAULT)
            await device.pause(waits.next())


async def _at_stop(device: Device) -> None:
    device_of_log.set(device.name)
    try:
        await device.at_stop()
    except Exception:
        log.exception("internal error in what is done at the stop")


async def _keep_posting(statistics: Statistics) -> None:
    """Post the server's own PVs. A bug there is logged; it neither ends the server nor the posting."""
    while True:
        try:
            await statistics.run()
        except Exception:
            log.exception("internal error in the statistics")
            await asyncio.sleep(10)


@contextmanager
def _put_log(site: config.Site) -> Iterator[PutLog]:
    about = site.about
    put_log = PutLog(site.put_log, most_bytes=int(about.put_log_megabytes * 1e6), keep=about.put_log_keep)
    put_log.start()
    try:
        yield put_log
    finally:
        put_log.stop()


def _warn_of_closed_doors(access: config.AccessTable) -> None:
    """Warn of a table in which either the hosts or the interfaces were forgotten."""
    named = any(not text.startswith("127.") for text in (*access.read, *access.operator, *access.expert))
    opened = any(not address.startswith("127.") for address in access.interfaces)
    if named and not opened:
        log.warning("[access] names hosts, but its interfaces are this host's own: nobody else can connect")
    if opened and not named:
        log.warning("[access] has interfaces for other hosts, but names none: none of them can do anything")


def _limits(access: config.AccessTable) -> Limits:
    return Limits(
        circuits=access.max_clients,
        share=access.max_clients_per_address or max(access.max_clients // 2, 1),
        greeting=access.greeting_seconds,
        channels=access.max_channels,
        subscriptions=access.max_subscriptions,
        memory=access.max_megabytes << 20,
    )


async def _statistics_prefix(client: Client, site: config.Site, devices: Sequence[config.Device]) -> str:
    """Give the prefix of the server's own PVs: with its devices' names if it runs a part, or another one has the short.

    (Two sites may share a prefix, each with devices of its own.)
    """
    names = [device.name for device in devices]
    if len(devices) == len(site.devices):
        prefix = statistics_prefix(site.prefix)
        if await client.answered(f"{prefix}HEARTBEAT") is None:
            return prefix
        log.info("%s is served by another process; this one's own PVs are named with its devices", prefix)
    prefix = statistics_prefix(site.prefix, names)
    if where := await client.answered(f"{prefix}HEARTBEAT"):
        raise StartError(f"{prefix}HEARTBEAT is already served by {where}; stop that IOC")
    return prefix


def _open_state(held: ExitStack, site: config.Site, device: config.Device) -> State:
    try:
        state = held.enter_context(open_state(site.state_dir, device.name))
        saved = state.load()
        all_signals(device.kind, device.settings, saved.get("shape"))
    except (StateError, ValueError) as error:
        raise StartError(f"{device.name}: {error}") from error
    return state


def _settings(held: ExitStack, device: config.Device, sim: bool) -> config.DeviceSettings:
    if not sim:
        return device.settings
    try:
        return held.enter_context(device.kind.simulate(device.settings))
    except NotImplementedError:
        raise StartError(f"{device.name}: devices of the type {device.type} have no simulator; --except it") from None
    except RuntimeError as error:
        raise StartError(f"{device.name}: {error}") from error


async def _refuse_doubles(client: Client, site: config.Site, devices: Sequence[config.Device]) -> None:
    """Refuse to start where one of our PVs is answered already."""
    names = [f"{site.prefix}{device.name}:ONLINE" for device in devices]
    answers = await asyncio.gather(*(client.answered(name) for name in names))
    for name, where in zip(names, answers, strict=True):
        if where:
            raise StartError(
                f"{name} is already served by {where}; stop that IOC, or give this site another [site] prefix"
            )


def _announcement(site: config.Site, server: Server, devices: Sequence[Device], sim: bool) -> list[str]:
    names = ", ".join(device.name for device in devices)
    where = f"{', '.join(server.interfaces)} port {server.port}"
    lines = [f"{site.name}: serving {names} on {where}, {len(server.names)} PVs{', on simulators' if sim else ''}"]
    lines.append(f"try: caget {devices[0].prefix}ONLINE")
    return lines
