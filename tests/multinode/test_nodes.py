"""A cluster of three nodes loses nothing and doubles nothing when one of them, or Ray's own head, dies.

While payments between processes are under way (signed messages over HTTP, each pushing another), a node is
killed, or drained, or joins, or the GCS is killed with Redis behind it. When all has come to rest, every
acknowledged payment was made and credited once, no token is gone or new, and each log is whole.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from payments import check_conserved, payments, spawn
from spread_computer import ALL, SHARDS, SpreadComputer

from aoray.client import Client
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.testing.local_computer import free_ports, wait_gone

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

PAYMENTS = 240
WITHOUT_GCS = 20  # messages, with their results, while Ray has no control store


@asynccontextmanager
async def under_load(computer: SpreadComputer) -> AsyncIterator[None]:
    """A third of the payments before what happens inside, the rest during and after it; then the books."""
    await asyncio.to_thread(computer.whole)
    async with Client(computer.url, generate_ed25519()) as client:
        processes = await spawn(client)
        load = payments(client, processes, PAYMENTS)
    running = asyncio.create_task(load.run(computer))
    await load.reached(PAYMENTS // 3)
    yield
    await running
    assert len(load.acknowledged) == PAYMENTS
    await check_conserved(computer, processes, PAYMENTS)


async def test_a_node_that_is_killed_with_all_its_actors_loses_nothing(computer: SpreadComputer) -> None:
    async with under_load(computer):
        victim = computer.workers[0]
        assert computer.count(victim) == (2, 1)
        await asyncio.to_thread(victim.kill)
        [other] = computer.workers
        await asyncio.to_thread(computer.until, lambda: computer.count(other) == (4, 2))


async def test_a_shard_that_is_cut_off_and_still_runs_can_write_nothing(computer: SpreadComputer) -> None:
    async with under_load(computer):
        victim, other = computer.workers
        [shard] = victim.pids("ray::ShardActor")
        victim.send(signal.SIGSTOP)  # all of it, as behind a network that stands still
        await asyncio.to_thread(computer.until, lambda: computer.count(other) == (4, 2))
        os.kill(shard, signal.SIGCONT)  # it goes on with what it was told before, and is told no more
        assert not await asyncio.to_thread(wait_gone, [shard], 30)
        assert "has a successor" in computer.said_on(victim)
        await asyncio.to_thread(victim.kill)


async def test_messages_go_on_while_the_gcs_is_dead_and_ray_when_it_is_started_again_on_redis(
    computer: SpreadComputer,
) -> None:
    async with under_load(computer), Client(computer.url, generate_ed25519()) as client:
        process = await client.spawn()
        assert await counted(client, process) == "1"
        start = await asyncio.to_thread(computer.head.kill_gcs)
        try:
            assert computer.head.pids("gcs_server") == []
            for number in range(2, 2 + WITHOUT_GCS):
                assert await counted(client, process) == str(number)
            assert computer.head.pids("gcs_server") == []
        finally:
            start()
        await joins(computer)


async def test_a_node_that_joins_takes_actors(computer: SpreadComputer) -> None:
    async with under_load(computer):
        await joins(computer)


async def joins(computer: SpreadComputer) -> None:
    """A third worker takes one of the four process actors, and dies with it."""
    joined = computer.raylets.join(ALL)
    await asyncio.to_thread(joined.started)
    await asyncio.to_thread(computer.until, lambda: computer.count(joined)[0] == 1)
    await asyncio.to_thread(joined.kill)


FALSE = b'{"Messages":[],"Assignments":[],"Spawns":[],"Output":"another","GasUsed":1}'


@pytest.mark.timeout(300)
async def test_a_process_whose_results_differ_on_another_node_is_stopped_on_all_of_them(
    computer: SpreadComputer,
) -> None:
    await asyncio.to_thread(computer.whole)
    async with Client(computer.url, generate_ed25519()) as client:
        false, true = [await client.spawn(tags=[Tag("Name", name)]) for name in ("false", "true")]
        for process in (false, true):
            assert [await counted(client, process) for _ in range(2)] == ["1", "2"]
        computer.change_result(false, 1, FALSE)
        for node in computer.workers:
            for pid in node.pids("ray::ProcessActor"):
                os.kill(pid, signal.SIGKILL)
        sent = await client.send(false, data="evaluates it again")
        assert await counted(client, true) == "3"

        def is_stopped() -> bool:
            try:
                status = httpx.get(f"{computer.url}/status").json()
                result = httpx.get(f"{computer.url}/result/{sent}?process-id={false}").json()
            except httpx.TransportError:  # the gateway went with its node: all nodes here share one port
                return False
            return list(status["diverged"]) == [false] and "is stopped: slot 1 " in str(result.get("error"))

        await asyncio.to_thread(computer.until, is_stopped)
        victim, other = computer.workers
        await asyncio.to_thread(victim.kill)  # whoever takes its processes over evaluates them again
        await asyncio.to_thread(computer.until, lambda: computer.count(other) == (4, 2))
        assert await counted(client, true) == "4"
        await asyncio.to_thread(computer.until, is_stopped)


@pytest.mark.timeout(300)
async def test_a_schedulers_key_is_rotated_for_all_nodes_and_the_log_verifies(
    computer: SpreadComputer,
) -> None:
    await asyncio.to_thread(computer.whole)
    before = computer.health["scheduler"]
    async with Client(computer.url, generate_ed25519()) as client:
        processes = [await client.spawn(tags=[Tag("Name", name)]) for name in "abcd"]  # of both shards
        for process in processes:
            assert await counted(client, process) == "1"
        await asyncio.to_thread(computer.stop)
        aoray(computer, "keys", "rotate", "scheduler", *computer.kept)
        await asyncio.to_thread(computer.start)
        after = computer.health["scheduler"]
        assert after != before
        victim, other = computer.workers
        for process in processes:
            assert await counted(client, process) == "2"
        await asyncio.to_thread(victim.kill)  # its shard signs on the other node from now on
        await asyncio.to_thread(computer.until, lambda: computer.count(other) == (4, 2))
        for process in processes:
            assert await counted(client, process) == "3"
    for process in processes:
        command = "verify", process, "--gateway", computer.unit(1)
        await asyncio.to_thread(
            computer.until, lambda said=command: aoray(computer, *said).get("attested", 0) >= 4
        )
        report = aoray(computer, *command)
        assert report["ok"] and report["successors"] == [after], report


def aoray(computer: SpreadComputer, *words: str) -> dict[str, Any]:
    """What a command says in JSON."""
    command = [sys.executable, "-m", "aoray", *words, "--json"]
    environment = computer.raylets.environment | {"AORAY_SHARDS": str(SHARDS)}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(ran.stdout)
    assert "error" not in found or "not on Arweave" in str(found["error"]), found
    return found


async def test_a_node_that_is_drained_has_no_actors_when_it_goes(computer: SpreadComputer) -> None:
    """Also none of a process that has one for itself. (The last of its kind: those stay.)"""
    async with under_load(computer), Client(computer.url, generate_ed25519()) as client:
        own = [await client.spawn(tags=[Tag("Actor", "own"), Tag("Name", name)]) for name in "abc"]
        for process in own:
            assert await counted(client, process) == "1"
        other, leaving = sorted(computer.workers, key=lambda node: computer.count(node)[0])
        assert computer.count(leaving)[0] > 2
        await asyncio.to_thread(computer.drain, leaving)
        await asyncio.to_thread(computer.until, lambda: computer.count(leaving) == (0, 0))
        await asyncio.to_thread(computer.until, lambda: computer.count(other) >= (4, 2))
        await asyncio.to_thread(leaving.kill)
        assert [await counted(client, process) for process in own] == ["2"] * len(own)


async def counted(client: Client, process: str) -> str:
    message = await client.send(process, action="Eval", data="N = (N or 0) + 1 return N")
    return str((await client.result(process, message))["Output"]["data"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "--store postgresql://"),
        (["--store", "STORE"], "--host ADDRESS"),
    ],
)
def test_what_several_nodes_can_not_share_is_refused(
    computer: SpreadComputer, tmp_path: Path, options: list[str], said: str
) -> None:
    options = [computer.store("other") if word == "STORE" else word for word in options]
    command = [sys.executable, "-m", "aoray", "up", "--ray-address", computer.raylets.address]
    command += ["--data", str(tmp_path / "data"), "--port", str(free_ports()), *options]
    ended = subprocess.run(command, env=computer.raylets.environment, capture_output=True, text=True)
    assert ended.returncode == 1 and said in ended.stderr, ended.stderr
    assert not list(tmp_path.iterdir()), "it was refused before the first file"
