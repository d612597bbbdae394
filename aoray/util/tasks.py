"""The background loops of an actor, which run for as long as the actor does. A loop that ends with an
unexpected error is a fault in aoray: then the whole OS process ends, Ray restarts it, and it recovers from
the log."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine
from typing import Any

logger = logging.getLogger(__name__)


class SupervisedTasks:
    """The background loops of the actor `name`, for use in its event loop."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._running: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Start a loop."""
        task = asyncio.get_event_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.critical("%s ends: %r", self._name, error, exc_info=error)
            os._exit(1)

    async def cancel(self) -> None:
        """End all loops. Only tests do this; a real actor is killed."""
        tasks = list(self._running)
        for task in tasks:
            task.remove_done_callback(self._ended)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
