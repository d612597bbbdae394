"""A process goes on from its checkpoint as if it had never left: same counts, same state."""

from __future__ import annotations

from pathlib import Path

import pytest
from evaluating import House, Sent, counts, sleeps, state_of, until

from aoray import limits
from aoray.actors.actor import ProcessActor


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


async def test_who_asks_for_its_state_wakes_it(house: House) -> None:
    actor = house.actor()
    process_id = (await begun(house, actor, "a", "b")).process_id
    before = await actor.memory(process_id)
    await sleeps(actor, process_id)
    assert await actor.memory(process_id) == before
    await sleeps(actor, process_id)
    assert counts([await actor.dry_run(process_id, {"Data": "x"})]) == [4]


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
