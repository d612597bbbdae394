"""The shard as a Ray actor: receipts are durable and given once, whoever is killed; actors are told all."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
import ray
from fake_actors import RecordedShard, RecordingActor
from ordering import SCHEDULER, SOME_ID, check_process, message, spawn
from polling import between_looks
from ray.exceptions import RayActorError

from aoray.contracts.shard import Receipt, Submission
from aoray.errors import AorayError, MalformedInput, UnknownProcess
from aoray.settings import Settings
from aoray.storage.key_files import load_or_make
from aoray.storage.log_reader import LogReader
from aoray.storage.sqlite_store import log_path

pytestmark = pytest.mark.cluster

T = TypeVar("T")
OPTIONS: dict[str, Any] = {
    "num_cpus": 0,
    "max_restarts": -1,
    "max_task_retries": 0,
    "max_concurrency": 10_000,
}


class Scheduling:
    """A shard with two recording actors in place of process actors, and nothing that answers as Arweave."""

    def __init__(self, data: Path) -> None:
        self.settings = Settings(data=data, actors_per_node=2, port=1)
        load_or_make(self.settings.keys_directory / "scheduler.json", lambda: SCHEDULER)
        names = [f"process-actor-{index}" for index in range(2)]
        self.actors = [ray.remote(RecordingActor).options(name=name, **OPTIONS).remote() for name in names]
        self.shard = ray.remote(RecordedShard).options(name="shard-0", **OPTIONS).remote(self.settings, 0)

    async def submit(self, *batch: Submission) -> list[Receipt | AorayError]:
        """As a gateway does it: the same batch again until there is an answer."""
        while True:
            try:
                return await self.shard.submit.remote(list(batch))
            except RayActorError:
                await self.ready()

    async def ready(self) -> dict[str, Any]:
        while True:
            try:
                return await self.shard.ready.remote()
            except RayActorError:
                await between_looks()

    async def pid(self, actor: Any) -> int:
        return int((await actor.ready.remote())["incarnation"])

    async def told(self) -> tuple[dict[str, list[int]], dict[str, int]]:
        """For each process the nonces that arrived, in order; and the processes that were activated."""
        nonces: dict[str, list[int]] = {}
        active: dict[str, int] = {}
        for actor in self.actors:
            works, terms = [await actor.told.remote(method) for method in ("assign", "activate")]
            active |= dict(terms)
            for work in works:
                nonces.setdefault(work.entry.process_id, []).append(work.entry.nonce)
        return nonces, active

    def stop(self) -> None:
        for actor in (self.shard, *self.actors):
            ray.kill(actor, no_restart=True)


@pytest.fixture
def scheduling(ray_cluster: None, tmp_path: Path) -> Iterator[Scheduling]:
    made = Scheduling(tmp_path)
    yield made
    made.stop()


async def until(look: Callable[[], Awaitable[T]], right: Callable[[T], bool]) -> T:
    """Look again until it is right (pytest's timeout ends it)."""
    while True:
        with contextlib.suppress(RayActorError):
            if right(found := await look()):
                return found
        await between_looks()


async def test_messages_are_scheduled_and_their_actors_are_told_in_order(scheduling: Scheduling) -> None:
    processes = [spawn() for _ in range(4)]
    spawned = await scheduling.submit(*processes)
    assert sorted(r.actor for r in spawned if isinstance(r, Receipt)) == sorted(
        2 * ["process-actor-0", "process-actor-1"]
    )
    batches = [[message(process.process_id) for process in processes] for _ in range(20)]
    answers = await asyncio.gather(*(scheduling.submit(*batch) for batch in batches))
    assert all(isinstance(receipt, Receipt) for answer in answers for receipt in answer)
    ids = {process.process_id for process in processes}
    nonces, _ = await until(scheduling.told, lambda told: sum(map(len, told[0].values())) >= 84)
    assert nonces == {process_id: list(range(21)) for process_id in ids}
    reader = LogReader(log_path(scheduling.settings, 0))
    for process_id in ids:
        check_process(reader.entries(process_id))


async def test_each_submission_of_a_batch_has_its_own_answer(scheduling: Scheduling) -> None:
    process = spawn()
    good = message(process.process_id)
    answers = await scheduling.submit(
        process, good, message(SOME_ID), message(process.process_id, tags=[]), good
    )
    assert [type(answer) for answer in answers] == [Receipt, Receipt, UnknownProcess, MalformedInput, Receipt]
    assert isinstance(answers[1], Receipt) and answers[4] == answers[1]._replace(is_new=False)


async def test_locate_places_activates_and_names_the_unknown(scheduling: Scheduling) -> None:
    process = spawn()
    [receipt] = await scheduling.submit(process)
    assert isinstance(receipt, Receipt)
    name, unknown = await scheduling.shard.locate.remote([process.process_id, SOME_ID])
    assert name == receipt.actor and isinstance(unknown, UnknownProcess)
    await until(scheduling.told, lambda told: told[1] == {process.process_id: 1})


def old(answers: Sequence[Receipt | AorayError]) -> list[Receipt]:
    """Receipts as they are given to who sends a second time."""
    return [each._replace(is_new=False) for each in answers if isinstance(each, Receipt)]


async def test_a_killed_shard_keeps_what_it_promised_and_goes_on(scheduling: Scheduling) -> None:
    processes = [spawn() for _ in range(3)]
    await scheduling.submit(*processes)
    pid = await scheduling.pid(scheduling.shard)
    batches = [[message(p.process_id) for p in processes for _ in range(5)] for _ in range(40)]
    running = [asyncio.create_task(scheduling.submit(*batch)) for batch in batches]
    await running[0]
    os.kill(pid, signal.SIGKILL)
    answers = [await task for task in running]
    assert await scheduling.pid(scheduling.shard) != pid
    again = await asyncio.gather(*(scheduling.submit(*batch) for batch in batches))
    assert again == [old(batch) for batch in answers]  # the first receipts, once more
    reader = LogReader(log_path(scheduling.settings, 0))
    for process in processes:
        entries = reader.entries(process.process_id)
        assert len(entries) == 201
        check_process(entries)


async def test_a_restarted_shard_activates_what_has_no_result(scheduling: Scheduling) -> None:
    processes = [spawn() for _ in range(3)]
    await scheduling.submit(*processes)
    os.kill(await scheduling.pid(scheduling.shard), signal.SIGKILL)
    expected = {process.process_id: 1 for process in processes}
    await until(scheduling.told, lambda told: told[1] == expected)


async def test_a_killed_process_actor_is_told_again_though_nothing_new_comes(scheduling: Scheduling) -> None:
    processes = [spawn() for _ in range(4)]
    receipts = await scheduling.submit(*processes)
    await until(scheduling.told, lambda told: len(told[0]) == 4)
    _, before = await scheduling.told()
    os.kill(await scheduling.pid(scheduling.actors[0]), signal.SIGKILL)
    lost = {r.process_id for r in receipts if isinstance(r, Receipt) and r.actor == "process-actor-0"}
    _, active = await until(scheduling.told, lambda told: told[1].keys() >= lost and len(told[0]) == 2)
    assert lost and active.keys() - before.keys() <= lost


async def test_arweave_that_is_down_stops_no_message(scheduling: Scheduling) -> None:
    process = spawn()
    await scheduling.submit(process, message(process.process_id))

    async def stats() -> dict[str, Any]:
        return (await scheduling.shard.stats.remote())["arweave"]

    found = await until(stats, lambda each: each["failures"] > 0)
    assert found["entries"] == 2 and found["bytes"] > 1000 and found["oldest_seconds"] > 0
    assert "Unavailable" in found["last_error"] and found["hint"]
    [receipt] = await scheduling.submit(message(process.process_id))
    assert isinstance(receipt, Receipt) and receipt.nonce == 2


async def test_a_process_that_asks_for_it_is_a_ray_actor_for_itself_again_after_a_kill(
    scheduling: Scheduling,
) -> None:
    process = spawn(("Actor", "own"))
    [receipt] = await scheduling.submit(process)
    name = f"process-{process.process_id}"
    assert isinstance(receipt, Receipt) and receipt.actor == name

    async def told() -> tuple[list[Any], dict[str, int]]:
        try:
            actor = ray.get_actor(name)
            return await actor.told.remote("assign"), dict(await actor.told.remote("activate"))
        except ValueError:  # not made yet
            return [], {}

    await until(told, lambda each: len(each[0]) == 1)
    for victim in (ray.get_actor(name), scheduling.shard):
        os.kill(await scheduling.pid(victim), signal.SIGKILL)
        await until(told, lambda each: not each[0] and each[1] == {process.process_id: 1})
    assert (await scheduling.told())[0] == {}
