"""A process that asks for it (tag `Actor: own`), or each one (`--actor-per-process`), is an OS process for
itself: killed at any moment, it goes on where it was, and nobody else notices."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from aoray.client import Client
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.testing.local_computer import LocalComputer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

COUNT = 'Handlers.add("count", "Count", function() N = (N or 0) + 1 print(tostring(N)) end)'
POOL = ("--actors-per-node", "1")


async def count(client: Client, process: str) -> int:
    said = await client.result(process, await client.send(process, action="Count"))
    return int(said["Output"]["data"])


def own_of(computer: LocalComputer, known: set[int]) -> list[int]:
    return [pid for pid in computer.actors("ProcessActor") if pid not in known]


async def test_an_actor_of_its_own_is_killed_and_goes_on_where_it_was(tmp_path: Path) -> None:
    signer = generate_ed25519()
    with LocalComputer(tmp_path / "data", POOL) as computer:
        pool = set(computer.actors("ProcessActor"))
        async with Client(computer.url, signer) as client:
            shared = await client.spawn(data=COUNT, on_boot=True)
            assert [await count(client, shared), await count(client, shared)] == [1, 2]
            assert not own_of(computer, pool)
            own = await client.spawn(data=COUNT, on_boot=True, tags=[Tag("Actor", "own")])
            assert [await count(client, own), await count(client, own)] == [1, 2]
            [killed] = own_of(computer, pool)

            os.kill(killed, signal.SIGKILL)
            assert [await count(client, own), await count(client, shared)] == [3, 3]
            [risen] = own_of(computer, pool)
            assert risen != killed
            assert set(computer.actors("ProcessActor")) - {risen} == pool

    with LocalComputer(tmp_path / "data", (*POOL, "--actor-per-process")) as computer:
        async with Client(computer.url, signer) as client:
            pool_and_none = len(computer.actors("ProcessActor"))
            assert [await count(client, own), await count(client, shared)] == [4, 4]
            assert len(computer.actors("ProcessActor")) == pool_and_none + 2
