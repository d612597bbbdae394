"""Many at once: bounded, fed only as far as there is room, and ended by the first refusal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from aoray.client.concurrency import map_concurrently
from aoray.errors import AorayError, NotFound


async def test_no_more_are_under_way_or_taken_than_were_asked_for() -> None:
    taken, under_way, most = 0, 0, 0

    def items() -> Iterator[int]:
        nonlocal taken
        for n in range(200):
            taken += 1
            yield n

    async def call(index: int, item: int) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return item

    got = []
    async for found in map_concurrently(items(), call, in_flight=7):
        got.append(found)
        assert taken <= len(got) + 7  # one that takes slowly slows the rest down
    assert sorted(got) == list(range(200))
    assert most == 7


async def test_results_come_as_they_are_ready() -> None:
    first = asyncio.Event()

    async def call(index: int, item: int) -> int:
        if item == 0:
            await first.wait()
        return item

    found = map_concurrently(range(3), call, in_flight=3)
    assert {await anext(found), await anext(found)} == {1, 2}
    first.set()
    assert [each async for each in found] == [0]


async def test_the_first_refusal_ends_it_and_says_which() -> None:
    cancelled = []

    async def call(index: int, item: int) -> int:
        if index == 2:
            raise NotFound("no such process")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(index)
            raise
        return item

    with pytest.raises(NotFound) as refused:
        [each async for each in map_concurrently(range(9), call, in_flight=4)]
    assert refused.value.details["index"] == 2
    assert sorted(cancelled) == [0, 1, 3]


async def test_refusals_may_be_taken_and_it_goes_on() -> None:
    async def call(index: int, item: int) -> int:
        if item % 2:
            raise NotFound("odd")
        return item

    refused: list[int] = []

    def take(index: int, error: AorayError) -> None:
        refused.append(index)

    found = [each async for each in map_concurrently(range(10), call, in_flight=3, on_refusal=take)]
    assert (sorted(found), sorted(refused)) == ([0, 2, 4, 6, 8], [1, 3, 5, 7, 9])


async def test_what_the_items_raise_is_raised() -> None:
    async def items() -> AsyncIterator[int]:
        yield 1
        raise KeyError("the iterable is broken")

    async def call(index: int, item: int) -> int:
        return item

    with pytest.raises(KeyError):
        [each async for each in map_concurrently(items(), call, in_flight=3)]
