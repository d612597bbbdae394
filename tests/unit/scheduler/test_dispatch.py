"""Lanes: whatever fails, an actor is told of everything in the end, in order, one call at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

import pytest
from clock import Clock
from fake_actors import RecordingActor
from ray.exceptions import ActorUnavailableError

from aoray import limits
from aoray.contracts.shard import Work
from aoray.protocol.assignments import LogEntry
from aoray.scheduler.dispatch import HEALTH_SECONDS, ActorDispatcher, DispatchQueue


def work(process_id: str, nonce: int, size: int = 1) -> Work:
    return Work(1, LogEntry(process_id, nonce, "m", "a", 0, bytes(size), b""))


class Method:
    def __init__(self, function: Any) -> None:
        self.remote = function


class FakeHandle:
    """A Ray handle of a recording actor, whose calls fail as often as it is told to."""

    def __init__(self) -> None:
        self.actor = RecordingActor()
        self.failures = 0
        self.running = 0
        self.lagging: dict[str, int] = {}
        self.connections = 0
        for name in ("assign", "activate", "ready"):
            setattr(self, name, Method(lambda *arguments, name=name: self.call(name, *arguments)))

    async def call(self, name: str, *arguments: Any) -> Any:
        assert self.running == 0, "one call at a time"
        self.running += 1
        await asyncio.sleep(0)
        self.running -= 1
        if self.failures:
            self.failures -= 1
            raise ActorUnavailableError("gone", b"0" * 16)
        return await getattr(self.actor, name)(*arguments)


def dispatcher_of(handle: FakeHandle, clock: Clock) -> ActorDispatcher:
    async def lagging(name: str) -> Mapping[str, int]:
        assert name == "process-actor-0"
        return dict(handle.lagging)

    def connect(name: str) -> FakeHandle:
        handle.connections += 1
        return handle

    return ActorDispatcher("process-actor-0", connect, lagging, sleep=clock.sleep, clock=clock)


async def drain(dispatcher: ActorDispatcher) -> None:
    """Run the lane until there is nothing more to tell."""
    running = asyncio.create_task(dispatcher.run())
    while dispatcher.queue or dispatcher._wake.is_set():
        await asyncio.wait([running], timeout=0.001)
        assert not running.done()
    running.cancel()
    await asyncio.wait([running])


async def finish(step: Awaitable[None], dispatcher: ActorDispatcher) -> None:
    dispatcher._wake.set()
    await asyncio.wait([asyncio.ensure_future(step)])


async def test_entries_arrive_in_order_and_in_batches() -> None:
    handle, clock = FakeHandle(), Clock()
    dispatcher = dispatcher_of(handle, clock)
    works = [work("p", nonce) for nonce in range(2500)]
    dispatcher.push(works)
    await drain(dispatcher)
    assert handle.actor.told("assign") == works
    assert [len(batch) for name, batch in handle.actor.calls if name == "assign"] == [1000, 1000, 500]


async def test_a_failed_call_becomes_an_activation_and_nothing_is_forgotten() -> None:
    handle, clock = FakeHandle(), Clock()
    dispatcher = dispatcher_of(handle, clock)
    await drain(dispatcher)
    dispatcher.push([work("p", 1), work("q", 1)])
    handle.failures = 4
    await drain(dispatcher)
    assert dict(handle.actor.told("activate")) == {"p": 1, "q": 1} or len(handle.actor.told("assign")) == 2


async def test_a_restarted_actor_catches_up_though_no_call_failed() -> None:
    handle, clock = FakeHandle(), Clock()
    dispatcher = dispatcher_of(handle, clock)
    await finish(dispatcher.step(), dispatcher)
    handle.actor.incarnation, handle.lagging = 2, {"p": 3}
    clock.now += HEALTH_SECONDS
    await finish(dispatcher.step(), dispatcher)
    assert handle.actor.told("activate") == [("p", 3)]


async def test_an_actor_that_goes_on_is_not_made_to_catch_up() -> None:
    handle, clock = FakeHandle(), Clock()
    dispatcher = dispatcher_of(handle, clock)
    await finish(dispatcher.step(), dispatcher)
    handle.lagging = {"p": 3}
    clock.now += HEALTH_SECONDS
    await finish(dispatcher.step(), dispatcher)
    assert not handle.actor.calls and handle.connections == 1


async def test_waits_longer_after_each_failure() -> None:
    handle, clock = FakeHandle(), Clock()
    dispatcher = dispatcher_of(handle, clock)
    handle.failures = 8
    dispatcher.push([work("p", 0)])
    start = clock.now
    await drain(dispatcher)
    assert clock.now - start == pytest.approx(0.05 + 0.1 + 0.2 + 0.4 + 0.8 + 1.6 + 2 + 2)


def test_a_full_backlog_keeps_only_the_names_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ACTOR_QUEUE_MESSAGES_MAX", 4)
    backlog = DispatchQueue()
    backlog.add(work("p", nonce) for nonce in range(5))
    assert [each.entry.nonce for each in backlog.take()] == [0, 1]
    assert backlog.take_behind() == {"p": 1} and not backlog


def test_an_actor_is_told_of_one_message_in_the_next_call_however_many_another_process_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "BATCH_MESSAGES_MAX", 3)
    backlog = DispatchQueue()
    backlog.add([*(work("hot", nonce) for nonce in range(100)), work("other", 7)])
    assert [each.entry.nonce for each in backlog.take()] == [0, 7, 1]
    assert [each.entry.nonce for each in backlog.take()] == [2, 3, 4]


def test_a_backlog_is_bounded_in_bytes_and_forgets_what_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DISPATCH_QUEUE_BYTES_MAX", 10)
    backlog = DispatchQueue()
    backlog.add([work("p", 0, 10), work("q", 0, 1)])
    assert len(backlog.pending) == 1 and list(backlog.behind) == ["q"]
    backlog.take()
    backlog.add([work("p", 1, 10)])
    assert len(backlog.pending) == 1
