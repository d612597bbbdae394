"""A few threads for work that strangers request and that may take long, in which addresses take turns.

Searches of the embedded Arweave, and pages of logs and results, run here, separately from the threads that
accept uploads and read single items, so that they can't delay those. Each piece of work has a `Budget` for
everything that it does: steps of SQLite, and seconds. A client that disconnected is noticed within
`LOOK_SECONDS`; its work does not start, or ends when it checks its budget.

On failure: `Overloaded` if too many wait already, or no thread was free in time; the error of `Budget.check`
if the work costs too much.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

from aoray.errors import ClientError, Overloaded
from aoray.util.fair_queue import FairQueue

Found = TypeVar("Found")
LOOK_SECONDS = 0.25


class Budget:
    """The cost that one request may still have. It is used by one thread; `cancel` may be called by any."""

    def __init__(self, steps: int, seconds: float) -> None:
        self._steps = steps
        self._seconds = seconds
        self._ends = time.monotonic() + seconds
        self._cancelled = threading.Event()

    def begin(self) -> None:
        """Start the clock of the budget."""
        self._ends = time.monotonic() + self._seconds

    def cancel(self) -> None:
        """Record that nobody waits for the result any more."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the result."""
        return self._cancelled.is_set()

    def spend(self, steps: int) -> bool:
        """Count this many steps, and return whether the work must end."""
        self._steps -= steps
        return self._steps < 0 or self._cancelled.is_set() or time.monotonic() > self._ends

    @property
    def fault(self) -> ClientError | Overloaded | None:
        """The error that ends the work, if it must end."""
        if self._steps < 0:
            return ClientError(
                "the search is too broad", hint="Filter by rarer tags, owners, ids or blocks; ask for less."
            )
        if self._cancelled.is_set():
            return ClientError("the client went away")
        if time.monotonic() > self._ends:
            return Overloaded(
                f"the search took longer than {self._seconds:g} s",
                hint="Try again, or ask for less: rarer tags, fewer fields, no count.",
                retry_after_s=1,
            )
        return None

    def check(self) -> None:
        """Raise the error that ends the work, if it must end."""
        if (fault := self.fault) is not None:
            raise fault


class _Job(NamedTuple):
    function: Callable[[Budget], Any]
    budget: Budget
    begun: asyncio.Future[None]
    done: asyncio.Future[Any]


class Turns:
    """The threads of one event loop in which keys take turns. At most `waiting_max` pieces of work wait, each
    for at most `wait_seconds`."""

    def __init__(self, name: str, *, threads: int, waiting_max: int, wait_seconds: float) -> None:
        self._name = name
        self._threads = ThreadPoolExecutor(threads, name)
        self._free = threads
        self._waiting_max = waiting_max
        self._wait_seconds = wait_seconds
        self._queue: FairQueue[_Job] = FairQueue()
        self.refused_total = 0
        self.cancelled_total = 0

    def __len__(self) -> int:
        """Return how many pieces of work wait."""
        return len(self._queue)

    async def run(
        self,
        key: str,
        function: Callable[[Budget], Found],
        budget: Budget,
        is_gone: Callable[[], Awaitable[bool]],
    ) -> Found:
        """Run a function with its budget when it is its key's turn, and return the result. `is_gone` tells
        whether the client disconnected."""
        loop = asyncio.get_running_loop()
        job = _Job(function, budget, loop.create_future(), loop.create_future())
        if not self._queue.put(key, job, 0, count_max=self._waiting_max, bytes_max=0):
            self._refuse(f"too many {self._name} are waiting")
        self._next()
        try:
            await self._await(job, is_gone)
            found: Found = job.done.result()
            return found
        finally:
            budget.cancel()

    async def _await(self, job: _Job, is_gone: Callable[[], Awaitable[bool]]) -> None:
        give_up = asyncio.get_running_loop().time() + self._wait_seconds
        while not job.done.done():
            await asyncio.wait([job.done], timeout=LOOK_SECONDS)
            if job.done.done():
                break
            if await is_gone():
                self.cancelled_total += 1
                raise ClientError("the client went away")
            if not job.begun.done() and asyncio.get_running_loop().time() > give_up:
                self._refuse(f"no place for one more of {self._name} was free in time")

    def _refuse(self, why: str) -> None:
        self.refused_total += 1
        raise Overloaded(why, hint="Try again.", retry_after_s=1)

    def _next(self) -> None:
        while self._free and self._queue:
            job = self._queue.take()
            if job.budget.cancelled:
                continue
            job.budget.begin()
            job.begun.set_result(None)
            self._free -= 1
            running = asyncio.get_running_loop().run_in_executor(self._threads, job.function, job.budget)
            running.add_done_callback(partial(self._ended, job))

    def _ended(self, job: _Job, ended: asyncio.Future[Any]) -> None:
        self._free += 1
        if not job.done.done():
            if (error := ended.exception()) is not None:
                job.done.set_exception(error)
                job.done.exception()  # marks it as retrieved, since the caller may be gone
            else:
                job.done.set_result(ended.result())
        self._next()
