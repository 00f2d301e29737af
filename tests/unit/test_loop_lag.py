"""The instrument that finds what stops an event loop finds it, and nothing else."""

import asyncio
import time

import pytest

from tests.loop_lag import LoopLag


def compute(seconds):
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def compute_in_one_piece(seconds):
    """Nobody else gets the interpreter meanwhile."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        sum(range(3_000_000))


@pytest.mark.alone
@pytest.mark.parametrize("stop", [time.sleep, compute, compute_in_one_piece, None])
def test_what_stops_the_loop_is_found(stop):
    async def watched():
        async with LoopLag() as lag:
            for _ in range(10):
                await asyncio.sleep(0.01)
            if stop is not None:
                stop(0.2)
        return lag.longest

    longest = asyncio.run(watched())
    assert longest > 0.05 if stop is not None else longest < 0.05
