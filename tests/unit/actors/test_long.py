"""Messages that take long: the actor answers meanwhile, others are served, and what it says is so."""

from __future__ import annotations

import asyncio

import pytest
from evaluating import GUEST, House, counts, state_of, until

from aoray.errors import ClientError

LONG = ("Compute-Limit", "3000000000")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aoray.wasm.instance.FUEL_AT_ONCE", 1_000_000)


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


async def test_a_process_that_leaves_takes_its_long_message_with_it(house: House) -> None:
    actor = house.actor()
    process = house.spawn(GUEST.id, ("Compute-Limit", "9000000000000"))
    sent = house.send(process.process_id, "~")
    await actor.assign(process.work + sent.work)
    await until(lambda: process.process_id in actor._evaluation.long)
    actor._apply(actor._machine.fenced(process.process_id, sent.work[0].term))
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
    await until(lambda: second._machine.is_idle(process.process_id))
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
