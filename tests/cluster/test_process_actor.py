"""The process actor as a Ray actor: killed, replaced, asked by others; nothing is lost or done twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from actor_rig import GUEST, House, Sent, counts, nonces
from listening_actors import ListeningGateway, OfflineProcessActor
from polling import between_looks
from ray.exceptions import RayActorError

from aoray.errors import MalformedInput, Unavailable

pytestmark = pytest.mark.cluster

RESIDENT = 10
OPTIONS: dict[str, Any] = {
    "num_cpus": 0,
    "max_restarts": -1,
    "max_task_retries": 0,
    "max_concurrency": 10_000,
}


class Cluster(House):
    """A house whose actors and gateway are Ray actors."""

    def __init__(self, data: Path) -> None:
        super().__init__(data, data / "compiled", resident_processes_max=RESIDENT)
        (data / "modules").mkdir()
        (data / "modules" / GUEST.id).write_bytes(GUEST.raw)
        self.listener = ray.remote(ListeningGateway).options(name="gateway-0", **OPTIONS).remote()
        self._remote = [self.listener]

    def start(self, name: str) -> Any:
        cls = ray.remote(OfflineProcessActor).options(name=name, **OPTIONS)
        actor = cls.remote(self.settings, name, self.settings.data / "compiled")
        self._remote.append(actor)
        return actor

    async def heard(self, actor: Any, sent: Sent) -> list[dict[str, Any]]:
        keys = [(receipt.process_id, receipt.message_id) for receipt in sent.receipts]
        await insist(actor, "watch", keys, "gateway-0")
        return [await self.listener.result.remote(key) for key in keys]

    def stop(self) -> None:
        for actor in self._remote:
            ray.kill(actor, no_restart=True)
        self.results.close()
        self._committer.close()


@pytest.fixture
def cluster(ray_cluster: None, tmp_path: Path) -> Iterator[Cluster]:
    running = Cluster(tmp_path)
    yield running
    running.stop()


async def insist(actor: Any, method: str, *arguments: Any) -> Any:
    """Call as a lane or a gateway does it: again while the actor is being restarted."""
    while True:
        try:
            return await getattr(actor, method).remote(*arguments)
        except RayActorError:
            await between_looks()


async def kill(actor: Any) -> str:
    """Kill the actor's process; returns who it was."""
    was = await actor.ready.remote()
    os.kill(was["pid"], signal.SIGKILL)
    return str(was["incarnation"])


async def test_a_killed_actor_is_another_and_goes_on_where_the_log_says(cluster: Cluster) -> None:
    actor = cluster.start("process-actor-0")
    process = cluster.spawn()
    sent = cluster.send(process.process_id, "a", "@out", "!", "b")
    await actor.assign.remote(process.work + sent.work)
    before = await cluster.heard(actor, sent)
    assert await cluster.listener.pushed.remote(1) == [(process.process_id, 2)]

    was = await kill(actor)
    missed = cluster.send(process.process_id, "c", "d")
    told = cluster.send(process.process_id, "@e")
    await insist(actor, "assign", told.work)
    assert (await actor.ready.remote())["incarnation"] != was
    after = await cluster.heard(actor, told)
    between = await cluster.heard(actor, missed)
    assert counts([before[0], before[1], before[3], *between, *after]) == [2, 3, 4, 5, 6, 7]
    assert nonces(between + after) == [5, 6, 7]
    assert await cluster.listener.pushed.remote(2) == [(process.process_id, 2), (process.process_id, 7)]
    assert (await actor.stats.remote())["replayed"] == 5


async def test_an_actor_killed_amid_its_work_leaves_no_gap(cluster: Cluster) -> None:
    actor = cluster.start("process-actor-0")
    processes = [cluster.spawn() for _ in range(3)]
    sent = [cluster.send(process.process_id, *map(str, range(60))) for process in processes]
    for process, batch in zip(processes, sent, strict=True):
        await actor.assign.remote(process.work + batch.work)
    await kill(actor)
    await insist(actor, "activate", [(process.process_id, process.work[0].term) for process in processes])
    for batch in sent:
        results = await cluster.heard(actor, batch)
        assert counts(results) == list(range(2, 62))
        assert nonces(results) == list(range(1, 61))


async def test_many_processes_take_turns_in_little_room_and_go_on_after_a_kill(cluster: Cluster) -> None:
    actor = cluster.start("process-actor-0")
    processes = [cluster.spawn().work[0] for _ in range(6 * RESIDENT)]
    for turn in range(3):
        if turn == 2:
            await kill(actor)
        sent = [cluster.send(process.entry.process_id, f"a{turn}", f"b{turn}") for process in processes]
        await insist(actor, "activate", [(process.entry.process_id, process.term) for process in processes])
        for batch in sent:
            assert counts(await cluster.heard(actor, batch)) == [2 * turn + 2, 2 * turn + 3]
        stats = await until_few(actor)
        assert stats["asleep"] == len(processes) - stats["processes"]
    assert stats["restored"] > 0
    assert stats["replayed"] <= 5 * RESIDENT, "only those that were resident lost anything"


async def until_few(actor: Any) -> dict[str, Any]:
    """What the actor says of itself, once only as many are resident as the bound allows."""
    while True:
        stats = await actor.stats.remote()
        if stats["processes"] <= RESIDENT:
            return dict(stats)
        await between_looks()


async def test_a_successor_fences_an_actor_that_still_lives(cluster: Cluster) -> None:
    old, new = cluster.start("process-actor-0"), cluster.start("process-actor-1")
    process = cluster.spawn()
    await old.assign.remote(process.work)
    await cluster.heard(old, process)
    term = process.work[0].term
    await new.activate.remote([(process.process_id, term + 1)])
    assert counts([await new.dry_run.remote(process.process_id, {"Data": "x"})]) == [2]
    late = cluster.send(process.process_id, "late")
    await old.assign.remote(late.work)
    await new.assign.remote([work._replace(term=term + 1) for work in late.work])
    assert counts(await cluster.heard(new, late)) == [2]
    while (await old.stats.remote())["processes"]:
        await between_looks()
    assert (await old.stats.remote())["evaluated"] == 1


async def test_errors_arrive_as_themselves_and_a_dry_run_leaves_no_trace(cluster: Cluster) -> None:
    own = cluster.spawn()
    actor = cluster.start(f"process-{own.process_id}")
    await actor.assign.remote(own.work)
    memory = await insist_there(actor, own.process_id)
    assert counts([await actor.dry_run.remote(own.process_id, {"Data": "@x"})]) == [2]
    assert await actor.memory.remote(own.process_id) == memory
    with pytest.raises(MalformedInput):
        await actor.dry_run.remote(own.process_id, {"Tags": 1})
    with pytest.raises(Unavailable):
        await actor.dry_run.remote("x" * 42 + "A", {})


async def insist_there(actor: Any, process_id: str) -> Any:
    """The memory of a process, once its assignment arrived: two calls may overtake each other."""
    while True:
        try:
            return await actor.memory.remote(process_id)
        except Unavailable:
            await between_looks()
