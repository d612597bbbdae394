"""An outbox message is delivered once, whatever crashes between: tokens are conserved.

Each process holds tokens and, told to pay, sends some to another. While payments are under way the actors
that evaluate, order and push are killed, or everything is. When all has come to rest, every payment has
been credited once, and no token is gone or new.
"""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from payments import check_conserved, payments, spawn

from aoray.client import Client
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.testing.local_computer import LocalComputer, wait_gone

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

PAYMENTS = 800


@pytest.mark.parametrize("kind", ["ProcessActor", "ShardActor", "GatewayActor"])
async def test_tokens_are_conserved_when_actors_are_killed(mortal: LocalComputer, kind: str) -> None:
    async with Client(mortal.url, generate_ed25519()) as client:
        processes = await spawn(client)
        load = payments(client, processes, PAYMENTS)
    running = asyncio.create_task(load.run(mortal))
    for share in (1, 2, 3):
        await load.reached(PAYMENTS * share // 4)
        victims = mortal.actors(kind)
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        assert not await asyncio.to_thread(wait_gone, victims, 10)
    await running
    await check_conserved(mortal, processes, PAYMENTS)


async def test_tokens_are_conserved_when_everything_is_killed(mortal: LocalComputer) -> None:
    async with Client(mortal.url, generate_ed25519()) as client:
        processes = await spawn(client)
        load = payments(client, processes, PAYMENTS)
    running = asyncio.create_task(load.run(mortal, patient=False))
    await load.reached(PAYMENTS // 2)
    await asyncio.to_thread(mortal.kill)
    await running
    await asyncio.to_thread(mortal.start)
    await check_conserved(mortal, processes, len(load.acknowledged))
    await load.run(mortal)
    await check_conserved(mortal, processes, PAYMENTS)
