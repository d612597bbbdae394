"""The shard's queue, without Ray: bounded, and emptied in batches."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from scheduling import message, spawn

from aoray import limits
from aoray.errors import Overloaded, Unavailable
from aoray.scheduler.rules import Receipt
from aoray.scheduler.shard import ShardActor
from aoray.settings import Settings


class LonelyShard(ShardActor):
    """There are no process actors."""

    def _connect(self, name: str) -> Any:
        raise Unavailable(f"there is no {name}")

    def stop(self) -> None:
        for task in self._tasks:
            task.remove_done_callback(self._ended)
            task.cancel()


@pytest.fixture
async def shard(tmp_path: Path) -> Any:
    made = LonelyShard(Settings(data=tmp_path, port=1), 0)
    yield made
    made.stop()


async def test_what_does_not_fit_into_the_queue_is_refused_whole(
    shard: LonelyShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = spawn()
    await shard.submit([process])
    monkeypatch.setattr(limits, "SHARD_QUEUE_MESSAGES_MAX", 5)
    batches = [[message(process.process_id) for _ in range(3)] for _ in range(2)]
    taken, refused = await asyncio.gather(*(shard.submit(batch) for batch in batches))
    assert [type(each) for each in taken] == [Receipt] * 3
    assert [type(each) for each in refused] == [Overloaded] * 3
    assert [type(each) for each in await shard.submit(batches[1])] == [Receipt] * 3


async def test_the_queue_is_bounded_in_bytes_and_forgets_what_it_gave(
    shard: LonelyShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = spawn()
    await shard.submit([process])
    big = [message(process.process_id, data=bytes([n]) * 1000) for n in range(2)]
    monkeypatch.setattr(limits, "SHARD_QUEUE_BYTES_MAX", 2000)
    answers = await asyncio.gather(*(shard.submit([each]) for each in big))
    assert sorted(type(each).__name__ for [each] in answers) == ["Overloaded", "Receipt"]
    assert [type(each) for each in await shard.submit(big[1:])] == [Receipt]
    assert (await shard.stats())["queued_bytes"] == 0


async def test_what_waits_goes_in_batches_of_bounded_size(
    shard: LonelyShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = spawn()
    await shard.submit([process])
    sizes: list[int] = []
    commit = shard._commit
    monkeypatch.setattr(shard, "_commit", lambda batch: sizes.append(len(batch)) or commit(batch))
    monkeypatch.setattr(limits, "BATCH_MESSAGES_MAX", 4)
    answers = await shard.submit([message(process.process_id) for _ in range(10)])
    assert [each.nonce for each in answers if isinstance(each, Receipt)] == list(range(1, 11))
    assert sizes == [4, 4, 2]


async def test_actors_that_are_not_there_stop_no_receipt(shard: LonelyShard) -> None:
    process = spawn()
    for expected in range(3):
        [receipt] = await shard.submit([process if expected == 0 else message(process.process_id)])
        assert isinstance(receipt, Receipt) and receipt.nonce == expected
