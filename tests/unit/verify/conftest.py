"""A log to verify, and an Arweave to have it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from auditor import EVAL, MODULE, PAIRS, Auditor
from fastapi import FastAPI
from ordering import SCHEDULER, assign, committer, message, spawn
from statements import locate, truth

from aoray.arweave.client import ArweaveClient
from aoray.arweave.local.routes import router
from aoray.arweave.local.store import ArweaveStore
from aoray.protocol.assignments import LogEntry
from aoray.protocol.attestations import Statement


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory) -> list[LogEntry]:
    """A process that counts; one of its messages is an error, and one was assigned from another process."""
    tags = (("Data-Protocol", "ao"), ("Type", "Process"), ("Module", MODULE.id))
    process, other = spawn(("Scheduler", SCHEDULER.address), tags=tags), spawn()
    counting = [
        message(process.process_id, tags=EVAL, data=b"N = (N or 0) + 1; return N -- %d" % number)
        for number in range(PAIRS - 3)
    ]
    wrong = message(process.process_id, tags=EVAL, data=b"error('no')")
    theirs = message(other.process_id)
    writer = committer(tmp_path_factory.mktemp("log") / "log")
    batch = [process, other, *counting, wrong, theirs, assign(process.process_id, theirs)]
    work = writer.commit(batch, now_ms=1_700_000_000_000, block_height=7).work
    writer.close()
    entries = [each.entry for works in work.values() for each in works]
    return [entry for entry in entries if entry.process_id == process.process_id]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ArweaveStore]:
    with ArweaveStore(tmp_path / "arweave.sqlite", trusted=[SCHEDULER.address]) as opened:
        yield opened


@pytest.fixture
async def client(store: ArweaveStore) -> AsyncIterator[ArweaveClient]:
    app = FastAPI()
    app.include_router(router(store))
    async with ArweaveClient("http://arweave", transport=httpx.ASGITransport(app)) as opened:
        yield opened


@pytest.fixture
def auditor(store: ArweaveStore, client: ArweaveClient, log: list[LogEntry], compiled: Path) -> Auditor:
    return Auditor(store, client, log, compiled)


@pytest.fixture(scope="module")
def truths() -> dict[str, list[Statement]]:
    return {}


@pytest.fixture
async def said(auditor: Auditor, truths: dict[str, list[Statement]]) -> list[Statement]:
    """The truth of the log, which is on Arweave now, and names its compute unit."""
    auditor.publish()
    if auditor.process not in truths:
        truths[auditor.process] = await truth(auditor)
    locate(auditor)
    return truths[auditor.process]
