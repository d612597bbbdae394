"""Nothing is lost, doubled or out of order under load, whatever dies meanwhile.

The load is presigned messages, each adding a Quantity to one of many processes. Afterwards the log is read
through the scheduler's pages: every acknowledged item is in it exactly once, nonces have no gap, the hash
chain holds; and each process says the sum of just those items.
"""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from message_load import check, prepare

from aoray.testing.local_computer import LocalComputer, wait_gone

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


async def test_every_item_of_64_clients_is_evaluated_exactly_once(
    computer: LocalComputer,
) -> None:
    work = await prepare(computer, messages=5000, clients=64, processes=32)
    await work.load.run(computer)
    assert len(work.load.acknowledged) == 5000
    await check(computer, work)


async def test_an_item_posted_by_many_at_once_is_scheduled_once(computer: LocalComputer) -> None:
    work = await prepare(computer, messages=50, clients=8, processes=4)
    await asyncio.gather(*(work.load.run(computer) for _ in range(4)))
    await check(computer, work)


@pytest.mark.parametrize("kind", ["ProcessActor", "ShardActor", "GatewayActor"])
async def test_killed_actors_lose_and_double_nothing(mortal: LocalComputer, kind: str) -> None:
    work = await prepare(mortal, messages=5000, clients=64, processes=32)
    running = asyncio.create_task(work.load.run(mortal))
    victims = mortal.actors(kind)
    assert victims
    for number, pid in enumerate(victims, 1):
        await work.load.reached(2000 * number // (len(victims) + 1))
        os.kill(pid, signal.SIGKILL)
        assert not await asyncio.to_thread(wait_gone, [pid], 10)
    await running
    assert len(work.load.acknowledged) == 5000
    await check(mortal, work)


async def test_what_was_acknowledged_survives_kill_9_of_everything(mortal: LocalComputer) -> None:
    work = await prepare(mortal, messages=5000, clients=64, processes=32)
    running = asyncio.create_task(work.load.run(mortal, patient=False))
    await work.load.reached(1000)
    await asyncio.to_thread(mortal.kill)
    await running
    assert 1000 <= len(work.load.acknowledged) < 5000
    await asyncio.to_thread(mortal.start)
    await check(mortal, work)


async def test_after_kill_9_everything_may_be_sent_again_and_counts_once(mortal: LocalComputer) -> None:
    work = await prepare(mortal, messages=600, clients=16, processes=8)
    running = asyncio.create_task(work.load.run(mortal, patient=False))
    await work.load.reached(200)
    await asyncio.to_thread(mortal.kill)
    await running
    await asyncio.to_thread(mortal.start)
    await work.load.run(mortal)
    assert len(work.load.acknowledged) == 600
    await check(mortal, work)
