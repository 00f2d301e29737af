"""Whether an event loop was ever blocked, told apart from a machine that was busy."""

import asyncio
import threading
import time
from bisect import bisect
from itertools import pairwise
from pathlib import Path

TICK = 0.005


class LoopLag:
    """Within `async with`: watch the loop. `longest` is then the longest time (s) for which the loop alone stood still.

    A thread ticks beside the loop. Where it stood still too, the machine was busy, and the loop is not to blame; nor is
    it for the time that its own thread was ready to run and got no processor (Linux, schedstat of proc(5)).
    """

    def __init__(self):
        self.longest = 0.0
        self._thread_ticks = []
        self._loop_ticks = []
        self._waited = []  # s for which the loop's thread had waited for a processor, at each of its ticks
        self._ended = threading.Event()

    async def __aenter__(self):
        self._thread = threading.Thread(target=self._tick_in_thread)
        self._thread.start()
        self._task = asyncio.create_task(self._tick_in_loop())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *exception):
        await asyncio.sleep(0)
        self._note()
        self._task.cancel()
        self._ended.set()
        self._thread.join()
        waits = [after - before for before, after in pairwise(self._waited)]
        for (earlier, later), waited in zip(pairwise(self._loop_ticks), waits, strict=True):
            ticks = self._thread_ticks[bisect(self._thread_ticks, earlier) : bisect(self._thread_ticks, later)]
            within = [earlier, *ticks, later]
            busy = sum(gap - 2 * TICK for a, b in pairwise(within) if (gap := b - a) > 2 * TICK)
            self.longest = max(self.longest, later - earlier - max(busy, waited))

    def _note(self):
        self._loop_ticks.append(time.monotonic())
        self._waited.append(int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9)

    def _tick_in_thread(self):
        while not self._ended.wait(TICK):
            self._thread_ticks.append(time.monotonic())

    async def _tick_in_loop(self):
        while True:
            self._note()
            await asyncio.sleep(TICK)
