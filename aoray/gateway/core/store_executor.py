"""Where a gateway looks into the log and the results: in the event loop, or in a thread.

SQLite's files answer in less time than a thread takes to begin, so what reads a row is run where it is asked
for. A store on a server may be silent for as long as its bounds let it; then everything of the gateway that
needs no look (what is accepted, results that are delivered, health) must go on, so all that reads it runs in
threads of its own, a few: who looks waits for one.

On failure: `Unavailable` when there is no answer in `limits.STORE_STATEMENT_SECONDS_MAX`, the wait for a
thread included. What has a thread keeps it until the store's own bounds end it; what has none yet is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from starlette.requests import Request

from aoray import limits
from aoray.errors import Unavailable
from aoray.util.turns import Budget, Turns
from aoray.web.shares import WHO

Found = TypeVar("Found")


class StoreExecutor:
    """The executor of reads from the store, `await look(function, *arguments)`; `far` is whether the
    store is on a server."""

    def __init__(self, *, far: bool = False) -> None:
        self._threads = ThreadPoolExecutor(limits.STORE_LOOKS_MAX, "look") if far else None
        self.pages = Turns(
            "pages",
            threads=limits.PAGES_AT_ONCE_MAX,
            waiting_max=limits.PAGES_WAITING_MAX,
            wait_seconds=limits.STORE_STATEMENT_SECONDS_MAX,
        )

    async def __call__(self, function: Callable[..., Found], *arguments: object) -> Found:
        """A row or a few."""
        return function(*arguments) if self._threads is None else await self._in_thread(function, *arguments)

    async def long(self, of: Request, function: Callable[..., Found], *arguments: object) -> Found:
        """Read a page that a request asks for, always in a thread. Addresses take turns in a few."""

        def page(_: Budget) -> Found:
            return function(*arguments)

        if self._threads is None:
            budget = Budget(0, limits.STORE_STATEMENT_SECONDS_MAX)
            return await self.pages.run(of.scope[WHO], page, budget, of.is_disconnected)
        return await self._in_thread(function, *arguments)

    async def _in_thread(self, function: Callable[..., Found], *arguments: object) -> Found:
        running = asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        try:
            async with asyncio.timeout(limits.STORE_STATEMENT_SECONDS_MAX):
                return await running
        except TimeoutError as error:
            raise Unavailable(
                "the store does not answer", hint="Is PostgreSQL up, and within reach?"
            ) from error
