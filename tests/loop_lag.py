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

    To blame is what the loop's thread computed without a pause, and what it slept through. A thread ticks beside it:
    where that stood still too, some thread held the interpreter and got no processor. Nor does the time count for which
    the loop's own thread was ready to run and got none (Linux, schedstat of proc(5)).
    """

    def __init__(self):
        self.longest = 0.0
        self._thread_ticks = []
        self._loop_ticks = []
        self._waited = []  # s for which the loop's thread had waited for a processor, at each of its ticks
        self._computed = []  # s for which it had run
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
        gaps = zip(pairwise(self._loop_ticks), _differences(self._waited), _differences(self._computed), strict=True)
        for (earlier, later), waited, computed in gaps:
            ticks = self._thread_ticks[bisect(self._thread_ticks, earlier) : bisect(self._thread_ticks, later)]
            within = [earlier, *ticks, later]
            busy = sum(gap - 2 * TICK for a, b in pairwise(within) if (gap := b - a) > 2 * TICK)
            self.longest = max(self.longest, computed, later - earlier - busy - waited)

    def _note(self):
        self._loop_ticks.append(time.monotonic())
        self._waited.append(int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9)
        self._computed.append(time.thread_time())

    def _tick_in_thread(self):
        while not self._ended.wait(TICK):
            self._thread_ticks.append(time.monotonic())

    async def _tick_in_loop(self):
        while True:
            self._note()
            await asyncio.sleep(TICK)


def _differences(values):
    return [after - before for before, after in pairwise(values)]
