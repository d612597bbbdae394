"""Modules and limits of an actor's processes: loaded once, and waited for while Arweave does not show them;
what can't be granted, or is no module, is the result."""

from __future__ import annotations

import pytest
from actor_rig import GUEST, House, counts, module_item
from polling import until

from aoray.errors import Unavailable
from aoray.protocol.tags import Tag


async def test_arweave_down_is_waited_for_and_never_a_result(house: House) -> None:
    house.arweave.faults = [Unavailable("down"), Unavailable("down")]
    actor = house.actor()
    process = house.spawn()
    await actor.assign(process.work)
    result = await house.result(actor, process.process_id, process.process_id)
    assert "Error" not in result
    assert (await actor.stats())["faults"] == 2


@pytest.mark.parametrize(
    "limit", [("Memory-Limit", "900-gb"), ("Memory-Limit", "many"), ("Compute-Limit", "0")]
)
async def test_a_limit_that_cannot_be_granted_is_the_result(house: House, limit: tuple[str, str]) -> None:
    actor = house.actor()
    process = house.spawn(GUEST.id, limit)
    await actor.assign(process.work)
    result = await house.result(actor, process.process_id, process.process_id)
    assert limit[0] in result["Error"]


async def test_a_module_that_is_not_wasm_is_every_messages_error(house: House) -> None:
    bad = module_item(b"no wasm")
    house.arweave.items[bad.id] = bad
    actor = house.actor()
    process = house.spawn(bad.id)
    sent = house.send(process.process_id, "a")
    await actor.assign(process.work + sent.work)
    for result in [
        await house.result(actor, process.process_id, process.process_id),
        *await house.results_of(actor, sent),
    ]:
        assert result["Error"]
    assert (await actor.dry_run(process.process_id, {}))["Error"]


async def test_a_module_that_arweave_does_not_show_is_waited_for_and_seen_to_be(house: House) -> None:
    late = module_item(GUEST.data, Tag("Late", "yes"))
    actor, process = house.actor(), house.spawn(late.id)
    other, sent = house.spawn(), house.send(process.process_id, "a")
    await actor.assign(process.work + sent.work + other.work)
    assert counts([await house.result(actor, other.process_id, other.process_id)]) == [1]
    await until(lambda: len(actor._standing) == 1)
    waits = (await actor.standing())[process.process_id]
    assert waits["reason"] == f"no module {late.id} on Arweave" and waits["attempts"] >= 1
    assert await actor.standing([other.process_id]) == {} and (await actor.ready())["waiting"] == 1
    assert house.results.last_nonce(process.process_id) == -1
    house.arweave.items[late.id] = late
    assert counts(await house.results_of(actor, sent)) == [2]
    assert await actor.standing() == {} and (await actor.stats())["waiting"] == 0


async def test_a_thousand_processes_of_a_module_load_it_once(house: House) -> None:
    actor = house.actor()
    processes = [house.spawn() for _ in range(50)]
    await actor.assign([work for process in processes for work in process.work])
    for process in processes:
        await house.result(actor, process.process_id, process.process_id)
    assert house.arweave.asked == [GUEST.id]


async def test_an_endless_loop_ends_and_the_next_message_works(house: House) -> None:
    actor = house.actor()
    process = house.spawn(GUEST.id, ("Compute-Limit", "1000000"))
    sent = house.send(process.process_id, "~", "a")
    await actor.assign(process.work + sent.work)
    endless, after = await house.results_of(actor, sent)
    assert endless["Error"]
    assert counts([after]) == [2]


async def test_a_module_tag_may_lower_compute(house: House) -> None:
    thrifty = module_item(GUEST.data, Tag("Compute-Limit", "1000"), Tag("Memory-Limit", "8-mb"))
    house.arweave.items[thrifty.id] = thrifty
    actor = house.actor()
    process = house.spawn(thrifty.id)
    sent = house.send(process.process_id, "x" * 2000)
    await actor.assign(process.work + sent.work)
    assert (await house.results_of(actor, sent))[0]["Error"]
