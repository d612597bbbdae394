"""A computer whose log and results are in PostgreSQL, and whose modules and checkpoints are in S3: its nodes
hold nothing but its keys, and may be lost with all else."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from message_load import Load
from payments import check_conserved, payments, spawn
from polling import between_looks
from postgres_server import PostgresServer
from pyarrow import fs
from s3_server import CREDENTIALS

from aoray.client import Client
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.testing.local_computer import LocalComputer, wait_gone

PAYMENTS = 200

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


@pytest.fixture
def spread(tmp_path: Path, postgres: PostgresServer, bucket: str) -> Iterator[LocalComputer]:
    options = ["--store", postgres.new_url(), "--files", bucket, "--keys", str(tmp_path / "keys")]
    environment = {**CREDENTIALS, "AORAY_IDLE_SECONDS_MAX": "1", "AORAY_SHARDS": "2"}
    with LocalComputer(tmp_path / "data", options, environment) as running:
        yield running


def names(files: str, folder: str) -> set[str]:
    """What is in a folder on S3."""
    system, path = fs.FileSystem.from_uri(files)
    found = system.get_file_info(fs.FileSelector(f"{path}/{folder}", allow_not_found=True))
    return {each.base_name for each in found}


async def test_a_computer_goes_on_when_its_actors_and_then_all_its_disks_are_lost(
    spread: LocalComputer, bucket: str
) -> None:
    async with Client(spread.url, generate_ed25519()) as client:
        processes = await spawn(client)
        items = payments(client, processes, 2 * PAYMENTS).items
    first, second = (Load(items[start:][:PAYMENTS], clients=16) for start in (0, PAYMENTS))
    running = asyncio.create_task(first.run(spread))
    for share, kind in enumerate(("ShardActor", "ProcessActor", "GatewayActor")):
        await first.reached(PAYMENTS * share // 4)
        for pid in (victims := spread.actors(kind)):
            os.kill(pid, signal.SIGKILL)
        assert not await asyncio.to_thread(wait_gone, victims, 10)
    await running
    running = asyncio.create_task(second.run(spread, patient=False))
    await second.reached(PAYMENTS // 2)
    await asyncio.to_thread(spread.kill)
    await running
    module, acknowledged = spread.health["module"], len(second.acknowledged)
    assert names(bucket, "modules") == {module}
    shutil.rmtree(spread.data)
    await asyncio.to_thread(spread.start)
    assert spread.health["module"] == module
    await second.run(spread)
    assert len(first.acknowledged) == len(second.acknowledged) == PAYMENTS > acknowledged
    await check_conserved(spread, processes, 2 * PAYMENTS)
    async with asyncio.timeout(60):
        while len(await asyncio.to_thread(names, bucket, "checkpoints")) < len(processes):
            await between_looks()  # they hibernate
    await check_conserved(spread, processes, 2 * PAYMENTS)
    kept = {path.name for path in spread.data.iterdir()}
    assert not kept & {"checkpoints", "modules", "keys"} and not any("log-" in name for name in kept), kept
