"""Waits for what tells nobody when it changes. Who looks again at once takes the cores from what it waits
for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

LOOK_INTERVAL_S = 0.05


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop and other threads run until something in this process is so; the test's timeout is the
    bound."""
    while not condition():  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.001)


async def between_looks() -> None:
    """The pause between two looks at another process: a computer that is asked over HTTP, a Ray actor."""
    await asyncio.sleep(LOOK_INTERVAL_S)


def wait_until(condition: Callable[[], bool], said: Callable[[], object] = str, seconds: float = 60) -> None:
    """The same for a thread; `said` tells what there was instead."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, said()
        time.sleep(LOOK_INTERVAL_S)
