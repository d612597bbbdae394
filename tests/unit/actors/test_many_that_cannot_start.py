"""Processes that can't start, since their module is not on Arweave: any number takes bounded memory."""

from __future__ import annotations

import pytest
from actor_rig import GUEST, House, counts, module_item
from polling import until

from aoray import limits
from aoray.protocol.tags import Tag


async def test_few_of_them_are_kept_and_all_start_once_their_module_is_there(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ACTIVATIONS_RETRIED_MAX", 3)
    late = module_item(GUEST.data, Tag("Late", "yes"))
    actor, processes = house.actor(), [house.spawn(late.id) for _ in range(20)]
    sent = [house.send(each.process_id, "a") for each in processes]
    await actor.assign([work for each in processes + sent for work in each.work])
    await until(lambda: len(actor._standing) == len(processes))
    stats = await actor.stats()
    assert stats["processes"] <= 3 and stats["queued"] <= 2 * 3 and stats["asleep"] >= 17
    house.arweave.items[late.id] = late
    for each in sent:
        assert counts(await house.results_of(actor, each)) == [2]
    assert await actor.standing() == {}
