"""What the tests of the Channel Access client share."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.processes import ca_environment, free_port, random_prefix


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    """Give a free port, to which environment of clients and servers points."""
    port = free_port()
    for key, value in ca_environment(port).items():
        monkeypatch.setenv(key, value)
    return port


@pytest.fixture
def prefix() -> str:
    return random_prefix()


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, None]], None]:
    """Run a test's coroutine and see that nothing is left of the client in its loop."""

    def run(test: Coroutine[Any, Any, None]) -> None:
        async def whole() -> None:
            async with asyncio.timeout(60):
                await test
            await asyncio.sleep(0)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, left

        asyncio.run(whole(), debug=False)
        gc.collect()  # unclosed sockets warn here, and warnings are errors

    return run
