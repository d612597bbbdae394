"""Messages that take long: the actor answers meanwhile, others are served, and what it says is so."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from actor_rig import GUEST, House, Sent, counts, state_of
from ordering import SCHEDULER
from polling import until

from aoray.actors.process_actor import ProcessActor
from aoray.contracts.shard import Submission
from aoray.errors import ClientError
from aoray.protocol.ans104.items import DataItem, build
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.storage.key_files import load_key

LONG = ("Compute-Limit", "3000000000")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aoray.vm.wasm.instance.FUEL_AT_ONCE", 1_000_000)


async def test_others_are_served_while_a_message_takes_long(house: House) -> None:
    actor = house.actor()
    endless, other = house.spawn(GUEST.id, LONG), house.spawn()
    sent = house.send(endless.process_id, "~", "a")
    await actor.assign(endless.work + other.work + sent.work)
    await until(lambda: endless.process_id in actor._evaluation.long)
    for n in range(20):
        one = house.send(other.process_id, str(n))
        await actor.assign(one.work)
        assert counts(await house.results_of(actor, one)) == [n + 2]
        assert (await actor.dry_run(other.process_id, {"Data": "x"}))["Output"]["count"] == f"{n + 3:04}"
    assert (await actor.ready())["actor"] == actor.name
    assert house.results.last_nonce(endless.process_id) == 0  # it goes on meanwhile
    ended, after = await house.results_of(actor, sent)
    assert ended["Error"] == "out of compute"
    assert ended["GasUsed"] == 3_000_000_000
    assert counts([after]) == [2]


async def test_how_far_it_is_can_be_seen(house: House) -> None:
    actor = house.actor()
    process = house.spawn(GUEST.id, LONG)
    sent = house.send(process.process_id, "~")
    assert await actor.progress(process.process_id) is None
    await actor.assign(process.work + sent.work)
    await until(lambda: process.process_id in actor._evaluation.long)
    spent = 0
    while spent < 500_000_000:
        said = await actor.progress(process.process_id)
        assert said is not None
        assert said["nonce"] == 1
        assert said["fuel_max"] == 3_000_000_000
        assert said["fuel"] >= spent
        spent = said["fuel"]
        await asyncio.sleep(0)
    assert (await actor.stats())["long"] == 1
    await house.results_of(actor, sent)
    assert await actor.progress(process.process_id) is None


async def test_endless_ones_do_not_hold_up_one_that_is_soon_done(house: House) -> None:
    actor = house.actor()
    endless = [house.spawn(GUEST.id, ("Compute-Limit", "9000000000000")) for _ in range(6)]
    sent = [house.send(each.process_id, "~") for each in endless]
    await actor.assign([work for each in endless + sent for work in each.work])
    await until(lambda: len(actor._evaluation.long) == 6)
    short = house.spawn(GUEST.id, ("Compute-Limit", "200000000"))
    one = house.send(short.process_id, "~")
    await actor.assign(short.work + one.work)
    [result] = await house.results_of(actor, one)
    assert result["GasUsed"] == 200_000_000
    assert len(actor._evaluation.long) == 6


async def test_no_more_begin_than_memory_is_for(house: House) -> None:
    actor = house.actor()
    actor._evaluation.long.bytes_max = 1
    endless = [house.spawn(GUEST.id, ("Compute-Limit", str(limit))) for limit in (300_000_000, 10**12)]
    sent = [house.send(each.process_id, "~") for each in endless]
    await actor.assign([work for each in endless + sent for work in each.work])
    await until(lambda: len(actor._evaluation.long) == 2)
    said = await actor.progress(endless[1].process_id)
    assert said is not None
    assert "waiting" in said["state"]
    [result] = await house.results_of(actor, sent[0])
    assert result["GasUsed"] == 300_000_000
    await until(lambda: actor._evaluation.long.waiting == 0)  # now it is the other's turn


async def hold_places(house: House, actor: ProcessActor, count: int) -> list[Sent]:
    """Messages of endless loops, all of one owner."""
    endless = [house.spawn(GUEST.id, ("Compute-Limit", "9000000000000")) for _ in range(count)]
    sent = [house.send(each.process_id, "~") for each in endless]
    await actor.assign([work for each in endless + sent for work in each.work])
    await until(lambda: len(actor._evaluation.long) == count)
    return sent


def of_another(house: House, *more: tuple[str, str]) -> Sent:
    """A process that somebody else spawned."""
    tags = [
        ("Data-Protocol", "ao"),
        ("Type", "Process"),
        ("Module", GUEST.id),
        ("Scheduler", SCHEDULER.address),
        *more,
    ]
    return house.commit(submission_of(build(generate_ed25519(), tags=[Tag(*tag) for tag in tags])))


def submission_of(process: DataItem) -> Submission:
    return Submission("process", process.id, process.id, process.raw)


async def long_one(house: House, actor: ProcessActor, spawned: Sent, data: str = "~") -> dict[str, Any]:
    sent = house.send(spawned.process_id, data)
    await actor.assign(spawned.work + sent.work)
    [result] = await house.results_of(actor, sent)
    return result


async def test_one_owners_endless_loops_do_not_take_all_places(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aoray.limits.LONG_MESSAGES_MAX", 4)
    monkeypatch.setattr("aoray.limits.LONG_MESSAGES_OWNER_MAX", 2)
    actor = house.actor()
    await hold_places(house, actor, 5)
    await until(lambda: actor._evaluation.long.waiting == 3)
    result = await long_one(house, actor, of_another(house, ("Compute-Limit", "50000000")))
    assert result["GasUsed"] == 50_000_000
    assert actor._evaluation.long.waiting == 3


async def test_as_many_wallets_as_hold_all_places_keep_nobody_out_and_each_message_ends(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aoray.limits.LONG_MESSAGES_MAX", 2)
    monkeypatch.setattr("aoray.limits.LONG_MESSAGES_OWNER_MAX", 1)
    monkeypatch.setattr("aoray.limits.LONG_MESSAGE_SECONDS_FIRST", 0.1)
    actor = house.actor()
    long = actor._evaluation.long
    loops = [of_another(house, ("Compute-Limit", fuel)) for fuel in ("9000000000000", "2000000000")]
    sent = [house.send(each.process_id, "~") for each in loops]
    await actor.assign([work for each in loops + sent for work in each.work])
    await until(lambda: len(long) == 2 and not long.waiting)
    for _ in range(3):
        result = await long_one(house, actor, of_another(house, ("Compute-Limit", "50000000")))
        assert result["GasUsed"] == 50_000_000
    assert {each.time_s for each in long.messages.values()} - {0.1}, "what held a place has more time now"
    [ended] = await house.results_of(actor, sent[1])
    assert ended["GasUsed"] == 2_000_000_000


async def test_nor_those_of_the_processes_that_they_spawned(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aoray.limits.LONG_MESSAGES_OWNER_MAX", 2)
    actor = house.actor()
    [loop, _] = await hold_places(house, actor, 2)
    signer = load_key(house.settings, "authority")
    tags = {"Data-Protocol": "ao", "Type": "Process", "Module": GUEST.id, "Scheduler": SCHEDULER.address}
    tags |= {"From-Process": loop.process_id, "Compute-Limit": "50000000"}
    child = build(signer, tags=[Tag(*tag) for tag in tags.items()])
    spawned = house.commit(submission_of(child))
    sent = house.send(spawned.process_id, "~")
    await actor.assign(spawned.work + sent.work)
    await until(lambda: len(actor._evaluation.long) == 3)
    result = await long_one(house, actor, of_another(house, ("Compute-Limit", "50000000")))
    assert result["GasUsed"] == 50_000_000
    assert actor._evaluation.long.waiting == 1, "the child is of who spawned its parent"


async def test_one_owners_memory_does_not_keep_others_from_their_long_messages(house: House) -> None:
    actor = house.actor()
    await hold_places(house, actor, 3)
    long = actor._evaluation.long
    await until(lambda: all(each.bytes for each in long.messages.values()))
    long.bytes_max = sum(each.bytes for each in long.messages.values())  # they have grown so far meanwhile
    result = await long_one(house, actor, of_another(house, ("Compute-Limit", "50000000")))
    assert result["GasUsed"] == 50_000_000
    assert (len(long), long.waiting) == (3, 1), "one was put back, and waits"


async def test_a_process_that_leaves_takes_its_long_message_with_it(house: House) -> None:
    actor = house.actor()
    process = house.spawn(GUEST.id, ("Compute-Limit", "9000000000000"))
    sent = house.send(process.process_id, "~")
    await actor.assign(process.work + sent.work)
    await until(lambda: process.process_id in actor._evaluation.long)
    actor._apply(actor._planner.fenced(process.process_id, sent.work[0].term))
    await until(lambda: not actor._evaluation.long)
    other = house.spawn()
    await actor.assign(other.work)
    assert counts([await house.result(actor, other.process_id, other.process_id)]) == [1]


async def test_a_replay_of_long_messages_gives_the_same_state(house: House) -> None:
    first = house.actor()
    process = house.spawn(GUEST.id, ("Compute-Limit", "50000000"))
    sent = house.send(process.process_id, "a", "~", "b", "~", "c")
    await first.assign(process.work + sent.work)
    await house.results_of(first, sent)
    second = house.actor()
    await second.activate([(process.process_id, process.work[0].term)])
    await until(lambda: second._planner.is_idle(process.process_id))
    assert (await second.stats())["replayed"] > 0
    assert state_of(first, process.process_id) == state_of(second, process.process_id)


async def test_a_long_dry_run_ends_when_nobody_waits_for_it(house: House) -> None:
    actor = house.actor()
    process = house.spawn()
    await actor.assign(process.work)
    await house.result(actor, process.process_id, process.process_id)
    asking = asyncio.ensure_future(actor.dry_run(process.process_id, {"Data": "~"}, "ticket"))
    await until(lambda: actor._long_dry_running._value < 4)
    one = house.send(process.process_id, "a")  # its process goes on meanwhile
    await actor.assign(one.work)
    assert counts(await house.results_of(actor, one)) == [2]
    await actor.drop_dry_run("ticket")
    with pytest.raises(ClientError, match="dropped"):
        await asking
    assert actor._long_dry_running._value == 4
    assert (await actor.dry_run(process.process_id, {"Data": "x"}))["Output"]["count"] == "0003"
