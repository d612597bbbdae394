"""A thread that does what an event loop gives it, one after another: what may take long, or is used by one
thread at a time.

In a message's journey: the log's thread in a shard. It stands in for a `ThreadPoolExecutor(1)` in
`loop.run_in_executor`, at less than half of its price: the future it gives is the loop's own, where a pool's
has a lock and a condition, and is copied into another.

On failure: what the function raises is raised to whoever awaits. The thread ends with its owner, or with the
program; what it was given before is done, unless the program ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Executor
from queue import SimpleQueue
from typing import Any

Task = tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class SerialExecutor(Executor):
    """An executor with one thread, for `run_in_executor` of one running loop."""

    def __init__(self, name: str) -> None:
        self._given: SimpleQueue[Task | None] = SimpleQueue()
        threading.Thread(target=_work, args=(self._given,), name=name, daemon=True).start()
        weakref.finalize(self, self._given.put, None)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Return a future of the running loop, which `wrap_future` returns as it is."""
        done = asyncio.get_running_loop().create_future()
        self._given.put((done, function, args, kwargs))
        return done


def _work(given: SimpleQueue[Task | None]) -> None:
    while (task := given.get()) is not None:
        done, function, args, kwargs = task
        value, error = None, None
        try:
            value = function(*args, **kwargs)
        except BaseException as raised:  # noqa: BLE001 - as a pool's thread: to whoever awaits
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody awaits
            done.get_loop().call_soon_threadsafe(_settle, done, value, error)
        del task, done, function, args, value, error  # nothing stays until the next comes


def _settle(done: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if done.done():  # who awaited was cancelled
        return
    if error is None:
        done.set_result(value)
    else:
        done.set_exception(error)
