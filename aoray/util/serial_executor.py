"""An executor with one thread, which runs what an event loop gives it in order: work that takes long, or
objects that only one thread at a time may use.

It is the log's thread in a shard. It replaces a `ThreadPoolExecutor(1)` in `loop.run_in_executor` at less
than half of the cost, since its future is the loop's own; a pool's future has a lock and a condition, and is
copied into another.

On failure: an exception of the function is raised to the awaiting caller. The thread ends with its owner, or
with the program; it finishes what it was given before, unless the program ends.
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
        """Queue a call, and return a future of the running loop, which `wrap_future` returns as it is."""
        done = asyncio.get_running_loop().create_future()
        self._given.put((done, function, args, kwargs))
        return done


def _work(given: SimpleQueue[Task | None]) -> None:
    while (task := given.get()) is not None:
        done, function, args, kwargs = task
        value, error = None, None
        try:
            value = function(*args, **kwargs)
        except BaseException as raised:  # noqa: BLE001 - raised to the caller, as by a pool
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody waits
            done.get_loop().call_soon_threadsafe(_settle, done, value, error)
        del task, done, function, args, value, error  # frees them before the next call


def _settle(done: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if done.done():  # the caller was cancelled
        return
    if error is None:
        done.set_result(value)
    else:
        done.set_exception(error)
