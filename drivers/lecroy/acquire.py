"""Taking the events of a run: arm, wait, read all channels, store, and again, over lost scopes and full disks."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from drivers.errors import DeviceError, DriverError, LinkError, ProtocolError
from drivers.lecroy.instrument import Vxi11Error
from drivers.lecroy.run import SLOW, Run, changes, same_trigger
from drivers.lecroy.scope import Scope
from drivers.link import Backoff


async def read_event(scope: Scope, channels: Sequence[str]) -> dict[str, memoryview]:
    """Read the channels of the acquisition in memory.

    Raises:
        ProtocolError: they are of different triggers, or a reply is no waveform.
        DriverError: they could not be read.
    """
    event = {channel: await scope.waveform(channel) for channel in channels}
    same_trigger(event)
    return event


async def acquire(
    scope: Scope,
    run: Run,
    *,
    values: Callable[[], Mapping[str, Any]] = dict,
    tell: Callable[[Run, str], None] = lambda run, text: None,
) -> None:
    """Take a run from a connected scope until it has what was wanted; cancelled, it ends the run in order.

    A scope that is lost is waited for; when it comes back with other settings the run ends, because nothing is ever
    set unasked. A disk that refuses is tried again with the same event, which is still in memory. The same trouble is
    told once, not at every attempt.

    Args:
        scope: open.
        run: not begun.
        values: what goes into the sidecar at start and end beside the settings.
        tell: called after each event, and with a text when something holds the run up.

    Raises:
        DriverError: the scope came back with other settings, or the events do not fit into columns.
        OSError: the run could not begin or end on its disk.
    """
    start = await scope.settings()
    await asyncio.to_thread(run.begin, start, values())
    settings: Mapping[str, str] = start
    why = "stopped"
    backoff = Backoff(first=0.2, longest=5.0)
    try:
        while not run.finished:
            try:
                if not scope.link.is_open:
                    await scope.open()
                    settings = await scope.settings()
                    if others := changes(start, settings):
                        raise DeviceError(f"the scope came back with other settings: {others}; the run has ended")
                    run.note("the scope is back")
                    tell(run, "the scope is back")
                await _one(scope, run, tell)
                backoff.reset()
                tell(run, "")
            except (LinkError, Vxi11Error) as error:
                if run.note(str(error)):
                    tell(run, str(error))
                await scope.close()
                await asyncio.sleep(backoff.next())
            except ProtocolError as error:
                if run.leave_out(str(error)):
                    tell(run, str(error))
        why = "complete"
        with contextlib.suppress(DriverError):  # gone now: the settings of the last look stand
            settings = await scope.settings()
    except (DriverError, OSError) as error:
        why = str(error)
        raise
    finally:
        await asyncio.to_thread(run.end, why, settings, values())


async def _one(scope: Scope, run: Run, tell: Callable[[Run, str], None]) -> None:
    await scope.single()
    left = run.seconds - run.elapsed if run.seconds else 0.0
    if not await scope.wait_acquisition(min(max(left, 0.001), 1000.0) if run.seconds else 0.0):
        await scope.stop()
        return
    event = await read_event(scope, run.channels)
    while True:
        began = time.monotonic()
        writing = asyncio.ensure_future(asyncio.to_thread(run.store, event))
        if not (await asyncio.wait({writing}, timeout=SLOW))[0]:
            tell(run, f"the disk is slow: event {run.done + 1} takes more than {SLOW:g} s; the run waits for it")
        try:
            await writing
        except FileExistsError:
            raise
        except OSError as error:
            text = f"the disk refuses event {run.done + 1}: {error.strerror or error}; trying again"
            if run.note(text):
                tell(run, text)
            await asyncio.sleep(1.0)
            continue
        if (took := time.monotonic() - began) > SLOW:
            run.note(f"the disk was slow: {took:.1f} s for event {run.done}")
        return
