"""Modules and checkpoints on a real S3 server: any node goes on with a process, also when it is away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from actor_rig import GUEST, House, counts, sleeps
from fake_arweave import FakeArweave
from s3_server import S3Server

from aoray.actors.dependencies import open_checkpoints
from aoray.errors import BadCheckpoint, Unavailable
from aoray.settings import Settings
from aoray.storage.factory import open_files
from aoray.storage.modules import ModuleStore, store_module
from aoray.storage.records import CheckpointRow
from aoray.vm.interface import Changes

pytestmark = pytest.mark.long

STATE = Changes(131_072, (7,), (4096,), b"x" * 4096)


@pytest.fixture
def shared(tmp_path: Path, bucket: str) -> Settings:
    """A computer whose files are on S3."""
    return Settings(data=tmp_path, files=bucket)


@pytest.fixture
async def far(shared: Settings, tmp_path: Path, compiled: Path) -> AsyncIterator[House]:
    house = House(tmp_path, compiled, files=shared.files)
    yield house
    await house.close()


def row(nonce: int) -> CheckpointRow:
    return CheckpointRow("p", nonce, 1, nonce, 5, "hash", "", 0)


async def test_a_module_is_there_for_all_nodes(shared: Settings) -> None:
    store_module(open_files(shared, "modules"), GUEST)
    nobody = FakeArweave()
    assert (await ModuleStore(open_files(shared, "modules"), nobody.item).get(GUEST.id)).data == GUEST.data
    assert open_files(shared, "modules").names() == [GUEST.id]


def test_checkpoints_are_written_read_and_collected(shared: Settings) -> None:
    store, files = open_checkpoints(shared), open_files(shared, "checkpoints")
    assert store.sweep() == 0
    written = [store.write(row(nonce), "base", STATE._replace(globals=(nonce,))) for nonce in range(4)]
    assert store.read(written[3], "base") == [STATE._replace(globals=(3,))]
    assert set(files.names()) == {written[2].file, written[3].file}
    files.write("left-behind", b"x")
    assert store.sweep() == 1
    assert set(files.names()) == {written[2].file, written[3].file}
    files.write(written[3].file, b"torn")
    with pytest.raises(BadCheckpoint):
        store.read(written[3], "base")
    files.remove(written[3].file)
    with pytest.raises(BadCheckpoint):
        store.read(written[3], "base")
    store.close()


async def test_a_process_goes_on_with_its_counts_when_the_server_is_away(far: House, s3: S3Server) -> None:
    actor, process = far.actor(), far.spawn()
    sent = far.send(process.process_id, "a", "b")
    await actor.assign(process.work + sent.work)
    await far.results_of(actor, sent)
    await sleeps(actor, process.process_id)
    assert len(open_files(far.settings, "checkpoints").names()) == 1
    s3.kill()
    try:
        for number, text in enumerate("cd"):
            more = far.send(process.process_id, text)
            await actor.assign(more.work)
            assert counts(await far.results_of(actor, more)) == [4 + number]
            await sleeps(actor, process.process_id)
        with pytest.raises(Unavailable):
            actor._evaluation._checkpoints.write(row(9), "base", STATE)
    finally:
        s3.start()
