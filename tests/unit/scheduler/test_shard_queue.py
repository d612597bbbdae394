"""The shard's queue, without Ray: bounded, and emptied in batches."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from ordering import SCHEDULER, item, message, spawn

from aoray import limits
from aoray.contracts.shard import Receipt
from aoray.errors import Overloaded, Unavailable
from aoray.scheduler.shard import ShardActor
from aoray.settings import Settings
from aoray.storage.key_files import load_or_make


class LonelyShard(ShardActor):
    """There are no process actors."""

    def _connect(self, name: str) -> Any:
        raise Unavailable(f"there is no {name}")

    async def stop(self) -> None:
        await self._tasks.cancel()


@pytest.fixture
async def shard(tmp_path: Path) -> Any:
    settings = Settings(data=tmp_path, port=1)
    load_or_make(settings.keys_directory / "scheduler.json", lambda: SCHEDULER)
    made = LonelyShard(settings, 0)
    yield made
    await made.stop()


async def test_what_does_not_fit_into_the_queue_is_refused_and_the_rest_is_not(
    shard: LonelyShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, other = spawn(), spawn(("Name", "other"))
    await shard.submit([process, other])
    monkeypatch.setattr(limits, "SHARD_QUEUE_MESSAGES_MAX", 6)
    hot = [message(process.process_id) for _ in range(5)]
    answers = await shard.submit([*hot, message(other.process_id)])
    assert [type(each) for each in answers] == [Receipt] * 3 + [Overloaded] * 2 + [Receipt]
    assert [type(each) for each in await shard.submit(hot[3:])] == [Receipt] * 2


async def test_a_message_is_in_the_next_batch_however_many_another_process_has(
    shard: LonelyShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    hot, other = spawn(), spawn(("Name", "other"))
    await shard.submit([hot, other])
    batches: list[list[str]] = []
    commit = shard._commit
    monkeypatch.setattr(
        shard, "_commit", lambda batch: batches.append([s.process_id for s in batch]) or commit(batch)
    )
    monkeypatch.setattr(limits, "BATCH_MESSAGES_MAX", 10)
    spawns = [spawn(("Name", str(number))) for number in range(30)]
    await shard.submit([*spawns, *(message(hot.process_id) for _ in range(90)), message(other.process_id)])
    assert batches[0][:3] == [spawns[0].process_id, hot.process_id, other.process_id]
    assert len(batches) == 13


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


async def test_a_log_that_fails_is_opened_again_whoever_meets_the_fault(shard: LonelyShard) -> None:
    process = spawn()
    await shard.submit([process])
    await shard.stop()  # or the attester or the flusher may meet the fault first
    for work in (
        lambda: shard.publish([item((), data=b"news").raw]),
        lambda: shard.locate([process.process_id]),
        lambda: shard._all_processes_behind(None),
    ):
        await shard._run(shard._committer.log.close)  # as a disk that does not answer
        with pytest.raises(Unavailable):
            await work()
        await work()


async def test_ordering_does_not_wait_while_the_attester_reads_results(shard: LonelyShard) -> None:
    """It hashes hundreds of them at once, each perhaps of some megabytes."""
    await shard.submit([spawn()])
    with shard._attester._results._reads._lock:
        async with asyncio.timeout(20):
            assert await shard._all_processes_behind(None)
