"""The one thread that does what an event loop gives it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from aoray.util.serial_executor import SerialExecutor


async def test_what_is_given_is_done_in_order_in_one_thread_and_answered() -> None:
    thread, loop, done = SerialExecutor("log"), asyncio.get_running_loop(), list[int]()
    given = [loop.run_in_executor(thread, done.append, number) for number in range(100)]
    name = await loop.run_in_executor(thread, lambda: threading.current_thread().name)
    assert all(each.done() for each in given)
    assert (name, done) == ("log", list(range(100)))


async def test_what_is_raised_is_raised_to_who_awaits_and_the_next_is_done() -> None:
    thread, loop = SerialExecutor("log"), asyncio.get_running_loop()
    with pytest.raises(KeyError):
        await loop.run_in_executor(thread, {}.__getitem__, "nothing")
    assert await loop.run_in_executor(thread, int, "7") == 7


async def test_who_no_longer_awaits_stops_nothing() -> None:
    thread, loop, may_go = SerialExecutor("log"), asyncio.get_running_loop(), threading.Event()
    gone = loop.run_in_executor(thread, may_go.wait, 10)
    gone.cancel()
    may_go.set()
    assert await loop.run_in_executor(thread, int, "7") == 7


async def test_the_thread_ends_with_its_owner() -> None:
    thread, loop = SerialExecutor("log"), asyncio.get_running_loop()
    runs = await loop.run_in_executor(thread, threading.current_thread)
    del thread
    runs.join(10)
    assert not runs.is_alive()
