"""A process goes on from its checkpoint as if it had never left: same counts, same state."""

from __future__ import annotations

from pathlib import Path

import pytest
from actor_rig import House, Sent, counts, sleeps, state_of
from polling import until

from aoray import limits
from aoray.actors.process_actor import ProcessActor
from aoray.errors import Unavailable


async def begun(house: House, actor: ProcessActor, *datas: str) -> Sent:
    process = house.spawn()
    sent = house.send(process.process_id, *datas)
    await actor.assign(process.work + sent.work)
    await house.results_of(actor, sent)
    return sent


async def test_the_next_message_wakes_a_process(house: House) -> None:
    actor = house.actor()
    process_id = (await begun(house, actor, "a", "!", "b")).process_id
    await sleeps(actor, process_id)
    assert (await actor.stats())["asleep"] == 1
    more = house.send(process_id, "c")
    await actor.assign(more.work)
    assert counts(await house.results_of(actor, more)) == [4]
    stats = await actor.stats()
    assert (stats["asleep"], stats["restored"], stats["replayed"]) == (0, 1, 0)


async def test_asking_for_the_state_of_a_process_wakes_it(house: House) -> None:
    actor = house.actor()
    process_id = (await begun(house, actor, "a", "b")).process_id
    before = await actor.memory(process_id)
    await sleeps(actor, process_id)
    assert await actor.memory(process_id) == before
    await sleeps(actor, process_id)
    assert counts([await actor.dry_run(process_id, {"Data": "x"})]) == [4]


async def test_a_process_that_the_actor_has_forgotten_goes_on_and_a_term_that_is_over_does_not(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PROCESSES_KNOWN_MAX", 1)
    actor = house.actor()

    async def forgotten(process_id: str) -> None:
        for each in process_id, (await begun(house, actor, "a")).process_id:
            await sleeps(actor, each)
        assert process_id not in actor._planner.hibernated

    sent = await begun(house, actor, "a")
    process_id, term = sent.process_id, sent.work[0].term
    await forgotten(process_id)
    with pytest.raises(
        Unavailable
    ):  # as of one that was never here: the gateway asks the shard for its place
        await actor.dry_run(process_id, {"Data": "x"})
    await actor.activate([(process_id, term)])
    assert counts([await actor.dry_run(process_id, {"Data": "x"})]) == [3]
    await forgotten(process_id)
    successor = house.actor()
    await successor.activate([(process_id, term + 1)])
    assert counts([await successor.dry_run(process_id, {"Data": "x"})]) == [3]
    more = house.send(process_id, "b")
    await actor.assign(more.work)  # of the term that is over now
    await until(lambda: process_id in actor._planner._floor)
    assert process_id not in actor._planner.processes
    await successor.assign([work._replace(term=work.term + 1) for work in more.work])
    assert counts(await house.results_of(successor, more)) == [3]


@pytest.mark.parametrize("damage", ["torn", "gone", "wrong state"])
async def test_a_bad_checkpoint_costs_a_replay_and_nothing_else(house: House, damage: str) -> None:
    first = house.actor()
    process_id = (await begun(house, first, "a")).process_id
    await sleeps(first, process_id)
    store = first._evaluation._checkpoints
    (older,) = store.of(process_id, 99)
    more = house.send(process_id, "b", "c")
    await first.assign(more.work)
    await house.results_of(first, more)
    await sleeps(first, process_id)
    newest = store.of(process_id, 99)[0]
    path = house.settings.data / "checkpoints" / newest.file
    if damage == "torn":
        path.write_bytes(path.read_bytes()[:50])
    elif damage == "gone":
        path.unlink()
    else:
        with store._index.transaction() as db:
            db.execute("UPDATE checkpoints SET file = ? WHERE nonce = ?", [older.file, newest.nonce])
    last = house.send(process_id, "d")
    second = house.actor()
    await second.assign([work._replace(term=work.term + 1) for work in last.work])
    assert counts(await house.results_of(second, last)) == [5]
    stats = await second.stats()
    assert (stats["restored"], stats["replayed"]) == (1, 2)


async def test_checkpoints_are_taken_by_cost(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CHECKPOINT_COSTS", 0)
    first = house.actor()
    sent = await begun(house, first, *map(str, range(40)))
    assert 1 <= (await first.stats())["checkpoints"] <= 41
    second = house.actor()
    await second.activate([(sent.process_id, sent.work[0].term + 1)])
    assert counts([await second.dry_run(sent.process_id, {"Data": "x"})]) == [42]
    stats = await second.stats()
    assert stats["restored"] == 1
    assert stats["replayed"] < 31
    assert state_of(first, sent.process_id) == state_of(second, sent.process_id)


async def test_no_more_stay_than_the_bound_says(tmp_path: Path, compiled: Path) -> None:
    house = House(tmp_path, compiled, resident_processes_max=3)
    actor = house.actor()
    sent = [await begun(house, actor, "a") for _ in range(8)]
    await until(lambda: len(actor._evaluation.residents) <= 3)
    for batch in sent:
        more = house.send(batch.process_id, "b")
        await actor.assign(more.work)
        assert counts(await house.results_of(actor, more)) == [3]
    await until(lambda: len(actor._evaluation.residents) <= 3)
    await house.close()
