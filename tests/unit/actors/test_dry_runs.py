"""Dry runs of a process actor: they see all that is in the log, leave no trace, and do not pile up."""

from __future__ import annotations

import asyncio
import threading

import pytest
from actor_rig import House, counts
from ordering import SOME_ID
from polling import until

from aoray.errors import ClientError, MalformedInput, Unavailable


async def test_a_dry_run_leaves_no_trace(house: House) -> None:
    actor = house.actor()
    process = house.spawn()
    sent = house.send(process.process_id, *"abc")
    await actor.assign(process.work + sent.work)
    before = await actor.memory(process.process_id)
    body = {"Data": "@out", "Owner": "me", "Id": "1234", "Tags": [{"name": "Action", "value": "Ask"}]}
    results = [await actor.dry_run(process.process_id, body) for _ in range(3)]
    assert counts(results) == [5, 5, 5]
    seen = results[0]["Output"]["message"]
    assert seen["Owner"] == seen["From"] == "me"
    assert seen["Read-Only"] is True
    assert (seen["Timestamp"], seen["Block-Height"]) == before[2:]
    assert len(results[0]["Messages"]) == 1
    assert "Error" in await actor.dry_run(process.process_id, body | {"Data": "!"})
    assert await actor.memory(process.process_id) == before
    assert house.gateway.pushed.empty()
    with pytest.raises(MalformedInput):
        await actor.dry_run(process.process_id, {"Tags": "none"})


async def test_a_dry_run_that_nobody_waits_for_is_never_begun(house: House) -> None:
    actor = house.actor()
    process = house.spawn()
    await actor.assign(process.work)
    begun: list[object] = []
    evaluate = actor._evaluation.dry_run
    actor._evaluation.dry_run = lambda *arguments: (begun.append(arguments), evaluate(*arguments))[1]  # type: ignore[method-assign]
    async with actor._dry_running:
        running = asyncio.create_task(actor.dry_run(process.process_id, {"Data": "x"}, "ticket"))
        while "ticket" not in actor._dry_runs:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0)
        await actor.drop_dry_run("ticket")
        with pytest.raises(ClientError, match="dropped"):
            await running
    await actor.drop_dry_run("unknown")
    assert not begun and not actor._dry_runs
    assert counts([await actor.dry_run(process.process_id, {"Data": "x"})])


async def test_an_unknown_process_is_refused_for_now(house: House) -> None:
    actor = house.actor()
    with pytest.raises(Unavailable):
        await actor.dry_run(SOME_ID, {})
    with pytest.raises(Unavailable):
        await actor.memory(SOME_ID)
    await actor.activate([(SOME_ID, 1)])
    await until(lambda: not actor._planner.processes)


async def test_a_dry_run_waits_for_what_is_in_the_log(house: House) -> None:
    actor = house.actor()
    process = house.spawn()
    await actor.assign(process.work)
    house.send(process.process_id, *"abc")  # and nobody tells the actor
    asked = [actor.dry_run(process.process_id, {"Data": "x"}) for _ in range(5)]
    assert counts(await asyncio.gather(*asked)) == [5] * 5


async def test_what_is_asked_of_a_process_does_not_pile_up_behind_what_takes_long(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asked is gone by then: nothing of it stays."""
    monkeypatch.setattr("aoray.limits.PRESENT_SECONDS_MAX", 0.05)
    actor = house.actor()
    process = house.spawn()
    await actor.assign(process.work)
    await house.result(actor, process.process_id, process.process_id)
    async with actor._dry_running:
        with pytest.raises(Unavailable, match="in time"):
            await actor.dry_run(process.process_id, {"Data": "x"})
    goes_on = threading.Event()
    actor._submit(goes_on.wait, 20)
    house.send(process.process_id, "a")
    for asked in (actor.dry_run(process.process_id, {"Data": "x"}), actor.memory(process.process_id)):
        with pytest.raises(Unavailable, match="in time"):
            await asked
    assert not any(actor._catching_up.values()) and not actor._dry_runs and not actor._asked
    goes_on.set()
    monkeypatch.setattr("aoray.limits.PRESENT_SECONDS_MAX", 20)
    assert counts([await actor.dry_run(process.process_id, {"Data": "x"})])
