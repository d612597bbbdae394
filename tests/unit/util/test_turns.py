"""Work of strangers: addresses take turns, who is gone is dropped, and what costs too much ends."""

from __future__ import annotations

import asyncio
import threading

import pytest

from aoray.errors import ClientError, Overloaded
from aoray.util import turns
from aoray.util.turns import Budget, Turns


async def here() -> bool:
    return False


async def gone() -> bool:
    return True


def one(waiting_max: int = 10, wait_seconds: float = 60.0) -> Turns:
    return Turns("test", threads=1, waiting_max=waiting_max, wait_seconds=wait_seconds)


def budget() -> Budget:
    return Budget(10**9, 60.0)


async def test_addresses_take_turns() -> None:
    turn, go, order = one(), threading.Event(), list[str]()
    first = asyncio.create_task(turn.run("a", lambda _: go.wait(), budget(), here))
    rest = [
        asyncio.create_task(turn.run(who, lambda _, who=who: order.append(who), budget(), here))  # type: ignore[misc]
        for who in "aaab"
    ]
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(first, *rest)
    assert order == ["a", "b", "a", "a"] or order == ["b", "a", "a", "a"]


async def test_one_address_alone_fills_half_of_what_may_wait() -> None:
    turn, go = one(waiting_max=10), threading.Event()
    running = [asyncio.create_task(turn.run("a", lambda _: go.wait(), budget(), here)) for _ in range(6)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await turn.run("a", lambda _: None, budget(), here)
    other = asyncio.create_task(turn.run("b", lambda _: "b", budget(), here))
    await asyncio.sleep(0)
    go.set()
    assert await other == "b"
    await asyncio.gather(*running)
    assert turn.refused_total == 1


async def test_work_whose_client_is_gone_ends_and_what_waits_is_not_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "LOOK_SECONDS", 0.01)
    turn, begun, ended = one(), list[str](), threading.Event()

    def work(budget: Budget) -> None:
        while not budget.spend(1):
            pass
        ended.set()

    with pytest.raises(ClientError, match="went away"):
        await turn.run("a", work, budget(), gone)
    assert await asyncio.to_thread(ended.wait, 10)
    go = threading.Event()
    running = asyncio.create_task(turn.run("a", lambda _: go.wait(), budget(), here))
    await asyncio.sleep(0)
    with pytest.raises(ClientError, match="went away"):
        await turn.run("a", lambda _: begun.append("never"), budget(), gone)
    go.set()
    await running
    assert await turn.run("a", lambda _: "next", budget(), here) == "next"
    assert not begun and turn.cancelled_total == 2


async def test_who_waits_too_long_for_a_thread_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "LOOK_SECONDS", 0.01)
    turn, go = one(wait_seconds=0.05), threading.Event()
    running = asyncio.create_task(turn.run("a", lambda _: go.wait(), budget(), here))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="in time"):
        await turn.run("b", lambda _: None, budget(), here)
    go.set()
    await running


def test_a_budget_ends_by_steps_by_time_and_by_word() -> None:
    steps, late, cancelled = Budget(10, 60.0), Budget(10, -1.0), budget()
    assert not steps.spend(10) and steps.fault is None and steps.spend(1)
    cancelled.cancel()
    found = [each.fault for each in (steps, late, cancelled)]
    assert [type(each) for each in found] == [ClientError, Overloaded, ClientError]
