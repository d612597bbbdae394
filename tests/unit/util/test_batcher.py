"""Batching: few calls for many callers, bounded, and patient with an actor that is being restarted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from aoray import limits
from aoray.errors import AorayError, MalformedInput, Overloaded, Unavailable
from aoray.util.batcher import Batcher


class Other:
    """The other side: holds calls until `release` is set, and fails as told."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.release = asyncio.Event()
        self.failures: list[AorayError] = []

    async def __call__(self, batch: list[int]) -> Sequence[int | AorayError]:
        self.calls.append(batch)
        await self.release.wait()
        if self.failures:
            raise self.failures.pop(0)
        return [MalformedInput("odd") if number % 2 else number * 10 for number in batch]


async def no_sleep(_: float) -> None:
    await asyncio.sleep(0)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_queues_during_a_call_goes_with_the_next() -> None:
    other = Other()
    batcher: Batcher[int, int] = Batcher(other)
    answers = [batcher.put(0)]
    await settle()
    answers.append(batcher.put(2))
    await settle()
    answers += [batcher.put(number) for number in range(4, 40, 2)]
    await settle()
    assert other.calls == [[0], [2]]
    assert len(batcher) == 18
    other.release.set()
    assert await asyncio.gather(*answers) == [number * 10 for number in range(0, 40, 2)]
    assert len(other.calls) == limits.BATCH_CALLS_MAX + 1


async def test_each_caller_gets_the_answer_to_its_own_item() -> None:
    other = Other()
    other.release.set()
    batcher: Batcher[int, int] = Batcher(other)
    found = await asyncio.gather(*map(batcher.put, range(4)), return_exceptions=True)
    assert [found[0], found[2]] == [0, 20]
    assert isinstance(found[1], MalformedInput)


async def test_a_batch_is_sent_again_as_it_was_while_the_other_side_is_away() -> None:
    other = Other()
    other.release.set()
    other.failures = [Unavailable("away"), Unavailable("away")]
    batcher: Batcher[int, int] = Batcher(other, sleep=no_sleep)
    assert await asyncio.gather(batcher.put(2), batcher.put(4)) == [20, 40]
    assert other.calls == [[2, 4]] * 3


async def test_patience_ends() -> None:
    other = Other()
    other.release.set()
    other.failures = [Unavailable("away") for _ in range(1000)]
    batcher: Batcher[int, int] = Batcher(other, sleep=no_sleep, patience_s=5)
    with pytest.raises(Unavailable):
        await batcher.put(2)
    assert 2 < len(other.calls) < 20


async def test_a_bug_reaches_the_callers_and_leaves_nobody_waiting() -> None:
    async def broken(_: list[int]) -> Sequence[int]:
        raise ZeroDivisionError

    with pytest.raises(AorayError, match="internal"):
        await Batcher(broken).put(1)


async def test_the_queue_is_bounded_in_items_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "GATEWAY_QUEUE_MESSAGES_MAX", 3)
    monkeypatch.setattr(limits, "GATEWAY_QUEUE_BYTES_MAX", 100)
    batcher: Batcher[int, int] = Batcher(Other())
    for number in range(3):
        batcher.put(number, str(number), number)
    with pytest.raises(Overloaded) as caught:
        batcher.put(10, "10", 10)
    assert caught.value.details["retry_after_s"] == 1
    with pytest.raises(Overloaded):
        Batcher(Other()).put(101, size=101)


async def test_many_for_one_hold_up_no_other_and_leave_room_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "GATEWAY_QUEUE_MESSAGES_MAX", 5000)
    monkeypatch.setattr(limits, "SUBMIT_MESSAGES_MAX", 100)
    other = Other()
    batcher: Batcher[int, int] = Batcher(other)
    for _ in range(limits.BATCH_CALLS_MAX):  # take what there is, and are held
        batcher.put(0, "hot")
        await settle()
    with pytest.raises(Overloaded):
        for _ in range(5000):
            batcher.put(0, "hot")
    assert len(batcher) == 2500
    late = batcher.put(1, "other")
    other.release.set()
    with pytest.raises(MalformedInput):
        await late
    assert 1 in other.calls[limits.BATCH_CALLS_MAX]


async def test_batches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SUBMIT_MESSAGES_MAX", 3)
    monkeypatch.setattr(limits, "BATCH_BYTES_MAX", 50)
    other = Other()
    other.release.set()
    batcher: Batcher[int, int] = Batcher(other)
    await asyncio.gather(*(batcher.put(size, size=size) for size in (*[2] * 7, 60, 2)))
    assert [len(call) for call in other.calls] == [3, 3, 2, 1]


async def test_a_caller_that_goes_away_harms_nobody() -> None:
    other = Other()
    batcher: Batcher[int, int] = Batcher(other)
    gone, stays = batcher.put(2), batcher.put(4)
    await settle()
    gone.cancel()
    other.release.set()
    assert await stays == 40


async def test_who_is_answered_may_put_again_at_once() -> None:
    other = Other()
    other.release.set()
    batcher: Batcher[int, int] = Batcher(other)

    async def chain() -> int:
        return sum([await batcher.put(2) for _ in range(50)])

    assert await asyncio.gather(chain(), chain(), chain()) == [1000] * 3


async def test_it_is_late_for_whose_items_wait_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "QUEUE_MESSAGES_FREE", 2)
    monkeypatch.setattr(limits, "ORDER_LAG_SECONDS_MAX", 0.0)
    other = Other()
    batcher: Batcher[int, int] = Batcher(other)
    for _ in range(limits.BATCH_CALLS_MAX):  # take what there is, and are held
        batcher.put(0, "hot")
        await settle()
    batcher._turn_s = 0.0
    waiting = [batcher.put(0, "hot") for _ in range(2)]
    assert not batcher.is_late("hot")  # few
    waiting.append(batcher.put(0, "hot"))
    await settle()
    assert batcher.is_late("hot")
    assert not batcher.is_late("another")
    monkeypatch.setattr(limits, "ORDER_LAG_SECONDS_MAX", 60.0)
    assert not batcher.is_late("hot")  # not long
    other.release.set()
    await asyncio.gather(*waiting)


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Items go singly, more than two are many, and any wait is long."""
    monkeypatch.setattr(limits, "QUEUE_MESSAGES_FREE", 2)
    monkeypatch.setattr(limits, "SUBMIT_MESSAGES_MAX", 1)
    monkeypatch.setattr(limits, "ORDER_LAG_SECONDS_MAX", 0.0)


@pytest.mark.usefixtures("one_by_one")
async def test_what_waits_behind_its_own_kind_makes_nobody_else_late() -> None:
    other = Other()
    batcher: Batcher[int, int] = Batcher(other)
    waiting = [batcher.put(2, "hot") for _ in range(7)]
    await settle()  # two calls hold the first and the second of them: only the first had no other before it
    assert len(batcher) > limits.QUEUE_MESSAGES_FREE
    assert batcher.is_late("hot")
    assert not batcher.is_late("another")
    other.release.set()
    await asyncio.gather(*waiting)


@pytest.mark.usefixtures("one_by_one")
async def test_everybody_is_late_when_a_first_turn_comes_late() -> None:
    other = Other()
    batcher: Batcher[int, int] = Batcher(other)
    waiting = [batcher.put(number * 2, str(number)) for number in range(6)]
    await settle()
    assert len(batcher) > limits.QUEUE_MESSAGES_FREE
    assert batcher.is_late("another")
    other.release.set()
    await asyncio.gather(*waiting)
